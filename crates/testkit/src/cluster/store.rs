//! One node's way to the store that all nodes share: it conflicts, loses answers, and refuses whoever does not lead.

use std::sync::Arc;

use async_trait::async_trait;
use strongroom_storage::{Commit, CommitError, InMemory, Index, Observer, Snapshot, Store, StoreError};

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
    pub(super) shared: Arc<InMemory>,
    pub(super) node: u64,
    pub(super) gate: Gate,
    pub(super) leadership: Arc<Leadership>,
    pub(super) faults: Faults,
    pub(super) random: Seeded,
}

#[async_trait]
impl Store for NodeStore {
    fn applied(&self) -> Index {
        self.shared.applied()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.gate.pass().await;
        self.shared.snapshot().await
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        self.gate.pass().await;
        for _ in 0..self.random.below(3) {
            tokio::task::yield_now().await;
        }
        self.gate.pass().await;
        if self.leadership.term_of(self.node).is_none() {
            return Err(CommitError::NotLeader { leader: None });
        }
        if self.random.chance(self.faults.conflicts) {
            return Err(CommitError::Conflict);
        }
        let is_unknown = self.random.chance(self.faults.unknown);
        if is_unknown && self.random.chance(50) {
            return Err(uncertain());
        }
        let outcome = self.shared.commit(commit).await;
        tokio::task::yield_now().await;
        // Killed or stopped between the commit and its answer.
        self.gate.pass().await;
        if is_unknown { Err(uncertain()) } else { outcome }
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared.observe(observer);
    }

    async fn close(&self) {}

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

fn uncertain() -> CommitError {
    CommitError::Uncertain("the answer was lost".into())
}
