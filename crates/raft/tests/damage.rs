//! A data directory with damage of any kind in any of its files: opening it gives an error that names the file, or all
//! that can be read is right or an error. Never a panic, an endless wait, or memory beyond what the data takes.
//!
//! `STRONGROOM_SEEDS` sets how many damages are tried, or which (`4711..4712`).

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

use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_raft::{OpenError, Options, RaftStore};
use strongroom_storage::{Commit, KeyRange, Store, Write};

/// Address space beyond what the process has at the beginning: a table of this size needs nowhere near as much.
const ROOM: u64 = 1 << 30;
/// The longest that a directory of this size may take to be opened, read and closed.
const LIMIT: Duration = Duration::from_secs(30);
const KEYS: u64 = 60;

/// Messages of panics, on whatever thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 64 << 10;
    options.max_commit_size = 16 << 10;
    options.max_batch_size = 16 << 10;
    options.memtable_size = 64 << 10;
    options.snapshot_threshold = 50;
    options.snapshot_threshold_size = 128 << 10;
    options.trailing_logs = 10;
    options.reserve = Some(0);
    options
}

fn value(key: u64, round: u64) -> Bytes {
    Bytes::from(format!("{key:08}-{round:08} ").repeat(30))
}

/// Directories to damage: one that was closed in order, and one as a power cut leaves it.
async fn make(root: &Path) -> [PathBuf; 2] {
    let (running, killed, stopped) = (root.join("running"), root.join("killed"), root.join("stopped"));
    let store = RaftStore::open(options(&running)).await.unwrap();
    for round in 0..6 {
        for key in 0..KEYS {
            let write = Write { key: format!("key/{key:08}").into(), value: Some(value(key, round)) };
            store.commit(Commit { writes: vec![write], ..Commit::default() }).await.unwrap();
        }
        if round == 4 {
            copy(&running, &killed);
        }
    }
    store.close().await;
    copy(&running, &stopped);
    [killed, stopped]
}

fn copy(from: &Path, to: &Path) {
    let _none = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "LOCK" {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Numbers that a seed leads to (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A place in a file: anywhere, near its beginning, or among what is not zero.
    fn place(&mut self, content: &[u8]) -> u64 {
        let len = content.len() as u64;
        match self.below(4) {
            0 => self.below(len),
            1 => self.below(len.min(4096)),
            _ => {
                let from = usize::try_from(self.below(len)).unwrap();
                let used = content[from..].iter().position(|byte| *byte != 0);
                (from + used.unwrap_or(0)) as u64
            }
        }
    }
}

/// Damages a file; says how.
fn damage(path: &Path, dice: &mut Dice) -> String {
    let content = fs::read(path).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let at = dice.place(&content);
    let write = |bytes: &[u8]| file.write_all_at(bytes, at).unwrap();
    match dice.below(8) {
        0..=2 => {
            let bit = dice.below(8);
            write(&[content.get(usize::try_from(at).unwrap()).copied().unwrap_or(0) ^ (1 << bit)]);
            format!("bit {bit} at {at} flipped")
        }
        3 => {
            write(&[0xff; 8]);
            format!("8 bytes of 255 at {at}")
        }
        4 => {
            write(&[0; 512]);
            format!("512 zeros at {at}")
        }
        5 => {
            let noise: Vec<u8> = (0..64).map(|_| dice.next().to_le_bytes()[0]).collect();
            write(&noise);
            format!("64 bytes of noise at {at}")
        }
        6 => {
            file.set_len(at).unwrap();
            format!("cut to {at}")
        }
        _ => {
            let len = content.len() as u64 + (1 << dice.below(36));
            file.set_len(len).unwrap();
            format!("extended with zeros to {len}")
        }
    }
}

/// Opens a directory and reads all of it. Answers the error of opening it.
async fn look(path: PathBuf) -> Result<(), OpenError> {
    let store = RaftStore::open(options(&path)).await?;
    if let Ok(snapshot) = store.snapshot().await {
        for key in 0..KEYS {
            let key = format!("key/{key:08}");
            let _either = snapshot.get(key.as_bytes()).await;
        }
        // What is wrong with keys and values shows above the store, where they are sealed.
        let _either = snapshot.scan(&KeyRange { start: Vec::new(), end: None }, usize::MAX).await;
    }
    let late = Write { key: Bytes::from_static(b"late"), value: Some(Bytes::from_static(b"late")) };
    let _either = store.commit(Commit { writes: vec![late], ..Commit::default() }).await;
    store.close().await;
    Ok(())
}

/// The complaint about an error that does not name the data directory or what to do.
fn complaint(error: &OpenError, directory: &Path) -> Option<String> {
    let text = error.to_string();
    let says = match error {
        OpenError::Corrupt { .. } => {
            text.contains("at offset") && text.contains("docs/runbooks/rebuild-node.md")
        }
        OpenError::Foreign { .. } | OpenError::Newer { .. } | OpenError::Recovery { .. } => true,
        _ => false,
    };
    (!says || !text.contains(directory.to_str().unwrap())).then_some(text)
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("STRONGROOM_SEEDS") else { return 0..400 };
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}

fn limit_memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    let used: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(used * 1024 + ROOM), maximum }).unwrap();
}

#[test]
fn damage_is_an_error() {
    let usual = std::panic::take_hook();
    // Panics that the store turns into errors are none here.
    std::panic::set_hook(Box::new(move |info| {
        PANICS.lock().unwrap().push(info.to_string());
        usual(info);
    }));
    strongroom_stdx::hide_expected_panics();
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let good = runtime.block_on(make(root.path()));
    let victim = root.path().join("victim");
    for good in &good {
        copy(good, &victim);
        runtime.block_on(look(victim.clone())).unwrap();
    }
    limit_memory();
    let (mut refused, mut failures) = (0, Vec::new());
    for seed in seeds() {
        let mut dice = Dice(seed);
        copy(&good[usize::try_from(seed % 2).unwrap()], &victim);
        let files = files(&victim);
        let path = &files[usize::try_from(dice.below(files.len() as u64)).unwrap()];
        let how = damage(path, &mut dice);
        let told = format!("seed {seed}: {}: {how}", path.strip_prefix(&victim).unwrap().display());
        let looking = runtime.spawn(look(victim.clone()));
        let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, looking).await });
        let panics = std::mem::take(&mut *PANICS.lock().unwrap());
        if !panics.is_empty() {
            failures.push(format!("{told}: {panics:?}"));
            continue;
        }
        match outcome {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                refused += 1;
                failures.extend(complaint(&error, &victim).map(|text| format!("{told}: {text}")));
            }
            Ok(Err(error)) => failures.push(format!("{told}: {error}")),
            Err(_) => failures.push(format!("{told}: takes longer than {LIMIT:?}")),
        }
    }
    println!("{refused} of {} refused", seeds().count());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
