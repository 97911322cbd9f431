//! The suites that every backend passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_leased_db::{Database, Options, SharedStore};
use strongroom_storage::{Coordinator, Store};

use crate::node;
use crate::server::{Server, until};

#[tokio::test(flavor = "multi_thread")]
async fn conforms_as_a_database() {
    let server = Server::shared();
    let last = AtomicUsize::new(0);
    let open =
        async |number: usize| Arc::new(server.open(&format!("database/{number}")).await) as Arc<dyn Database>;
    strongroom_leased_db::conformance::run(
        || open(last.fetch_add(1, Ordering::SeqCst) + 1),
        || open(last.load(Ordering::SeqCst)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_as_a_store() {
    let server = Server::shared();
    let last = AtomicUsize::new(0);
    strongroom_storage::conformance::run(async || {
        let path = format!("store/{}", last.fetch_add(1, Ordering::SeqCst));
        let database = Arc::new(server.open(&path).await);
        let store = SharedStore::open(database, Options { me: node(1), ..Options::default() }).await.unwrap();
        until("it leads", async || store.leading().is_some()).await;
        store as Arc<dyn Store>
    })
    .await;
}
