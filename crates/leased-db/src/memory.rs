//! A database in memory that the nodes of a test share, and that can be made to fail.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_storage::{Active, Index, KeyRange, Lookup, Snapshot, StoreError, Versioned};
use tokio::time::Instant;

use crate::database::{ApplyError, Batch, Claim, Database, Fence, Head, Limits};

/// The faults that can be injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It is not reached.
    Gone,
    /// The next change is made, and its answer is lost.
    LosesAnswer,
    /// The next change is lost before it is made.
    LosesChange,
}

/// A [`Database`] for tests. Its entries are kept as a list in order: few, and easily seen to be right.
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    head: Head,
    entries: Entries,
    lock: Option<(Active, Fence, Instant)>,
    fault: Fault,
    limits: Limits,
}

#[derive(Clone, Default)]
struct Entries {
    index: Index,
    by_key: std::collections::BTreeMap<Bytes, Versioned>,
}

impl Default for Memory {
    fn default() -> Self {
        let head = Head { cluster_id: "memory".to_owned(), index: 0, fence: 0 };
        let limits = Limits { keys: 1000, bytes: 1 << 20 };
        let state = State { head, entries: Entries::default(), lock: None, fault: Fault::None, limits };
        Self { state: Mutex::new(state) }
    }
}

impl Memory {
    /// Makes something go wrong from now on, or nothing any more.
    pub fn set_fault(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// Limits batches from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reached(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        if state.fault == Fault::Gone {
            return Err(StoreError::Failed("connection refused".to_owned()));
        }
        Ok(state)
    }
}

impl Entries {
    fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Versioned)> {
        self.by_key.iter().filter(move |(key, _)| range.contains(key))
    }
}

impl Lookup for Entries {
    fn modified(&self, key: &[u8]) -> Result<Index, StoreError> {
        Ok(self.by_key.get(key).map_or(0, |entry| entry.modified))
    }

    fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        let counted = self.range(range).take(usize::try_from(at_most).unwrap_or(usize::MAX));
        Ok(counted.fold((0u64, 0), |(count, newest), (_, entry)| {
            (count.saturating_add(1), newest.max(entry.modified))
        }))
    }
}

#[async_trait]
impl Snapshot for Entries {
    fn index(&self) -> Index {
        self.index
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.by_key.get(key).cloned())
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        Ok(self.range(range).take(limit).map(|(key, entry)| (key.clone(), entry.clone())).collect())
    }
}

impl State {
    fn apply(&mut self, batch: &Batch) -> Result<(), ApplyError> {
        if self.head.fence != batch.fence || self.head.index != batch.from {
            return Err(ApplyError::Overtaken);
        }
        self.head.index = batch.to;
        self.entries.index = batch.to;
        for key in &batch.deletes {
            self.entries.by_key.remove(key);
        }
        self.entries.by_key.extend(batch.puts.iter().cloned());
        Ok(())
    }

    fn owner(&self) -> Option<&(Active, Fence, Instant)> {
        self.lock.as_ref().filter(|(_, _, until)| Instant::now() < *until)
    }
}

fn until(span: Duration) -> Instant {
    Instant::now().checked_add(span).unwrap_or_else(Instant::now)
}

#[async_trait]
impl Database for Memory {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.reached()?.head.clone())
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.reached()?.entries.clone()))
    }

    async fn modified(&self, keys: &[Bytes]) -> Result<Vec<Index>, StoreError> {
        let state = self.reached()?;
        keys.iter().map(|key| state.entries.modified(key)).collect()
    }

    async fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        self.reached()?.entries.count_and_newest(range, at_most)
    }

    async fn apply(&self, batch: &Batch) -> Result<(), ApplyError> {
        let mut state = self.state();
        let lost = || Err(ApplyError::Unknown("connection reset".to_owned()));
        match state.fault {
            Fault::None => state.apply(batch),
            Fault::Gone => lost(),
            Fault::LosesAnswer => {
                state.fault = Fault::None;
                state.apply(batch).and_then(|()| lost())
            }
            Fault::LosesChange => {
                state.fault = Fault::None;
                lost()
            }
        }
    }

    async fn claim(&self, me: &Active, span: Duration, by_force: bool) -> Result<Claim, StoreError> {
        let mut state = self.reached()?;
        if let Some((holder, _, _)) = state.owner()
            && holder != me
            && !by_force
        {
            return Ok(Claim::Held(holder.clone()));
        }
        state.head.fence = state.head.fence.saturating_add(1);
        let fence = state.head.fence;
        state.lock = Some((me.clone(), fence, until(span)));
        Ok(Claim::Granted(fence))
    }

    async fn renew(&self, fence: Fence, span: Duration) -> Result<bool, StoreError> {
        let mut state = self.reached()?;
        let ours = state.head.fence == fence;
        match state.lock.as_mut().filter(|(_, of, _)| ours && *of == fence) {
            Some((_, _, end)) => {
                *end = until(span);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let mut state = self.reached()?;
        if state.lock.as_ref().is_some_and(|(_, of, _)| *of == fence) {
            state.lock = None;
        }
        Ok(())
    }

    async fn holder(&self) -> Result<Option<Active>, StoreError> {
        Ok(self.reached()?.owner().map(|(holder, _, _)| holder.clone()))
    }

    fn limits(&self) -> Limits {
        self.state().limits
    }

    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn close(&self) {}
}
