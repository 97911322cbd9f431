//! Nodes that talk over real sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use strongroom_raft::{Member, Options, Peer, Position, RaftStore, Rpc, Sender, Transport, TransportError};
use strongroom_stdx::{Clock, Moment};
use strongroom_storage::{Commit, Store, Write};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::network::whole;
use crate::{
    Announcement, AnswerBody, Authority, Credentials, Forwarded, Identity, Network, Origin, Port, PublicKey,
    RENEW_AFTER, Registrar, Renewal,
};

const NOW: u64 = 1_790_000_000;

struct Echo;

#[async_trait]
impl Forwarded for Echo {
    async fn answer(&self, request: Request<Incoming>, origin: Origin) -> Response<AnswerBody> {
        let asked = format!("{} {} {origin:?}", request.method(), request.uri());
        let body =
            request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Response::new(AnswerBody::whole([asked.as_bytes(), b" ", &body].concat().into()))
    }
}

/// Tells what it was asked in the place of a certificate.
struct Signs(Arc<RaftStore>);

#[async_trait]
impl Registrar for Signs {
    async fn renew(&self, sender: Sender, key: PublicKey, told: Announcement) -> Result<Renewal, String> {
        let member = self.0.is_member(sender.raft_id);
        let certificate = format!("{} {} {:?} {member}", sender.raft_id, key.0.len(), told.cluster_address);
        Ok(Renewal { certificate })
    }
}

struct Node {
    store: Arc<RaftStore>,
    network: Arc<Network>,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Node {
    async fn open(path: &Path, name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network::default());
        let mut options = Options::new(path.join(name));
        options.node_id = Some(name.to_owned());
        options.cluster_address = format!("https://{address}");
        options.bootstrap = false;
        options.snapshot_threshold = 64;
        options.trailing_logs = 16;
        options.transport = network.clone();
        let store = RaftStore::open(options).await.unwrap();
        let port = Arc::new(Port {
            store: Some(store.clone()),
            network: network.clone(),
            forwarded: Arc::new(Echo),
            registrar: Some(Arc::new(Signs(store.clone()))),
            version: http::HeaderValue::from_static("1.2.3"),
        });
        Self { store, network, address, serving: tokio::spawn(port.serve(listener)) }
    }

    fn take_credentials(&self, path: &Path, authority: &Authority) {
        self.take_credentials_by(path, authority, &Clock::stepped(Moment::from_secs(NOW)));
    }

    fn take_credentials_by(&self, path: &Path, authority: &Authority, clock: &Clock) {
        let identity = Identity::of(&path.join(self.store.node_id()), clock.clone());
        let (cluster, number) = (self.store.cluster_id(), self.store.raft_id());
        let sender = Sender { raft_id: number, seen: self.store.introduction().seen };
        let key = identity.public_key().unwrap();
        let certificate = authority.sign(&key, &cluster, &sender, clock.now().as_secs()).unwrap();
        identity.keep_certificates(&certificate, &authority.trusted()).unwrap();
        self.network.set_credentials(identity.credentials(&cluster, number).unwrap().unwrap());
    }

    fn member(&self) -> Member {
        Member {
            raft_id: self.store.raft_id(),
            node_id: self.store.node_id().to_owned(),
            api_address: String::new(),
            cluster_address: format!("https://{}", self.address),
            non_voter: false,
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            raft_id: self.store.raft_id(),
            node_id: self.store.node_id().to_owned(),
            cluster_address: self.address.to_string(),
        }
    }

    async fn close(self) {
        self.serving.abort();
        self.store.close().await;
    }
}

async fn pair() -> (TempDir, Authority, Node, Node) {
    let root = tempfile::tempdir().unwrap();
    let first = Node::open(root.path(), "first").await;
    first.store.begin().await.unwrap();
    let authority = Authority::generate(&first.store.cluster_id(), NOW).unwrap();
    first.take_credentials(root.path(), &authority);
    let second = Node::open(root.path(), "second").await;
    second.store.adopt(&first.store.cluster_id(), &first.store.introduction()).await.unwrap();
    (root, authority, first, second)
}

/// As [`pair`], where the second one is a member.
async fn member_pair() -> (TempDir, Authority, Node, Node) {
    let (root, authority, first, second) = pair().await;
    second.take_credentials(root.path(), &authority);
    first.store.admit(&second.member()).await.unwrap();
    let second_id = second.store.raft_id();
    until(async || first.store.is_member(second_id) && second.store.is_member(second_id)).await;
    (root, authority, first, second)
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap();
}

