//! Transfers leadership to another voter.
//!
//! The consensus core stops leading before it knows whether the other takes over: from then on it accepts no write and sends no
//! heartbeat. So the nodes that could take over are asked first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use strongroom_storage::StoreError;
use tokio::task::JoinSet;

use crate::RaftStore;
use crate::network::decode;
use crate::transport::{Peer, Rpc};

/// The time limit of the others' answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

impl RaftStore {
    /// True if this node could lead now: it is not sealed, and its disk has room for writes.
    pub(crate) fn is_ready(&self) -> bool {
        self.inner.eligible.load(Ordering::Acquire) && self.has_room()
    }

    /// The other voters that say that they could lead now, by name; the one with most of the log first.
    pub async fn successors(&self) -> Vec<String> {
        let mut asking = JoinSet::new();
        for status in self.members().into_iter().filter(|status| status.voter && !status.leader) {
            let (transport, member) = (self.inner.transport.clone(), status.member);
            let peer = Peer {
                raft_id: member.raft_id,
                node_id: member.node_id,
                cluster_address: member.cluster_address,
            };
            asking.spawn(async move {
                let asked = transport.call(&peer, Rpc::Ready, Bytes::new());
                let told = tokio::time::timeout(ANSWER_TIMEOUT, asked).await.ok()?.ok()?;
                decode::<bool>(&told).is_ok_and(|ready| ready).then_some((status.last_log, peer.node_id))
            });
        }
        let mut ready: Vec<_> = asking.join_all().await.into_iter().flatten().collect();
        ready.sort_unstable_by(|a, b| b.cmp(a));
        ready.into_iter().map(|(_, name)| name).collect()
    }

    /// Hands leadership to another voter, which should be one of [`RaftStore::successors`]: until it has taken over, or
    /// the lease has ended, nothing is written. Of who is no voter, or on a node that does not lead: false.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where this node has stopped.
    pub async fn hand_over(&self, to: &str) -> Result<bool, StoreError> {
        if !self.is_leader() {
            return Ok(false);
        }
        let members = self.members();
        let successor =
            members.iter().find(|status| status.voter && !status.leader && status.member.node_id == to);
        let Some(successor) = successor else { return Ok(false) };
        self.inner.contact.hand_over();
        let handed = self.inner.raft.trigger().transfer_leader(successor.member.raft_id).await;
        handed.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(true)
    }
}
