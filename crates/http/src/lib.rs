//! The HTTP edge: from bytes on a connection to a request of the core, and back.
//!
//! Knows HTTP and Vault's conventions for it (headers, verbs, bodies, error shapes), and nothing of what requests mean.

mod body;
mod completed;
mod edge;
mod forward;
mod forwarded;
mod json;
mod patience;
mod request;

pub use completed::RequestLog;
pub use edge::{Connection, Edge, EdgeSettings, HeadersFor};
pub use forwarded::ForwardedFor;
pub use json::JsonLimits;
