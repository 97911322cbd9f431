//! The listening side of the cluster port.
//!
//! TLS accepts nodes of the cluster, and also removed ones as long as their certificates are valid. So each request is judged by
//! its sender: members may do everything; a node that was removed may ask whether it was, and nothing else. Its connections are
//! closed as soon as its removal is known here, and those of any node when its certificate expires.

use std::collections::{HashMap, VecDeque};
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
use rustls_pki_types::CertificateDer;
use strongroom_raft::{RaftStore, Rpc, Sender};
use strongroom_stdx::{PipeReader, pipe};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::body::{AnswerBody, feed};
use crate::network::{ANNOUNCE, NO_MEMBER, Network, SNAPSHOT, VERSION, path_of};
use crate::node_credentials::{PublicKey, holder_of};
use crate::origin::{FORWARD, Origin};
use crate::registrar::Registrar;

/// The time limit of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of members at most: a cluster has few.
const MAX_CONNECTIONS: usize = 64;
/// Connections at most of one node, which needs one, and a second one while the first finishes.
const MAX_CONNECTIONS_PER_NODE: usize = 4;
/// Connections at most of nodes that are no members, and how long they may last.
const MAX_STRANGERS: usize = 8;
const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which a node's membership is checked and its certificate verified again.
const MEMBERSHIP_CHECK_INTERVAL: Duration = Duration::from_millis(500);
const VERIFY_EVERY: Duration = Duration::from_mins(1);
/// Connections at most of those that have not shown yet that they are nodes.
const MAX_UNKNOWN: usize = 64;
/// Requests that a node may have under way at a time.
const MAX_STREAMS: u32 = 4096;
/// The most requests that a node may reset before they were looked at: after a pause there are many, and a known node
/// is not assumed to attack.
const MAX_RESET_STREAMS: usize = 4096;
/// Bytes of a message of raft's at most: one batch of log entries.
const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// Bytes of any other message at most, an announcement among them.
const MAX_QUESTION_BYTES: usize = 16 << 10;
/// Bytes of a snapshot's description at most.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Bytes of a request's header fields at most: those of a client's largest request, and its certificates.
const MAX_FIELD_BYTES: u32 = 1 << 20;
/// The pause of accepting when the process has no file descriptors left.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Answers requests that other nodes forward.
#[async_trait]
pub trait Forwarded: Send + Sync + 'static {
    /// Answers a client's request, which a standby took in.
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Response<AnswerBody>;
}

/// The server of the cluster port.
pub struct Port {
    /// The receiver of raft's messages; `None` where other storage settles who leads.
    pub store: Option<Arc<RaftStore>>,
    /// The network, whose credentials are shown.
    pub network: Arc<Network>,
    /// The receiver of forwarded requests.
    pub forwarded: Arc<dyn Forwarded>,
    /// The handler of members' announcements; `None` where nodes sign their own certificates.
    pub registrar: Option<Arc<dyn Registrar>>,
    /// The version of this program, as peers see it.
    pub version: HeaderValue,
}

/// A node that has shown its certificate.
struct Caller {
    sender: Sender,
    key: PublicKey,
    shown: Vec<CertificateDer<'static>>,
    from: SocketAddr,
}

/// The connections of nodes.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Of each member, the oldest first.
    members: HashMap<u64, VecDeque<AbortHandle>>,
    strangers: VecDeque<AbortHandle>,
}

impl Connections {
    /// Makes room for another one of a node, of whose connections the oldest gives way; false where there is none.
    fn make_room(&mut self, raft_id: u64, is_member: bool) -> bool {
        let end_oldest = |tasks: &mut VecDeque<AbortHandle>, most: usize| {
            if tasks.len() >= most
                && let Some(oldest) = tasks.pop_front()
            {
                oldest.abort();
            }
        };
        self.strangers.retain(|task| !task.is_finished());
        self.members.retain(|_, tasks| {
            tasks.retain(|task| !task.is_finished());
            !tasks.is_empty()
        });
        if !is_member {
            end_oldest(&mut self.strangers, MAX_STRANGERS);
            return true;
        }
        if let Some(tasks) = self.members.get_mut(&raft_id) {
            end_oldest(tasks, MAX_CONNECTIONS_PER_NODE);
        }
        self.members.values().map(VecDeque::len).sum::<usize>() < MAX_CONNECTIONS
    }

