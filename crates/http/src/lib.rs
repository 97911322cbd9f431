//! The HTTP edge: from bytes on a connection to a request of the core, and back.
//!
//! Knows HTTP and Vault's conventions for it (headers, verbs, bodies, error shapes), and nothing of what requests mean.

mod body;
mod client_certificate;
mod context;
mod edge;
mod forward;
mod forwarded;
mod header;
mod inline_auth;
mod intake;
mod json;
mod prefix;
mod request;
mod request_log;
#[cfg(test)]
mod tests;
mod timeouts;
mod upgrade;

pub use client_certificate::{CertificateDecoder, CertificateHeader};
pub use edge::{Edge, EdgeSettings, HeadersFor};
pub use forwarded::ForwardedFor;
pub use intake::Intake;
pub use json::JsonLimits;
pub use request_log::RequestLog;
