//! The listening side of the cluster port.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use strongroom_raft::{RaftStore, Rpc};
use strongroom_stdx::{PipeReader, pipe};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::body::{AnswerBody, feed};
use crate::network::{Network, SNAPSHOT, VERSION, path_of};
use crate::origin::{FORWARD, Origin};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections of nodes at most: a cluster has few.
const MOST_CONNECTIONS: usize = 64;
/// Connections at most of those that have not shown yet that they are nodes.
const MOST_UNKNOWN: usize = 64;
/// Requests that a node may have under way at a time.
const MOST_STREAMS: u32 = 4096;
/// Requests at most that a node has given up before they were looked at: after a pause there are many, and to a node
/// that is known no attack is ascribed.
const MOST_GIVEN_UP: usize = 4096;
/// Bytes of a message of raft's at most: one batch of log entries.
const LARGEST_MESSAGE: usize = 256 << 20;
/// Bytes of a snapshot's description at most.
const LARGEST_HEAD: usize = 1 << 20;
/// Bytes of a request's header fields at most: those of a client's largest request, and its certificates.
const LARGEST_FIELDS: u32 = 1 << 20;
/// How long accepting pauses when the process has no file descriptors left.
const BREATH: Duration = Duration::from_millis(50);

/// Answers requests that other nodes forward.
#[async_trait]
pub trait Forwarded: Send + Sync + 'static {
    /// Answers a client's request, which a standby took in.
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Response<AnswerBody>;
}

/// What answers on the cluster port.
pub struct Port {
    /// Where raft's messages go; `None` where other storage settles who leads.
    pub store: Option<Arc<RaftStore>>,
    /// Whose credentials are shown.
    pub network: Arc<Network>,
    /// Where forwarded requests go.
    pub forwarded: Arc<dyn Forwarded>,
    /// What peers are told of the version of this program.
    pub version: HeaderValue,
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body.into()));
    *response.status_mut() = status;
    response
}

impl Port {
    /// Serves until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (mut unknown, mut nodes) = (JoinSet::new(), JoinSet::new());
        // The oldest first. Those who only knock must not keep a node out, which is let in within moments.
        let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
        let complained = Arc::new(AtomicBool::new(false));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        waiting.retain(|task| !task.is_finished());
                        if waiting.len() >= MOST_UNKNOWN && let Some(oldest) = waiting.pop_front() {
                            oldest.abort();
                        }
                        let greeting = self.clone().greet(stream, from, complained.clone());
                        waiting.push_back(unknown.spawn(greeting));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection on the cluster port failed");
                        tokio::time::sleep(BREATH).await;
                    }
                },
                Some(greeted) = unknown.join_next() => {
                    let Ok(Some((stream, from))) = greeted else { continue };
                    if nodes.len() < MOST_CONNECTIONS {
                        nodes.spawn(self.clone().connection(stream, from));
                    } else {
                        tracing::warn!(%from, "a node has too many connections: another is refused");
                    }
                }
                Some(_ended) = nodes.join_next() => {}
            }
        }
    }

    /// Lets a node in; `None` for anybody else.
    async fn greet(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        complained: Arc<AtomicBool>,
    ) -> Option<(TlsStream<TcpStream>, SocketAddr)> {
        let credentials = self.network.credentials()?;
        // A latency setting that some systems refuse; messages travel without it.
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(credentials.server.clone());
        match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Some((stream, from)),
            refused => {
                let reason = refused.map_or_else(
                    |_| "too slow".to_owned(),
                    |ended| match ended {
                        Ok(_) => String::new(),
                        Err(error) => error.to_string(),
                    },
                );
                // Once: whoever knocks must not fill the log.
                if complained.swap(true, Ordering::Relaxed) {
                    tracing::debug!(%from, reason, "not a node of this cluster");
                } else {
                    tracing::warn!(%from, reason, "something that is no node of this cluster came to the cluster port; further ones are logged at debug level");
                }
                None
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TlsStream<TcpStream>, from: SocketAddr) {
        let service = service_fn(move |request| {
            let port = self.clone();
            async move { Ok::<_, Infallible>(port.route(request).await) }
        });
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(HANDSHAKE))
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(LARGEST_FIELDS)
            .max_pending_accept_reset_streams(MOST_GIVEN_UP)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(%from, %error, "a peer's connection ended");
        }
    }

    async fn route(&self, mut request: Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path();
        if path.starts_with(FORWARD) {
            return match Origin::detach(&mut request) {
                Ok(origin) => self.forwarded.answer(request, origin).await,
                Err(error) => answer(StatusCode::BAD_REQUEST, error),
            };
        }
        let rpc = Rpc::ALL.into_iter().find(|rpc| path == path_of(*rpc));
        match (&self.store, rpc) {
            (Some(store), _) if path == SNAPSHOT => snapshot(store, request.into_body()).await,
            (Some(store), Some(rpc)) => {
                let mut told = message(store, rpc, request.into_body()).await;
                told.headers_mut().insert(VERSION, self.version.clone());
                told
            }
            _ => answer(StatusCode::NOT_FOUND, "nothing is there"),
        }
    }
}

async fn message(store: &RaftStore, rpc: Rpc, body: Incoming) -> Response<AnswerBody> {
    let body = match Limited::new(body, LARGEST_MESSAGE).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return answer(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match store.receive(rpc, &body).await {
        Ok(told) => answer(StatusCode::OK, told),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn snapshot(store: &RaftStore, body: Incoming) -> Response<AnswerBody> {
    let (writer, mut reader) = pipe();
    let feeding = feed(body, writer, None);
    let taking = async {
        let head = tokio::task::spawn_blocking(move || read_head(&mut reader).map(|head| (head, reader)));
        let (head, reader) =
            head.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        store.receive_snapshot(&head, reader).await.map_err(|error| error.to_string())
    };
    let ((), taken) = tokio::join!(feeding, taking);
    match taken {
        Ok(told) => answer(StatusCode::OK, told),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn read_head(reader: &mut PipeReader) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(std::io::Error::other)?;
    if length > LARGEST_HEAD {
        return Err(std::io::Error::other("a snapshot's description is too long"));
    }
    let mut head = vec![0; length];
    reader.read_exact(&mut head)?;
    Ok(head)
}