    fn add(&mut self, raft_id: u64, is_member: bool, serving: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(serving);
        if is_member {
            self.members.entry(raft_id).or_default().push_back(task);
        } else {
            self.strangers.push_back(task);
        }
    }
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body.into()));
    *response.status_mut() = status;
    response
}

impl Port {
    /// Serves until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let (mut unknown, mut nodes) = (JoinSet::new(), Connections::default());
        // The oldest first. Those who only knock must not keep a node out, which is let in within moments.
        let mut waiting: VecDeque<AbortHandle> = VecDeque::new();
        let complained = Arc::new(AtomicBool::new(false));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => {
                        waiting.retain(|task| !task.is_finished());
                        if waiting.len() >= MAX_UNKNOWN && let Some(oldest) = waiting.pop_front() {
                            oldest.abort();
                        }
                        let greeting = self.clone().greet(stream, from, complained.clone());
                        waiting.push_back(unknown.spawn(greeting));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection on the cluster port failed");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
                Some(greeted) = unknown.join_next() => {
                    let Ok(Some((stream, caller))) = greeted else { continue };
                    let (raft_id, is_heard) = (caller.sender.raft_id, self.is_heard(&caller));
                    if nodes.make_room(raft_id, is_heard) {
                        nodes.add(raft_id, is_heard, self.clone().connection(stream, caller));
                    } else {
                        tracing::warn!(from = %caller.from, "too many connections on the cluster port: rejected another");
                    }
                }
                Some(_ended) = nodes.tasks.join_next() => {}
            }
        }
    }

    /// Accepts a node; `None` for anything else.
    async fn greet(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        complained: Arc<AtomicBool>,
    ) -> Option<(TlsStream<TcpStream>, Caller)> {
        let credentials = self.network.credentials()?;
        // A latency setting that some systems refuse; messages travel without it.
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(credentials.server.clone());
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates()?.to_vec();
                let Some((sender, key)) = holder_of(shown.first()?, &credentials.cluster_id) else {
                    tracing::warn!(%from, "certificate signed by the cluster CA does not identify a node");
                    return None;
                };
                Some((stream, Caller { sender, key, shown, from }))
            }
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
                    tracing::debug!(%from, reason, "rejected a connection to the cluster port: not a node of this cluster");
                } else {
                    tracing::warn!(%from, reason, "rejected a connection to the cluster port: not a node of this cluster; further ones are logged at debug level");
                }
                None
            }
        }
    }

    /// True if a node is heard in more than the question whether it was removed.
    fn is_heard(&self, caller: &Caller) -> bool {
        match &self.store {
            Some(store) => store.hears(&caller.sender),
            // Where nodes share a database, there are no members: who has a certificate has read the authority's key, and
            // makes its own.
            None => self.is_another(caller),
        }
    }

    /// True if a request is accepted as one that a standby forwards, which may state the client's address.
    fn may_forward(&self, caller: &Caller) -> bool {
        self.is_another(caller)
            && self.store.as_ref().is_none_or(|store| store.is_member(caller.sender.raft_id))
    }

    /// True if a node is another than this one: no other may send in this node's name.
    fn is_another(&self, caller: &Caller) -> bool {
        self.network.credentials().is_some_and(|own| own.raft_id != caller.sender.raft_id)
    }

    /// Resolves when a node is not to be listened to any more, with the reason.
    async fn until_gone(&self, caller: &Caller) -> &'static str {
        let was_heard = self.is_heard(caller);
        let Some(clock) = self.network.credentials().map(|own| own.clock.clone()) else {
            return "this node has no certificate";
        };
        let began = clock.now();
        let mut verified = began;
        loop {
            clock.sleep(MEMBERSHIP_CHECK_INTERVAL).await;
            match self.is_heard(caller) {
                false if was_heard => return "it was removed from the cluster",
                false if clock.now().since(began) >= STRANGER_TIMEOUT => {
                    return "it is no member of the cluster";
                }
                _ => {}
            }
            if clock.now().since(verified) >= VERIFY_EVERY {
                verified = clock.now();
                if !self.network.credentials().is_some_and(|own| own.holds(&caller.shown)) {
                    return "its certificate has ended";
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TlsStream<TcpStream>, caller: Caller) {
        let caller = Arc::new(caller);
        let (port, asking) = (self.clone(), caller.clone());
        let service = service_fn(move |request| {
            let (port, caller) = (port.clone(), asking.clone());
            async move { Ok::<_, Infallible>(port.route(&caller, request).await) }
        });
        let from = caller.from;
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(HANDSHAKE_TIMEOUT))
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_FIELD_BYTES)
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::debug!(%from, %error, "a peer's connection ended");
            },
            reason = self.until_gone(&caller) => {
                let node = format_args!("{:016x}", caller.sender.raft_id);
                tracing::info!(%from, %node, reason, "closed a node's connection");
            }
        }
    }

    async fn route(&self, caller: &Caller, mut request: Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path();
        let rpc = Rpc::ALL.into_iter().find(|rpc| path == path_of(*rpc));
        if rpc != Some(Rpc::Membership) && !self.is_heard(caller) {
            return no_member();
        }
        if path.strip_prefix(FORWARD).is_some_and(|rest| rest.starts_with('/')) {
            if !self.may_forward(caller) {
                return no_member();
            }
            return match Origin::detach(&mut request) {
                Ok(origin) => self.forwarded.answer(request, origin).await,
                Err(error) => answer(StatusCode::BAD_REQUEST, error),
            };
        }
        if let Some(registrar) = self.registrar.as_ref().filter(|_| path == ANNOUNCE) {
            if !self.may_forward(caller) {
                return no_member();
            }
            return announced(registrar.as_ref(), caller, request.into_body()).await;
        }
        let sender = &caller.sender;
        match (&self.store, rpc) {
            (Some(store), _) if path == SNAPSHOT => snapshot(store, sender, request.into_body()).await,
            (Some(store), Some(rpc)) => {
                let mut told = message(store, sender, rpc, request.into_body()).await;
                told.headers_mut().insert(VERSION, self.version.clone());
                told
            }
            _ => answer(StatusCode::NOT_FOUND, "nothing is there"),
        }
    }
}

