//! Connections to the outside, all of them: HTTP requests, and plain or secured streams for whatever speaks another
//! protocol.
//!
//! Engines, storage and the command line reach other machines through an [`Outbound`], so that rules hold in one place:
//!
//! - *Addresses.* A name is looked up once, each address it has is held against an [`AddressPolicy`], and the connection
//!   goes to an address that was permitted, not to the name: a name that leads elsewhere a moment later changes nothing. A
//!   connection is used again only by calls whose policy permits the address it goes to. Redirects are looked at anew.
//! - *Proxies.* Requests go through the [`Proxies`] of the environment. The rules then hold for the proxy's own address. Of
//!   the server behind it an address in the URL is checked, and a name as far as it can be looked up here; the proxy looks
//!   the name up by itself and may find another address, so where the way out is a proxy, the proxy must have rules, too. A
//!   policy that permits only what is allowed forbids names that are not known here.
//! - *Trust.* [`Tls`] says whom to trust and what to show; redirects to another host take neither credentials nor
//!   certificates with them.
//! - *Time and size.* Each step has a time-out, on the [`strongroom_stdx::Clock`]; answers are bounded.
//! - *Failure.* An [`Error`] says whether the request may have arrived, and repeats nothing that could be a secret.
//!
//! It deliberately does not do some things: it retries nothing that may have arrived, keeps no cookies, decompresses
//! nothing, and does not look at revocation lists. Streams ([`Outbound::tcp`]) do not go through proxies.

mod address;
mod connect;
#[cfg(any(test, feature = "double"))]
mod double;
mod exchange;
mod host;
mod http;
mod outbound;
mod own;
mod pool;
mod port;
mod proxy;
mod redirect;
mod resolve;
pub mod tls;

pub use address::{AddressPolicy, Forbidden};
pub use connect::NOT_TLS;
#[cfg(any(test, feature = "double"))]
pub use double::{Double, Reply, Seen};
pub use exchange::{Body, Incoming};
pub use outbound::{Outbound, Settings};
pub use own::OwnAddresses;
pub use proxy::Proxies;
pub use resolve::{Resolver, SystemResolver};
pub use strongroom_outbound_api::{
    Error, Identity, Phase, Reason, Request, Response, Stream, Timeouts, TlsSettings, TlsVersion, Trust,
    WayOut,
};
pub use tls::{Tls, TlsError};

#[cfg(test)]
mod tests;
