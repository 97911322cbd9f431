//! The store as a whole.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use strongroom_stdx::{Clock, Moment};
use strongroom_storage::{Commit, CommitError, Index, KeyRange, PointRead, Store, StoreError, Write};

use crate::space::Room;
use crate::{Checked, OpenError, Options, RaftStore, Role, check_saved};

/// Small files and no waiting, so that everything happens in a short test.
pub(crate) fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 256 << 10;
    options.max_commit_size = 100 << 10;
    options.max_batch_size = 64 << 10;
    options.cache_size = 4 << 20;
    options.memtable_size = 256 << 10;
    options.heartbeat = Duration::from_millis(50);
    options
}

pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Commit {
    let write = Write {
        key: Bytes::copy_from_slice(key.as_ref()),
        value: Some(Bytes::copy_from_slice(value.as_ref())),
    };
    Commit { writes: vec![write], ..Commit::default() }
}

pub(crate) async fn get(store: &RaftStore, key: impl AsRef<[u8]>) -> Option<Bytes> {
    store.snapshot().await.unwrap().get(key.as_ref()).await.unwrap().map(|entry| entry.value)
}

pub(crate) async fn all(store: &RaftStore) -> Vec<(Bytes, Bytes)> {
    let snapshot = store.snapshot().await.unwrap();
    let found = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    found.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let root = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    strongroom_storage::conformance::run(|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = root.path().join(n.to_string());
        async move { RaftStore::open(options(&path)).await.unwrap() as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..5 {
        let store = RaftStore::open(options(dir.path())).await.unwrap();
        assert_eq!(all(&store).await, expected, "round {round}");
        for n in 0..200 {
            let key = format!("{round}/{n:04}");
            store.commit(put(&key, vec![b'v'; 100])).await.unwrap();
            expected.push((Bytes::from(key), Bytes::from(vec![b'v'; 100])));
        }
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_store_gives_the_directory_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    assert!(matches!(RaftStore::open(options(dir.path())).await, Err(OpenError::Locked { .. })));
    drop(store);
    let store = loop {
        match RaftStore::open(options(dir.path())).await {
            Ok(store) => break store,
            Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(get(&store, "a").await.as_deref(), Some(b"1".as_slice()));
    store.close().await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tells_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut named = options(dir.path());
    named.node_id = Some("one".into());
    named.cluster_id = Some("main".into());
    named.api_address = "https://one:8200".into();
    let store = RaftStore::open(named).await.unwrap();
    let index = store.commit(put("a", "1")).await.unwrap();
    store.wait_applied(index).await.unwrap();
    assert_eq!(store.role(), Role::Leads);
    let status = store.status();
    assert_eq!((store.node_id(), &*store.cluster_id()), ("one", "main"));
    assert_eq!((status.node_id.as_str(), status.cluster_id.as_str()), ("one", "main"));
    assert_eq!(status.leader.as_deref(), Some("one"));
    assert_eq!(store.leader_address().as_deref(), Some("https://one:8200"));
    assert_eq!(status.voters, ["one"]);
    assert!(store.is_leader() && status.is_leader && status.term > 0);
    assert_eq!((status.applied, status.committed), (index, index));
    store.close().await;
    assert!(store.wait_applied(index + 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    let refused = store.commit(put("a", vec![0; 100 << 10])).await;
    assert!(matches!(refused, Err(CommitError::TooLarge { size, limit }) if size > limit), "{refused:?}");
    // Larger than a batch, yet not too large.
    store.commit(put("a", vec![0; 90 << 10])).await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_commits_share_entries_and_keep_their_own_outcomes() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for n in 0..40 {
                    let mut commit = put(format!("{task}/{n}"), format!("{task}"));
                    // Only one of all tasks can be the first to write this.
                    commit.writes.extend(put(format!("first/{n}"), format!("{task}")).writes);
                    commit.points.push(PointRead { key: format!("first/{n}").into(), modified: 0 });
                    outcomes.push(store.commit(commit).await);
                }
                outcomes
            })
        })
        .collect();
    let mut winners = vec![Vec::new(); 40];
    for (task, handle) in tasks.into_iter().enumerate() {
        for (n, outcome) in handle.await.unwrap().into_iter().enumerate() {
            let there = get(&store, format!("{task}/{n}")).await.is_some();
            match outcome {
                Ok(_) => winners[n].push(task),
                Err(CommitError::Conflict) => {}
                Err(other) => panic!("{other}"),
            }
            assert_eq!(there, winners[n].last() == Some(&task));
        }
    }
    for (n, winners) in winners.into_iter().enumerate() {
        assert_eq!(winners.len(), 1);
        let first = get(&store, format!("first/{n}")).await.unwrap();
        assert_eq!(first, winners[0].to_string());
    }
    assert!(store.status().last_log < 64 * 40, "entries are shared");
    store.close().await;
}

fn size_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    // What is being given up may go while it is looked at.
    let Ok(found) = std::fs::symlink_metadata(path) else { return 0 };
    let inside: u64 = if found.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| size_on_disk(&entry.unwrap().path())).sum()
    } else {
        0
    };
    inside + found.blocks() * 512
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_the_same_keys_for_ever_takes_a_bounded_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options(dir.path());
    small.snapshot_threshold = 300;
    small.snapshot_threshold_size = 1 << 20;
    small.trailing_logs = 50;
    let store = RaftStore::open(small.clone()).await.unwrap();
    let mut largest = 0;
    for round in 0..20u64 {
        for key in 0..100 {
            store.commit(put(format!("{key:03}"), vec![round.to_le_bytes()[0]; 5000])).await.unwrap();
        }
        largest = largest.max(size_on_disk(dir.path()));
    }
    // 10 MiB were written; 0.5 MiB are kept.
    assert!(largest < 6 << 20, "{largest} bytes");
    assert!(store.inner.log.purged().is_some_and(|purged| purged.index > 1000));
    store.close().await;
    let store = RaftStore::open(small).await.unwrap();
    let found = all(&store).await;
    assert_eq!(found.len(), 100);
    assert!(found.iter().all(|(_, value)| value[..] == [19; 5000]));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_store_writes_its_memory_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut stepped = options(dir.path());
    stepped.clock = Clock::stepped(Moment::from_secs(1000));
    let clock = stepped.clock.clone();
    let store = RaftStore::open(stepped).await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    assert!(store.inner.state.is_dirty());
    while store.inner.state.is_dirty() {
        clock.advance(Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 30));
    let mut probed = options(dir.path());
    probed.clock = Clock::stepped(Moment::from_secs(1000));
    probed.reserve = Some(1 << 20);
    let probe = free.clone();
    probed.probe = Some(Arc::new(move || Ok(Room { free: probe.load(Ordering::SeqCst), total: 1 << 30 })));
    let clock = probed.clock.clone();
    let store = RaftStore::open(probed).await.unwrap();
    let index = store.commit(put("a", "1")).await.unwrap();
    free.store(1000, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    let before = store.status().last_log;
    assert!(matches!(store.commit(put("a", "2")).await, Err(CommitError::NoSpace)));
    assert_eq!((store.status().last_log, store.applied()), (before, index));
    assert_eq!(get(&store, "a").await.as_deref(), Some(b"1".as_slice()));
    free.store(1 << 30, Ordering::SeqCst);
    clock.advance(Duration::from_secs(1));
    store.commit(put("a", "3")).await.unwrap();
    store.close().await;
}

/// A file system of its own that is as small as the test wants; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(dir.path());
        mount.stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_really_fills_up_loses_nothing() {
    let Some(disk) = SmallDisk::mount("12m") else { return };
    let path = disk.0.path().join("raft");
    let mut small = options(&path);
    small.reserve = Some(1 << 20);
    small.snapshot_threshold_size = 1 << 20;
    // What an operator will clear away.
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 5 << 20]).unwrap();
    let store = RaftStore::open(small.clone()).await.unwrap();
    let mut acknowledged = Vec::new();
    let mut n = 0u64;
    let mut write_until = async |store: &RaftStore, enough: usize, acknowledged: &mut Vec<Bytes>| {
        while acknowledged.len() < enough {
            n += 1;
            let key = format!("{n:06}");
            match store.commit(put(&key, vec![7; 3000])).await {
                Ok(_) => acknowledged.push(key.into()),
                Err(CommitError::NoSpace) => return false,
                Err(other) => panic!("{other}"),
            }
        }
        true
    };
    assert!(!write_until(&store, usize::MAX, &mut acknowledged).await);
    // Somebody else takes the reserve, too.
    let more = disk.0.path().join("more");
    let mut file = std::fs::File::create(&more).unwrap();
    let mut refused = false;
    // What the store itself gives back meanwhile (a log that was merged) is taken, too.
    for _ in 0..100 {
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        match store.commit(put("x", "y")).await {
            Ok(_) if acknowledged.last().is_none_or(|last| *last != "x") => acknowledged.push("x".into()),
            Ok(_) => {}
            Err(CommitError::NoSpace) => {
                refused = true;
                break;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused, "a full disk takes no writes");
    assert_eq!(all(&store).await.len(), acknowledged.len());
    drop(file);
    std::fs::remove_file(&more).unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let enough = acknowledged.len() + 100;
    while !write_until(&store, enough, &mut acknowledged).await {
        tokio::task::yield_now().await;
    }
    store.close().await;
    let store = RaftStore::open(small).await.unwrap();
    let found: Vec<Bytes> = all(&store).await.into_iter().map(|(key, _)| key).collect();
    acknowledged.sort();
    assert_eq!(found, acknowledged);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_voter_that_lost_what_it_acknowledged_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let saved = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    store.commit(put("a", "1")).await.unwrap();
    // The table as of before the write that will be lost.
    store.inner.state.checkpoint().await.unwrap();
    std::fs::copy(dir.path().join("state.redb"), saved.path().join("state.redb")).unwrap();
    store.commit(put("b", "2")).await.unwrap();
    store.close().await;
    std::fs::copy(saved.path().join("state.redb"), dir.path().join("state.redb")).unwrap();
    let first = log.join("0000000000000001.log");
    let mut content = std::fs::read(&first).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[end - 1] ^= 1;
    std::fs::write(&first, content).unwrap();
    let refused = RaftStore::open(options(dir.path())).await.err().unwrap();
    assert!(
        matches!(&refused, OpenError::Corrupt { reason, .. } if reason.contains("was acknowledged")),
        "{refused}"
    );
}

pub(crate) async fn saved(store: &RaftStore) -> Vec<u8> {
    let saved = store.save().await.unwrap();
    let mut bytes = Vec::new();
    saved.read().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

async fn entries(store: &RaftStore) -> Vec<(Bytes, Bytes, Index)> {
    let snapshot = store.snapshot().await.unwrap();
    let found = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    found.into_iter().map(|(key, entry)| (key, entry.value, entry.modified)).collect()
}

fn entry(key: &str, value: &str, index: Index) -> (Bytes, Bytes, Index) {
    (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()), index)
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_what_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    let index = store.commit(put("some key", "some value")).await.unwrap();
    let state = store.save().await.unwrap();
    let facts = state.facts();
    assert_eq!((facts.index, facts.cluster_id.as_str()), (index, &*store.cluster_id()));
    assert_eq!(facts.members.len(), 1);
    store.commit(put("later", "not in it")).await.unwrap();
    let mut first = Vec::new();
    state.read().unwrap().read_to_end(&mut first).unwrap();
    assert!(first.starts_with(b"SRSNAPSH"));
    let checked = Checked { entries: 1, found: [None, Some(b"some value".to_vec())] };
    assert_eq!(check_saved(first.as_slice(), &["other key", "some key"]).unwrap(), checked);
    let mut second = Vec::new();
    state.read().unwrap().read_to_end(&mut second).unwrap();
    assert_eq!(first, second);
    first.pop();
    assert!(matches!(check_saved(first.as_slice(), &[""]), Err(StoreError::Corrupt(_))));
    store.close().await;
    assert!(matches!(store.save().await, Err(StoreError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_state_takes_the_place_of_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    for (key, value) in [("a", "1"), ("b", "2")] {
        store.commit(put(key, value)).await.unwrap();
    }
    let before = saved(&store).await;
    store.commit(put("a", "changed")).await.unwrap();
    let seen = store.commit(put("c", "new")).await.unwrap();
    let index = store.restore(io::Cursor::new(before), 7).await.unwrap();
    let restored = [entry("a", "1", index), entry("b", "2", index)];
    assert_eq!(entries(&store).await, restored);
    // Whoever decided on what was there before decides again.
    let read = |key: &'static str, modified| Commit {
        points: vec![PointRead { key: key.into(), modified }],
        ..put("d", "late")
    };
    assert!(matches!(store.commit(read("c", seen)).await, Err(CommitError::Conflict)));
    assert!(matches!(store.commit(read("a", 1)).await, Err(CommitError::Conflict)));
    store.close().await;
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    assert_eq!(entries(&store).await, restored, "after a restart");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_restored_whole_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = RaftStore::open(options(dir.path())).await.unwrap();
    for n in 0..300 {
        store.commit(put(format!("k{n:03}"), "x".repeat(2000))).await.unwrap();
    }
    let whole = saved(&store).await;
    let before = entries(&store).await;
    let cut = whole[..whole.len() - 9].to_vec();
    assert!(store.restore(io::Cursor::new(cut), 1).await.is_err());
    assert_eq!(entries(&store).await, before, "what was staged is removed");
    // One that broke off with its node leaves what it staged: nobody's snapshot has it, and the next removes it.
    let left = Write { key: Bytes::from_static(b"\xff\0\0\0\0\0\0\0\x09k"), value: Some("left".into()) };
    store.commit(Commit { writes: vec![left], ..Commit::default() }).await.unwrap();
    assert_eq!(check_saved(saved(&store).await.as_slice(), &[""]).unwrap().entries, 300);
    store.clear_broken_restore().await.unwrap();
    assert_eq!(entries(&store).await, before);
    let index = store.restore(io::Cursor::new(whole), 9).await.unwrap();
    let restored = entries(&store).await;
    assert_eq!(restored.len(), 300);
    assert!(restored.iter().all(|(_, _, modified)| *modified == index));
    store.close().await;
}
