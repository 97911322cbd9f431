//! Serving connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use strongroom_cluster::{AnswerBody, Origin, feed};
use strongroom_core::{Answer, Core, Inbound};
use strongroom_engine_api::{ReplyBody, Upload};
use strongroom_stdx::pipe;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::body::{self, Refusal};
use crate::completed::RequestLog;
use crate::forward::{Payload, not_active};
use crate::forwarded::ForwardedFor;
use crate::json::JsonLimits;
use crate::patience::{Limits, Patient, Phase};
use crate::request::{self, Line};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain");

/// Which headers an answer with a status gets.
pub type HeadersFor = Arc<dyn Fn(u16) -> Vec<(String, String)> + Send + Sync>;

/// What a listener's configuration decides.
#[derive(Clone)]
pub struct EdgeSettings {
    /// Bytes of a body at most.
    pub max_request_size: usize,
    /// How long a request may take.
    pub max_request_duration: Duration,
    /// How long a client may take to send its headers.
    pub header_timeout: Duration,
    /// How long a client may take to send a body; zero: as long as the request may.
    pub read_timeout: Duration,
    /// How long a client may take to take an answer; zero: for ever.
    pub write_timeout: Duration,
    /// How long a connection may be idle between requests; zero: for ever.
    pub idle_timeout: Duration,
    /// What JSON is taken.
    pub json: JsonLimits,
    /// Whether and how requests are logged when they are done.
    pub request_log: RequestLog,
    /// Whose address counts.
    pub forwarded_for: ForwardedFor,
    /// The configured headers of an answer with a status.
    pub custom_headers: HeadersFor,
    /// A header with this host's name, where asked for.
    pub hostname: Option<String>,
    /// A header with this node's raft id, where asked for.
    pub raft_node_id: Option<String>,
}

/// 32 MiB and 90 seconds: Vault's defaults.
impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            max_request_size: 32 << 20,
            max_request_duration: Duration::from_secs(90),
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::ZERO,
            json: JsonLimits::default(),
            request_log: RequestLog::default(),
            idle_timeout: Duration::from_secs(300),
            forwarded_for: ForwardedFor::default(),
            read_timeout: Duration::from_secs(30),
            custom_headers: Arc::new(|_status| Vec::new()),
            hostname: None,
            raft_node_id: None,
        }
    }
}

/// One listener's edge.
pub struct Edge {
    core: Arc<Core>,
    settings: EdgeSettings,
    in_flight: Arc<AtomicU64>,
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The peer.
    pub peer: Option<SocketAddr>,
    /// The serial number of the client's certificate, as Vault prints it.
    pub certificate_serial: String,
    /// Another node hands its client's request on: it is answered here or not at all.
    pub is_handed_on: bool,
}

impl Edge {
    /// An edge over `core`; `in_flight` counts requests over all listeners.
    pub const fn new(core: Arc<Core>, settings: EdgeSettings, in_flight: Arc<AtomicU64>) -> Self {
        Self { core, settings, in_flight }
    }

