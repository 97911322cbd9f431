//! A cache of decrypted entries, bounded in bytes and never stale.
//!
//! Each entry knows the snapshot at which it was the newest (`seen_at`); each commit leaves its index in a slot chosen by the
//! key's hash. An entry is valid only while its slot is not newer than it, so a reader that is slow to insert what it has read
//! cannot bring an old value back. Two keys in one slot cost a miss, not an error.

use std::any::Any;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use strongroom_storage::Index;

const SLOTS: usize = 1 << 16;

/// Bytes that an entry costs besides its sealed size: key, counters, and the decoded form's own structure.
const OVERHEAD: usize = 160;

/// A decoded value of whatever type its table holds; `None`: known to be absent.
pub(crate) type Opened = Option<Arc<dyn Any + Send + Sync>>;

/// The cached state of one key.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The decoded value.
    pub(crate) value: Opened,
    /// The commit that wrote it; for an absent key the snapshot in which it was absent.
    pub(crate) modified: Index,
    /// The snapshot it was read from.
    pub(crate) seen_at: Index,
    /// Bytes it is accounted with.
    pub(crate) weight: usize,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Box<[u8]>, Entry> for ByWeight {
    fn weight(&self, key: &Box<[u8]>, entry: &Entry) -> u64 {
        u64::try_from(key.len().saturating_add(entry.weight).saturating_add(OVERHEAD)).unwrap_or(u64::MAX)
    }
}

pub(crate) struct Cache {
    entries: Option<quick_cache::sync::Cache<Box<[u8]>, Entry, ByWeight>>,
    outdated: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Cache {
    pub(crate) fn new(bytes: u64) -> Self {
        let typical_entries = usize::try_from(bytes / 512).unwrap_or(usize::MAX);
        let entries =
            (bytes > 0).then(|| quick_cache::sync::Cache::with_weighter(typical_entries, bytes, ByWeight));
        let outdated = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { entries, outdated, hasher: RandomState::new() }
    }

    /// The slot that commits to `key` leave their index in.
    pub(crate) fn slot(&self, key: &[u8]) -> &AtomicU64 {
        let at = usize::try_from(self.hasher.hash_one(key)).unwrap_or(usize::MAX) % SLOTS;
        // `at` is below the number of slots by construction; the first slot would only cost misses.
        self.outdated.get(at).unwrap_or(&NEVER)
    }

    /// The entry of `key`, if it is still the newest.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Entry> {
        let entry = self.entries.as_ref()?.get(key)?;
        (self.slot(key).load(Ordering::SeqCst) <= entry.seen_at).then_some(entry)
    }

    pub(crate) fn insert(&self, key: &[u8], entry: Entry) {
        if let Some(entries) = &self.entries {
            entries.insert(key.into(), entry);
        }
    }

    /// `key` was written or deleted by commit `index`.
    pub(crate) fn outdate(&self, key: &[u8], index: Index) {
        self.slot(key).fetch_max(index, Ordering::SeqCst);
        if let Some(entries) = &self.entries {
            entries.remove(key);
        }
    }

    pub(crate) fn outdate_all(&self, index: Index) {
        for slot in &self.outdated {
            slot.fetch_max(index, Ordering::SeqCst);
        }
        self.clear();
    }

    pub(crate) fn clear(&self) {
        if let Some(entries) = &self.entries {
            entries.clear();
        }
    }
}

/// A slot that outdates everything: what an impossible index falls back to.
static NEVER: AtomicU64 = AtomicU64::new(u64::MAX);
