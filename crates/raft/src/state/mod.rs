//! The state machine: the result of applying the log.
//!
//! Writes are applied in memory ([`mem`]), over a table on disk ([`base`]) into which checkpoints merge them on a thread of their
//! own: an apply waits for no disk, a key written often is written to the table once, and what a crash takes back is restored from
//! the log. A [`View`] shows both as one and never moves.

mod backend;
mod base;
mod checkpoint;
mod gaps;
mod key;
mod machine;
mod mem;
mod replace;
mod snapshot;
#[cfg(test)]
mod tests;
mod view;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, ArcSwapOption};
use openraft::EntryPayload;
use strongroom_storage::{Commit, Index, Observer, StoreError, still_valid};
use tokio::sync::{Notify, watch};

use self::backend::Patience;
pub(crate) use self::base::BaseView;
use self::base::{Base, Facts};
use self::gaps::Gaps;
pub(crate) use self::machine::Machine;
use self::mem::Mem;
pub(crate) use self::replace::staged_range;
pub(crate) use self::snapshot::{Export, SnapshotStream, entries_of, verify as verify_snapshot};
pub(crate) use self::view::View;
use crate::options::{OpenError, Options};
use crate::reclaim::Reclaimer;
use crate::types::{Command, Entry, LogId, Outcomes, StoredMembership};
use crate::watched;

/// Bytes of a table that packing does not care about.
const SLACK: u64 = 16 << 20;
/// The state, shared by all who read it.
pub(crate) struct State {
    path: PathBuf,
    cluster_id: ArcSwap<Arc<str>>,
    cache_size: usize,
    memtable_size: usize,
    /// `None` once closed.
    view: ArcSwapOption<View>,
    applied: AtomicU64,
    applied_changed: watch::Sender<Index>,
    /// Held for each apply, and never while anything is freed, sorted or logged that grows.
    current: watched::Mutex<Current>,
    /// Wakes the checkpoint thread.
    work: Condvar,
    /// Told when a checkpoint has ended.
    settled: Notify,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
    /// The failure after which the state cannot be used, once there is one.
    failure: OnceLock<StoreError>,
    patience: Arc<Patience>,
    reclaimer: Reclaimer,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
}

/// The state that is being changed.
struct Current {
    active: Arc<Mem>,
    gaps: Arc<Gaps>,
    frozen: Option<Frozen>,
    base: BaseView,
    applied: Option<LogId>,
    membership: StoredMembership,
    /// The table is to be packed when there is nothing better to do.
    pack: bool,
    thread: Thread,
    /// A snapshot is about to replace the table, which the checkpoint thread keeps its hands off.
    installing: bool,
    stop: bool,
}

/// The state of the checkpoint thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    Idle,
    /// Writes to the table, or to its replacement.
    Busy,
}

/// The writes that the checkpoint thread merges into the table.
#[derive(Clone)]
struct Frozen {
    mem: Arc<Mem>,
    facts: Facts,
}

/// An entry that was applied and is yet to be announced.
struct Applied {
    index: Index,
    /// Its commits, where it has some.
    commits: Option<Arc<[Commit]>>,
    outcomes: Outcomes,
}

impl State {
    /// Opens the table at `path` and starts the checkpoint thread.
    pub(crate) fn open(path: &Path, cluster_id: &str, options: &Options) -> Result<Arc<Self>, OpenError> {
        let patience = Arc::new(Patience::default());
        let reclaimer = Reclaimer::start().map_err(OpenError::io(path))?;
        let base = Base::open(path, options.cache_size, patience.clone(), &reclaimer)
            .map_err(|error| OpenError::corrupt(path, 0, error.to_string()))?;
        let current = Current {
            active: Arc::new(Mem::new(reclaimer.clone())),
            gaps: Arc::default(),
            frozen: None,
            applied: base.facts.applied,
            membership: base.facts.membership.clone(),
            base,
            pack: false,
            thread: Thread::Idle,
            installing: false,
            stop: false,
        };
        let index = current.base.facts.index();
        let state = Arc::new(Self {
            path: path.to_owned(),
            cluster_id: ArcSwap::from_pointee(Arc::from(cluster_id)),
            cache_size: options.cache_size,
            memtable_size: options.memtable_size,
            view: ArcSwapOption::from_pointee(current.view(index)),
            applied: AtomicU64::new(index),
            applied_changed: watch::Sender::new(index),
            current: watched::Mutex::new(current),
            work: Condvar::new(),
            settled: Notify::new(),
            observers: RwLock::default(),
            failure: OnceLock::new(),
            patience,
            reclaimer,
            thread: Mutex::new(None),
            closed: AtomicBool::new(false),
        });
        let worker = state.clone();
        let thread = std::thread::Builder::new()
            .name("raft-checkpoint".into())
            .spawn(move || worker.run())
            .map_err(OpenError::io(path))?;
        *state.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(state)
    }

