//! Connections to other nodes: one HTTP/2 connection to each, made when it is needed.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use strongroom_raft::{Peer, Rpc, Transport, TransportError};
use strongroom_stdx::{PipeReader, PipeWriter, pipe};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::AnswerBody;
use crate::node_credentials::{Credentials, name_of};
use crate::registrar::{Announcement, Renewal};

/// The time limit of connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after which a connection is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(2);
/// Bytes of an answer to raft's messages at most.
const MAX_ANSWER_BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// The body of a request to a peer.
pub type Body = BoxBody<Bytes, Failure>;

/// The header in which a node that answers says which version of the program it runs.
pub(crate) const VERSION: &str = "x-strongroom-version";

/// The header in which a node says that the one that asks is no member of the cluster.
pub(crate) const NO_MEMBER: &str = "x-strongroom-no-member";

/// The connections to all peers.
#[derive(Default)]
pub struct Network {
    credentials: ArcSwapOption<Credentials>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    /// The version that each peer reported, when it last answered.
    versions: Mutex<HashMap<u64, Arc<str>>>,
}

/// One peer's connection, and that only one is made at a time.
#[derive(Default)]
struct Connection {
    ready: tokio::sync::Mutex<Option<(String, SendRequest<Body>)>>,
}

/// A body in one piece.
pub fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// A body that is sent as it comes.
pub fn streamed(pieces: PipeReader) -> Body {
    AnswerBody::from(pieces).map_err(Into::into).boxed()
}

fn unreachable(peer: &Peer, error: &dyn std::fmt::Display) -> TransportError {
    TransportError::Unreachable(format!("node {} at {}: {error}", peer.node_id, peer.cluster_address))
}

fn failed(error: &impl std::fmt::Display) -> TransportError {
    TransportError::Failed(error.to_string())
}

impl Network {
    /// Uses these credentials from now on, for new connections; ends those that there are.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.credentials.store(Some(Arc::new(credentials)));
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The credentials that this node shows its peers, once it belongs to a cluster.
    #[must_use]
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.load_full()
    }

    /// The version of the program on a peer, once it has answered one of raft's messages.
    #[must_use]
    pub fn version_of(&self, raft_id: u64) -> Option<Arc<str>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&raft_id).cloned()
    }

    fn note_version(&self, raft_id: u64, told: &http::HeaderMap) {
        let Some(version) = told.get(VERSION).and_then(|value| value.to_str().ok()) else { return };
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.get(&raft_id).is_none_or(|known| **known != *version) {
            versions.insert(raft_id, version.into());
        }
    }

    /// Sends a request over the connection to `peer`, which is made where there is none.
    ///
    /// # Errors
    ///
    /// [`TransportError::Unreachable`] when nothing was sent; [`TransportError::Failed`] when it is not known what
    /// became of it.
    pub async fn send(
        &self,
        peer: &Peer,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TransportError> {
        let connection = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(peer.raft_id)
            .or_default()
            .clone();
        let mut sender = self.sender(&connection, peer).await?;
        let answered = sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() || error.is_closed() { unreachable(peer, &error) } else { failed(&error) }
        })?;
        if answered.headers().contains_key(NO_MEMBER) {
            // What was sent was not looked at.
            return Err(unreachable(peer, &"refused: this node is no member of the cluster"));
        }
        Ok(answered)
    }

    async fn sender(
        &self,
        connection: &Connection,
        peer: &Peer,
    ) -> Result<SendRequest<Body>, TransportError> {
        let mut ready = connection.ready.lock().await;
        if let Some((address, sender)) = ready.as_ref()
            && *address == peer.cluster_address
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        *ready = None;
        let made = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(peer)).await;
        let sender = made.map_err(|_elapsed| unreachable(peer, &"no connection in time"))??;
        *ready = Some((peer.cluster_address.clone(), sender.clone()));
        Ok(sender)
    }

    async fn connect(&self, peer: &Peer) -> Result<SendRequest<Body>, TransportError> {
        let credentials =
            self.credentials().ok_or_else(|| unreachable(peer, &"this node has no certificate yet"))?;
        let address = host_and_port(&peer.cluster_address);
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(peer, &error))?;
        // A latency setting that some systems refuse; messages travel without it.
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(name_of(&credentials.cluster_id, peer.raft_id))
            .map_err(|error| unreachable(peer, &error))?;
        let tls = TlsConnector::from(credentials.client.clone()).connect(name, stream).await;
        let stream = TokioIo::new(tls.map_err(|error| unreachable(peer, &error))?);
        let (sender, serving) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING))
            .keep_alive_timeout(PING)
            .handshake(stream)
            .await
            .map_err(|error| unreachable(peer, &error))?;
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a connection to a peer ended");
            }
        });
        Ok(sender)
    }

    /// Tells a peer, which should be the active node, where this node is reached; answers a certificate for another day.
    ///
    /// # Errors
    ///
    /// [`TransportError`] where it is not reached or refuses.
    pub async fn announce(&self, peer: &Peer, told: &Announcement) -> Result<Renewal, TransportError> {
        let body = serde_json::to_vec(told).map_err(|error| failed(&error))?;
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, self.ask(peer, ANNOUNCE, whole(body.into())));
        let answered = asked.await.map_err(|_elapsed| unreachable(peer, &"no answer in time"))??;
        serde_json::from_slice(&answered).map_err(|error| failed(&error))
    }

    async fn ask(&self, peer: &Peer, path: &str, body: Body) -> Result<Bytes, TransportError> {
        let request =
            Request::post(format!("https://cluster{path}")).body(body).map_err(|error| failed(&error))?;
        let response = self.send(peer, request).await?;
        self.note_version(peer.raft_id, response.headers());
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        if status != http::StatusCode::OK {
            return Err(failed(&format_args!("{status}: {}", String::from_utf8_lossy(&body))));
        }
        Ok(body)
    }
}

