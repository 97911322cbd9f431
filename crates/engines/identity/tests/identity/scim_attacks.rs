//! What a SCIM client cannot do, and what cannot be done to it.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::Request;

use crate::rig::{entity, group, login};
use crate::scim::{Scim, client, refusal};

#[tokio::test]
async fn nothing_that_was_there_becomes_the_clients() {
    let scim = Scim::new().await;
    let server = &scim.server;
    let named = server.write("identity/entity", json!({"name": "Admin", "policies": ["scim"]})).await;
    let admin = named.data()["id"].as_str().unwrap().to_owned();
    let root = entity(server, "root-like").await;
    let ops = group(server, json!({"name": "Ops", "policies": ["scim"]})).await;
    // Equal names in any spelling, also those that only the mount knows.
    for name in ["Admin", "admin", " ADMIN ", "okta-operator", "Root-Like"] {
        let told = scim.ask(Verb::Write, "Users", json!({"userName": name, "externalId": admin})).await;
        assert_eq!(refusal(&told), (409, "uniqueness"), "{name}");
    }
    for name in ["Ops", "oPS\t"] {
        let told = scim.ask(Verb::Write, "Groups", json!({"displayName": name})).await;
        assert_eq!(refusal(&told), (409, "uniqueness"), "{name}");
    }
    let (ann, staff) = (scim.user("ann").await, scim.group("staff", &[]).await);
    let renamed = scim.ask(Verb::Write, &format!("Users/{ann}"), json!({"userName": "admin"})).await;
    assert_eq!(refusal(&renamed), (409, "uniqueness"));
    let (path, operations) =
        (format!("Groups/{staff}"), json!([{"op": "replace", "path": "displayName", "value": "ops"}]));
    assert_eq!(refusal(&scim.patch(&path, operations).await), (409, "uniqueness"));
    // What is not the client's is not there.
    for (path, body) in [
        (format!("Users/{admin}"), json!({"userName": "x"})),
        (format!("Users/{root}"), json!({"userName": "x"})),
        (format!("Users/{staff}"), json!({"userName": "x"})),
        (format!("Groups/{ops}"), json!({"displayName": "x"})),
        (format!("Groups/{ann}"), json!({"displayName": "x"})),
    ] {
        for asked in [Verb::Read, Verb::Write, Verb::Delete] {
            assert_eq!(refusal(&scim.ask(asked, &path, body.clone()).await), (404, ""), "{path}");
        }
        let patched = scim.patch(&path, json!([{"op": "replace", "path": "externalId", "value": "x"}])).await;
        assert_eq!(refusal(&patched), (404, ""), "{path}");
    }
    let path = format!("Groups/{staff}");
    for stranger in [&admin, &root] {
        let told = scim
            .patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": stranger}]}]))
            .await;
        assert_eq!(refusal(&told), (400, "invalidValue"));
        let told = scim
            .ask(Verb::Write, "Groups", json!({"displayName": "g", "members": [{"value": stranger}]}))
            .await;
        assert_eq!(refusal(&told), (400, "invalidValue"));
    }
    for filter in [format!("id eq \"{admin}\""), "userName eq \"admin\"".to_owned()] {
        assert_eq!(scim.find("Users", json!({ "filter": filter })).await["totalResults"], 0);
    }
}

