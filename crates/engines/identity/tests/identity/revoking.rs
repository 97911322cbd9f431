//! Deleting entities, ending what they hold, and aliases of disabled mounts.

use std::time::Duration;

use serde_json::json;
use strongroom_testkit::lending::LendingServer;

use crate::rig::{DENIED, entity, login, server, token};

#[tokio::test]
async fn deleting_an_entity_ends_its_tokens_and_leases() {
    let server = server().await;
    let id = entity(&server, "bob").await;
    let mut tokens = Vec::new();
    for _ in 0..40 {
        tokens.push(token(&server, "bob").await);
    }
    let batch = login(&server, json!({"name": "bob", "batch": true})).await.token();
    let lease = server.lease(server.token_id(&tokens[0]), "some/creds").await;
    let ann = token(&server, "ann").await;
    assert_eq!(server.delete(&format!("identity/entity/id/{id}")).await.status, 204);
    for token in tokens.iter().chain([&batch]) {
        let refused = server.get(token, "auth/token/lookup-self").await;
        assert_eq!(refused.status, 403, "at once, though not all are gone");
    }
    server.settle().await;
    for token in &tokens {
        assert_eq!(server.write("auth/token/lookup", json!({"token": token})).await.status, 403);
    }
    assert_eq!(
        server.write("sys/leases/lookup", json!({"lease_id": lease})).await.refusal(),
        (400, "invalid lease")
    );
    assert_eq!(server.get(&ann, "auth/token/lookup-self").await.status, 200);
    assert_ne!(entity(&server, "bob").await, id, "who logs in again is somebody new");
}

#[tokio::test]
async fn everything_that_an_entity_holds_is_listed_and_ended() {
    let server = server().await;
    let id = entity(&server, "bob").await;
    let (service, batch) =
        (token(&server, "bob").await, login(&server, json!({"name": "bob", "batch": true})).await.token());
    let child = {
        server.policy("maker", "path \"auth/token/*\" { capabilities = [\"create\", \"update\"] }").await;
        server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["maker"]})).await;
        server.post(&service, "auth/token/create", json!({})).await.token()
    };
    let lease = server.lease(server.token_id(&service), "some/creds").await;
    let path = format!("identity/entity/id/{id}/revoke");
    let held = server.read(&path).await;
    assert_eq!(held.data()["leases"], json!([lease]));
    assert_eq!(held.data()["accessors"].as_array().unwrap().len(), 3, "of two logins and a child");
    assert_eq!(held.data()["more"], false);
    assert_eq!(server.get(&service, "auth/token/lookup-self").await.status, 200, "reading ends nothing");
    let ended = server.write(&path, json!({})).await;
    assert_eq!(ended.data(), held.data());
    for token in [&service, &batch, &child] {
        assert_eq!(server.get(token, "auth/token/lookup-self").await.status, 403);
    }
    assert_eq!(server.get(&batch, "auth/token/lookup-self").await.refusal(), DENIED);
    server.settle().await;
    let held = server.read(&path).await;
    assert_eq!(held.data(), &json!({"accessors": [], "leases": [], "more": false}));
    server.clock.advance(Duration::from_secs(1));
    let again = login(&server, json!({"name": "bob"})).await;
    assert_eq!(again.auth()["entity_id"], id.as_str(), "the entity stays");
    assert_eq!(server.get(&again.token(), "auth/token/lookup-self").await.status, 200);
    assert_eq!(
        server.read("identity/entity/id/00000000-0000-4000-8000-000000000000/revoke").await.status,
        404
    );
}

#[tokio::test]
async fn several_are_deleted_at_once() {
    let server = server().await;
    let mut ids = Vec::new();
    let mut tokens = Vec::new();
    for at in 0..20 {
        ids.push(entity(&server, &format!("user{at}")).await);
        tokens.push(token(&server, &format!("user{at}")).await);
    }
    ids.push("not-an-id".to_owned());
    let deleted = server.write("identity/entity/batch-delete", json!({"entity_ids": ids})).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(server.list("identity/entity/id").await.status, 404);
    server.settle().await;
    for token in &tokens {
        assert_eq!(server.write("auth/token/lookup", json!({"token": token})).await.status, 403);
    }
    let many: Vec<String> = (0..1001).map(|at| at.to_string()).collect();
    assert_eq!(server.write("identity/entity/batch-delete", json!({"entity_ids": many})).await.status, 400);
}

#[tokio::test]
async fn aliases_go_when_their_mount_is_disabled() {
    let server = server().await;
    let id = entity(&server, "bob").await;
    assert_eq!(server.delete("sys/auth/door").await.status, 204);
    let read = server.read(&format!("identity/entity/id/{id}")).await;
    assert_eq!(read.data()["aliases"], json!([]));
    assert_eq!(server.list("identity/entity-alias/id").await.status, 404);
}

#[tokio::test]
async fn leases_of_an_orphan_batch_token_end_with_its_entity() {
    let server = LendingServer::new().await;
    let made = server.write(
        "auth/token/roles/app",
        json!({
            "allowed_entity_aliases": ["web"], "orphan": true, "renewable": false, "token_type": "batch",
            "allowed_policies": ["all"],
        }),
    );
    assert_eq!(made.await.status, 204);
    server.policy("all", "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"list\"] }").await;
    let made = server
        .write("auth/token/create/app", json!({"entity_alias": "web", "policies": ["all"], "ttl": "1h"}))
        .await;
    let (token, id) = (made.token(), made.auth()["entity_id"].as_str().unwrap().to_owned());
    let lent = server.lend(&token, "db/").await;
    let held = server.read(&format!("identity/entity/id/{id}/revoke")).await;
    assert_eq!(held.data()["leases"], json!([lent]));
    assert_eq!(server.delete(&format!("identity/entity/id/{id}")).await.status, 204);
    server.settle().await;
    assert_eq!(
        server.write("sys/leases/lookup", json!({"lease_id": lent})).await.refusal(),
        (400, "invalid lease")
    );
}
