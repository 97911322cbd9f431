//! Serving connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use strongroom_cluster::{AnswerBody, Origin, feed};
use strongroom_core::Assembly;
use strongroom_engine_api::{BodyMode, Peer, Redactions, Upgrade, UpgradeOffer, Upload};
use strongroom_pipeline::{Answer, AnswerContent, Destination, Inbound, Share};
use strongroom_stdx::pipe;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::body::{self, EdgeError};
use crate::context::{Context, Rules};
use crate::forward::{Payload, not_active};
use crate::forwarded::ForwardedFor;
use crate::intake::{Intake, MAX_OPEN_BODY};
use crate::json::JsonLimits;
use crate::request::{self, Line, Received};
use crate::request_log::RequestLog;
use crate::timeouts::{Limits, Phase, TimedStream};
use crate::upgrade::{self, Handover};
use crate::{header, prefix};

/// Characters that are escaped in a path (RFC 3986, section 3.3), the percent sign among them.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

/// The headers of a response with a status.
pub type HeadersFor = Arc<dyn Fn(u16) -> Vec<(String, String)> + Send + Sync>;

/// The settings of a listener.
#[derive(Clone)]
pub struct EdgeSettings {
    /// Bytes of a body at most.
    pub max_request_size: usize,
    /// The time limit of a request.
    pub max_request_duration: Duration,
    /// The time limit for a client to send its headers.
    pub header_timeout: Duration,
    /// The time limit for a client to send a body; zero: as long as the request may take.
    pub read_timeout: Duration,
    /// The time limit for a client to take an answer; zero: for ever.
    pub write_timeout: Duration,
    /// The longest that a connection may be idle between requests; zero: for ever.
    pub idle_timeout: Duration,
    /// The limits of JSON.
    pub json: JsonLimits,
    /// The memory for bodies, one for all listeners.
    pub intake: Arc<Intake>,
    /// The log of requests that are done.
    pub request_log: RequestLog,
    /// The trust in `X-Forwarded-For`.
    pub forwarded_for: ForwardedFor,
    /// The configured headers of an answer with a status.
    pub custom_headers: HeadersFor,
    /// Bytes of a token at most.
    pub max_token_size: usize,
    /// The namespace that is the listener's root, without surrounding slashes; empty: the root namespace.
    pub chroot_namespace: String,
    /// The facts that are not shown to those who ask without a token.
    pub redactions: Redactions,
    /// A header with this host's name, where asked for.
    pub hostname: Option<String>,
    /// A header with this node's raft id, where asked for.
    pub raft_node_id: Option<String>,
}

/// 32 MiB, 90 seconds, tokens of 8 KiB: Vault's defaults.
impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            max_request_size: 32 << 20,
            max_request_duration: Duration::from_secs(90),
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::ZERO,
            json: JsonLimits::default(),
            intake: Arc::default(),
            request_log: RequestLog::default(),
            idle_timeout: Duration::from_secs(300),
            forwarded_for: ForwardedFor::default(),
            read_timeout: Duration::from_secs(30),
            custom_headers: Arc::new(|_status| Vec::new()),
            max_token_size: 8 << 10,
            chroot_namespace: String::new(),
            redactions: Redactions::default(),
            hostname: None,
            raft_node_id: None,
        }
    }
}

impl EdgeSettings {
    fn rules(&self) -> Rules {
        Rules {
            max_request_size: self.max_request_size,
            max_request_duration: self.max_request_duration,
            max_token_size: self.max_token_size,
            json: self.json,
            redactions: self.redactions,
        }
    }
}

/// One listener's edge.
pub struct Edge {
    core: Arc<Assembly>,
    settings: EdgeSettings,
    in_flight: Arc<AtomicU64>,
}

/// The source of a request: a connection, or another node that forwards it.
#[derive(Clone)]
pub(crate) enum Source {
    /// A client is connected.
    Client(Peer),
    /// Another node hands its client's request on: it is answered here or not at all.
    HandedOn(Origin),
}

impl Source {
    const fn is_handed_on(&self) -> bool {
        matches!(self, Self::HandedOn(_))
    }

    const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Client(peer) => peer.address,
            Self::HandedOn(origin) => origin.peer,
        }
    }
}

