//! A process that runs out of file descriptors: storage waits for them, and goes on when there are some again. A program of its
//! own, because the limit is the process's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails does so loudly")]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{Commit, CommitError, Store, Write};

fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 64 << 10;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    // The table is packed, and the log compacted, all the time.
    options.snapshot_threshold_size = 128 << 10;
    options.memtable_size = 64 << 10;
    options.idle_after = Duration::from_millis(20);
    options.heartbeat = Duration::from_millis(50);
    options
}

fn put(number: u64) -> Commit {
    let key = Bytes::from(format!("key/{:04}", number % 500));
    let value = Bytes::from(format!("{number}/{}", "x".repeat(4000)));
    Commit { writes: vec![Write { key, value: Some(value) }], ..Commit::default() }
}

/// Opens files until there are no descriptors left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

async fn write_or_wait(store: &RaftStore, number: u64) {
    for _ in 0..3000 {
        match store.commit(put(number)).await {
            Ok(_) => return,
            Err(CommitError::NoSpace) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("commit {number}: {error}"),
        }
    }
    panic!("storage does not come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_goes_on_when_there_are_descriptors_again() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum: hard }).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<RaftStore> = RaftStore::open(options(directory.path())).await.unwrap();
    let mut number = 0;
    for _round in 0..2 {
        let mut taken = take_all();
        // More than both log files that are there take.
        let mut refused = 0;
        for _ in 0..40 {
            number += 1;
            match tokio::time::timeout(Duration::from_millis(100), store.commit(put(number))).await {
                Ok(Err(CommitError::NoSpace)) | Err(_) => refused += 1,
                Ok(done) => drop(done.unwrap()),
            }
            taken.extend(take_all());
        }
        assert!(refused > 0, "descriptors were never needed");
        drop(taken);
        for _ in 0..40 {
            number += 1;
            write_or_wait(&store, number).await;
        }
        // The table is packed when nobody writes.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.close().await;
    drop(store);
    let store = RaftStore::open(options(directory.path())).await.unwrap();
    let key = format!("key/{:04}", number % 500);
    let kept = store.snapshot().await.unwrap().get(key.as_bytes()).await.unwrap().unwrap();
    assert!(kept.value.starts_with(format!("{number}/").as_bytes()), "the last write was lost");
    store.close().await;
}
