//! The HTTP edge: from bytes on a connection to a request of the core, and back.
//!
//! Knows HTTP and Vault's conventions for it (headers, verbs, bodies, error shapes), and nothing of what requests mean.

mod body;
mod client_certificate;
mod completed;
mod context;
mod edge;
mod forward;
mod forwarded;
mod header;
mod json;
mod patience;
mod prefix;
mod request;
#[cfg(test)]
mod tests;
mod upgrade;

pub use client_certificate::{CertificateDecoder, CertificateHeader};
pub use completed::RequestLog;
pub use edge::{Edge, EdgeSettings, HeadersFor};
pub use forwarded::ForwardedFor;
pub use json::JsonLimits;