#[tokio::test]
async fn clients_do_not_see_each_other() {
    let scim = Scim::new().await;
    let other = Scim { token: client(&scim.server, "entra", json!({})).await, server: scim.server };
    let scim = Scim {
        token: login(&other.server, json!({"name": "okta-operator", "policies": ["scim"]})).await.token(),
        ..other
    };
    let entra = login(&scim.server, json!({"name": "entra-operator", "policies": ["scim"]})).await.token();
    let ann = scim.user("ann").await;
    let staff = scim.group("staff", &[&ann]).await;
    let ask = async |asked: Verb, path: &str, input: Value| {
        scim.server.ask(Request::new(&entra, asked, format!("identity/scim/v2/{path}"), input)).await
    };
    assert_eq!(ask(Verb::Read, "Users", json!({})).await.body["totalResults"], 0);
    assert_eq!(refusal(&ask(Verb::Read, &format!("Users/{ann}"), json!({})).await), (404, ""));
    assert_eq!(refusal(&ask(Verb::Delete, &format!("Groups/{staff}"), json!({})).await), (404, ""));
    assert_eq!(refusal(&ask(Verb::Write, "Users", json!({"userName": "ann"})).await), (409, "uniqueness"));
    let told = ask(Verb::Write, "Groups", json!({"displayName": "mine", "members": [{"value": ann}]})).await;
    assert_eq!(refusal(&told), (400, "invalidValue"));
    let filter = json!({"filter": format!("members eq \"{ann}\"")});
    assert_eq!(ask(Verb::Read, "Groups", filter).await.body["totalResults"], 0);
    // Without a mount its users have no aliases.
    let bob = ask(Verb::Write, "Users", json!({"userName": "bob"})).await;
    assert_eq!(bob.status, 201, "{}", bob.body);
    let read = scim.server.read(&format!("identity/entity/id/{}", bob.body["id"].as_str().unwrap())).await;
    assert_eq!((&read.data()["aliases"], &read.data()["scim_client"]), (&json!([]), &json!("entra")));
}

#[tokio::test]
async fn only_a_client_makes_requests() {
    let scim = Scim::new().await;
    let stranger = login(&scim.server, json!({"name": "x", "policies": ["scim"]})).await.token();
    let unprivileged = login(&scim.server, json!({"name": "okta-operator"})).await.token();
    for path in ["Users", "Groups", "ServiceProviderConfig", "Schemas", "ResourceTypes"] {
        let path = format!("identity/scim/v2/{path}");
        for token in [&stranger, &scim.server.root] {
            assert_eq!(refusal(&scim.server.get(token, &path).await), (403, ""), "{path}");
        }
        assert_eq!(scim.server.get(&unprivileged, &path).await.status, 403, "{path}: policies decide first");
        assert_eq!(scim.server.get("", &path).await.status, 403);
    }
    // The client's token is good for nothing else.
    for path in ["identity/entity/id", "identity/scim/client/okta", "sys/mounts", "identity/group/name"] {
        assert_eq!(scim.server.get(&scim.token, path).await.status, 403, "{path}");
    }
    let told = scim.server.post(&scim.token, "identity/scim/client/mine", json!({})).await;
    assert_eq!(told.status, 403);
}

