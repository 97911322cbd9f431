//! Leaving HTTP: a connection on which a handler goes on in another protocol (RFC 9110, section 7.8), such as `WebSocket`.
//!
//! The edge offers what the client offered; a handler that takes it answers an [`Upgrade`], which is run with the
//! connection once the answer (101) is sent. It ends with the connection, and with the server's listener. It runs on the
//! node that the client is connected to: a request that a standby hands to the active node offers nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Call, EngineError, Extract};

/// A connection that no longer uses HTTP.
pub trait Upgradable: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Upgradable for T {}

/// A connection that no longer uses HTTP, over any transport.
pub type Upgraded = Box<dyn Upgradable>;

/// The protocols that the client offers to upgrade to. Drawing it refuses requests that ask for nothing of the kind
/// (426).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpgradeOffer {
    /// The protocol, as the `Upgrade` header names it.
    pub protocol: String,
    /// The headers of its handshake (`Sec-WebSocket-*`), by lower-case name.
    pub headers: BTreeMap<String, String>,
}

impl Extract for Arc<UpgradeOffer> {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        let none = || EngineError::Status(426, "this path is for connections that are upgraded".to_owned());
        call.request.upgrade.clone().ok_or_else(none)
    }
}

/// Going on in another protocol.
pub struct Upgrade {
    /// Its name.
    pub protocol: Cow<'static, str>,
    /// Headers of its handshake.
    pub headers: Vec<(String, String)>,
    run: Box<dyn FnOnce(Upgraded) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Upgrade {
    /// Goes on with what `run` makes of the connection.
    pub fn new<F>(
        protocol: impl Into<Cow<'static, str>>,
        headers: Vec<(String, String)>,
        run: impl FnOnce(Upgraded) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            protocol: protocol.into(),
            headers,
            run: Box::new(move |connection| Box::pin(run(connection))),
        }
    }

    /// Runs until the handler is done with the connection.
    pub async fn run(self, connection: Upgraded) {
        (self.run)(connection).await;
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upgrade({})", self.protocol)
    }
}
