//! Logins, and the rights of the tokens that they make.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::Request;

use crate::rig::{DENIED, accessor, entity, group, login, server, token};

#[tokio::test]
async fn a_login_makes_the_entity_and_says_so() {
    let server = server().await;
    let made = login(&server, json!({"name": "Bob", "metadata": {"a": "b"}, "policies": ["audit"]})).await;
    let id = made.auth()["entity_id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(made.auth().get("identity_policies"), None, "there are none yet");
    let read = server.read(&format!("identity/entity/id/{id}")).await;
    let alias = &read.data()["aliases"][0];
    assert_eq!((&alias["name"], &alias["metadata"]), (&json!("Bob"), &json!({"a": "b"})));
    server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["mounts", "audit"]})).await;
    let again =
        login(&server, json!({"name": "bob", "metadata": {"a": "c"}, "policies": ["policies"]})).await;
    let auth = again.auth();
    assert_eq!(auth["entity_id"], id);
    assert_eq!(auth["token_policies"], json!(["default", "policies"]));
    assert_eq!(auth["identity_policies"], json!(["audit", "mounts"]));
    assert_eq!(auth["policies"], json!(["audit", "default", "mounts", "policies"]));
    assert_eq!(auth.get("external_namespace_policies"), None);
    let read = server.read(&format!("identity/entity/id/{id}")).await;
    assert_eq!(read.data()["aliases"][0]["metadata"], json!({"a": "c"}), "as the method has it now");
    let told = server.write("auth/token/lookup", json!({"token": again.token()})).await;
    assert_eq!(told.data()["policies"], json!(["default", "policies"]));
    assert_eq!(told.data()["identity_policies"], json!(["audit", "mounts"]));
    assert_eq!(told.data()["external_namespace_policies"], json!({}));
    assert_eq!(told.data()["entity_id"], id);
    let nobody = login(&server, json!({})).await;
    assert_eq!(nobody.auth()["entity_id"], "", "a method that names nobody makes nobody");
    assert_eq!(server.list("identity/entity/id").await.data()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn first_logins_at_once_make_one_entity() {
    let server = server().await;
    let logins = join_all((0..20).map(|_| entity(&server, "bob"))).await;
    assert!(logins.iter().all(|id| *id == logins[0]));
    assert_eq!(server.list("identity/entity/id").await.data()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn policies_of_entity_and_groups_count_at_once() {
    let server = server().await;
    for batch in [false, true] {
        let made = login(&server, json!({"name": format!("bob-{batch}"), "batch": batch})).await;
        let (id, token) = (made.auth()["entity_id"].as_str().unwrap().to_owned(), made.token());
        let reads = async |path: &str| server.get(&token, path).await.status == 200;
        assert!(!reads("sys/mounts").await && !reads("sys/audit").await);
        server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["mounts"]})).await;
        assert!(reads("sys/mounts").await && !reads("sys/audit").await);
        let inner = group(&server, json!({"member_entity_ids": [id]})).await;
        let outer = group(&server, json!({"member_group_ids": [inner], "policies": ["audit"]})).await;
        assert!(reads("sys/audit").await, "through a group in a group");
        server.write(&format!("identity/group/id/{outer}"), json!({"policies": []})).await;
        assert!(!reads("sys/audit").await && reads("sys/mounts").await);
        let told = server.write("sys/capabilities", json!({"token": token, "paths": ["sys/mounts"]})).await;
        assert_eq!(told.data()["sys/mounts"], json!(["list", "read", "sudo"]));
        let own = server.post(&token, "sys/capabilities-self", json!({"paths": ["sys/mounts"]})).await;
        assert_eq!(own.data(), told.data());
    }
}

#[tokio::test]
async fn root_comes_by_no_entity() {
    let server = server().await;
    let made = login(&server, json!({"name": "bob"})).await;
    let id = made.auth()["entity_id"].as_str().unwrap().to_owned();
    for name in ["root", "ROOT", " Root ", "\troot"] {
        for path in [format!("identity/entity/id/{id}"), "identity/group".to_owned()] {
            let refused = server.write(&path, json!({"policies": [name]})).await;
            assert_eq!(refused.refusal(), (400, "policies cannot contain root"), "{name:?}");
        }
    }
    let txn = server.txn().await;
    let txn_refused = server.services().policies.write_policy(
        &txn,
        strongroom_barrier::NamespaceId::ROOT,
        "root",
        "path \"*\" { capabilities = [\"sudo\"] }",
    );
    assert!(txn_refused.is_err());
}

