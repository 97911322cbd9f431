//! Views: reads at one commit index.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use strongroom_storage::{Index, KeyRange, Snapshot, Versioned};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::cache::{Entry, Opened};
use crate::codec::{self, Stored};
use crate::space::{MountPlace, OfMount, Owner, Server};
use crate::{Barrier, BarrierError, KeyringError, MountId, TableId};

/// An entry found by a scan.
pub type Found<V> = (Bytes, Arc<V>);

/// A storage key that a table has made: nobody else can make one, so nobody else can read or write by it.
pub struct FullKey(pub(crate) Vec<u8>);

/// A range of storage keys that a table has made.
pub struct FullRange(pub(crate) KeyRange);

/// A consistent read view of the server's own tables: everything it shows was true at one commit index. Cheap to clone; clones share it.
///
/// It begins without a snapshot, at the newest index, and answers from the cache what it can. The first entry that
/// is not there opens a snapshot, which may be newer; then what was read so far must not have changed in between,
/// or the read answers [`BarrierError::Conflict`] and the request starts again on [`Barrier::pinned_view`].
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
}

struct Shared {
    barrier: Arc<Barrier>,
    snapshot: OnceCell<Box<dyn Snapshot>>,
    progress: Mutex<Progress>,
}

struct Progress {
    index: Index,
    /// Full keys read from the cache, until a snapshot is open.
    read: Vec<Box<[u8]>>,
    /// Tables of which something that is derived from them was used, until a snapshot is open.
    tables: Vec<(MountId, &'static [TableId])>,
    /// True if the snapshot is open, be it that its place is still to be filled.
    pinned: bool,
}

impl Progress {
    /// True if the view has shown nothing yet, so that it may as well be of a later moment.
    fn is_fresh(&self) -> bool {
        !self.pinned && self.read.is_empty() && self.tables.is_empty()
    }
}

/// A view's statement about tables that something is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ground {
    /// The commit index that the view shows.
    pub index: Index,
    /// The newest commit that may have touched one of the tables, be it newer than the view.
    pub touched: Index,
}

impl View {
    pub(crate) fn lazy(barrier: Arc<Barrier>) -> Self {
        let progress = Mutex::new(Progress {
            index: barrier.applied(),
            read: Vec::new(),
            tables: Vec::new(),
            pinned: false,
        });
        let shared = Shared { barrier, snapshot: OnceCell::new(), progress };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) async fn pinned(barrier: Arc<Barrier>) -> Result<Self, BarrierError> {
        let view = Self::lazy(barrier);
        view.snapshot().await?;
        Ok(view)
    }

    /// The same view as one mount has it.
    pub fn mount(&self, place: MountPlace) -> MountView {
        MountView { view: self.clone(), place }
    }

    /// The number with which the first key of a mount's table begins: for tables in order of time.
    pub async fn first_second(&self, place: MountPlace, table: TableId) -> Result<Option<u64>, BarrierError> {
        let mut first = None;
        for mut prefix in place.prefixes() {
            prefix.push(table.number);
            let found = self.read_keys(FullRange(KeyRange::prefix(&prefix)), 1).await?;
            let number = found.first().and_then(|key| key.get(prefix.len()..)?.first_chunk::<8>());
            let number = number.map(|bytes| u64::from_be_bytes(*bytes));
            first = match (first, number) {
                (Some(one), Some(other)) => Some(std::cmp::min(one, other)),
                (one, other) => one.or(other),
            };
        }
        Ok(first)
    }

    /// The commit index that the view shows.
    pub fn index(&self) -> Index {
        self.shared.snapshot.get().map_or_else(|| self.progress().index, |snapshot| snapshot.index())
    }

