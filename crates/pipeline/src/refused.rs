//! A request that is not answered with what it asked for. The one place where reasons become HTTP statuses.
//!
//! Vault puts what its own handlers say into the answer as it is, and what its router, its policies and some others say
//! as a list of errors, even of one. Clients match on either, so that each has the form that it has there.

use std::fmt;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::{EngineError, RouteError};
use strongroom_storage::CommitError;

use super::Inbound;

/// The reason of a refusal, with the texts for the client and the log.
#[derive(Debug)]
pub enum RequestError {
    /// A status and its texts: one as it is, several as a list.
    Status(u16, Vec<String>),
    /// 403: no token, one that may not be used from here, or a login that is locked out. The client learns no more than
    /// that; the reason is for the log.
    Unauthenticated(String),
    /// 403: the policies do not grant it. The client learns no more than that; the reason is for the log and for
    /// `explain`.
    Denied(String),
    /// The handler, or storage below it, said no.
    Engine(EngineError),
    /// A second factor was not good. Whoever gave it has shown a first one, so the client may know that its namespace is there.
    SecondFactor(EngineError),
    /// The request is about to write and runs where its client can cut it off: it goes on in a task of its own.
    NeedsTask,
    /// The outside has answered: the rest of the request is decided on what is there now.
    Asked,
}

const DENIED: &str = "permission denied";
const UNSUPPORTED_PATH: &str = "unsupported path";
const UNSUPPORTED_OPERATION: &str = "unsupported operation";

impl RequestError {
    /// Errors as Vault lists them: `2 errors occurred:`, and each on a line of its own.
    pub fn list(texts: &[impl AsRef<str>]) -> String {
        let count = texts.len();
        let mut list = format!("{count} error{} occurred:\n", if count == 1 { "" } else { "s" });
        for text in texts {
            list.push_str("\t* ");
            list.push_str(text.as_ref());
            list.push('\n');
        }
        list.push('\n');
        list
    }

    pub(crate) fn status(status: u16, text: impl Into<String>) -> Self {
        Self::Status(status, vec![text.into()])
    }

    /// The refusal of a caller who has no valid token.
    pub(crate) fn invalid_token() -> Self {
        Self::Status(403, vec![DENIED.to_owned(), "invalid token".to_owned()])
    }

    /// The same refusal as that of a path that leads nowhere, to a caller without a valid token; the server's own failures
    /// stay what they are.
    pub(crate) fn hiding_namespace(self, inbound: &Inbound) -> Self {
        if matches!(self, Self::SecondFactor(_)) || self.for_client().0 >= 500 {
            return self;
        }
        match inbound.token {
            Some(_) => Self::invalid_token(),
            None => Self::Unauthenticated("missing client token".to_owned()),
        }
    }

    pub(crate) fn sealed() -> Self {
        Self::status(503, "Vault is sealed")
    }