#[tokio::test]
async fn operators_change_policies_and_metadata_alone() {
    let scim = Scim::new().await;
    let server = &scim.server;
    let (ann, bob) = (scim.user("ann").await, scim.user("bob").await);
    let staff = scim.group("staff", &[&ann]).await;
    let other = entity(server, "other").await;
    let entity = format!("identity/entity/id/{ann}");
    let alias = server.read(&entity).await.data()["aliases"][0]["id"].as_str().unwrap().to_owned();
    let accessor = server.read(&entity).await.data()["aliases"][0]["mount_accessor"].clone();
    let group = format!("identity/group/id/{staff}");
    let of_entity = "the entity is managed by the SCIM client \"okta\"";
    let of_group = "the group is managed by the SCIM client \"okta\"";
    let of_alias = "the alias is managed by the SCIM client \"okta\"";
    for (path, input, text) in [
        (entity.clone(), json!({"name": "x"}), of_entity),
        (entity.clone(), json!({"disabled": true}), of_entity),
        ("identity/entity/name/x".to_owned(), json!({"id": ann}), of_entity),
        ("identity/entity/batch-delete".to_owned(), json!({"entity_ids": [other, ann]}), of_entity),
        (
            "identity/entity/merge".to_owned(),
            json!({"from_entity_ids": [ann], "to_entity_id": other}),
            of_entity,
        ),
        (
            "identity/entity/merge".to_owned(),
            json!({"from_entity_ids": [other], "to_entity_id": ann}),
            of_entity,
        ),
        (group.clone(), json!({"name": "x"}), of_group),
        (group.clone(), json!({"member_entity_ids": [other]}), of_group),
        (group.clone(), json!({"member_group_ids": []}), of_group),
        (format!("{group}/members/{other}"), json!({}), of_group),
        (format!("identity/entity-alias/id/{alias}"), json!({"canonical_id": other}), of_alias),
        (format!("identity/entity-alias/id/{alias}"), json!({"name": "other2"}), of_alias),
        (
            "identity/entity-alias".to_owned(),
            json!({"name": "ann", "mount_accessor": accessor, "canonical_id": bob}),
            of_alias,
        ),
    ] {
        let told = server.write(&path, input.clone()).await;
        assert_eq!(told.refusal(), (400, text), "{path} {input}");
    }
    for (path, text) in [
        (entity.clone(), of_entity),
        ("identity/entity/name/ann".to_owned(), of_entity),
        (group.clone(), of_group),
        ("identity/group/name/staff".to_owned(), of_group),
        (format!("{group}/members/{ann}"), of_group),
        (format!("identity/entity-alias/id/{alias}"), of_alias),
    ] {
        assert_eq!(server.delete(&path).await.refusal(), (400, text), "{path}");
    }
    for (path, input, status) in [
        (entity.clone(), json!({"policies": ["a"], "metadata": {"k": "v"}, "name": "ann"}), 204),
        (group, json!({"policies": ["b"], "metadata": {"k": "v"}, "name": "staff"}), 200),
        (format!("identity/entity-alias/id/{alias}"), json!({"custom_metadata": {"k": "v"}}), 200),
    ] {
        assert_eq!(server.write(&path, input).await.status, status, "{path}");
    }
    // The client leaves those as they are.
    assert_eq!(scim.ask(Verb::Write, &format!("Users/{ann}"), json!({"userName": "ann2"})).await.status, 200);
    let read = server.read(&entity).await;
    assert_eq!((&read.data()["policies"], &read.data()["metadata"]), (&json!(["a"]), &json!({"k": "v"})));
    assert_eq!(read.data()["aliases"][0]["custom_metadata"], json!({"k": "v"}));
    // In an emergency her tokens end.
    let token = login(server, json!({"name": "ann2"})).await.token();
    assert_eq!(server.write(&format!("{entity}/revoke"), json!({})).await.status, 200);
    assert_eq!(server.get(&token, "auth/token/lookup-self").await.status, 403);
}

