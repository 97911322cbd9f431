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

/// An entity of one namespace in a group of another that is no relative of it, with a token of the first.
async fn strangers(server: &Server) -> (Value, String, String) {
    for namespace in ["east", "west"] {
        server.write(&format!("sys/namespaces/{namespace}"), json!({})).await;
    }
    let write = Verb::Write;
    within(server, "east", write, "sys/auth/door", json!({"type": "door"})).await;
    let policy = json!({"policy": "path \"sys/mounts\" { capabilities = [\"read\"] }"});
    within(server, "west", write, "sys/policies/acl/in-west", policy).await;
    let made =
        server.ask(Request::new("", write, "auth/door/login", json!({"name": "bob"})).within("east")).await;
    let group = within(server, "west", write, "identity/group", json!({"policies": ["in-west"]})).await;
    let group = group.data()["id"].as_str().unwrap().to_owned();
    (made.auth()["entity_id"].clone(), made.token(), group)
}

#[tokio::test]
async fn in_mode_any_policies_of_groups_count_for_strangers() {
    let server = server().await;
    let (entity, token, group) = strangers(&server).await;
    let mode = async |mode: &str| {
        let input = json!({"group_policy_application_mode": mode});
        server.write("sys/config/group-policy-application", input).await.status
    };
    let fill = async || {
        let path = format!("identity/group/id/{group}");
        within(&server, "west", Verb::Write, &path, json!({"member_entity_ids": [entity]})).await
    };
    let read = async |namespace: &str| {
        server.ask(Request::new(&token, Verb::Read, "sys/mounts", json!({})).within(namespace)).await.status
    };
    assert_eq!(fill().await.refusal(), (400, format!("invalid entity ID {entity}").as_str()));
    assert_eq!(mode("any").await, 204);
    assert!(fill().await.status < 300);
    assert_eq!((read("west").await, read("east").await, read("").await), (200, 403, 403));
    let lookup = Request::new(&token, Verb::Read, "auth/token/lookup-self", json!({})).within("east");
    let told = server.ask(lookup).await;
    let external = told.data()["external_namespace_policies"].as_object().unwrap();
    assert_eq!(external.values().collect::<Vec<_>>(), [&json!(["in-west"])]);
    // Another mode takes effect at once, and leaves the members.
    for other in ["within_namespace_hierarchy", "within_namespace"] {
        assert_eq!(mode(other).await, 204);
        assert_eq!(read("west").await, 403, "{other}");
    }
    assert_eq!(mode("any").await, 204);
    assert_eq!(read("west").await, 200);
    let remove = format!("identity/group/id/{group}/members/{}", entity.as_str().unwrap());
    within(&server, "west", Verb::Delete, &remove, json!({})).await;
    assert_eq!(read("west").await, 403);
}

#[tokio::test]
async fn in_mode_within_namespace_nothing_counts_from_elsewhere() {
    let server = server().await;
    server.write("sys/namespaces/team", json!({})).await;
    let policy = json!({"policy": "path \"sys/mounts\" { capabilities = [\"read\"] }"});
    within(&server, "team", Verb::Write, "sys/policies/acl/in-team", policy).await;
    let made = login(&server, json!({"name": "bob"})).await;
    let (id, token) = (made.auth()["entity_id"].clone(), made.token());
    let input = json!({"name": "dev", "policies": ["in-team"], "member_entity_ids": [id]});
    within(&server, "team", Verb::Write, "identity/group", input).await;
    let read = async || {
        server.ask(Request::new(&token, Verb::Read, "sys/mounts", json!({})).within("team")).await.status
    };
    assert_eq!(read().await, 200);
    let setting = json!({"group_policy_application_mode": "within_namespace"});
    server.write("sys/config/group-policy-application", setting).await;
    assert_eq!(read().await, 403);
    let input = json!({"name": "ops", "member_entity_ids": [id]});
    assert_eq!(within(&server, "team", Verb::Write, "identity/group", input).await.status, 400);
}

#[tokio::test]
async fn the_mode_is_the_servers_and_one_of_three() {
    let server = server().await;
    let path = "sys/config/group-policy-application";
    assert_eq!(
        server.read(path).await.data(),
        &json!({"group_policy_application_mode": "within_namespace_hierarchy"})
    );
    for input in [json!({}), json!({"group_policy_application_mode": "all"})] {
        assert_eq!(server.write(path, input).await.status, 400);
    }
    server.write("sys/namespaces/team", json!({})).await;
    assert_eq!(within(&server, "team", Verb::Read, path, json!({})).await.status, 404);
    server.write(path, json!({"group_policy_application_mode": "any"})).await;
    assert_eq!(server.read(path).await.data()["group_policy_application_mode"], "any");
}

#[tokio::test]
async fn few_strangers_are_looked_for_at_once() {
    let server = server().await;
    let setting = json!({"group_policy_application_mode": "any"});
    server.write("sys/config/group-policy-application", setting).await;
    let ids: Vec<String> = (0..17).map(|n| format!("00000000-0000-4000-8000-0000000000{n:02}")).collect();
    let told = server.write("identity/group", json!({"member_entity_ids": ids[..1]})).await;
    assert_eq!(told.refusal(), (400, format!("invalid entity ID \"{}\"", ids[0]).as_str()));
    server.write("sys/namespaces/team", json!({})).await;
    let mut there = Vec::new();
    for name in 0..17 {
        let input = json!({"name": format!("e{name}")});
        let made = within(&server, "team", Verb::Write, "identity/entity", input).await;
        there.push(made.data()["id"].clone());
    }
    let told = server.write("identity/group", json!({"member_entity_ids": there})).await;
    assert_eq!(told.refusal(), (400, "more than 16 members of other namespaces cannot be added at once"));
    there.truncate(16);
    assert_eq!(server.write("identity/group", json!({"member_entity_ids": there})).await.status, 200);
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
