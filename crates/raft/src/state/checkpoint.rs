//! The thread that writes to the table: it merges what is frozen, and packs when there is nothing to merge.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use strongroom_storage::StoreError;

use super::backend::Patience;
use super::base::{self, Base, BaseView, Filled, Filling};
use super::{Current, Frozen, State, Thread};
use crate::watched;

/// Entries between two looks whether packing should give way.
const CHECK_EVERY: u64 = 1024;

/// The work to do.
enum Work {
    Merge(Frozen),
    Pack,
    Wait,
    End,
}

impl State {
    /// Works until the state is closed or has failed.
    pub(super) fn run(&self) {
        self.patience.wait_here();
        let mut current = self.current();
        loop {
            let base = current.base.clone();
            let done = match current.next_work() {
                Work::Merge(frozen) => {
                    drop(current);
                    base.base.checkpoint(&base.facts, &frozen.mem, frozen.facts).map(Some)
                }
                Work::Pack => {
                    drop(current);
                    let rewritten = self.rewrite(&base).unwrap_or_else(|error| {
                        tracing::warn!(%error, "compaction of the table failed");
                        None
                    });
                    rewritten.map(|rewritten| self.open_rewritten(rewritten)).transpose()
                }
                Work::Wait => {
                    current = current.wait(&self.work);
                    continue;
                }
                Work::End => return,
            };
            // The view before this one is let go of, here as elsewhere, so that its pages become free.
            drop(base);
            let done = done.map(|changed| changed.map(|base| self.take_over(base)));
            let done = done.and_then(|changed| changed.map_or(Ok(()), |base| base.base.reclaim()));
            current = self.current();
            current.thread = Thread::Idle;
            if let Err(error) = done {
                self.fail(error);
                self.settled.notify_waiters();
                return;
            }
            self.settled.notify_waiters();
        }
    }

    /// From now on the table is read as it is here.
    fn take_over(&self, base: BaseView) -> BaseView {
        let mut current = self.current();
        // After packing, what has been frozen meanwhile is still to be merged.
        let merged = current.frozen.take_if(|frozen| frozen.facts.applied <= base.facts.applied);
        if merged.is_some() {
            current.gaps.forget();
        }
        let before = std::mem::replace(&mut current.base, base.clone());
        let shown = self.show(&current);
        drop(current);
        // Not under the lock, which every apply needs.
        drop((merged, before, shown));
        base
    }

    /// Rewrites the table in key order and without holes. `None`: a checkpoint was wanted meanwhile.
    fn rewrite(&self, base: &BaseView) -> Result<Option<Filled>, StoreError> {
        // No waiting for room: the table is fine as it is.
        let mut filling = Filling::begin(&self.path, Arc::new(Patience::none()), &self.reclaimer)?;
        let mut entries = base.range(&[], None)?;
        let mut seen = 0u64;
        let mut given_way = false;
        let filled = filling.fill(|sink| {
            seen = seen.saturating_add(1);
            given_way = seen.is_multiple_of(CHECK_EVERY) && self.is_wanted_elsewhere();
            let Some(entry) = entries.next().filter(|_| !given_way) else { return Ok(false) };
            let (key, stored) = entry.map_err(base::failed)?;
            let (modified, value) = base::split_entry(stored.value())?;
            sink(key.value(), modified, value)?;
            Ok(true)
        });
        if given_way || filled.is_err() {
            filling.abandon();
            return filled.map(|()| None);
        }
        filling.finish(base.facts.applied, base.facts.membership.clone()).map(Some)
    }

    /// Goes on with the rewritten table. Where that fails, the present one has perhaps lost its name, and must not be
    /// written to.
    fn open_rewritten(&self, rewritten: Filled) -> Result<BaseView, StoreError> {
        rewritten.patiently(self.patience.clone()).take_place()?;
        Base::open(&self.path, self.cache_size, self.patience.clone(), &self.reclaimer)
    }

    fn is_wanted_elsewhere(&self) -> bool {
        let current = self.current();
        current.stop || current.frozen.is_some() || current.installing
    }

    /// Ends waiting for room: what waits fails.
    pub(crate) fn wait_no_longer(&self) {
        self.patience.stop();
    }

    /// Writes out what is in memory and closes the table. Blocks.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.view.store(None);
        self.stop(self.current());
        self.patience.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.settled.notify_waiters();
        // Closing writes out what the table keeps in memory, and frees it: not under the lock.
        let base = self.current().base.clone();
        base.base.close();
    }

    fn stop(&self, mut current: watched::Guard<'_, Current>) {
        current.stop = true;
        self.work.notify_all();
    }
}

impl Current {
    fn next_work(&mut self) -> Work {
        // The last checkpoint at the end, so that the next start has nothing to replay.
        if self.stop {
            self.freeze();
        }
        let work = match &self.frozen {
            Some(frozen) => Work::Merge(frozen.clone()),
            None if self.stop => Work::End,
            None if self.pack && !self.installing => Work::Pack,
            None => Work::Wait,
        };
        self.thread = if matches!(work, Work::Merge(_) | Work::Pack) { Thread::Busy } else { Thread::Idle };
        if matches!(work, Work::Pack) {
            self.pack = false;
        }
        work
    }
}
