//! Connections to etcd's members: HTTP/1.1, kept for the next request.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use strongroom_outbound::{
    AddressPolicy, Error, Outbound, Reason, Request, Settings, Timeouts, Tls, TlsSettings,
};
use strongroom_stdx::Secret;

use crate::endpoint::Endpoint;
use crate::error::CallError;

/// The time limit of connecting, and of securing the connection after it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections to a member that wait for a request at most.
const MAX_IDLE: usize = 16;
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 << 20;

/// The way to all members.
pub(crate) fn outbound(tls: Option<&Tls>) -> Outbound {
    Outbound::new(Settings {
        // Where etcd is, the configuration and etcd itself say.
        policy: AddressPolicy::unrestricted(),
        tls: tls.cloned().unwrap_or_else(|| Tls::lazy(TlsSettings::default())),
        // The caller has a limit of its own for the whole.
        timeouts: Timeouts { connect: Some(CONNECT_TIMEOUT), handshake: Some(CONNECT_TIMEOUT), whole: None },
        max_idle: MAX_IDLE,
        // A request that waits behind others of its connection would be taken for one that is not answered.
        http2: false,
        ..Settings::default()
    })
}

/// The way to one member.
pub(crate) struct Member {
    pub(crate) endpoint: Endpoint,
    outbound: Outbound,
}

/// The answer of a member.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Member {
    /// The way to `endpoint`; `tls` secures it where its address is `https`.
    pub(crate) fn new(endpoint: Endpoint, outbound: Outbound, tls: Option<&Tls>) -> Result<Self, String> {
        match tls.filter(|_| endpoint.https) {
            Some(tls) => {
                tls.server_name(&endpoint.host)
                    .map_err(|error| format!("the host in {endpoint} cannot be verified: {error}"))?;
            }
            None if endpoint.https => return Err(format!("{endpoint} is https, and the others are not")),
            None => {}
        }
        Ok(Self { endpoint, outbound })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(
        &self,
        path: &str,
        token: Option<&Secret<String>>,
        body: Bytes,
    ) -> Result<Answer, CallError> {
        let mut request = Request::post(self.endpoint.url(path)).body("application/json", body);
        request = request.max_answer(MAX_ANSWER);
        if let Some(token) = token {
            request = request.secret_header("authorization", token);
        }
        match self.outbound.http(request).await {
            Ok(response) => Ok(Answer { status: response.status, body: response.body }),
            Err(Error::NotSent { reason, .. }) => {
                Err(CallError::Unsent(format!("{}: {reason}", self.endpoint)))
            }
            Err(Error::MayHaveArrived { reason: Reason::TooLong(limit), .. }) => {
                Err(CallError::Oversize { limit })
            }
            Err(Error::MayHaveArrived { reason, .. }) => {
                Err(CallError::Lost(format!("{}: {reason}", self.endpoint)))
            }
        }
    }
}
