//! The revoker: revokes ended leases in the external systems that they are for.
//!
//! It is a job of the active node and ends with its term. Each mount with something in its queue has a lane, a task of its
//! own with at most [`MAX_AT_ONCE`] attempts at a time, so that a database that is down or slow delays only its own mount.
//! A mount whose outside cannot be reached is left alone for a while and then probed with one lease, however many wait.
//! Nothing is kept here that storage does not tell: a node that takes over finds the queues as they are, and runs again
//! what may have been under way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use strongroom_barrier::{BarrierError, KeyPlace, MountId, MountSpace, Reads, Space as _, View};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_expiry::{
    LEASES, LeaseState, NEVER, QueuedLease, REVOCATIONS, Revoking, TokenKey, URGENT, move_lease,
};
use strongroom_mounts::{DISABLED_MOUNTS, MountHandle, Namespace};
use strongroom_stdx::Entropy;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::Revocation;
use crate::attempt::{Attempted, backoff};
use crate::ending::STEP;

/// Attempts at a time for one mount.
const MAX_AT_ONCE: usize = 8;
/// The longest time without a look at the queues while attempts are under way.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Mounts at a time.
const MAX_LANES: usize = 256;
/// The wait for room for another mount.
const FULL_WAIT: Duration = Duration::from_secs(1);
/// The least time between two retries of a mount's irrevocable leases for writes to the mount. It is longer than a lease takes to
/// become irrevocable: where an engine writes with each request, what is refused would be tried without end otherwise.
const RETRY_INTERVAL: Duration = Duration::from_mins(15);
/// Queue entries read at a time.
const PAGE: usize = 64;
/// Pages of a queue that are taken one after the other before it is looked at from its beginning again, where those stand that an
/// operator asks for. Storage keeps deletions for a while, and from the beginning each page would pass all of them.
const PAGES_IN_A_ROW: usize = 16;

/// The revoker's state beside storage, and those it notifies.
#[derive(Default)]
pub(crate) struct Revoker {
    /// Told when a queue has changed.
    changed: Notify,
    /// Told when an attempt is over.
    pub(super) ended: Notify,
    known: Mutex<Known>,
    /// True if commits to mounts matter at all: most of the time they do not, and nothing is locked for them.
    watches: AtomicBool,
}

#[derive(Default)]
struct Known {
    /// Mounts whose outside could not be reached at the last attempt.
    pauses: HashMap<MountId, Pause>,
    /// The queues in storage; `None`: they are to be read.
    queues: Option<Queues>,
    /// Mounts with a lane, which looks at its queue by itself.
    busy: BTreeSet<MountId>,
    /// Mounts with irrevocable leases or a pause whose configuration has changed since.
    touched: BTreeSet<MountId>,
    /// The last retry of each mount for such a change.
    retried: HashMap<MountId, Moment>,
}

/// The heads of the queues, as they were read last, so that a change of one mount's queue costs a look at that one alone.
#[derive(Default)]
struct Queues {
    read_at: Moment,
    /// The second of the first entry by mount.
    first: BTreeMap<MountId, u64>,
    /// Mounts with irrevocable leases.
    stuck: BTreeSet<MountId>,
    /// Mounts whose queue has changed since.
    changed: BTreeSet<MountId>,
}

impl Queues {
    fn note(&mut self, mount: MountId, head: Head) {
        match head.first {
            Some(second) => self.first.insert(mount, second),
            None => self.first.remove(&mount),
        };
        if head.is_stuck {
            self.stuck.insert(mount);
        } else {
            self.stuck.remove(&mount);
        }
    }
}

/// A look at the queues. One that fails, or is cut off with the term of leadership, has them all read anew: nobody else
/// would know what it has not come to.
struct Reading<'r>(&'r Revoker);

impl Reading<'_> {
    fn complete(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.known().queues = None;
    }
}

/// The head of a mount's queue.
#[derive(Clone, Copy)]
struct Head {
    /// The second of its first entry.
    first: Option<u64>,
    /// True if it has irrevocable leases.
    is_stuck: bool,
}

impl Known {
    fn is_stuck(&self, mount: MountId) -> bool {
        self.queues.as_ref().is_some_and(|queues| queues.stuck.contains(&mount))
    }

