//! The members of the cluster: admitting, promoting, removing, transferring leadership.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use strongroom_storage::{CommitError, Index, StoreError};

use crate::RaftStore;
use crate::offline::Position;
use crate::proposer::refused;
use crate::types::Node;

/// A node of the cluster, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number in the consensus protocol.
    pub raft_id: u64,
    /// Its name (`node_id` in the configuration).
    pub node_id: String,
    /// The address at which it serves clients.
    pub api_address: String,
    /// The address at which it talks to its peers.
    pub cluster_address: String,
    /// It is never to vote.
    pub non_voter: bool,
}

/// A member and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The member.
    pub member: Member,
    /// True if it votes.
    pub voter: bool,
    /// True if it leads, as far as this node knows.
    pub leader: bool,
    /// The last log entry known to be on it; known to the leader only.
    pub last_log: Option<Index>,
    /// The term of that entry.
    pub last_term: Option<u64>,
    /// The time since the leader sent the last message that it has acknowledged. Known to the leader only; none where
    /// it has acknowledged nothing to this leader yet.
    pub silence: Option<Duration>,
}

impl From<&Member> for Node {
    fn from(member: &Member) -> Self {
        Self {
            name: member.node_id.clone(),
            api_address: member.api_address.clone(),
            cluster_address: member.cluster_address.clone(),
            non_voter: member.non_voter,
        }
    }
}

/// The change after which a member is known as this.
fn described(member: &Member) -> ChangeMembers<u64, Node> {
    ChangeMembers::SetNodes(BTreeMap::from([(member.raft_id, Node::from(member))]))
}

/// The position of the entry of the new membership.
type Changed = Result<Position, CommitError>;

/// The time that a change waits for another that is under way, and the interval between two looks.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

impl RaftStore {
    /// Changes the membership, after the change that is under way.
    async fn change(&self, wanted: ChangeMembers<u64, Node>, retain: bool) -> Changed {
        let changing = async {
            loop {
                match self.inner.raft.change_membership(wanted.clone(), retain).await {
                    Ok(changed) => return Ok(Some(changed.log_id).into()),
                    Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                        ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
                    ))) => tokio::time::sleep(POLL_INTERVAL).await,
                    Err(RaftError::APIError(error)) => return Err(refused(error)),
                    Err(RaftError::Fatal(error)) => return Err(StoreError::Failed(error.to_string()).into()),
                }
            }
        };
        let late = |_elapsed| {
            CommitError::Uncertain("another change of the membership is under way; try again".to_owned())
        };
        tokio::time::timeout(CHANGE_TIMEOUT, changing).await.map_err(late)?
    }

    /// The members, by name.
    pub fn members(&self) -> Vec<MemberStatus> {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let replicated = |id: &u64| metrics.replication.as_ref()?.get(id)?.as_ref();
        let leads = metrics.state.is_leader();
        let silence = |id: &u64| metrics.heartbeat.as_ref()?.get(id)?.as_ref().map(|heard| heard.elapsed());
        let mut members: Vec<MemberStatus> = membership
            .nodes()
            .map(|(id, node)| MemberStatus {
                member: Member {
                    raft_id: *id,
                    node_id: node.name.clone(),
                    api_address: node.api_address.clone(),
                    cluster_address: node.cluster_address.clone(),
                    non_voter: node.non_voter,
                },
                voter: voters.contains(id),
                leader: metrics.current_leader == Some(*id),
                last_log: if *id == metrics.id {
                    metrics.last_log_index
                } else {
                    replicated(id).map(|at| at.index)
                },
                last_term: match replicated(id) {
                    _ if *id == metrics.id && leads => Some(metrics.current_term),
                    at => at.map(|at| at.committed_leader_id().term),
                },
                silence: if *id == metrics.id && leads { Some(Duration::ZERO) } else { silence(id) },
            })
            .collect();
        members.sort_by(|a, b| a.member.node_id.cmp(&b.member.node_id));
        members
    }

    /// The log entry that the membership is of.
    pub fn membership_index(&self) -> Index {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.log_id().as_ref().map_or(0, |log_id| log_id.index)
    }

    fn find(&self, wanted: impl Fn(&Member) -> bool) -> Option<Member> {
        self.members().into_iter().map(|status| status.member).find(wanted)
    }

    fn number_of(&self, node_id: &str) -> Option<u64> {
        self.find(|member| member.node_id == node_id).map(|member| member.raft_id)
    }

    /// Takes a node into the cluster, without a vote at first. A member of the same name that is another node (its
    /// data was lost) gives way to it; of the same node, the addresses are renewed. Answers the entry of the membership
    /// that it belongs to.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn admit(&self, member: &Member) -> Changed {
        match self.number_of(&member.node_id) {
            Some(number) if number == member.raft_id => {
                return self.change(described(member), true).await;
            }
            Some(_) => self.remove(&member.node_id).await?,
            None => {}
        }
        let new = BTreeMap::from([(member.raft_id, Node::from(member))]);
        self.change(ChangeMembers::AddNodes(new), true).await
    }

    /// Gives a member its vote, also one that was never to have it. Of who is not a member: false.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn promote(&self, node_id: &str) -> Result<bool, CommitError> {
        let Some(number) = self.number_of(node_id) else { return Ok(false) };
        self.promote_number(number).await
    }

    /// As [`RaftStore::promote`], of this number.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn promote_number(&self, raft_id: u64) -> Result<bool, CommitError> {
        let Some(member) = self.find(|member| member.raft_id == raft_id) else { return Ok(false) };
        let vote = ChangeMembers::AddVoterIds(BTreeSet::from([raft_id]));
        let change = if member.non_voter {
            ChangeMembers::Batch(vec![vote, described(&Member { non_voter: false, ..member })])
        } else {
            vote
        };
        self.change(change, true).await.map(|_at| true)
    }

    /// Demotes a member to a non-voter until it is promoted. False for a node that is not a member.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn demote(&self, node_id: &str) -> Result<bool, CommitError> {
        let Some(member) = self.find(|member| member.node_id == node_id) else { return Ok(false) };
        let no_vote = ChangeMembers::RemoveVoters(BTreeSet::from([member.raft_id]));
        // In one change: a member without a vote that may have one would be given it.
        let change = ChangeMembers::Batch(vec![described(&Member { non_voter: true, ..member }), no_vote]);
        self.change(change, true).await.map(|_at| true)
    }

    /// Removes a member. Of who is not one: nothing happens, as in Vault.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn remove(&self, node_id: &str) -> Result<(), CommitError> {
        let Some(number) = self.number_of(node_id) else { return Ok(()) };
        self.remove_number(number).await
    }

    /// As [`RaftStore::remove`], of this number.
    ///
    /// # Errors
    ///
    /// As for a write.
    pub async fn remove_number(&self, raft_id: u64) -> Result<(), CommitError> {
        let only = BTreeSet::from([raft_id]);
        let members = self.members();
        let Some(status) = members.iter().find(|status| status.member.raft_id == raft_id) else {
            return Ok(());
        };
        let votes = status.voter;
        if votes {
            let change = ChangeMembers::RemoveVoters(only.clone());
            // Not retained: it leaves with its vote.
            return self.change(change, false).await.map(|_at| ());
        }
        self.change(ChangeMembers::RemoveNodes(only), false).await.map(|_at| ())
    }
}
