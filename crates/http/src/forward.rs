//! Handing a request from a standby to the active node, and taking it in there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, STRICT_TRANSPORT_SECURITY};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use strongroom_cluster::{Forwarded, Origin, whole};
use strongroom_core::Answer;
use strongroom_raft::TransportError;

use crate::body::Refusal;
use crate::edge::{Connection, Edge};
use crate::request;

/// How long it is waited for an active node, and how long between two looks.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// Headers of the active node's answer that this node writes itself.
const OWN: [http::HeaderName; 5] =
    [CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, STRICT_TRANSPORT_SECURITY];

impl Edge {
    /// Has the active node answer. Waits a while for one where an election is under way; what was sent is never sent
    /// again.
    pub(crate) async fn forward(
        &self,
        parts: Parts,
        bytes: Bytes,
        origin: Origin,
    ) -> Result<Answer, Refusal> {
        let core = self.core();
        let clock = &core.environment().clock;
        let began = clock.now();
        loop {
            if !core.is_standby() {
                // It is this node now, or it was sealed meanwhile.
                return self.handle_here(parts, &bytes, origin).await;
            }
            let peer = core.cluster().and_then(strongroom_core::ClusterNode::active_peer);
            if let Some((peer, node)) = peer.zip(core.cluster()) {
                let request = Request::from_parts(parts.clone(), whole(bytes.clone()));
                let request = origin.attach(request).map_err(|error| Refusal(400, error.to_string()))?;
                match node.network.send(&peer, request).await {
                    Ok(response) => return answer_of(response).await,
                    Err(TransportError::Unreachable(error)) => {
                        tracing::debug!(error, "the active node is not reached");
                    }
                    Err(TransportError::Failed(error)) => return Err(uncertain(&error)),
                }
            }
            // Who has been waited for long enough by others is not waited for again.
            let waited = core.without_quorum().unwrap_or_default().max(clock.now().since(began));
            if waited >= PATIENCE {
                let text = "local node not active but active cluster node not found";
                return Err(Refusal(500, text.to_owned()));
            }
            clock.sleep(LOOK).await;
        }
    }

    async fn handle_here(&self, parts: Parts, bytes: &[u8], origin: Origin) -> Result<Answer, Refusal> {
        let core = self.core();
        let line = request::Line::read(&parts)?;
        let id = core.environment().entropy.public_uuid();
        let id = id.map_err(|error| Refusal(500, error.to_string()))?.into();
        let Origin { peer, certificate_serial } = origin;
        let inbound = request::inbound(line, parts, bytes, id, peer, certificate_serial, self.json_limits())?;
        Ok(core.handle(inbound).await)
    }
}

fn uncertain(error: &str) -> Refusal {
    tracing::warn!(error, "a forwarded request was not answered");
    Refusal(
        502,
        "the active node was lost while it worked on the request; it may have taken effect".to_owned(),
    )
}

async fn answer_of(response: Response<Incoming>) -> Result<Answer, Refusal> {
    let (parts, body) = response.into_parts();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let content_type = parts.headers.get(CONTENT_TYPE).map(text).unwrap_or_default();
    let headers = parts.headers.iter().filter(|(name, _)| !OWN.contains(name));
    let headers = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    let body = body.collect().await.map_err(|error| uncertain(&error.to_string()))?.to_bytes();
    Ok(Answer { status: parts.status.as_u16(), content_type: content_type.into(), body, headers })
}

#[async_trait]
impl Forwarded for Edge {
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Response<Full<Bytes>> {
        let Origin { peer, certificate_serial } = origin;
        self.answer(request, Connection { peer, certificate_serial }).await
    }
}