    fn current(&self) -> watched::Guard<'_, Current> {
        self.current.lock()
    }

    /// The newest view.
    pub(crate) fn view(&self) -> Result<Arc<View>, StoreError> {
        self.view.load_full().ok_or(StoreError::Closed)
    }

    /// The newest index that observers have been told of.
    pub(crate) fn applied(&self) -> Index {
        self.applied.load(Ordering::Acquire)
    }

    /// Follows [`State::applied`].
    pub(crate) fn watch_applied(&self) -> watch::Receiver<Index> {
        self.applied_changed.subscribe()
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// The position and membership as applied.
    fn position(&self) -> (Option<LogId>, StoredMembership) {
        let current = self.current();
        (current.applied, current.membership.clone())
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    fn fail(&self, error: StoreError) {
        tracing::error!(%error, "storage failed: nothing more is written");
        let _ = self.failure.set(error);
    }

    /// Returns when there is memory for more writes, beginning a checkpoint if it is time for one.
    async fn make_room(&self) -> Result<(), StoreError> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Registered before the state is looked at, or a change in between would be missed.
            settled.as_mut().enable();
            self.check()?;
            {
                let mut current = self.current();
                let bytes = current.active.bytes();
                if bytes < self.memtable_size {
                    return Ok(());
                }
                if current.freeze() {
                    self.work.notify_all();
                    return Ok(());
                }
                if bytes < self.memtable_size.saturating_mul(2) {
                    return Ok(());
                }
            }
            settled.await;
        }
    }

    /// Applies one entry in memory; nothing of it can be seen before [`State::announce`].
    fn apply(&self, entry: Entry) -> Result<Applied, StoreError> {
        let index = entry.log_id.index;
        let mut current = self.current();
        let applied = match entry.payload {
            EntryPayload::Blank => Applied { index, commits: None, outcomes: Outcomes::default() },
            EntryPayload::Membership(membership) => {
                current.membership = StoredMembership::new(Some(entry.log_id), membership);
                Applied { index, commits: None, outcomes: Outcomes::default() }
            }
            EntryPayload::Normal(Command::Replace(_)) => {
                return Err(StoreError::Failed("a replacement is no batch of commits".to_owned()));
            }
            EntryPayload::Normal(Command::Batch(batch)) => {
                let commits = batch.commits().clone();
                // Shows the commits of this entry to those behind them, which carry the same index.
                let latest = current.view(index);
                let mut outcomes = Vec::with_capacity(commits.len());
                for commit in commits.iter() {
                    let valid = still_valid(commit, &latest)?;
                    if valid {
                        current.active.write(index, &commit.writes);
                        current.gaps.written(&commit.writes);
                    }
                    outcomes.push(valid);
                }
                Applied { index, commits: Some(commits), outcomes: Outcomes(outcomes) }
            }
        };
        current.applied = Some(entry.log_id);
        Ok(applied)
    }

    /// Makes applied entries visible, then tells the observers, then says so.
    fn announce(&self, applied: &[Applied]) {
        let Some(last) = applied.last() else { return };
        let before = {
            let current = self.current();
            self.show(&current)
        };
        drop(before);
        {
            let observers = self.observers();
            if !observers.is_empty() {
                for one in applied {
                    one.tell(&observers);
                }
            }
        }
        self.say_applied(last.index);
    }

    /// Says that reads see everything up to `index`, once observers have been told.
    fn say_applied(&self, index: Index) {
        self.applied.store(index, Ordering::Release);
        self.applied_changed.send_replace(index);
    }

    fn observers(&self) -> RwLockReadGuard<'_, Vec<Arc<dyn Observer>>> {
        self.observers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the state seen as it is now. Returns the view before, to be dropped when the lock is free again: there may
    /// be much that only it still held.
    #[must_use = "it is to be dropped without the lock"]
    fn show(&self, current: &Current) -> Option<Arc<View>> {
        if current.stop {
            return None;
        }
        let index = current.applied.map_or(0, |applied| applied.index);
        self.view.swap(Some(Arc::new(current.view(index))))
    }

    /// Asks for all that is applied now to be made durable in the table. Resolves when it is.
    pub(crate) async fn checkpoint(&self) -> Result<BaseView, StoreError> {
        let mut wanted = None;
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            self.check()?;
            {
                let mut current = self.current();
                let wanted = *wanted.get_or_insert(current.applied);
                if current.base.facts.applied >= wanted {
                    return Ok(current.base.clone());
                }
                if current.freeze() {
                    self.work.notify_all();
                }
            }
            settled.await;
        }
    }

    /// The table as of the last checkpoint; `None` before the first.
    fn durable(&self) -> Option<BaseView> {
        let base = self.current().base.clone();
        base.facts.applied.is_some().then_some(base)
    }

    /// The cluster that the state belongs to.
    pub(crate) fn cluster_id(&self) -> Arc<str> {
        self.cluster_id.load().as_ref().clone()
    }

    pub(crate) fn set_cluster_id(&self, cluster_id: &str) {
        self.cluster_id.store(Arc::new(Arc::from(cluster_id)));
    }

    /// The last log entry that the table reflects.
    pub(crate) fn durable_position(&self) -> Option<LogId> {
        self.current().base.facts.applied
    }

    /// A snapshot of the table as a stream, of the keys before `end`.
    pub(crate) fn export(&self, base: &BaseView, end: Option<&[u8]>) -> Result<Export, StoreError> {
        Export::new(base, &self.cluster_id(), end)
    }

    /// True if there is anything in memory that the table does not have.
    pub(crate) fn is_dirty(&self) -> bool {
        let current = self.current();
        current.applied != current.base.facts.applied
    }

    /// Bytes of the table's file, and of the keys and values in it.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let base = self.current().base.clone();
        (base.base.size_on_disk(), base.facts.bytes)
    }

    /// True if packing would give back a good part of the table's file.
    pub(crate) fn is_loose(&self) -> bool {
        let base = {
            let current = self.current();
            if current.thread == Thread::Busy || current.pack {
                return false;
            }
            current.base.clone()
        };
        // Each entry costs about 16 bytes beside its key and value; 30 % beyond that is worth the work.
        let packed = base.facts.bytes.saturating_add(base.facts.entries.saturating_mul(16));
        base.base.size_on_disk()
            > packed.saturating_add((packed / 10).saturating_mul(3)).saturating_add(SLACK)
    }

    /// Packs the table in the background: it is rewritten without holes. Gives way to a checkpoint.
    pub(crate) fn pack(&self) {
        self.current().pack = true;
        self.work.notify_all();
    }
}

