//! The places of entries: the recent ones in memory, the others in their files.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

use super::head::Head;
use super::record::{Record, take_record};
use super::segment::Reading;
use crate::codec::take_bytes;
use crate::types::{Entry, LogId};

/// The place at which an entry was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) log_id: LogId,
    pub(crate) segment: u64,
    /// The frame's offset in the file.
    pub(crate) frame: u64,
    /// The record's offset in the frame's payload.
    pub(crate) record: usize,
}

/// A file of the log.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) reading: Reading,
    /// The greatest index written to it, void or not.
    pub(crate) newest: Option<u64>,
}

/// All that is known of the log.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) head: Head,
    /// Entries that are durable, without gaps.
    pub(crate) places: VecDeque<Place>,
    /// The last entries, without gaps; those not yet durable among them.
    recent: VecDeque<(Entry, usize)>,
    recent_size: usize,
    pub(crate) files: BTreeMap<u64, Held>,
}

/// An entry that was asked for: as it is, or where to read it.
pub(crate) enum Found {
    Here(Entry),
    Stored(Place, Reading),
}

impl Index {
    /// An empty log.
    pub(crate) fn new(head: Head) -> Self {
        Self { head, ..Self::default() }
    }

    /// The last entry, or where the log was purged when there is none.
    pub(crate) fn last(&self) -> Option<LogId> {
        let recent = self.recent.back().map(|(entry, _)| entry.log_id);
        recent.or_else(|| self.places.back().map(|place| place.log_id)).or(self.head.purged)
    }

    /// The index of the first entry that is still there.
    pub(crate) fn first(&self) -> Option<u64> {
        let stored = self.places.front().map(|place| place.log_id.index);
        stored.or_else(|| self.recent.front().map(|(entry, _)| entry.log_id.index))
    }

    /// Adds an entry that is not durable yet.
    pub(crate) fn push(&mut self, entry: Entry, weight: usize) {
        self.recent_size = self.recent_size.saturating_add(weight);
        self.recent.push_back((entry, weight));
    }

    /// Adds what has become durable and forgets the oldest of the recent entries beyond `keep` bytes. Returns these, to
    /// be dropped when the index is free again.
    #[must_use = "it is to be dropped without the lock"]
    pub(crate) fn settle(&mut self, places: impl IntoIterator<Item = Place>, keep: usize) -> Vec<Entry> {
        for place in places {
            if let Some(held) = self.files.get_mut(&place.segment) {
                held.newest = held.newest.max(Some(place.log_id.index));
            }
            self.places.push_back(place);
        }
        let durable = self.places.back().map(|place| place.log_id.index);
        let mut left = self.recent_size;
        let oldest = self.recent.iter().take_while(|(entry, weight)| {
            let too_much = left > keep && Some(entry.log_id.index) <= durable;
            left = left.saturating_sub(if too_much { *weight } else { 0 });
            too_much
        });
        let count = oldest.count();
        self.recent_size = left;
        self.recent.drain(..count).map(|(entry, _)| entry).collect()
    }

    /// Forgets all entries from `index` on. Returns those that were in memory, to be dropped when the index is free
    /// again.
    #[must_use = "it is to be dropped without the lock"]
    pub(crate) fn void_from(&mut self, index: u64) -> VecDeque<(Entry, usize)> {
        while self.places.back().is_some_and(|place| place.log_id.index >= index) {
            self.places.pop_back();
        }
        let kept = self.recent.partition_point(|(entry, _)| entry.log_id.index < index);
        let void = self.recent.split_off(kept);
        let size = void.iter().map(|(_, weight)| *weight).fold(0, usize::saturating_add);
        self.recent_size = self.recent_size.saturating_sub(size);
        void
    }

    /// Forgets all entries up to and with `upto`. Returns those that were in memory, to be dropped when the index is
    /// free again.
    #[must_use = "it is to be dropped without the lock"]
    pub(crate) fn purge(&mut self, upto: LogId) -> Vec<Entry> {
        self.head.purged = Some(upto);
        while self.places.front().is_some_and(|place| place.log_id.index <= upto.index) {
            self.places.pop_front();
        }
        let count = self.recent.partition_point(|(entry, _)| entry.log_id.index <= upto.index);
        let purged = self.recent.drain(..count);
        let mut left = self.recent_size;
        let purged = purged.inspect(|(_, weight)| left = left.saturating_sub(*weight));
        let purged = purged.map(|(entry, _)| entry).collect();
        self.recent_size = left;
        purged
    }

    /// The entries of a range as far as they are there, no more than `limit` of them.
    pub(crate) fn find(&self, range: &impl RangeBounds<u64>, limit: usize) -> io::Result<Vec<Found>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let Some(first) = self.first() else { return Ok(Vec::new()) };
        let behind = self.last().map_or(0, |last| last.index.saturating_add(1));
        (start.max(first)..end.min(behind)).take(limit).map(|index| self.find_one(index)).collect()
    }

    fn find_one(&self, index: u64) -> io::Result<Found> {
        let gap = || io::Error::new(io::ErrorKind::InvalidData, format!("log entry {index} is missing"));
        let recent = self.recent.front().and_then(|(oldest, _)| index.checked_sub(oldest.log_id.index));
        if let Some(place) = recent {
            let (entry, _) =
                self.recent.get(usize::try_from(place).map_err(io::Error::other)?).ok_or_else(gap)?;
            return Ok(Found::Here(entry.clone()));
        }
        let stored = self.places.front().and_then(|oldest| index.checked_sub(oldest.log_id.index));
        let nth = usize::try_from(stored.ok_or_else(gap)?).map_err(io::Error::other)?;
        let place = self.places.get(nth).ok_or_else(gap)?;
        let held = self.files.get(&place.segment).ok_or_else(gap)?;
        Ok(Found::Stored(*place, held.reading.clone()))
    }
}

/// Reads what [`Index::find`] found, each frame once.
pub(crate) fn read_all(found: Vec<Found>) -> io::Result<Vec<Entry>> {
    let mut last: Option<(u64, u64, Bytes)> = None;
    let mut entries = Vec::with_capacity(found.len());
    for one in found {
        let (place, reading) = match one {
            Found::Here(entry) => {
                entries.push(entry);
                continue;
            }
            Found::Stored(place, reading) => (place, reading),
        };
        let payload = match &last {
            Some((segment, frame, payload)) if (*segment, *frame) == (place.segment, place.frame) => {
                payload.clone()
            }
            _ => reading.payload_at(place.frame)?,
        };
        last = Some((place.segment, place.frame, payload.clone()));
        entries.push(read_one(&payload, &place)?);
    }
    Ok(entries)
}

fn read_one(payload: &Bytes, place: &Place) -> io::Result<Entry> {
    let damaged = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("log entry {} is not where it was", place.log_id.index),
        )
    };
    let mut input = payload.get(place.record..).map(|rest| payload.slice_ref(rest)).ok_or_else(damaged)?;
    let record = take_bytes(&mut input).and_then(take_record).map_err(|_malformed| damaged())?;
    match record {
        Record::Entry(entry) if entry.log_id == place.log_id => Ok(entry),
        _ => Err(damaged()),
    }
}
