//! Audit records and the devices they go to.
//!
//! Every request and every response becomes one JSON line in the shape of Vault's
//! [audit log entry schema](https://developer.hashicorp.com/vault/docs/audit/schema). Each enabled device
//! renders its own line, because each has its own salt and its own idea of what to show; a request may go on
//! once at least one device has accepted its line.
//!
//! ```text
//! RequestRecord / ResponseRecord  (borrowed from the request at hand)
//!          │
//!       Broker ── EnabledDevice ── Formatter (salt, options) ── line ── Device (file, …)
//! ```
//!
//! A record is rendered straight into its line: no intermediate tree, no copy of the secrets it must hide. The record of
//! a response repeats most of its request's; that part is copied from the request's line, which is kept until then.

mod broker;
mod device;
mod error;
mod file;
mod format;
mod group;
mod guard;
mod line;
mod options;
mod record;
mod redact;
mod salt;
mod transcode;

pub use broker::{AuditedRequest, Broker, DeviceCounters, EnabledDevice};
pub use device::{Device, OpenedDevice, Origin, open_device};
pub use error::{AuditError, RecordKind};
pub use format::{Formatter, RequestLine};
pub use options::FormatOptions;
pub use record::{
    Auth, GrantingPolicy, Header, Mount, Namespace, PolicyResults, RawJson, Request, RequestRecord, Response,
    ResponseRecord, WrapInfo,
};
pub use salt::Salt;