/// An address as it is dialled: configured addresses may be URLs.
fn host_and_port(address: &str) -> &str {
    let after = address.split_once("://").map_or(address, |(_, rest)| rest);
    after.trim_end_matches('/')
}

/// The path of a message on the cluster port.
pub(crate) fn path_of(rpc: Rpc) -> &'static str {
    match rpc {
        Rpc::Append => "/raft/append",
        Rpc::Vote => "/raft/vote",
        Rpc::PreVote => "/raft/pre-vote",
        Rpc::Transfer => "/raft/transfer",
        Rpc::Membership => "/raft/membership",
        Rpc::Ready => "/raft/ready",
    }
}

/// The path of a member's announcement on the cluster port.
pub(crate) const ANNOUNCE: &str = "/announce";
/// The path of a snapshot on the cluster port; its description comes first, after four bytes of its length.
pub(crate) const SNAPSHOT: &str = "/raft/snapshot";

#[async_trait]
impl Transport for Network {
    async fn call(&self, peer: &Peer, rpc: Rpc, body: Bytes) -> Result<Bytes, TransportError> {
        self.ask(peer, path_of(rpc), whole(body)).await
    }

    async fn send_snapshot(
        &self,
        peer: &Peer,
        head: Bytes,
        body: Box<dyn Read + Send>,
    ) -> Result<Bytes, TransportError> {
        let length = u32::try_from(head.len()).map_err(|error| failed(&error))?;
        let first = [&length.to_be_bytes(), &*head].concat();
        let (writer, reader) = pipe();
        tokio::task::spawn_blocking(move || copy(&first, body, writer));
        self.ask(peer, SNAPSHOT, streamed(reader)).await
    }
}

/// Copies until the end, an error, or until the receiver is gone.
fn copy(first: &[u8], mut body: impl Read, mut pipe: PipeWriter) {
    let copied = pipe.write_all(first).and_then(|()| io::copy(&mut body, &mut pipe));
    // A pipe that is not finished is an error for its reader, which tells the peer.
    if let Err(error) = copied.and_then(|_bytes| pipe.finish()) {
        tracing::debug!(%error, "a snapshot was not sent to its end");
    }
}
