//! The content of the log after every kind of interruption.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use strongroom_storage::{Commit, Write};
use tempfile::TempDir;

use super::segment::file_name;
use super::*;
use crate::types::{Command, LeaderId};

const SEGMENT: u64 = 4096;

fn options() -> Options {
    let mut options = Options::new("unused");
    options.segment_size = SEGMENT;
    // Everything is read back from the files.
    options.log_cache_size = 0;
    options
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    let fill = u8::try_from(index % 251).unwrap();
    let write = Write { key: Bytes::from(vec![b'k'; 20]), value: Some(Bytes::from(vec![fill; size])) };
    let commits = vec![Commit { writes: vec![write], ..Commit::default() }];
    Entry { log_id: id(term, index), payload: EntryPayload::Normal(Command::Batch(commits.into())) }
}

struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Result<Log, OpenError> {
        let log = Log::open(self.dir.path(), &options())?;
        log.prepare_next();
        Ok(log)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.dir.path().join(file_name(number))
    }

    /// All entries, after closing and opening again.
    async fn reopened(&self) -> Vec<Entry> {
        let mut log = self.open().unwrap();
        let entries = log.try_get_log_entries(..).await.unwrap();
        log.close();
        entries
    }
}

/// Writes entries, a frame each, and tells where each frame ends in the first file.
async fn written(fixture: &Fixture, count: u64) -> (Vec<Entry>, Vec<u64>) {
    let mut log = fixture.open().unwrap();
    let (mut entries, mut ends) = (Vec::new(), Vec::new());
    for index in 1..=count {
        let entry = entry(1, index, usize::try_from(index % 7).unwrap() * 9);
        log.blocking_append([entry.clone()]).await.unwrap();
        entries.push(entry);
        ends.push(SEGMENT - log.shared.remaining.load(Ordering::SeqCst));
    }
    log.close();
    (entries, ends)
}

#[tokio::test]
async fn entries_survive_across_files() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    let mut expected = Vec::new();
    for index in 0..200 {
        let entry = entry(1, index, 300);
        log.blocking_append([entry.clone()]).await.unwrap();
        expected.push(entry);
    }
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
    assert_eq!(log.try_get_log_entries(5..=6).await.unwrap(), expected[5..=6]);
    let streamed: Vec<_> = futures::StreamExt::collect(log.entries_stream(3..150).await).await;
    assert_eq!(streamed.into_iter().collect::<io::Result<Vec<_>>>().unwrap(), expected[3..150]);
    log.close();
    assert!(fixture.file(10).exists());
    assert_eq!(fixture.reopened().await, expected);
}

#[tokio::test]
async fn one_append_may_span_files() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    let expected: Vec<_> = (0..50).map(|index| entry(1, index, 300)).collect();
    log.blocking_append(expected.clone()).await.unwrap();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
    log.close();
    assert_eq!(fixture.reopened().await, expected);
}

/// The bytes that a crash may leave from some offset on.
enum Left {
    Zeros,
    Garbage,
    /// The file ends there.
    Nothing,
}

#[tokio::test]
async fn a_tear_at_any_byte_costs_only_what_it_hit() {
    let fixture = Fixture::new();
    let (entries, ends) = written(&fixture, 12).await;
    let whole = fs::read(fixture.file(1)).unwrap();
    let last = *ends.last().unwrap();
    for left in [Left::Zeros, Left::Garbage, Left::Nothing] {
        for at in ends[9]..last {
            let mut torn = whole.clone();
            let tail = usize::try_from(at).unwrap()..usize::try_from(last).unwrap();
            match left {
                Left::Zeros => torn[tail].fill(0),
                Left::Garbage => torn[tail].iter_mut().for_each(|byte| *byte ^= 0x5a),
                Left::Nothing => torn.truncate(tail.start),
            }
            fs::write(fixture.file(1), &torn).unwrap();
            let survivors = ends.iter().filter(|end| **end <= at).count();
            let mut log = fixture.open().unwrap_or_else(|error| panic!("at {at}: {error}"));
            assert_eq!(log.try_get_log_entries(..).await.unwrap(), entries[..survivors], "at {at}");
            // It goes on from there.
            let next = entry(2, u64::try_from(survivors).unwrap() + 1, 10);
            log.blocking_append([next.clone()]).await.unwrap();
            log.close();
            let expected: Vec<_> = entries[..survivors].iter().cloned().chain([next]).collect();
            assert_eq!(fixture.reopened().await, expected, "at {at}");
            let _ = fs::remove_file(fixture.file(2));
        }
    }
}

