//! Errors between a record and its device.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// The two kinds of audit record, by the name their `type` field carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Written before a request is handled.
    Request,
    /// Written before its response is sent.
    Response,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "request",
            Self::Response => "response",
        })
    }
}

/// Every error of this crate. Those raised while a device is opened are the operator's to mend (HTTP 400); those
/// raised while a record is logged stop the request that caused it (HTTP 500).
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No enabled device took the record, so the request must not go on.
    #[error("no audit backend succeeded in logging the {0}")]
    Unlogged(RecordKind),

    /// A device that was just opened could not take a first record.
    #[error("audit backend failed test message: {0}")]
    TestMessage(#[source] Box<AuditError>),

    /// There is no device of this type.
    #[error("unknown backend type: {0:?}")]
    UnknownType(String),

    /// A `file` device needs to know where to write.
    #[error("file_path is required")]
    FilePathRequired,

    /// The `jsonx` (XML) format is not offered.
    #[error(
        "jsonx formatting is not supported, consider switching to json by omitting \"format\" or setting it to \"json\""
    )]
    Jsonx,

    /// A `format` other than `json`.
    #[error("unknown format type {0:?}")]
    UnknownFormat(String),

    /// An option's value does not read as what it must be.
    #[error("invalid value {value:?} for option {option:?}: must be {expected}")]
    InvalidValue {
        /// The option's name.
        option: &'static str,
        /// The value given.
        value: String,
        /// The values understood.
        expected: &'static str,
    },

    /// An option this type of device does not have. Ignoring it could leave the operator believing that, say, a
    /// filter is in place.
    #[error("unknown option {option:?} for an audit device of type {device_type:?}")]
    UnknownOption {
        /// The option's name.
        option: String,
        /// The type of the device.
        device_type: &'static str,
    },

    /// A `prefix`, while the server's configuration does not set `allow_audit_log_prefixing`.
    #[error("audit log prefixing is not allowed")]
    PrefixNotAllowed,

    /// The log file is executable and the device may not change its mode.
    #[error("audit log file {0:?} must not be executable")]
    Executable(PathBuf),

    /// The log file cannot be opened.
    #[error("sanity check failed; unable to open {path:?} for writing: {source}")]
    Open {
        /// The path as configured.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },

    /// The log file would lie in a folder of the server's own.
    #[error("audit log file {0:?} would lie among the server's own files")]
    Guarded(PathBuf),

    /// There is a file that no audit device has written.
    #[error("{0:?} exists and is no audit log")]
    NotALog(PathBuf),

    /// A line was not, or not wholly, written.
    #[error("write {device}: {source}")]
    Write {
        /// The device's own name, for a file its path.
        device: String,
        /// The reason. One failed write can fail several lines.
        source: Arc<io::Error>,
    },

    /// A response's data, which the server itself produced, is not a JSON object.
    #[error("response data cannot be audited: {0}")]
    MalformedData(&'static str),
}
