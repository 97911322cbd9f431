//! The errors on the way to etcd, and in it.

use strongroom_leased_db::ApplyError;
use strongroom_storage::StoreError;

/// Reasons why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something in the options cannot be used.
    #[error("storage \"etcd\": {0}")]
    Options(String),
    /// A file cannot be read or is not what it should be.
    #[error("storage \"etcd\": {file}: {reason}")]
    File {
        /// The file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// Etcd could not be reached, or its data is not this store's.
    #[error("storage \"etcd\": {0}")]
    Store(#[from] StoreError),
}

/// Reasons why a request has no good answer. None of these repeats anything that was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No member took the request: nothing was sent.
    #[error("etcd is not reachable: {0}")]
    Unsent(String),
    /// The request was sent, and what became of it is not known.
    #[error("etcd has not answered: {0}")]
    Lost(String),
    /// Etcd's answer is an error.
    #[error("etcd says: {message}")]
    Answered { code: u64, message: String },
    /// The answer is larger than is taken.
    #[error("an answer of etcd's has more than {limit} bytes")]
    Oversize { limit: usize },
    /// [`strongroom_leased_db::Database::close`] was called.
    #[error("storage is closed")]
    Closed,
}

/// Codes of gRPC. Source: <https://grpc.io/docs/guides/status-codes/>.
mod code {
    pub(super) const CANCELLED: u64 = 1;
    pub(super) const UNKNOWN: u64 = 2;
    pub(super) const DEADLINE_EXCEEDED: u64 = 4;
    pub(super) const RESOURCE_EXHAUSTED: u64 = 8;
    pub(super) const ABORTED: u64 = 10;
    pub(super) const OUT_OF_RANGE: u64 = 11;
    pub(super) const INTERNAL: u64 = 13;
    pub(super) const UNAVAILABLE: u64 = 14;
    pub(super) const DATA_LOSS: u64 = 15;
    pub(super) const UNAUTHENTICATED: u64 = 16;
}

impl CallError {
    /// True if another member may answer better, where asking twice does no harm.
    pub(crate) fn is_of_one_member(&self) -> bool {
        match self {
            CallError::Unsent(_) | CallError::Lost(_) => true,
            CallError::Answered { code, .. } => {
                matches!(*code, code::CANCELLED | code::DEADLINE_EXCEEDED | code::UNAVAILABLE)
            }
            CallError::Oversize { .. } | CallError::Closed => false,
        }
    }

    /// True if etcd does not take the token any more, or wants one where it was given none.
    pub(crate) fn asks_for_login(&self) -> bool {
        match self {
            CallError::Answered { code, message } => {
                *code == code::UNAUTHENTICATED
                    || message.contains("user name is empty")
                    || message.contains("revision of auth store is old")
            }
            _ => false,
        }
    }

    /// True if a member has not yet heard of the revision it was asked for.
    pub(crate) fn is_of_the_future(&self) -> bool {
        matches!(self, CallError::Answered { code: code::OUT_OF_RANGE, message } if message.contains("future"))
    }

    fn is_of_the_past(&self) -> bool {
        matches!(self, CallError::Answered { code: code::OUT_OF_RANGE, message } if message.contains("compacted"))
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        if let CallError::Closed = error {
            return StoreError::Closed;
        }
        if error.is_of_the_past() {
            return StoreError::Failed(
                "etcd has compacted the state that a long read was made of; let etcd keep its history for longer"
                    .to_owned(),
            );
        }
        StoreError::Failed(error.to_string())
    }
}

impl From<CallError> for ApplyError {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Unsent(_) | CallError::Closed => ApplyError::Refused(text),
            // The answer was too long to be read.
            CallError::Lost(_) | CallError::Oversize { .. } => ApplyError::Unknown(text),
            // Also said of too many requests, which is another matter.
            CallError::Answered { code: code::RESOURCE_EXHAUSTED, message }
                if message.contains("database space exceeded") =>
            {
                ApplyError::NoSpace(text)
            }
            CallError::Answered { code, .. } => match code {
                // Etcd says so, too, where it has waited in vain to hear of a change it has proposed to its members.
                code::CANCELLED
                | code::UNKNOWN
                | code::DEADLINE_EXCEEDED
                | code::ABORTED
                | code::INTERNAL
                | code::UNAVAILABLE
                | code::DATA_LOSS => ApplyError::Unknown(text),
                _ => ApplyError::Refused(text),
            },
        }
    }
}