    pub(crate) fn unrouted(refusal: RouteError) -> Self {
        match refusal {
            RouteError::UnsupportedPath => Self::status(404, Self::list(&[UNSUPPORTED_PATH])),
            RouteError::UnsupportedOperation => Self::status(405, Self::list(&[UNSUPPORTED_OPERATION])),
        }
    }

    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Engine(EngineError::Barrier(BarrierError::Conflict)))
    }

    /// True if the request goes on in another attempt.
    pub(crate) const fn is_not_final(&self) -> bool {
        self.is_conflict() || matches!(self, Self::NeedsTask | Self::Asked)
    }

    /// The HTTP status and the texts for the client.
    pub fn for_client(&self) -> (u16, Vec<String>) {
        match self {
            Self::Status(status, texts) if texts.len() > 1 => (*status, vec![Self::list(texts)]),
            Self::Status(status, texts) => (*status, texts.clone()),
            Self::Unauthenticated(_) => (403, vec![DENIED.to_owned()]),
            // Never sent: the pipeline answers what the task answers.
            Self::NeedsTask | Self::Asked => (500, vec!["internal error".to_owned()]),
            Self::Denied(_) => (403, vec![Self::list(&[DENIED])]),
            Self::Engine(error) | Self::SecondFactor(error) => match error {
                EngineError::Invalid(text) | EngineError::Credentials(text) => (400, vec![text.clone()]),
                EngineError::Denied(text) => (403, vec![text.clone()]),
                EngineError::NotFound | EngineError::NotFoundWith(_) => (404, Vec::new()),
                EngineError::Unsupported => (405, vec![Self::list(&[UNSUPPORTED_OPERATION])]),
                // An engine's own way of saying that no route of it leads there.
                EngineError::Status(404, text) if text == UNSUPPORTED_PATH => {
                    (404, vec![Self::list(&[text])])
                }
                EngineError::Status(status, text) => (*status, vec![text.clone()]),
                EngineError::Raw(raw) => (raw.status, vec![raw.reason.clone()]),
                EngineError::Barrier(BarrierError::Sealed) => (503, vec!["Vault is sealed".to_owned()]),
                EngineError::Barrier(BarrierError::Commit(error)) => commit_refused(error),
                EngineError::Barrier(_) | EngineError::Internal(_) => {
                    (500, vec!["internal error".to_owned()])
                }
            },
        }
    }

    /// Tells the log what the client is not told.
    pub(crate) fn log(&self, inbound: &Inbound) {
        match self {
            Self::Denied(reason) | Self::Unauthenticated(reason) => {
                tracing::debug!(request_id = &*inbound.id, path = inbound.path, reason, "permission denied");
            }
            Self::Status(403, texts) => {
                let reason = texts.join(", ");
                tracing::debug!(request_id = &*inbound.id, path = inbound.path, reason, "permission denied");
            }
            Self::Engine(error @ (EngineError::Internal(_) | EngineError::Barrier(_)))
                if !self.is_sealed() =>
            {
                tracing::error!(request_id = &*inbound.id, path = inbound.path, %error, "request failed");
            }
            Self::SecondFactor(error) => {
                tracing::debug!(request_id = &*inbound.id, %error, "second factor refused");
            }
            _ => {}
        }
    }

    const fn is_sealed(&self) -> bool {
        matches!(self, Self::Engine(EngineError::Barrier(BarrierError::Sealed)))
    }
}

fn commit_refused(error: &CommitError) -> (u16, Vec<String>) {
    match error {
        CommitError::TooLarge { .. } => (413, vec![error.to_string()]),
        CommitError::NotLeader { .. } => (503, vec![error.to_string()]),
        CommitError::NoSpace => (507, vec![error.to_string()]),
        CommitError::Uncertain(_) => (500, vec![error.to_string()]),
        CommitError::Conflict | CommitError::Store(_) => (500, vec!["internal error".to_owned()]),
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_client().1.join("; "))
    }
}

impl From<EngineError> for RequestError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<BarrierError> for RequestError {
    fn from(error: BarrierError) -> Self {
        Self::Engine(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_forms_that_clients_match_on() {
        let told = |refused: RequestError| {
            let (status, errors) = refused.for_client();
            (status, errors.join("|"))
        };
        let denied = "1 error occurred:\n\t* permission denied\n\n".to_owned();
        assert_eq!(told(RequestError::Denied("a reason".to_owned())), (403, denied));
        let plain = "permission denied".to_owned();
        assert_eq!(told(RequestError::Unauthenticated("a reason".to_owned())), (403, plain.clone()));
        assert_eq!(told(EngineError::Denied(plain.clone()).into()), (403, plain.clone()));
        let two = RequestError::Status(403, vec![plain, "invalid token".to_owned()]);
        let listed = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n".to_owned();
        assert_eq!(told(two), (403, listed));
        let nowhere = (404, "1 error occurred:\n\t* unsupported path\n\n".to_owned());
        assert_eq!(told(RequestError::unrouted(RouteError::UnsupportedPath)), nowhere);
        assert_eq!(told(EngineError::Status(404, "unsupported path".to_owned()).into()), nowhere);
        let unsupported = (405, "1 error occurred:\n\t* unsupported operation\n\n".to_owned());
        assert_eq!(told(RequestError::unrouted(RouteError::UnsupportedOperation)), unsupported);
        assert_eq!(told(EngineError::Unsupported.into()), unsupported);
        assert_eq!(told(EngineError::NotFound.into()), (404, String::new()));
    }
}