    /// The time from which on a mount may be retried for a change of its configuration.
    fn retry_at(&self, mount: MountId) -> Moment {
        self.retried.get(&mount).map(|at| at.after(RETRY_INTERVAL)).unwrap_or_default()
    }
}

/// The time for which a mount's outside is left alone.
#[derive(Clone)]
struct Pause {
    failures: u32,
    until: Moment,
    error: String,
}

type Queued = ((MountId, (u64, TokenKey)), Arc<QueuedLease>);

impl Revoker {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of a commit to a queue, or to the configuration of a mount; answers whether the job has something to do.
    pub(crate) fn observe(&self, place: KeyPlace, key: &[u8]) -> bool {
        if place.mount.is_none() {
            return place.is_of(REVOCATIONS.id()) && self.observe_queue(place, key);
        }
        if place.space != MountSpace::BYTE || !self.watches.load(Ordering::Relaxed) {
            return false;
        }
        let mut known = self.known();
        if !known.is_stuck(place.mount) && !known.pauses.contains_key(&place.mount) {
            return false;
        }
        // One that waits to be retried, or is retried soon, has nobody look again.
        let is_new = known.touched.insert(place.mount);
        drop(known);
        if is_new {
            self.changed.notify_one();
        }
        is_new
    }

    fn observe_queue(&self, place: KeyPlace, key: &[u8]) -> bool {
        let Some(mount) = place.within_table(key).first_chunk::<4>() else { return false };
        let mount = MountId::new(u32::from_be_bytes(*mount));
        let mut known = self.known();
        if let Some(queues) = &mut known.queues {
            queues.changed.insert(mount);
        }
        let is_busy = known.busy.contains(&mount);
        drop(known);
        if !is_busy {
            self.changed.notify_one();
        }
        !is_busy
    }

    /// Has the queues read anew: changes may have been missed.
    pub(crate) fn forget_queues(&self) {
        self.known().queues = None;
        self.changed.notify_one();
    }

    /// A mount's lane is over: what it has left is looked at again.
    fn lane_ended(&self, mount: MountId) {
        let mut known = self.known();
        known.busy.remove(&mount);
        if let Some(queues) = &mut known.queues {
            queues.changed.insert(mount);
        }
    }

    /// True if the mount's external system was not reached at the last attempt.
    pub(super) fn is_failing(&self, mount: MountId) -> bool {
        self.known().pauses.contains_key(&mount)
    }

    /// The reason why the mount's external system is not contacted now; `None` where it may be.
    pub(super) fn paused_for(&self, mount: MountId, now: Moment) -> Option<String> {
        let known = self.known();
        known.pauses.get(&mount).filter(|pause| pause.until > now).map(|pause| pause.error.clone())
    }

    /// The failures in a row of a mount whose outside was not reached, the time of the next attempt, and the last error.
    pub(super) fn pause_of(&self, mount: MountId) -> Option<(u32, Moment, String)> {
        let known = self.known();
        known.pauses.get(&mount).map(|pause| (pause.failures, pause.until, pause.error.clone()))
    }

    /// Has the mount's outside tried at once.
    pub(super) fn end_pause(&self, mount: MountId) {
        if let Some(pause) = self.known().pauses.get_mut(&mount) {
            pause.until = Moment::default();
        }
        self.changed.notify_one();
    }

    /// Leaves the mount's outside alone for a while, longer with each failure in a row; answers how many there are.
    pub(super) fn pause(&self, mount: MountId, entropy: &Entropy, now: Moment, error: &str) -> u32 {
        let mut known = self.known();
        let failures = known.pauses.get(&mount).map_or(0, |pause| pause.failures).saturating_add(1);
        let until = now.after(backoff(entropy, failures));
        known.pauses.insert(mount, Pause { failures, until, error: error.to_owned() });
        self.watches.store(true, Ordering::Relaxed);
        failures
    }

    /// The time at which a queue whose first entry is of `second` is to be processed.
    pub(super) fn due(&self, mount: MountId, second: u64) -> Option<Moment> {
        match second {
            URGENT => Some(Moment::default()),
            NEVER => None,
            _ => {
                let until = self.known().pauses.get(&mount).map(|pause| pause.until).unwrap_or_default();
                Some(Moment::from_secs(second).max(until))
            }
        }
    }
}

