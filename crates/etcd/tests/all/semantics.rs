//! Heads, batches, views.

use std::process::Command;

use bytes::Bytes;
use strongroom_etcd::Etcd;
use strongroom_leased_db::{ApplyError, Batch, Database};
use strongroom_storage::{KeyRange, Snapshot, StoreError, Versioned};

use crate::server::Server;
use crate::{batch, bytes, entry};

async fn keys(snapshot: &dyn Snapshot, range: &KeyRange, limit: usize) -> Vec<Bytes> {
    snapshot.scan(range, limit).await.unwrap().into_iter().map(|(key, _)| key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_find_the_store_that_one_of_them_made() {
    let server = Server::shared();
    let (first, second) = tokio::join!(server.open("found"), server.open("/found/"));
    let head = first.head().await.unwrap();
    assert_eq!((head.index, head.fence, head.cluster_id.len()), (0, 0, 36));
    assert_eq!(second.head().await.unwrap(), head);
    assert_eq!(server.open("found").await.head().await.unwrap(), head);
    assert_ne!(server.open("another").await.head().await.unwrap().cluster_id, head.cluster_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_something_else_uses_is_refused() {
    let server = Server::shared();
    server.open("taken/by/us").await;
    let error = Etcd::open(server.options("taken")).await.err().unwrap().to_string();
    assert!(error.contains("something else keeps") && error.contains("/taken/by/us/"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_applied_on_the_head_that_it_is_made_for_alone() {
    let server = Server::shared();
    let etcd = server.open("apply").await;
    etcd.apply(&batch(0, 0, &[("a", "1"), ("b", "")])).await.unwrap();
    for wrong in [batch(0, 0, &[("a", "2")]), batch(0, 2, &[("a", "2")]), batch(1, 1, &[("a", "2")])] {
        assert!(matches!(etcd.apply(&wrong).await, Err(ApplyError::Overtaken)), "{wrong:?}");
    }
    assert_eq!(etcd.head().await.unwrap().index, 1);
    let next = Batch {
        from: 1,
        to: 4,
        puts: vec![entry("a", 2, "2"), entry("c", 4, "3")],
        deletes: vec![bytes("b"), bytes("never there")],
        fence: 0,
    };
    etcd.apply(&next).await.unwrap();
    let snapshot = etcd.snapshot().await.unwrap();
    assert_eq!(snapshot.index(), 4);
    let all = snapshot.scan(&KeyRange::prefix(b""), 10).await.unwrap();
    assert_eq!(all, vec![entry("a", 2, "2"), entry("c", 4, "3")]);
    let asked = [bytes("c"), bytes("b"), bytes("a"), bytes("never there")];
    assert_eq!(etcd.modified(&asked).await.unwrap(), vec![4, 0, 2, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_write_at_once_one_is_overtaken() {
    let server = Server::shared();
    let (one, other) = (server.open("race").await, server.open("race").await);
    for at in 0..20 {
        let (mine, theirs) = (batch(0, at, &[("who", "one")]), batch(0, at, &[("who", "other")]));
        let (mine, theirs) = tokio::join!(one.apply(&mine), other.apply(&theirs));
        assert!(mine.is_ok() != theirs.is_ok(), "{mine:?} {theirs:?}");
        assert!(matches!(mine.and(theirs), Err(ApplyError::Overtaken)));
    }
    assert_eq!(one.head().await.unwrap().index, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_does_not_move() {
    let server = Server::shared();
    let etcd = server.open("view").await;
    etcd.apply(&batch(0, 0, &[("a", "old"), ("b", "")])).await.unwrap();
    let snapshot = etcd.snapshot().await.unwrap();
    let next = Batch { deletes: vec![bytes("b")], ..batch(0, 1, &[("a", "new"), ("c", "new")]) };
    etcd.apply(&next).await.unwrap();
    assert_eq!(snapshot.index(), 1);
    let at = |key| snapshot.get(key);
    assert_eq!(at(b"a").await.unwrap().unwrap().value, bytes("old"));
    assert_eq!(at(b"b").await.unwrap(), Some(Versioned { modified: 1, value: Bytes::new() }));
    assert_eq!(at(b"c").await.unwrap(), None);
    assert_eq!(keys(&*snapshot, &KeyRange::prefix(b""), 9).await, [bytes("a"), bytes("b")]);
    assert_eq!(etcd.snapshot().await.unwrap().get(b"b").await.unwrap(), None);
}

/// Keys of all kinds, more than a page of them, written in large batches.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_read_in_order_over_pages() {
    let server = Server::shared();
    let etcd = server.open("range").await;
    let most = 2_000;
    let name = |number: usize| format!("r/{number:05}");
    for at in 0..3 {
        let puts = (0..most).map(|number| {
            let number = (most - 1 - number) * 3 + at;
            (name(number), number.to_string())
        });
        let puts: Vec<(String, String)> = puts.collect();
        let puts: Vec<(&str, &str)> = puts.iter().map(|(key, value)| (&**key, &**value)).collect();
        etcd.apply(&batch(0, at as u64, &puts)).await.unwrap();
    }
    let odd = [&b"r"[..], b"r\0", b"r/", b"r0", b"\xff", b"\xff\xff", b""];
    let puts = odd.iter().map(|key| (Bytes::copy_from_slice(key), entry("", 4, "odd").1)).collect();
    etcd.apply(&Batch { fence: 0, from: 3, to: 4, puts, deletes: Vec::new() }).await.unwrap();

    let snapshot = etcd.snapshot().await.unwrap();
    let under = KeyRange::prefix(b"r/");
    let all = keys(&*snapshot, &under, 10_000).await;
    assert_eq!(all.len(), 3 * most + 1);
    assert!(all.is_sorted());
    assert_eq!(all[most].as_ref(), name(most - 1).as_bytes());
    assert_eq!(keys(&*snapshot, &under, 3).await, all[..3]);
    assert_eq!(keys(&*snapshot, &under.after(&all[4_321]), 4).await, all[4_322..4_326]);
    assert!(keys(&*snapshot, &under, 0).await.is_empty());
    assert!(keys(&*snapshot, &under.after(b"s"), 5).await.is_empty());
    let everything = keys(&*snapshot, &KeyRange::prefix(b""), usize::MAX).await;
    assert_eq!(everything.len(), 3 * most + odd.len());
    assert_eq!((everything[0].as_ref(), everything.last().unwrap().as_ref()), (&b""[..], &b"\xff\xff"[..]));
    assert_eq!(keys(&*snapshot, &KeyRange::prefix(b"\xff"), 9).await.len(), 2);

    let count = 3 * most as u64 + 1;
    assert_eq!(etcd.count_and_newest(&under, count + 1).await.unwrap(), (count, 4));
    assert_eq!(etcd.count_and_newest(&under.after(b"r/"), 5).await.unwrap(), (5, 3));
    assert_eq!(etcd.count_and_newest(&under.after(b"r/"), 1).await.unwrap(), (1, 1));
    assert_eq!(etcd.count_and_newest(&under, 0).await.unwrap(), (0, 0));
    assert_eq!(etcd.count_and_newest(&under.after(b"s"), 9).await.unwrap(), (0, 0));

    let deletes = all[..most].to_vec();
    etcd.apply(&Batch { fence: 0, from: 4, to: 5, puts: Vec::new(), deletes }).await.unwrap();
    assert_eq!(etcd.count_and_newest(&under, count).await.unwrap().0, count - most as u64);
    let asked = &all[most - 40..most + 40];
    let modified = etcd.modified(asked).await.unwrap();
    assert!(modified[..40].iter().all(|index| *index == 0) && modified[40..].iter().all(|index| *index > 0));
}

/// More than an answer may have, and each as large as can be.
#[tokio::test(flavor = "multi_thread")]
async fn values_as_large_as_can_be_are_written_and_read() {
    let server = Server::shared();
    let etcd = server.open("x".repeat(62).as_str()).await;
    let large = vec![0x5a; etcd.limits().bytes - 7];
    let value = Bytes::from(large);
    let name = |at: u64| Bytes::from(format!("big/{at:03}"));
    let small: Vec<(Bytes, Versioned)> =
        (0..500).map(|at| (Bytes::from(format!("big!{at:03}")), entry("", 1, "small").1)).collect();
    etcd.apply(&Batch { fence: 0, from: 0, to: 1, puts: small, deletes: Vec::new() }).await.unwrap();
    for at in 1..=60 {
        let puts = vec![(name(at), Versioned { modified: at + 1, value: value.clone() })];
        etcd.apply(&Batch { fence: 0, from: at, to: at + 1, puts, deletes: Vec::new() }).await.unwrap();
    }
    let snapshot = etcd.snapshot().await.unwrap();
    assert_eq!(snapshot.get(&name(60)).await.unwrap().unwrap().value, value);
    // The small ones lead to pages of many entries.
    let read = snapshot.scan(&KeyRange::prefix(b"big"), 555).await.unwrap();
    assert_eq!(read.len(), 555);
    assert!(read[500..].iter().all(|(_, entry)| entry.value == value));
    let all: Vec<Bytes> = (1..=60).map(name).collect();
    assert_eq!(etcd.modified(&all).await.unwrap(), (2..=61).collect::<Vec<_>>());
}

/// As many keys as a batch may have, each as long as fits, below a short path and below the longest.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_fits_into_a_request() {
    let server = Server::shared();
    for path in ["y".to_owned(), "y".repeat(62)] {
        let etcd = server.open(&path).await;
        let limits = etcd.limits();
        assert!(limits.keys >= 4_500, "{limits:?}");
        let each = limits.bytes / limits.keys;
        let puts = (0..limits.keys).map(|at| entry(&format!("{at:0width$}", width = each - 5), 1, "value"));
        let puts: Vec<(Bytes, Versioned)> = puts.collect();
        etcd.apply(&Batch { fence: 0, from: 0, to: 1, puts, deletes: Vec::new() }).await.unwrap();
        let most = limits.keys as u64;
        assert_eq!(etcd.count_and_newest(&KeyRange::prefix(b""), most + 1).await.unwrap(), (most, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_refuses_is_said_to_be_refused() {
    let server = Server::shared();
    let etcd = server.open("refused").await;
    let too_large = "x".repeat(1 << 21);
    match etcd.apply(&batch(0, 0, &[("a", &too_large)])).await {
        Err(ApplyError::Refused(error)) => assert!(error.contains("large"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(etcd.head().await.unwrap().index, 0);
}

/// A view of what etcd has compacted is an error that says so, and not fewer entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_the_compacted_past_says_so() {
    let server = Server::start();
    let etcd = server.open("compacted").await;
    etcd.apply(&batch(0, 0, &[("a", "1")])).await.unwrap();
    let snapshot = etcd.snapshot().await.unwrap();
    etcd.apply(&batch(0, 1, &[("a", "2")])).await.unwrap();
    let done = Command::new("curl")
        .args(["-sSf", "-o", "/dev/null", &format!("{}/v3/kv/compaction", server.url()), "-d"])
        .arg(r#"{"revision":"4","physical":true}"#)
        .status()
        .unwrap();
    assert!(done.success());
    for error in
        [snapshot.get(b"a").await.unwrap_err(), snapshot.scan(&KeyRange::prefix(b""), 5).await.unwrap_err()]
    {
        assert!(matches!(&error, StoreError::Failed(text) if text.contains("compacted")), "{error}");
    }
    assert!(etcd.snapshot().await.unwrap().get(b"a").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_answers_so() {
    let server = Server::shared();
    let etcd = server.open("closed").await;
    let snapshot = etcd.snapshot().await.unwrap();
    etcd.close().await;
    assert!(matches!(etcd.head().await, Err(StoreError::Closed)));
    assert!(matches!(snapshot.get(b"a").await, Err(StoreError::Closed)));
    assert!(matches!(etcd.apply(&batch(0, 0, &[])).await, Err(ApplyError::Refused(_))));
}
