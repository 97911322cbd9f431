//! Errors in the forms of the protocol: `{"error": "invalid_request", "error_description": "…"}` (RFC 6749, sections 4.1.2.1 and
//! 5.2; RFC 6750, section 3).
//!
//! An error is answered as such, so that nothing is committed; where something must be, as after a code that was shown in vain,
//! the handler answers a reply of the same form ([`Failure::into_reply`]).

use serde_json::{Map, Value};
use strongroom_engine_api::{EngineError, RawError, Reply};

/// A refusal in the protocol's words.
pub(super) struct Failure {
    status: u16,
    /// The code of the error.
    code: &'static str,
    description: String,
    /// The state of the request, which is answered with the error.
    state: Option<String>,
    /// The header that says how to authenticate.
    challenge: Option<String>,
}

impl Failure {
    /// 400 with this code.
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { status: 400, code, description: description.into(), state: None, challenge: None }
    }

    /// 401: a client has not authenticated (RFC 6749, section 5.2).
    pub(super) fn client(description: impl Into<String>) -> Self {
        let challenge = Some("Basic".to_owned());
        Self { status: 401, challenge, ..Self::new("invalid_client", description) }
    }

    /// A refusal of an access token (RFC 6750, section 3.1).
    pub(super) fn bearer(status: u16, code: &'static str, description: &str) -> Self {
        let challenge = Some(format!("Bearer error=\"{code}\",error_description=\"{description}\""));
        Self { status, challenge, ..Self::new(code, description) }
    }

    /// The same with the state of the request.
    pub(super) fn with_state(self, state: &str) -> Self {
        Self { state: Some(state.to_owned()).filter(|state| !state.is_empty()), ..self }
    }

    fn body(&self) -> String {
        let members = [
            Some(("error", self.code)),
            Some(("error_description", self.description.as_str())),
            self.state.as_deref().map(|state| ("state", state)),
        ];
        let members = members.into_iter().flatten();
        let members: Map<String, Value> =
            members.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        Value::Object(members).to_string()
    }

    fn headers(&self) -> Vec<(String, String)> {
        let pragma = ("Pragma".to_owned(), "no-cache".to_owned());
        let challenge = self.challenge.clone().map(|challenge| ("WWW-Authenticate".to_owned(), challenge));
        [Some(pragma), challenge].into_iter().flatten().collect()
    }

    /// The answer of a handler whose writes are to be committed.
    pub(super) fn into_reply(self) -> Reply {
        let reply = Reply::raw(self.status, super::JSON, self.body());
        self.headers().into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        let error = RawError {
            status: failure.status,
            content_type: super::JSON.into(),
            body: failure.body().into(),
            headers: failure.headers(),
            reason: format!("{}: {}", failure.code, failure.description),
        };
        error.into()
    }
}
