//! Response wrapping in a whole server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_engine_api::Secret;
use strongroom_testkit::Server;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrapped_answer_is_handed_out_once() {
    let server = Arc::new(Server::new().await);
    let txn = server.txn().await;
    let envelope = json!({"data": {"a": 1}}).to_string();
    let grant = server
        .services()
        .wrapping
        .wrap(&txn, NamespaceId::ROOT, Secret::new(envelope), "secret/x", HOUR, "")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(server.records().await.of_tokens.wrapped.len(), 1);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, token) = (server.clone(), grant.token.clone());
            tokio::spawn(async move {
                let txn = server.txn().await;
                server.services().wrapping.unwrap(&txn, &token).await.is_ok() && txn.commit().await.is_ok()
            })
        })
        .collect();
    let mut unwrapped = 0;
    for task in tasks {
        unwrapped += usize::from(task.await.unwrap());
    }
    assert_eq!(unwrapped, 1);
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}