#[tokio::test]
async fn a_disabled_entitys_tokens_are_refused_and_given_back() {
    let server = server().await;
    let id = entity(&server, "bob").await;
    server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["mounts"]})).await;
    let service = token(&server, "bob").await;
    let batch = login(&server, json!({"name": "bob", "batch": true})).await.token();
    let told = server.write("auth/token/lookup", json!({"token": service})).await;
    let token_accessor = told.data()["accessor"].clone();
    let disable = async |disabled: bool| {
        let written = server.write(&format!("identity/entity/id/{id}"), json!({"disabled": disabled})).await;
        assert_eq!(written.status, 204);
    };
    disable(true).await;
    for token in [&service, &batch] {
        assert_eq!(server.get(token, "sys/mounts").await.refusal(), DENIED);
        assert_eq!(server.get(token, "auth/token/lookup-self").await.refusal(), DENIED);
    }
    assert_eq!(login(&server, json!({"name": "BOB "})).await.refusal(), (403, "permission denied"));
    let renewed = server.post(&service, "auth/token/renew-self", json!({})).await;
    assert_eq!(renewed.refusal(), DENIED);
    for (path, input) in
        [("renew", json!({"token": service})), ("renew-accessor", json!({"accessor": token_accessor}))]
    {
        let renewed = server.write(&format!("auth/token/{path}"), input).await;
        assert_eq!(renewed.refusal(), (403, "permission denied"), "{path}");
    }
    let asked = json!({"token": service, "path": "sys/mounts", "operation": "read"});
    let explained = server.write("sys/policies/explain", asked).await;
    assert_eq!(explained.data()["allowed"], false);
    disable(false).await;
    for token in [&service, &batch] {
        assert_eq!(server.get(token, "sys/mounts").await.status, 200);
    }
    assert_eq!(server.post(&service, "auth/token/renew-self", json!({})).await.status, 200);
}

#[tokio::test]
async fn external_groups_follow_at_login_and_renewal() {
    let server = server().await;
    let door = accessor(&server, "auth/door/").await;
    for name in ["mounts", "audit"] {
        let id = group(&server, json!({"name": name, "type": "external", "policies": [name]})).await;
        let alias = json!({"name": format!("the {name}"), "mount_accessor": door, "canonical_id": id});
        assert_eq!(server.write("identity/group-alias", alias).await.status, 200);
    }
    let made = login(&server, json!({"name": "bob", "groups": ["THE mounts", "the audit"]})).await;
    assert_eq!(made.auth()["identity_policies"], json!(["audit", "mounts"]));
    let token = made.token();
    assert_eq!(server.get(&token, "sys/audit").await.status, 200);
    let renewed = server.post(&token, "auth/token/renew-self", json!({})).await;
    assert_eq!(renewed.auth()["identity_policies"], json!(["mounts"]), "the method has the second no more");
    assert_eq!(server.get(&token, "sys/audit").await.status, 403);
    assert_eq!(server.get(&token, "sys/mounts").await.status, 200);
    login(&server, json!({"name": "bob", "groups": []})).await;
    assert_eq!(
        server.get(&token, "sys/mounts").await.status,
        403,
        "another login takes it out for all its tokens"
    );
}

#[tokio::test]
async fn children_are_of_the_entity_and_orphans_are_not() {
    let server = server().await;
    server
        .policy("maker", "path \"auth/token/*\" { capabilities = [\"create\", \"update\", \"sudo\"] }")
        .await;
    let id = entity(&server, "bob").await;
    server.write(&format!("identity/entity/id/{id}"), json!({"policies": ["maker", "mounts"]})).await;
    let token = token(&server, "bob").await;
    for kind in ["service", "batch"] {
        let child = server.post(&token, "auth/token/create", json!({"type": kind})).await;
        let auth = child.auth();
        assert_eq!(auth["entity_id"], id.as_str(), "{kind}");
        assert_eq!(auth["identity_policies"], json!(["maker", "mounts"]));
        assert_eq!(server.get(&child.token(), "sys/mounts").await.status, 200);
    }
    let orphan = server.post(&token, "auth/token/create-orphan", json!({})).await;
    assert_eq!(orphan.auth()["entity_id"], "");
    assert_eq!(server.get(&orphan.token(), "sys/mounts").await.status, 403);
}

