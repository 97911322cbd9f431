//! The senders of messages: every message is bound to the node that sent it, and the node to the membership.
//!
//! A certificate says that a node belonged to the cluster when it was signed. The membership, as far as this node knows it, says
//! whether it still does:
//!
//! - A node of the committed membership, or of the one that is to follow it, is heard.
//! - Any other is heard only if its certificate was signed under a later membership than this node knows: it was
//!   admitted since, and may lead by now. A node that was removed has none of these, since a certificate is signed under
//!   a membership that the node belongs to.
//! - A node that has just been admitted learned of the members along with its certificate. It trusts those until its
//!   own log has come as far: the log begins with memberships that the present leader may not belong to.
//!
//! Deliberately not here: that a member tells the truth. A member's key can depose the leader and destroy what is stored, as the
//! consensus protocol trusts its members.

use openraft::async_runtime::WatchReceiver;
use strongroom_storage::StoreError;

use crate::RaftStore;
use crate::directory::Introduction;
use crate::offline::Position;
use crate::transport::Sender;
use crate::types::{LogId, StoredMembership, Vote};

impl RaftStore {
    /// True if a node belongs to the cluster, by the committed membership or the one that is to follow it.
    pub fn is_member(&self, raft_id: u64) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let belongs_to = |membership: &StoredMembership| membership.membership().get_node(&raft_id).is_some();
        belongs_to(&metrics.membership_config) || belongs_to(&metrics.committed_membership_config)
    }

    /// True if messages of the consensus protocol are taken from a node.
    pub fn hears(&self, sender: &Sender) -> bool {
        if sender.raft_id == self.raft_id() {
            return false;
        }
        if self.is_member(sender.raft_id) {
            return true;
        }
        let told = self.inner.introduction.load();
        match (self.membership_position(), told.as_deref()) {
            (None, None) => false,
            // What it was told counts until its own log has come as far: the leader may be younger than that log's end.
            (known, Some(told)) if known < Some(told.seen) && told.members.contains(&sender.raft_id) => true,
            (known, told) => sender.seen > known.max(told.map(|told| told.seen)).unwrap_or_default(),
        }
    }

    /// The log entry of the newest membership that this node knows, committed or not.
    pub fn membership_position(&self) -> Option<Position> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.log_id().as_ref().map(|at| Some(*at).into())
    }

    /// The members, as a node that is admitted now learns of them.
    pub fn introduction(&self) -> Introduction {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        Introduction {
            seen: (*membership.log_id()).into(),
            members: membership.membership().nodes().map(|(id, _)| *id).collect(),
        }
    }

    /// Refuses a vote that is not the sender's own: no node leads or stands for election in another's name. The entries
    /// that come with it cannot be of a later term.
    pub(crate) fn check_vote(
        &self,
        sender: &Sender,
        vote: &Vote,
        leads: bool,
        entries: impl IntoIterator<Item = LogId>,
    ) -> Result<(), StoreError> {
        let refused = |reason: String| Err(StoreError::Failed(format!("refused: {reason}")));
        let leader = vote.leader_id;
        if leader.node_id != sender.raft_id {
            return refused(format!("node {:016x} speaks for node {:016x}", sender.raft_id, leader.node_id));
        }
        if vote.committed != leads {
            return refused("the vote does not go with the message".to_owned());
        }
        if entries.into_iter().any(|at| at.leader_id > leader) {
            return refused("an entry is of a later term than its leader".to_owned());
        }
        self.inner.terms.accept(leader.term).map_err(|error| StoreError::Failed(error.to_string()))
    }
}
