use std::time::Duration;

use strongroom_barrier::{
    Barrier, BarrierError, Keyring, MountId, MountSpace, NamespaceId, Table, Txn, tables,
};
use strongroom_stdx::{Entropy, Moment};
use strongroom_storage::InMemory;

use super::*;

tables! {
    NOTES: Table<MountSpace, str, String> = 1;
}

const PLACE: MountPlace = MountPlace { namespace: NamespaceId::ROOT, mount: MountId::new(7), local: false };

fn open() -> (Arc<Barrier>, Arc<Bus>) {
    let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
    barrier.unseal(Keyring::generate(&Entropy::system(), Moment::default()).unwrap());
    let bus = Bus::new();
    barrier.publish_to(bus.clone());
    (barrier, bus)
}

fn event(path: &str) -> Event {
    Event::new("notes/write", Moment::default(), path.to_owned())
}

/// Writes and tells of it, without committing.
fn write(barrier: &Arc<Barrier>, key: &str) -> Txn {
    let txn = barrier.transaction(barrier.view());
    NOTES.put(&txn.mount(PLACE), key, String::new()).unwrap();
    txn.mount(PLACE).emit(|| event(key));
    txn
}

fn all() -> Filter {
    Box::new(|_| true)
}

#[tokio::test]
async fn an_event_is_told_with_its_commits_index() {
    let (barrier, bus) = open();
    let mut heard = bus.subscribe(8, all()).unwrap();
    let txn = write(&barrier, "a");
    txn.emit(|| event("of the server"));
    assert!(heard.try_next().is_none(), "not before the commit");
    let index = txn.commit().await.unwrap();
    let published = heard.next().await;
    let expected = Published { index, position: 0, origin: Some(PLACE), event: event("a") };
    assert_eq!(*published, expected);
    let published = heard.next().await;
    assert_eq!((published.index, published.position, published.origin), (index, 1, None));
    assert!(heard.try_next().is_none(), "at most once");
    let metadata: Vec<_> = expected.event.metadata.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(metadata, [("modified", "true"), ("operation", "write"), ("path", "a")]);
}

#[tokio::test]
async fn what_is_not_committed_is_not_told() {
    let (barrier, bus) = open();
    let mut heard = bus.subscribe(8, all()).unwrap();
    drop(write(&barrier, "a"));
    let discarded = write(&barrier, "b");
    discarded.discard();
    discarded.commit().await.unwrap();
    let empty = barrier.transaction(barrier.view());
    empty.emit(|| event("c"));
    empty.commit().await.unwrap();
    let beaten = barrier.transaction(barrier.view());
    NOTES.get(&beaten.mount(PLACE), "d").await.unwrap();
    write(&barrier, "d").commit().await.unwrap();
    NOTES.put(&beaten.mount(PLACE), "d", String::new()).unwrap();
    beaten.emit(|| event("never"));
    assert!(matches!(beaten.commit().await, Err(BarrierError::Conflict)));
    let paths: Vec<_> =
        std::iter::from_fn(|| heard.try_next()).map(|told| told.event.metadata["path"].clone()).collect();
    assert_eq!(paths, ["d"]);
}

#[tokio::test]
async fn events_are_made_only_where_somebody_listens() {
    let (barrier, bus) = open();
    let txn = barrier.transaction(barrier.view());
    txn.emit(|| unreachable!("nobody listens"));
    let subscription = bus.subscribe(1, all()).unwrap();
    assert!(bus.is_heard());
    drop(subscription);
    assert!(!bus.is_heard());
    txn.emit(|| unreachable!("nobody listens any more"));
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_holds_up_nobody() {
    let (barrier, bus) = open();
    let mut slow = bus.subscribe(2, all()).unwrap();
    let mut quick = bus.subscribe(100, Box::new(|told| told.event.metadata["path"] != "3")).unwrap();
    let mut indexes = Vec::new();
    for number in 0..5 {
        indexes.push(write(&barrier, &number.to_string()).commit().await.unwrap());
    }
    assert_eq!((slow.next().await.index, slow.next().await.index), (indexes[0], indexes[1]));
    assert!(slow.try_next().is_none());
    assert_eq!((slow.take_dropped(), slow.take_dropped()), (3, 0));
    let after = write(&barrier, "5").commit().await.unwrap();
    assert_eq!(slow.next().await.index, after, "the gap shows in the index");
    let heard: Vec<_> = std::iter::from_fn(|| quick.try_next()).map(|told| told.index).collect();
    assert_eq!(heard, [indexes[0], indexes[1], indexes[2], indexes[4], after]);
    assert_eq!(quick.take_dropped(), 0, "what is filtered out is not lost");
}

#[tokio::test]
async fn whoever_waits_is_woken() {
    let (barrier, bus) = open();
    let mut heard = bus.subscribe(8, all()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(1), heard.next()).await.is_err());
    let (told, committed) = futures::join!(heard.next(), write(&barrier, "a").commit());
    assert_eq!(told.index, committed.unwrap());
}

#[test]
fn subscribers_are_bounded() {
    let bus = Bus::new();
    let held: Vec<_> = (0..MAX_SUBSCRIBERS).map(|_| bus.subscribe(1, all()).unwrap()).collect();
    assert!(bus.subscribe(1, all()).is_err_and(|error| error == TooManySubscribers));
    drop(held);
    assert!(bus.subscribe(1, all()).is_ok());
}
