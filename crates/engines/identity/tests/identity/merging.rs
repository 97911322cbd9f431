//! Merges over the API.

use serde_json::json;

use crate::rig::{entity, group, login, server, token};

#[tokio::test]
async fn a_merged_entitys_tokens_are_the_others() {
    let server = server().await;
    let (bob, robert) = (entity(&server, "bob").await, {
        let made = server.ask(strongroom_testkit::Request::new(
            "",
            strongroom_pipeline::Verb::Write,
            "auth/gate/login",
            json!({"name": "robert"}),
        ));
        made.await.auth()["entity_id"].as_str().unwrap().to_owned()
    });
    let gate_token = {
        let made = strongroom_testkit::Request::new(
            "",
            strongroom_pipeline::Verb::Write,
            "auth/gate/login",
            json!({"name": "robert"}),
        );
        server.ask(made).await.token()
    };
    server.write(&format!("identity/entity/id/{bob}"), json!({"policies": ["mounts"]})).await;
    group(&server, json!({"policies": ["audit"], "member_entity_ids": [robert]})).await;
    let merge = json!({"from_entity_ids": [robert, robert], "to_entity_id": bob});
    assert_eq!(server.write("identity/entity/merge", merge).await.status, 204);
    let read = server.read(&format!("identity/entity/id/{bob}")).await;
    assert_eq!(read.data()["merged_entity_ids"], json!([robert]));
    assert_eq!(read.data()["aliases"].as_array().unwrap().len(), 2);
    assert_eq!(server.read(&format!("identity/entity/id/{robert}")).await.status, 404);
    for path in ["sys/mounts", "sys/audit"] {
        assert_eq!(server.get(&gate_token, path).await.status, 200, "{path}");
    }
    let bobs = token(&server, "bob").await;
    assert_eq!(server.get(&bobs, "sys/audit").await.status, 200);
    server.write(&format!("identity/entity/id/{bob}"), json!({"disabled": true})).await;
    assert_eq!(server.get(&gate_token, "sys/audit").await.status, 403);
    assert_eq!(server.delete(&format!("identity/entity/id/{bob}")).await.status, 204);
    server.settle().await;
    for token in [&gate_token, &bobs] {
        assert_eq!(server.write("auth/token/lookup", json!({"token": token})).await.status, 403);
    }
}

#[tokio::test]
async fn a_merge_asks_for_update_on_both_sides() {
    let server = server().await;
    let (bob, robert) = (entity(&server, "bob").await, {
        server.write("identity/entity", json!({"name": "robert"})).await.data()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    let rule = |path: &str| format!("path \"identity/entity/{path}\" {{ capabilities = [\"update\"] }}\n");
    server.policy("merge", &rule("merge")).await;
    server.policy("one", &rule(&format!("id/{bob}"))).await;
    server.policy("other", &rule(&format!("id/{robert}"))).await;
    let merge = json!({"from_entity_ids": [robert], "to_entity_id": bob});
    for policies in
        [json!(["merge"]), json!(["merge", "one"]), json!(["merge", "other"]), json!(["one", "other"])]
    {
        let token = server.write("auth/token/create", json!({"policies": policies})).await.token();
        let refused = server.post(&token, "identity/entity/merge", merge.clone()).await;
        assert_eq!(refused.status, 403, "{policies}");
    }
    let all = json!({"policies": ["merge", "one", "other"]});
    let token = server.write("auth/token/create", all).await.token();
    assert_eq!(server.post(&token, "identity/entity/merge", merge).await.status, 204);
}

#[tokio::test]
async fn conflicting_aliases_are_kept_as_asked() {
    let server = server().await;
    let (bob, robert) = (entity(&server, "bob").await, entity(&server, "robert").await);
    let alias = async |id: &str| {
        let read = server.read(&format!("identity/entity/id/{id}")).await;
        read.data()["aliases"][0]["id"].as_str().unwrap().to_owned()
    };
    let (own, their) = (alias(&bob).await, alias(&robert).await);
    let merge = |keep: &[&str]| json!({"from_entity_ids": [robert], "to_entity_id": bob, "conflicting_alias_ids_to_keep": keep, "force": true});
    for (keep, text) in
        [(vec![], "toEntity and at least one fromEntity"), (vec![own.as_str(), &their], "both were present")]
    {
        let refused = server.write("identity/entity/merge", merge(&keep)).await;
        assert!(refused.status == 400 && refused.error().contains(text), "{}", refused.error());
    }
    for (input, text) in [
        (json!({"to_entity_id": bob}), "missing entity ids to merge from"),
        (json!({"from_entity_ids": [robert]}), "missing entity id to merge to"),
        (json!({"from_entity_ids": ["x"], "to_entity_id": bob}), "entity id to merge from is invalid: \"x\""),
        (
            json!({"from_entity_ids": [bob], "to_entity_id": bob}),
            "to_entity_id should not be present in from_entity_ids",
        ),
    ] {
        assert_eq!(server.write("identity/entity/merge", input).await.refusal(), (400, text));
    }
    assert_eq!(server.write("identity/entity/merge", merge(&[&their])).await.status, 204);
    assert_eq!(login(&server, json!({"name": "robert"})).await.auth()["entity_id"], bob.as_str());
    assert_eq!(alias(&bob).await, their);
    assert_ne!(entity(&server, "bob").await, bob, "its own alias went");
}
