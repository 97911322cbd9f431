//! The choice of the one among several nodes that decides.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// The time that a node may be without a leader, as in an election, before its answers are called stale.
pub const ELECTION: Duration = Duration::from_secs(5);

/// The state of a node towards its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads: its reads see all that was acknowledged, its writes are accepted.
    Leads,
    /// Another leads, and has been heard lately.
    Follows,
    /// It leads as far as it knows, and cannot be sure of it, or has just begun to, or hands over.
    Unsure {
        /// The time for which that has been so.
        since: Duration,
    },
    /// It has heard no leader since it was started: its data may be of any age.
    Unheard {
        /// The time since it was started.
        since: Duration,
    },
    /// It follows no leader, or one that has not been heard for longer than an election takes.
    CutOff {
        /// The time for which that has been so.
        since: Duration,
    },
}

impl Role {
    /// The time for which this node has been without its cluster.
    pub const fn without_quorum(self) -> Option<Duration> {
        match self {
            Self::Leads | Self::Follows => None,
            Self::Unsure { since } | Self::Unheard { since } | Self::CutOff { since } => Some(since),
        }
    }
}

/// The node that decides, as the others find it; where they share a database, it tells them there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// Its number in the cluster.
    pub number: u64,
    /// Its name.
    pub node_id: String,
    /// The address at which it serves clients.
    pub api_address: String,
    /// The address at which it takes requests from other nodes.
    pub cluster_address: String,
}

/// The outcome of stepping down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteppedDown {
    /// This is not the active node, or there is no other that could be.
    Nothing,
    /// Another node leads.
    HandedOver,
    /// No other node could take over.
    NobodyReady,
}

/// Settles which of the nodes that share a store decides: one at a time, each in a later term than those before it.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// The state of this node at this moment. Costs no message and no wait.
    fn role(&self) -> Role;

    /// The term in which this node leads at this moment, its reads seeing all that was acknowledged.
    fn leading(&self) -> Option<u64>;

    /// True if this node may lead from now on. One that cannot serve should not.
    fn set_eligible(&self, eligible: bool);

    /// The leader, as far as known; may be this node.
    fn active(&self) -> Option<Active>;

    /// This node's number in the cluster.
    fn number(&self) -> u64;

    /// The cluster's identity.
    fn cluster_id(&self) -> Arc<str>;

    /// Lets another node lead, if one can. If none can, this one continues.
    async fn step_down(&self) -> SteppedDown;
}

/// A handle that tells whether this node decides, independent of how nodes settle that. Clones tell the same.
///
/// A node that is alone decides, until it is told how it and others settle it.
#[derive(Clone, Default)]
pub struct Leadership(Arc<OnceLock<Arc<dyn Coordinator>>>);

impl Leadership {
    /// Goes by `coordinator` from now on. Once.
    pub fn settle_by(&self, coordinator: Arc<dyn Coordinator>) {
        let _first = self.0.set(coordinator);
    }

    /// The term in which this node decides, 0 where there are no others; `None` for a node that does not.
    pub fn term(&self) -> Option<u64> {
        self.0.get().map_or(Some(0), |coordinator| coordinator.leading())
    }

    /// True if it is this node that decides: it leads, or there are no others.
    pub fn is_active(&self) -> bool {
        self.term().is_some()
    }

    /// For how long this node has been without a leader or a majority: where that is longer than an election takes, or
    /// has been so since it was started.
    pub fn without_quorum(&self) -> Option<Duration> {
        match self.0.get()?.role() {
            Role::Unheard { since } => Some(since),
            role => role.without_quorum().filter(|since| *since >= ELECTION),
        }
    }

    /// True if another node decides and can be asked: what only the active node's clock can judge is for that one.
    pub fn is_with_another(&self) -> bool {
        !self.is_active() && self.without_quorum().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Role);

    #[async_trait]
    impl Coordinator for Fixed {
        fn role(&self) -> Role {
            self.0
        }

        fn leading(&self) -> Option<u64> {
            (self.0 == Role::Leads).then_some(7)
        }

        fn set_eligible(&self, _eligible: bool) {}

        fn active(&self) -> Option<Active> {
            None
        }

        fn number(&self) -> u64 {
            1
        }

        fn cluster_id(&self) -> Arc<str> {
            "c".into()
        }

        async fn step_down(&self) -> SteppedDown {
            SteppedDown::Nothing
        }
    }

    #[test]
    fn a_node_decides_alone_until_it_is_told_how_it_is_settled() {
        let told = |role| {
            let leadership = Leadership::default();
            let handed_out = leadership.clone();
            assert_eq!(handed_out.term(), Some(0), "alone");
            leadership.settle_by(Arc::new(Fixed(role)));
            (handed_out.term(), handed_out.without_quorum(), handed_out.is_with_another())
        };
        assert_eq!(told(Role::Leads), (Some(7), None, false));
        assert_eq!(told(Role::Follows), (None, None, true));
        let moment = Duration::from_secs(1);
        assert_eq!(told(Role::CutOff { since: moment }), (None, None, true), "as in an election");
        assert_eq!(told(Role::CutOff { since: ELECTION }), (None, Some(ELECTION), false));
        assert_eq!(told(Role::Unheard { since: moment }), (None, Some(moment), false));
    }
}
