//! Copies a store into another one.
//!
//! The destination is marked while it is filled, so that no server takes it for an empty store; what the seal needs arrives last,
//! in one commit that also removes the mark. So a destination is either unusable or complete. A copy that was interrupted is
//! continued by comparing both in order, and writing what differs.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use strongroom_barrier::{BOOTSTRAP_RECORD, bootstrap_key};
use strongroom_seal::{BootstrapRecord, EARLIER_ENTRY, RecordError};
use strongroom_storage::{Commit, KeyRange, MIGRATING, PointRead, RangeRead, STAGED, Snapshot, Store, Write};
use tokio::task::JoinSet;

/// Entries that are read at once.
const PAGE: usize = 256;
/// Bytes and keys that are written in one commit at most: what every backend takes.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_KEYS: usize = 100;

/// The outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Entries of the source.
    pub(crate) entries: u64,
    /// Of these, how many were written now; the rest was there already.
    pub(crate) written: u64,
    /// Entries of the destination that the source has no more.
    pub(crate) removed: u64,
}

/// Everything but what the seal needs and what a backend stages.
fn sealed() -> KeyRange {
    KeyRange { start: vec![1], end: Some(vec![STAGED]) }
}

/// The entries that the seal needs.
fn bootstrap() -> KeyRange {
    KeyRange { start: Vec::new(), end: Some(vec![1]) }
}

/// Copies `source` into `destination`, `at_once` commits at a time, and reads all of it again.
pub(crate) async fn copy(source: &dyn Store, destination: &Arc<dyn Store>, at_once: usize) -> Result<Copied> {
    let from = source.snapshot().await?;
    let record = bootstrap_record(from.as_ref()).await?;
    let marked = mark(destination.as_ref(), &record).await?;
    let mut copied = write_differences(from.as_ref(), destination, at_once).await?;
    let written = destination.snapshot().await?;
    let mut differences = Differences::new(from.as_ref(), written.as_ref());
    if let Some(write) = differences.next().await? {
        bail!("the destination does not have what was written to it: entry {:x}", write.key);
    }
    copied.entries =
        copied.entries.saturating_add(finish(from.as_ref(), destination.as_ref(), marked).await?);
    Ok(copied)
}

/// The bootstrap record of a store from which this program could serve: storage that it cannot read is not copied either.
async fn bootstrap_record(from: &dyn Snapshot) -> Result<Bytes> {
    if let Some(found) = from.get(&bootstrap_key(BOOTSTRAP_RECORD)).await? {
        BootstrapRecord::decode(&found.value)?;
        return Ok(found.value);
    }
    ensure!(from.get(&bootstrap_key(EARLIER_ENTRY)).await?.is_none(), RecordError::Earlier);
    bail!("the source is not initialized")
}

/// Removes what an unfinished copy has left; how many entries that were. Of a store that holds anything else, nothing.
pub(crate) async fn reset(destination: &dyn Store) -> Result<u64> {
    let snapshot = destination.snapshot().await?;
    let mark = snapshot.get(MIGRATING).await?.context("no unfinished migration is in the destination")?;
    let mut removed = 0u64;
    loop {
        let snapshot = destination.snapshot().await?;
        let found = snapshot.scan(&sealed(), PIECE_KEYS).await?;
        if found.is_empty() {
            break;
        }
        removed = removed.saturating_add(u64::try_from(found.len())?);
        let writes = found.into_iter().map(|(key, _)| Write { key, value: None }).collect();
        destination.commit(Commit { writes, ..Commit::default() }).await?;
    }
    let end = Commit {
        points: vec![PointRead { key: Bytes::from_static(MIGRATING), modified: mark.modified }],
        writes: vec![Write { key: Bytes::from_static(MIGRATING), value: None }],
        ..Commit::default()
    };
    destination.commit(end).await?;
    Ok(removed)
}

/// Marks an empty destination, or finds the mark of a copy of the same source; the index that wrote it.
async fn mark(destination: &dyn Store, record: &Bytes) -> Result<u64> {
    let snapshot = destination.snapshot().await?;
    if let Some(found) = snapshot.get(MIGRATING).await? {
        ensure!(
            found.value == *record,
            "the destination holds an unfinished migration of another store; -reset removes it"
        );
        return Ok(found.modified);
    }
    let all = KeyRange { start: Vec::new(), end: Some(vec![STAGED]) };
    ensure!(snapshot.scan(&all, 1).await?.is_empty(), "the destination is not empty");
    let key = Bytes::from_static(MIGRATING);
    let commit = Commit {
        points: vec![PointRead { key: key.clone(), modified: 0 }],
        ranges: vec![RangeRead { range: all, count: 0, seen_at: snapshot.index() }],
        writes: vec![Write { key, value: Some(record.clone()) }],
    };
    Ok(destination.commit(commit).await?)
}

