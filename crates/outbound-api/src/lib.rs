//! The interface of outgoing connections: requests, their answers, streams, failures, and the port [`WayOut`] that
//! carries them out.
//!
//! It is separate from `strongroom-outbound`, which carries them out, so that crates that send requests are built
//! without an HTTP client and a TLS library: engines see this crate alone. It makes no connection, looks up no name and
//! knows no rules for addresses.
//!
//! A failure is an [`Error`] that says whether anything may have arrived, and repeats nothing that could be a secret.

mod error;
pub mod pem;
mod port;
mod request;
mod stream;
mod target;
mod tls;

pub use error::{Error, Phase, Reason};
pub use port::{Manner, NoWayOut, Timeouts, WayOut};
pub use request::{Request, Response};
pub use stream::{Duplex, Stream};
pub use target::{Target, authority};
pub use tls::{Identity, SharedTls, TlsSettings, TlsVersion, Trust};
