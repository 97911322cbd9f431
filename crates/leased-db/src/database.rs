//! The interface of a database in which several nodes keep one store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_storage::{Active, Index, KeyRange, Snapshot, StoreError, Versioned};

/// The number of an owner of the lock, greater than those before it. Zero: no owner yet.
pub type Fence = u64;

/// The store's state besides its entries, kept in one place that every change of it goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The store's identity, made with it.
    pub cluster_id: String,
    /// The newest commit.
    pub index: Index,
    /// The owner of the lock that may write: the one with this number, and none before it.
    pub fence: Fence,
}

/// The outcome of asking for the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The lock is ours, under this number; the head has it too, so that who owned it before writes no more.
    Granted(Fence),
    /// Another owns it.
    Held(Active),
}

/// Changes to be applied together: what several commits write, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Applied only while the head's fence is this one.
    pub fence: Fence,
    /// Applied only while the head's index is this one.
    pub from: Index,
    /// The head's index afterwards.
    pub to: Index,
    /// Entries to put, each key once, and none that is deleted, too.
    pub puts: Vec<(Bytes, Versioned)>,
    /// Keys to delete, each once.
    pub deletes: Vec<Bytes>,
}

/// Reasons why a batch was not applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// The head is another than the batch was made for; nothing was written.
    #[error("another node has written")]
    Overtaken,
    /// The database refused; nothing was written.
    #[error("{0}")]
    Refused(String),
    /// The database has no space left; nothing was written.
    #[error("{0}")]
    NoSpace(String),
    /// The connection broke or timed out before the answer: the batch may have been applied, or may yet be.
    #[error("{0}")]
    Unknown(String),
}

/// The limits of one change of the database.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keys that a batch may put and delete.
    pub keys: usize,
    /// Bytes of keys and values that a batch may carry.
    pub bytes: usize,
}

/// A database with transactions, over the network, that several nodes use.
///
/// All of its changes are one conditional change each: a batch is applied if the head is as the batch says, and moves
/// the head on. So what a node decided on what it read counts only if nobody has written since, and a node whose lock
/// has gone to another cannot write, however late its words arrive.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// The head, as of now: what a later [`Database::apply`] compares with.
    async fn head(&self) -> Result<Head, StoreError>;

    /// A consistent view of all entries at one index.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// The indexes at which these keys were written, in the order asked; zero for those that are not there.
    async fn modified(&self, keys: &[Bytes]) -> Result<Vec<Index>, StoreError>;

    /// The number of entries in a range, counted no further than `at_most`, and the newest index among those counted.
    async fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError>;

    /// Applies a batch whole or not at all.
    async fn apply(&self, batch: &Batch) -> Result<(), ApplyError>;

    /// Asks for the lock, for `span` from now. Granted where nobody owns it, where its owner has not renewed it in
    /// time, where `me` owns it already, and, with `by_force`, in any case.
    async fn claim(&self, me: &Active, span: Duration, by_force: bool) -> Result<Claim, StoreError>;

    /// Keeps the lock for `span` from now; false where it is not ours any more.
    async fn renew(&self, fence: Fence, span: Duration) -> Result<bool, StoreError>;

    /// Gives the lock back, if it is still ours.
    async fn release(&self, fence: Fence) -> Result<(), StoreError>;

    /// The owner of the lock; `None` where there is none or its time is over.
    async fn holder(&self) -> Result<Option<Active>, StoreError>;

    /// The limits of one batch.
    fn limits(&self) -> Limits;

    /// The name of the backend (`storage_type`).
    fn kind(&self) -> &'static str;

    /// Ends the connections. Later calls fail.
    async fn close(&self);
}
