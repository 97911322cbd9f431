//! Tests of what every [`Store`] must do. A backend calls [`run`] from its tests with a way to open a fresh store.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test suite that happens to live in a library: failing loudly is its purpose"
)]

use std::future::Future;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::{Commit, CommitError, Index, KeyRange, Observer, PointRead, RangeRead, Store, Write};

/// Runs the whole suite, each case on a store of its own.
pub async fn run<F, O>(open: F)
where
    F: Fn() -> O,
    O: Future<Output = Arc<dyn Store>>,
{
    reads_what_was_written(open().await.as_ref()).await;
    snapshots_do_not_move(open().await.as_ref()).await;
    scans_in_order_within_bounds(open().await.as_ref()).await;
    refuses_what_relied_on_the_past(open().await.as_ref()).await;
    refuses_phantoms(open().await.as_ref()).await;
    a_refused_commit_changes_nothing(open().await.as_ref()).await;
    counts_without_losing_any(open().await).await;
    tells_observers_in_order(open().await.as_ref()).await;
    tells_observers_of_every_index_that_shows(open().await.as_ref()).await;
    a_closed_store_answers_so(open().await.as_ref()).await;
}

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(at: &str, value: &str) -> Write {
    Write { key: key(at), value: Some(key(value)) }
}

fn delete(at: &str) -> Write {
    Write { key: key(at), value: None }
}

fn writes(writes: Vec<Write>) -> Commit {
    Commit { writes, ..Commit::default() }
}

async fn get(store: &dyn Store, at: &str) -> Option<(Index, Bytes)> {
    let snapshot = store.snapshot().await.expect("a snapshot");
    snapshot.get(at.as_bytes()).await.expect("a read").map(|entry| (entry.modified, entry.value))
}

async fn reads_what_was_written(store: &dyn Store) {
    let first = store.commit(writes(vec![put("a", "1"), put("b", "2")])).await.expect("commits");
    assert_eq!(get(store, "a").await, Some((first, key("1"))));
    assert!(store.applied() >= first);
    let second = store.commit(writes(vec![put("a", "3"), delete("b"), put("c", "")])).await.expect("commits");
    assert!(second > first);
    assert_eq!(get(store, "a").await, Some((second, key("3"))));
    assert_eq!(get(store, "b").await, None);
    assert_eq!(get(store, "c").await, Some((second, key(""))));
    let last = store.commit(writes(vec![put("a", "4"), put("a", "5")])).await.expect("commits");
    assert_eq!(get(store, "a").await, Some((last, key("5"))), "the last write to a key counts");
}

async fn snapshots_do_not_move(store: &dyn Store) {
    store.commit(writes(vec![put("a", "old"), put("gone", "x")])).await.expect("commits");
    let snapshot = store.snapshot().await.expect("a snapshot");
    store.commit(writes(vec![put("a", "new"), delete("gone"), put("b", "new")])).await.expect("commits");
    assert_eq!(snapshot.get(b"a").await.expect("reads").expect("is there").value, key("old"));
    assert_eq!(snapshot.get(b"b").await.expect("reads"), None);
    let all = snapshot.scan(&KeyRange::prefix(b""), 10).await.expect("scans");
    assert_eq!(all.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), vec![key("a"), key("gone")]);
    assert!(snapshot.index() < store.applied());
}

async fn scans_in_order_within_bounds(store: &dyn Store) {
    let all = ["a/1", "a/2", "a/3", "a0", "b/1", "\u{7f}"];
    store.commit(writes(all.iter().rev().map(|at| put(at, at)).collect())).await.expect("commits");
    let snapshot = store.snapshot().await.expect("a snapshot");
    let keys = |found: Vec<(Bytes, _)>| found.into_iter().map(|(key, _)| key).collect::<Vec<Bytes>>();
    let under_a = KeyRange::prefix(b"a/");
    assert_eq!(
        keys(snapshot.scan(&under_a, 10).await.expect("scans")),
        vec![key("a/1"), key("a/2"), key("a/3")]
    );
    assert_eq!(keys(snapshot.scan(&under_a, 2).await.expect("scans")), vec![key("a/1"), key("a/2")]);
    assert_eq!(keys(snapshot.scan(&under_a.after(b"a/2"), 9).await.expect("scans")), vec![key("a/3")]);
    assert!(snapshot.scan(&under_a.after(b"a/3"), 9).await.expect("scans").is_empty());
    assert!(snapshot.scan(&under_a.after(b"z"), 9).await.expect("scans").is_empty());
    assert_eq!(keys(snapshot.scan(&KeyRange::prefix(b""), 99).await.expect("scans")).len(), all.len());
}

async fn refuses_what_relied_on_the_past(store: &dyn Store) {
    let first = store.commit(writes(vec![put("a", "1")])).await.expect("commits");
    store.commit(writes(vec![put("a", "2")])).await.expect("commits");
    let stale = |modified, at: &str| Commit {
        points: vec![PointRead { key: key(at), modified }],
        writes: vec![put("x", "1")],
        ..Commit::default()
    };
    assert!(matches!(store.commit(stale(first, "a")).await, Err(CommitError::Conflict)));
    assert!(matches!(store.commit(stale(0, "a")).await, Err(CommitError::Conflict)));
    assert!(matches!(store.commit(stale(first, "absent")).await, Err(CommitError::Conflict)));
    store.commit(stale(0, "absent")).await.expect("absence still holds");
}