#[tokio::test]
async fn damage_before_the_end_is_refused_with_its_place() {
    let fixture = Fixture::new();
    let (_, ends) = written(&fixture, 12).await;
    let whole = fs::read(fixture.file(1)).unwrap();
    for at in HEADER..ends[10] {
        let mut damaged = whole.clone();
        damaged[usize::try_from(at).unwrap()] ^= 0x10;
        fs::write(fixture.file(1), &damaged).unwrap();
        let begins = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(HEADER);
        match fixture.open().err() {
            Some(OpenError::Corrupt { path, offset, .. }) => {
                assert_eq!((path, offset), (fixture.file(1), begins), "at {at}");
            }
            other => panic!("at {at}: {other:?}"),
        }
        assert_eq!(fs::read(fixture.file(1)).unwrap(), damaged, "nothing is changed");
    }
}

#[tokio::test]
async fn a_damaged_or_missing_file_is_refused() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    for index in 0..60 {
        log.blocking_append([entry(1, index, 300)]).await.unwrap();
    }
    log.close();
    for number in [1, 2, 3] {
        let whole = fs::read(fixture.file(number)).unwrap();
        let at = usize::try_from(HEADER).unwrap() + 700;
        for (place, what) in [(3, "magic"), (9, "version"), (30, "salt"), (at, "frame")] {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            fs::write(fixture.file(number), &damaged).unwrap();
            assert!(fixture.open().is_err(), "{what} of file {number}");
        }
        fs::write(fixture.file(number), &whole).unwrap();
    }
    let hidden = fixture.dir.path().join("hidden");
    fs::rename(fixture.file(2), &hidden).unwrap();
    assert!(matches!(fixture.open(), Err(OpenError::Corrupt { path, .. }) if path == fixture.file(3)));
    fs::rename(&hidden, fixture.file(2)).unwrap();
    fs::remove_file(fixture.dir.path().join("vote")).unwrap();
    assert!(matches!(fixture.open(), Err(OpenError::Corrupt { path, .. }) if path.ends_with("vote")));
}

#[tokio::test]
async fn the_last_frame_of_a_full_file_is_not_taken_for_torn() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    for index in 0..20 {
        log.blocking_append([entry(1, index, 300)]).await.unwrap();
    }
    log.close();
    let held = fs::read(fixture.file(1)).unwrap();
    let last_used = held.iter().rposition(|byte| *byte != 0).unwrap();
    let file = fs::OpenOptions::new().write(true).open(fixture.file(1)).unwrap();
    file.write_all_at(&[held[last_used] ^ 1], u64::try_from(last_used).unwrap()).unwrap();
    assert!(matches!(fixture.open(), Err(OpenError::Corrupt { path, .. }) if path == fixture.file(1)));
}

#[tokio::test]
async fn voided_entries_do_not_come_back() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    let mut expected: Vec<_> = (1..=30).map(|index| entry(1, index, 200)).collect();
    log.blocking_append(expected.clone()).await.unwrap();
    log.truncate_after(Some(id(1, 10))).await.unwrap();
    expected.truncate(10);
    assert_eq!(log.last(), Some(id(1, 10)));
    log.close();
    assert_eq!(fixture.reopened().await, expected);

    let mut log = fixture.open().unwrap();
    let others: Vec<_> = (11..=25).map(|index| entry(2, index, 100)).collect();
    log.blocking_append(others.clone()).await.unwrap();
    log.close();
    expected.extend(others);
    assert_eq!(fixture.reopened().await, expected);
}

