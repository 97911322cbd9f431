//! Links between nodes of one process, which can be cut in each direction.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Peer, Position, RaftStore, Rpc, Sender, Transport, TransportError};

/// The network: who is there, and which ways are cut.
#[derive(Default)]
pub struct Hub {
    nodes: Mutex<HashMap<u64, Weak<RaftStore>>>,
    /// Ways on which nothing arrives, by the numbers of who sends and who receives.
    pub cut: Mutex<HashSet<(u64, u64)>>,
    /// How many snapshots yet break off after some bytes.
    pub breaking: AtomicUsize,
    /// How many were sent.
    pub snapshots: AtomicUsize,
}

/// One node's way into it.
#[derive(Default)]
pub struct Wire {
    hub: Arc<Hub>,
    me: OnceLock<u64>,
}

impl Wire {
    /// The way of a node that is about to be opened with it.
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self { hub: hub.clone(), me: OnceLock::new() }
    }

    /// The node is open: it can be reached, and reach others. Once.
    pub fn join(&self, store: &Arc<RaftStore>) {
        self.me.set(store.raft_id()).expect("joined once");
        self.hub.nodes.lock().unwrap().insert(store.raft_id(), Arc::downgrade(store));
    }

    /// As its certificate says, which is of its newest membership.
    fn sender(&self) -> Sender {
        let raft_id = *self.me.get().unwrap();
        let nodes = self.hub.nodes.lock().unwrap();
        let me = nodes.get(&raft_id).and_then(Weak::upgrade);
        Sender { raft_id, seen: me.map_or(Position::default(), |me| me.introduction().seen) }
    }

    fn reach(&self, peer: &Peer) -> Result<Arc<RaftStore>, TransportError> {
        let unreachable = || TransportError::Unreachable(peer.node_id.clone());
        let me = *self.me.get().ok_or_else(unreachable)?;
        if self.hub.cut.lock().unwrap().contains(&(me, peer.raft_id)) {
            return Err(unreachable());
        }
        let node = self.hub.nodes.lock().unwrap().get(&peer.raft_id).and_then(Weak::upgrade);
        node.ok_or_else(unreachable)
    }
}

#[async_trait]
impl Transport for Wire {
    async fn call(&self, peer: &Peer, rpc: Rpc, body: Bytes) -> Result<Bytes, TransportError> {
        let answer = self.reach(peer)?.receive(&self.sender(), rpc, &body).await;
        let back = self.hub.cut.lock().unwrap().contains(&(peer.raft_id, *self.me.get().unwrap()));
        if back {
            return Err(TransportError::Failed("no answer came back".into()));
        }
        answer.map_err(|error| TransportError::Failed(error.to_string()))
    }

    async fn send_snapshot(
        &self,
        peer: &Peer,
        head: Bytes,
        body: Box<dyn Read + Send>,
    ) -> Result<Bytes, TransportError> {
        let node = self.reach(peer)?;
        self.hub.snapshots.fetch_add(1, Ordering::SeqCst);
        let breaks = self.hub.breaking.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        let limit = if breaks.is_ok() { 2000 } else { u64::MAX };
        let answer = node.receive_snapshot(&self.sender(), &head, body.take(limit)).await;
        answer.map_err(|error| TransportError::Failed(error.to_string()))
    }
}
