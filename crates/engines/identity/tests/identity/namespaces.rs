//! Identities of namespaces, and groups across them.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

use crate::rig::{login, server};

async fn within(server: &Server, namespace: &str, asked: Verb, path: &str, input: Value) -> Response {
    server.ask(Request::new(&server.root, asked, path, input).within(namespace)).await
}

#[tokio::test]
async fn a_group_of_a_namespace_takes_entities_from_above() {
    let server = server().await;
    assert_eq!(server.write("sys/namespaces/team", json!({})).await.status, 200);
    let policy = json!({"policy": "path \"sys/mounts\" { capabilities = [\"read\"] }"});
    let write = Verb::Write;
    assert_eq!(within(&server, "team", write, "sys/policies/acl/in-team", policy).await.status, 204);
    let made = login(&server, json!({"name": "bob"})).await;
    let (id, token) = (made.auth()["entity_id"].clone(), made.token());
    let input = json!({"name": "dev", "policies": ["in-team"], "member_entity_ids": [id]});
    let group = within(&server, "team", write, "identity/group", input).await.data()["id"].clone();
    let asks = Request::new(&token, Verb::Read, "sys/mounts", json!({}));
    assert_eq!(server.ask(asks.clone().within("team")).await.status, 200, "below");
    assert_eq!(server.ask(asks.clone()).await.status, 403, "and not above");
    let again = login(&server, json!({"name": "bob"})).await;
    let external = again.auth()["external_namespace_policies"].as_object().unwrap().clone();
    assert_eq!(external.values().collect::<Vec<_>>(), [&json!(["in-team"])]);
    assert_eq!(again.auth().get("identity_policies"), None);
    let told = server.get(&token, "auth/token/lookup-self").await;
    assert_eq!(told.data()["external_namespace_policies"], Value::Object(external));
    assert_eq!(
        server.read(&format!("identity/entity/id/{}", id.as_str().unwrap())).await.data()["group_ids"],
        json!([group])
    );
    let foreign = within(&server, "team", write, "identity/entity", json!({"name": "ann"})).await;
    let upward = server.write("identity/group", json!({"member_entity_ids": [foreign.data()["id"]]})).await;
    assert_eq!(upward.status, 400, "not the other way round");
    assert_eq!(server.delete("sys/namespaces/team").await.status / 100, 2);
    server.settle().await;
    assert_eq!(
        server.get(&token, "auth/token/lookup-self").await.data().get("external_namespace_policies"),
        None
    );
    let read = server.read(&format!("identity/entity/id/{}", id.as_str().unwrap())).await;
    assert_eq!(read.data()["group_ids"], json!([]));
}

#[tokio::test]
async fn each_namespace_has_its_own() {
    let server = server().await;
    server.write("sys/namespaces/team", json!({})).await;
    let made = within(&server, "team", Verb::Write, "identity/entity", json!({"name": "bob"})).await;
    let id = made.data()["id"].as_str().unwrap().to_owned();
    assert_eq!(server.read(&format!("identity/entity/id/{id}")).await.status, 404);
    assert_eq!(server.read("identity/entity/name/bob").await.status, 404);
    let read = within(&server, "team", Verb::Read, &format!("identity/entity/id/{id}"), json!({})).await;
    assert_eq!(read.data()["name"], "bob");
    assert_ne!(read.data()["namespace_id"], "root");
    let alias = json!({"name": "bob", "mount_accessor": crate::rig::accessor(&server, "auth/door/").await});
    let refused = within(&server, "team", Verb::Write, "identity/entity-alias", alias).await;
    assert_eq!(refused.status, 400, "another namespace's mount is unknown");
}