fn put(key: String) -> Commit {
    let write = Write { key: key.into(), value: Some(Bytes::from(vec![b'v'; 500])) };
    Commit { writes: vec![write], ..Commit::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_replicate_over_mutual_tls() {
    let (root, authority, first, second) = pair().await;
    for n in 0..300 {
        first.store.commit(put(format!("{n:04}"))).await.unwrap();
    }
    second.take_credentials(root.path(), &authority);
    first.store.admit(&second.member()).await.unwrap();
    assert!(first.store.promote("second").await.unwrap());
    assert_eq!(first.network.version_of(second.store.raft_id()).as_deref(), Some("1.2.3"));
    let index = first.store.commit(put("last".to_owned())).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), second.store.wait_applied(index)).await.unwrap().unwrap();
    let snapshot = second.store.snapshot().await.unwrap();
    assert!(snapshot.get(b"0000").await.unwrap().is_some(), "it came as a snapshot");
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_forwarded_with_its_origin() {
    let (_root, _, first, second) = member_pair().await;
    let origin = Origin {
        peer: Some("10.1.2.3:4567".parse().unwrap()),
        // As large as a handshake admits.
        certificates: vec![vec![7; 60_000].into(), vec![8; 500].into()],
        context: "{\"namespace\":\"ö\"}".to_owned(),
    };
    let request = Request::put("/v1/secret/a%2Fb?x=1")
        .header("x-strongroom-peer", "1.1.1.1:1")
        .header("x-strongroom-certificate", "Bw==")
        .header("x-strongroom-context", "forged")
        .header("connection", "keep-alive")
        .body(whole(Bytes::from("body")))
        .unwrap();
    let answer = second.network.send(&first.peer(), origin.attach(request).unwrap()).await.unwrap();
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let expected = format!("PUT /v1/secret/a%2Fb?x=1 {origin:?} body");
    assert_eq!(String::from_utf8_lossy(&text), expected);
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_is_let_in() {
    let (root, _, first, second) = pair().await;
    let call = |node: &Node| {
        let (network, peer) = (node.network.clone(), first.peer());
        async move { network.call(&peer, Rpc::Vote, Bytes::new()).await }
    };
    let without = call(&second).await;
    assert!(matches!(without, Err(TransportError::Unreachable(_))), "{without:?}");
    let other = Authority::generate(&first.store.cluster_id(), NOW).unwrap();
    second.take_credentials(root.path(), &other);
    let foreign = call(&second).await;
    assert!(matches!(foreign, Err(TransportError::Unreachable(_))), "{foreign:?}");
    let mut plain = TcpStream::connect(first.address).await.unwrap();
    plain.write_all(b"GET /raft/vote HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut told = Vec::new();
    // An alert or a reset: nothing of ours is said to strangers.
    let _ = plain.read_to_end(&mut told).await;
    assert!(!told.windows(4).any(|part| part == b"HTTP"), "{told:?}");
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_under_the_same_address_is_noticed() {
    let (_root, _, first, second) = member_pair().await;
    let wrong = Peer { raft_id: first.store.raft_id() ^ 1, ..first.peer() };
    let refused = second.network.call(&wrong, Rpc::Vote, Bytes::new()).await;
    assert!(matches!(refused, Err(TransportError::Unreachable(_))), "{refused:?}");
    let malformed = second.network.call(&first.peer(), Rpc::Vote, Bytes::from_static(b"x")).await;
    assert!(matches!(malformed, Err(TransportError::Failed(_))), "{malformed:?}");
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_refused_until_it_is_renewed() {
    let (root, authority, first, second) = member_pair().await;
    let clock = Clock::stepped(Moment::from_secs(NOW));
    first.take_credentials_by(root.path(), &authority, &clock);
    second.take_credentials_by(root.path(), &authority, &clock);
    // A malformed question is understood as one, where the connection is made.
    let reaches = async |from: &Node, to: &Node| {
        let told = from.network.call(&to.peer(), Rpc::Vote, Bytes::from_static(b"x")).await.unwrap_err();
        told.to_string().contains("malformed")
    };
    let renew = |node: &Node| node.take_credentials_by(root.path(), &authority, &clock);
    assert!(reaches(&second, &first).await);
    clock.advance(RENEW_AFTER);
    renew(&first);
    assert!(reaches(&second, &first).await, "there is time to renew it");
    clock.advance(RENEW_AFTER * 2 + Duration::from_secs(60));
    // The second one's has ended, the first one's has not.
    second.network.set_credentials(second.network.credentials().unwrap().as_ref().clone());
    assert!(!reaches(&second, &first).await, "as a client");
    assert!(!reaches(&first, &second).await, "as a server");
    renew(&second);
    assert!(reaches(&second, &first).await);
    assert!(reaches(&first, &second).await);
    first.close().await;
    second.close().await;
}

/// Each node hears of a new authority in its own time.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_an_authority_and_of_its_successor_believe_each_other() {
    let (root, old, first, second) = member_pair().await;
    let cluster = first.store.cluster_id();
    let next = old.successor(&cluster, NOW).unwrap();
    let last = next.successor(&cluster, NOW).unwrap();
    let reach = async |one: &Authority, other: &Authority| {
        first.take_credentials(root.path(), one);
        second.take_credentials(root.path(), other);
        let there =
            second.network.call(&first.peer(), Rpc::Vote, Bytes::from_static(b"x")).await.unwrap_err();
        let back = first.network.call(&second.peer(), Rpc::Vote, Bytes::from_static(b"x")).await.unwrap_err();
        (there.to_string().contains("malformed"), back.to_string().contains("malformed"))
    };
    for (one, other) in [(&old, &old), (&old, &next), (&next, &old), (&next, &next), (&next, &last)] {
        assert_eq!(reach(one, other).await, (true, true));
    }
    assert_eq!(reach(&last, &old).await, (false, false), "two steps are too many");
    let stranger = Authority::generate(&cluster, NOW).unwrap();
    let imposed = stranger.successor(&cluster, NOW).unwrap();
    assert_eq!(reach(&next, &imposed).await, (false, false));
    assert!(next.continues(&old.trusted()) && old.continues(&next.trusted()));
    assert!(!last.continues(&old.trusted()) && !imposed.continues(&old.trusted()));
    let key = serde_json::to_value(&old).unwrap()["key"].to_string();
    let has_key = |kept: &Authority| serde_json::to_string(kept).unwrap().contains(&key);
    assert!(has_key(&old) && !has_key(&next), "its key is gone");
    first.close().await;
    second.close().await;
}

#[test]
fn an_authority_is_old_after_a_year() {
    let authority = Authority::generate("c", NOW).unwrap();
    assert!(!authority.is_old(NOW + 364 * 24 * 3600) && !authority.is_old(NOW - 1));
    assert!(authority.is_old(NOW + 365 * 24 * 3600));
}

/// Ends when the port closes the connection; what it said until then.
async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut told = Vec::new();
    // An alert or a reset: both are an end.
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut told)).await.unwrap();
    told
}

/// A stranger is disconnected, whatever it says or does not say, and keeps no node out however often it comes.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_closed_and_keep_nobody_out() {
    let (root, authority, first, second) = member_pair().await;
    second.take_credentials(root.path(), &authority);
    let sayings: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x5a; 4096],
        // The beginning of a TLS record that never comes.
        &[0x16, 3, 1, 0x40, 0],
    ];
    for saying in sayings {
        let mut stream = TcpStream::connect(first.address).await.unwrap();
        stream.write_all(saying).await.unwrap();
        let told = until_closed(stream).await;
        assert!(!told.windows(4).any(|part| part == b"HTTP"), "{told:?}");
    }
    // More than may wait at a time, none of which says anything: the oldest give way.
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(first.address).await.unwrap());
    }
    let peer = first.peer();
    let call = second.network.call(&peer, Rpc::Membership, Bytes::new());
    let answered = tokio::time::timeout(Duration::from_secs(10), call).await.unwrap();
    assert!(matches!(answered, Err(TransportError::Failed(_))), "it is let in, and told off: {answered:?}");
    for stream in silent {
        until_closed(stream).await;
    }
    first.close().await;
    second.close().await;
}

