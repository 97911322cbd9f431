//! The role of this node: whether it may decide, and if not, whether it still hears from the one that does.
//!
//! A leader counts on its lease: as long as a majority has acknowledged a message that was sent within the last
//! election timeout, none of them votes for another, so that what is read here is what was acknowledged last. The
//! lease is counted from the time of sending, and cut by a tenth for clocks that do not run alike.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use openraft::async_runtime::WatchReceiver;
use openraft::type_config::alias::{InstantOf, WatchReceiverOf};
use openraft::{Instant as _, RaftMetrics};
use strongroom_storage::{Active, Coordinator, Index, Role, SteppedDown};

use crate::RaftStore;
use crate::members::Member;
use crate::types::Types;

type Instant = InstantOf<Types>;

/// No leader was heard since the store was opened: it may have been closed for any time.
const NEVER: u64 = u64::MAX;

/// As of when this node's data is.
#[derive(Default)]
struct Currency {
    /// Of the last moment at which this node is known to have had all that was committed.
    as_of: Option<Instant>,
    /// The index that was committed at a later moment, and is not all applied yet.
    awaited: Option<(Index, Instant)>,
}

impl Currency {
    fn settle(&mut self, applied: Index) {
        if let Some((index, at)) = self.awaited
            && applied >= index
        {
            self.as_of = self.as_of.max(Some(at));
            self.awaited = None;
        }
    }
}

/// The contacts that the role follows from.
pub(crate) struct Contact {
    metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    opened: Instant,
    /// Milliseconds after `opened` at which a leader was last heard, or this node was last acknowledged by a majority;
    /// [`NEVER`] before that.
    heard: AtomicU64,
    currency: Mutex<Currency>,
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
            heard: AtomicU64::new(NEVER),
            currency: Mutex::default(),
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
        let at = at.min(NEVER.saturating_sub(1));
        let later = |heard| (heard == NEVER || at > heard).then_some(at);
        // Where it is not later, it is left as it is.
        let _ = self.heard.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    fn currency(&self) -> MutexGuard<'_, Currency> {
        self.currency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A leader said at a moment that all up to an entry was committed.
    pub(crate) fn hear_committed(&self, index: Index, at: Instant, applied: Index) {
        let mut currency = self.currency();
        currency.settle(applied);
        if currency.awaited.is_none() {
            currency.awaited = Some((index, at));
            currency.settle(applied);
        }
    }

    /// The time since this node last had all that was committed; `None` where that is not known to have been since it
    /// was started.
    fn data_age(&self, applied: Index) -> Option<Duration> {
        let mut currency = self.currency();
        currency.settle(applied);
        currency.as_of.map(|at| at.elapsed())
    }

    /// This node leads, and so has all.
    pub(crate) fn lead(&self) {
        let mut currency = self.currency();
        *currency = Currency { as_of: Some(Instant::now()), awaited: None };
    }

    /// From now on what is read here may be old: another may be elected without waiting for the lease to end.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(self.term(), Ordering::Release);
    }

    /// This node voted with others before it was started: it may have granted a lease to one of them.
    pub(crate) fn remember_peers(&self) {
        self.had_peers.store(true, Ordering::Release);
    }

    /// True if a lease that this node granted before it was started may still run.
    pub(crate) fn may_have_granted(&self) -> bool {
        self.had_peers.load(Ordering::Acquire) && self.opened.elapsed() < self.lease
    }

    fn term(&self) -> u64 {
        self.metrics.borrow_watched().current_term
    }

    /// The time since somebody was last heard; `None` where nobody was since the store was opened.
    fn silence(&self) -> Option<Duration> {
        let heard = self.heard.load(Ordering::Relaxed);
        let silence = self.opened.elapsed().saturating_sub(Duration::from_millis(heard));
        (heard != NEVER).then_some(silence)
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
            let Some(silence) = self.silence() else {
                return Role::Unheard { since: self.opened.elapsed() };
            };
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
        let silence = self.silence().unwrap_or_else(|| self.opened.elapsed());
        Role::Unsure { since: silence.saturating_sub(self.lease) }
    }
}

impl RaftStore {
    /// The term in which this node leads at this moment, its reads seeing all that was acknowledged.
    pub fn leading(&self) -> Option<u64> {
        (self.role() == Role::Leads).then(|| self.inner.contact.term())
    }

    /// The role of this node at this moment. Costs no message and no wait.
    pub fn role(&self) -> Role {
        self.inner.contact.role()
    }

    /// The age of what is read here: the time since this node last had all that its leader had committed. `None` where
    /// it is not known to have had that since it was started: it may be of any age.
    pub fn data_age(&self) -> Option<Duration> {
        self.inner.contact.data_age(self.inner.state.applied())
    }
}

/// The time to look whether a successor has taken over.
const TRANSFER_POLL_INTERVAL: Duration = Duration::from_millis(20);
const TRANSFER_POLLS: u32 = 50;

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
            for _ in 0..TRANSFER_POLLS {
                if !self.is_leader() {
                    tracing::info!(successor, "stepped down");
                    return SteppedDown::HandedOver;
                }
                tokio::time::sleep(TRANSFER_POLL_INTERVAL).await;
            }
        }
        tracing::warn!("not stepped down: no other node is unsealed, reachable and able to write");
        SteppedDown::NobodyReady
    }
}
