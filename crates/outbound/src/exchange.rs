//! One request over one connection: opened, or used again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use strongroom_outbound_api::{Error, Phase, Reason, Stream, Target};

use crate::outbound::Outbound;
use crate::pool::{Key, Pool, Reached, Sender};
use crate::proxy::{Proxy, tunnel};

/// An answer's body, as it comes.
pub use hyper::body::Incoming;

/// A request's body.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// The interval of pings to a server while a request waits for it (HTTP/2), and the time limit of their answers.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The cause at the bottom of an error's chain: what happened, rather than where it was noticed.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    // Go's word for it, by which scripts know it.
    if text == "connection closed before message completed" { "EOF".to_owned() } else { text }
}

/// The progress of a request.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// A redirect ago, a request was sent.
    pub(crate) sent_before: AtomicBool,
    sending: AtomicBool,
}

impl Progress {
    pub(crate) fn may_have_arrived(&self) -> bool {
        self.sent_before.load(Ordering::SeqCst) || self.sending.load(Ordering::SeqCst)
    }

    pub(crate) fn sending(&self, is_so: bool) {
        self.sending.store(is_so, Ordering::SeqCst);
    }
}

/// A connection whose answer is still to be read.
pub(crate) struct InUse {
    pool: Arc<Pool>,
    key: Key,
    sender: Sender,
    reached: Reached,
}

impl InUse {
    /// Keeps the connection for the next request, once it can take one.
    pub(crate) async fn give_back(self) {
        let Self { pool, key, sender, reached } = self;
        // One that takes many requests is in the pool already.
        if let Sender::One(mut sender) = sender
            && sender.ready().await.is_ok()
        {
            pool.keep(key, Sender::One(sender), reached);
        }
    }
}

impl Outbound {
    /// Sends a request to the full URL that it names and answers with the head of the answer, for bodies that are read as
    /// they come. No redirect is followed, the answer is not bounded, and of the time-outs those for connecting hold.
    ///
    /// # Errors
    ///
    /// As [`Outbound::http`].
    pub async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Incoming>, Error> {
        let (response, in_use) = self.exchange(request, &Progress::default()).await?;
        tokio::spawn(in_use.give_back());
        Ok(response)
    }

    pub(crate) async fn exchange(
        &self,
        mut request: http::Request<Body>,
        progress: &Progress,
    ) -> Result<(http::Response<Incoming>, InUse), Error> {
        let url = request.uri().clone();
        let target = Target::of(&url)?;
        let not_sent = |reason| Error::NotSent { to: target.shown(), reason };
        let proxy =
            self.network.proxies.proxy_for(target.https, &target.host, target.port()).map_err(not_sent)?;
        let proxy = proxy.filter(|_| self.network.unix_socket.is_none());
        let key = Key {
            https: target.https,
            host: target.host.clone(),
            port: target.port,
            proxy,
            tls: target.https.then(|| self.tls.clone()),
        };
        loop {
            let waiting = self.network.pool.take(&key, |reached| self.permits(reached));
            let is_new = waiting.is_none();
            let (mut sender, reached) = match waiting {
                Some(waiting) => waiting,
                None => self.open(&target, &key).await.map_err(not_sent)?,
            };
            sender.prepare(&mut request, &url, key.proxy.as_deref());
            progress.sending(true);
            match sender.send(request).await {
                Ok(response) => {
                    let pool = self.network.pool.clone();
                    return Ok((response, InUse { pool, key, sender, reached }));
                }
                Err((Some(unsent), error)) => {
                    progress.sending(false);
                    if is_new {
                        return Err(not_sent(Reason::Broken(innermost(&error))));
                    }
                    // The server had closed it: nothing was sent.
                    request = unsent;
                }
                Err((None, error)) => {
                    let reason = Reason::Broken(innermost(&error));
                    return Err(Error::MayHaveArrived { to: target.shown(), reason });
                }
            }
        }
    }

    /// True if a connection goes to an address to which this caller may connect.
    fn permits(&self, reached: &Reached) -> bool {
        let Some(peer) = reached.peer else { return true };
        if self.policy.is_unrestricted() {
            return true;
        }
        let is_unknown = reached.is_behind_proxy && reached.behind.is_empty();
        self.check(peer).is_ok()
            && self.check_own(peer, reached.is_here).is_ok()
            && reached.behind.iter().all(|address| self.check(*address).is_ok())
            && !(is_unknown && self.policy.needs_an_address())
    }

