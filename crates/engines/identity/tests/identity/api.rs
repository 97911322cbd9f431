//! The documented answers, statuses and error texts.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::Request;
use strongroom_tokens::TokenEntry;

use crate::rig::{accessor, entity, group, login, server};

#[tokio::test]
async fn an_entity_is_created_read_listed_and_deleted() {
    let server = server().await;
    let input = json!({"name": "Bob", "metadata": {"team": "a"}, "policies": ["Mounts", "audit", "mounts"]});
    let made = server.write("identity/entity", input).await;
    let id = made.data()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.data(), &json!({"aliases": null, "id": id, "name": "Bob"}));
    let expected = json!({
        "aliases": [], "creation_time": "2023-11-14T22:13:20Z", "direct_group_ids": [], "disabled": false,
        "group_ids": [], "id": id, "inherited_group_ids": [], "last_update_time": "2023-11-14T22:13:20Z",
        "merged_entity_ids": null, "metadata": {"team": "a"}, "mfa_secrets": {}, "name": "Bob",
        "namespace_id": "root", "policies": ["audit", "mounts"],
    });
    for path in [format!("identity/entity/id/{id}"), "identity/entity/name/bob".to_owned()] {
        assert_eq!(server.read(&path).await.data(), &expected, "{path}");
    }
    for input in [json!({"id": id}), json!({"name": "BOB"})] {
        assert_eq!(server.write("identity/lookup/entity", input).await.data(), &expected);
    }
    let updated = server.write(&format!("identity/entity/id/{id}"), json!({"disabled": true})).await;
    assert_eq!((updated.status, updated.body), (204, Value::Null), "an update has nothing to say");
    assert_eq!(server.read("identity/entity/name/BOB").await.data()["disabled"], true);
    let listed = server.list("identity/entity/id").await;
    assert_eq!(listed.data()["keys"], json!([id]));
    let info = &listed.data()["key_info"][&id];
    assert_eq!(
        (&info["name"], &info["disabled"], &info["aliases"]),
        (&json!("Bob"), &json!(true), &json!([]))
    );
    let listed = server.list("identity/entity/name").await;
    assert_eq!(
        (&listed.data()["keys"], &listed.data()["key_info"]["Bob"]["id"]),
        (&json!(["Bob"]), &json!(id))
    );
    assert_eq!(server.delete("identity/entity/name/bob").await.status, 204);
    assert_eq!(server.read(&format!("identity/entity/id/{id}")).await.status, 404);
    assert_eq!(server.list("identity/entity/id").await.status, 404);
    assert_eq!(server.delete(&format!("identity/entity/id/{id}")).await.status, 204, "again is no error");
}

#[tokio::test]
async fn a_name_makes_or_finds_its_entity() {
    let server = server().await;
    let made = server.write("identity/entity/name/team/bob", json!({"policies": "mounts"})).await;
    let id = made.data()["id"].clone();
    assert_eq!(
        server.write("identity/entity", json!({"name": "TEAM/Bob", "metadata": "a=b"})).await.status,
        204
    );
    let read = server.read("identity/entity/name/team/BOB").await;
    assert_eq!((&read.data()["id"], &read.data()["metadata"]), (&id, &json!({"a": "b"})));
    assert_eq!(read.data()["policies"], json!(["mounts"]), "what is left out stays");
    let unnamed = server.write("identity/entity", json!({})).await;
    let name = unnamed.data()["name"].as_str().unwrap();
    assert!(name.starts_with("entity_") && name.len() == 15, "{name}");
    let renamed = server.write("identity/entity/name/robert", json!({"id": id})).await;
    assert_eq!(renamed.status, 204);
    assert_eq!(server.read("identity/entity/name/team/bob").await.status, 404);
    assert_eq!(server.read("identity/entity/name/robert").await.data()["id"], id);
    assert_eq!(server.list("identity/entity/name").await.data()["keys"].as_array().unwrap().len(), 2);
    let page =
        Request::new(&server.root, Verb::List, "identity/entity/name", json!({"limit": 1, "after": name}));
    assert_eq!(server.ask(page).await.data()["keys"], json!(["robert"]));
}