/// The answer to a node that is no member: nothing of what it asked was done.
fn no_member() -> Response<AnswerBody> {
    let mut response = answer(StatusCode::FORBIDDEN, Bytes::new());
    response.headers_mut().insert(NO_MEMBER, HeaderValue::from_static("true"));
    response
}

async fn announced(registrar: &dyn Registrar, caller: &Caller, body: Incoming) -> Response<AnswerBody> {
    let told = match Limited::new(body, MAX_QUESTION_BYTES).collect().await {
        Ok(body) => serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let told = match told {
        Ok(told) => told,
        Err(error) => return answer(StatusCode::BAD_REQUEST, error),
    };
    let renewed = registrar.renew(caller.sender, caller.key.clone(), told).await;
    match renewed.and_then(|renewal| serde_json::to_vec(&renewal).map_err(|error| error.to_string())) {
        Ok(renewal) => answer(StatusCode::OK, renewal),
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, error),
    }
}

async fn message(store: &RaftStore, sender: &Sender, rpc: Rpc, body: Incoming) -> Response<AnswerBody> {
    let limit = if rpc == Rpc::Append { MAX_MESSAGE_BYTES } else { MAX_QUESTION_BYTES };
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return answer(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match store.receive(sender, rpc, &body).await {
        Ok(told) => answer(StatusCode::OK, told),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn snapshot(store: &RaftStore, sender: &Sender, body: Incoming) -> Response<AnswerBody> {
    let (writer, mut reader) = pipe();
    let feeding = feed(body, writer, None);
    let taking = async {
        let head = tokio::task::spawn_blocking(move || read_head(&mut reader).map(|head| (head, reader)));
        let (head, reader) =
            head.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        store.receive_snapshot(sender, &head, reader).await.map_err(|error| error.to_string())
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
    if length > MAX_HEAD_BYTES {
        return Err(std::io::Error::other("a snapshot's description is too long"));
    }
    let mut head = vec![0; length];
    reader.read_exact(&mut head)?;
    Ok(head)
}
