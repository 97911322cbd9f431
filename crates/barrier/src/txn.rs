//! Transactions: reads to decide on, and writes that are committed together if none of those reads has changed.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use strongroom_storage::{Commit, Index, KeyRange, PointRead, RangeRead, Versioned, Write};
use zeroize::Zeroizing;

use crate::codec::{self, Stored};
use crate::key::BOOTSTRAP_RECORD;
use crate::space::{BOOTSTRAP, CoreSpace, MountPlace, OfMount, Server, Space as _};
use crate::view::{Found, FullKey, FullRange};
use crate::{BarrierError, Emitted, Event, KeyringError, MountView, NamespaceId, Reads, TableId, View};

/// A view and the writes decided on it, for the server's own tables. Cheap to clone; clones share the writes. Its own
/// writes are seen by its reads.
///
/// [`Txn::commit`] applies all of it or, when anything it read has changed, nothing ([`BarrierError::Conflict`]).
#[derive(Clone)]
pub struct Txn {
    view: View,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Default)]
struct Pending {
    writes: BTreeMap<Vec<u8>, Option<Change>>,
    points: BTreeMap<Vec<u8>, Index>,
    ranges: Vec<RangeRead>,
    bootstrap: Vec<(Vec<u8>, Vec<u8>)>,
    events: Vec<Emitted>,
    on_commit: Vec<OnCommit>,
}

/// Run once a transaction is committed.
type OnCommit = Box<dyn FnOnce() + Send>;

impl Pending {
    /// The writes in a range, found at the cost of those alone: a transaction that ends many leases reads many ranges.
    fn within(&self, range: &KeyRange) -> impl Iterator<Item = (&Vec<u8>, &Option<Change>)> {
        // The map refuses a range that ends before it begins.
        let end = match &range.end {
            Some(end) => Bound::Excluded(end.as_slice().max(range.start.as_slice())),
            None => Bound::Unbounded,
        };
        self.writes.range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
    }
}

/// The storage key of a bootstrap entry.
pub fn bootstrap_key(name: &str) -> Vec<u8> {
    let mut key = vec![BOOTSTRAP];
    key.extend_from_slice(name.as_bytes());
    key
}

/// A value to be written, as bytes for the store and as itself for this transaction's own reads.
#[derive(Clone)]
struct Change {
    plain: Arc<Zeroizing<Vec<u8>>>,
    value: Arc<dyn Any + Send + Sync>,
}

/// A transaction's own change of a key.
enum Own<V> {
    Untouched,
    Deleted,
    Written(Arc<V>),
}

impl Txn {
    pub(crate) fn new(view: View) -> Self {
        Self { view, pending: Arc::default() }
    }

    /// The same transaction as one mount has it.
    pub fn mount(&self, place: MountPlace) -> MountTxn {
        MountTxn { txn: self.clone(), place }
    }

    /// The view that the transaction reads, without its writes; what is read from it is not checked at commit.
    pub fn peek(&self) -> &View {
        &self.view
    }

    /// True if there is anything to commit.
    pub fn is_empty(&self) -> bool {
        let pending = self.pending();
        pending.writes.is_empty() && pending.bootstrap.is_empty()
    }