impl Revocation {
    /// Runs lanes for all mounts that have something due, until none has.
    pub async fn revoke_queued(self: Arc<Self>) -> Result<bool, EngineError> {
        let mut lanes = JoinSet::new();
        let mut busy: HashMap<Id, MountId> = HashMap::new();
        self.revoker.known().busy.clear();
        while self.leadership.is_active() && !self.barrier.is_sealed() {
            let mut next = self.retry_touched().await?;
            let now = self.environment.clock.now();
            for (mount, second) in self.queued_mounts().await? {
                if self.revoker.known().busy.contains(&mount) {
                    continue;
                }
                match self.revoker.due(mount, second) {
                    Some(due) if due <= now && lanes.len() >= MAX_LANES => next = Some(now.after(FULL_WAIT)),
                    Some(due) if due <= now => {
                        let revocation = self.clone();
                        let lane = lanes.spawn(async move { revocation.run_lane(mount).await });
                        busy.insert(lane.id(), mount);
                        self.revoker.known().busy.insert(mount);
                    }
                    Some(due) => next = Some(next.map_or(due, |next| next.min(due))),
                    None => {}
                }
            }
            if lanes.is_empty() {
                return Ok(false);
            }
            let clock = &self.environment.clock;
            tokio::select! {
                Some(ended) = lanes.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, _)) => *id,
                        Err(error) => error.id(),
                    };
                    let failed = match ended {
                        Ok((_, outcome)) => outcome.err().map(|error| error.to_string()),
                        Err(error) => Some(error.to_string()),
                    };
                    let mount = busy.remove(&id);
                    if let Some(mount) = mount {
                        self.revoker.lane_ended(mount);
                        self.clearing.add(mount);
                    }
                    // A lane that the seal or the end of the term cut short has not failed.
                    if let (Some(mount), Some(error)) = (mount, failed)
                        && self.leadership.is_active()
                        && !self.barrier.is_sealed()
                    {
                        self.pause(mount, &error);
                    }
                }
                () = self.revoker.changed.notified() => {}
                () = clock.sleep(next.map_or(MAX_WAIT, |next| next.since(now).min(MAX_WAIT))) => {}
            }
        }
        // The next term finds out anew who can be reached.
        self.revoker.known().pauses.clear();
        Ok(false)
    }

    /// The time at which the next queue is to be processed.
    pub async fn next_revocation(&self) -> Result<Option<Moment>, BarrierError> {
        let queued = self.queued_mounts().await?;
        let due = queued.into_iter().filter_map(|(mount, second)| self.revoker.due(mount, second)).min();
        let known = self.revoker.known();
        Ok(due.into_iter().chain(known.touched.iter().map(|mount| known.retry_at(*mount))).min())
    }

    /// The mounts with leases to be revoked, and the second of the first of each; notes those with irrevocable ones.
    async fn queued_mounts(&self) -> Result<Vec<(MountId, u64)>, BarrierError> {
        self.read_queues().await?;
        let mut known = self.revoker.known();
        let Known { pauses, queues, .. } = &mut *known;
        // Dropped meanwhile: whoever did has it looked at again.
        let Some(queues) = queues else { return Ok(Vec::new()) };
        pauses.retain(|mount, _| queues.first.contains_key(mount));
        self.revoker.watches.store(!queues.stuck.is_empty() || !pauses.is_empty(), Ordering::Relaxed);
        // Where there is not room for all, those go first whose outside was reached at the last attempt.
        let (later, first): (Vec<_>, Vec<_>) = queues
            .first
            .iter()
            .map(|(mount, second)| (*mount, *second))
            .partition(|(mount, _)| pauses.contains_key(mount));
        Ok(first.into_iter().chain(later).collect())
    }

    /// Reads the heads of the queues that have changed; of all of them now and then.
    async fn read_queues(&self) -> Result<(), BarrierError> {
        let now = self.environment.clock.now();
        let changed = {
            let mut known = self.revoker.known();
            match &mut known.queues {
                Some(queues) if now.since(queues.read_at) < MAX_WAIT => {
                    Some(std::mem::take(&mut queues.changed))
                }
                // Made before they are read, so that it takes note of what changes meanwhile.
                queues => {
                    *queues = Some(Queues { read_at: now, ..Queues::default() });
                    None
                }
            }
        };
        if changed.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let reading = Reading(&self.revoker);
        let view = self.barrier.pinned_view().await?;
        if let Some(changed) = changed {
            for mount in changed {
                self.read_queue(&view, mount).await?;
            }
        } else {
            let mut found = REVOCATIONS.keys(&view, &(), None, 1).await?;
            while let Some((mount, _)) = found.first().copied() {
                self.read_queue(&view, mount).await?;
                let last = (mount, &(NEVER, &[u8::MAX; 16]));
                found = REVOCATIONS.keys_after(&view, &(), &last, 1).await?;
            }
        }
        reading.complete();
        Ok(())
    }

    /// Reads the head of a mount's queue.
    async fn read_queue(&self, view: &View, mount: MountId) -> Result<(), BarrierError> {
        let found = REVOCATIONS.keys(view, &(mount, &()), None, 1).await?;
        let first = found.first().map(|(_, (second, _))| *second);
        let is_stuck =
            first.is_some() && !REVOCATIONS.keys(view, &(mount, &NEVER), None, 1).await?.is_empty();
        if let Some(queues) = &mut self.revoker.known().queues {
            queues.note(mount, Head { first, is_stuck });
        }
        Ok(())
    }

    /// True if any lease of a mount is still to be revoked, including irrevocable ones.
    pub(crate) async fn has_queued(&self, reads: &impl Reads, mount: MountId) -> Result<bool, BarrierError> {
        Ok(!REVOCATIONS.keys(reads, &(mount, &()), None, 1).await?.is_empty())
    }

    /// Takes what is due from a mount's queue until there is no more, or the outside cannot be reached.
    async fn run_lane(self: Arc<Self>, mount: MountId) -> Result<(), EngineError> {
        let mounted = self.mounted_or_disabled(mount).await?;
        let (mut after, mut pages) = (None, 0usize);
        loop {
            // Where the outside was not reached, one lease is enough to see whether it is now.
            let (page, at_once) = if self.revoker.is_failing(mount) { (1, 1) } else { (PAGE, MAX_AT_ONCE) };
            let due = self.due_of(mount, after, page).await?;
            if due.is_empty() && after.is_none() {
                return Ok(());
            }
            pages = pages.saturating_add(1);
            let goes_on = due.len() == PAGE && !pages.is_multiple_of(PAGES_IN_A_ROW);
            after = due.last().filter(|_| goes_on).map(|((_, place), _)| *place);
            if let Some(why) = self.revoke_all(mount, mounted.as_ref(), due, at_once).await? {
                after = None;
                self.pause(mount, &why);
                self.revoker.ended.notify_waiters();
            }
        }
    }

    /// Tries once to revoke each of some leases of a mount, until the outside cannot be reached; answers why it cannot.
    async fn revoke_all(
        self: &Arc<Self>,
        mount: MountId,
        mounted: Option<&Arc<MountHandle>>,
        due: Vec<Queued>,
        at_once: usize,
    ) -> Result<Option<String>, EngineError> {
        let stop = Arc::new(AtomicBool::new(false));
        let attempts = due.into_iter().map(|((_, (second, _)), queued)| {
            let (revocation, mounted, stop) = (self.clone(), mounted.cloned(), stop.clone());
            async move {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Attempted::NotAsked);
                }
                let outcome =
                    revocation.revoke_queued_lease(mounted.as_deref(), mount, second, &queued).await;
                match &outcome {
                    Ok(Attempted::Answered) => revocation.reached(mount),
                    Ok(Attempted::NotAsked) => {}
                    _ => stop.store(true, Ordering::Relaxed),
                }
                revocation.revoker.ended.notify_waiters();
                outcome
            }
        });
        let mut attempts = futures::stream::iter(attempts).buffer_unordered(at_once);
        let (mut unreachable, mut failed) = (None, None);
        while let Some(outcome) = attempts.next().await {
            match outcome {
                Ok(Attempted::Answered | Attempted::NotAsked) => {}
                Ok(Attempted::Unreachable(why)) => unreachable = Some(why),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(unreachable), Err)
    }

    /// The first entries of a mount's queue that are due, of those `after` a place; while it is left alone, those that an operator asks for.
    async fn due_of(
        &self,
        mount: MountId,
        after: Option<(u64, TokenKey)>,
        page: usize,
    ) -> Result<Vec<Queued>, BarrierError> {
        let now = self.environment.clock.now();
        let paused = self.revoker.paused_for(mount, now).is_some();
        let until = if paused { URGENT } else { now.as_secs() };
        let view = self.barrier.pinned_view().await?;
        let after = after.as_ref().map(|(second, key)| (*second, key));
        let after = after.as_ref().map(|place| (mount, place));
        let found = REVOCATIONS.scan_after(&view, &(mount, &()), after.as_ref(), page).await?;
        Ok(found.into_iter().take_while(|((_, (second, _)), _)| *second <= until).collect())
    }

    /// The mount with this number, though it be disabled; `None` where its engine is not part of this program.
    async fn mounted_or_disabled(&self, mount: MountId) -> Result<Option<Arc<MountHandle>>, BarrierError> {
        let router = self.mounts.router().await?;
        if let Some(mounted) = router.by_number(mount) {
            return Ok(Some(mounted));
        }
        let view = self.barrier.pinned_view().await?;
        let Some(disabled) = DISABLED_MOUNTS.get(&view, &mount).await? else { return Ok(None) };
        // The namespace may be gone, too: the lease is revoked in the external system nevertheless.
        let namespace = router.namespace(disabled.namespace);
        let namespace = namespace.unwrap_or_else(|| Arc::new(Namespace::gone(disabled.namespace)));
        Ok(router.mounted(&namespace, &disabled.path, &disabled.entry))
    }

    fn pause(&self, mount: MountId, error: &str) {
        let now = self.environment.clock.now();
        if self.revoker.pause(mount, &self.environment.entropy, now, error) == 1 {
            tracing::error!(mount = mount.get(), error, "leases of a mount cannot be revoked; retrying");
        }
    }

    fn reached(&self, mount: MountId) {
        if self.revoker.known().pauses.remove(&mount).is_some() {
            tracing::info!(mount = mount.get(), "revocation of a mount's leases works again");
        }
    }

    /// Has everything of a mount tried anew whose configuration has changed, irrevocable leases too, but not all the time; answers
    /// when the next is to be.
    async fn retry_touched(&self) -> Result<Option<Moment>, EngineError> {
        let now = self.environment.clock.now();
        let due: Vec<MountId> = {
            let mut known = self.revoker.known();
            known.retried.retain(|_, at| now.since(*at) < RETRY_INTERVAL);
            let touched = std::mem::take(&mut known.touched);
            let (due, later): (Vec<_>, Vec<_>) =
                touched.into_iter().partition(|mount| known.retry_at(*mount) <= now);
            known.touched.extend(later);
            due
        };
        let mut due = due.into_iter();
        while let Some(mount) = due.next() {
            if let Err(error) = self.retry_mount(mount, now).await {
                // None is forgotten for it.
                self.revoker.known().touched.extend(due.chain([mount]));
                return Err(error);
            }
        }
        let known = self.revoker.known();
        Ok(known.touched.iter().map(|mount| known.retry_at(*mount)).min())
    }

    async fn retry_mount(&self, mount: MountId, now: Moment) -> Result<(), EngineError> {
        self.revoker.end_pause(mount);
        while self.retry_irrevocable(mount).await? {}
        self.revoker.known().retried.insert(mount, now);
        Ok(())
    }

    /// Puts one step's worth of a mount's irrevocable leases back to where they are tried; answers whether there was one.
    async fn retry_irrevocable(&self, mount: MountId) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let next = self.environment.clock.now();
        let found = REVOCATIONS.scan(txn.peek(), &(mount, &NEVER), None, STEP).await?;
        for (_, queued) in &found {
            let (namespace, id) = (queued.namespace, queued.lease.as_str());
            if let Some(lease) = LEASES.get(&txn, &(namespace, id)).await?
                && matches!(lease.state, LeaseState::Irrevocable(_))
            {
                let again = lease.state.revoking().and_then(|revoking| revoking.again);
                let state = LeaseState::Revoking(Revoking { next, again, ..Revoking::default() });
                move_lease(&txn, namespace, id, &lease, state)?;
            }
        }
        match txn.commit().await {
            Ok(_) => Ok(found.len() == STEP),
            Err(BarrierError::Conflict) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
