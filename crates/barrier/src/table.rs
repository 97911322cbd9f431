//! Tables: which keys hold which type, in which space.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_storage::KeyRange;

use crate::key::TableKey;
use crate::space::{Admits, OfMount, Owner, Server, Space};
use crate::view::{FullKey, FullRange};
use crate::{BarrierError, MountTxn, NamespaceId, Reads, Stored, Txn};

/// Keys fetched at a time while listing the children of a path.
const PAGE: usize = 256;

/// A part of a space that maps keys of one type to values of one type. Define tables with [`tables!`](crate::tables),
/// which keeps their numbers apart.
pub struct Table<S, K: ?Sized, V> {
    id: TableId,
    types: PhantomData<fn(S, &K) -> V>,
}

/// A table's description for the registry of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId {
    /// The first byte of its keys.
    pub space: u8,
    /// The byte that tells it apart within its space (and its mount).
    pub number: u8,
    /// The name of its constant.
    pub name: &'static str,
    /// Its type as written.
    pub form: &'static str,
}

/// Defines tables as constants, and `TABLES`, the list of them. A table's number is its own for ever: two of one list
/// with the same number do not compile.
#[macro_export]
macro_rules! tables {
    ($($(#[$doc:meta])* $vis:vis $name:ident: $table:ty = $number:literal;)+) => {
        $($(#[$doc])* $vis const $name: $table = <$table>::new($number, stringify!($name), stringify!($table));)+

        /// The tables defined here.
        pub(crate) const TABLES: &[$crate::TableId] = &[$($name.id()),+];

        const _: () = $crate::assert_distinct(&[TABLES]);
    };
}

/// Fails to compile where two tables have the same number. Numbers of replicated and local tables of one owner are kept
/// apart too: a mount that is local has all of them in one space.
///
/// # Panics
///
/// Where two tables have the same number: at compile time, as `tables!` uses it.
pub const fn assert_distinct(lists: &[&[TableId]]) {
    let mut seen = [false; 256];
    let mut rest = lists;
    while let [list, others @ ..] = rest {
        let mut tables = *list;
        while let [table, further @ ..] = tables {
            #[allow(clippy::indexing_slicing, reason = "a byte is below 256, and this runs at compile time")]
            {
                assert!(!seen[table.number as usize], "two tables have the same number");
                seen[table.number as usize] = true;
            }
            tables = further;
        }
        rest = others;
    }
}

impl<S: Space + Admits<K::Realm>, K: TableKey + ?Sized, V: Stored> Table<S, K, V> {
    /// The table with this number; [`tables!`](crate::tables) calls it.
    pub const fn new(number: u8, name: &'static str, form: &'static str) -> Self {
        Self { id: TableId { space: S::BYTE, number, name, form }, types: PhantomData }
    }

    /// Its description.
    pub const fn id(&self) -> TableId {
        self.id
    }

    /// The beginning of all keys of a namespace, or of a mount.
    fn head(&self, place: Place<S>, namespace: NamespaceId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(80);
        S::begin(&mut bytes, place, namespace);
        bytes.push(self.id.number);
        bytes
    }

    fn key<Q: TableKey<Realm = K::Realm> + ?Sized>(&self, place: Place<S>, key: &Q) -> FullKey {
        let mut bytes = self.head(place, key.namespace());
        key.encode(&mut bytes);
        FullKey(bytes)
    }

    /// The value at `key`.
    pub async fn get<Q>(&self, reads: &impl Reads<S::Owner>, key: &Q) -> Result<Option<Arc<V>>, BarrierError>
    where
        Q: TableKey<Owned = K::Owned, Realm = K::Realm> + ?Sized + Sync,
    {
        reads.read(self.key(reads.place(), key)).await
    }

    /// Writes `value` at `key`.
    pub fn put<Q>(&self, txn: &impl Writes<S::Owner>, key: &Q, value: V) -> Result<(), BarrierError>
    where
        Q: TableKey<Owned = K::Owned, Realm = K::Realm> + ?Sized,
    {
        txn.write(self.key(txn.place(), key), value)
    }

    /// Deletes `key`; nothing happens if it is not there.
    pub fn delete<Q>(&self, txn: &impl Writes<S::Owner>, key: &Q)
    where
        Q: TableKey<Owned = K::Owned, Realm = K::Realm> + ?Sized,
    {
        txn.remove(self.key(txn.place(), key));
    }

    /// Up to `limit` entries whose encoded keys begin with `prefix`'s encoding and lie after `after`.
    pub async fn scan<P: TableKey<Realm = K::Realm> + ?Sized>(
        &self,
        reads: &impl Reads<S::Owner>,
        prefix: &P,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K::Owned, Arc<V>)>, BarrierError> {
        let range = self.range(reads.place(), prefix, after);
        self.entries_in(reads, prefix.namespace(), range, limit).await
    }

    async fn entries_in(
        &self,
        reads: &impl Reads<S::Owner>,
        namespace: NamespaceId,
        range: KeyRange,
        limit: usize,
    ) -> Result<Vec<(K::Owned, Arc<V>)>, BarrierError> {
        let found = reads.read_range(FullRange(range), limit).await?;
        let decode = |key: &Bytes| self.decode_key(reads.place(), namespace, key);
        found.into_iter().map(|(key, value)| Ok((decode(&key)?, value))).collect()
    }

    /// As [`Table::scan`], after a key as scans return it.
    pub async fn scan_after<P, Q>(
        &self,
        reads: &impl Reads<S::Owner>,
        prefix: &P,
        after: Option<&Q>,
        limit: usize,
    ) -> Result<Vec<(K::Owned, Arc<V>)>, BarrierError>
    where
        P: TableKey<Realm = K::Realm> + ?Sized,
        Q: TableKey<Owned = K::Owned, Realm = K::Realm> + ?Sized,
    {
        let place = reads.place();
        let range = self.range(place, prefix, None);
        let range = after.map_or(range.clone(), |after| range.after(&self.key(place, after).0));
        self.entries_in(reads, prefix.namespace(), range, limit).await
    }

    /// As [`Table::scan`], the keys only: values are not opened.
    pub async fn keys<P: TableKey<Realm = K::Realm> + ?Sized>(
        &self,
        reads: &impl Reads<S::Owner>,
        prefix: &P,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<K::Owned>, BarrierError> {
        let range = self.range(reads.place(), prefix, after);
        self.keys_in(reads, prefix.namespace(), range, limit).await
    }

    /// As [`Table::keys`], from after a key on.
    pub async fn keys_after<P, Q>(
        &self,
        reads: &impl Reads<S::Owner>,
        prefix: &P,
        after: &Q,
        limit: usize,
    ) -> Result<Vec<K::Owned>, BarrierError>
    where
        P: TableKey<Realm = K::Realm> + ?Sized,
        Q: TableKey<Owned = K::Owned, Realm = K::Realm> + ?Sized,
    {
        let place = reads.place();
        let range = self.range(place, prefix, None).after(&self.key(place, after).0);
        self.keys_in(reads, prefix.namespace(), range, limit).await
    }

    async fn keys_in(
        &self,
        reads: &impl Reads<S::Owner>,
        namespace: NamespaceId,
        range: KeyRange,
        limit: usize,
    ) -> Result<Vec<K::Owned>, BarrierError> {
        let found = reads.read_keys(FullRange(range), limit).await?;
        found.iter().map(|key| self.decode_key(reads.place(), namespace, key)).collect()
    }

    /// The names directly under a path (`""`, or ending in `/`), with which `prefix` ends: keys as they are, deeper ones
    /// once as `name/`; those after `after`, at most `limit`. Skips over what lies below a folder, however much it is.
    pub async fn children<P: TableKey<Realm = K::Realm> + ?Sized>(
        &self,
        reads: &impl Reads<S::Owner>,
        prefix: &P,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let head = self.key(reads.place(), prefix).0;
        children(reads, &head, after, limit).await
    }

    fn decode_key(
        &self,
        place: Place<S>,
        namespace: NamespaceId,
        key: &Bytes,
    ) -> Result<K::Owned, BarrierError> {
        let own = key.get(self.head(place, namespace).len()..);
        own.and_then(|own| K::decode(namespace, own)).ok_or_else(|| unreadable(key))
    }

    fn range<P>(&self, place: Place<S>, prefix: &P, after: Option<&K>) -> KeyRange
    where
        P: TableKey<Realm = K::Realm> + ?Sized,
    {
        let range = KeyRange::prefix(&self.key(place, prefix).0);
        match after {
            Some(after) => range.after(&self.key(place, after).0),
            None => range,
        }
    }
}

type Place<S> = <<S as Space>::Owner as Owner>::Place;

/// Writing, through a [`Txn`] or a [`MountTxn`]. Tables are written with it; nobody else can call these methods.
pub trait Writes<O: Owner = Server>: Reads<O> {
    /// Writes a value.
    fn write<V: Stored>(&self, key: FullKey, value: V) -> Result<(), BarrierError>;

    /// Deletes an entry.
    fn remove(&self, key: FullKey);
}

impl Writes<Server> for Txn {
    fn write<V: Stored>(&self, key: FullKey, value: V) -> Result<(), BarrierError> {
        self.put(key.0, value)
    }

    fn remove(&self, key: FullKey) {
        self.delete(key.0);
    }
}

impl Writes<OfMount> for MountTxn {
    fn write<V: Stored>(&self, key: FullKey, value: V) -> Result<(), BarrierError> {
        self.whole().put(key.0, value)
    }

    fn remove(&self, key: FullKey) {
        self.whole().delete(key.0);
    }
}

fn unreadable(key: &[u8]) -> BarrierError {
    BarrierError::Malformed(crate::key::describe(key), "key of another form".to_owned())
}

/// The names that follow `head` up to the next slash.
async fn children<O: Owner>(
    reads: &impl Reads<O>,
    head: &[u8],
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, BarrierError> {
    let whole = KeyRange::prefix(head);
    let mut names: Vec<String> = Vec::new();
    let mut range = match after {
        Some(after) => past_name(&whole, &[head, after.as_bytes()].concat()),
        None => whole.clone(),
    };
    while names.len() < limit && !range.is_empty() {
        let page = reads.read_keys(FullRange(range.clone()), PAGE).await?;
        let full_page = page.len() == PAGE;
        let Some(next) = take_page(&page, head.len(), limit, &whole, &mut names)? else { break };
        if !full_page && !names.last().is_some_and(|name| name.ends_with('/')) {
            break;
        }
        range = next;
    }
    Ok(names)
}

/// Adds the names in `page`; returns where to read on, `None` when there was nothing.
fn take_page(
    page: &[Bytes],
    prefix_len: usize,
    limit: usize,
    whole: &KeyRange,
    names: &mut Vec<String>,
) -> Result<Option<KeyRange>, BarrierError> {
    let mut next = None;
    for key in page {
        let name = key.get(prefix_len..).and_then(|name| std::str::from_utf8(name).ok());
        let name = name.ok_or_else(|| unreadable(key))?;
        let (name, folder) = match name.split_once('/') {
            Some((folder, _)) => (format!("{folder}/"), true),
            None => (name.to_owned(), false),
        };
        if names.last() == Some(&name) {
            continue;
        }
        if names.len() == limit {
            break;
        }
        let mut at = key.get(..prefix_len).unwrap_or_default().to_vec();
        at.extend_from_slice(name.as_bytes());
        next = Some(if folder { past_name(whole, &at) } else { whole.after(key) });
        names.push(name);
    }
    Ok(next)
}

/// The part of `whole` that follows `key`, and all that lies below it when it is a folder.
fn past_name(whole: &KeyRange, key: &[u8]) -> KeyRange {
    if key.last() == Some(&b'/') {
        let start = KeyRange::prefix(key).end.unwrap_or_default();
        KeyRange { start, end: whole.end.clone() }
    } else {
        whole.after(key)
    }
}
