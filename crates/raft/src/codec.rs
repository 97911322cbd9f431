//! The compact binary form of a batch of commits and of the numbers and byte strings in it.
//!
//! Numbers are LEB128; byte strings carry their length before them. Decoding slices the input instead of copying.

use bytes::{Buf, Bytes};
use strongroom_storage::{Commit, KeyRange, PointRead, RangeRead, Write};

/// The error of decoding what [`put_batch`] and its kin did not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed record")]
pub(crate) struct Malformed;

/// Appends a number: seven bits a byte, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Bytes that [`put_number`] needs.
pub(crate) fn number_len(number: u64) -> usize {
    let bits = 64u32.saturating_sub(number.leading_zeros()).max(1);
    usize::try_from(bits.div_ceil(7)).unwrap_or(10)
}

/// Reads what [`put_number`] wrote.
pub(crate) fn take_number(input: &mut impl Buf) -> Result<u64, Malformed> {
    let mut number = 0u64;
    for place in 0..10u32 {
        if !input.has_remaining() {
            return Err(Malformed);
        }
        let byte = input.get_u8();
        let bits = u64::from(byte & 0x7f);
        let shift = place.saturating_mul(7);
        let placed = bits.checked_shl(shift).ok_or(Malformed)?;
        if placed.checked_shr(shift) != Some(bits) {
            return Err(Malformed);
        }
        number |= placed;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed)
}

fn len_as_number(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Appends a byte string.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, len_as_number(bytes.len()));
    out.extend_from_slice(bytes);
}

fn bytes_len(bytes: &[u8]) -> usize {
    number_len(len_as_number(bytes.len())).saturating_add(bytes.len())
}

fn take_len(input: &mut Bytes) -> Result<usize, Malformed> {
    usize::try_from(take_number(input)?).map_err(|_too_large| Malformed)
}

/// The next `len` bytes, shared with the input.
pub(crate) fn take(input: &mut Bytes, len: usize) -> Result<Bytes, Malformed> {
    if len > input.len() { Err(Malformed) } else { Ok(input.split_to(len)) }
}

/// Reads what [`put_bytes`] wrote, shared with the input.
pub(crate) fn take_bytes(input: &mut Bytes) -> Result<Bytes, Malformed> {
    let len = take_len(input)?;
    take(input, len)
}

/// Appends a batch of commits.
pub(crate) fn put_batch(out: &mut Vec<u8>, commits: &[Commit]) {
    put_number(out, len_as_number(commits.len()));
    for commit in commits {
        put_commit(out, commit);
    }
}

fn put_commit(out: &mut Vec<u8>, commit: &Commit) {
    put_number(out, len_as_number(commit.points.len()));
    for read in &commit.points {
        put_bytes(out, &read.key);
        put_number(out, read.modified);
    }
    put_number(out, len_as_number(commit.ranges.len()));
    for read in &commit.ranges {
        put_bytes(out, &read.range.start);
        match &read.range.end {
            Some(end) => {
                put_number(out, 1);
                put_bytes(out, end);
            }
            None => put_number(out, 0),
        }
        put_number(out, read.count);
        put_number(out, read.seen_at);
    }
    put_number(out, len_as_number(commit.writes.len()));
    for write in &commit.writes {
        put_bytes(out, &write.key);
        match &write.value {
            // One more than the length, so that zero is free to mean a deletion.
            Some(value) => {
                put_number(out, len_as_number(value.len()).saturating_add(1));
                out.extend_from_slice(value);
            }
            None => put_number(out, 0),
        }
    }
}

/// Bytes that one commit takes in a batch.
pub(crate) fn commit_len(commit: &Commit) -> usize {
    let count = |len: usize| number_len(len_as_number(len));
    let points =
        commit.points.iter().map(|read| bytes_len(&read.key).saturating_add(number_len(read.modified)));
    let ranges = commit.ranges.iter().map(|read| {
        let end = read.range.end.as_deref().map_or(0, bytes_len);
        let numbers = number_len(read.count).saturating_add(number_len(read.seen_at)).saturating_add(1);
        bytes_len(&read.range.start).saturating_add(end).saturating_add(numbers)
    });
    let writes = commit.writes.iter().map(|write| {
        let value = write.value.as_ref().map_or(1, |value| {
            number_len(len_as_number(value.len()).saturating_add(1)).saturating_add(value.len())
        });
        bytes_len(&write.key).saturating_add(value)
    });
    let counts = [count(commit.points.len()), count(commit.ranges.len()), count(commit.writes.len())];
    points.chain(ranges).chain(writes).chain(counts).fold(0, usize::saturating_add)
}