    /// Publishes an event of the server itself when this is committed; it is created only if there is a subscriber. A
    /// transaction that writes nothing publishes nothing.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        self.emit_from(None, event);
    }

    fn emit_from(&self, origin: Option<MountPlace>, event: impl FnOnce() -> Event) {
        if self.view.barrier().events().is_some_and(|sink| sink.is_heard()) {
            let event = event();
            self.pending().events.push(Emitted { origin, event });
        }
    }

    /// Forgets every write and event made so far: what a request that ends in an error does.
    pub fn discard(&self) {
        let mut pending = self.pending();
        pending.writes.clear();
        pending.bootstrap.clear();
        pending.events.clear();
        pending.on_commit.clear();
    }

    /// Runs `act` once this is committed, on the node that commits: for a line in the log, which must not tell of what is
    /// then discarded or conflicts. It must be quick, and is not run if the process ends in between.
    pub fn on_commit(&self, act: impl FnOnce() + Send + 'static) {
        self.pending().on_commit.push(Box::new(act));
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put<V: Stored>(&self, key: Vec<u8>, value: V) -> Result<(), BarrierError> {
        let plain = Arc::new(codec::encode(&value)?);
        let change = Change { plain, value: Arc::new(value) };
        self.pending().writes.insert(key, Some(change));
        Ok(())
    }

    pub(crate) fn delete(&self, key: Vec<u8>) {
        self.pending().writes.insert(key, None);
    }

    /// Deletes up to `limit` entries of a mount, whatever table they are in; answers how many there were.
    pub async fn delete_of_mount(&self, place: MountPlace, limit: usize) -> Result<usize, BarrierError> {
        let mut deleted: usize = 0;
        for prefix in place.prefixes() {
            let left = limit.saturating_sub(deleted);
            deleted = deleted.saturating_add(self.delete_range(&KeyRange::prefix(&prefix), left).await?);
        }
        Ok(deleted)
    }

    /// Deletes up to `limit` entries of a namespace from the server's replicated tables, whatever table they are in; answers
    /// how many there were.
    pub async fn delete_of_namespace(
        &self,
        namespace: NamespaceId,
        limit: usize,
    ) -> Result<usize, BarrierError> {
        let mut prefix = Vec::with_capacity(5);
        CoreSpace::begin(&mut prefix, (), namespace);
        self.delete_range(&KeyRange::prefix(&prefix), limit).await
    }

    /// Deletes up to `limit` entries of a mount's table whose keys begin with `prefix`; answers how many there were.
    pub async fn delete_of_table(
        &self,
        place: MountPlace,
        table: TableId,
        prefix: &[u8],
        limit: usize,
    ) -> Result<usize, BarrierError> {
        let mut deleted: usize = 0;
        for mut start in place.prefixes() {
            start.push(table.number);
            start.extend_from_slice(prefix);
            let left = limit.saturating_sub(deleted);
            deleted = deleted.saturating_add(self.delete_range(&KeyRange::prefix(&start), left).await?);
        }
        Ok(deleted)
    }

    /// Copies entries of a mount to another place, whatever table they are in: those after the key `after`, up to `limit` of
    /// them, and no more once they have `max_bytes`. Answers the last key that was copied; `None` where there is nothing
    /// after `after`. This conflicts where one of them changes before it is committed.
    pub async fn copy_of_mount(
        &self,
        (from, to): (MountPlace, MountPlace),
        after: Option<&[u8]>,
        (limit, max_bytes): (usize, usize),
    ) -> Result<Option<Vec<u8>>, BarrierError> {
        let (mut last, mut count, mut bytes) = (None, 0usize, 0usize);
        for (from, to) in from.prefixes().into_iter().zip(to.prefixes()) {
            let whole = KeyRange::prefix(&from);
            let mut range = after.map_or_else(|| whole.clone(), |after| whole.after(after));
            while count < limit && bytes < max_bytes && !range.is_empty() {
                // One at a time: an entry may be large.
                let found = self.view.snapshot().await?.scan(&range, 1).await?;
                let Some((key, entry)) = found.into_iter().next() else { break };
                let target = [to.as_slice(), key.get(from.len()..).unwrap_or_default()].concat();
                self.put_copy(&key, &entry, target).await?;
                range = whole.after(&key);
                count = count.saturating_add(1);
                bytes = bytes.saturating_add(entry.value.len());
                last = Some(key.to_vec());
            }
        }
        Ok(last)
    }

    async fn put_copy(&self, key: &[u8], entry: &Versioned, target: Vec<u8>) -> Result<(), BarrierError> {
        let plain = self.view.open_plain(key, entry).await?;
        // Its type is not known here: what this transaction reads of it, it decodes.
        let change = Change { plain: Arc::new(plain), value: Arc::new(()) };
        let mut pending = self.pending();
        pending.points.insert(key.to_vec(), entry.modified);
        pending.writes.insert(target, Some(change));
        Ok(())
    }

    async fn delete_range(&self, range: &KeyRange, limit: usize) -> Result<usize, BarrierError> {
        if limit == 0 {
            return Ok(0);
        }
        let keys = self.merged_keys(range, limit).await?;
        let mut pending = self.pending();
        for key in &keys {
            pending.writes.insert(key.to_vec(), None);
        }
        Ok(keys.len())
    }

    /// An entry that the seal needs before there are keys, as it is.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where it cannot be read.
    pub async fn bootstrap(&self, name: &str) -> Result<Option<Vec<u8>>, BarrierError> {
        let key = bootstrap_key(name);
        if let Some((_, own)) = self.pending().bootstrap.iter().rfind(|(written, _)| *written == key) {
            return Ok(Some(own.clone()));
        }
        let found = self.view.snapshot().await?.get(&key).await?;
        let modified = found.as_ref().map_or(0, |found| found.modified);
        self.pending().points.entry(key).or_insert(modified);
        Ok(found.map(|found| found.value.to_vec()))
    }

    /// Writes an entry that the seal needs before there are keys: as it is, not sealed by the barrier.
    pub fn put_bootstrap(&self, name: &str, value: Vec<u8>) {
        self.pending().bootstrap.push((bootstrap_key(name), value));
    }

    /// The value that this transaction itself has written at a full key.
    fn own<V: Stored>(&self, key: &[u8]) -> Result<Own<V>, BarrierError> {
        let pending = self.pending();
        let Some(change) = pending.writes.get(key) else { return Ok(Own::Untouched) };
        match change {
            None => Ok(Own::Deleted),
            Some(change) => match change.value.clone().downcast() {
                Ok(value) => Ok(Own::Written(value)),
                Err(_other) => codec::decode(key, &change.plain).map(|value| Own::Written(Arc::new(value))),
            },
        }
    }

    /// The keys of `full` with this transaction's own writes worked in.
    async fn merged_keys(&self, full: &KeyRange, limit: usize) -> Result<Vec<Bytes>, BarrierError> {
        let deleted = self.pending().within(full).filter(|(_, change)| change.is_none()).count();
        let asked = limit.saturating_add(deleted);
        let found = self.view.snapshot().await?.scan(full, asked).await?;
        let mut pending = self.pending();
        if found.len() < asked {
            // Read to its end: a newcomer in the range must not go unnoticed.
            let count = u64::try_from(found.len()).unwrap_or(u64::MAX);
            pending.ranges.push(RangeRead { range: full.clone(), count, seen_at: self.view.index() });
        } else {
            for (key, entry) in &found {
                pending.points.insert(key.to_vec(), entry.modified);
            }
        }
        let mut keys: std::collections::BTreeSet<Bytes> = found.into_iter().map(|(key, _)| key).collect();
        for (key, change) in pending.within(full) {
            match change {
                Some(_) => keys.insert(Bytes::copy_from_slice(key)),
                None => keys.remove(key.as_slice()),
            };
        }
        Ok(keys.into_iter().take(limit).collect())
    }

    /// The reading of an entry that is always there. Another state may take the place of everything (a snapshot is
    /// restored), and who decided on nothing that was there would not notice, and would write what the other state's
    /// keys do not open.
    async fn bootstrap_record_read(&self) -> Result<PointRead, BarrierError> {
        let key = bootstrap_key(BOOTSTRAP_RECORD);
        let found = self.view.snapshot().await?.get(&key).await?;
        Ok(PointRead { key: key.into(), modified: found.map_or(0, |found| found.modified) })
    }

    /// Seals and commits everything written. Returns the commit's index; with nothing written, the view's.
    pub async fn commit(self) -> Result<Index, BarrierError> {
        let barrier = self.view.barrier().clone();
        let (writes, points, ranges, bootstrap, events, on_commit) = {
            let mut pending = self.pending();
            let pending = &mut *pending;
            (
                std::mem::take(&mut pending.writes),
                std::mem::take(&mut pending.points),
                std::mem::take(&mut pending.ranges),
                std::mem::take(&mut pending.bootstrap),
                std::mem::take(&mut pending.events),
                std::mem::take(&mut pending.on_commit),
            )
        };
        if writes.is_empty() && bootstrap.is_empty() {
            return Ok(self.view.index());
        }
        let mut commit = Commit { ranges, ..Commit::default() };
        commit
            .points
            .extend(points.into_iter().map(|(key, modified)| PointRead { key: key.into(), modified }));
        if !rests_on_something(&commit) {
            commit.points.push(self.bootstrap_record_read().await?);
        }
        // Looked at last: keys are gone before another state can be read.
        let keyring = barrier.keyring()?;
        for (key, value) in bootstrap {
            commit.writes.push(Write { key: key.into(), value: Some(value.into()) });
        }
        let plains: Vec<(&[u8], &[u8])> = writes
            .iter()
            .filter_map(|(key, change)| Some((key.as_slice(), change.as_ref()?.plain.as_slice())))
            .collect();
        let mut sealed = keyring.seal_all(barrier.entropy(), plains.into_iter())?.into_iter();
        for (key, change) in writes {
            // As many are sealed as there are changes, in the same order.
            let value = match change {
                Some(_) => Some(sealed.next().ok_or(KeyringError::Crypto)?.into()),
                None => None,
            };
            commit.writes.push(Write { key: key.into(), value });
        }
        let index = barrier.store().commit(commit).await?;
        if let Some(sink) = barrier.events().filter(|_| !events.is_empty()) {
            sink.publish(index, events);
        }
        for act in on_commit {
            act();
        }
        Ok(index)
    }
}

