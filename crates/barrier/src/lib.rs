//! The barrier: everything above it is plaintext and typed, everything below it is sealed bytes.
//!
//! [`Barrier`] holds the [`Keyring`] while unsealed, and a bounded cache of opened entries. A request reads through
//! a [`View`] or a [`Txn`], both at one commit index; a [`Table`] names the entries of one kind and their space. A `Txn`
//! collects writes, seals them with the storage key as associated data, and commits them in one step. An engine gets a
//! [`MountView`] or [`MountTxn`], which reach its own mount's tables only.
//!
//! The barrier does not decide who may read what, and does not retry: a transaction whose ground has moved fails with
//! [`BarrierError::Conflict`], and its request is decided again.

mod cache;
mod codec;
mod derived;
mod events;
mod id;
mod key;
mod keyring;
mod marks;
mod space;
mod table;
mod txn;
mod view;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwapOption;
use strongroom_stdx::Entropy;
use strongroom_storage::{CommitError, Index, Observer, Store, StoreError};

pub use codec::{Stored, from_bytes, to_bytes};
pub use derived::Derived;
pub use events::{Emitted, Event, EventSink};
pub use id::{MountId, NamespaceId};
pub use key::{BOOTSTRAP_RECORD, ByNamespace, Plain, TableKey};
pub use keyring::{KeySource, Keyring, KeyringError, MAX_ENCRYPTIONS, Term, TermInfo, unwrap_key, wrap_key};
pub use space::{
    Admits, BOOTSTRAP, CoreLocal, CoreSpace, KeyPlace, MountLocal, MountPlace, MountSpace, OfMount, Owner,
    Server, Space,
};
pub use table::{Table, TableId, Writes, assert_distinct};
pub use txn::{MountTxn, Txn, bootstrap_key};
pub use view::{Found, FullKey, FullRange, Ground, MountReads, MountView, Reads, View};

use cache::Cache;
use marks::TableMarks;

/// Errors of reading or writing an entry through the barrier.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BarrierError {
    /// There are no keys in memory.
    #[error("Vault is sealed")]
    Sealed,
    /// An entry that was read has changed since; the whole request is to be decided again on a newer view.
    #[error("what was read has changed since")]
    Conflict,
    /// An entry does not open under its key and place: altered, moved, or sealed by another keyring.
    #[error("entry {0} does not open: it was altered or belongs to another barrier")]
    Tampered(String),
    /// An entry opens and is not of the expected form.
    #[error("entry {0} cannot be decoded: {1}")]
    Malformed(String, String),
    /// A value cannot be encoded.
    #[error("value cannot be encoded: {0}")]
    Unencodable(String),
    /// Keys or nonces could not be made or used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store did not take the commit.
    #[error(transparent)]
    Commit(CommitError),
}

impl From<CommitError> for BarrierError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict => Self::Conflict,
            CommitError::Store(error) => Self::Store(error),
            other => Self::Commit(other),
        }
    }
}

/// The encrypting layer over a [`Store`].
pub struct Barrier {
    store: Arc<dyn Store>,
    keyring: ArcSwapOption<Keyring>,
    key_source: OnceLock<Weak<dyn KeySource>>,
    cache: Cache,
    marks: TableMarks,
    /// The newest commit that the cache has been told of.
    observed: AtomicU64,
    entropy: Entropy,
    events: OnceLock<Arc<dyn EventSink>>,
}

impl Barrier {
    /// A sealed barrier over `store`, with room for `cache_bytes` of opened entries (0: no cache).
    pub fn new(store: Arc<dyn Store>, entropy: Entropy, cache_bytes: u64) -> Arc<Self> {
        let barrier = Arc::new(Self {
            observed: AtomicU64::new(store.applied()),
            keyring: ArcSwapOption::empty(),
            key_source: OnceLock::new(),
            cache: Cache::new(cache_bytes),
            marks: TableMarks::new(),
            store,
            entropy,
            events: OnceLock::new(),
        });
        barrier.store.observe(Arc::new(Invalidator(Arc::downgrade(&barrier))));
        // A commit between reading `applied` and observing would otherwise never be waited for.
        barrier.observed.fetch_max(barrier.store.applied(), Ordering::SeqCst);
        barrier
    }