#[tokio::test]
async fn a_role_allows_tokens_of_chosen_entities() {
    let server = server().await;
    let role = json!({"allowed_entity_aliases": ["web-*", "Db"], "orphan": true, "renewable": false});
    assert_eq!(server.write("auth/token/roles/app", role).await.status, 204);
    let create =
        async |alias: &str| server.write("auth/token/create/app", json!({"entity_alias": alias})).await;
    let first = create("Web-1").await;
    let id = first.auth()["entity_id"].clone();
    assert_eq!(create("web-1").await.auth()["entity_id"], id);
    assert_ne!(create("DB").await.auth()["entity_id"], id);
    assert_eq!(create("other").await.refusal(), (400, "invalid 'entity_alias' value"));
    let read = server.read(&format!("identity/entity/id/{}", id.as_str().unwrap())).await;
    let alias = &read.data()["aliases"][0];
    assert_eq!((&alias["name"], &alias["mount_path"]), (&json!("Web-1"), &json!("auth/token/")));
    server.write(&format!("identity/entity/id/{}", id.as_str().unwrap()), json!({"disabled": true})).await;
    assert_eq!(create("web-1").await.refusal(), (403, "permission denied"));
    assert_eq!(server.get(&first.token(), "auth/token/lookup-self").await.refusal(), DENIED);
}

#[tokio::test]
async fn a_lease_of_a_disabled_entity_is_not_renewed() {
    let server = server().await;
    let id = entity(&server, "bob").await;
    let token = token(&server, "bob").await;
    let lease = server.lease(server.token_id(&token), "some/creds").await;
    let renew = async || server.write("sys/leases/renew", json!({"lease_id": lease})).await;
    assert_eq!(renew().await.status, 200);
    server.write(&format!("identity/entity/id/{id}"), json!({"disabled": true})).await;
    assert_eq!(renew().await.refusal(), (403, "permission denied"));
    server.write(&format!("identity/entity/id/{id}"), json!({"disabled": false})).await;
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(renew().await.status, 200);
}

#[tokio::test]
async fn a_use_of_a_limited_token_is_counted_with_an_entity_as_without() {
    let server = server().await;
    let made = login(&server, json!({"name": "bob", "num_uses": 2})).await.token();
    for expected in [json!(1), json!(0)] {
        let told = server.get(&made, "auth/token/lookup-self").await;
        assert_eq!(told.data()["num_uses"], expected);
    }
    let request = Request::new(&made, Verb::Read, "auth/token/lookup-self", Value::Null);
    assert_eq!(server.ask(request).await.status, 403);
}

#[tokio::test]
async fn templated_rules_are_each_entitys_own() {
    let server = server().await;
    let door = accessor(&server, "auth/door/").await;
    let rules = format!(
        "path \"identity/entity/id/{{{{identity.entity.id}}}}/*\" {{ capabilities = [\"update\"] }}\n\
         path \"identity/group/name/{{{{identity.entity.aliases.{door}.name}}}}\" {{ capabilities = [\"update\", \"read\"] }}\n\
         path \"identity/group/name/{{{{identity.entity.metadata.team}}}}/x\" {{ capabilities = [\"update\"] }}",
    );
    server.policy("own", &rules).await;
    let (bob, ann) = (entity(&server, "bob").await, entity(&server, "ann").await);
    for (name, id) in [("bob", &bob), ("ann", &ann)] {
        let input = json!({"name": name, "policies": ["own"], "metadata": {"team": "a/b"}});
        assert_eq!(server.write(&format!("identity/entity/id/{id}"), input).await.status, 204);
    }
    let token = token(&server, "bob").await;
    let status = async |path: &str| server.get(&token, path).await.status;
    assert_eq!(status(&format!("identity/entity/id/{bob}")).await, 200, "by the policy `default`");
    assert_eq!(status("identity/entity/name/BOB").await, 200);
    assert_eq!(status(&format!("identity/entity/id/{ann}")).await, 403);
    let write = async |path: &str| server.post(&token, path, json!({})).await.status;
    assert_eq!(write("identity/group/name/bob").await, 200);
    assert_eq!(write("identity/group/name/ann").await, 403);
    assert_eq!(write("identity/group/name/a/b/x").await, 403, "a value with a slash widens nothing");
    let asked = json!({"paths": [format!("identity/entity/id/{bob}"), format!("identity/entity/id/{ann}")]});
    let told = server.post(&token, "sys/capabilities-self", asked).await;
    assert_eq!(told.data()[format!("identity/entity/id/{bob}")], json!(["read"]));
    assert_eq!(told.data()[format!("identity/entity/id/{ann}")], json!(["deny"]));
    server.write(&format!("identity/entity/id/{bob}"), json!({"name": "robert"})).await;
    assert_eq!(status("identity/entity/name/bob").await, 403, "the value is the one of now");
    assert_eq!(status("identity/entity/name/robert").await, 200);
}