#[tokio::test]
async fn refusals_are_in_vaults_words() {
    let server = server().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    let door = accessor(&server, "auth/door/").await;
    let many: serde_json::Map<String, Value> = (0..65).map(|at| (format!("k{at}"), json!("v"))).collect();
    for (path, input, text) in [
        ("entity", json!({"id": unknown}), "invalid entity id"),
        ("entity", json!({"id": "x"}), "invalid entity id"),
        ("entity", json!({"policies": ["a", " ROOT"]}), "policies cannot contain root"),
        ("entity", json!({"metadata": many}), "metadata cannot contain more than 64 key/value pairs"),
        ("entity", json!({"name": "a\u{7}"}), "entity name contains control characters"),
        ("entity/name/%20a", json!({}), "the name has spaces at its beginning or end"),
        ("entity/batch-delete", json!({}), "missing entity ids to delete"),
        ("entity-alias", json!({}), "missing alias name"),
        ("entity-alias", json!({"name": "a"}), "missing mount_accessor"),
        ("entity-alias", json!({"name": "a", "mount_accessor": "x"}), "invalid mount accessor \"x\""),
        (
            "alias",
            json!({"name": "a", "mount_accessor": door, "canonical_id": unknown}),
            "invalid canonical ID",
        ),
        ("group", json!({"type": "x"}), "invalid group type \"x\""),
        ("group", json!({"policies": "Root"}), "policies cannot contain root"),
        ("group", json!({"member_entity_ids": [unknown]}), &format!("invalid entity ID \"{unknown}\"")),
        ("group", json!({"member_group_ids": [unknown]}), &format!("invalid group ID \"{unknown}\"")),
        ("group-alias", json!({"name": "a", "mount_accessor": door}), "missing canonical_id"),
        ("lookup/entity", json!({}), "query parameter not supplied"),
        (
            "lookup/entity",
            json!({"id": "a", "name": "b"}),
            "query parameter conflict; please supply distinct set of query parameters",
        ),
        (
            "lookup/group",
            json!({"alias_name": "a"}),
            "both 'alias_name' and 'alias_mount_accessor' needs to be set",
        ),
    ] {
        let path = format!("identity/{}", path.replace("%20", " "));
        let refused = server.write(&path, input).await;
        assert_eq!(refused.refusal(), (400, text), "{path}");
    }
    assert_eq!(server.write("identity/lookup/entity", json!({"name": "nobody"})).await.status, 204);
    assert_eq!(server.read("identity/entity/id/x").await.status, 404);
}

#[tokio::test]
async fn an_alias_is_created_read_listed_moved_and_deleted() {
    let server = server().await;
    let door = accessor(&server, "auth/door/").await;
    let input = json!({"name": "Bob", "mount_accessor": door, "custom_metadata": {"a": "b"}});
    let made = server.write("identity/entity-alias", input).await;
    let (id, entity) = (made.data()["id"].clone(), made.data()["canonical_id"].clone());
    let alias = json!({
        "canonical_id": entity, "creation_time": "2023-11-14T22:13:20Z", "custom_metadata": {"a": "b"}, "id": id,
        "last_update_time": "2023-11-14T22:13:20Z", "local": false, "merged_from_canonical_ids": null,
        "metadata": null, "mount_accessor": door, "mount_path": "auth/door/", "mount_type": "door", "name": "Bob",
    });
    let mut by_itself = alias.clone();
    by_itself["namespace_id"] = json!("root");
    for at in ["entity-alias", "alias", "persona"] {
        let read = server.read(&format!("identity/{at}/id/{}", id.as_str().unwrap())).await;
        assert_eq!(read.data(), &by_itself, "{at}");
        assert_eq!(server.list(&format!("identity/{at}/id")).await.data()["keys"], json!([id]));
    }
    let read = server.read(&format!("identity/entity/id/{}", entity.as_str().unwrap())).await;
    assert_eq!(read.data()["aliases"], json!([alias]));
    for input in [json!({"alias_id": id}), json!({"alias_name": "BOB", "alias_mount_accessor": door})] {
        assert_eq!(server.write("identity/lookup/entity", input).await.data()["id"], entity);
    }
    let other = server.write("identity/entity", json!({"name": "other"})).await.data()["id"].clone();
    let path = format!("identity/entity-alias/id/{}", id.as_str().unwrap());
    let moved = server.write(&path, json!({"canonical_id": other, "name": "robert"})).await;
    assert_eq!(moved.data(), &json!({"canonical_id": other, "id": id}));
    assert_eq!(login(&server, json!({"name": "Robert"})).await.auth()["entity_id"], other);
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.read(&path).await.status, 404);
    assert_ne!(login(&server, json!({"name": "robert"})).await.auth()["entity_id"], other);
}

