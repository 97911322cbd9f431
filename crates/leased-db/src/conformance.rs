//! The suite of what every [`Database`] must do. A backend calls [`run`] from its tests with a way to make a fresh
//! database and to connect to it again.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test suite that happens to live in a library: failing loudly is its purpose"
)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strongroom_storage::{Active, CommitError, Coordinator as _, KeyRange, SteppedDown, Store, Versioned};

use crate::{ApplyError, Batch, Claim, Database, Fence, Options, SharedStore, Timing};

/// The validity of a lock in these tests: as short as backends can.
const SPAN: Duration = Duration::from_secs(3);

/// Runs the whole suite, each case on a database of its own: `fresh` makes one, and `connect` connects another node to
/// the one made last.
pub async fn run<F, C, O>(fresh: F, connect: C)
where
    F: Fn() -> O,
    C: Fn() -> O,
    O: Future<Output = Arc<dyn Database>>,
{
    applies_to_the_head_it_was_made_for(fresh().await.as_ref()).await;
    keeps_entries_as_they_are(fresh().await.as_ref()).await;
    finds_what_was_modified(fresh().await.as_ref()).await;
    let one = fresh().await;
    one_owns_the_lock(one.as_ref(), connect().await.as_ref()).await;
    let one = fresh().await;
    force_takes_the_lock(one.as_ref(), connect().await.as_ref()).await;
    let one = fresh().await;
    a_deposed_store_does_not_write(one, connect().await).await;
    let one = fresh().await;
    another_store_takes_over(one, connect().await).await;
}

fn holder(name: &str) -> Active {
    Active {
        number: name.bytes().map(u64::from).sum(),
        node_id: name.to_owned(),
        api_address: format!("https://{name}:8200"),
        cluster_address: format!("https://{name}:8201"),
    }
}

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(at: &str, modified: u64, value: &str) -> (Bytes, Versioned) {
    (key(at), Versioned { modified, value: key(value) })
}

async fn claim(database: &dyn Database, name: &str, by_force: bool) -> Option<Fence> {
    match database.claim(&holder(name), SPAN, by_force).await.expect("an answer") {
        Claim::Granted(fence) => Some(fence),
        Claim::Held(_) => None,
    }
}

async fn applies_to_the_head_it_was_made_for(database: &dyn Database) {
    let before = database.head().await.expect("a head");
    assert!(!before.cluster_id.is_empty());
    let fence = claim(database, "one", false).await.expect("the lock is free");
    assert!(fence > before.fence);
    let head = database.head().await.expect("a head");
    assert_eq!((head.fence, head.index, &head.cluster_id), (fence, before.index, &before.cluster_id));
    let from = head.index;
    let to = from.saturating_add(2);
    let batch = Batch {
        fence,
        from,
        to,
        puts: vec![put("a", from.saturating_add(1), "1"), put("b", to, "2")],
        deletes: vec![key("absent")],
    };
    database.apply(&batch).await.expect("applies");
    assert_eq!(database.head().await.expect("a head").index, to);
    assert!(matches!(database.apply(&batch).await, Err(ApplyError::Overtaken)), "of an older index");
    let later = Batch { fence, from: to, to: to.saturating_add(1), ..Batch::default() };
    let foreign = Batch { fence: fence.saturating_add(1), puts: vec![put("a", to, "x")], ..later.clone() };
    assert!(matches!(database.apply(&foreign).await, Err(ApplyError::Overtaken)), "of another fence");
    database.apply(&later).await.expect("an empty batch moves the head, too");
    let last = later.to.saturating_add(1);
    let deletion =
        Batch { fence, from: later.to, to: last, puts: vec![put("c", last, "")], deletes: vec![key("a")] };
    database.apply(&deletion).await.expect("applies");
    let snapshot = database.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.index(), last);
    let all = snapshot.scan(&KeyRange::prefix(b""), 10).await.expect("scans");
    assert_eq!(all, vec![put("b", to, "2"), put("c", last, "")]);
}