impl Edge {
    /// An edge over `core`; `in_flight` counts requests over all listeners.
    pub const fn new(core: Arc<Assembly>, settings: EdgeSettings, in_flight: Arc<AtomicU64>) -> Self {
        Self { core, settings, in_flight }
    }

    /// Serves one connection until the client closes it, or `draining` turns true and the request under way is done.
    pub async fn serve<T>(self: Arc<Self>, stream: T, peer: Peer, mut draining: watch::Receiver<bool>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (edge, phase, handover) = (self.clone(), Phase::default(), Handover::default());
        let kept = handover.clone();
        let limits = Limits {
            idle: self.settings.idle_timeout,
            head: self.settings.header_timeout,
            write: self.settings.write_timeout,
        };
        let stream = TimedStream::new(stream, phase.clone(), limits);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, source, phase) = (edge.clone(), Source::Client(peer.clone()), phase.clone());
            let handover = handover.clone();
            phase.busy();
            async move {
                let one_at_a_time = request.version() <= Version::HTTP_11;
                let answer = edge.answer(request, source, &handover).await;
                // Frames of HTTP/2 come at any time; its pings find a dead peer. How long another protocol may be silent is
                // its own affair.
                if one_at_a_time && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    phase.idle();
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // `TimedStream` tells a slow head from an idle connection; hyper's own timer does not.
        // One small write costs less than a vectored one; answers are small.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).writev(false);
        // A client may end its side once it has asked: it still gets its answer.
        builder.http1().half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(limits.idle).filter(|idle| !idle.is_zero()))
            .max_concurrent_streams(250);
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => log_end(ended),
            () = async { drop(draining.wait_for(|draining| *draining).await) } => {
                serving.as_mut().graceful_shutdown();
                log_end(serving.await);
            }
        }
        if let Some(work) = kept.take() {
            tokio::select! {
                () = work => {}
                () = async { drop(draining.wait_for(|draining| *draining).await) } => {}
            }
        }
    }

    pub(crate) const fn core(&self) -> &Arc<Assembly> {
        &self.core
    }

    pub(crate) async fn answer(
        &self,
        mut request: Request<Incoming>,
        source: Source,
        handover: &Handover,
    ) -> Response<AnswerBody> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let head = request.method() == Method::HEAD;
        let may_leave_a_body = request.version() <= Version::HTTP_11 && request::reads_body(request.method());
        let (clock, peer) = (&self.core.services.environment.clock, source.address());
        let offered = if source.is_handed_on() { None } else { upgrade::offered(&mut request) };
        let (offer, connection) = offered.map(|offered| (offered.offer, offered.connection)).unzip();
        let logged = self.settings.request_log.begin(&request, clock).map(|begun| {
            // Who is refused for what their proxy said is logged as the proxy.
            (begun, self.settings.forwarded_for.caller(peer, request.headers()).unwrap_or(peer))
        });
        // On the heap: what hyper keeps and moves of a request stays small.
        let handled = Box::pin(self.handle(request, source, offer)).await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let answer = match handled {
            Ok(answer) => answer,
            Err(refusal) => {
                let mut answer = refused(&refusal);
                if may_leave_a_body {
                    answer.headers.push(closing());
                }
                answer
            }
        };
        if let Some((begun, caller)) = logged {
            begun.end(answer.status, caller, clock.now());
        }
        self.response(answer, head, connection, handover)
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        source: Source,
        offer: Option<Arc<UpgradeOffer>>,
    ) -> Result<Answer, EdgeError> {
        let (mut parts, incoming) = request.into_parts();
        request::check_host(&parts)?;
        if let Some(page) = prefix::page(&parts) {
            return Ok(page);
        }
        let line = Line::read(&parts)?;
        let is_handed_on = source.is_handed_on();
        let context = self.context(source, &mut parts)?;
        // Where that cannot be made out now, it is again once the body is there, and refused then.
        let to = self.core.pipeline.resolve(line.asked, &context.namespace, &line.path).await.ok();
        if let Some(canonical) = request::canonical(&line.path)
            && !to.as_ref().is_some_and(Destination::owns_raw_tail)
        {
            return Ok(moved(&canonical, parts.uri.query(), request::reads_body(&parts.method)));
        }
        if is_handed_on && self.core.services.node.is_standby() {
            return Ok(not_active());
        }
        let mode = if request::reads_body(&parts.method) {
            to.as_ref().map(Destination::body_mode)
        } else {
            Some(BodyMode::Json)
        };
        let line = Line { destination: to, ..line };
        if mode == Some(BodyMode::Stream) {
            return Box::pin(self.handle_upload(line, parts, incoming, context)).await;
        }
        let late = |_elapsed| EdgeError(503, "request took longer than max_request_duration".to_owned());
        let longest = context.rules.max_request_duration;
        let handled = pin!(self.handle_whole(line, parts, incoming, context, mode, offer));
        tokio::time::timeout(longest, handled).await.map_err(late)?
    }

    /// The context of a request, made out here or by the node that forwards it.
    fn context(&self, source: Source, parts: &mut Parts) -> Result<Context, EdgeError> {
        match source {
            Source::HandedOn(origin) => Context::from_origin(origin),
            Source::Client(connected) => {
                let peer = self.settings.forwarded_for.peer(connected, &mut parts.headers);
                Ok(Context {
                    peer: peer.map_err(|text| EdgeError(400, text))?,
                    namespace: header::namespace(&parts.headers, &self.settings.chroot_namespace)?,
                    chroot: self.settings.chroot_namespace.clone(),
                    rules: self.settings.rules(),
                })
            }
        }
    }

    /// A request whose body is read whole, or that has none. Of one whose `mode` is not known the bytes are read and not
    /// looked at.
    async fn handle_whole(
        &self,
        line: Line,
        parts: Parts,
        incoming: Incoming,
        context: Context,
        mode: Option<BodyMode>,
        offer: Option<Arc<UpgradeOffer>>,
    ) -> Result<Answer, EdgeError> {
        let is_open = line.destination.as_ref().is_none_or(Destination::is_open);
        let mut share = self.settings.intake.share();
        let bytes = self.read_body(&parts, incoming, &context, (mode, is_open), &mut share).await?;
        let received = match mode {
            Some(BodyMode::Json) => {
                let content_type = || request::content_type(&parts);
                let intake = &self.settings.intake;
                Intake::weigh(&bytes, is_open, &mut share)?;
                match intake.parse_large(&bytes, content_type, context.rules.json).await? {
                    Some(members) => Received::Members(members),
                    None => Received::Json(bytes.clone()),
                }
            }
            Some(BodyMode::Bytes { .. } | BodyMode::Stream) | None => Received::Bytes(bytes.clone()),
        };
        if !self.core.services.node.is_standby() {
            drop(bytes);
            let inbound = self.inbound(line, parts, received, &context, offer)?;
            // A request in a task of its own outlives its connection, and so does what it takes.
            return Ok(self.core.pipeline.handle(Inbound { memory: Some(share), ..inbound }).await);
        }
        let inbound = self.inbound(line, parts.clone(), received, &context, offer)?;
        match self.core.pipeline.handle_as_standby(inbound).await {
            Some(answer) => Ok(answer),
            None => Box::pin(self.forward(parts, Payload::Whole(bytes), context)).await,
        }
    }

    async fn read_body(
        &self,
        parts: &Parts,
        incoming: Incoming,
        context: &Context,
        (mode, is_open): (Option<BodyMode>, bool),
        share: &mut Share,
    ) -> Result<Bytes, EdgeError> {
        if !request::reads_body(&parts.method) {
            return Ok(Bytes::new());
        }
        let rules = &context.rules;
        let (most, too_large) = match mode {
            Some(BodyMode::Bytes { max }) => (max.min(rules.max_request_size), "request body too large"),
            _ => (rules.max_request_size, "failed to parse JSON input: http: request body too large"),
        };
        let most = if is_open { most.min(MAX_OPEN_BODY) } else { most };
        let reading = body::read(incoming, most, too_large, share);
        let patience = match self.settings.read_timeout {
            Duration::ZERO => rules.max_request_duration,
            patience => patience,
        };
        let slow = |_elapsed| EdgeError(408, "request body took too long".to_owned());
        tokio::time::timeout(patience, reading).await.map_err(slow)?
    }

    /// A request whose body its handler takes as it comes. It may take as long as it likes, as long as it comes.
    async fn handle_upload(
        &self,
        line: Line,
        parts: Parts,
        incoming: Incoming,
        context: Context,
    ) -> Result<Answer, EdgeError> {
        let (writer, reader) = pipe();
        let patience = Some(self.settings.read_timeout).filter(|patience| !patience.is_zero());
        tokio::spawn(feed(incoming, writer, patience));
        let (upload, version) = (Upload::new(reader), parts.version);
        let mut answer = if self.core.services.node.is_standby() {
            self.forward(parts, Payload::Upload(upload), context).await?
        } else {
            let inbound = self.inbound(line, parts, Received::Stream(upload), &context, None)?;
            self.core.pipeline.handle(inbound).await
        };
        if version <= Version::HTTP_11 && answer.status >= 400 {
            answer.headers.push(closing());
        }
        Ok(answer)
    }

    /// The core's request.
    pub(crate) fn inbound(
        &self,
        line: Line,
        parts: Parts,
        received: Received,
        context: &Context,
        offer: Option<Arc<UpgradeOffer>>,
    ) -> Result<Inbound, EdgeError> {
        let id = self.core.services.environment.entropy.public_uuid();
        let id = id.map_err(|error| EdgeError(500, error.to_string()))?.into();
        request::inbound(line, parts, received, id, context, offer)
    }

    fn response(
        &self,
        mut answer: Answer,
        head: bool,
        connection: Option<OnUpgrade>,
        handover: &Handover,
    ) -> Response<AnswerBody> {
        let body = match answer.body {
            AnswerContent::Upgrade(upgrade) => {
                let Some(connection) = connection else {
                    let text = "this connection cannot be handed over";
                    return self.response(refused(&EdgeError(426, text.to_owned())), head, None, handover);
                };
                answer.headers = handshake(&upgrade);
                handover.keep(connection, upgrade);
                AnswerBody::whole(Bytes::new())
            }
            _ if head => AnswerBody::whole(Bytes::new()),
            AnswerContent::Whole(bytes) => AnswerBody::whole(bytes),
            AnswerContent::Stream(pieces) => pieces.into(),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
        if !answer.content_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(&answer.content_type).unwrap_or(TEXT));
        }
        let custom = (self.settings.custom_headers)(answer.status);
        let own = [
            ("X-Vault-Hostname", &self.settings.hostname),
            ("X-Vault-Raft-Node-ID", &self.settings.raft_node_id),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name.to_owned(), value.clone())));
        // What is answered may have a header several times; what is configured has it once.
        let field =
            |(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?));
        let mut answered = HeaderMap::new();
        for (name, value) in answer.headers.into_iter().filter_map(field) {
            answered.append(name, value);
        }
        headers.extend(answered);
        for (name, value) in custom.into_iter().chain(own).filter_map(field) {
            headers.insert(name, value);
        }
        response
    }
}