#[tokio::test]
async fn a_group_is_created_read_listed_and_deleted() {
    let server = server().await;
    let bob = server.write("identity/entity", json!({"name": "bob"})).await.data()["id"].clone();
    let inner = group(&server, json!({"name": "inner"})).await;
    let input = json!({
        "name": "Core/Dev", "policies": "mounts", "metadata": {"a": "b"}, "member_entity_ids": [bob],
        "member_group_ids": [inner],
    });
    let made = server.write("identity/group", input).await;
    let id = made.data()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.data(), &json!({"id": id, "name": "Core/Dev"}));
    let expected = json!({
        "alias": {}, "creation_time": "2023-11-14T22:13:20Z", "id": id, "last_update_time": "2023-11-14T22:13:20Z",
        "member_entity_ids": [bob], "member_group_ids": [inner], "metadata": {"a": "b"}, "modify_index": 1,
        "name": "Core/Dev", "namespace_id": "root", "parent_group_ids": null, "policies": ["mounts"],
        "type": "internal",
    });
    for path in [format!("identity/group/id/{id}"), "identity/group/name/core/dev".to_owned()] {
        assert_eq!(server.read(&path).await.data(), &expected, "{path}");
    }
    assert_eq!(server.write("identity/lookup/group", json!({"name": "CORE/dev"})).await.data(), &expected);
    let listed = server.list("identity/group/id").await;
    let info = &listed.data()["key_info"][&id];
    assert_eq!(info, &json!({"name": "Core/Dev", "num_member_entities": 1, "num_parent_groups": 0}));
    let refused = server.write(&format!("identity/group/id/{id}"), json!({"type": "external"})).await;
    assert_eq!(refused.refusal(), (400, "group type cannot be changed"));
    let circle = server.write(&format!("identity/group/id/{inner}"), json!({"member_group_ids": [id]})).await;
    let text = format!("cyclic relationship detected for member group ID \"{id}\"");
    assert_eq!(circle.refusal(), (400, text.as_str()));
    assert_eq!(server.delete("identity/group/name/CORE/dev").await.status, 204);
    assert_eq!(
        server.read(&format!("identity/group/id/{inner}")).await.data()["parent_group_ids"],
        Value::Null
    );
    assert_eq!(server.read("identity/entity/name/bob").await.data()["group_ids"], json!([]));
}

#[tokio::test]
async fn members_are_added_and_removed_one_by_one() {
    let server = server().await;
    let id = group(&server, json!({"name": "all", "policies": "mounts"})).await;
    let (bob, token) = {
        let made = login(&server, json!({"name": "bob"})).await;
        (made.auth()["entity_id"].as_str().unwrap().to_owned(), made.token())
    };
    assert_eq!(server.get(&token, "sys/mounts").await.status, 403);
    let member = format!("identity/group/id/{id}/members/{bob}");
    assert_eq!(server.write(&member, json!({})).await.status, 204);
    assert_eq!(server.get(&token, "sys/mounts").await.status, 200, "at once");
    assert_eq!(server.list(&format!("identity/group/id/{id}/members")).await.data()["keys"], json!([bob]));
    assert_eq!(server.delete(&member).await.status, 204);
    assert_eq!(server.get(&token, "sys/mounts").await.status, 403);
    let unknown = "00000000-0000-4000-8000-000000000000";
    let refused = server.write(&format!("identity/group/id/{id}/members/{unknown}"), json!({})).await;
    assert_eq!(refused.status, 400);
    let refused = server.write(&format!("identity/group/id/{unknown}/members/{bob}"), json!({})).await;
    assert_eq!(refused.refusal(), (400, "invalid group id"));
}

