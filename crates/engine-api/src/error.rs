//! Errors of handlers. The HTTP status is decided here and nowhere else in an engine.

use std::borrow::Cow;

use bytes::Bytes;
use strongroom_barrier::BarrierError;
use strongroom_stdx::{EntropyError, Panicked};

/// The reason why a handler failed or refused a request.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// 400: the request is wrong; the text says how, and names the field.
    #[error("{0}")]
    Invalid(String),
    /// 400: a login's credentials are not good. Counted against the user that it names.
    #[error("{0}")]
    Credentials(String),
    /// 403, with a text for the client (`permission denied` where Vault says no more).
    #[error("{0}")]
    Denied(String),
    /// 404 with an empty list of errors: nothing is there.
    #[error("not found")]
    NotFound,
    /// 404 with what is there to say about it: the errors, and data (a deleted version's metadata).
    #[error("not found")]
    NotFoundWith(Box<crate::Reply>),
    /// 405: the path exists and does not do that.
    #[error("unsupported operation")]
    Unsupported,
    /// Any other status with its text.
    #[error("{1}")]
    Status(u16, String),
    /// A status with a body of its own, where a protocol has its own form of errors.
    #[error("{}", .0.reason)]
    Raw(Box<RawError>),
    /// Storage, keys, or a conflict upon which the request is decided again.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// 500: the text goes to the log; the client learns that there was an internal error.
    #[error("internal error: {0}")]
    Internal(String),
}

/// An error that is answered in another form than Vault's, such as `application/problem+json` or an OCSP response. As after
/// any other error, nothing that the handler wrote is committed: where something must be, the handler answers a
/// [`Reply`](crate::Reply) with a status.
#[derive(Clone, Debug)]
pub struct RawError {
    /// The status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// The body.
    pub body: Bytes,
    /// Headers, of those that the route owns.
    pub headers: Vec<(String, String)>,
    /// The error in words, for audit records.
    pub reason: String,
}

impl From<RawError> for EngineError {
    fn from(error: RawError) -> Self {
        Self::Raw(Box::new(error))
    }
}

impl From<EntropyError> for EngineError {
    fn from(error: EntropyError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Of an engine's handler.
impl From<Panicked> for EngineError {
    fn from(error: Panicked) -> Self {
        Self::Internal(format!("the engine's handler {error}"))
    }
}

impl From<serde_json::Error> for EngineError {
    fn from(error: serde_json::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A 400 with this text.
pub fn bad_request(text: impl Into<String>) -> EngineError {
    EngineError::Invalid(text.into())
}
