//! Bodies of requests: how a route takes them, and how its handler draws them.
//!
//! A handler says by what it draws how its operation's body is read: [`Binary`] whole and as bytes, [`Upload`] as it
//! comes, anything else as members of a JSON object. The edge asks the route before it reads. Where the mount has changed
//! between that question and the request's turn, the body does not fit, and the request is refused before the handler sees
//! it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use strongroom_stdx::{PipeReader, pipe};

use crate::{Call, EngineError, Extract, OperationDoc};

/// The form in which the body of an operation's requests is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyMode {
    /// As a JSON object (or a form), whose members are the parameters.
    #[default]
    Json,
    /// Whole and as it is; the parameters are the query's.
    Bytes {
        /// Bytes at most, within the listener's own limit.
        max: usize,
    },
    /// As it comes, without limit of size or time; the parameters are the query's.
    Stream,
}

/// A request's body, read as its operation wants it.
#[derive(Clone, Default)]
pub enum RequestBody {
    /// None, or one whose members are the request's parameters.
    #[default]
    Parsed,
    /// Its bytes, with the `Content-Type` that the client gave.
    Bytes(Arc<str>, Bytes),
    /// As it comes.
    Stream(Upload),
}

impl RequestBody {
    /// True if an operation of this mode can be given it.
    pub const fn fits(&self, mode: BodyMode) -> bool {
        match self {
            Self::Parsed => true,
            Self::Bytes(..) => matches!(mode, BodyMode::Bytes { .. }),
            Self::Stream(_) => matches!(mode, BodyMode::Stream),
        }
    }
}

/// A small body that is no JSON, such as a certificate request: its bytes, `MAX` at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binary<const MAX: usize> {
    /// The `Content-Type` as the client gave it; empty where it gave none.
    pub content_type: Arc<str>,
    /// The bytes.
    pub bytes: Bytes,
}

impl<const MAX: usize> Extract for Binary<MAX> {
    fn document(doc: &mut OperationDoc) {
        doc.body = BodyMode::Bytes { max: MAX };
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(match &call.request.body {
            RequestBody::Bytes(content_type, bytes) => {
                Self { content_type: content_type.clone(), bytes: bytes.clone() }
            }
            RequestBody::Parsed | RequestBody::Stream(_) => Self::default(),
        })
    }
}

/// A request's body that its handler takes as it comes, once.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<Option<PipeReader>>>);

/// One without a byte.
impl Default for Upload {
    fn default() -> Self {
        let (writer, reader) = pipe();
        writer.end();
        Self::new(reader)
    }
}

impl Upload {
    /// An upload of what comes out of a pipe.
    #[must_use]
    pub fn new(pieces: PipeReader) -> Self {
        Self(Arc::new(Mutex::new(Some(pieces))))
    }

    /// The bytes; `None` when they have been taken before.
    #[must_use]
    pub fn take(&self) -> Option<PipeReader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body as it comes. An operation that draws it is not limited in the size of its body or in time.
impl Extract for Upload {
    fn document(doc: &mut OperationDoc) {
        doc.body = BodyMode::Stream;
    }

    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(match &call.request.body {
            RequestBody::Stream(upload) => upload.clone(),
            RequestBody::Parsed | RequestBody::Bytes(..) => Self::default(),
        })
    }
}
