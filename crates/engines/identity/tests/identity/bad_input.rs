//! Input that nobody should send: refused as a whole, with an error that says why, or taken for what it is.

use serde_json::{Map, Value, json};

use crate::rig::{accessor, entity, group, login, server};

/// Names, metadata and policies of every kind of thing, each with one fault.
#[tokio::test]
async fn names_and_metadata_have_limits_everywhere() {
    let server = server().await;
    let door = accessor(&server, "auth/door/").await;
    let bob = entity(&server, "bob").await;
    let dev = group(&server, json!({ "name": "dev", "type": "external" })).await;
    let alias = |more: Value| {
        let mut input = json!({ "name": "bob", "mount_accessor": door, "canonical_id": bob });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let group_alias = |name: &str| json!({ "name": name, "mount_accessor": door, "canonical_id": dev });
    let pairs = |count: usize| (0..count).map(|at| (format!("k{at}"), json!("v"))).collect::<Map<_, _>>();
    let long = "x".repeat(1025);
    let before = server.stored().await.len();
    for (path, input, text) in [
        ("entity", json!({ "name": "a", "metadata": pairs(10_000) }), "metadata cannot contain more than 64"),
        ("group", json!({ "name": "a", "metadata": pairs(10_000) }), "metadata cannot contain more than 64"),
        (
            "entity-alias",
            alias(json!({ "custom_metadata": pairs(10_000) })),
            "at most 64 keys, provided 10000",
        ),
        ("entity", json!({ "name": "a", "metadata": { "k": "a\nb" } }), "invalid characters"),
        ("group", json!({ "name": "a", "metadata": { "k\u{0}": "a" } }), "invalid characters"),
        ("entity-alias", alias(json!({ "custom_metadata": { "k": "\u{1b}[2J" } })), "unprintable characters"),
        ("entity", json!({ "name": "a\u{0}b" }), "control characters"),
        ("group", json!({ "name": "a\u{85}b" }), "control characters"),
        ("entity-alias", alias(json!({ "name": "a\r\nb" })), "control characters"),
        ("group-alias", group_alias("a\u{7f}b"), "control characters"),
        ("entity", json!({ "name": long }), "longer than 1024 bytes"),
        ("group", json!({ "name": long }), "longer than 1024 bytes"),
        ("entity-alias", alias(json!({ "name": long })), "longer than 1024 bytes"),
        ("group-alias", group_alias(&long), "longer than 1024 bytes"),
        ("group", json!({ "name": "a", "policies": ["a\u{7}"] }), "control characters"),
    ] {
        let refused = server.write(&format!("identity/{path}"), input).await;
        let (status, told) = refused.refusal();
        assert!(status == 400 && told.contains(text), "{path}: {status} {told}");
    }
    assert_eq!(server.stored().await.len(), before, "nothing of it is kept");
}

#[tokio::test]
async fn names_that_look_alike_are_different_and_those_in_another_case_are_not() {
    let server = server().await;
    let id = |made: &Value| made["entity_id"].as_str().unwrap().to_owned();
    let bob = id(login(&server, json!({ "name": "Bob" })).await.auth());
    for name in ["bob", "BOB", " bOb "] {
        assert_eq!(id(login(&server, json!({ "name": name })).await.auth()), bob, "{name:?}");
    }
    // Cyrillic, full width, with a zero width space, from right to left.
    for name in ["b\u{43e}b", "\u{ff42}ob", "bo\u{200b}b", "\u{202e}bob", "b\u{f6}b", "bo\u{308}b"] {
        assert_ne!(id(login(&server, json!({ "name": name })).await.auth()), bob, "{name:?}");
    }
    let listed = server.list("identity/entity/id").await;
    assert_eq!(listed.data()["keys"].as_array().unwrap().len(), 7);
}

/// The longest way around: a chain of groups that its end would close.
#[tokio::test]
async fn a_long_chain_of_groups_counts_and_does_not_close() {
    let server = server().await;
    let made = login(&server, json!({ "name": "bob" })).await;
    let first =
        group(&server, json!({ "name": "g0", "member_entity_ids": [made.auth()["entity_id"]] })).await;
    let mut last = first.clone();
    for at in 1..300 {
        last = group(&server, json!({ "name": format!("g{at}"), "member_group_ids": [last] })).await;
    }
    let path = format!("identity/group/id/{first}");
    let text = format!("cyclic relationship detected for member group ID \"{last}\"");
    let circle = server.write(&path, json!({ "member_group_ids": [last], "policies": "mounts" })).await;
    assert_eq!(circle.refusal(), (400, text.as_str()));
    let own = server.write(&path, json!({ "member_group_ids": [first] })).await;
    assert_eq!(own.refusal().0, 400, "nor is a group in itself");
    assert_eq!(server.read(&path).await.data()["policies"], json!([]), "nothing of a refused write is kept");
    assert_eq!(server.get(&made.token(), "sys/mounts").await.status, 403);
    server.write(&format!("identity/group/id/{last}"), json!({ "policies": "mounts" })).await;
    assert_eq!(server.get(&made.token(), "sys/mounts").await.status, 200, "it is in the outermost, too");
}
