//! A transaction as data: what was read, what is to be written, and the rule that decides between them.

use bytes::Bytes;

use crate::{Index, StoreError};

/// All keys from `start` (inclusive) to `end` (exclusive; `None`: to the last key).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that may be in the range.
    pub start: Vec<u8>,
    /// The first key after the range.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: prefix.to_vec(), end: following(prefix) }
    }

    /// The part of this range that lies after `key`.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> Self {
        let mut next = key.to_vec();
        next.push(0);
        Self { start: next.max(self.start.clone()), end: self.end.clone() }
    }

    /// True if the range holds no key at all.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// True if `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_slice() && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }
}

/// The first key after all that begin with `prefix`; `None` when there is none (empty or all `0xff`).
fn following(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// One key that was read, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointRead {
    /// The key.
    pub key: Bytes,
    /// The index of the commit that had written it; zero: it was not there.
    pub modified: Index,
}

/// A range that was read to its end, and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRead {
    /// The range.
    pub range: KeyRange,
    /// The number of entries it held.
    pub count: u64,
    /// The view's index: no entry of the range may be newer.
    pub seen_at: Index,
}

/// One key to be written (`Some`) or deleted (`None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

/// All that one request wants to do to the store, and on which grounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Keys read.
    pub points: Vec<PointRead>,
    /// Ranges read.
    pub ranges: Vec<RangeRead>,
    /// Keys to write; the last write to a key counts.
    pub writes: Vec<Write>,
}

impl Commit {
    /// Bytes of all keys and values in it.
    pub fn size(&self) -> usize {
        let points = self.points.iter().map(|read| read.key.len());
        let ranges = self.ranges.iter().map(|read| read.range.start.len());
        let writes = self
            .writes
            .iter()
            .map(|write| write.key.len().saturating_add(write.value.as_ref().map_or(0, Bytes::len)));
        points.chain(ranges).chain(writes).fold(0, usize::saturating_add)
    }
}

/// The state of a store that [`still_valid`] asks for.
pub trait Lookup {
    /// The index of the commit that wrote `key`; zero when it is not there.
    fn modified(&self, key: &[u8]) -> Result<Index, StoreError>;

    /// The number of entries in a range and the newest commit index among them, counting no further than `at_most`.
    fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError>;
}

/// True if all that a commit read is unchanged. Decided from the state alone, at the moment of applying, so that
/// every replica decides alike.
pub fn still_valid(commit: &Commit, state: &impl Lookup) -> Result<bool, StoreError> {
    for read in &commit.points {
        if state.modified(&read.key)? != read.modified {
            return Ok(false);
        }
    }
    for read in &commit.ranges {
        let (count, newest) = state.count_and_newest(&read.range, read.count.saturating_add(1))?;
        // A deletion lowers the count unless something was added, and what was added is newer.
        if count != read.count || newest > read.seen_at {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(KeyRange::prefix(b"ab").end, Some(b"ac".to_vec()));
        assert_eq!(KeyRange::prefix(&[1, 0xff, 0xff]).end, Some(vec![2]));
        assert_eq!(KeyRange::prefix(&[0xff]).end, None);
        assert!(KeyRange::prefix(b"ab").contains(b"ab\xff\xff"));
        assert!(!KeyRange::prefix(b"ab").contains(b"ac"));
    }

    #[test]
    fn after_never_widens_a_range() {
        let range = KeyRange::prefix(b"b");
        assert_eq!(range.after(b"a").start, b"b".to_vec());
        assert_eq!(range.after(b"bx").start, b"bx\0".to_vec());
        assert!(range.after(b"c").is_empty());
    }
}