    async fn open(&self, target: &Target, key: &Key) -> Result<(Sender, Reached), Reason> {
        let service = match target.port {
            Some(_) => Ok(None),
            None => self.network.resolver.service(&target.host).await,
        };
        let service = service.map_err(|error| Reason::Lookup(error.to_string()))?;
        let (host, port) = service.unwrap_or_else(|| (target.host.clone(), target.port()));
        let mut reached = Reached::default();
        let mut stream = match &key.proxy {
            None => self.dial(&host, port).await?,
            Some(proxy) => {
                let behind = self.addresses_behind_proxy(&host, port).await?;
                reached.behind = behind.into_iter().map(|address| SocketAddr::new(address, port)).collect();
                reached.is_behind_proxy = true;
                self.through(proxy, target.https, &host, port).await?
            }
        };
        (reached.peer, reached.is_here) = (stream.peer(), stream.is_here());
        if target.https {
            let protocols: &[&[u8]] = if self.network.http2 { &[HTTP_2, HTTP_1] } else { &[HTTP_1] };
            stream = self.secure(stream, &target.host, protocols).await?;
        }
        let sender = handshake(stream).await.map_err(|error| Reason::Broken(innermost(&error)))?;
        if let Sender::Many(sender) = &sender {
            self.network.pool.keep(key.clone(), Sender::Many(sender.clone()), reached.clone());
        }
        Ok((sender, reached))
    }

    /// Connects to a proxy and, for `https`, through it.
    async fn through(&self, proxy: &Proxy, https: bool, host: &str, port: u16) -> Result<Stream, Reason> {
        let mut stream = self.dial(&proxy.host, proxy.port).await?;
        if proxy.https {
            let outbound = self.with_tls(self.tls.for_another_host());
            stream = outbound.secure(stream, &proxy.host, &[HTTP_1]).await?;
        }
        if https {
            let led =
                self.network.within(self.timeouts.handshake, tunnel(&mut stream, proxy, host, port)).await;
            led.ok_or(Reason::TimedOut(Phase::Handshake))??;
        }
        Ok(stream)
    }
}

async fn handshake(stream: Stream) -> Result<Sender, hyper::Error> {
    let is_http2 = stream.protocol() == Some(HTTP_2);
    let io = TokioIo::new(stream);
    if is_http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // Detects a server that went away without closing the connection, which would be used without end otherwise.
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
        let (sender, serving) = builder.handshake(io).await?;
        tokio::spawn(serve(serving));
        return Ok(Sender::Many(sender));
    }
    let (sender, serving) = http1::handshake(io).await?;
    tokio::spawn(serve(serving));
    Ok(Sender::One(sender))
}

async fn serve(serving: impl Future<Output = hyper::Result<()>>) {
    if let Err(error) = serving.await {
        tracing::debug!(%error, "an outgoing connection ended");
    }
}

impl Sender {
    /// Puts the URL into the form that the connection needs, and what belongs to it into the headers.
    fn prepare(&self, request: &mut http::Request<Body>, url: &Uri, proxy: Option<&Proxy>) {
        // HTTP/2 has them in the URL.
        if let Self::Many(_) = self {
            *request.uri_mut() = url.clone();
            return;
        }
        let https = url.scheme_str() == Some("https");
        let named = match (url.host().unwrap_or_default(), url.port_u16()) {
            (host, None) => host.to_owned(),
            (host, Some(443)) if https => host.to_owned(),
            (host, Some(80)) if !https => host.to_owned(),
            (host, Some(port)) => format!("{host}:{port}"),
        };
        if let Ok(named) = HeaderValue::try_from(named) {
            request.headers_mut().entry(HOST).or_insert(named);
        }
        let plain_proxy = proxy.filter(|_| !https);
        if let Some(login) = plain_proxy.and_then(|proxy| proxy.login.clone()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        *request.uri_mut() = match url.path_and_query() {
            Some(path) if plain_proxy.is_none() => Uri::from(path.clone()),
            _ => url.clone(),
        };
    }

    /// Sends a request; where it fails, answers with the request if nothing of it was sent.
    async fn send(
        &mut self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Incoming>, (Option<http::Request<Body>>, hyper::Error)> {
        let sent = match self {
            Self::One(sender) => sender.try_send_request(request).await,
            Self::Many(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut failure| (failure.take_message(), failure.into_error()))
    }
}