async fn write_differences(
    from: &dyn Snapshot,
    destination: &Arc<dyn Store>,
    at_once: usize,
) -> Result<Copied> {
    let there = destination.snapshot().await?;
    let mut differences = Differences::new(from, there.as_ref());
    let mut copied = Copied::default();
    let mut committing = JoinSet::new();
    loop {
        let piece = differences.piece().await?;
        let ended = piece.is_empty();
        while ended || committing.len() >= at_once {
            let Some(committed) = committing.join_next().await else { break };
            committed??;
        }
        if ended {
            break;
        }
        let removed = u64::try_from(piece.iter().filter(|write| write.value.is_none()).count())?;
        copied.removed = copied.removed.saturating_add(removed);
        copied.written = copied.written.saturating_add(u64::try_from(piece.len())?.saturating_sub(removed));
        let destination = destination.clone();
        committing
            .spawn(async move { destination.commit(Commit { writes: piece, ..Commit::default() }).await });
    }
    Ok(Copied { entries: differences.seen, ..copied })
}

/// Writes what the seal needs, which makes a server's store of the destination, and looks whether it is there.
async fn finish(from: &dyn Snapshot, destination: &dyn Store, marked: u64) -> Result<u64> {
    let entries = from.scan(&bootstrap(), usize::MAX).await?;
    let key = Bytes::from_static(MIGRATING);
    let mut writes: Vec<Write> = entries
        .iter()
        .map(|(key, entry)| Write { key: key.clone(), value: Some(entry.value.clone()) })
        .collect();
    writes.push(Write { key: key.clone(), value: None });
    let points = vec![PointRead { key, modified: marked }];
    destination.commit(Commit { points, writes, ..Commit::default() }).await?;
    let there = destination.snapshot().await?.scan(&bootstrap(), usize::MAX).await?;
    let same = there.len() == entries.len()
        && there.iter().zip(&entries).all(|((a, one), (b, other))| a == b && one.value == other.value);
    ensure!(same, "the destination does not have what was written to it");
    Ok(u64::try_from(entries.len())?)
}

/// The entries of a range, in order.
struct Entries<'a> {
    snapshot: &'a dyn Snapshot,
    rest: KeyRange,
    page: VecDeque<(Bytes, Bytes)>,
    ended: bool,
}

impl<'a> Entries<'a> {
    fn new(snapshot: &'a dyn Snapshot) -> Self {
        Self { snapshot, rest: sealed(), page: VecDeque::new(), ended: false }
    }

    async fn peek(&mut self) -> Result<Option<&(Bytes, Bytes)>> {
        if self.page.is_empty() && !self.ended {
            let found = self.snapshot.scan(&self.rest, PAGE).await?;
            self.ended = found.len() < PAGE;
            if let Some((last, _)) = found.last() {
                self.rest = self.rest.after(last);
            }
            self.page.extend(found.into_iter().map(|(key, entry)| (key, entry.value)));
        }
        Ok(self.page.front())
    }
}

/// The entries that must be written to one store so that it has what another one has.
struct Differences<'a> {
    from: Entries<'a>,
    to: Entries<'a>,
    /// Entries of the first that were come across.
    seen: u64,
}

impl<'a> Differences<'a> {
    fn new(from: &'a dyn Snapshot, to: &'a dyn Snapshot) -> Self {
        Self { from: Entries::new(from), to: Entries::new(to), seen: 0 }
    }

    async fn next(&mut self) -> Result<Option<Write>> {
        loop {
            let there = self.to.peek().await?.cloned();
            let wanted = self.from.peek().await?.cloned();
            let (key, wanted, there) = match (wanted, there) {
                (None, None) => return Ok(None),
                (Some((key, value)), None) => (key, Some(value), None),
                (None, Some((key, value))) => (key, None, Some(value)),
                (Some((key, value)), Some((other, kept))) => match key.cmp(&other) {
                    Ordering::Less => (key, Some(value), None),
                    Ordering::Equal => (key, Some(value), Some(kept)),
                    Ordering::Greater => (other, None, Some(kept)),
                },
            };
            if wanted.is_some() {
                self.from.page.pop_front();
                self.seen = self.seen.saturating_add(1);
            }
            if there.is_some() {
                self.to.page.pop_front();
            }
            if wanted != there {
                return Ok(Some(Write { key, value: wanted }));
            }
        }
    }

