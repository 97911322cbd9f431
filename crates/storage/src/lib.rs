//! The storage of encrypted bytes: an ordered map from keys to values with consistent snapshots and optimistic transactions.
//! Everything here is ciphertext; its meaning is decided above, in the barrier.
//!
//! A [`Store`] hands out [`Snapshot`]s (one commit index, never moving) and accepts [`Commit`]s: writes together
//! with what was read to decide on them. A commit is applied whole if nothing it read has changed since, and
//! otherwise answers [`CommitError::Conflict`], upon which the caller reads again and decides again.

mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod coordinator;
mod inmem;
mod migrating;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use commit::{Commit, KeyRange, Lookup, PointRead, RangeRead, Write, still_valid};
pub use coordinator::{Active, Coordinator, ELECTION, Leadership, Role, SteppedDown};
pub use inmem::InMemory;
pub use migrating::MIGRATING;

/// The number of a commit: every commit has a greater one than those before it. Zero: before the first.
pub type Index = u64;

/// The first byte of keys under which a backend stages a state that is to replace everything. Nothing else writes such
/// keys.
pub const STAGED: u8 = 0xff;

/// A value and the index of the commit that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The index of the commit that wrote the value.
    pub modified: Index,
    /// The value as stored.
    pub value: Bytes,
}

/// Reasons why the store could not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's medium failed, with what it said.
    #[error("storage failed: {0}")]
    Failed(String),
    /// The stored data is not what was written: where, and what was found.
    #[error("storage is corrupt: {0}")]
    Corrupt(String),
    /// The store has been shut down.
    #[error("storage is closed")]
    Closed,
}

/// Reasons why a commit was not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// Something the commit relied on has changed; nothing was written. Read again and try again.
    #[error("what was read has changed since")]
    Conflict,
    /// This node may not write; nothing was written. The leader's address, where known.
    #[error("this node is not the leader")]
    NotLeader {
        /// The address at which the leader serves clients, if there is one and it is known here.
        leader: Option<String>,
    },
    /// The disk is full; nothing was written, and writes are refused until there is room.
    #[error("no space left for storage")]
    NoSpace,
    /// The commit is larger than the store accepts; nothing was written.
    #[error("a request's writes of {size} bytes exceed the limit of {limit} bytes")]
    TooLarge {
        /// Bytes of the keys and values of this commit.
        size: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// It is not known whether the commit took effect: leadership was lost or the store closed while it waited.
    #[error("the outcome of the write is not known: {0}")]
    Uncertain(String),
    /// The store failed before the commit was handed over; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A consistent view of the whole map at one index.
#[async_trait]
pub trait Snapshot: Send + Sync {
    /// The last commit that this snapshot shows.
    fn index(&self) -> Index;

    /// The value at a key, if there is one.
    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// Up to `limit` entries of a range in key order.
    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError>;
}

/// An observer of commits: it receives every index that a snapshot can show, in order, after it can be read and before
/// those that wait for it hear of it.
pub trait Observer: Send + Sync {
    /// `index` has been applied and wrote or deleted `keys`; none where every commit at this index lost to another, or
    /// where the store itself needed an index. Must be quick: commits wait for it.
    fn applied(&self, index: Index, keys: &[&[u8]]);

    /// Another state is about to take the place of everything: told before any of it can be read.
    fn replacing(&self) {}

    /// Everything may have changed (a snapshot was installed); `index` is the newest commit.
    fn replaced(&self, index: Index);

    /// Other nodes have committed up to `index`, and which keys is not known here: what is known of any may be old.
    fn outdated(&self, index: Index) {
        self.replaced(index);
    }
}

/// An ordered, transactional, durable map. One implementation a backend; all pass [`conformance`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest commit that reads on this node can see. Never goes back.
    fn applied(&self) -> Index;

    /// A view at [`Store::applied`] or newer.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Applies a commit whole or not at all, and returns its index once it is durable (on a majority, where there
    /// is one) and visible to reads here. Commits of concurrent callers may share a log entry and a sync.
    async fn commit(&self, commit: Commit) -> Result<Index, CommitError>;

    /// Makes the store ready for its first commit: called once, by who initializes the server. A store that others
    /// may take into their cluster instead does not decide so by itself.
    async fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Registers an observer of commits from now on.
    fn observe(&self, observer: Arc<dyn Observer>);

    /// Finishes what is acknowledged and releases the medium; later calls answer [`StoreError::Closed`].
    async fn close(&self);

    /// The name of the backend in `sys/seal-status` (`storage_type`).
    fn kind(&self) -> &'static str;
}
