//! The connections between nodes, as seen from here: who a peer is, what is said, and who carries it.

use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;

use crate::offline::Position;

/// Another node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in the consensus protocol.
    pub raft_id: u64,
    /// Its name (`node_id` in the configuration).
    pub node_id: String,
    /// The address at which it talks to its peers.
    pub cluster_address: String,
}

/// The node that a message comes from, as the certificate says that it showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its number in the consensus protocol.
    pub raft_id: u64,
    /// The membership that the signer of the certificate knew, and that the node belongs to.
    pub seen: Position,
}

/// The requests between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    /// Take these log entries; also the heartbeat.
    Append,
    /// Vote for me.
    Vote,
    /// Would you vote for me?
    PreVote,
    /// Take the leadership.
    Transfer,
    /// Am I still one of you?
    Membership,
    /// Could you lead?
    Ready,
}

impl Rpc {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Append, Self::Vote, Self::PreVote, Self::Transfer, Self::Membership, Self::Ready];

    /// Its name between nodes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Vote => "vote",
            Self::PreVote => "pre-vote",
            Self::Transfer => "transfer",
            Self::Membership => "membership",
            Self::Ready => "ready",
        }
    }
}

/// Reasons why a peer did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no connection to it, and none could be made.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// The connection broke, or the peer answered with an error.
    #[error("{0}")]
    Failed(String),
}

/// Carries what nodes say to each other. It makes sure of who the other is, in both directions.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Asks `peer`, whose [`RaftStore::receive`](crate::RaftStore::receive) answers.
    async fn call(&self, peer: &Peer, rpc: Rpc, body: Bytes) -> Result<Bytes, TransportError>;

    /// Sends a snapshot, which the peer's [`RaftStore::receive_snapshot`](crate::RaftStore::receive_snapshot) takes,
    /// in constant memory. `head` says what it is of.
    async fn send_snapshot(
        &self,
        peer: &Peer,
        head: Bytes,
        body: Box<dyn Read + Send>,
    ) -> Result<Bytes, TransportError>;
}

/// A transport without peers, for a node that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Isolated;

#[async_trait]
impl Transport for Isolated {
    async fn call(&self, peer: &Peer, _rpc: Rpc, _body: Bytes) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(format!("no way to node {}", peer.node_id)))
    }

    async fn send_snapshot(
        &self,
        peer: &Peer,
        _head: Bytes,
        _body: Box<dyn Read + Send>,
    ) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(format!("no way to node {}", peer.node_id)))
    }
}
