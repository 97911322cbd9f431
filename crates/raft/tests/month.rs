//! A month of writes on the same keys, compressed: neither the log nor the table grows with the number of writes, and
//! the room of what was deleted is used again, also where there is never a quiet moment.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that fails does so loudly"
)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{Commit, Store, Write};

const SEGMENT: u64 = 64 << 10;
const THRESHOLD: u64 = 256 << 10;
const KEYS: u64 = 500;

fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = SEGMENT;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    options.memtable_size = 128 << 10;
    options.snapshot_threshold = 2000;
    options.snapshot_threshold_size = THRESHOLD;
    options.trailing_logs = 100;
    options
}

fn commit(key: String, value: Option<Vec<u8>>) -> Commit {
    let write = Write { key: key.into(), value: value.map(Bytes::from) };
    Commit { writes: vec![write], ..Commit::default() }
}

/// Bytes on disk of the files with certain names.
fn sizes(directory: &Path, wanted: impl Fn(&str) -> bool) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().filter_map(|entry| {
        let entry = entry.unwrap();
        // It may just have been renamed or removed.
        let found = entry.metadata().ok()?;
        wanted(entry.file_name().to_str().unwrap()).then(|| found.blocks() * 512)
    });
    files.sum()
}

/// Writes by 64 at a time, which share an entry or not as it happens.
async fn write(store: &Arc<RaftStore>, commits: impl Iterator<Item = Commit>) {
    for outcome in join_all(commits.map(|commit| store.commit(commit))).await {
        outcome.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_writes_takes_no_more_room_than_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(directory.path())).await.unwrap();
    let log = directory.path().join("log");
    // What is compacted at, once more while that is under way, what comes next and what is kept for it.
    let usual = 3 * THRESHOLD + 4 * SEGMENT;
    // Nobody who writes waits for a compaction: on a busy machine it may end late. All that is written is 15 MB.
    let most = 4 << 20;
    let mut most_table = 0;
    for round in 0..1000u64 {
        let number = |n: u64| (round * 64 + n) % KEYS;
        let value = |n: u64| vec![u8::try_from(round % 251).unwrap(); usize::try_from(100 + n).unwrap()];
        write(&store, (0..64).map(|n| commit(format!("key/{:06}", number(n)), Some(value(n))))).await;
        let log_bytes = || sizes(&log, |name| Path::new(name).extension().is_some_and(|kind| kind == "log"));
        assert!(log_bytes() <= most, "round {round}: {} bytes of log", log_bytes());
        if round % 100 == 99 {
            let settled = async {
                while log_bytes() > usual {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            let settled = tokio::time::timeout(Duration::from_secs(30), settled).await;
            settled.unwrap_or_else(|_| panic!("round {round}: {} bytes of log stay", log_bytes()));
        }
        let table = sizes(directory.path(), |name| name == "state.redb");
        if round < 50 {
            most_table = most_table.max(table);
        }
        assert!(
            table <= 2 * most_table + (2 << 20),
            "round {round}: {table} bytes of table, {most_table} at first"
        );
    }
    // Again and again much is written under new keys, and deleted: the table is as large as what was there at a time.
    let much = |round: u64, value: Option<Vec<u8>>| {
        (0..256).map(move |n| commit(format!("much/{round}/{n:04}"), value.clone()))
    };
    let table = || sizes(directory.path(), |name| name == "state.redb");
    let mut first = 0;
    for round in 0..12 {
        write(&store, much(round, Some(vec![7; 8000]))).await;
        write(&store, much(round, None)).await;
        first = if round < 3 { table().max(first) } else { first };
        assert!(table() <= 2 * first, "round {round}: {} bytes of table, {first} at first", table());
    }
    store.close().await;
}
