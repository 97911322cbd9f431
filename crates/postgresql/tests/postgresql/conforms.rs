//! The suites that every database and every store must pass.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_leased_db::{ApplyError, Batch, Database, SharedStore};
use strongroom_postgresql::Options;
use strongroom_storage::{Coordinator as _, Store, StoreError};

use crate::server::{Server, open};
use crate::{change, claim, holder, until};

/// Options for tables that nothing has been in yet.
fn fresh_tables(options: &Options) -> Options {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // The lock's table is the same for all of them.
    Options { table: format!("Store {number}"), ..options.clone() }
}

async fn connected(options: Options) -> Arc<dyn Database> {
    Arc::new(open(&options).await)
}

#[tokio::test]
async fn conforms_as_a_database() {
    let options = Server::shared().database().await.options();
    let last = Mutex::new(options);
    let fresh = || {
        let options = fresh_tables(&last.lock().unwrap());
        *last.lock().unwrap() = options.clone();
        connected(options)
    };
    let connect = || connected(last.lock().unwrap().clone());
    strongroom_leased_db::conformance::run(fresh, connect).await;
}

#[tokio::test]
async fn conforms_as_a_store() {
    let options = Server::shared().database().await.options();
    strongroom_storage::conformance::run(|| {
        let options = fresh_tables(&options);
        async move {
            let database = Arc::new(open(&options).await);
            let options =
                strongroom_leased_db::Options { me: holder(1), ha_enabled: true, ..Default::default() };
            let store = SharedStore::open(database, options).await.unwrap();
            until("the store leads", || std::future::ready(store.leading().is_some())).await;
            store as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn of_two_that_write_at_once_one_does() {
    let database = Server::shared().database().await;
    let (one, two) = (database.open().await, database.open().await);
    claim(&one, 1).await;
    for round in 0..50 {
        let batch = change(&one, "a", "1").await;
        let (first, second) = futures::join!(one.apply(&batch), two.apply(&batch));
        let done = [&first, &second].iter().filter(|outcome| outcome.is_ok()).count();
        let overtaken = |outcome| matches!(outcome, &Err(ApplyError::Overtaken));
        let lost = [&first, &second].into_iter().filter(|outcome| overtaken(*outcome)).count();
        assert_eq!((done, lost), (1, 1), "round {round}: {first:?}, {second:?}");
    }
}

#[tokio::test]
async fn a_claim_gets_through_to_a_busy_head() {
    let database = Server::shared().database().await;
    let (one, two) = (database.open().await, database.open().await);
    let fence = claim(&one, 1).await;
    let writing = async {
        loop {
            let batch = Batch { fence, ..change(&one, "a", "1").await };
            match one.apply(&batch).await {
                Ok(()) => {}
                Err(ApplyError::Overtaken) => return,
                Err(other) => panic!("{other}"),
            }
        }
    };
    let claiming = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        claim(&two, 2).await
    };
    let ((), fence) = futures::join!(writing, claiming);
    assert_eq!(two.head().await.unwrap().fence, fence);
}

#[tokio::test]
async fn what_is_closed_says_so() {
    let database = Server::shared().database().await;
    let store = database.open().await;
    claim(&store, 1).await;
    let batch = change(&store, "a", "1").await;
    let snapshot = store.snapshot().await.unwrap();
    store.close().await;
    store.close().await;
    let closed = |error: StoreError| {
        assert!(matches!(error, StoreError::Closed), "{error}");
    };
    closed(store.head().await.unwrap_err());
    closed(store.snapshot().await.map(|_| ()).unwrap_err());
    closed(store.holder().await.unwrap_err());
    closed(store.modified(&["a".into()]).await.unwrap_err());
    assert!(matches!(store.apply(&batch).await, Err(ApplyError::Refused(_))));
    assert_eq!(snapshot.get(b"a").await.unwrap(), None, "what was begun may be finished");
    drop(snapshot);
    let admin = database.admin().await;
    until("all connections are gone", || async {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        admin.query_one(count, &[&database.name]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
}