/// True if a commit read anything that was there.
fn rests_on_something(commit: &Commit) -> bool {
    commit.points.iter().any(|read| read.modified > 0) || commit.ranges.iter().any(|read| read.count > 0)
}

impl Reads<Server> for Txn {
    fn place(&self) {}

    async fn read<V: Stored>(&self, FullKey(full): FullKey) -> Result<Option<Arc<V>>, BarrierError> {
        match self.own(&full)? {
            Own::Untouched => {}
            Own::Deleted => return Ok(None),
            Own::Written(value) => return Ok(Some(value)),
        }
        let (value, modified) = self.view.entry(&full).await?;
        self.pending().points.entry(full).or_insert(modified);
        Ok(value)
    }

    async fn read_range<V: Stored>(
        &self,
        range: FullRange,
        limit: usize,
    ) -> Result<Vec<Found<V>>, BarrierError> {
        let mut entries = Vec::new();
        for key in self.merged_keys(&range.0, limit).await? {
            let value = match self.own(&key)? {
                Own::Untouched => self.view.entry(&key).await?.0,
                Own::Deleted => None,
                Own::Written(value) => Some(value),
            };
            if let Some(value) = value {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    async fn read_keys(&self, range: FullRange, limit: usize) -> Result<Vec<Bytes>, BarrierError> {
        self.merged_keys(&range.0, limit).await
    }
}

/// A transaction as one mount has it: its engine reads and writes the mount's own tables and nothing else, and does not
/// decide when it is committed.
#[derive(Clone)]
pub struct MountTxn {
    txn: Txn,
    place: MountPlace,
}

impl MountTxn {
    /// The view that the transaction reads, without its writes; what is read from it is not checked at commit.
    pub fn peek(&self) -> MountView {
        self.txn.view.mount(self.place)
    }

    /// Publishes an event when this is committed; it is created only if there is a subscriber. It is published on this node,
    /// at most once, and must hold nothing secret.
    pub fn emit(&self, event: impl FnOnce() -> Event) {
        self.txn.emit_from(Some(self.place), event);
    }

    pub(crate) fn whole(&self) -> &Txn {
        &self.txn
    }
}

impl Reads<OfMount> for MountTxn {
    fn place(&self) -> MountPlace {
        self.place
    }

    fn read<V: Stored>(
        &self,
        key: FullKey,
    ) -> impl Future<Output = Result<Option<Arc<V>>, BarrierError>> + Send {
        self.txn.read(key)
    }

    fn read_range<V: Stored>(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Found<V>>, BarrierError>> + Send {
        self.txn.read_range(range, limit)
    }

    fn read_keys(
        &self,
        range: FullRange,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Bytes>, BarrierError>> + Send {
        self.txn.read_keys(range, limit)
    }
}
