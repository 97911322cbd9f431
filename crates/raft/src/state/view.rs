//! The state at one index: the table, and over it what was applied since.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redb::Range;
use strongroom_storage::{Index, KeyRange, Lookup, Snapshot, StoreError, Versioned};

use super::base::{BaseView, failed, on_pages, split_entry};
use super::gaps::{Gaps, Look, RUN};
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
    pub(super) gaps: Arc<Gaps>,
    /// The number of the active memory.
    pub(super) memory: usize,
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
        let mut merged = Merged {
            view: self,
            range: range.clone(),
            layers: Vec::new(),
            base: None,
            waiting: None,
            deleted: 0,
            look: None,
            newer: None,
        };
        merged.begin()?;
        Ok(merged)
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
    /// The first key that was written after the index.
    newer: Option<Bytes>,
}

impl<'v> Layer<'v> {
    fn new(mem: &'v Mem, range: &KeyRange, at: Index) -> Self {
        Self {
            mem,
            at,
            after: None,
            range: range.clone(),
            fetched: VecDeque::new(),
            exhausted: false,
            newer: None,
        }
    }

    fn peek(&mut self) -> Option<&Bytes> {
        while self.fetched.is_empty() && !self.exhausted {
            let start = match &self.after {
                Some(after) => Bound::Excluded(after.as_ref()),
                None => Bound::Included(self.range.start.as_slice()),
            };
            let Fetched { entries, last, newer } =
                self.mem.range(start, self.range.end.as_deref(), self.at, FETCH);
            self.newer = self.newer.take().or(newer);
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
    view: &'v View,
    /// The keys that are left.
    range: KeyRange,
    /// The newest first.
    layers: Vec<Layer<'v>>,
    base: Option<Range<'static, &'static [u8], &'static [u8]>>,
    /// The table's next entry.
    waiting: Option<(Stored, Stored)>,
    /// Deletions in a row, up to the last key.
    deleted: usize,
    /// Set while they are looked at for a note of where they end.
    look: Option<Look>,
    /// The first key looked at since that was written after the view's index.
    newer: Option<Bytes>,
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

impl<'v> Merged<'v> {
    /// Begins to read at the first key of the range.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.waiting = None;
        if self.range.is_empty() {
            (self.layers, self.base) = (Vec::new(), None);
            return Ok(());
        }
        let view: &'v View = self.view;
        let layer = |mem: &'v Arc<Mem>| Layer::new(mem, &self.range, view.index);
        self.layers = std::iter::once(&view.active).chain(&view.frozen).map(layer).collect();
        self.base = Some(view.base.range(&self.range.start, self.range.end.as_deref())?);
        Ok(())
    }

    /// Takes note of a deletion. After many in a row it goes on behind the gap that they are in, or has itself looked at for one.
    fn passed(&mut self, key: &Bytes) -> Result<(), StoreError> {
        #[cfg(test)]
        self.view.gaps.visited.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.deleted = self.deleted.saturating_add(1);
        if !self.deleted.is_multiple_of(RUN) {
            return Ok(());
        }
        let next = self.range.after(key).start;
        let end = self.view.gaps.end_of(&next, self.view.index);
        if end.is_none() && self.look.is_some() {
            return Ok(());
        }
        self.range.start = end.unwrap_or(next);
        if self.look.is_some() {
            self.newer = self.first_newer();
        } else {
            // What was read ahead counts as not looked at: the scan announces itself only now.
            self.newer = None;
            self.look = self.view.gaps.look(self.range.start.clone(), self.view.memory, self.view.index);
        }
        self.begin()
    }

    /// The first key looked at that was written after the view's index.
    fn first_newer(&self) -> Option<Bytes> {
        self.layers.iter().filter_map(|layer| layer.newer.as_ref()).chain(&self.newer).min().cloned()
    }

    /// Ends a row of deletions at the first key behind them; `None`: at the end of the range.
    fn end_row(&mut self, key: Option<&[u8]>) {
        self.deleted = 0;
        let Some(look) = self.look.take() else { return };
        let newer = self.first_newer();
        if let Some(end) = key.or(self.range.end.as_deref()) {
            look.found(newer.as_deref().map_or(end, |newer| newer.min(end)));
        }
    }

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
            let Some((key, stored)) = self.waiting.take() else {
                self.end_row(None);
                return Ok(Step::End);
            };
            return self.stored(&key, &stored, take);
        };
        if let Some((key, stored)) = self.waiting.take_if(|(key, _)| key.value() < lowest.as_ref()) {
            return self.stored(&key, &stored, take);
        }
        if self.waiting.as_ref().is_some_and(|(key, _)| key.value() == lowest.as_ref()) {
            self.waiting = None;
        }
        let Some(Version { modified, value: Some(value) }) = self.pop_all(&lowest) else {
            self.passed(&lowest)?;
            return Ok(Step::Deleted);
        };
        if self.deleted > 0 {
            self.end_row(Some(&lowest));
        }
        Ok(Step::Entry(take(Piece::Shared(lowest), modified, Piece::Shared(value))))
    }

    /// An entry of the table.
    fn stored<T>(
        &mut self,
        key: &Stored,
        stored: &Stored,
        take: impl FnOnce(Piece<'_>, Index, Piece<'_>) -> T,
    ) -> Result<Step<T>, StoreError> {
        let key = key.value();
        if self.deleted > 0 {
            self.end_row(Some(key));
        }
        let (modified, value) = split_entry(stored.value())?;
        Ok(Step::Entry(take(Piece::Borrowed(key), modified, Piece::Borrowed(value))))
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