    /// Serves one connection until the client closes it, or `draining` turns true and the request under way is done.
    pub async fn serve<T>(
        self: Arc<Self>,
        stream: T,
        connection: Connection,
        mut draining: watch::Receiver<bool>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (edge, phase) = (self.clone(), Phase::default());
        let limits = Limits {
            idle: self.settings.idle_timeout,
            head: self.settings.header_timeout,
            write: self.settings.write_timeout,
        };
        let stream = Patient::new(stream, phase.clone(), limits);
        let service = service_fn(move |request: Request<Incoming>| {
            let (edge, connection, phase) = (edge.clone(), connection.clone(), phase.clone());
            phase.busy();
            async move {
                let one_at_a_time = request.version() <= Version::HTTP_11;
                let answer = edge.answer(request, connection).await;
                // Frames of HTTP/2 come at any time; its pings find a dead peer.
                if one_at_a_time {
                    phase.idle();
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // `Patient` tells a slow head from an idle connection; hyper's own timer does not.
        // One small write costs less than a vectored one; answers are small.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(None).writev(false);
        // A client may end its side once it has asked: it still gets its answer.
        builder.http1().half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(limits.idle).filter(|idle| !idle.is_zero()))
            .max_concurrent_streams(250);
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        tokio::select! {
            ended = serving.as_mut() => log_end(ended),
            () = async { drop(draining.wait_for(|draining| *draining).await) } => {
                serving.as_mut().graceful_shutdown();
                log_end(serving.await);
            }
        }
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Response<AnswerBody> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let head = request.method() == Method::HEAD;
        let may_leave_a_body = request.version() <= Version::HTTP_11 && request::reads_body(request.method());
        let (clock, peer) = (&self.core.environment().clock, connection.peer);
        let logged = self.settings.request_log.begin(&request, clock).map(|begun| {
            // Who is refused for what their proxy said is logged as the proxy.
            (begun, self.settings.forwarded_for.caller(peer, request.headers()).unwrap_or(peer))
        });
        let handled = self.handle(request, connection).await;
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
        self.response(answer, head)
    }

    async fn handle(&self, request: Request<Incoming>, connection: Connection) -> Result<Answer, Refusal> {
        let (parts, incoming) = request.into_parts();
        request::check_host(&parts)?;
        let line = Line::read(&parts)?;
        let forwarded = &self.settings.forwarded_for;
        let peer = forwarded.caller(connection.peer, &parts.headers).map_err(|text| Refusal(400, text))?;
        let origin = Origin { peer, certificate_serial: connection.certificate_serial };
        if connection.is_handed_on && self.core.is_standby() {
            return Ok(not_active());
        }
        if request::reads_body(&parts.method) && self.core.takes_upload(line.asked, &line.path) {
            return Box::pin(self.handle_upload(line, parts, incoming, origin)).await;
        }
        let late = |_elapsed| Refusal(503, "request took longer than max_request_duration".to_owned());
        let handled = self.handle_whole(line, parts, incoming, origin);
        tokio::time::timeout(self.settings.max_request_duration, handled).await.map_err(late)?
    }

    /// A request whose body is read whole, or that has none.
    async fn handle_whole(
        &self,
        line: Line,
        parts: Parts,
        incoming: Incoming,
        origin: Origin,
    ) -> Result<Answer, Refusal> {
        let bytes = if request::reads_body(&parts.method) {
            let reading = body::read(incoming, self.settings.max_request_size);
            let patience = match self.settings.read_timeout {
                Duration::ZERO => self.settings.max_request_duration,
                patience => patience,
            };
            let slow = |_elapsed| Refusal(408, "request body took too long".to_owned());
            tokio::time::timeout(patience, reading).await.map_err(slow)??
        } else {
            Bytes::new()
        };
        if !self.core.is_standby() {
            let inbound = self.inbound(line, parts, &bytes, origin)?;
            return Ok(self.core.handle(inbound).await);
        }
        let inbound = self.inbound(line, parts.clone(), &bytes, origin.clone())?;
        match self.core.handle_as_standby(inbound).await {
            Some(answer) => Ok(answer),
            None => Box::pin(self.forward(parts, Payload::Whole(bytes), origin)).await,
        }
    }

    /// A request whose body its handler takes as it comes. It may take as long as it likes, as long as it comes.
    async fn handle_upload(
        &self,
        line: Line,
        parts: Parts,
        incoming: Incoming,
        origin: Origin,
    ) -> Result<Answer, Refusal> {
        let (writer, reader) = pipe();
        let patience = Some(self.settings.read_timeout).filter(|patience| !patience.is_zero());
        tokio::spawn(feed(incoming, writer, patience));
        let (upload, version) = (Upload::new(reader), parts.version);
        let mut answer = if self.core.is_standby() {
            self.forward(parts, Payload::Upload(upload), origin).await?
        } else {
            let inbound = Inbound { upload: Some(upload), ..self.inbound(line, parts, &[], origin)? };
            self.core.handle(inbound).await
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
        bytes: &[u8],
        origin: Origin,
    ) -> Result<Inbound, Refusal> {
        let id = self.core.environment().entropy.public_uuid();
        let id = id.map_err(|error| Refusal(500, error.to_string()))?.into();
        let Origin { peer, certificate_serial } = origin;
        request::inbound(line, parts, bytes, id, peer, certificate_serial, &self.settings.json)
    }

    fn response(&self, answer: Answer, head: bool) -> Response<AnswerBody> {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match answer.body {
            _ if head => AnswerBody::whole(Bytes::new()),
            ReplyBody::Whole(bytes) => AnswerBody::whole(bytes),
            ReplyBody::Stream(pieces) => pieces.into(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
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
        for (name, value) in answer.headers.into_iter().chain(custom).chain(own) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// What was not read of a body would be taken for the next request.
fn closing() -> (String, String) {
    ("Connection".to_owned(), "close".to_owned())
}

fn refused(refusal: &Refusal) -> Answer {
    let Refusal(status, text) = refusal;
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
