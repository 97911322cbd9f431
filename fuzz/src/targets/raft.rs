//! The files of a data directory, as a failing disk leaves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use strongroom_raft::{Options, RaftStore};
use strongroom_storage::{Commit, KeyRange, Store, Write};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::Target;

pub(super) const LOG: Target = Target {
    name: "raft_log",
    run: damaged,
    made: crate::no_inputs,
    seeds: &[
        b"",
        b"\x00\x00\x40\x01",
        b"\x00\x00\x4c\xff\x00\x00\x50\x01",
        b"\x00\x01\x20\x80\x01\x00\x08\x10\x02\x00\x09\x01",
        b"\x03\x00\x10\x01",
    ],
    words: &["\0", "\u{1}", "\u{2}", "\u{3}", "\0\0@\u{1}", "\0\0L\u{7f}"],
};

/// Commits of the directory that the damage is done to.
const COMMITS: u8 = 12;

static WHOLE: LazyLock<(TempDir, Vec<PathBuf>)> = LazyLock::new(|| {
    let directory = scratch();
    let path = directory.path().join("whole");
    block_on(async {
        let store = RaftStore::open(options(&path)).await.expect("a new directory opens");
        for number in 0..COMMITS {
            let write = Write { key: key(number), value: Some(value(number)) };
            store.commit(Commit { writes: vec![write], ..Commit::default() }).await.expect("commits");
        }
        store.close().await;
    });
    let mut files = Vec::new();
    collect(&path, Path::new(""), &mut files);
    // The table's library has its own checks, and is written by what the log holds; the log and what says how to read it are ours.
    files.retain(|file| !file.ends_with("LOCK") && file.extension().is_none_or(|ending| ending != "redb"));
    files.sort();
    (directory, files)
});

/// In memory, where there is such a place: every input is a directory, and syncs it many times.
fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 64 << 10;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    options.leader_wait = Duration::from_secs(2);
    options.reserve = Some(0);
    options
}

fn key(number: u8) -> Bytes {
    vec![b'k', number].into()
}

fn value(number: u8) -> Bytes {
    vec![number; 40].into()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime").block_on(future)
}

fn collect(root: &Path, below: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(below)).expect("a directory").flatten() {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() { collect(root, &name, files) } else { files.push(name) }
    }
}

fn copy(from: &Path, to: &Path) {
    let mut files = Vec::new();
    collect(from, Path::new(""), &mut files);
    for file in files {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().expect("a parent")).expect("a directory");
        fs::copy(from.join(&file), target).expect("copies");
    }
}

/// Four bytes a change: which file, where (two bytes), and with what to alter it; zero cuts the file off there. The directory is
/// refused, or opens and shows no value that was not written.
fn damaged(input: &[u8]) {
    let (whole, files) = &*WHOLE;
    let directory = scratch();
    let path = directory.path().join("damaged");
    copy(&whole.path().join("whole"), &path);
    for change in input.chunks_exact(4).take(16) {
        let file = path.join(&files[usize::from(change[0]) % files.len()]);
        let mut content = fs::read(&file).expect("a file");
        let at = usize::from(u16::from_be_bytes([change[1], change[2]]));
        match content.get_mut(at) {
            Some(byte) if change[3] != 0 => *byte ^= change[3],
            _ => content.truncate(at),
        }
        fs::write(&file, content).expect("writes");
    }
    block_on(async {
        let Ok(store) = RaftStore::open(options(&path)).await else { return };
        let found = read_all(&store).await;
        for (key, value) in found {
            let number = key.get(1).copied().unwrap_or(u8::MAX);
            let written = number < COMMITS && key == self::key(number) && value == self::value(number);
            assert!(written, "a value that was never written: {key:?} {value:?}");
        }
        store.close().await;
    });
}

async fn read_all(store: &Arc<RaftStore>) -> Vec<(Bytes, Bytes)> {
    let Ok(snapshot) = store.snapshot().await else { return Vec::new() };
    let everything = KeyRange { start: Vec::new(), end: None };
    let found = snapshot.scan(&everything, 1000).await.unwrap_or_default();
    found.into_iter().map(|(key, found)| (key, found.value)).collect()
}