    pub(crate) fn barrier(&self) -> &Arc<Barrier> {
        &self.shared.barrier
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot, opened now if need be; what was read before must still hold in it.
    pub(crate) async fn snapshot(&self) -> Result<&dyn Snapshot, BarrierError> {
        let snapshot = self.shared.snapshot.get_or_try_init(|| self.open_snapshot()).await?;
        Ok(snapshot.as_ref())
    }

    async fn open_snapshot(&self) -> Result<Box<dyn Snapshot>, BarrierError> {
        let barrier = &self.shared.barrier;
        let snapshot = barrier.store().snapshot().await?;
        // The slots tell of every commit that the snapshot shows only once the cache has heard of it.
        barrier.caught_up_to(snapshot.index()).await;
        let mut progress = self.progress();
        let since = progress.index;
        let changed = |key: &[u8]| barrier.cache.slot(key).load(std::sync::atomic::Ordering::SeqCst) > since;
        let touched = |(mount, tables): &(MountId, &[TableId])| barrier.marks.newest(*mount, tables) > since;
        if progress.read.iter().any(|key| changed(key)) || progress.tables.iter().any(touched) {
            return Err(BarrierError::Conflict);
        }
        progress.read = Vec::new();
        progress.tables = Vec::new();
        progress.pinned = true;
        progress.index = snapshot.index();
        Ok(snapshot)
    }

    /// Counts a mount's tables among what has been read: from here on the view shows them as of one index.
    fn ground(&self, mount: MountId, tables: &'static [TableId]) -> Ground {
        let barrier = &self.shared.barrier;
        let index = if let Some(snapshot) = self.shared.snapshot.get() {
            snapshot.index()
        } else {
            let mut progress = self.progress();
            if progress.is_fresh() {
                progress.index = barrier.applied();
            }
            progress.tables.push((mount, tables));
            progress.index
        };
        Ground { index, touched: barrier.marks.newest(mount, tables) }
    }

    /// The entry at a full key as the cache has it, if that is what this view must show.
    fn cached(&self, key: &[u8]) -> Option<Entry> {
        let entry = self.shared.barrier.cache.get(key)?;
        if let Some(snapshot) = self.shared.snapshot.get() {
            return (entry.modified <= snapshot.index()).then_some(entry);
        }
        let mut progress = self.progress();
        if entry.modified > progress.index {
            if !progress.is_fresh() {
                return None;
            }
            progress.index = self.shared.barrier.applied().max(entry.modified);
        }
        progress.read.push(key.into());
        Some(entry)
    }

    /// The decoded entry at a full key with the index that wrote it (zero: absent).
    pub(crate) async fn entry<V: Stored>(&self, key: &[u8]) -> Result<(Option<Arc<V>>, Index), BarrierError> {
        let barrier = &self.shared.barrier;
        if let Some(entry) = self.cached(key) {
            if barrier.is_sealed() {
                return Err(BarrierError::Sealed);
            }
            match entry.value.map(Arc::downcast::<V>) {
                None => return Ok((None, 0)),
                Some(Ok(value)) => return Ok((Some(value), entry.modified)),
                // Held as another type: two tables share a key, which the table definitions must not do.
                Some(Err(_other)) => {
                    return Err(BarrierError::Malformed(
                        crate::key::describe(key),
                        "of another table".to_owned(),
                    ));
                }
            }
        }
        let snapshot = self.snapshot().await?;
        let found = snapshot.get(key).await?;
        let weight = found.as_ref().map_or(0, |found| found.value.len());
        let (value, modified) = match found {
            Some(found) => (Some(Arc::new(self.open::<V>(key, &found).await?)), found.modified),
            None => (None, 0),
        };
        let opened: Opened = value.clone().map(|value| value as Arc<dyn std::any::Any + Send + Sync>);
        // An absent key may have been there before this snapshot, so older views must look for themselves.
        let since = if value.is_some() { modified } else { snapshot.index() };
        barrier
            .cache
            .insert(key, Entry { value: opened, modified: since, seen_at: snapshot.index(), weight });
        if barrier.is_sealed() {
            // Sealing may have emptied the cache just before the insertion.
            barrier.cache.clear();
            return Err(BarrierError::Sealed);
        }
        Ok((value, modified))
    }

    async fn open<V: Stored>(&self, key: &[u8], found: &Versioned) -> Result<V, BarrierError> {
        codec::decode(key, &self.open_plain(key, found).await?)
    }

    /// The bytes of an entry, whatever they encode.
    pub(crate) async fn open_plain(
        &self,
        key: &[u8],
        found: &Versioned,
    ) -> Result<Zeroizing<Vec<u8>>, BarrierError> {
        let barrier = &self.shared.barrier;
        let mut opened = barrier.keyring()?.open(key, &found.value);
        if let Err(KeyringError::UnknownTerm(_)) = opened {
            opened = barrier.newer_keys().await?.open(key, &found.value);
        }
        opened.map_err(|_unopenable| BarrierError::Tampered(crate::key::describe(key)))
    }
}

/// Reading, through a view or a transaction of the server ([`View`], [`Txn`](crate::Txn)) or of a mount ([`MountView`],
/// [`MountTxn`](crate::MountTxn)). Tables are read with it; nobody else can call these methods.
pub trait Reads<O: Owner = Server>: Sync {
    /// The part of keys that is known before the table is.
    fn place(&self) -> O::Place;

