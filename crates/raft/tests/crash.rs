//! A process that is killed while it writes, again and again: what it acknowledged is there, whole, every time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test that fails does so loudly"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{Commit, KeyRange, Store, Write};

const DIRECTORY: &str = "STRONGROOM_CRASH_DIRECTORY";
const FIRST: &str = "STRONGROOM_CRASH_FIRST";

/// Files turn over, checkpoints and compactions run all the time.
fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 64 << 10;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    options.memtable_size = 64 << 10;
    options.snapshot_threshold = 50;
    options.snapshot_threshold_size = 128 << 10;
    options.trailing_logs = 10;
    options
}

/// Commit `n`: two keys that belong together, one of them shared with other commits.
fn commit(n: u64) -> Commit {
    let value = Bytes::from(format!("{n:08}").repeat(40));
    let write = |key: String| Write { key: key.into(), value: Some(value.clone()) };
    Commit {
        writes: vec![write(format!("own/{n:08}")), write(format!("shared/{:02}", n % 50))],
        ..Commit::default()
    }
}

/// Runs in a process of its own; says which commits were acknowledged until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the part of the process that is killed"]
async fn child() {
    let directory = std::env::var(DIRECTORY).unwrap();
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = RaftStore::open(options(Path::new(&directory))).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in (first + task..).step_by(8) {
                    store.commit(commit(n)).await.unwrap();
                    let mut out = std::io::stderr().lock();
                    // In one write: a kill in the middle of a line must not leave another number.
                    out.write_all(format!("acknowledged {n}\n").as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Starts the child and kills it after it has acknowledged `enough` commits; returns those.
fn run_and_kill(directory: &Path, first: u64, enough: usize) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    for line in lines.by_ref().map_while(Result::ok) {
        if let Some(n) = line.strip_prefix("acknowledged ") {
            acknowledged.push(n.parse().unwrap());
            if acknowledged.len() == enough {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= enough, "the child ended by itself after {}", acknowledged.len());
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = 0;
    let mut acknowledged = Vec::new();
    for round in 0..8u64 {
        let enough = usize::try_from(150 + round * round * 31 % 200).unwrap();
        acknowledged.extend(run_and_kill(directory.path(), first, enough));
        let store = RaftStore::open(options(directory.path())).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let found = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
        let found: BTreeMap<Bytes, (u64, Bytes)> =
            found.into_iter().map(|(key, entry)| (key, (entry.modified, entry.value))).collect();
        for n in &acknowledged {
            let key = Bytes::from(format!("own/{n:08}"));
            let (_, value) = found.get(&key).unwrap_or_else(|| panic!("round {round}: {n} is lost"));
            assert_eq!(*value, format!("{n:08}").repeat(40));
        }
        // What a commit wrote is there as a whole: the shared key holds the value of the newest commit of its own.
        for shared in 0..50u64 {
            let Some((modified, value)) = found.get(format!("shared/{shared:02}").as_bytes()) else {
                continue;
            };
            let n: u64 = std::str::from_utf8(&value[..8]).unwrap().parse().unwrap();
            let (own, _) = found.get(format!("own/{n:08}").as_bytes()).expect("the other half");
            assert_eq!(own, modified);
            let newest = found
                .range(Bytes::from_static(b"own/")..Bytes::from_static(b"own0"))
                .filter(|(_, (_, value))| {
                    std::str::from_utf8(&value[..8]).unwrap().parse::<u64>().unwrap() % 50 == shared
                })
                .map(|(_, (modified, _))| *modified)
                .max();
            assert_eq!(newest, Some(*modified));
        }
        drop(snapshot);
        store.close().await;
        first += 100_000;
    }
}
