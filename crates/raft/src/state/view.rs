//! The state at one index: the table, and over it what was applied since.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redb::Range;
use strongroom_storage::{Index, KeyRange, Lookup, Snapshot, StoreError, Versioned};

use super::base::{BaseView, failed, on_pages, split_entry};
use super::mem::{Fetched, Mem, Version};

/// Keys fetched from memory at a time while scanning, so that writers are never held up for long.
const FETCH: usize = 128;
/// Keys that a scan looks at before it lets other tasks of its thread go on: where much was deleted, those in memory that hide
/// what the table still has are many more than those that are found.
const SCANNED_AT_ONCE: usize = 256;

/// The state at one index. Never changes.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) index: Index,
    pub(crate) active: Arc<Mem>,
    /// The writes that are being merged into the table.
    pub(crate) frozen: Option<Arc<Mem>>,
    pub(crate) base: BaseView,
}

impl View {
    fn in_memory(&self, key: &[u8]) -> Option<Version> {
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.get(key, self.index));
        self.active.get(key, self.index).or_else(frozen)
    }

    fn find(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        match self.in_memory(key) {
            Some(Version { modified, value }) => Ok(value.map(|value| Versioned { modified, value })),
            None => self.base.get(key),
        }
    }

    /// Up to `limit` keys of a range.
    pub(crate) fn keys(&self, range: &KeyRange, limit: usize) -> Result<Vec<Bytes>, StoreError> {
        let mut merged = self.merged(range)?;
        let mut keys = Vec::new();
        while keys.len() < limit
            && let Some(key) = merged.next(|key, _, _| key.into_bytes())?
        {
            keys.push(key);
        }
        Ok(keys)
    }

    /// The entries of a range in key order.
    pub(super) fn merged(&self, range: &KeyRange) -> Result<Merged<'_>, StoreError> {
        let newest = Some(Layer::new(&self.active, range, self.index));
        let older = self.frozen.as_ref().map(|frozen| Layer::new(frozen, range, self.index));
        let layers = if range.is_empty() { Vec::new() } else { newest.into_iter().chain(older).collect() };
        let base =
            if range.is_empty() { None } else { Some(self.base.range(&range.start, range.end.as_deref())?) };
        Ok(Merged { layers, base, waiting: None })
    }
}

impl Lookup for View {
    fn modified(&self, key: &[u8]) -> Result<Index, StoreError> {
        match self.in_memory(key) {
            Some(version) => Ok(version.value.map_or(0, |_| version.modified)),
            None => self.base.modified(key),
        }
    }

    fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        let mut merged = self.merged(range)?;
        let (mut count, mut newest) = (0u64, 0);
        while count < at_most {
            let Some(modified) = merged.next(|_, modified, _| modified)? else { break };
            count = count.saturating_add(1);
            newest = modified.max(newest);
        }
        Ok((count, newest))
    }
}

#[async_trait]
impl Snapshot for View {
    fn index(&self) -> Index {
        self.index
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.find(key)
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        let mut merged = self.merged(range)?;
        let (mut found, mut looked_at) = (Vec::new(), 0usize);
        while found.len() < limit {
            let entry = |key: Piece<'_>, modified, value: Piece<'_>| {
                (key.into_bytes(), Versioned { modified, value: value.into_bytes() })
            };
            match merged.step(entry)? {
                Step::Entry(entry) => found.push(entry),
                Step::Deleted => {}
                Step::End => break,
            }
            looked_at = looked_at.saturating_add(1);
            if looked_at.is_multiple_of(SCANNED_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }
}

/// Bytes that are shared already, or would have to be copied.
pub(super) enum Piece<'p> {
    Shared(Bytes),
    Borrowed(&'p [u8]),
}

impl Piece<'_> {
    pub(super) fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Borrowed(slice) => Bytes::copy_from_slice(slice),
        }
    }
}

/// One layer's keys in order, fetched in steps.
struct Layer<'v> {
    mem: &'v Mem,
    at: Index,
    /// The last key looked at; `None`: none yet.
    after: Option<Bytes>,
    range: KeyRange,
    fetched: VecDeque<(Bytes, Version)>,
    /// Nothing is left beyond what was fetched.
    exhausted: bool,
}