async fn keeps_entries_as_they_are(database: &dyn Database) {
    let fence = claim(database, "one", false).await.expect("the lock is free");
    let from = database.head().await.expect("a head").index;
    let to = from.saturating_add(1);
    let odd: Vec<Bytes> = [&b"\0"[..], b"\0\0", b"'\"\\%_", b"\x7f", b"\xc3\x28", b"\xff", b"\xff\xff\xff"]
        .into_iter()
        .map(Bytes::from_static)
        .collect();
    let value = |key: &Bytes| Bytes::from([key.as_ref(), b"\0\xff\n"].concat());
    let entry = |key: &Bytes| (key.clone(), Versioned { modified: to, value: value(key) });
    let mut puts: Vec<_> = odd.iter().map(entry).collect();
    puts.reverse();
    let large = Bytes::from(vec![0xa5; database.limits().bytes.saturating_sub(4096)]);
    database.apply(&Batch { fence, from, to, puts, deletes: Vec::new() }).await.expect("applies");
    let snapshot = database.snapshot().await.expect("a snapshot");
    let all = snapshot.scan(&KeyRange::prefix(b""), 100).await.expect("scans");
    assert_eq!(all, odd.iter().map(entry).collect::<Vec<_>>(), "in the order of bytes");
    let after = KeyRange::prefix(b"\xff").after(b"\xff");
    assert_eq!(snapshot.scan(&after, 100).await.expect("scans").len(), 1);
    for key in &odd {
        assert_eq!(snapshot.get(key).await.expect("reads").map(|found| found.value), Some(value(key)));
    }
    let last = to.saturating_add(1);
    let puts = vec![(key("large"), Versioned { modified: last, value: large.clone() })];
    database.apply(&Batch { fence, from: to, to: last, puts, deletes: odd }).await.expect("applies");
    assert_eq!(snapshot.get(b"large").await.expect("reads"), None, "a snapshot does not move");
    assert_eq!(snapshot.scan(&KeyRange::prefix(b""), 100).await.expect("scans"), all);
    let now = database.snapshot().await.expect("a snapshot");
    assert_eq!(now.get(b"large").await.expect("reads").map(|found| found.value), Some(large));
    assert_eq!(now.scan(&KeyRange::prefix(b""), 100).await.expect("scans").len(), 1);
}

async fn finds_what_was_modified(database: &dyn Database) {
    let fence = claim(database, "one", false).await.expect("the lock is free");
    let from = database.head().await.expect("a head").index;
    let to = from.saturating_add(3);
    let at = |step: u64| from.saturating_add(step);
    let puts =
        vec![put("r/1", at(1), "x"), put("r/2", at(3), "x"), put("r/3", at(2), "x"), put("s", at(2), "x")];
    database.apply(&Batch { fence, from, to, puts, deletes: Vec::new() }).await.expect("applies");
    let asked = [key("s"), key("absent"), key("r/1"), key("r/2")];
    assert_eq!(database.modified(&asked).await.expect("an answer"), vec![at(2), 0, at(1), at(3)]);
    let range = KeyRange::prefix(b"r/");
    assert_eq!(database.count_and_newest(&range, 10).await.expect("an answer"), (3, at(3)));
    assert_eq!(database.count_and_newest(&range, 2).await.expect("an answer").0, 2, "no further");
    assert_eq!(database.count_and_newest(&KeyRange::prefix(b"t"), 9).await.expect("an answer"), (0, 0));
    assert_eq!(database.count_and_newest(&range.after(b"r/2"), 9).await.expect("an answer"), (1, at(2)));
}

