//! What was applied since the last checkpoint, in memory: every version of every key written.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use strongroom_storage::{Index, StoreError, Write};

use super::key::{Headed, Key, Probe};
use crate::reclaim::Reclaimer;

/// About how many bytes a version takes beside its key and value.
const OVERHEAD: usize = 184;

/// A version of a key: what the commit of this index wrote; `None`: it deleted the key.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) modified: Index,
    pub(crate) value: Option<Bytes>,
}

type Keys = BTreeMap<Key, Vec<Version>>;

/// Writes in key order. One thread adds, any number read; a reader that knows an index sees nothing newer. Whoever lets
/// go of it last does not free it: the reclaimer does.
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
            let version = Version { modified: index, value: write.value.clone() };
            let versions = keys.entry(Key::new(write.key.clone())).or_insert_with(|| Vec::with_capacity(1));
            match versions.last_mut() {
                // The same commit, or one of the same entry: nobody can have seen what it replaces.
                Some(last) if last.modified == index => *last = version,
                _ => versions.push(version),
            }
        }
        self.bytes.fetch_add(added, Ordering::Relaxed);
    }

    /// The version of a key that counts at an index.
    pub(crate) fn get(&self, key: &[u8], at: Index) -> Option<Version> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        visible(keys.get(&Probe::new(key) as &dyn Headed)?, at).cloned()
    }

    /// Up to `limit` keys from `start` on and before `end`, with their versions at an index.
    pub(crate) fn range(
        &self,
        start: Bound<&[u8]>,
        end: Option<&[u8]>,
        at: Index,
        limit: usize,
    ) -> Vec<(Bytes, Version)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let start = start.map(Probe::new);
        let from = start.as_ref().map(|probe| probe as &dyn Headed);
        keys.range::<dyn Headed, _>((from, Bound::Unbounded))
            .map(|(key, versions)| (key.bytes(), versions))
            .take_while(|(key, _)| end.is_none_or(|end| key.as_ref() < end))
            .filter_map(|(key, versions)| visible(versions, at).map(|version| (key.clone(), version.clone())))
            .take(limit)
            .collect()
    }

    /// Gives the newest version of every key, in key order.
    pub(crate) fn for_each_newest(
        &self,
        mut take: impl FnMut(&[u8], Index, Option<&[u8]>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        for (key, versions) in keys.iter() {
            if let Some(newest) = versions.last() {
                take(key.bytes(), newest.modified, newest.value.as_deref())?;
            }
        }
        Ok(())
    }
}

impl Drop for Mem {
    fn drop(&mut self) {
        let keys = std::mem::take(self.keys.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !keys.is_empty() {
            self.reclaimer.free(keys);
        }
    }
}

fn visible(versions: &[Version], at: Index) -> Option<&Version> {
    versions.iter().rev().find(|version| version.modified <= at)
}
