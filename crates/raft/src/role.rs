//! Whether this node may decide, and if not, whether it still hears of who does.
//!
//! A leader counts on its lease: as long as a majority has acknowledged a message that was sent within the last
//! election timeout, none of them votes for another, so that what is read here is what was acknowledged last. The
//! lease is counted from the time of sending, and cut by a tenth for clocks that do not run alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::{InstantOf, WatchReceiverOf};
use openraft::{Instant as _, RaftMetrics};
use strongroom_storage::{Active, Coordinator, Role, SteppedDown};

use crate::RaftStore;
use crate::members::Member;
use crate::types::Types;

type Instant = InstantOf<Types>;

/// What the role follows from.
pub(crate) struct Contact {
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    opened: Instant,
    /// Milliseconds after `opened` at which a leader was last heard, or this node last had a majority behind it.
    heard: AtomicU64,
    /// The term in which this node has offered its leadership to another.
    handed_over: AtomicU64,
    had_peers: AtomicBool,
    lease: Duration,
}

impl Contact {
    pub(crate) fn new(metrics: WatchReceiverOf<Types, RaftMetrics<Types>>, lease: Duration) -> Self {
        Self {
            metrics,
            opened: Instant::now(),
            heard: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            had_peers: AtomicBool::new(false),
            lease,
        }
    }

    /// A leader was heard.
    pub(crate) fn hear(&self) {
        self.hear_at(Instant::now());
    }

    fn hear_at(&self, at: Instant) {
        let at = at.saturating_duration_since(self.opened).as_millis();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        if at > self.heard.load(Ordering::Relaxed) {
            self.heard.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// From now on what is read here may be old: another may be elected without waiting for the lease to end.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(self.term(), Ordering::Release);
    }

    /// This node voted with others before it was started: it may have granted a lease to one of them.
    pub(crate) fn remember_peers(&self) {
        self.had_peers.store(true, Ordering::Release);
    }

    /// Whether a lease that this node granted before it was started may still run.
    pub(crate) fn may_have_granted(&self) -> bool {
        self.had_peers.load(Ordering::Acquire) && self.opened.elapsed() < self.lease
    }

    fn term(&self) -> u64 {
        self.metrics.borrow_watched().current_term
    }

    fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(heard)
    }

    /// The role at this moment.
    pub(crate) fn role(&self) -> Role {
        let (leads, current, acked) = {
            let metrics = self.metrics.borrow_watched();
            let term = metrics.current_term;
            let applied_own = metrics
                .last_applied
                .as_ref()
                .is_some_and(|applied| applied.committed_leader_id().term == term);
            let kept = self.handed_over.load(Ordering::Acquire) != term;
            let membership = metrics.membership_config.membership();
            // A removed leader is succeeded as soon as it is out, without waiting for its lease to end.
            let mine = membership.voter_ids().map(|voter| voter == metrics.id);
            let (votes, no_others) = mine.fold((false, true), |(any, all), me| (any || me, all && me));
            let alone = votes && no_others;
            let acked = if alone { Some(Instant::now()) } else { metrics.last_quorum_acked.map(|at| *at) };
            (metrics.state.is_leader(), applied_own && kept && votes, acked)
        };
        if !leads {
            let silence = self.silence();
            return match silence.checked_sub(self.lease) {
                Some(since) if !since.is_zero() => Role::CutOff { since },
                _ => Role::Follows,
            };
        }
        if let Some(acked) = acked {
            self.hear_at(acked);
            let lease = self.lease.mul_f32(0.9);
            if current && acked.elapsed() < lease {
                return Role::Leads;
            }
        }
        Role::Unsure { since: self.silence().saturating_sub(self.lease) }
    }
}

impl RaftStore {
    /// The term in which this node leads at this moment, its reads seeing all that was acknowledged.
    pub fn leading(&self) -> Option<u64> {
        (self.role() == Role::Leads).then(|| self.inner.contact.term())
    }

    /// Where this node stands at this moment. Costs no message and no wait.
    pub fn role(&self) -> Role {
        self.inner.contact.role()
    }
}

/// How long it is looked whether a successor has taken over.
const HANDOVER_LOOK: Duration = Duration::from_millis(20);
const HANDOVER_LOOKS: u32 = 50;

#[async_trait]
impl Coordinator for RaftStore {
    fn role(&self) -> Role {
        Self::role(self)
    }

    fn leading(&self) -> Option<u64> {
        Self::leading(self)
    }

    fn set_eligible(&self, eligible: bool) {
        Self::set_eligible(self, eligible);
    }

    fn active(&self) -> Option<Active> {
        let leader = self.members().into_iter().find(|member| member.leader)?.member;
        let Member { raft_id, node_id, api_address, cluster_address, .. } = leader;
        Some(Active { number: raft_id, node_id, api_address, cluster_address })
    }

    fn number(&self) -> u64 {
        self.raft_id()
    }

    fn cluster_id(&self) -> Arc<str> {
        Self::cluster_id(self)
    }

    async fn step_down(&self) -> SteppedDown {
        if !self.is_leader() || !self.members().iter().any(|member| member.voter && !member.leader) {
            return SteppedDown::Nothing;
        }
        for successor in self.successors().await {
            if !matches!(self.hand_over(&successor).await, Ok(true)) {
                continue;
            }
            for _ in 0..HANDOVER_LOOKS {
                if !self.is_leader() {
                    tracing::info!(successor, "stepped down");
                    return SteppedDown::HandedOver;
                }
                tokio::time::sleep(HANDOVER_LOOK).await;
            }
        }
        tracing::warn!("not stepped down: no other node is unsealed, reached and able to write");
        SteppedDown::NobodyReady
    }
}
