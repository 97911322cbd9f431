//! The HTTP edge: from bytes on a connection to a request of the core, and back.
//!
//! Knows HTTP and Vault's conventions for it (headers, verbs, bodies, error shapes), and nothing of what requests mean.

mod body;
mod edge;
mod forwarded;
mod patience;
mod request;

pub use edge::{Connection, Edge, EdgeSettings, HeadersFor};
pub use forwarded::ForwardedFor;