#[tokio::test]
async fn purging_gives_files_up_and_uses_one_again() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    for round in 0..20u64 {
        for index in round * 20..(round + 1) * 20 {
            log.blocking_append([entry(1, index, 300)]).await.unwrap();
        }
        if round > 0 {
            log.purge(id(1, round * 20 - 1)).await.unwrap();
        }
        let files = fs::read_dir(fixture.dir.path()).unwrap().count();
        assert!(files < 12, "{files} files");
    }
    log.close();
    let mut log = fixture.open().unwrap();
    assert_eq!(log.purged(), Some(id(1, 379)));
    let left: BTreeSet<u64> =
        log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(left, (380..400).collect());
    // A snapshot may reach beyond the log.
    log.purge(id(3, 1000)).await.unwrap();
    assert_eq!(log.last(), Some(id(3, 1000)));
    log.blocking_append([entry(3, 1001, 10)]).await.unwrap();
    log.close();
    assert_eq!(fixture.reopened().await, vec![entry(3, 1001, 10)]);
}

/// The most bytes that were freed and things that were logged with the index locked, in a log of so many entries.
async fn worst_with(entries: u64) -> (usize, usize) {
    let fixture = Fixture::new();
    let mut options = options();
    options.log_cache_size = 64 << 20;
    options.segment_size = 1 << 20;
    let mut log = Log::open(fixture.dir.path(), &options).unwrap();
    log.prepare_next();
    let step = |from: u64| (from..from + 100).map(|index| entry(1, index, 100));
    for from in (0..entries).step_by(100) {
        log.blocking_append(step(from)).await.unwrap();
    }
    log.truncate_after(Some(id(1, entries / 2))).await.unwrap();
    log.purge(id(1, entries / 2)).await.unwrap();
    log.close();
    let worst = log.shared.index.take_worst();
    (worst.counts.freed, worst.logged)
}

/// An append waits for the lock on the index.
#[tokio::test]
async fn what_is_forgotten_is_not_freed_under_the_lock() {
    let (few, many) = (worst_with(200).await, worst_with(20_000).await);
    // The list of places doubles as it grows, one block at a time.
    assert!(many.0 <= few.0 + (2 << 20) && many.1 == 0, "{few:?}, of many {many:?}");
}

/// A log that vanished must not come up as that of a node that never was.
#[tokio::test]
async fn a_vote_without_a_log_is_refused() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    log.save_vote(&Vote::new_committed(4, 1)).await.unwrap();
    log.close();
    std::fs::remove_file(fixture.file(1)).unwrap();
    let refusal = fixture.open().err().map(|error| error.to_string()).unwrap();
    assert!(refusal.contains("missing"), "{refusal}");
    assert!(!fixture.file(1).exists(), "nothing is made in its place");
}

#[tokio::test]
async fn the_vote_and_the_committed_position_are_kept() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    log.blocking_append((1..=5).map(|index| entry(4, index, 0))).await.unwrap();
    log.save_vote(&Vote::new_committed(4, 1)).await.unwrap();
    log.save_committed(Some(id(4, 3))).await.unwrap();
    log.close();
    let mut log = fixture.open().unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(4, 1)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(4, 3)));
    log.save_committed(Some(id(4, 9))).await.unwrap();
    assert_eq!(log.read_committed().await.unwrap(), Some(id(4, 5)), "no further than the log reaches");
    log.close();
}

#[tokio::test]
async fn a_gap_is_refused() {
    let fixture = Fixture::new();
    let mut log = fixture.open().unwrap();
    log.blocking_append([entry(1, 1, 0)]).await.unwrap();
    assert!(log.blocking_append([entry(1, 3, 0)]).await.is_err());
    log.close();
}
