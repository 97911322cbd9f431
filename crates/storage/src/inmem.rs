//! The store in memory, for development servers and tests.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use imbl::OrdMap;

use crate::commit::{Commit, KeyRange, Lookup, still_valid};
use crate::{CommitError, Index, Observer, Snapshot, Store, StoreError, Versioned};

type Map = OrdMap<Bytes, Versioned>;

/// The state at one index; cloning shares the tree.
#[derive(Clone, Default)]
struct State {
    index: Index,
    map: Map,
    closed: bool,
}

/// An in-memory [`Store`]: a persistent tree whose versions are the snapshots.
#[derive(Default)]
pub struct InMemory {
    state: RwLock<State>,
    /// Held over deciding, applying and telling, so that observers hear commits in order.
    committing: Mutex<()>,
    observers: RwLock<Vec<Arc<dyn Observer>>>,
}

impl InMemory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with what this one holds now: for tests that begin from one state many times.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: RwLock::new(self.current()), ..Self::default() }
    }

    fn current(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn apply(&self, commit: &Commit) -> Result<Index, CommitError> {
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.current();
        if next.closed {
            return Err(StoreError::Closed.into());
        }
        if !still_valid(commit, &next)? {
            return Err(CommitError::Conflict);
        }
        next.index = next.index.saturating_add(1);
        for write in &commit.writes {
            match &write.value {
                Some(value) => {
                    let entry = Versioned { modified: next.index, value: value.clone() };
                    next.map.insert(write.key.clone(), entry);
                }
                None => {
                    next.map.remove(&write.key);
                }
            }
        }
        let index = next.index;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = next;
        let keys: Vec<&[u8]> = commit.writes.iter().map(|write| write.key.as_ref()).collect();
        for observer in self.observers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            observer.applied(index, &keys);
        }
        Ok(index)
    }
}

impl State {
    fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Versioned)> {
        let end = range.end.clone();
        let start = if range.is_empty() { None } else { Some(Bytes::copy_from_slice(&range.start)) };
        start
            .into_iter()
            .flat_map(|start| self.map.range(start..))
            .take_while(move |(key, _)| end.as_ref().is_none_or(|end| key.as_ref() < end.as_slice()))
    }
}

impl Lookup for State {
    fn modified(&self, key: &[u8]) -> Result<Index, StoreError> {
        Ok(self.map.get(key).map_or(0, |entry| entry.modified))
    }

    fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        let limit = usize::try_from(at_most).unwrap_or(usize::MAX);
        Ok(self.range(range).take(limit).fold((0u64, 0), |(count, newest), (_, entry)| {
            (count.saturating_add(1), newest.max(entry.modified))
        }))
    }
}

#[async_trait]
impl Snapshot for State {
    fn index(&self) -> Index {
        self.index
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.map.get(key).cloned())
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        Ok(self.range(range).take(limit).map(|(key, entry)| (key.clone(), entry.clone())).collect())
    }
}

#[async_trait]
impl Store for InMemory {
    fn applied(&self) -> Index {
        self.state.read().unwrap_or_else(PoisonError::into_inner).index
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let state = self.current();
        if state.closed { Err(StoreError::Closed) } else { Ok(Box::new(state)) }
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        self.apply(&commit)
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    async fn close(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    fn kind(&self) -> &'static str {
        "inmem"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::run(|| async { Arc::new(InMemory::new()) as Arc<dyn Store> }).await;
    }
}