    /// As much as fits into a commit; nothing at the end.
    async fn piece(&mut self) -> Result<Vec<Write>> {
        let (mut piece, mut bytes) = (Vec::new(), 0usize);
        while piece.len() < PIECE_KEYS && bytes < PIECE_BYTES {
            let Some(write) = self.next().await? else { break };
            let size = write.value.as_ref().map_or(0, Bytes::len);
            bytes = bytes.saturating_add(write.key.len()).saturating_add(size);
            piece.push(write);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use strongroom_storage::InMemory;

    use super::*;

    fn empty() -> Arc<dyn Store> {
        Arc::new(InMemory::new())
    }

    fn key(space: u8, name: &str) -> Bytes {
        [&[space], name.as_bytes()].concat().into()
    }

    async fn put(store: &dyn Store, entries: &[(Bytes, &str)]) {
        let write = |(key, value): &(Bytes, &str)| Write {
            key: key.clone(),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        let writes = entries.iter().map(write).collect();
        store.commit(Commit { writes, ..Commit::default() }).await.unwrap();
    }

    /// The record of a cluster.
    fn record(cluster: &str) -> String {
        let seal = "{\"id\":\"s\",\"kind\":\"s\",\"priority\":1,\"disabled\":false,\"parameters\":{}}";
        format!(
            "{{\"version\":1,\"generation\":1,\"cluster_name\":\"\",\"cluster_id\":\"{cluster}\",\"token_salt\":\"\",\
             \"seals\":[{seal}],\"root_key\":[{{\"seal\":\"s\",\"blob\":\"\"}}],\"recovery\":null}}"
        )
    }

    async fn source(cluster: &str) -> Arc<dyn Store> {
        let store = empty();
        let record = record(cluster);
        put(
            store.as_ref(),
            &[
                (bootstrap_key(BOOTSTRAP_RECORD).into(), record.as_str()),
                (bootstrap_key("keyring").into(), "k"),
            ],
        )
        .await;
        let names: Vec<String> = (0..1000).map(|number| format!("{number:05}")).collect();
        let entries: Vec<(Bytes, &str)> = names.iter().map(|name| (key(2, name), name.as_str())).collect();
        put(store.as_ref(), &entries).await;
        put(store.as_ref(), &[(key(1, "mounts"), "m"), (key(STAGED, "old"), "of a restore that broke off")])
            .await;
        store
    }

    async fn everything(store: &Arc<dyn Store>) -> Vec<(Bytes, Bytes)> {
        let snapshot = store.snapshot().await.unwrap();
        let all = snapshot.scan(&KeyRange { start: Vec::new(), end: Some(vec![STAGED]) }, usize::MAX).await;
        all.unwrap().into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }

    #[tokio::test]
    async fn everything_arrives_once() {
        let (from, to) = (source("a").await, empty());
        let copied = copy(from.as_ref(), &to, 4).await.unwrap();
        assert_eq!(copied, Copied { entries: 1003, written: 1001, removed: 0 });
        assert_eq!(everything(&to).await, everything(&from).await);
        assert_eq!(to.snapshot().await.unwrap().get(MIGRATING).await.unwrap(), None);
        let again = copy(from.as_ref(), &to, 4).await.unwrap_err().to_string();
        assert_eq!(again, "the destination is not empty");
        assert!(reset(to.as_ref()).await.unwrap_err().to_string().contains("no unfinished migration"));
        assert_eq!(everything(&to).await.len(), 1003);
    }

    #[tokio::test]
    async fn what_broke_off_goes_on_and_follows_the_source() {
        let (from, to) = (source("a").await, empty());
        mark(to.as_ref(), &record("a").into()).await.unwrap();
        let half: Vec<(Bytes, &str)> =
            vec![(key(2, "00000"), "00000"), (key(2, "00001"), "older"), (key(2, "gone"), "since")];
        put(to.as_ref(), &half).await;
        let copied = copy(from.as_ref(), &to, 1).await.unwrap();
        assert_eq!(copied, Copied { entries: 1003, written: 1000, removed: 1 });
        assert_eq!(everything(&to).await, everything(&from).await);
    }

    #[tokio::test]
    async fn another_sources_leftovers_stay_until_they_are_reset() {
        let (from, to) = (source("a").await, empty());
        mark(to.as_ref(), &record("b").into()).await.unwrap();
        put(to.as_ref(), &[(key(2, "b"), "b")]).await;
        assert!(copy(from.as_ref(), &to, 1).await.unwrap_err().to_string().contains("of another store"));
        assert_eq!(reset(to.as_ref()).await.unwrap(), 1);
        copy(from.as_ref(), &to, 1).await.unwrap();
        assert_eq!(everything(&to).await, everything(&from).await);
    }

    #[tokio::test]
    async fn a_source_without_a_seal_is_none() {
        let error = copy(empty().as_ref(), &empty(), 1).await.unwrap_err();
        assert_eq!(error.to_string(), "the source is not initialized");
    }

    #[tokio::test]
    async fn a_source_that_no_server_of_this_version_reads_is_refused() {
        for (name, value, text) in [
            ("seal-config", "{\"shares\":1}", "written by an earlier version of Strongroom"),
            (BOOTSTRAP_RECORD, "{\"version\":2}", "its bootstrap record is of version 2"),
            (BOOTSTRAP_RECORD, "{", "the bootstrap record is malformed"),
        ] {
            let (from, to) = (empty(), empty());
            put(from.as_ref(), &[(bootstrap_key(name).into(), value)]).await;
            let error = copy(from.as_ref(), &to, 1).await.unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert!(everything(&to).await.is_empty());
        }
    }
}