/// The header that ends the connection: what was not read of a body would be taken for the next request.
fn closing() -> (String, String) {
    ("Connection".to_owned(), "close".to_owned())
}

/// The answer to a path in another than its one form: where that is. The host is left to the client, since a `Host`
/// header may say anything.
fn moved(canonical: &str, query: Option<&str>, may_leave_a_body: bool) -> Answer {
    let mut location = format!("/v1/{}", utf8_percent_encode(canonical, NOT_IN_PATHS));
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut headers = vec![("Location".to_owned(), location)];
    headers.extend(may_leave_a_body.then(closing));
    Answer { status: 307, content_type: "".into(), body: Bytes::new().into(), headers }
}

/// The headers with which a connection is handed over.
fn handshake(upgrade: &Upgrade) -> Vec<(String, String)> {
    let switch = [("Connection", "Upgrade"), ("Upgrade", &*upgrade.protocol)];
    let switch = switch.map(|(name, value)| (name.to_owned(), value.to_owned()));
    switch.into_iter().chain(upgrade.headers.iter().cloned()).collect()
}

fn refused(refusal: &EdgeError) -> Answer {
    let EdgeError(status, text) = refusal;
    let errors: Vec<&str> = if text.is_empty() { Vec::new() } else { vec![text] };
    let body = format!("{}\n", serde_json::json!({ "errors": errors }));
    Answer {
        status: *status,
        content_type: "application/json".into(),
        body: body.into(),
        headers: Vec::new(),
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