async fn refuses_phantoms(store: &dyn Store) {
    let base = store.commit(writes(vec![put("r/1", "1"), put("r/2", "2")])).await.expect("commits");
    let after = |seen_at, count| Commit {
        ranges: vec![RangeRead { range: KeyRange::prefix(b"r/"), count, seen_at }],
        writes: vec![put("x", "1")],
        ..Commit::default()
    };
    store.commit(after(base, 2)).await.expect("nothing moved");
    store.commit(writes(vec![put("r/3", "3")])).await.expect("commits");
    assert!(matches!(store.commit(after(base, 2)).await, Err(CommitError::Conflict)), "an addition");
    let now = store.commit(writes(vec![delete("r/1"), put("r/2", "two")])).await.expect("commits");
    assert!(
        matches!(store.commit(after(base, 2)).await, Err(CommitError::Conflict)),
        "same count, newer entries"
    );
    store.commit(after(now, 2)).await.expect("as it is now");
    store.commit(writes(vec![delete("r/2")])).await.expect("commits");
    assert!(matches!(store.commit(after(now, 2)).await, Err(CommitError::Conflict)), "a deletion");
}

async fn a_refused_commit_changes_nothing(store: &dyn Store) {
    store.commit(writes(vec![put("a", "1")])).await.expect("commits");
    let refused = Commit {
        points: vec![PointRead { key: key("a"), modified: 0 }],
        writes: vec![put("a", "2"), put("b", "2")],
        ..Commit::default()
    };
    assert!(matches!(store.commit(refused).await, Err(CommitError::Conflict)));
    assert_eq!(get(store, "a").await.map(|(_, value)| value), Some(key("1")));
    assert_eq!(get(store, "b").await, None);
}

/// Eight tasks add one to the same counter fifty times each, reading and trying again on conflict.
async fn counts_without_losing_any(store: Arc<dyn Store>) {
    let tasks = (0..8).map(|_| tokio::spawn(count_up(store.clone(), 50))).collect::<Vec<_>>();
    for task in tasks {
        task.await.expect("the task ends");
    }
    let (_, value) = get(store.as_ref(), "counter").await.expect("is there");
    assert_eq!(value, key("400"));
}

async fn count_up(store: Arc<dyn Store>, times: usize) {
    for _ in 0..times {
        loop {
            let (modified, value) = get(store.as_ref(), "counter").await.unwrap_or((0, key("0")));
            let count: u64 = String::from_utf8_lossy(&value).parse().expect("a number");
            let next = Commit {
                points: vec![PointRead { key: key("counter"), modified }],
                writes: vec![put("counter", &count.saturating_add(1).to_string())],
                ..Commit::default()
            };
            match store.commit(next).await {
                Ok(_) => break,
                Err(CommitError::Conflict) => tokio::task::yield_now().await,
                Err(other) => panic!("the store failed: {other}"),
            }
        }
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<(Index, Vec<Vec<u8>>)>>);

impl Observer for Recorder {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let keys = keys.iter().map(|key| key.to_vec()).collect();
        self.0.lock().expect("not poisoned").push((index, keys));
    }

    fn replaced(&self, _index: Index) {}
}

async fn tells_observers_in_order(store: &dyn Store) {
    let recorder = Arc::new(Recorder::default());
    store.observe(recorder.clone());
    let first = store.commit(writes(vec![put("a", "1"), delete("b")])).await.expect("commits");
    let second = store.commit(writes(vec![put("c", "1")])).await.expect("commits");
    let seen = recorder.0.lock().expect("not poisoned").clone();
    assert_eq!(seen, vec![(first, vec![b"a".to_vec(), b"b".to_vec()]), (second, vec![b"c".to_vec()])]);
}

/// Whatever follows the store waits to hear of the index that a snapshot shows. An index at which nothing was written,
/// because every commit there had lost to another, must be told, too.
async fn tells_observers_of_every_index_that_shows(store: &dyn Store) {
    let recorder = Arc::new(Recorder::default());
    store.observe(recorder.clone());
    store.commit(writes(vec![put("a", "1")])).await.expect("commits");
    let stale = PointRead { key: Bytes::from_static(b"a"), modified: 0 };
    let late = Commit { points: vec![stale], writes: vec![put("a", "2")], ..Commit::default() };
    assert!(matches!(store.commit(late).await, Err(CommitError::Conflict)));
    let shown = store.snapshot().await.expect("a snapshot").index();
    let told = recorder.0.lock().expect("not poisoned").iter().map(|(index, _)| *index).max();
    assert!(told >= Some(shown), "told of {told:?}, shown {shown}");
    assert!(store.applied() >= shown);
}

async fn a_closed_store_answers_so(store: &dyn Store) {
    store.close().await;
    assert!(store.snapshot().await.is_err());
    assert!(store.commit(writes(vec![put("a", "1")])).await.is_err());
}