    /// The decoded entry at `key`.
    fn read<V: Stored>(
        &self,
        key: FullKey,
    ) -> impl Future<Output = Result<Option<Arc<V>>, BarrierError>> + Send;

    /// Up to `limit` entries of `range`, decoded.
    fn read_range<V: Stored>(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Found<V>>, BarrierError>> + Send;

    /// Up to `limit` keys of `range`, in order, without opening their values.
    fn read_keys(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Bytes>, BarrierError>> + Send;
}

/// Reading a mount's tables: [`Reads`] for engines.
pub trait MountReads: Reads<OfMount> {}

impl<R: Reads<OfMount>> MountReads for R {}

impl Reads<Server> for View {
    fn place(&self) {}

    async fn read<V: Stored>(&self, key: FullKey) -> Result<Option<Arc<V>>, BarrierError> {
        Ok(self.entry(&key.0).await?.0)
    }

    async fn read_range<V: Stored>(
        &self,
        range: FullRange,
        limit: usize,
    ) -> Result<Vec<Found<V>>, BarrierError> {
        let found = self.snapshot().await?.scan(&range.0, limit).await?;
        let mut entries = Vec::with_capacity(found.len());
        for (key, entry) in found {
            let value = Arc::new(self.open(&key, &entry).await?);
            entries.push((key, value));
        }
        Ok(entries)
    }

    async fn read_keys(&self, range: FullRange, limit: usize) -> Result<Vec<Bytes>, BarrierError> {
        if self.shared.barrier.is_sealed() {
            return Err(BarrierError::Sealed);
        }
        let found = self.snapshot().await?.scan(&range.0, limit).await?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }
}

/// A view as one mount has it: its engine reads the mount's own tables and nothing else.
#[derive(Clone)]
pub struct MountView {
    view: View,
    place: MountPlace,
}

impl MountView {
    /// The commit index that the view shows.
    pub fn index(&self) -> Index {
        self.view.index()
    }

    /// The ground of what is derived from whole tables of the mount. The view counts them as read: if they change before
    /// it has a snapshot, it conflicts.
    pub fn ground(&self, tables: &'static [TableId]) -> Ground {
        self.view.ground(self.place.mount, tables)
    }
}

impl Reads<OfMount> for MountView {
    fn place(&self) -> MountPlace {
        self.place
    }

    fn read<V: Stored>(
        &self,
        key: FullKey,
    ) -> impl Future<Output = Result<Option<Arc<V>>, BarrierError>> + Send {
        self.view.read(key)
    }

    fn read_range<V: Stored>(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Found<V>>, BarrierError>> + Send {
        self.view.read_range(range, limit)
    }

    fn read_keys(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Bytes>, BarrierError>> + Send {
        self.view.read_keys(range, limit)
    }
}
