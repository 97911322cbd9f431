//! Figures, not assertions: `cargo test --release -p strongroom-raft --test figures -- --ignored --nocapture`.

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

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use strongroom_raft::{Options, RaftStore};
use strongroom_stdx::Clock;
use strongroom_storage::{Commit, PointRead, Store, Write};

/// A cheap generator of bytes that look random.
struct Scatter(u64);

impl Scatter {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, len: usize) -> Bytes {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn resident() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default().to_owned()
}

fn size_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let found = fs::symlink_metadata(path).unwrap();
    let inside: u64 = if found.is_dir() {
        fs::read_dir(path).unwrap().map(|entry| size_on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    inside + found.blocks() * 512
}

/// `records` new keys of 60 bytes with values of `least..most` bytes, and a read that must hold.
fn commit(scatter: &mut Scatter, records: usize, least: u64, most: u64) -> Commit {
    let mut writes = Vec::with_capacity(records);
    for _ in 0..records {
        let len = least + scatter.next() % (most - least);
        let value = scatter.bytes(usize::try_from(len).unwrap());
        writes.push(Write { key: scatter.bytes(60), value: Some(value) });
    }
    let points = vec![PointRead { key: writes[0].key.clone(), modified: 0 }];
    Commit { points, writes, ..Commit::default() }
}

/// Commits from `committers` tasks at once until `total` are done.
async fn load(store: &Arc<RaftStore>, committers: u64, total: u64, records: usize, values: (u64, u64)) {
    let clock = Clock::system();
    let left = Arc::new(AtomicU64::new(total));
    // Made beforehand, so that only the store is measured.
    let mut prepared: Vec<Vec<Commit>> = Vec::new();
    for task in 0..committers {
        // Never the same keys twice.
        let seed = store.applied().wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ (task + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
        let mut scatter = Scatter(seed | 1);
        let share = total / committers;
        prepared.push((0..share).map(|_| commit(&mut scatter, records, values.0, values.1)).collect());
    }
    let (began, cpu_before) = (clock.now(), cpu());
    let tasks: Vec<_> = prepared
        .into_iter()
        .map(|commits| {
            let (store, left, clock) = (store.clone(), left.clone(), clock.clone());
            tokio::spawn(async move {
                let mut took = Vec::with_capacity(commits.len());
                for commit in commits {
                    let before = clock.now();
                    store.commit(commit).await.unwrap();
                    took.push(clock.now().since(before));
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    let (wall, cpu) = (clock.now().since(began), cpu().saturating_sub(cpu_before));
    took.sort();
    let done = took.len();
    let at = |part: usize| took[(done - 1) * part / 1000];
    println!(
        "{committers} committers, {records} records each: {:.0} commits/s, CPU {:.1} us a commit, p50 {:?} p99 {:?} p99.9 {:?}",
        f64::from(u32::try_from(done).unwrap()) / wall.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(done).unwrap()),
        at(500),
        at(990),
        at(999),
    );
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::var("FIGURES_DIR").unwrap_or_else(|_| ".".into())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn commits() {
    for depth in [1, 2] {
        let dir = directory();
        let mut options = Options::new(dir.path());
        options.pipeline_depth = depth;
        let store = RaftStore::open(options).await.unwrap();
        println!("pipeline of {depth}");
        load(&store, 1, 4000, 1, (40, 200)).await;
        load(&store, 8, 16_000, 1, (40, 200)).await;
        load(&store, 32, 64_000, 1, (40, 200)).await;
        load(&store, 32, 32_000, 4, (40, 200)).await;
        load(&store, 128, 128_000, 1, (40, 200)).await;
        println!("{}", resident());
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn tokens() {
    let dir = directory();
    let clock = Clock::system();
    let open = || {
        let mut options = Options::new(dir.path());
        options.idle_after = Duration::from_secs(2);
        RaftStore::open(options)
    };
    let store = open().await.unwrap();
    println!("empty: {}", resident());
    // In shares: what is prepared must not be taken for the store's memory.
    for _ in 0..10 {
        load(&store, 32, 15_008, 5, (40, 200)).await;
    }
    let show = |when: &str, store: &RaftStore| {
        let status = store.status();
        println!(
            "{when}: table {} MiB, stored {} MiB, log {} MiB, all {} MiB on disk, {}",
            status.table_bytes >> 20,
            status.stored_bytes >> 20,
            status.log_bytes >> 20,
            size_on_disk(dir.path()) >> 20,
            resident()
        );
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            println!("  {} {} MiB", path.file_name().unwrap().display(), size_on_disk(&path) >> 20);
        }
    };
    show("written", &store);
    // As a killed process would have left it: with the log to be applied again.
    let copy = directory();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(dir.path()).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    let before = clock.now();
    let again =
        RaftStore::open(Options::new(copy.path().join(dir.path().file_name().unwrap()))).await.unwrap();
    println!("opened after a kill in {:?}", clock.now().since(before));
    again.close().await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    show("idle", &store);
    store.close().await;
    let before = clock.now();
    let store = open().await.unwrap();
    println!("opened again in {:?}", clock.now().since(before));
    show("opened", &store);
    load(&store, 32, 15_008, 5, (40, 200)).await;
    show("written more", &store);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn alone() {
    let dir = directory();
    let store = RaftStore::open(Options::new(dir.path())).await.unwrap();
    load(&store, 1, 20_000, 1, (40, 200)).await;
    store.close().await;
}

/// Run twice with the same `FIGURES_KEEP` directory: the first run fills it, the second shows what reading it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn reads() {
    let Ok(kept) = std::env::var("FIGURES_KEEP") else { return };
    let clock = Clock::system();
    let key =
        |n: u64| Bytes::from(format!("{:060x}", u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 40));
    let filled = Path::new(&kept).join("state.redb").exists();
    let store = RaftStore::open(Options::new(&kept)).await.unwrap();
    if !filled {
        for first in (0..150_000).step_by(100) {
            let value = |n: u64| Some(Scatter(n + 1).bytes(1024));
            let writes = (first..first + 100).map(|n| Write { key: key(n), value: value(n) }).collect();
            store.commit(Commit { writes, ..Commit::default() }).await.unwrap();
        }
    }
    println!("opened: {}", resident());
    for round in 0..3 {
        let (began, before) = (clock.now(), cpu());
        let mut scatter = Scatter(round + 1);
        for _ in 0..50_000 {
            let snapshot = store.snapshot().await.unwrap();
            assert!(snapshot.get(&key(scatter.next() % 150_000)).await.unwrap().is_some());
        }
        let (wall, cpu) = (clock.now().since(began), cpu().saturating_sub(before));
        println!("50000 gets in {wall:?}, CPU {cpu:?}, {}", resident());
    }
    println!("{} MiB on disk", size_on_disk(Path::new(&kept)) >> 20);
    store.close().await;
}
