//! The layout of data in etcd.
//!
//! Below the configured path: `d/` and an entry's key, `head`, `fence` and `lock`. An entry's value begins with the
//! index of the commit that wrote it, eight bytes with the greatest first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use strongroom_leased_db::{Fence, Head};
use strongroom_storage::{Active, Index, KeyRange, StoreError, Versioned};

use crate::wire::{KeyValue, Number, Octets, RangeRequest, RangeResponse};

/// The version of the layout; a greater number is of a newer version of the program.
const FORMAT: u32 = 1;
/// The prefix of entries, below the path.
const ENTRIES: &[u8] = b"d/";
/// Bytes of an entry's index before its value.
const INDEX: usize = 8;

/// Names the keys below one path.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    prefix: Vec<u8>,
}

/// `head`: the newest commit. Written the same way every time, because it is compared byte by byte.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HeadRecord {
    format: u32,
    cluster_id: String,
    index: Index,
}

/// `lock`, which goes away with the lease it is put with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LockRecord {
    pub(crate) fence: Fence,
    pub(crate) holder: Active,
}

/// The lock as it stands in etcd.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) record: LockRecord,
    pub(crate) lease: Number,
    pub(crate) changed_at: Number,
}

/// All but the entries, at one of etcd's revisions.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) revision: Number,
    pub(crate) head: Head,
    pub(crate) lock: Option<Lock>,
}

impl Layout {
    pub(crate) fn new(path: &str) -> Self {
        Self { prefix: path.as_bytes().to_vec() }
    }

    pub(crate) fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    fn below(&self, name: &[u8]) -> Vec<u8> {
        [&*self.prefix, name].concat()
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        self.below(b"head")
    }

    pub(crate) fn fence(&self) -> Vec<u8> {
        self.below(b"fence")
    }

    pub(crate) fn lock(&self) -> Vec<u8> {
        self.below(b"lock")
    }

    pub(crate) fn entry(&self, key: &[u8]) -> Vec<u8> {
        [&*self.prefix, ENTRIES, key].concat()
    }

    /// Asks for the entries of a range that is not empty.
    pub(crate) fn entries(&self, range: &KeyRange) -> RangeRequest {
        let end = match &range.end {
            Some(end) => Some(self.entry(end)),
            None => KeyRange::prefix(&self.entry(b"")).end,
        };
        RangeRequest {
            key: Octets(self.entry(&range.start)),
            range_end: Octets(end.unwrap_or_default()),
            ..RangeRequest::default()
        }
    }

    /// Asks for everything below the path.
    pub(crate) fn everything(&self) -> RangeRequest {
        let end = KeyRange::prefix(&self.prefix).end.unwrap_or_default();
        RangeRequest { key: Octets(self.prefix.clone()), range_end: Octets(end), ..RangeRequest::default() }
    }

    /// Asks for all but the entries.
    pub(crate) fn state(&self) -> RangeRequest {
        let end = self.below(b"lock\0");
        RangeRequest { key: Octets(self.fence()), range_end: Octets(end), ..RangeRequest::default() }
    }

    /// Reads the answer to [`Layout::state`]; `None` where there is no store yet.
    pub(crate) fn read_state(&self, answer: &RangeResponse) -> Result<Option<State>, StoreError> {
        let find = |key: &[u8]| answer.kvs.iter().find(|kv| kv.key.0 == key);
        let (Some(head), Some(fence)) = (find(&self.head()), find(&self.fence())) else { return Ok(None) };
        let record: HeadRecord = self.parse("head", &head.value.0)?;
        if record.format != FORMAT {
            return Err(StoreError::Failed(format!(
                "{} in etcd was written by a newer version of this program (format {}, and this one reads {FORMAT})",
                self.shown(),
                record.format
            )));
        }
        let fence: Fence = self.parse("fence", &fence.value.0)?;
        let lock = match find(&self.lock()) {
            None => None,
            Some(kv) => Some(Lock {
                record: self.parse("lock", &kv.value.0)?,
                lease: kv.lease,
                changed_at: kv.mod_revision,
            }),
        };
        Ok(Some(State {
            revision: answer.header.revision,
            head: Head { cluster_id: record.cluster_id, index: record.index, fence },
            lock,
        }))
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, name: &str, value: &[u8]) -> Result<T, StoreError> {
        serde_json::from_slice(value)
            .map_err(|error| StoreError::Corrupt(format!("{}{name} in etcd: {error}", self.shown())))
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.prefix).into_owned()
    }

    /// An entry out of etcd's answer.
    pub(crate) fn read_entry(&self, kv: &KeyValue) -> Result<(Bytes, Versioned), StoreError> {
        let key = kv.key.0.strip_prefix(self.entry(b"").as_slice());
        let parts = key.zip(kv.value.0.split_first_chunk::<INDEX>());
        let (key, (index, value)) = parts.ok_or_else(|| {
            StoreError::Corrupt(format!("{} in etcd is not an entry", String::from_utf8_lossy(&kv.key.0)))
        })?;
        let modified = Index::from_be_bytes(*index);
        Ok((Bytes::copy_from_slice(key), Versioned { modified, value: Bytes::copy_from_slice(value) }))
    }
}

