//! HTTP requests over connections that are kept and used again.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as Pool, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::{Proxy, Tls};
use crate::connect::Connector;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(90);

/// Sends requests to any server, for those who speak another protocol than Vault's. Cheap to clone; clones share
/// connections.
#[derive(Clone)]
pub struct Transport(Pool<Connector, Body>);

impl Transport {
    /// One to the hosts that requests name. Certificates are read when first needed.
    pub fn new(tls: Tls, proxy: &Proxy) -> Self {
        Self::over(Connector::to_any(tls, proxy))
    }

    pub(crate) fn over(connector: Connector) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Self(pool)
    }

    /// Sends a request to the full URL that it names; answers when the answer's head is there. Nothing is tried again
    /// and no time is limited.
    ///
    /// # Errors
    ///
    /// Why no answer came, in words (`dial tcp 127.0.0.1:8200: connect: connection refused`).
    pub async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Incoming>, String> {
        self.0.request(request).await.map_err(|error| innermost(&error))
    }
}

/// The cause at the bottom of an error's chain: "dial tcp …: connection refused" rather than "client error (Connect)".
fn innermost(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    if text == "connection closed before message completed" { "EOF".to_owned() } else { text }
}