async fn one_owns_the_lock(one: &dyn Database, two: &dyn Database) {
    let fence = claim(one, "one", false).await.expect("the lock is free");
    assert_eq!(claim(two, "two", false).await, None, "it is held");
    assert_eq!(two.holder().await.expect("an answer"), Some(holder("one")));
    assert!(one.renew(fence, SPAN).await.expect("an answer"));
    assert!(!two.renew(fence.saturating_add(1), SPAN).await.expect("an answer"), "of no owner");
    two.release(fence.saturating_add(1)).await.expect("an answer");
    assert_eq!(two.holder().await.expect("an answer"), Some(holder("one")), "not another's to give back");
    one.release(fence).await.expect("an answer");
    assert_eq!(two.holder().await.expect("an answer"), None);
    assert!(!one.renew(fence, SPAN).await.expect("an answer"), "given back is given back");
    let second = claim(two, "two", false).await.expect("the lock is free");
    assert!(second > fence);
    // Its time runs out.
    let mut third = None;
    for _ in 0..100 {
        third = claim(one, "one", false).await;
        if third.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(third.expect("the lock is free after its time") > second);
    assert!(!two.renew(second, SPAN).await.expect("an answer"), "it is another's");
    let from = two.head().await.expect("a head").index;
    let late = Batch { fence: second, from, to: from.saturating_add(1), ..Batch::default() };
    assert!(matches!(two.apply(&late).await, Err(ApplyError::Overtaken)), "who has lost it does not write");
}

async fn force_takes_the_lock(one: &dyn Database, two: &dyn Database) {
    let fence = claim(one, "one", false).await.expect("the lock is free");
    let second = claim(two, "two", true).await.expect("by force");
    assert!(second > fence);
    assert!(!one.renew(fence, SPAN).await.expect("an answer"));
    assert_eq!(one.holder().await.expect("an answer"), Some(holder("two")));
}

fn options(name: &str, ha_enabled: bool) -> Options {
    let timing = Timing {
        span: SPAN,
        renew_every: Duration::from_millis(500),
        look_every: Duration::from_millis(100),
        ..Timing::default()
    };
    Options { me: holder(name), ha_enabled, timing }
}

fn write(at: &str, value: &str) -> strongroom_storage::Commit {
    let write = strongroom_storage::Write { key: key(at), value: Some(key(value)) };
    strongroom_storage::Commit { writes: vec![write], ..Default::default() }
}

/// Commits once the store owns the lock.
async fn commit_when_leading(store: &SharedStore, at: &str, value: &str) {
    for _ in 0..200 {
        match store.commit(write(at, value)).await {
            Ok(_) => return,
            Err(CommitError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(other) => panic!("the store failed: {other}"),
        }
    }
    panic!("the store never led");
}

async fn read(store: &SharedStore, at: &str) -> Option<Bytes> {
    let snapshot = store.snapshot().await.expect("a snapshot");
    snapshot.get(at.as_bytes()).await.expect("reads").map(|found| found.value)
}

async fn a_deposed_store_does_not_write(one: Arc<dyn Database>, two: Arc<dyn Database>) {
    let first = SharedStore::open(one, options("one", false)).await.expect("opens");
    commit_when_leading(&first, "a", "1").await;
    let second = SharedStore::open(two, options("two", false)).await.expect("opens");
    commit_when_leading(&second, "a", "2").await;
    for _ in 0..3 {
        assert!(matches!(first.commit(write("a", "late")).await, Err(CommitError::NotLeader { .. })));
    }
    assert_eq!(first.leading(), None);
    assert_eq!(read(&second, "a").await, Some(key("2")));
    commit_when_leading(&second, "a", "3").await;
    first.close().await;
    second.close().await;
}

async fn another_store_takes_over(one: Arc<dyn Database>, two: Arc<dyn Database>) {
    let first = SharedStore::open(one, options("one", true)).await.expect("opens");
    commit_when_leading(&first, "a", "1").await;
    let second = SharedStore::open(two, options("two", true)).await.expect("opens");
    assert!(matches!(second.commit(write("a", "x")).await, Err(CommitError::NotLeader { .. })));
    assert_eq!(read(&second, "a").await, Some(key("1")));
    for _ in 0..100 {
        if second.active().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(second.active().map(|active| active.node_id).as_deref(), Some("one"));
    assert_eq!(first.step_down().await, SteppedDown::HandedOver);
    assert!(matches!(first.commit(write("a", "late")).await, Err(CommitError::NotLeader { .. })));
    commit_when_leading(&second, "a", "2").await;
    assert_eq!(read(&first, "a").await, Some(key("2")));
    second.close().await;
    commit_when_leading(&first, "a", "3").await;
    first.close().await;
}
