//! The records of the log: entries, and the voiding of entries that another leader's replace.

use std::io;

use bytes::{Buf, Bytes};
use openraft::EntryPayload;

use crate::batch::Batch;
use crate::codec::{Malformed, put_number, take_number};
use crate::types::{Command, Entry, LeaderId, LogId, Staging};

const VOID_FROM: u8 = 0;
const BLANK: u8 = 1;
const NORMAL: u8 = 2;
const MEMBERSHIP: u8 = 3;
const REPLACE: u8 = 4;

/// One record of the log.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    Entry(Entry),
    /// No entry from this index on counts, as far as written before this record.
    VoidFrom(u64),
}

/// Appends a log position.
pub(crate) fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    put_number(out, id.leader_id.term);
    put_number(out, id.leader_id.node_id);
    put_number(out, id.index);
}

/// Reads what [`put_log_id`] wrote.
pub(crate) fn take_log_id(input: &mut impl Buf) -> Result<LogId, Malformed> {
    let leader_id = LeaderId { term: take_number(input)?, node_id: take_number(input)? };
    Ok(LogId { leader_id, index: take_number(input)? })
}

/// Appends an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    let kind = match &entry.payload {
        EntryPayload::Blank => BLANK,
        EntryPayload::Normal(Command::Batch(_)) => NORMAL,
        EntryPayload::Normal(Command::Replace(_)) => REPLACE,
        EntryPayload::Membership(_) => MEMBERSHIP,
    };
    out.push(kind);
    put_log_id(out, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => {}
        EntryPayload::Normal(Command::Batch(batch)) => out.extend_from_slice(batch.encoded()),
        EntryPayload::Normal(Command::Replace(staging)) => {
            put_number(out, staging.id);
            put_number(out, staging.entries);
        }
        EntryPayload::Membership(membership) => {
            rmp_serde::encode::write_named(out, membership).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

/// Appends the voiding of all entries from `index` on.
pub(crate) fn put_void_from(out: &mut Vec<u8>, index: u64) {
    out.push(VOID_FROM);
    put_number(out, index);
}

/// Reads one record, which must be the whole input.
pub(crate) fn take_record(mut input: Bytes) -> Result<Record, Malformed> {
    if input.is_empty() {
        return Err(Malformed);
    }
    let kind = input.get_u8();
    if kind == VOID_FROM {
        let index = take_number(&mut input)?;
        return if input.is_empty() { Ok(Record::VoidFrom(index)) } else { Err(Malformed) };
    }
    let log_id = take_log_id(&mut input)?;
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Command::Batch(Batch::decode(std::mem::take(&mut input))?)),
        REPLACE => {
            let staging = Staging { id: take_number(&mut input)?, entries: take_number(&mut input)? };
            EntryPayload::Normal(Command::Replace(staging))
        }
        MEMBERSHIP => {
            let membership = rmp_serde::from_slice(&input).map_err(|_not_one| Malformed)?;
            input.clear();
            EntryPayload::Membership(membership)
        }
        _ => return Err(Malformed),
    };
    if input.is_empty() { Ok(Record::Entry(Entry { log_id, payload })) } else { Err(Malformed) }
}

/// About how many bytes an entry keeps in memory, at most: what was received shares that of its encoded form.
pub(crate) fn weight(entry: &Entry) -> usize {
    const OVERHEAD: usize = 200;
    match &entry.payload {
        EntryPayload::Normal(Command::Batch(batch)) => batch
            .commits()
            .iter()
            .map(|commit| commit.size().saturating_add(OVERHEAD))
            .fold(OVERHEAD.saturating_add(batch.encoded().len()), usize::saturating_add),
        EntryPayload::Normal(Command::Replace(_)) | EntryPayload::Blank | EntryPayload::Membership(_) => {
            OVERHEAD
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use strongroom_storage::{Commit, Write};

    use super::*;
    use crate::types::{Membership, Node};

    #[test]
    fn every_kind_of_entry_survives() {
        let write = Write { key: Bytes::from_static(b"k"), value: Some(Bytes::from_static(b"v")) };
        let commits = vec![Commit { writes: vec![write], ..Commit::default() }];
        let node = Node { name: "one".into(), ..Node::default() };
        let membership = Membership::new(vec![BTreeSet::from([7])], BTreeMap::from([(7, node)])).unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Command::Batch(commits.into())),
            EntryPayload::Normal(Command::Replace(Staging { id: u64::MAX, entries: 300 })),
            EntryPayload::Membership(membership),
        ];
        for (index, payload) in (5u64..).zip(payloads) {
            let log_id = LogId { leader_id: LeaderId { term: 3, node_id: u64::MAX }, index };
            let entry = Entry { log_id, payload };
            let mut out = Vec::new();
            put_entry(&mut out, &entry).unwrap();
            assert_eq!(take_record(Bytes::from(out)), Ok(Record::Entry(entry)));
        }
        let mut out = Vec::new();
        put_void_from(&mut out, 9);
        assert_eq!(take_record(Bytes::from(out)), Ok(Record::VoidFrom(9)));
    }

    #[test]
    fn what_follows_a_record_is_refused() {
        let mut out = Vec::new();
        put_void_from(&mut out, 9);
        out.push(0);
        assert_eq!(take_record(Bytes::from(out)), Err(Malformed));
        assert_eq!(take_record(Bytes::new()), Err(Malformed));
    }
}
