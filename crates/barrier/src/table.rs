//! Tables: which keys hold which type.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_storage::KeyRange;

use crate::key::TableKey;
use crate::{BarrierError, Reads, Stored, Txn};

/// Keys fetched at a time while listing the children of a path.
const PAGE: usize = 256;

/// A named part of a scope that maps keys of one type to values of one type. Define each as a `const`; the number
/// must be its own within the engine (or the core), and never change meaning once released.
pub struct Table<K: ?Sized, V> {
    number: u8,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: TableKey + ?Sized, V: Stored> Table<K, V> {
    /// The table with this number.
    pub const fn new(number: u8) -> Self {
        Self { number, types: PhantomData }
    }

    fn key<Q: TableKey<Owned = K::Owned> + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(self.number);
        key.encode(&mut bytes);
        bytes
    }

    fn decode_key(key: &[u8]) -> Result<K::Owned, BarrierError> {
        key.get(1..).and_then(K::decode).ok_or_else(|| {
            BarrierError::Malformed(crate::key::describe(key), "key of another form".to_owned())
        })
    }

    /// The value at `key`.
    pub async fn get<Q>(&self, reads: &impl Reads, key: &Q) -> Result<Option<Arc<V>>, BarrierError>
    where
        Q: TableKey<Owned = K::Owned> + ?Sized + Sync,
    {
        reads.read(&self.key(key)).await
    }

    /// Writes `value` at `key`.
    pub fn put<Q>(&self, txn: &Txn, key: &Q, value: V) -> Result<(), BarrierError>
    where
        Q: TableKey<Owned = K::Owned> + ?Sized,
    {
        txn.put(&self.key(key), value)
    }

    /// Deletes `key`; nothing happens if it is not there.
    pub fn delete<Q: TableKey<Owned = K::Owned> + ?Sized>(&self, txn: &Txn, key: &Q) {
        txn.delete(&self.key(key));
    }

    /// Up to `limit` entries whose encoded keys begin with `prefix`'s encoding and lie after `after`.
    pub async fn scan<P: TableKey + ?Sized>(
        &self,
        reads: &impl Reads,
        prefix: &P,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K::Owned, Arc<V>)>, BarrierError> {
        let found = reads.read_range(&self.range(prefix, after), limit).await?;
        found.into_iter().map(|(key, value)| Ok((Self::decode_key(&key)?, value))).collect()
    }

    /// As [`Table::scan`], the keys only: values are not opened.
    pub async fn keys<P: TableKey + ?Sized>(
        &self,
        reads: &impl Reads,
        prefix: &P,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<K::Owned>, BarrierError> {
        let found = reads.read_keys(&self.range(prefix, after), limit).await?;
        found.iter().map(|key| Self::decode_key(key)).collect()
    }

    /// As [`Table::keys`], from after a key on.
    pub async fn keys_after<P, Q>(
        &self,
        reads: &impl Reads,
        prefix: &P,
        after: &Q,
        limit: usize,
    ) -> Result<Vec<K::Owned>, BarrierError>
    where
        P: TableKey + ?Sized,
        Q: TableKey<Owned = K::Owned> + ?Sized,
    {
        let range = self.range(prefix, None).after(&self.key(after));
        reads.read_keys(&range, limit).await?.iter().map(|key| Self::decode_key(key)).collect()
    }

    fn range<P: TableKey + ?Sized>(&self, prefix: &P, after: Option<&K>) -> KeyRange {
        let mut start = vec![self.number];
        prefix.encode(&mut start);
        let range = KeyRange::prefix(&start);
        match after {
            Some(after) => range.after(&self.key(after)),
            None => range,
        }
    }
}

impl<V: Stored> Table<str, V> {
    /// The names directly under `path` (`""`, or ending in `/`): keys as they are, deeper ones once as `name/`;
    /// those after `after`, at most `limit`. Skips over what lies below a folder, however much it is.
    pub async fn children(
        &self,
        reads: &impl Reads,
        path: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let whole = self.range(path, None);
        let prefix_len = path.len().saturating_add(1);
        let mut names: Vec<String> = Vec::new();
        let mut range = match after {
            Some(after) => past_name(&whole, &self.key(format!("{path}{after}").as_str())),
            None => whole.clone(),
        };
        while names.len() < limit && !range.is_empty() {
            let page = reads.read_keys(&range, PAGE).await?;
            let full_page = page.len() == PAGE;
            let Some(next) = Self::take_page(&page, prefix_len, limit, &whole, &mut names)? else { break };
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
            let name = key.get(prefix_len..).and_then(str::decode).ok_or_else(|| {
                BarrierError::Malformed(crate::key::describe(key), "key of another form".to_owned())
            })?;
            let (name, folder) = match name.split_once('/') {
                Some((folder, _)) => (format!("{folder}/"), true),
                None => (name, false),
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
}

/// What follows `key` in `whole`, and all that lies below it when it is a folder.
fn past_name(whole: &KeyRange, key: &[u8]) -> KeyRange {
    if key.last() == Some(&b'/') {
        let start = KeyRange::prefix(key).end.unwrap_or_default();
        KeyRange { start, end: whole.end.clone() }
    } else {
        whole.after(key)
    }
}