/// The value of `head`.
pub(crate) fn head_value(cluster_id: &str, index: Index) -> Result<Vec<u8>, StoreError> {
    write(&HeadRecord { format: FORMAT, cluster_id: cluster_id.to_owned(), index })
}

/// The value of `fence`.
pub(crate) fn fence_value(fence: Fence) -> Vec<u8> {
    fence.to_string().into_bytes()
}

/// The value of `lock`.
pub(crate) fn lock_value(record: &LockRecord) -> Result<Vec<u8>, StoreError> {
    write(record)
}

/// The value of an entry.
pub(crate) fn entry_value(entry: &Versioned) -> Vec<u8> {
    [&entry.modified.to_be_bytes(), &*entry.value].concat()
}

fn write(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &[u8]) -> KeyValue {
        KeyValue { key: Octets(key.into()), value: Octets(value.to_vec()), ..KeyValue::default() }
    }

    #[test]
    fn entries_are_below_the_path_and_the_rest_is_beside_them() {
        let layout = Layout::new("/vault/");
        let all = layout.entries(&KeyRange::prefix(b""));
        assert_eq!(
            (all.key.0.as_slice(), all.range_end.0.as_slice()),
            (&b"/vault/d/"[..], &b"/vault/d0"[..])
        );
        let some = layout.entries(&KeyRange::prefix(b"a\xff"));
        assert_eq!(some.range_end.0, b"/vault/d/b");
        for beside in [layout.head(), layout.fence(), layout.lock()] {
            assert!(beside > all.range_end.0);
            assert!(beside >= layout.state().key.0 && beside < layout.state().range_end.0);
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let layout = Layout::new("/v/");
        let entry = Versioned { modified: 7, value: Bytes::from_static(b"x") };
        let (key, read) = layout.read_entry(&kv("/v/d/a", &entry_value(&entry))).unwrap();
        assert_eq!((key.as_ref(), read), (&b"a"[..], entry));
        assert!(matches!(layout.read_entry(&kv("/v/d/a", b"short")), Err(StoreError::Corrupt(_))));
        assert!(matches!(layout.read_entry(&kv("/w/d/a", &[0; 9])), Err(StoreError::Corrupt(_))));
    }

    #[test]
    fn a_newer_format_is_refused_and_nonsense_is_corrupt() {
        let layout = Layout::new("/v/");
        let state = |head: &[u8]| {
            let kvs = vec![kv("/v/fence", b"3"), kv("/v/head", head)];
            layout.read_state(&RangeResponse { kvs, ..RangeResponse::default() })
        };
        let read = state(&head_value("c", 5).unwrap()).unwrap().unwrap();
        assert_eq!(read.head, Head { cluster_id: "c".to_owned(), index: 5, fence: 3 });
        let newer = state(br#"{"format":2,"cluster_id":"c","index":5}"#).unwrap_err().to_string();
        assert!(newer.contains("newer version"), "{newer}");
        assert!(matches!(state(b"nonsense"), Err(StoreError::Corrupt(_))));
        assert!(layout.read_state(&RangeResponse::default()).unwrap().is_none());
    }
}
