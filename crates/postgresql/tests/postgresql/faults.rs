//! The outcome of requests when the database, or the way to it, fails.

use std::sync::Arc;
use std::time::Duration;

use strongroom_leased_db::{ApplyError, Database};
use strongroom_postgresql::Options;
use strongroom_storage::StoreError;
use tokio_postgres::Client;

use crate::server::{Database as TestDatabase, Server, open};
use crate::{LONG, change, claim, get, holder, until};

/// A connection that keeps the table of entries to itself until it is told otherwise.
async fn lock_entries(database: &TestDatabase<'_>) -> Client {
    let admin = database.admin().await;
    admin.batch_execute("BEGIN; LOCK TABLE vault_kv_store IN ACCESS EXCLUSIVE MODE").await.unwrap();
    admin
}

/// The backend of the change that waits for the table, once it does.
async fn waiting_backend(database: &TestDatabase<'_>) -> i32 {
    let admin = database.admin().await;
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' \
                   AND query LIKE 'WITH moved%'";
    let found = std::cell::Cell::new(0);
    until("a change waits", || async {
        let rows = admin.query(waiting, &[&database.name]).await.unwrap();
        found.set(rows.first().map_or(0, |row| row.get(0)));
        found.get() != 0
    })
    .await;
    found.get()
}

#[tokio::test]
async fn a_connection_that_is_cut_under_a_change_leaves_it_unknown() {
    let database = Server::shared().database().await;
    let store = Arc::new(database.open().await);
    claim(store.as_ref(), 1).await;
    let batch = change(store.as_ref(), "a", "1").await;
    let blocker = lock_entries(&database).await;
    let applying = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.apply(&batch).await }
    });
    let backend = waiting_backend(&database).await;
    database.admin().await.execute("SELECT pg_terminate_backend($1)", &[&backend]).await.unwrap();
    let outcome = applying.await.unwrap();
    assert!(matches!(outcome, Err(ApplyError::Unknown(_))), "{outcome:?}");
    blocker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.head().await.unwrap().index, batch.from);
    store.apply(&batch).await.unwrap();
    assert_eq!(get(store.as_ref(), "a").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_change_that_takes_too_long_is_refused_and_keeps_no_other_waiting() {
    let database = Server::shared().database().await;
    let options = Options { timeout: Duration::from_secs(5), ..database.options() };
    let store = Arc::new(open(&options).await);
    let fence = claim(store.as_ref(), 1).await;
    let batch = change(store.as_ref(), "a", "1").await;
    let blocker = lock_entries(&database).await;
    let applying = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.apply(&batch).await }
    });
    waiting_backend(&database).await;
    assert!(store.renew(fence, LONG).await.unwrap(), "the lock is not kept waiting");
    assert_eq!(store.holder().await.unwrap(), Some(holder(1)));
    let outcome = applying.await.unwrap();
    // The server gives up first, unless the machine is too busy for it to say so in time.
    assert!(matches!(outcome, Err(ApplyError::Refused(_) | ApplyError::Unknown(_))), "{outcome:?}");
    blocker.batch_execute("ROLLBACK").await.unwrap();
    until("the change is made", || async { store.apply(&batch).await.is_ok() }).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_connection_usable() {
    let database = Server::shared().database().await;
    let store = Arc::new(database.open().await);
    claim(store.as_ref(), 1).await;
    let batch = change(store.as_ref(), "a", "1").await;
    let blocker = lock_entries(&database).await;
    let applying = tokio::spawn({
        let (store, batch) = (store.clone(), batch.clone());
        async move { store.apply(&batch).await }
    });
    waiting_backend(&database).await;
    applying.abort();
    blocker.batch_execute("ROLLBACK").await.unwrap();
    // The change may be made, or not; nothing but it may have been.
    until("it is settled", || async {
        match store.apply(&batch).await {
            Ok(()) | Err(ApplyError::Overtaken) => true,
            Err(other) => panic!("{other}"),
        }
    })
    .await;
    assert_eq!(store.head().await.unwrap().index, batch.to);
    assert_eq!(get(store.as_ref(), "a").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_restart_is_survived() {
    let server = Server::start(false);
    let database = server.database().await;
    let refused = strongroom_postgresql::Postgresql::open(
        &database.options_with("sslmode=require"),
        &strongroom_stdx::Entropy::system(),
    )
    .await;
    let text = refused.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("server does not support TLS"), "{text}");
    let store = open(&database.options_with("sslmode=prefer")).await;
    let fence = claim(&store, 1).await;
    store.apply(&change(&store, "a", "1").await).await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    drop(store.snapshot().await.unwrap());
    server.restart();
    assert!(matches!(snapshot.get(b"a").await, Err(StoreError::Failed(_))), "it is gone");
    drop(snapshot);
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b"1"[..]), "kept connections are replaced");
    until("the head is read", || async { store.head().await.is_ok() }).await;
    assert!(store.renew(fence, LONG).await.unwrap(), "the lock is still ours");
    let batch = change(&store, "a", "2").await;
    until("a change is made", || async { store.apply(&batch).await.is_ok() }).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn readers_wait_for_each_other_and_nobody_for_readers() {
    let database = Server::shared().database().await;
    let options = Options { max_parallel: 2, timeout: Duration::from_secs(2), ..database.options() };
    let store = open(&options).await;
    let held = (store.snapshot().await.unwrap(), store.snapshot().await.unwrap());
    let text = store.snapshot().await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("\"max_parallel\" is 2"), "{text}");
    claim(&store, 1).await;
    store.apply(&change(&store, "a", "1").await).await.unwrap();
    assert_eq!(store.modified(&["a".into()]).await.unwrap(), [1]);
    assert_eq!(held.0.get(b"a").await.unwrap(), None, "a snapshot does not move");
    let (waiting, ()) = futures::join!(store.snapshot(), async { drop(held.1) });
    assert_eq!(waiting.unwrap().index(), 1);
}

#[tokio::test]
async fn a_snapshots_connection_is_used_again_or_closed() {
    let database = Server::shared().database().await;
    let admin = database.admin().await;
    let count = async |application: &str| {
        let text = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND datname = $2";
        admin.query_one(text, &[&application, &database.name]).await.unwrap().get::<_, i64>(0)
    };
    let kept = open(&database.options_with("sslmode=disable&application_name=kept")).await;
    // It is given back in the background, so that another may be made meanwhile, but not each time.
    let taken = std::cell::Cell::new(0);
    until("a connection is used again", || async {
        drop(kept.snapshot().await.unwrap());
        taken.set(taken.get() + 1);
        let made = count("kept").await;
        made > 0 && made < taken.get()
    })
    .await;
    let closed = database.options_with("sslmode=disable&application_name=closed");
    let closed = open(&Options { max_idle_connections: 0, ..closed }).await;
    let snapshot = closed.snapshot().await.unwrap();
    assert_eq!(snapshot.get(b"a").await.unwrap(), None);
    drop(snapshot);
    until("it is closed", || async { count("closed").await == 0 }).await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_tried_again() {
    let mut options = Server::shared().database().await.options();
    options.connection_url =
        strongroom_stdx::Secret::new("postgres://u@127.0.0.1:1/d?sslmode=disable".to_owned());
    options.max_connect_retries = Some(3);
    let error = strongroom_postgresql::Postgresql::open(&options, &strongroom_stdx::Entropy::system()).await;
    let text = error.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("error connecting to server: Connection refused"), "{text}");
}
