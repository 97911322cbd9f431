//! The removal of this node from its cluster, and how it learns of it.
//!
//! A node that is removed may never receive the entry that says so, because nobody sends it anything any more. A node that hears
//! nobody therefore asks the others. A node that was just admitted must not be taken for removed by those that have not heard of
//! it yet: if it knows a membership that it belongs to, it is removed if a newer one is committed that it does not belong to. If
//! it knows none, it was removed, or its log has not come as far as its admission; then only a leader is certain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use serde::{Deserialize, Serialize};
use strongroom_storage::Index;
use tokio::task::JoinSet;

use crate::files::{remove_file, replace_file};
use crate::network::{decode, encode};
use crate::transport::{Peer, Rpc, Sender};
use crate::types::StoredMembership;
use crate::{RaftStore, Role};

/// The time limit of the others' answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The question.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AmIOut {
    /// The node that asks.
    raft_id: u64,
    /// The log entry of the newest membership that it knows, where it belongs to that.
    membership: Option<Index>,
}

/// The file in the data directory that says that this node was removed.
const MARKER: &str = "removed";

/// The knowledge that this node was removed, which outlives a restart.
#[derive(Debug)]
pub(crate) struct Removal {
    marker: PathBuf,
    removed: AtomicBool,
}

impl Removal {
    /// Of a node with this data directory.
    pub(crate) fn of(directory: &Path) -> Self {
        let marker = directory.join(MARKER);
        Self { removed: AtomicBool::new(marker.exists()), marker }
    }
}

impl RaftStore {
    /// True if this node was told that it was taken out of its cluster, and has heard of no leader since.
    pub fn was_removed(&self) -> bool {
        self.inner.removal.removed.load(Ordering::Acquire)
    }

    /// Keeps whether this node was taken out, also for when it is started again.
    ///
    /// # Errors
    ///
    /// [`io::Error`] where that cannot be written; until the next start it is known all the same.
    pub fn keep_removed(&self, removed: bool) -> io::Result<()> {
        let removal = &self.inner.removal;
        if self.was_removed() == removed {
            return Ok(());
        }
        // On disk before anybody is told: a node that has said it, and is killed, says it again.
        let kept = if removed { replace_file(&removal.marker, b"") } else { remove_file(&removal.marker) };
        removal.removed.store(removed, Ordering::Release);
        kept
    }

    /// True if the node that asks was removed, as far as is certain here. A node may ask about itself only.
    pub(crate) fn is_out(&self, sender: &Sender, asked: AmIOut) -> bool {
        if asked.raft_id != sender.raft_id {
            return false;
        }
        let leads = self.role() == Role::Leads;
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let belongs_to = |known: &StoredMembership| known.membership().get_node(&asked.raft_id).is_some();
        let committed = &metrics.committed_membership_config;
        let is_certain = match asked.membership {
            Some(index) => committed.log_id().as_ref().is_some_and(|at| at.index > index),
            None => leads,
        };
        is_certain && !belongs_to(committed) && !belongs_to(&metrics.membership_config)
    }

    /// Asks the others whether this node has been taken out of the cluster. False where none of them is certain, and
    /// for a node that belongs to no cluster yet.
    pub async fn ask_whether_removed(&self) -> bool {
        let known = self.inner.raft.metrics().borrow_watched().membership_config.clone();
        let raft_id = self.raft_id();
        let index = known.log_id().as_ref().map_or(0, |at| at.index);
        let membership = known.membership().get_node(&raft_id).map(|_belongs_to_it| index);
        let Ok(body) = encode(&AmIOut { raft_id, membership }) else { return false };
        let mut asking = JoinSet::new();
        for (number, node) in known.membership().nodes().filter(|(number, _)| **number != raft_id) {
            let (transport, body) = (self.inner.transport.clone(), body.clone());
            let peer = Peer {
                raft_id: *number,
                node_id: node.name.clone(),
                cluster_address: node.cluster_address.clone(),
            };
            asking.spawn(async move {
                let told = transport.call(&peer, Rpc::Membership, body).await;
                told.is_ok_and(|told| decode::<bool>(&told).unwrap_or(false))
            });
        }
        let certain = async {
            while let Some(told) = asking.join_next().await {
                if told.unwrap_or(false) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(ANSWER_TIMEOUT, certain).await.unwrap_or(false)
    }
}
