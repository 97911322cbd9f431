//! A request that is not answered with what it asked for. The one place where reasons become HTTP statuses.

use std::fmt;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::{EngineError, Refusal};
use strongroom_storage::CommitError;

use super::Inbound;

/// Why, with what the client and the log learn.
#[derive(Debug)]
pub enum Refused {
    /// A status and its texts.
    Status(u16, Vec<String>),
    /// 403. The client learns no more than that; the reason is for the log and for `explain`.
    Denied(String),
    /// The handler, or storage below it, said no.
    Engine(EngineError),
}

impl Refused {
    pub(crate) fn status(status: u16, text: impl Into<String>) -> Self {
        Self::Status(status, vec![text.into()])
    }

    pub(crate) fn sealed() -> Self {
        Self::status(503, "Vault is sealed")
    }

    pub(crate) fn unrouted(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnsupportedPath => Self::status(404, "unsupported path"),
            Refusal::UnsupportedOperation => Self::status(405, "unsupported operation"),
        }
    }

    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Engine(EngineError::Barrier(BarrierError::Conflict)))
    }

    /// The HTTP status and the texts for the client.
    pub fn for_client(&self) -> (u16, Vec<String>) {
        match self {
            Self::Status(status, texts) => (*status, texts.clone()),
            Self::Denied(_) => (403, vec!["permission denied".to_owned()]),
            Self::Engine(error) => match error {
                EngineError::Invalid(text) => (400, vec![text.clone()]),
                EngineError::Denied(text) => (403, vec![text.clone()]),
                EngineError::NotFound | EngineError::NotFoundWith(_) => (404, Vec::new()),
                EngineError::Unsupported => (405, vec!["unsupported operation".to_owned()]),
                EngineError::Status(status, text) => (*status, vec![text.clone()]),
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
            Self::Denied(reason) => {
                tracing::debug!(request_id = inbound.id, path = inbound.path, reason, "permission denied");
            }
            Self::Engine(error @ (EngineError::Internal(_) | EngineError::Barrier(_)))
                if !self.is_sealed() =>
            {
                tracing::error!(request_id = inbound.id, path = inbound.path, %error, "request failed");
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

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_client().1.join("; "))
    }
}

impl From<EngineError> for Refused {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<BarrierError> for Refused {
    fn from(error: BarrierError) -> Self {
        Self::Engine(error.into())
    }
}
