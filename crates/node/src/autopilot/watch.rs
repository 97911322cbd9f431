//! Decisions about members from what the leader hears of them. Pure: time and facts come in.

use std::collections::BTreeMap;
use std::time::Duration;

use strongroom_engine_api::Moment;
use strongroom_raft::{Member, MemberStatus};

use super::AutopilotConfig;

/// The longest time between two looks that counts. A node that was stopped for an hour has not watched for an hour: it
/// must not take the others for dead before it has heard them again.
const MAX_STEP: Duration = Duration::from_secs(5);

/// The leader's observations of the members in its term.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    term: u64,
    /// The time of the last look.
    at: Moment,
    /// By number: a name may pass to another node.
    members: BTreeMap<u64, Watched>,
}

/// The observation of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watched {
    /// True if it is heard and keeps up.
    pub(crate) healthy: bool,
    /// Since when it is so.
    pub(crate) since: Moment,
    /// The time for which it has been watched in this state.
    steady: Duration,
    /// The time for which it has been watched being silent. Never longer than it was silent.
    pub(crate) silent: Duration,
}

/// The action for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is dead: it goes.
    Remove(Member),
    /// It has been healthy for long enough: it votes.
    Promote(Member),
}

/// The state of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// True if every member is healthy.
    pub(crate) healthy: bool,
    /// The number of voters that may fail, one after the other, before there is no quorum.
    pub(crate) failure_tolerance: usize,
}

const fn majority(voters: usize) -> usize {
    (voters / 2).saturating_add(1)
}

impl Watch {
    /// Records the present state of the members. In another term, all observations start again.
    pub(crate) fn look(
        &mut self,
        term: u64,
        now: Moment,
        members: &[MemberStatus],
        config: &AutopilotConfig,
    ) {
        if self.term != term {
            *self = Self { term, at: now, members: BTreeMap::new() };
        }
        let step = now.since(self.at).min(MAX_STEP);
        self.at = now;
        let last =
            members.iter().find(|status| status.leader).and_then(|leader| leader.last_log).unwrap_or(0);
        let seen = members.iter().map(|status| {
            let before = self.members.get(&status.member.raft_id);
            let silent = before.map_or(Duration::ZERO, |before| before.silent.saturating_add(step));
            let silent = status.silence.map_or(silent, |silence| silence.min(silent));
            let heard = status.silence.is_some_and(|silence| silence <= config.last_contact_threshold);
            let keeps_up =
                status.last_log.is_some_and(|at| at.saturating_add(config.max_trailing_logs) >= last);
            let healthy = heard && keeps_up;
            let watched = match before.filter(|before| before.healthy == healthy) {
                Some(same) => Watched { silent, steady: same.steady.saturating_add(step), ..*same },
                None => Watched { healthy, since: now, steady: Duration::ZERO, silent },
            };
            (status.member.raft_id, watched)
        });
        self.members = seen.collect();
    }

    /// The observation of a member.
    pub(crate) fn of(&self, raft_id: u64) -> Option<Watched> {
        self.members.get(&raft_id).copied()
    }

    fn is_healthy(&self, status: &MemberStatus) -> bool {
        self.of(status.member.raft_id).is_some_and(|watched| watched.healthy)
    }

    /// True if it is to be removed for having been silent for so long. The leader itself is not.
    pub(crate) fn is_dead(&self, status: &MemberStatus, config: &AutopilotConfig) -> bool {
        let silent = self.of(status.member.raft_id).map_or(Duration::ZERO, |watched| watched.silent);
        config.cleanup_dead_servers
            && !status.leader
            && !self.is_healthy(status)
            && silent >= config.dead_server_last_contact_threshold
    }

    /// The state of the cluster.
    pub(crate) fn outlook(&self, members: &[MemberStatus]) -> Outlook {
        let voters = || members.iter().filter(|status| status.voter);
        let healthy = voters().filter(|status| self.is_healthy(status)).count();
        Outlook {
            healthy: members.iter().all(|status| self.is_healthy(status)),
            failure_tolerance: healthy.saturating_sub(majority(voters().count())),
        }
    }

    /// The actions due now. At most one voter is removed at a time: the next is judged by what is then left.
    pub(crate) fn decide(&self, members: &[MemberStatus], config: &AutopilotConfig) -> Vec<Decision> {
        let who = |status: &MemberStatus| status.member.clone();
        let dead = |voter: bool| {
            members.iter().filter(move |status| status.voter == voter && self.is_dead(status, config))
        };
        let removable = dead(true).next().filter(|_| self.may_lose_a_voter(members, config));
        let removed = removable.into_iter().chain(dead(false)).map(|status| Decision::Remove(who(status)));
        let stable = |status: &&MemberStatus| {
            let watched = self.of(status.member.raft_id);
            watched.is_some_and(|seen| seen.healthy && seen.steady >= config.server_stabilization_time)
        };
        let may_vote = members.iter().filter(|status| !status.voter && !status.member.non_voter);
        let promoted = may_vote.filter(stable).map(|status| Decision::Promote(who(status)));
        removed.chain(promoted).collect()
    }

    /// True if a dead voter can go: enough voters stay, and those that are healthy are a majority before and after.
    fn may_lose_a_voter(&self, members: &[MemberStatus], config: &AutopilotConfig) -> bool {
        let voters: Vec<_> = members.iter().filter(|status| status.voter).collect();
        let left = voters.len().saturating_sub(1);
        let healthy = voters.iter().filter(|status| self.is_healthy(status)).count();
        let enough = u64::try_from(left).is_ok_and(|left| left >= config.min_quorum);
        enough && healthy >= majority(voters.len())
    }
}

#[cfg(test)]
mod tests;
