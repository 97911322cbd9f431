//! Autopilot: the active node watches the members, gives votes to those that are steady, and removes those that are
//! dead. Source: Vault's documentation, "Autopilot", and its API page `sys/storage/raft/autopilot`.
//!
//! What has been watched is kept in memory and begins anew with every leader: a member that was silent for an hour when
//! the leader changed is dead an hour later than it would have been, never earlier.

mod config;
mod watch;

use std::time::Duration;

use strongroom_barrier::{BarrierError, Txn, View};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_raft::MemberStatus;
use strongroom_storage::CommitError;

use super::ClusterNode;
use super::joining::not_raft;
use crate::AUTOPILOT;
use crate::Node;

pub use config::AutopilotConfig;
use watch::Decision;
pub(super) use watch::Watch;

/// The cluster as autopilot sees it.
#[derive(Clone, Debug)]
pub struct AutopilotState {
    /// True if every member is healthy.
    pub healthy: bool,
    /// The number of voters that may fail, one after the other, before there is no quorum.
    pub failure_tolerance: usize,
    /// The members, by name.
    pub servers: Vec<AutopilotServer>,
}

/// A member as autopilot sees it.
#[derive(Clone, Debug)]
pub struct AutopilotServer {
    /// The member, and its state in raft.
    pub status: MemberStatus,
    /// The time since it was last heard.
    pub last_contact: Duration,
    /// True if it is heard and keeps up.
    pub healthy: bool,
    /// Since when that is so, as far as this leader has seen.
    pub stable_since: Moment,
    /// It is to be removed for having been silent for so long.
    pub dead: bool,
    /// The version of its program; empty where it has not said so.
    pub version: String,
}

impl Node {
    /// The settings of autopilot.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where it cannot be read.
    pub async fn autopilot_config(&self, view: &View) -> Result<AutopilotConfig, BarrierError> {
        let kept = AUTOPILOT.get(view, "").await?;
        Ok(kept.map_or_else(AutopilotConfig::default, |kept| *kept))
    }

    /// Changes what autopilot goes by.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: a 400 for what makes no sense together; as for a write.
    pub async fn configure_autopilot(
        &self,
        txn: &Txn,
        change: impl FnOnce(&mut AutopilotConfig) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let mut config = AUTOPILOT.get(txn, "").await?.map_or_else(AutopilotConfig::default, |kept| *kept);
        change(&mut config)?;
        config.check()?;
        Ok(AUTOPILOT.put(txn, "", config)?)
    }

    /// The cluster as autopilot sees it now.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: a 400 where there is no cluster, and the refusal of a write on another than the active node,
    /// for the request to be handed on: only a leader hears the others.
    pub async fn autopilot_state(&self, view: &View) -> Result<AutopilotState, EngineError> {
        let node = self.cluster().ok_or_else(not_raft)?;
        let config = self.autopilot_config(view).await?;
        let not_leader = || CommitError::NotLeader { leader: node.store.leader_address() };
        let term = node.store.leading().ok_or_else(|| BarrierError::Commit(not_leader()))?;
        let members = node.store.members();
        let mut state = node.state();
        let watch = &mut state.watch;
        watch.look(term, self.environment.clock.now(), &members, &config);
        let outlook = watch.outlook(&members);
        let servers = members.into_iter().filter_map(|status| {
            let watched = watch.of(status.member.raft_id)?;
            Some(AutopilotServer {
                version: self.version_of(node, status.member.raft_id),
                dead: watch.is_dead(&status, &config),
                last_contact: status.silence.unwrap_or(watched.silent),
                healthy: watched.healthy,
                stable_since: watched.since,
                status,
            })
        });
        Ok(AutopilotState {
            healthy: outlook.healthy,
            failure_tolerance: outlook.failure_tolerance,
            servers: servers.collect(),
        })
    }

    /// One round of autopilot. Does nothing on another than the active node. What fails is logged and tried again.
    pub async fn run_autopilot(&self) -> Result<(), EngineError> {
        let Some(node) = self.cluster() else { return Ok(()) };
        let Some(term) = node.store.leading() else { return Ok(()) };
        let config = self.autopilot_config(&self.barrier.view()).await?;
        let members = node.store.members();
        let decisions = {
            let watch = &mut node.state().watch;
            watch.look(term, self.environment.clock.now(), &members, &config);
            watch.decide(&members, &config)
        };
        for decision in decisions {
            node.act(decision).await;
        }
        Ok(())
    }
}

impl ClusterNode {
    /// By number, for a name may meanwhile be another node's.
    async fn act(&self, decision: Decision) {
        let (what, member, outcome) = match decision {
            Decision::Remove(member) => {
                tracing::warn!(node = member.node_id, "removing dead node");
                let outcome = self.store.remove_number(member.raft_id).await;
                ("removing a dead node", member, outcome)
            }
            Decision::Promote(member) => {
                tracing::info!(node = member.node_id, "promoting node to voter");
                let outcome = self.store.promote_number(member.raft_id).await.map(|_is_member| ());
                ("giving a node its vote", member, outcome)
            }
        };
        if let Err(error) = outcome {
            tracing::warn!(node = member.node_id, %error, "{what} failed and will be tried again");
        }
    }
}