impl<'v> Layer<'v> {
    fn new(mem: &'v Mem, range: &KeyRange, at: Index) -> Self {
        Self { mem, at, after: None, range: range.clone(), fetched: VecDeque::new(), exhausted: false }
    }

    fn peek(&mut self) -> Option<&Bytes> {
        while self.fetched.is_empty() && !self.exhausted {
            let start = match &self.after {
                Some(after) => Bound::Excluded(after.as_ref()),
                None => Bound::Included(self.range.start.as_slice()),
            };
            let Fetched { entries, last } = self.mem.range(start, self.range.end.as_deref(), self.at, FETCH);
            self.fetched = entries;
            self.exhausted = last.is_none();
            self.after = last;
        }
        self.fetched.front().map(|(key, _)| key)
    }
}

type Stored = redb::AccessGuard<'static, &'static [u8]>;

/// All layers as one, in key order: a newer layer's key hides an older one's.
pub(super) struct Merged<'v> {
    /// The newest first.
    layers: Vec<Layer<'v>>,
    base: Option<Range<'static, &'static [u8], &'static [u8]>>,
    /// The table's next entry.
    waiting: Option<(Stored, Stored)>,
}

/// One key's worth of a merged range.
enum Step<T> {
    /// An entry.
    Entry(T),
    /// A deletion, which hides the key and is no entry itself.
    Deleted,
    /// No more keys.
    End,
}

impl Merged<'_> {
    /// The next entry, as `take` makes it of its key, index and value.
    pub(super) fn next<T>(
        &mut self,
        mut take: impl FnMut(Piece<'_>, Index, Piece<'_>) -> T,
    ) -> Result<Option<T>, StoreError> {
        loop {
            match self.step(&mut take)? {
                Step::Entry(entry) => return Ok(Some(entry)),
                Step::Deleted => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// The next key.
    fn step<T>(
        &mut self,
        take: impl FnOnce(Piece<'_>, Index, Piece<'_>) -> T,
    ) -> Result<Step<T>, StoreError> {
        on_pages(|| self.step_on_pages(take))
    }

    fn step_on_pages<T>(
        &mut self,
        take: impl FnOnce(Piece<'_>, Index, Piece<'_>) -> T,
    ) -> Result<Step<T>, StoreError> {
        if self.waiting.is_none()
            && let Some(base) = &mut self.base
        {
            self.waiting = base.next().transpose().map_err(failed)?;
        }
        let lowest = self.layers.iter_mut().filter_map(|layer| layer.peek().cloned()).min();
        let Some(lowest) = lowest else {
            let Some((key, stored)) = self.waiting.take() else { return Ok(Step::End) };
            let (modified, value) = split_entry(stored.value())?;
            return Ok(Step::Entry(take(Piece::Borrowed(key.value()), modified, Piece::Borrowed(value))));
        };
        if let Some((key, stored)) = &self.waiting
            && key.value() < lowest.as_ref()
        {
            let (modified, value) = split_entry(stored.value())?;
            let taken = take(Piece::Borrowed(key.value()), modified, Piece::Borrowed(value));
            self.waiting = None;
            return Ok(Step::Entry(taken));
        }
        if self.waiting.as_ref().is_some_and(|(key, _)| key.value() == lowest.as_ref()) {
            self.waiting = None;
        }
        Ok(match self.pop_all(&lowest) {
            Some(Version { modified, value: Some(value) }) => {
                Step::Entry(take(Piece::Shared(lowest), modified, Piece::Shared(value)))
            }
            _ => Step::Deleted,
        })
    }

    /// Takes a key from all layers that have it; the newest layer's version counts.
    fn pop_all(&mut self, key: &Bytes) -> Option<Version> {
        let mut newest = None;
        for layer in &mut self.layers {
            if layer.peek() == Some(key)
                && let Some((_, version)) = layer.fetched.pop_front()
            {
                newest = newest.or(Some(version));
            }
        }
        newest
    }
}