impl Current {
    fn view(&self, index: Index) -> View {
        View {
            index,
            active: self.active.clone(),
            frozen: self.frozen.as_ref().map(|frozen| frozen.mem.clone()),
            base: self.base.clone(),
            gaps: self.gaps.clone(),
            memory: self.gaps.memory(),
        }
    }

    /// Hands what is in memory to the checkpoint thread, if that has nothing in hand and there is something to hand
    /// over. What was shown before stays as it is: the views have the same writes in them.
    fn freeze(&mut self) -> bool {
        if self.frozen.is_some() || self.installing || self.applied == self.base.facts.applied {
            return false;
        }
        let next = Arc::new(self.active.successor());
        let mem = std::mem::replace(&mut self.active, next);
        self.gaps.another_memory(true);
        let facts = Facts { applied: self.applied, membership: self.membership.clone(), ..Facts::default() };
        self.frozen = Some(Frozen { mem, facts });
        true
    }
}

impl Applied {
    fn tell(&self, observers: &[Arc<dyn Observer>]) {
        let commits = self.commits.iter().flat_map(|commits| commits.iter());
        let done = commits.zip(&self.outcomes.0).filter(|(_, applied)| **applied);
        let keys: Vec<&[u8]> =
            done.flat_map(|(commit, _)| &commit.writes).map(|write| write.key.as_ref()).collect();
        // Of an entry without a write, too: whoever reads at its index waits until it has been told of.
        for observer in observers {
            observer.applied(self.index, &keys);
        }
    }
}