/// A way into a cluster for whoever holds a node's key and a certificate.
fn thief(root: &Path, of: &Node, authority: &Authority, sender: &Sender, at: u64) -> Network {
    let clock = Clock::stepped(Moment::from_secs(NOW));
    let identity = Identity::of(&root.join(of.store.node_id()), clock.clone());
    let (key, cluster) = (identity.public_key().unwrap(), of.store.cluster_id());
    let certificate = authority.sign(&key, &cluster, sender, at).unwrap();
    let pem = std::fs::read(root.join(of.store.node_id()).join("cluster/node.key")).unwrap();
    let trusted = authority.trusted();
    let credentials =
        Credentials::new(certificate.as_bytes(), &pem, trusted.as_bytes(), &cluster, sender.raft_id, clock);
    let network = Network::default();
    network.set_credentials(credentials.unwrap());
    network
}

async fn forwarded(network: &Network, to: &Node) -> Result<http::StatusCode, TransportError> {
    let origin = Origin { peer: Some("10.1.2.3:4567".parse().unwrap()), ..Origin::default() };
    let request = Request::get("/v1/secret/a").body(whole(Bytes::new())).unwrap();
    Ok(network.send(&to.peer(), origin.attach(request).unwrap()).await?.status())
}

fn here(node: &Node) -> Announcement {
    Announcement { api_address: String::new(), cluster_address: node.address.to_string() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_nodes_certificate_is_good_for_one_question() {
    let (root, authority, first, second) = member_pair().await;
    let sender = Sender { raft_id: second.store.raft_id(), seen: second.store.introduction().seen };
    let thief = thief(root.path(), &second, &authority, &sender, NOW);
    assert_eq!(forwarded(&thief, &first).await.unwrap(), 200, "a member may");
    let told = thief.announce(&first.peer(), &here(&second)).await.unwrap();
    assert_eq!(told.certificate, format!("{} 65 {:?} true", sender.raft_id, second.address.to_string()));
    first.store.remove("second").await.unwrap();
    until(async || !first.store.is_member(sender.raft_id)).await;
    assert!(forwarded(&thief, &first).await.unwrap_err().to_string().contains("no member"));
    let refused = |told: Result<Bytes, TransportError>| told.unwrap_err().to_string().contains("no member");
    for rpc in Rpc::ALL.into_iter().filter(|rpc| *rpc != Rpc::Membership) {
        assert!(refused(thief.call(&first.peer(), rpc, Bytes::from_static(b"x")).await), "{}", rpc.name());
    }
    assert!(refused(
        thief.send_snapshot(&first.peer(), Bytes::from_static(b"x"), Box::new(std::io::empty())).await
    ));
    let told = thief.announce(&first.peer(), &here(&second)).await;
    assert!(told.unwrap_err().to_string().contains("no member"));
    assert!(second.store.ask_whether_removed().await);
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_nodes_connection_is_cut() {
    let (root, authority, first, second) = member_pair().await;
    let clock = Clock::stepped(Moment::from_secs(NOW));
    first.take_credentials_by(root.path(), &authority, &clock);
    let sender = Sender { raft_id: second.store.raft_id(), seen: second.store.introduction().seen };
    let thief = thief(root.path(), &second, &authority, &sender, NOW);
    // A request that is under way for as long as the thief likes.
    let (_writer, reader) = strongroom_stdx::pipe();
    let origin = Origin::default();
    let request = Request::put("/v1/secret/a").body(crate::streamed(reader)).unwrap();
    let request = origin.attach(request).unwrap();
    let peer = first.peer();
    let open = tokio::spawn(async move { thief.send(&peer, request).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!open.is_finished());
    first.store.remove("second").await.unwrap();
    until(async || !first.store.is_member(sender.raft_id)).await;
    until(async || {
        clock.advance(Duration::from_millis(500));
        tokio::time::sleep(Duration::from_millis(10)).await;
        open.is_finished()
    })
    .await;
    assert!(open.await.unwrap().is_err());
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_certificate() {
    let (root, authority, first, second) = member_pair().await;
    let clock = Clock::stepped(Moment::from_secs(NOW));
    first.take_credentials_by(root.path(), &authority, &clock);
    second.take_credentials(root.path(), &authority);
    let (_writer, reader) = strongroom_stdx::pipe();
    let request = Request::put("/v1/secret/a").body(crate::streamed(reader)).unwrap();
    let request = Origin::default().attach(request).unwrap();
    let (peer, network) = (first.peer(), second.network.clone());
    let open = tokio::spawn(async move { network.send(&peer, request).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..10 {
        clock.advance(Duration::from_hours(2));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!open.is_finished());
    until(async || {
        clock.advance(Duration::from_hours(2));
        tokio::time::sleep(Duration::from_millis(10)).await;
        open.is_finished()
    })
    .await;
    assert!(open.await.unwrap().is_err());
    first.close().await;
    second.close().await;
}

/// By a clock of its own a thief's certificate never ends, and what it has resumed from a connection before would not be
/// looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_resumed() {
    let (root, authority, first, second) = member_pair().await;
    let sender = Sender { raft_id: second.store.raft_id(), seen: second.store.introduction().seen };
    let thief = thief(root.path(), &second, &authority, &sender, NOW);
    let mut client = thief.credentials().unwrap().client.as_ref().clone();
    client.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    for _ in 0..3 {
        let stream = TcpStream::connect(first.address).await.unwrap();
        let name = crate::name_of(&first.store.cluster_id(), first.store.raft_id());
        let mut tls = connector.connect(name.try_into().unwrap(), stream).await.unwrap();
        // Tickets would arrive with the first bytes.
        let mut bytes = [0; 64];
        let _ = tokio::time::timeout(Duration::from_secs(2), tls.read(&mut bytes)).await.unwrap();
        assert_eq!(tls.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_this_nodes_own_key_is_not_heard() {
    let (root, authority, first, second) = member_pair().await;
    let sender = Sender { raft_id: first.store.raft_id(), seen: first.store.introduction().seen };
    let thief = thief(root.path(), &first, &authority, &sender, NOW);
    assert!(forwarded(&thief, &first).await.unwrap_err().to_string().contains("no member"));
    // Nor is a node that never was admitted, though the authority has signed for it.
    let sender = Sender { raft_id: 77, seen: second.store.introduction().seen };
    let thief = self::thief(root.path(), &second, &authority, &sender, NOW);
    assert!(forwarded(&thief, &first).await.unwrap_err().to_string().contains("no member"));
    // One that is admitted since may lead, but hands nothing on to a node that does not know it.
    let sender = Sender { seen: Position { term: u64::MAX, index: 0 }, ..sender };
    let thief = self::thief(root.path(), &second, &authority, &sender, NOW);
    assert!(forwarded(&thief, &first).await.unwrap_err().to_string().contains("no member"));
    let told = thief.call(&first.peer(), Rpc::Vote, Bytes::from_static(b"x")).await.unwrap_err();
    assert!(told.to_string().contains("malformed"), "{told}");
    first.close().await;
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_of_one_node_keep_no_other_out() {
    let (root, authority, first, second) = member_pair().await;
    let sender = Sender { raft_id: second.store.raft_id(), seen: second.store.introduction().seen };
    let removed = Sender { raft_id: 77, seen: Position::default() };
    let mut thieves = Vec::new();
    for n in 0..200 {
        let thief = thief(root.path(), &second, &authority, if n % 2 == 0 { &sender } else { &removed }, NOW);
        let _ = thief.call(&first.peer(), Rpc::Membership, Bytes::from_static(b"x")).await;
        thieves.push(thief);
    }
    let third = Node::open(root.path(), "third").await;
    third.store.adopt(&first.store.cluster_id(), &first.store.introduction()).await.unwrap();
    first.store.admit(&third.member()).await.unwrap();
    third.take_credentials(root.path(), &authority);
    until(async || forwarded(&third.network, &first).await.is_ok_and(|status| status == 200)).await;
    for node in [first, second, third] {
        node.close().await;
    }
}

#[test]
fn a_certificate_says_whose_it_is() {
    let root = tempfile::tempdir().unwrap();
    let identity = Identity::of(root.path(), Clock::stepped(Moment::from_secs(NOW)));
    let authority = Authority::generate("c", NOW).unwrap();
    let key = identity.public_key().unwrap();
    let sender = Sender { raft_id: 0xfeed, seen: Position { term: 3, index: u64::MAX } };
    let signed = authority.sign(&key, "c", &sender, NOW).unwrap();
    let holder = |pem: &str, cluster: &str| {
        let certificate = crate::node_credentials::certificates(pem.as_bytes()).next().unwrap().unwrap();
        crate::node_credentials::holder_of(&certificate, cluster)
    };
    assert_eq!(holder(&signed, "c"), Some((sender, key)));
    assert_eq!(holder(&signed, "d"), None);
    assert_eq!(holder(&authority.trusted(), "c"), None, "the authority is no node");
}
