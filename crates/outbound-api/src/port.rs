//! The port that requests and connections go through.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::{Error, Reason, Request, Response, SharedTls, Stream, authority};

/// The time limit of each step; `None`: without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Looking up a name and connecting, all its addresses together.
    pub connect: Option<Duration>,
    /// Securing a connection, and being led through a proxy.
    pub handshake: Option<Duration>,
    /// A request with all that belongs to it, redirects and the answer's body too.
    pub whole: Option<Duration>,
}

impl Timeouts {
    /// No limits: for callers that have one of their own around it.
    pub const NONE: Self = Self { connect: None, handshake: None, whole: None };
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(10)),
            handshake: Some(Duration::from_secs(10)),
            whole: Some(Duration::from_mins(1)),
        }
    }
}

impl Timeouts {
    /// The same, and no step longer than `limit`.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        let least = |own: Option<Duration>| Some(own.map_or(limit, |own| own.min(limit)));
        Self { connect: least(self.connect), handshake: least(self.handshake), whole: least(self.whole) }
    }
}

/// The options of one caller's requests and connections, beside the rules that hold for all of them.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// The time limit of each step.
    pub timeouts: Timeouts,
    /// The trust anchors and the client certificate; `None`: the system's authorities, and no certificate.
    pub tls: Option<SharedTls>,
}

/// Carries out requests and connections. Addresses are checked against the rules of the implementation, which no caller
/// can widen.
pub trait WayOut: fmt::Debug + Send + Sync + 'static {
    /// Sends a request and reads its answer whole. [`Error::NotSent`] where nothing of it left this machine, else
    /// [`Error::MayHaveArrived`].
    fn http(&self, request: Request, manner: Manner) -> BoxFuture<'_, Result<Response, Error>>;

    /// Connects to a port of a host, without TLS. Failures are [`Error::NotSent`].
    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>>;

    /// Secures a connection to `host`, and offers `protocols` in the handshake. Failures are [`Error::NotSent`].
    fn secure<'a>(
        &'a self,
        stream: Stream,
        host: &'a str,
        protocols: &'a [&'a [u8]],
        manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>>;
}

/// The way out of a server that has none: nothing is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWayOut;

impl NoWayOut {
    fn refused(to: String) -> Error {
        Error::NotSent { to, reason: Reason::Forbidden("this server connects to nothing outside".to_owned()) }
    }
}

impl WayOut for NoWayOut {
    fn http(&self, request: Request, _manner: Manner) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(std::future::ready(Err(Self::refused(request.shown()))))
    }

    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        _manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>> {
        Box::pin(std::future::ready(Err(Self::refused(authority(host, port)))))
    }

    fn secure<'a>(
        &'a self,
        _stream: Stream,
        host: &'a str,
        _protocols: &'a [&'a [u8]],
        _manner: Manner,
    ) -> BoxFuture<'a, Result<Stream, Error>> {
        Box::pin(std::future::ready(Err(Self::refused(host.to_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_shortens_steps_and_lengthens_none() {
        let second = Duration::from_secs(1);
        let limited = Timeouts::default().within(second);
        assert_eq!((limited.connect, limited.whole), (Some(second), Some(second)));
        let short = Timeouts { connect: Some(Duration::from_millis(5)), ..Timeouts::NONE }.within(second);
        assert_eq!((short.connect, short.handshake), (Some(Duration::from_millis(5)), Some(second)));
    }

    #[tokio::test]
    async fn without_a_way_out_nothing_is_sent() {
        let error =
            NoWayOut.http(Request::get("https://u.example/secret"), Manner::default()).await.unwrap_err();
        assert!(error.is_not_sent());
        assert_eq!(error.to_string(), "https://u.example:443: this server connects to nothing outside");
    }
}
