//! Inline authentication: a request that carries a login with it. Source: OpenBao's documentation, "Authentication",
//! "Inline Authentication".
//!
//! The login is a request of its own, which goes through all stages: it is admitted, judged, counted against lockouts, and on
//! record with its answer. Only its token is not: nothing of it is stored, its text reaches no client, and it ends with the
//! request that carried the login. What would have to be kept for a token or end with it is refused: leases, tokens made from
//! it, a cubbyhole. When the login fails, the request is not looked at, and the answer says that it is the login's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use strongroom_barrier::BarrierError;
use strongroom_engine_api::{EngineError, Secret};
use strongroom_tokens::{IssuedToken, Principal};

use super::resolve::Destination;
use super::{Answer, Inbound, Pipeline, RequestError, Verb};

/// Says that an answer is the login's and not that of the request.
const FAILED: (&str, &str) = ("X-Vault-Inline-Auth-Failed", "true");

/// The refusal of a lease to a token that ends with its request.
pub(super) const NO_LEASES: &str = "requests with inline authentication cannot generate leases";
/// The refusal of what is kept by token to one that is not kept.
pub(super) const NOTHING_KEPT: &str = "requests with inline authentication have no cubbyhole";

/// A login that a request carries with it.
pub struct InlineLogin {
    /// The kind of request that the login is.
    pub asked: Verb,
    /// The namespace it is in, without surrounding slashes; empty: the root namespace.
    pub namespace: String,
    /// Its path.
    pub path: String,
    /// Its parameters.
    pub input: Map<String, Value>,
}

/// The part that a request has in an inline authentication.
#[derive(Default)]
pub struct Inline(Part);

#[derive(Default)]
enum Part {
    /// None: it has a token, or none.
    #[default]
    None,
    /// It carries a login with it.
    Carries(Box<InlineLogin>),
    /// It is the login of another request, which waits for the token.
    LogsIn(Arc<Mutex<Option<IssuedToken>>>),
    /// It has a token that was made for it alone.
    LoggedIn(Box<Principal>),
}

impl Inline {
    /// The part of a request that carries a login.
    pub fn carrying(login: InlineLogin) -> Self {
        Self(Part::Carries(Box::new(login)))
    }

    /// True if the request carries a login.
    pub const fn is_carried(&self) -> bool {
        matches!(self.0, Part::Carries(_))
    }

    /// True if the request is the login of another one.
    pub(crate) const fn logs_in(&self) -> bool {
        matches!(self.0, Part::LogsIn(_))
    }

    /// The token that was made for this request.
    pub(crate) const fn principal(&self) -> Option<&Principal> {
        match &self.0 {
            Part::LoggedIn(principal) => Some(principal),
            Part::None | Part::Carries(_) | Part::LogsIn(_) => None,
        }
    }

    /// Hands the token of a login whose answer is on record to the request that waits for it.
    pub(crate) fn hand_over(&self, made: IssuedToken) {
        if let Part::LogsIn(waiting) = &self.0 {
            *waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
    }
}

impl Pipeline {
    /// [`Pipeline::with_login`], apart from the request's own future: a login is a request in it, and few requests carry one.
    pub(super) fn with_login_boxed(
        self: &Arc<Self>,
        inbound: Inbound,
    ) -> Pin<Box<dyn Future<Output = Result<Inbound, Answer>> + Send + '_>> {
        Box::pin(self.with_login(inbound))
    }

    /// Logs in for a request that carries a login: the request with its token, or the answer of the login.
    async fn with_login(self: &Arc<Self>, mut inbound: Inbound) -> Result<Inbound, Answer> {
        let Part::Carries(login) = std::mem::take(&mut inbound.inline.0) else { return Ok(inbound) };
        if inbound.destination.is_none() {
            inbound.destination = self.resolve(inbound.asked, &inbound.namespace, &inbound.path).await.ok();
        }
        if inbound.destination.as_ref().is_some_and(Destination::is_always_answered) {
            // Nobody is asked who they are there, and the server may be sealed.
            return Ok(inbound);
        }
        let logged_in = match self.log_in_for(&inbound, *login).await {
            Ok(made) => self.principal_of(made),
            Err(mut answer) => {
                answer.headers.push((FAILED.0.to_owned(), FAILED.1.to_owned()));
                return Err(answer);
            }
        };
        match logged_in {
            Ok((token, principal)) => {
                inbound.token = Some(Arc::new(token));
                inbound.inline = Inline(Part::LoggedIn(Box::new(principal)));
                Ok(inbound)
            }
            Err(error) => Err(Answer::refusal(&inbound, &EngineError::from(error).into())),
        }
    }

    /// Logs in for a request: the token, or the answer of the login that gave none.
    async fn log_in_for(
        self: &Arc<Self>,
        inbound: &Inbound,
        login: InlineLogin,
    ) -> Result<IssuedToken, Answer> {
        let refused = |refused: &RequestError| Answer::refusal(inbound, refused);
        let unfit = |text: &str| refused(&RequestError::status(400, text));
        if inbound.token.is_some() {
            return Err(unfit("cannot layer inline authentication with token authentication"));
        }
        let InlineLogin { asked, namespace, path, input } = login;
        let to = self.resolve(asked, &namespace, &path).await.map_err(|error| refused(&error))?;
        if !is_of_an_auth_method(&to) {
            return Err(unfit("the path of inline authentication is not a login of an auth method"));
        }
        let id = self.services.environment.entropy.public_uuid();
        let id = id.map_err(|error| refused(&EngineError::Internal(error.to_string()).into()))?;
        let made = Arc::new(Mutex::new(None));
        let login = Inbound {
            input: Arc::new(input),
            namespace,
            destination: Some(to),
            headers: inbound.headers.clone(),
            peer: inbound.peer.clone(),
            redactions: inbound.redactions,
            inline: Inline(Part::LogsIn(made.clone())),
            ..Inbound::new(id, asked, path)
        };
        // A login carries none itself.
        let answer = self.handle(login).await;
        let made = made.lock().unwrap_or_else(PoisonError::into_inner).take();
        match made {
            Some(made) => Ok(made),
            // Logins in several steps give no token at once.
            None if answer.status < 400 => Err(unfit("the path of inline authentication gave no token")),
            None => Err(answer),
        }
    }

    /// The token of one request as its bearer.
    fn principal_of(&self, made: IssuedToken) -> Result<(Secret<String>, Principal), BarrierError> {
        let id = self.services.tokens.token_id(made.token.expose())?;
        Ok((made.token, Principal { id, entry: Arc::new(made.entry) }))
    }
}

/// True if it may be tried as a login. What needs a token, or leads nowhere, is refused as it is to anyone without one.
fn is_of_an_auth_method(to: &Destination) -> bool {
    match to.mount() {
        Some(at) => !at.is_open() || at.mounted.class_name() == "auth",
        None => !to.is_always_answered(),
    }
}
