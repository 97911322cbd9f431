//! The parts together, on a database in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use strongroom_storage::{
    Active, Commit, CommitError, Coordinator, Index, Observer, PointRead, Role, SteppedDown, Store,
    StoreError, Write,
};

use crate::memory::{Fault, Memory};
use crate::{Database, Limits, Options, SharedStore, Timing};

fn options(number: u64, ha_enabled: bool) -> Options {
    let me = Active { number, node_id: format!("n{number}"), ..Active::default() };
    Options { me, ha_enabled, timing: Timing::default() }
}

async fn open(database: &Arc<Memory>, number: u64) -> Arc<SharedStore> {
    SharedStore::open(database.clone(), options(number, true)).await.unwrap()
}

fn put(at: &'static str, value: &'static str) -> Commit {
    let write =
        Write { key: Bytes::from_static(at.as_bytes()), value: Some(Bytes::from_static(value.as_bytes())) };
    Commit { writes: vec![write], ..Commit::default() }
}

async fn leads(store: &SharedStore) {
    while store.leading().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn value(store: &SharedStore, at: &str) -> Option<Bytes> {
    store.snapshot().await.unwrap().get(at.as_bytes()).await.unwrap().map(|found| found.value)
}

#[tokio::test]
async fn conforms_as_a_store() {
    strongroom_storage::conformance::run(|| async {
        let store = open(&Arc::default(), 1).await;
        leads(&store).await;
        store as Arc<dyn Store>
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn conforms_as_a_database() {
    let last: Mutex<Arc<Memory>> = Mutex::default();
    let fresh = || {
        *last.lock().unwrap() = Arc::default();
        std::future::ready(last.lock().unwrap().clone() as Arc<dyn Database>)
    };
    crate::conformance::run(fresh, || std::future::ready(last.lock().unwrap().clone() as Arc<dyn Database>))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out() {
    let database: Arc<Memory> = Arc::default();
    let store = open(&database, 1).await;
    leads(&store).await;
    store.commit(put("a", "1")).await.unwrap();
    database.set_fault(Fault::LosesAnswer);
    let index = store.commit(put("a", "2")).await.unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some(&b"2"[..]));
    assert_eq!(store.applied(), index);
    database.set_fault(Fault::LosesChange);
    assert!(matches!(store.commit(put("a", "3")).await, Err(CommitError::Conflict)));
    assert_eq!(value(&store, "a").await.as_deref(), Some(&b"2"[..]));
    let last = store.commit(put("a", "4")).await.unwrap();
    assert!(last > index);
}

#[tokio::test(start_paused = true)]
async fn without_its_database_a_node_stops_leading_and_comes_back() {
    let database: Arc<Memory> = Arc::default();
    let store = open(&database, 1).await;
    leads(&store).await;
    database.set_fault(Fault::Gone);
    let refused = store.commit(put("a", "1")).await;
    assert!(matches!(refused, Err(CommitError::Store(_) | CommitError::Uncertain(_))), "{refused:?}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.leading(), None);
    assert!(matches!(store.role(), Role::Unsure { since } if since > Duration::ZERO));
    assert!(matches!(store.commit(put("a", "1")).await, Err(CommitError::NotLeader { .. })));
    database.set_fault(Fault::None);
    leads(&store).await;
    store.commit(put("a", "1")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_falls_silent_is_succeeded() {
    let database: Arc<Memory> = Arc::default();
    let (first, second) = (open(&database, 1).await, open(&database, 2).await);
    leads(&first).await;
    assert_eq!(second.role(), Role::Follows);
    first.set_eligible(false);
    leads(&second).await;
    assert_eq!(first.leading(), None);
    assert_eq!(first.role(), Role::Follows);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first.active().unwrap().node_id, "n2");
    assert!(second.leading() > Some(1));
    assert_eq!(second.step_down().await, SteppedDown::NobodyReady, "nobody else may");
    leads(&second).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_unsealed_begins_and_lets_go() {
    let database: Arc<Memory> = Arc::default();
    let (first, second) = (open(&database, 1).await, open(&database, 2).await);
    for store in [&first, &second] {
        store.set_eligible(false);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.begin().await.unwrap();
    assert!(matches!(second.begin().await, Err(StoreError::Failed(_))));
    first.commit(put("seal", "1")).await.unwrap();
    assert_eq!(first.leading(), None, "it writes, and does not lead");
    second.set_eligible(true);
    leads(&second).await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_hears_that_others_write() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<Index>>);

    impl Observer for Heard {
        fn applied(&self, _index: Index, _keys: &[&[u8]]) {
            panic!("this node writes nothing");
        }

        fn replaced(&self, _index: Index) {
            panic!("nothing is replaced");
        }

        fn outdated(&self, index: Index) {
            self.0.lock().unwrap().push(index);
        }
    }

    let database: Arc<Memory> = Arc::default();
    let first = open(&database, 1).await;
    leads(&first).await;
    let second = open(&database, 2).await;
    let heard = Arc::new(Heard::default());
    second.observe(heard.clone());
    let index = first.commit(put("a", "1")).await.unwrap();
    assert_eq!(second.snapshot().await.unwrap().index(), index);
    assert_eq!(*heard.0.lock().unwrap(), [index], "before the snapshot is used");
    let later = first.commit(put("a", "2")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(*heard.0.lock().unwrap(), [index, later], "without being asked");
    assert_eq!(second.applied(), later);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_batches_are_split() {
    let database: Arc<Memory> = Arc::default();
    database.set_limits(Limits { keys: 3, bytes: 100 });
    let store = open(&database, 1).await;
    leads(&store).await;
    let many = Commit { writes: (0..4).flat_map(|_| put("a", "1").writes).collect(), ..Commit::default() };
    assert!(matches!(store.commit(many).await, Err(CommitError::Store(StoreError::Failed(_)))));
    let large = Write { key: Bytes::from_static(b"k"), value: Some(vec![0; 100].into()) };
    let large = Commit { writes: vec![large], ..Commit::default() };
    assert!(matches!(store.commit(large).await, Err(CommitError::TooLarge { size: 101, limit: 100 })));
    let commits = (0..40).map(|_| {
        tokio::spawn({
            let store = store.clone();
            async move { store.commit(put("a", "1")).await }
        })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(store.applied(), 40);
}

#[tokio::test]
async fn commits_of_a_batch_see_each_other() {
    let database: Arc<Memory> = Arc::default();
    let store = open(&database, 1).await;
    leads(&store).await;
    let absent = PointRead { key: Bytes::from_static(b"a"), modified: 0 };
    let once = Commit { points: vec![absent], ..put("a", "1") };
    let tries: Vec<_> = (0..20)
        .map(|_| {
            tokio::spawn({
                let (store, once) = (store.clone(), once.clone());
                async move { store.commit(once).await }
            })
        })
        .collect();
    let mut done = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert!(matches!(error, CommitError::Conflict), "{error}"),
        }
    }
    assert_eq!(done, 1);
}
