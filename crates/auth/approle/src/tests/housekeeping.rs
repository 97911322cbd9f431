//! Expired and orphaned entries are removed.

use std::time::Duration;

use super::*;

async fn with_secret_ids(count: usize, input: &Value) -> Harness {
    let method = method();
    post(&method, "role/web", json!({"role_id": "rid"})).await;
    for _ in 0..count {
        post(&method, "role/web/secret-id", input.clone()).await;
    }
    method
}

async fn no_accessors(method: &Harness) -> bool {
    matches!(method.call(Operation::List, "role/web/secret-id", json!({})).await, Err(EngineError::NotFound))
}

#[tokio::test]
async fn expired_secret_ids_are_cleared_and_others_kept() {
    let method = with_secret_ids(1100, &json!({"ttl": 60})).await;
    post(&method, "role/web/custom-secret-id", json!({"secret_id": "lasting"})).await;
    post(&method, "role/web/custom-secret-id", json!({"secret_id": "later", "ttl": 120})).await;
    method.run_jobs().await;
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 1102);
    method.clock.advance(Duration::from_secs(61));
    method.run_jobs().await;
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 2);
    for secret_id in ["lasting", "later"] {
        login(&method, "rid", secret_id).await.unwrap();
    }
    method.clock.advance(Duration::from_mins(1));
    method.run_jobs().await;
    login(&method, "rid", "lasting").await.unwrap();
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 1);
}

#[tokio::test]
async fn tidy_is_accepted_and_begins_at_once() {
    let method = with_secret_ids(3, &json!({"ttl": 60})).await;
    method.clock.advance(Duration::from_secs(61));
    let reply = reply(&method, "tidy/secret-id", json!({})).await;
    assert_eq!(reply.status, Some(202));
    let text = "Tidy operation successfully started. Any information from the operation will be printed to Vault's \
                server logs.";
    assert_eq!(reply.warnings(), [text]);
    assert!(reply.answered().is_none());
    assert!(no_accessors(&method).await);
}

#[tokio::test]
async fn a_deleted_role_takes_all_its_secret_ids_with_it() {
    let method = with_secret_ids(1200, &json!({"ttl": 3600})).await;
    post(&method, "role/web/custom-secret-id", json!({"secret_id": "s"})).await;
    login(&method, "rid", "s").await.unwrap();
    delete(&method, "role/web").await;
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), bad("invalid role or secret ID"));
    // A role of the same name and role id has nothing of the former.
    post(&method, "role/web", json!({"role_id": "rid"})).await;
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), bad("invalid role or secret ID"));
    assert!(no_accessors(&method).await);
    post(&method, "role/web/custom-secret-id", json!({"secret_id": "s", "ttl": 60})).await;
    method.run_jobs().await;
    login(&method, "rid", "s").await.unwrap();
    // Nothing of the former is left to expire either: the index holds the new one only.
    method.clock.advance(Duration::from_secs(3601));
    method.run_jobs().await;
    assert!(no_accessors(&method).await);
}

#[tokio::test]
async fn a_role_is_deleted_whole_while_secret_ids_are_made() {
    let method = std::sync::Arc::new(with_secret_ids(20, &json!({})).await);
    let makers: Vec<_> = (0..20)
        .map(|_| {
            let method = method.clone();
            tokio::spawn(async move {
                method.call(Operation::Update, "role/web/secret-id", json!({})).await.is_ok()
            })
        })
        .collect();
    delete(&method, "role/web").await;
    for maker in makers {
        maker.await.unwrap();
    }
    method.run_jobs().await;
    let refusal = refused(&method, Operation::List, "role/web/secret-id", json!({})).await;
    assert_eq!(refusal, bad("role \"web\" does not exist"));
}
