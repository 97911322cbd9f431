//! Replaces the whole state: by a snapshot that a peer sends, or by what was staged through the log.

use std::sync::Arc;

use strongroom_storage::{Index, KeyRange, STAGED, StoreError};

use super::backend::Patience;
use super::base::{Base, Filling};
use super::{SnapshotStream, State, Thread, View, snapshot};
use crate::reclaim::Reclaimer;
use crate::types::{LogId, Outcomes, Staging, StoredMembership};

/// The keys of one staging. What follows the prefix is the key that the entry is to have.
pub(crate) fn staged_range(id: u64) -> KeyRange {
    let mut prefix = vec![STAGED];
    prefix.extend_from_slice(&id.to_be_bytes());
    KeyRange::prefix(&prefix)
}

/// The waiting state of the thread that fills a table: like the checkpoint thread, it waits for space.
fn patience_here() -> Arc<Patience> {
    let patience = Arc::new(Patience::default());
    patience.wait_here();
    patience
}

impl State {
    /// Replaces the whole state with a snapshot's.
    pub(super) async fn install(
        self: &Arc<Self>,
        mut stream: SnapshotStream,
        expected: Option<LogId>,
    ) -> Result<(), StoreError> {
        self.alone_with_the_table(move |state| state.install_now(&mut stream, expected)).await
    }

    /// Puts what was staged in the place of everything, as of the log entry that says so. Where it is not all there,
    /// nothing is changed, on no node.
    pub(super) async fn replace(
        self: &Arc<Self>,
        at: LogId,
        staging: Staging,
    ) -> Result<Outcomes, StoreError> {
        let replaced = self.alone_with_the_table(move |state| state.replace_now(at, staging)).await?;
        Ok(Outcomes(vec![replaced]))
    }

    /// Works on a thread that may block, while the checkpoint thread keeps its hands off the table.
    async fn alone_with_the_table<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            self.check()?;
            {
                let mut current = self.current();
                current.installing = true;
                if current.frozen.is_none() && current.thread == Thread::Idle {
                    break;
                }
            }
            settled.await;
        }
        let state = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&state)).await;
        self.current().installing = false;
        self.work.notify_all();
        self.settled.notify_waiters();
        done.map_err(|error| StoreError::Failed(error.to_string()))?
    }

    fn install_now(&self, stream: &mut SnapshotStream, expected: Option<LogId>) -> Result<(), StoreError> {
        snapshot::install(stream, &self.path, patience_here(), &self.reclaimer, |found| {
            if found.cluster_id != *self.cluster_id() {
                return Err(StoreError::Corrupt(format!("snapshot: it is of cluster {}", found.cluster_id)));
            }
            if found.applied != expected {
                return Err(StoreError::Corrupt(
                    "snapshot: it is not of the position that was announced".into(),
                ));
            }
            Ok(())
        })?;
        self.open_anew()
    }

    fn replace_now(&self, at: LogId, staging: Staging) -> Result<bool, StoreError> {
        let (view, membership) = {
            let current = self.current();
            (current.view(at.index), current.membership.clone())
        };
        if fill_from(&view, &self.path, at, staging, membership, &self.reclaimer)? {
            self.open_anew()?;
            return Ok(true);
        }
        let before = {
            let mut current = self.current();
            current.applied = Some(at);
            self.show(&current)
        };
        drop(before);
        for observer in self.observers().iter() {
            observer.applied(at.index, &[]);
        }
        self.say_applied(at.index);
        Ok(false)
    }

    /// Continues with the table that has replaced the previous one.
    fn open_anew(&self) -> Result<(), StoreError> {
        let base = Base::open(&self.path, self.cache_size, self.patience.clone(), &self.reclaimer)?;
        let index = base.facts.index();
        for observer in self.observers().iter() {
            observer.replacing();
        }
        let before = {
            let mut current = self.current();
            let next = Arc::new(current.active.successor());
            current.applied = base.facts.applied;
            let membership = std::mem::replace(&mut current.membership, base.facts.membership.clone());
            let active = std::mem::replace(&mut current.active, next);
            let base = std::mem::replace(&mut current.base, base);
            current.gaps.another_memory(false);
            (membership, active, base, self.show(&current))
        };
        // Not under the lock, which every apply needs.
        drop(before);
        for observer in self.observers().iter() {
            observer.replaced(index);
        }
        self.say_applied(index);
        Ok(())
    }
}

/// Fills a new table with what was staged, all of it as of `at`, and puts it in place; false where that is not as much
/// as there must be.
fn fill_from(
    view: &View,
    path: &std::path::Path,
    at: LogId,
    staging: Staging,
    membership: StoredMembership,
    reclaimer: &Reclaimer,
) -> Result<bool, StoreError> {
    let range = staged_range(staging.id);
    let prefix = range.start.len();
    let (mut staged, mut count): (_, Index) = (view.merged(&range)?, 0);
    let mut filling = Filling::begin(path, patience_here(), reclaimer)?;
    let filled = filling.fill(|sink| {
        let copied = staged.next(|key, _, value| {
            let (key, value) = (key.into_bytes(), value.into_bytes());
            sink(key.get(prefix..).unwrap_or_default(), at.index, &value)
        })?;
        let more = copied.transpose()?.is_some();
        count = count.saturating_add(u64::from(more));
        Ok(more)
    });
    if filled.is_err() || count != staging.entries {
        filling.abandon();
        return filled.map(|()| false);
    }
    filling.finish(Some(at), membership)?.take_place()?;
    Ok(true)
}