/// Bytes that a batch takes.
pub(crate) fn batch_len(commits: &[Commit]) -> usize {
    let count = number_len(len_as_number(commits.len()));
    commits.iter().map(commit_len).fold(count, usize::saturating_add)
}

/// Elements that memory is reserved for before they are read: an element takes more of it than of the input.
const RESERVED: usize = 1024;

/// A list whose length is read first; the length is not trusted for reserving memory.
fn take_list<T>(
    input: &mut Bytes,
    one: impl Fn(&mut Bytes) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = take_len(input)?;
    let mut list = Vec::with_capacity(count.min(input.len()).min(RESERVED));
    for _ in 0..count {
        list.push(one(input)?);
    }
    Ok(list)
}

/// Reads what [`put_batch`] wrote; keys and values share the input's memory.
pub(crate) fn take_batch(input: &mut Bytes) -> Result<Vec<Commit>, Malformed> {
    take_list(input, take_commit)
}

fn take_commit(input: &mut Bytes) -> Result<Commit, Malformed> {
    let points =
        take_list(input, |input| Ok(PointRead { key: take_bytes(input)?, modified: take_number(input)? }))?;
    let ranges = take_list(input, take_range)?;
    let writes = take_list(input, take_write)?;
    Ok(Commit { points, ranges, writes })
}

fn take_range(input: &mut Bytes) -> Result<RangeRead, Malformed> {
    let start = take_bytes(input)?.to_vec();
    let end = match take_number(input)? {
        0 => None,
        1 => Some(take_bytes(input)?.to_vec()),
        _ => return Err(Malformed),
    };
    Ok(RangeRead { range: KeyRange { start, end }, count: take_number(input)?, seen_at: take_number(input)? })
}

fn take_write(input: &mut Bytes) -> Result<Write, Malformed> {
    let key = take_bytes(input)?;
    let value = match take_len(input)?.checked_sub(1) {
        Some(len) => Some(take(input, len)?),
        None => None,
    };
    Ok(Write { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    prop_compose! {
        fn commit()(
            points in vec((bytes(), any::<u64>()), 0..4),
            ranges in vec((bytes(), proptest::option::of(bytes()), any::<u64>(), any::<u64>()), 0..4),
            writes in vec((bytes(), proptest::option::of(bytes())), 0..4),
        ) -> Commit {
            Commit {
                points: points.into_iter().map(|(key, modified)| PointRead { key, modified }).collect(),
                ranges: ranges.into_iter().map(|(start, end, count, seen_at)| RangeRead {
                    range: KeyRange { start: start.to_vec(), end: end.map(|end| end.to_vec()) }, count, seen_at,
                }).collect(),
                writes: writes.into_iter().map(|(key, value)| Write { key, value }).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(number: u64) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            prop_assert_eq!(out.len(), number_len(number));
            prop_assert_eq!(take_number(&mut Bytes::from(out)), Ok(number));
        }

        #[test]
        fn batches_survive(batch in vec(commit(), 0..5)) {
            let mut out = Vec::new();
            put_batch(&mut out, &batch);
            prop_assert_eq!(out.len(), batch_len(&batch));
            let mut input = Bytes::from(out);
            prop_assert_eq!(take_batch(&mut input), Ok(batch));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_panic(noise in vec(any::<u8>(), 0..300)) {
            let _ = take_batch(&mut Bytes::from(noise));
        }

        #[test]
        fn what_is_cut_short_is_refused(batch in vec(commit(), 1..3), cut in 1usize..50) {
            let mut out = Vec::new();
            put_batch(&mut out, &batch);
            let keep = out.len().saturating_sub(cut);
            out.truncate(keep);
            prop_assert_eq!(take_batch(&mut Bytes::from(out)), Err(Malformed));
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert_eq!(take_number(&mut Bytes::from(vec![0xff; 11])), Err(Malformed));
        let mut eleven = vec![0xff; 9];
        eleven.push(2);
        assert_eq!(take_number(&mut Bytes::from(eleven)), Err(Malformed));
    }
}
