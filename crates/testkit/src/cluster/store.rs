//! One node's way to its store: it conflicts, loses answers, and, where all share one, refuses whoever does not lead.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use strongroom_storage::{Commit, CommitError, Index, Observer, Snapshot, Store, StoreError};

use super::{Gate, Leadership};
use crate::Seeded;

/// How often commits fail, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Conflicts with nothing.
    pub conflicts: u64,
    /// Answers that are lost, whether or not it was committed.
    pub unknown: u64,
}

/// A node's store.
pub(super) struct NodeStore {
    pub(super) inner: Arc<dyn Store>,
    pub(super) gate: Gate,
    /// Who leads, and this node's number, where the store does not know by itself.
    pub(super) leadership: Option<(Arc<Leadership>, u64)>,
    pub(super) faults: Arc<Mutex<Faults>>,
    pub(super) random: Seeded,
}

#[async_trait]
impl Store for NodeStore {
    fn applied(&self) -> Index {
        self.inner.applied()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.gate.pass().await;
        self.inner.snapshot().await
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        self.gate.pass().await;
        for _ in 0..self.random.below(3) {
            tokio::task::yield_now().await;
        }
        self.gate.pass().await;
        let follows = |(leadership, node): &(Arc<Leadership>, u64)| leadership.term_of(*node).is_none();
        if self.leadership.as_ref().is_some_and(follows) {
            return Err(CommitError::NotLeader { leader: None });
        }
        let faults = *self.faults.lock().expect("not poisoned");
        if self.random.chance(faults.conflicts) {
            return Err(CommitError::Conflict);
        }
        let is_unknown = self.random.chance(faults.unknown);
        if is_unknown && self.random.chance(50) {
            return Err(uncertain());
        }
        let outcome = self.inner.commit(commit).await;
        tokio::task::yield_now().await;
        // Killed or stopped between the commit and its answer.
        self.gate.pass().await;
        if is_unknown { Err(uncertain()) } else { outcome }
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.inner.begin().await
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    async fn close(&self) {}

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

fn uncertain() -> CommitError {
    CommitError::Uncertain("the answer was lost".into())
}
