//! The server's configuration: files of HCL or JSON, read into types.
//!
//! [`load`] reads the files and directories that `-config` names; [`Config::apply_environment`] then lays the
//! documented `VAULT_*` variables over them, and [`Config::check`] says what is missing to start a server.
//!
//! * A value that cannot be used is a [`ConfigError`] that names file, line, column and what is allowed.
//! * A key that is not known is a [`Warning`], as in Vault. So is a key of Vault that has no effect here, with the
//!   reason; one that protects and cannot be served is an error. [`keys`] says which is which: no documented key is
//!   dropped in silence.
//! * An empty text (`log_level = ""`) and `null` are the same as leaving the key out.
//! * Of keys that several files set, the last file counts; listeners and seals of all files are put together.
//!
//! Source: <https://developer.hashicorp.com/vault/docs/configuration>.

mod address;
mod audit;
mod auto_join;
mod config;
mod convert;
mod environment;
mod error;
mod etcd;
mod fields;
mod headers;
pub mod keys;
mod listener;
mod lockout;
mod migration;
mod outbound;
mod postgresql;
mod sanitized;
mod source;
mod storage;
mod telemetry;
mod tls;

pub use address::Address;
pub use audit::AuditDevice;
pub use auto_join::{AutoJoin, DEFAULT_PORT, Provider, SCHEMES};
pub use config::{Config, LogFormat, LogLevel, PolicyDeny, Seal};
pub use error::{ConfigError, Place, Warning};
pub use etcd::Etcd;
pub use headers::{ResponseHeaders, StatusPattern};
pub use listener::{
    CertificateDecoder, ClientCertificateHeader, ForwardedFor, JsonLimits, Listener, Owner, ProxyBehavior,
    ProxyProtocol, Redact, Shared, TcpListener, Timeouts, Unauthenticated, UnixListener,
};
pub use lockout::{LockoutLabel, LockoutTypes, UserLockout};
pub use migration::Migration;
pub use outbound::Outbound;
pub use postgresql::Postgresql;
pub use source::{Loaded, Source, load, load_with, parse};
pub use storage::{Join, JoinTls, Pem, Raft, RetryJoin, Storage};
pub use telemetry::Telemetry;
pub use tls::{CipherSuite, ClientCertificates, Tls, TlsVersion};

#[cfg(test)]
mod tests;
