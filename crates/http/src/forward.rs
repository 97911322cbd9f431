//! Forwards a request from a standby to the active node, and receives it there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use strongroom_cluster::{AnswerBody, Body, Forwarded, Origin, feed, streamed, whole};
use strongroom_engine_api::{BodyMode, Upload};
use strongroom_pipeline::{Answer, AnswerContent, Destination};
use strongroom_raft::TransportError;
use strongroom_stdx::pipe;

use crate::body::EdgeError;
use crate::context::Context;
use crate::edge::{Edge, Source};
use crate::inline_auth;
use crate::request::{self, Received};
use crate::upgrade::Handover;

/// The time to wait for an active node, and the interval between two looks.
const ACTIVE_NODE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Headers of the active node's answer that this node writes itself.
const OWN: [http::HeaderName; 5] =
    [CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, STRICT_TRANSPORT_SECURITY];

/// Says, between nodes, that nothing was done because the node asked is not the active one.
const NOT_ACTIVE: &str = "x-strongroom-not-active";

impl Edge {
    /// Has the active node answer. Waits a while for one where an election is under way; what was sent is never sent
    /// again.
    pub(crate) async fn forward(
        &self,
        mut parts: Parts,
        payload: Payload,
        mut context: Context,
    ) -> Result<Answer, EdgeError> {
        inline_auth::forwarded(&mut parts.headers, &context.chroot)?;
        context.chroot.clear();
        let origin = context.to_origin()?;
        let core = self.core();
        let clock = &core.services.environment.clock;
        let began = clock.now();
        loop {
            if !core.services.node.is_standby() {
                // It is this node now, or it was sealed meanwhile.
                return self.handle_here(parts, payload, &context).await;
            }
            if let Some((peer, network)) = core.services.node.way_to_active() {
                let request = Request::from_parts(parts.clone(), payload.body()?);
                let request = origin.attach(request).map_err(|error| EdgeError(400, error.to_string()))?;
                match network.send(&peer, request).await {
                    Ok(response) if response.headers().contains_key(NOT_ACTIVE) => {
                        tracing::debug!(node = peer.node_id, "the node is not the active one any more");
                    }
                    Ok(response) => return answer_of(response).await,
                    Err(TransportError::Unreachable(error)) => {
                        tracing::debug!(error, "the active node is not reached");
                    }
                    Err(TransportError::Failed(error)) => return Err(uncertain(&error)),
                }
            }
            // Who has been waited for long enough by others is not waited for again.
            let waited =
                core.services.node.without_quorum().unwrap_or_default().max(clock.now().since(began));
            if waited >= ACTIVE_NODE_TIMEOUT {
                let text = "local node not active but active cluster node not found";
                return Err(EdgeError(500, text.to_owned()));
            }
            clock.sleep(POLL_INTERVAL).await;
        }
    }

    async fn handle_here(
        &self,
        parts: Parts,
        payload: Payload,
        context: &Context,
    ) -> Result<Answer, EdgeError> {
        let mut line = request::Line::read(&parts)?;
        let to = self.core().pipeline.resolve(line.asked, &context.namespace, &line.path).await.ok();
        let mode = to.as_ref().map(Destination::body_mode);
        line.destination = to;
        let received = match payload {
            Payload::Upload(upload) => Received::Stream(upload),
            Payload::Whole(bytes) if !request::reads_body(&parts.method) => Received::Json(bytes),
            Payload::Whole(bytes) if mode == Some(BodyMode::Json) => Received::Json(bytes),
            Payload::Whole(bytes) => Received::Bytes(bytes),
        };
        let inbound = self.inbound(line, parts, received, context, None)?;
        Ok(self.core().pipeline.handle(inbound).await)
    }
}

/// The body of a request that may be handed on.
pub(crate) enum Payload {
    /// A complete body: it can be sent again if nothing was sent.
    Whole(Bytes),
    /// As it comes.
    Upload(Upload),
}

impl Payload {
    fn body(&self) -> Result<Body, EdgeError> {
        match self {
            Self::Whole(bytes) => Ok(whole(bytes.clone())),
            Self::Upload(upload) => upload.take().map(streamed).ok_or_else(|| {
                EdgeError(503, "the active node was not reached; send the request again".to_owned())
            }),
        }
    }
}

/// The answer of a node that is not active to one that forwards: the other looks again for the active node. Two nodes
/// of which each takes the other for the active one would hand a request to and fro otherwise.
pub(crate) fn not_active() -> Answer {
    Answer {
        status: 503,
        content_type: "".into(),
        body: Bytes::new().into(),
        headers: vec![(NOT_ACTIVE.to_owned(), "true".to_owned())],
    }
}

fn uncertain(error: &str) -> EdgeError {
    tracing::warn!(error, "forwarded request got no response");
    EdgeError(
        502,
        "the active node was lost while it worked on the request; it may have taken effect".to_owned(),
    )
}

async fn answer_of(response: Response<Incoming>) -> Result<Answer, EdgeError> {
    let (parts, body) = response.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let content_type = parts.headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let headers = parts.headers.iter().filter(|(name, _)| !OWN.contains(name));
    let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = if body.size_hint().exact().is_some() {
        body.collect().await.map_err(|error| uncertain(&error.to_string()))?.to_bytes().into()
    } else {
        let (writer, reader) = pipe();
        tokio::spawn(feed(body, writer, None));
        AnswerContent::Stream(reader)
    };
    Ok(Answer { status: parts.status.as_u16(), content_type: content_type.into(), body, headers })
}

#[async_trait]
impl Forwarded for Edge {
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Response<AnswerBody> {
        self.answer(request, Source::HandedOn(origin), &Handover::default()).await
    }
}