    /// Puts the keys in place: from here on entries can be read and written.
    pub fn unseal(&self, keyring: Keyring) {
        self.keyring.store(Some(Arc::new(keyring)));
    }

    /// Drops keys and every opened entry.
    pub fn seal(&self) {
        self.keyring.store(None);
        self.cache.clear();
    }

    /// True if there are no keys in memory.
    pub fn is_sealed(&self) -> bool {
        self.keyring.load().is_none()
    }

    /// The keys, while unsealed.
    pub fn keyring(&self) -> Result<Arc<Keyring>, BarrierError> {
        self.keyring.load_full().ok_or(BarrierError::Sealed)
    }

    /// Puts newer keys in the place of `held`; false where others are in place by now, or none.
    pub fn replace_keys(&self, held: &Arc<Keyring>, newer: Arc<Keyring>) -> bool {
        let found = self.keyring.compare_and_swap(held, Some(newer));
        found.as_ref().is_some_and(|found| Arc::ptr_eq(found, held))
    }

    /// Asks `source` for newer keys from now on, where an entry was sealed with a key that is not in memory. Once.
    pub fn look_for_keys_in(&self, source: Weak<dyn KeySource>) {
        drop(self.key_source.set(source));
    }

    /// The keys of storage, which another node may have made since those in memory were read.
    #[cold]
    async fn newer_keys(&self) -> Result<Arc<Keyring>, BarrierError> {
        if let Some(source) = self.key_source.get().and_then(Weak::upgrade) {
            source.look_for_newer().await?;
        }
        self.keyring()
    }

    /// Has the events of commits told to `sink`. Once.
    pub fn publish_to(&self, sink: Arc<dyn EventSink>) {
        drop(self.events.set(sink));
    }

    pub(crate) fn events(&self) -> Option<&Arc<dyn EventSink>> {
        self.events.get()
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The random source that nonces are drawn from.
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// The newest commit that views opened now will show.
    pub fn applied(&self) -> Index {
        self.observed.load(Ordering::SeqCst)
    }

    /// A view of now, decided lazily: entries found in the cache cost no snapshot.
    pub fn view(self: &Arc<Self>) -> View {
        View::lazy(self.clone())
    }

    /// A view of now over an open snapshot, which no later commit can disturb.
    pub async fn pinned_view(self: &Arc<Self>) -> Result<View, BarrierError> {
        View::pinned(self.clone()).await
    }

    /// A transaction over `view`.
    pub fn transaction(&self, view: View) -> Txn {
        Txn::new(view)
    }

    /// A bootstrap entry: readable while sealed.
    pub async fn bootstrap(&self, name: &str) -> Result<Option<Vec<u8>>, BarrierError> {
        let snapshot = self.store.snapshot().await?;
        Ok(snapshot.get(&txn::bootstrap_key(name)).await?.map(|found| found.value.to_vec()))
    }

    /// Waits until the cache has been told of `index`, which the store already shows: an instant.
    async fn caught_up_to(&self, index: Index) {
        while self.observed.load(Ordering::SeqCst) < index {
            tokio::task::yield_now().await;
        }
    }
}

/// Keeps the cache true to the store.
struct Invalidator(Weak<Barrier>);

impl Observer for Invalidator {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        if let Some(barrier) = self.0.upgrade() {
            for key in keys {
                barrier.cache.outdate(key, index);
                barrier.marks.touch(key, index);
            }
            barrier.observed.fetch_max(index, Ordering::SeqCst);
        }
    }

    /// The keys of another state may be others: nothing is sealed with those in memory until its own are put in place.
    fn replacing(&self) {
        if let Some(barrier) = self.0.upgrade() {
            barrier.keyring.store(None);
        }
    }

    fn replaced(&self, index: Index) {
        if let Some(barrier) = self.0.upgrade() {
            barrier.cache.outdate_all(index);
            barrier.marks.touch_all(index);
            barrier.observed.fetch_max(index, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests;