#[tokio::test]
async fn a_group_alias_is_created_read_listed_and_deleted() {
    let server = server().await;
    let (door, gate) = (accessor(&server, "auth/door/").await, accessor(&server, "auth/gate/").await);
    let internal = group(&server, json!({"name": "internal"})).await;
    let refused = server
        .write("identity/group-alias", json!({"name": "a", "mount_accessor": door, "canonical_id": internal}))
        .await;
    assert_eq!(refused.refusal(), (400, "alias can't be set on internal group"));
    let ops = group(&server, json!({"name": "ops", "type": "external"})).await;
    let input = json!({"name": "Operators", "mount_accessor": door, "canonical_id": ops});
    let made = server.write("identity/group-alias", input).await;
    let id = made.data()["id"].as_str().unwrap().to_owned();
    assert_eq!(made.data()["canonical_id"], ops.as_str());
    let alias = json!({
        "canonical_id": ops, "creation_time": "2023-11-14T22:13:20Z", "id": id,
        "last_update_time": "2023-11-14T22:13:20Z", "merged_from_canonical_ids": null, "metadata": null,
        "mount_accessor": door, "mount_path": "auth/door/", "mount_type": "door", "name": "Operators",
    });
    let path = format!("identity/group-alias/id/{id}");
    assert_eq!(server.read(&path).await.data(), &alias);
    assert_eq!(server.read(&format!("identity/group/id/{ops}")).await.data()["alias"], alias);
    assert_eq!(server.list("identity/group-alias/id").await.data()["keys"], json!([id]));
    let factors = json!({"alias_name": "operators", "alias_mount_accessor": door});
    assert_eq!(server.write("identity/lookup/group", factors).await.data()["id"], ops.as_str());
    assert_eq!(server.write(&path, json!({"mount_accessor": gate})).await.status, 200);
    assert_eq!(server.read(&path).await.data()["mount_path"], "auth/gate/");
    let by_hand = json!({"member_entity_ids": ["00000000-0000-4000-8000-000000000000"]});
    let refused = server.write(&format!("identity/group/id/{ops}"), by_hand).await;
    assert_eq!(refused.refusal(), (400, "member entities can't be set manually for external groups"));
    assert_eq!(server.delete(&path).await.status, 204);
    assert_eq!(server.read(&format!("identity/group/id/{ops}")).await.data()["alias"], json!({}));
}

/// What the engine takes for one name is one value to policies, too.
#[tokio::test]
async fn a_denied_name_is_denied_in_every_spelling() {
    let server = server().await;
    let door = accessor(&server, "auth/door/").await;
    let bob = entity(&server, "bob").await;
    let rules = [
        ("identity/entity", "name"),
        (&*format!("identity/entity/id/{bob}"), "name"),
        ("identity/group", "name"),
        ("identity/entity-alias", "name"),
        ("identity/group-alias", "name"),
        ("identity/lookup/entity", "name"),
        ("identity/lookup/entity", "alias_name"),
        ("identity/lookup/group", "name"),
        ("identity/mfa/method/totp", "method_name"),
    ]
    .map(|(path, field)| (path.to_owned(), field));
    for (path, field) in rules {
        let rule = format!(
            "path \"{path}\" {{ capabilities = [\"create\", \"update\"] denied_parameters = {{ {field} = [\"Bo*\", \"chief\"] }} }}"
        );
        server.policy("names", &rule).await;
        let entry = TokenEntry { policies: vec!["names".to_owned()], ..TokenEntry::default() };
        let (token, _) = server.token(entry).await;
        for name in ["chief", "CHIEF", " Chief", "chief ", "boss", "BOSS", "bOb "] {
            let input = json!({field: name, "alias_mount_accessor": door, "mount_accessor": door});
            let told = server.post(&token, &path, input).await;
            assert_eq!(told.status, 403, "{path} {field} {name:?}: {}", told.body);
        }
        let input = json!({field: "other", "alias_mount_accessor": door, "mount_accessor": door});
        assert_ne!(server.post(&token, &path, input).await.status, 403, "{path} {field}");
    }
}
