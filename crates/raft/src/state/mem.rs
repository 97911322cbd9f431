//! The writes since the last checkpoint, in memory: every version of every key written.
//!
//! Keys and values are copied into chunks, one behind the other. As they arrive, they are separate allocations, five to a write
//! with what shares them, scattered among everything else that the threads of the runtime allocate: slow to free, and returned to
//! the system in fragments by a later checkpoint. A chunk is freed when the last reader of any of it is done.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::{Bytes, BytesMut};
use strongroom_storage::{Index, StoreError, Write};

use super::key::{Headed, Key, Probe};
use crate::reclaim::Reclaimer;

/// About how many bytes a version takes beside its key and value.
const OVERHEAD: usize = 184;
/// Keys that a reader looks at before it lets writers in.
const MAX_EXAMINED: usize = 1024;
/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// The size above which values are shared with their writer instead of being copied.
const MAX_COPIED: usize = 8 << 10;

/// A version of a key: what the commit of this index wrote; `None`: it deleted the key.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) modified: Index,
    pub(crate) value: Option<Bytes>,
}

/// A part of a range.
#[derive(Default)]
pub(crate) struct Fetched {
    pub(crate) entries: VecDeque<(Bytes, Version)>,
    /// The last key that was looked at; `None`: no others are left.
    pub(crate) last: Option<Bytes>,
    /// The first of those keys that was written after the index.
    pub(crate) newer: Option<Bytes>,
}

/// The versions of a key. Most keys have one.
struct Versions {
    newest: Version,
    /// In the order of their indexes.
    older: Vec<Version>,
}

#[derive(Default)]
struct Keys {
    tree: BTreeMap<Key, Versions>,
    /// The rest of the chunk that is being filled.
    chunk: BytesMut,
}

/// Writes in key order. One thread adds, any number read; a reader that knows an index sees nothing newer. Its last
/// holder does not free it: the reclaimer does.
pub(crate) struct Mem {
    keys: RwLock<Keys>,
    bytes: AtomicUsize,
    reclaimer: Reclaimer,
}

impl Mem {
    pub(super) fn new(reclaimer: Reclaimer) -> Self {
        Self { keys: RwLock::default(), bytes: AtomicUsize::new(0), reclaimer }
    }

    /// An empty one, to take what comes next.
    pub(super) fn successor(&self) -> Self {
        Self::new(self.reclaimer.clone())
    }

    /// About how many bytes of memory this takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds the writes of a commit. Indexes never go down from one call to the next.
    pub(crate) fn write(&self, index: Index, writes: &[Write]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut added = 0usize;
        for write in writes {
            let size = write.key.len().saturating_add(write.value.as_ref().map_or(0, Bytes::len));
            added = added.saturating_add(size).saturating_add(OVERHEAD);
            let key = keys.keep(&write.key);
            let version =
                Version { modified: index, value: write.value.as_ref().map(|value| keys.keep(value)) };
            match keys.tree.entry(Key::new(key)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Versions { newest: version, older: Vec::new() });
                }
                Entry::Occupied(mut occupied) => occupied.get_mut().add(version),
            }
        }
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The version of a key that counts at an index.
    pub(crate) fn get(&self, key: &[u8], at: Index) -> Option<Version> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.tree.get(&Probe::new(key) as &dyn Headed)?.at(at).cloned()
    }

    /// Up to `limit` keys from `start` on and before `end`, with their versions at an index. Looks at a bounded number
    /// of keys, for writers wait meanwhile: most of a range may be newer than the index.
    pub(crate) fn range(&self, start: Bound<&[u8]>, end: Option<&[u8]>, at: Index, limit: usize) -> Fetched {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let start = start.map(Probe::new);
        let from = start.as_ref().map(|probe| probe as &dyn Headed);
        let mut fetched = Fetched::default();
        let mut within = keys
            .tree
            .range::<dyn Headed, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| end.is_none_or(|end| key.bytes().as_ref() < end));
        for (key, versions) in within.by_ref().take(MAX_EXAMINED) {
            if let Some(version) = versions.at(at) {
                fetched.entries.push_back((key.bytes().clone(), version.clone()));
            }
            if versions.newest.modified > at && fetched.newer.is_none() {
                fetched.newer = Some(key.bytes().clone());
            }
            fetched.last = Some(key.bytes().clone());
            if fetched.entries.len() >= limit {
                return fetched;
            }
        }
        if within.next().is_none() {
            fetched.last = None;
        }
        fetched
    }

    /// Gives the newest version of every key, in key order.
    pub(crate) fn for_each_newest(
        &self,
        mut take: impl FnMut(&[u8], Index, Option<&[u8]>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        for (key, Versions { newest, .. }) in &keys.tree {
            take(key.bytes(), newest.modified, newest.value.as_deref())?;
        }
        Ok(())
    }
}

impl Drop for Mem {
    fn drop(&mut self) {
        let keys = std::mem::take(self.keys.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !keys.tree.is_empty() {
            self.reclaimer.free(keys);
        }
    }
}

impl Keys {
    /// A copy in the chunk, or a share of what is too large for one.
    fn keep(&mut self, bytes: &Bytes) -> Bytes {
        if bytes.len() > MAX_COPIED {
            return bytes.clone();
        }
        if self.chunk.capacity() < bytes.len() {
            self.chunk = BytesMut::with_capacity(CHUNK);
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}

impl Versions {
    fn add(&mut self, version: Version) {
        let replaced = std::mem::replace(&mut self.newest, version);
        // The same commit, or one of the same entry: nobody can have seen what it replaces.
        if replaced.modified != self.newest.modified {
            self.older.push(replaced);
        }
    }

    /// The version that counts at an index.
    fn at(&self, at: Index) -> Option<&Version> {
        if self.newest.modified <= at {
            return Some(&self.newest);
        }
        self.older.iter().rev().find(|version| version.modified <= at)
    }
}
