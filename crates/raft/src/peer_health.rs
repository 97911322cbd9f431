//! The members that the leader does not hear: logged once when one is lost, and once when it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::members::MemberStatus;

/// The silence after which a member is called lost.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// The change of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Lost(String),
    Back(String),
}

/// The leader's observations of the members in its term.
#[derive(Debug, Default)]
pub(crate) struct PeerHealth {
    term: Option<u64>,
    /// The time for which each has been watched being silent.
    silent: BTreeMap<u64, Duration>,
    lost: BTreeSet<u64>,
}

impl PeerHealth {
    /// Takes in how the members stand, `step` after the last time; `term` is none for a node that does not lead.
    pub(crate) fn look(
        &mut self,
        term: Option<u64>,
        members: &[MemberStatus],
        step: Duration,
    ) -> Vec<Change> {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
        let mut changes = Vec::new();
        if term.is_none() {
            return changes;
        }
        let (mut silent, mut lost) = (BTreeMap::new(), BTreeSet::new());
        for status in members.iter().filter(|status| !status.leader) {
            let (id, name) = (status.member.raft_id, &status.member.node_id);
            let watched = self.silent.get(&id).copied().unwrap_or_default().saturating_add(step);
            // No longer than it was watched: a leader that has just been elected, or was stopped, has heard nobody.
            let silence = status.silence.map_or(watched, |silence| silence.min(watched));
            let was_lost = self.lost.contains(&id);
            if silence >= LOST_AFTER {
                lost.insert(id);
            }
            if silence >= LOST_AFTER && !was_lost {
                changes.push(Change::Lost(name.clone()));
            } else if silence < LOST_AFTER && was_lost {
                changes.push(Change::Back(name.clone()));
            }
            silent.insert(id, silence);
        }
        (self.silent, self.lost) = (silent, lost);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;

    const STEP: Duration = Duration::from_millis(500);

    fn member(raft_id: u64, silence: Option<u64>) -> MemberStatus {
        MemberStatus {
            member: Member {
                raft_id,
                node_id: format!("n{raft_id}"),
                api_address: String::new(),
                cluster_address: String::new(),
                non_voter: false,
            },
            voter: true,
            leader: raft_id == 0,
            last_log: None,
            last_term: None,
            silence: silence.map(Duration::from_millis),
        }
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once() {
        let mut peer_health = PeerHealth::default();
        let mut told = Vec::new();
        let at = |one: Option<u64>| vec![member(0, None), member(1, one), member(2, Some(50))];
        for ms in [None, None, None, None, None, Some(100), Some(100), Some(1900), Some(2400), Some(2900)] {
            told.push(peer_health.look(Some(3), &at(ms), STEP));
        }
        let (lost, back) = (Change::Lost("n1".into()), Change::Back("n1".into()));
        let expected = |at: usize| match at {
            3 => vec![lost.clone()],
            5 => vec![back.clone()],
            _ => Vec::new(),
        };
        for (at, told) in told.into_iter().enumerate() {
            assert_eq!(told, expected(at), "at {at}");
        }
        for _ in 0..3 {
            told_nothing_or_lost(&peer_health.look(Some(3), &at(Some(9000)), STEP), &lost);
        }
        assert!(peer_health.look(None, &at(None), STEP).is_empty(), "who does not lead hears nobody");
        assert!(peer_health.look(Some(5), &at(Some(9000)), STEP).is_empty(), "each leader sees for itself");
    }

    fn told_nothing_or_lost(told: &[Change], lost: &Change) {
        assert!(told.is_empty() || told == [lost.clone()], "{told:?}");
    }
}