#[tokio::test]
async fn namespaces_have_clients_of_their_own() {
    let scim = Scim::new().await;
    let server = &scim.server;
    server.write("sys/namespaces/team", json!({})).await;
    let within = async |token: &str, asked: Verb, path: &str, input: Value| {
        server.ask(Request::new(token, asked, path, input).within("team")).await
    };
    let policy = json!({"policy": r#"path "identity/scim/v2/*" { capabilities = ["create", "read", "update", "patch", "delete"] }"#});
    within(&server.root, Verb::Write, "sys/policies/acl/scim", policy).await;
    let principal = server.read("identity/scim/client/okta").await.data()["access_grant_principal"].clone();
    let told = within(
        &server.root,
        Verb::Write,
        "identity/scim/client/c",
        json!({"access_grant_principal": principal}),
    );
    assert_eq!(told.await.refusal(), (400, "access_grant_principal is not an entity of the namespace"));
    within(&server.root, Verb::Write, "sys/auth/door", json!({"type": "door"})).await;
    let made = within("", Verb::Write, "auth/door/login", json!({"name": "op", "policies": ["scim"]})).await;
    let input = json!({"access_grant_principal": made.auth()["entity_id"]});
    assert_eq!(within(&server.root, Verb::Write, "identity/scim/client/okta", input).await.status, 204);
    let token = made.token();
    let user = within(&token, Verb::Write, "identity/scim/v2/Users", json!({"userName": "ann"})).await;
    assert_eq!(user.status, 201, "{}", user.body);
    let location = user.body["meta"]["location"].as_str().unwrap();
    assert!(location.starts_with("https://vault.example:8200/v1/team/identity/scim/v2/Users/"), "{location}");
    let id = user.body["id"].as_str().unwrap();
    assert_eq!(refusal(&scim.ask(Verb::Read, &format!("Users/{id}"), json!({})).await), (404, ""));
    assert_eq!(server.get(&token, "identity/scim/v2/Users").await.status, 403);
    // A client of the namespace around it has no rights here, whatever its policies say.
    server.policy("team", r#"path "team/identity/scim/v2/*" { capabilities = ["read", "update"] }"#).await;
    let above = login(server, json!({"name": "okta-operator", "policies": ["team"]})).await.token();
    assert_eq!(refusal(&within(&above, Verb::Read, "identity/scim/v2/Users", json!({})).await), (403, ""));
    // The namespace goes with its clients.
    assert_eq!(within(&server.root, Verb::Delete, "identity/scim/client/okta", json!({})).await.status, 204);
    assert_eq!(server.delete("sys/namespaces/team").await.status / 100, 2);
    server.settle().await;
    server.settle().await;
    assert_eq!(scim.user("ann").await.len(), 36);
}

#[tokio::test]
async fn bodies_are_bounded_and_nothing_is_half_done() {
    let scim = Scim::new().await;
    let long = "x".repeat(5000);
    let many: Vec<Value> = (0..200).map(|n| json!({"value": format!("{n}@x")})).collect();
    for (path, body) in [
        ("Users", json!({})),
        ("Users", json!({"userName": ""})),
        ("Users", json!({"userName": "  "})),
        ("Users", json!({"userName": 7})),
        ("Users", json!({"userName": "a\u{0}b"})),
        ("Users", json!({"userName": "x".repeat(1025)})),
        ("Users", json!({"userName": "a", "title": long})),
        ("Users", json!({"userName": "a", "emails": many})),
        ("Users", json!({"userName": "a", "active": "perhaps"})),
        ("Users", json!({"userName": "a", "externalId": "x".repeat(1025)})),
        ("Users", json!({"userName": "a", "externalId": "x\u{0}y"})),
        ("Groups", json!({"displayName": "a", "externalId": "\u{0}"})),
        ("Groups", json!({})),
        ("Groups", json!({"displayName": "a", "members": "x"})),
        ("Groups", json!({"displayName": "a", "members": [7]})),
    ] {
        let told = scim.ask(Verb::Write, path, body.clone()).await;
        assert_eq!(refusal(&told), (400, "invalidValue"), "{body}");
    }
    let ids: Vec<Value> =
        (0..10_001).map(|n| json!({"value": format!("00000000-0000-4000-8000-{n:012}")})).collect();
    let told = scim.ask(Verb::Write, "Groups", json!({"displayName": "a", "members": ids})).await;
    assert_eq!(refusal(&told), (400, "tooMany"));
    assert_eq!(scim.get("Users").await["totalResults"], 0);
    assert_eq!(scim.get("Groups").await["totalResults"], 0);
    assert_eq!(scim.server.read("identity/entity/name/a").await.status, 404);
    // The mount of the aliases is gone: nobody is half provisioned.
    scim.server.disable("auth/door/").await;
    let token = &scim.token;
    let told = scim.server.post(token, "identity/scim/v2/Users", json!({"userName": "ann"})).await;
    assert!(told.status >= 400, "{}", told.body);
    assert_eq!(scim.server.read("identity/entity/name/ann").await.status, 404);
}

#[tokio::test]
async fn one_more_member_of_many_is_two_rows() {
    let scim = Scim::new().await;
    let mut users = Vec::new();
    for n in 0..50 {
        users.push(scim.user(&format!("u{n}")).await);
    }
    let staff = scim.group("staff", &users.iter().take(49).collect::<Vec<_>>()).await;
    let before = scim.server.stored().await;
    let add = json!([{"op": "add", "path": "members", "value": [{"value": users[49]}]}]);
    assert_eq!(scim.patch(&format!("Groups/{staff}"), add).await.status, 204);
    let after = scim.server.stored().await;
    assert_eq!(after.len(), before.len() + 2);
    assert!(before.iter().all(|entry| after.contains(entry)), "nothing else was written");
}
