//! Version 2: settings, data and versions.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::{EngineError, Operation::*};

use super::rig::Rig;
use super::{done, gone, is_absent, refused};

const START: &str = "2023-11-14T22:13:20Z";

pub(super) fn harness() -> Harness {
    Harness::new(crate::v2())
}

pub(super) async fn put(kv: &Harness, path: &str, data: Value) -> Value {
    kv.data(Update, &format!("data/{path}"), json!({ "data": data })).await
}

async fn secret(kv: &Harness, path: &str, version: u64) -> Value {
    kv.data(Read, &format!("data/{path}"), json!({"version": version.to_string()})).await["data"].clone()
}

#[tokio::test]
async fn settings_are_kept_one_by_one() {
    let kv = harness();
    let defaults = json!({"cas_required": false, "delete_version_after": "0s", "max_versions": 0});
    assert_eq!(kv.data(Read, "config", json!({})).await, defaults);
    done(&kv, Update, "config", json!({})).await;
    assert_eq!(kv.data(Read, "config", json!({})).await, defaults);
    let given = json!({"max_versions": 5, "cas_required": "true", "delete_version_after": "3h25m19s"});
    done(&kv, Update, "config", given).await;
    done(&kv, Update, "config", json!({"max_versions": "6"})).await;
    let expected = json!({"cas_required": true, "delete_version_after": "3h25m19s", "max_versions": 6});
    assert_eq!(kv.data(Read, "config", json!({})).await, expected);
    for (given, shown) in [
        (json!("-5s"), "-1s"),
        (json!(-1), "-1s"),
        (json!("1500ms"), "1s"),
        (json!(90), "1m30s"),
        (json!(0), "0s"),
    ] {
        done(&kv, Update, "config", json!({"delete_version_after": given})).await;
        assert_eq!(kv.data(Read, "config", json!({})).await["delete_version_after"], shown, "{given}");
    }
    let text = refused(kv.call(Update, "config", json!({"delete_version_after": "soon"})).await);
    let expected = "Field validation failed: error converting input for field \"delete_version_after\": time: \
                    invalid duration \"soon\"";
    assert_eq!(text, expected);
    let text = refused(kv.call(Update, "config", json!({"max_versions": -1})).await);
    assert_eq!(text, "max_versions must be between 0 and 4294967295");
    assert!(matches!(kv.call(Delete, "config", json!({})).await, Err(EngineError::Unsupported)));
}

#[tokio::test]
async fn versions_are_counted_up() {
    let kv = harness();
    assert!(is_absent(&kv.call(Read, "data/a", json!({})).await));
    let first = json!({
        "created_time": START, "custom_metadata": null, "deletion_time": "", "destroyed": false, "version": 1
    });
    assert_eq!(put(&kv, "a", json!({"x": 1})).await, first);
    assert_eq!(kv.data(Read, "data/a", json!({})).await, json!({"data": {"x": 1}, "metadata": first}));
    kv.clock.advance(Duration::from_millis(1500));
    let second = put(&kv, "a", json!({"x": 2})).await;
    assert_eq!(second["version"], 2);
    assert_eq!(second["created_time"], "2023-11-14T22:13:21.5Z");
    assert_eq!(secret(&kv, "a", 1).await, json!({"x": 1}));
    assert_eq!(secret(&kv, "a", 2).await, json!({"x": 2}));
    assert_eq!(secret(&kv, "a", 0).await, json!({"x": 2}));
    assert_eq!(kv.data(Read, "data/a", json!({"version": -1})).await["data"], json!({"x": 2}));
    assert!(is_absent(&kv.call(Read, "data/a", json!({"version": 3})).await));
    assert!(refused(kv.call(Read, "data/a", json!({"version": "x"})).await).contains("field \"version\""));
}

#[tokio::test]
async fn writes_say_what_is_wrong_with_them() {
    let kv = harness();
    assert_eq!(refused(kv.call(Update, "data/a", json!({})).await), "no data provided");
    assert_eq!(refused(kv.call(Update, "data/a", json!({"x": 1})).await), "no data provided");
    for (field, value, kind) in [
        ("data", json!("text"), "string"),
        ("data", json!([1]), "[]interface {}"),
        ("data", json!(5), "json.Number"),
        ("options", json!("text"), "string"),
    ] {
        let mut input = json!({"data": {}});
        input[field] = value;
        let expected = format!(
            "Field validation failed: error converting input for field \"{field}\": '' expected type \
             'map[string]interface {{}}', got unconvertible type '{kind}'"
        );
        assert_eq!(refused(kv.call(Update, "data/a", input).await), expected);
    }
    let ending = "cannot write to a path ending in '/'";
    assert_eq!(refused(kv.call(Update, "data/a/", json!({"data": {}})).await), ending);
    assert_eq!(refused(kv.call(Patch, "data/a/", json!({"data": {}})).await), ending);
    assert_eq!(refused(kv.call(Update, "data/", json!({"data": {}})).await), "missing path");
    assert!(is_absent(&kv.call(Read, "data/", json!({})).await));
    assert!(is_absent(&kv.call(Read, "data/a", json!({})).await), "nothing of it was kept");
}

#[tokio::test]
async fn empty_and_null_data_are_data() {
    let kv = harness();
    put(&kv, "a", json!({})).await;
    assert_eq!(secret(&kv, "a", 0).await, json!({}));
    put(&kv, "a", json!(null)).await;
    assert_eq!(kv.data(Read, "data/a", json!({})).await["metadata"]["version"], 2);
    assert_eq!(secret(&kv, "a", 0).await, json!(null));
}

#[tokio::test]
async fn creating_is_told_from_updating() {
    let rig = Rig::new();
    let v2 = crate::v2();
    assert!(!rig.exists(&v2, "data/a").await);
    rig.call(&v2, Create, "metadata/a", json!({})).await;
    assert!(rig.exists(&v2, "data/a").await, "a key without versions is a key");
    rig.call(&v2, Create, "data/b", json!({"data": {}})).await;
    rig.call(&v2, Delete, "data/b", json!({})).await;
    assert!(
        rig.exists(&v2, "data/b").await && rig.exists(&v2, "metadata/b").await,
        "a deleted version is there"
    );
    rig.call(&v2, Delete, "metadata/b", json!({})).await;
    assert!(!rig.exists(&v2, "data/b").await && !rig.exists(&v2, "metadata/b").await);
}

#[tokio::test]
async fn check_and_set() {
    let kv = harness();
    let mismatch = "check-and-set parameter did not match the current version";
    let write = |cas: Value| kv.call(Update, "data/a", json!({"data": {"x": 1}, "options": {"cas": cas}}));
    assert_eq!(refused(write(json!(1)).await), mismatch);
    write(json!(0)).await.unwrap();
    assert_eq!(refused(write(json!(0)).await), mismatch);
    assert_eq!(refused(write(json!(null)).await), mismatch);
    assert_eq!(refused(write(json!(-1)).await), mismatch);
    assert_eq!(refused(write(json!("x")).await), "error parsing check-and-set parameter");
    assert_eq!(refused(write(json!(1.5)).await), "error parsing check-and-set parameter");
    write(json!("1")).await.unwrap();
    done(&kv, Delete, "data/a", json!({})).await;
    assert_eq!(refused(write(json!(0)).await), mismatch, "a deleted version still counts");
    write(json!(2)).await.unwrap();
    done(&kv, Update, "data/a", json!({"data": {}, "options": {"other": 1}})).await;
    assert_eq!(kv.data(Read, "data/a", json!({})).await["metadata"]["version"], 4);
}

#[tokio::test]
async fn check_and_set_can_be_required() {
    let kv = harness();
    let required = "check-and-set parameter required for this call";
    done(&kv, Update, "metadata/own", json!({"cas_required": true})).await;
    assert_eq!(refused(kv.call(Update, "data/own", json!({"data": {}})).await), required);
    put(&kv, "other", json!({})).await;
    done(&kv, Update, "config", json!({"cas_required": true})).await;
    for operation in [Update, Patch] {
        assert_eq!(refused(kv.call(operation, "data/other", json!({"data": {}})).await), required);
        assert_eq!(
            refused(kv.call(operation, "data/other", json!({"data": {}, "options": {}})).await),
            required
        );
    }
    done(&kv, Update, "data/other", json!({"data": {}, "options": {"cas": 1}})).await;
}

#[tokio::test]
async fn patches_are_merged() {
    let kv = harness();
    let exact: Value = serde_json::from_str("1.50").unwrap();
    put(&kv, "a", json!({"keep": "k", "drop": "d", "deep": {"a": 1, "b": 2}, "n": exact})).await;
    let patch = json!({"data": {"drop": null, "deep": {"b": null, "c": 3}, "list": [1, null]}, "options": {"cas": 1}});
    assert_eq!(kv.data(Patch, "data/a", patch).await["version"], 2);
    let merged = json!({"keep": "k", "deep": {"a": 1, "c": 3}, "list": [1, null], "n": exact});
    assert_eq!(secret(&kv, "a", 0).await, merged);
    assert_eq!(secret(&kv, "a", 1).await["drop"], "d");
    assert_eq!(refused(kv.call(Patch, "data/a", json!({})).await), "no data provided");
    let mismatch = kv.call(Patch, "data/a", json!({"data": {}, "options": {"cas": 1}})).await;
    assert_eq!(refused(mismatch), "check-and-set parameter did not match the current version");
    put(&kv, "null", json!(null)).await;
    done(&kv, Patch, "data/null", json!({"data": {"x": 1}})).await;
    assert_eq!(secret(&kv, "null", 0).await, json!({"x": 1}));
}

#[tokio::test]
async fn only_what_is_there_can_be_patched() {
    let kv = harness();
    assert!(is_absent(&kv.call(Patch, "data/a", json!({"data": {"x": 1}})).await));
    done(&kv, Update, "metadata/a", json!({})).await;
    assert!(is_absent(&kv.call(Patch, "data/a", json!({"data": {"x": 1}})).await), "no version yet");
    put(&kv, "a", json!({"x": 1})).await;
    done(&kv, Delete, "data/a", json!({})).await;
    let reply = gone(kv.call(Patch, "data/a", json!({"data": {"x": 2}})).await);
    let expected = json!({
        "created_time": START, "custom_metadata": null, "deletion_time": START, "destroyed": false, "version": 1
    });
    assert_eq!(reply.answered().unwrap().to_value(), expected);
    done(&kv, Update, "destroy/a", json!({"versions": [1]})).await;
    gone(kv.call(Patch, "data/a", json!({"data": {"x": 2}})).await);
}

#[tokio::test]
async fn deleted_versions_come_back() {
    let kv = harness();
    put(&kv, "a", json!({"x": 1})).await;
    put(&kv, "a", json!({"x": 2})).await;
    kv.clock.advance(Duration::from_secs(1));
    done(&kv, Delete, "data/a", json!({})).await;
    kv.clock.advance(Duration::from_secs(1));
    done(&kv, Delete, "data/a", json!({})).await;
    let reply = gone(kv.call(Read, "data/a", json!({})).await);
    let expected = json!({"data": null, "metadata": {
        "created_time": START, "custom_metadata": null, "deletion_time": "2023-11-14T22:13:21Z",
        "destroyed": false, "version": 2
    }});
    assert_eq!(reply.answered().unwrap().to_value(), expected, "deleting again changes nothing");
    assert_eq!(secret(&kv, "a", 1).await, json!({"x": 1}));
    done(&kv, Update, "undelete/a", json!({"versions": [2]})).await;
    assert_eq!(secret(&kv, "a", 0).await, json!({"x": 2}));
    done(&kv, Update, "delete/a", json!({"versions": "1, 2,77"})).await;
    gone(kv.call(Read, "data/a", json!({"version": 1})).await);
    gone(kv.call(Read, "data/a", json!({"version": 2})).await);
    done(&kv, Update, "undelete/a", json!({"versions": [-1, 0, 1]})).await;
    assert_eq!(secret(&kv, "a", 1).await, json!({"x": 1}));
    gone(kv.call(Read, "data/a", json!({"version": 2})).await);
}

#[tokio::test]
async fn destroyed_versions_do_not() {
    let kv = harness();
    for x in 1..=3 {
        put(&kv, "a", json!({"x": x})).await;
    }
    done(&kv, Update, "destroy/a", json!({"versions": [2, 3, 3, 9]})).await;
    for version in [2, 3] {
        let reply = gone(kv.call(Read, "data/a", json!({"version": version})).await);
        let answer = reply.answered().unwrap().to_value();
        assert_eq!((&answer["data"], &answer["metadata"]["destroyed"]), (&json!(null), &json!(true)));
        assert_eq!(answer["metadata"]["deletion_time"], "");
    }
    done(&kv, Update, "delete/a", json!({"versions": [1]})).await;
    done(&kv, Update, "destroy/a", json!({"versions": [1]})).await;
    done(&kv, Update, "undelete/a", json!({"versions": [1, 2, 3]})).await;
    let deleted_before =
        gone(kv.call(Read, "data/a", json!({"version": 1})).await).answered().unwrap().to_value();
    assert_eq!(deleted_before["metadata"]["destroyed"], true);
    assert_eq!(deleted_before["metadata"]["deletion_time"], START);
    gone(kv.call(Read, "data/a", json!({})).await);
    done(&kv, Delete, "data/a", json!({})).await;
    assert_eq!(kv.data(Read, "metadata/a", json!({})).await["versions"]["3"]["deletion_time"], "");
    assert_eq!(put(&kv, "a", json!({"x": 4})).await["version"], 4);
    assert_eq!(secret(&kv, "a", 0).await, json!({"x": 4}));
}

#[tokio::test]
async fn versions_must_be_named() {
    let kv = harness();
    for input in [json!({}), json!({"versions": []}), json!({"versions": ""})] {
        assert_eq!(refused(kv.call(Update, "delete/a", input.clone()).await), "No version number provided");
        assert_eq!(refused(kv.call(Update, "undelete/a", input.clone()).await), "No version number provided");
        assert_eq!(refused(kv.call(Update, "destroy/a", input).await), "no version number provided");
    }
    assert!(refused(kv.call(Update, "delete/a", json!({"versions": ["x"]})).await).contains("\"versions\""));
    for path in ["delete/nope", "undelete/nope", "destroy/nope"] {
        done(&kv, Update, path, json!({"versions": [1]})).await;
        assert!(matches!(kv.call(Read, path, json!({})).await, Err(EngineError::Unsupported)));
    }
    done(&kv, Delete, "data/nope", json!({})).await;
}

#[tokio::test]
async fn the_oldest_versions_go() {
    let kv = harness();
    let numbers = async |kv: &Harness| {
        let metadata = kv.data(Read, "metadata/a", json!({})).await;
        let mut numbers: Vec<u64> =
            metadata["versions"].as_object().unwrap().keys().map(|number| number.parse().unwrap()).collect();
        numbers.sort_unstable();
        (metadata["oldest_version"].as_u64().unwrap(), numbers)
    };
    for x in 1..=10 {
        put(&kv, "a", json!({"x": x})).await;
    }
    assert_eq!(numbers(&kv).await, (0, (1..=10).collect()));
    put(&kv, "a", json!({"x": 11})).await;
    assert_eq!(numbers(&kv).await, (2, (2..=11).collect()), "ten where nothing is said");
    assert!(is_absent(&kv.call(Read, "data/a", json!({"version": 1})).await));
    done(&kv, Update, "config", json!({"max_versions": 4})).await;
    assert_eq!(numbers(&kv).await.0, 2, "a limit counts from the next write on");
    put(&kv, "a", json!({"x": 12})).await;
    assert_eq!(numbers(&kv).await, (9, (9..=12).collect()));
    done(&kv, Update, "metadata/a", json!({"max_versions": 1})).await;
    put(&kv, "a", json!({"x": 13})).await;
    assert_eq!(numbers(&kv).await, (13, vec![13]));
    assert_eq!(secret(&kv, "a", 0).await, json!({"x": 13}));
    done(&kv, Update, "metadata/a", json!({"max_versions": 6})).await;
    for x in 14..=16 {
        put(&kv, "a", json!({"x": x})).await;
    }
    assert_eq!(numbers(&kv).await, (13, (13..=16).collect()), "a key's limit counts before the mount's");
    for version in 13..=16 {
        assert_eq!(secret(&kv, "a", version).await, json!({"x": version}));
    }
}

#[tokio::test]
async fn versions_end_by_the_clock() {
    let kv = harness();
    let deletion = async |kv: &Harness| put(kv, "a", json!({"x": 1})).await["deletion_time"].clone();
    assert_eq!(deletion(&kv).await, "");
    done(&kv, Update, "metadata/a", json!({"delete_version_after": "2h"})).await;
    assert_eq!(deletion(&kv).await, "2023-11-15T00:13:20Z", "the key's alone");
    done(&kv, Update, "config", json!({"delete_version_after": "1h"})).await;
    assert_eq!(deletion(&kv).await, "2023-11-14T23:13:20Z", "the shorter one: the mount's");
    done(&kv, Update, "metadata/a", json!({"delete_version_after": "10m"})).await;
    assert_eq!(deletion(&kv).await, "2023-11-14T22:23:20Z", "the shorter one: the key's");
    done(&kv, Update, "metadata/a", json!({"delete_version_after": 0})).await;
    assert_eq!(deletion(&kv).await, "2023-11-14T23:13:20Z", "the mount's alone");
    done(&kv, Update, "config", json!({"delete_version_after": "-1s"})).await;
    done(&kv, Update, "metadata/a", json!({"delete_version_after": "10m"})).await;
    assert_eq!(deletion(&kv).await, "", "turned off for the mount");

    kv.clock.advance(Duration::from_secs(599));
    assert_eq!(secret(&kv, "a", 4).await, json!({"x": 1}));
    kv.clock.advance(Duration::from_secs(1));
    gone(kv.call(Read, "data/a", json!({"version": 4})).await);
    assert_eq!(secret(&kv, "a", 3).await, json!({"x": 1}), "an hour is not over");
    done(&kv, Update, "undelete/a", json!({"versions": [4]})).await;
    kv.clock.advance(Duration::from_secs(1_000_000));
    assert_eq!(secret(&kv, "a", 4).await, json!({"x": 1}));
    let text = refused(kv.call(Update, "metadata/a", json!({"delete_version_after": "-1s"})).await);
    let expected = "Field validation failed: error converting input for field \"delete_version_after\": cannot \
                    provide negative value '-1'";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn deleting_early_sets_the_time() {
    let kv = harness();
    done(&kv, Update, "config", json!({"delete_version_after": "1h"})).await;
    put(&kv, "a", json!({"x": 1})).await;
    kv.clock.advance(Duration::from_mins(1));
    done(&kv, Delete, "data/a", json!({})).await;
    let reply = gone(kv.call(Read, "data/a", json!({})).await);
    assert_eq!(reply.answered().unwrap().to_value()["metadata"]["deletion_time"], "2023-11-14T22:14:20Z");
}

#[tokio::test]
async fn numbers_unicode_and_sizes_survive() {
    let kv = harness();
    let small = r#"{"big":123456789012345678901234567890,"exact":1.50,"tiny":1e-400,"ключ":"ü\u0000\"漢🦀"}"#;
    let small: Value = serde_json::from_str(small).unwrap();
    let large = json!({"blob": "ß".repeat(400_000), "n": small["big"]});
    // Around the size up to which data lies with its key.
    let around = |len: usize| json!({"x": "y".repeat(len - r#"{"x":""}"#.len())});
    let secrets = [small, large, around(4095), around(4096), around(4097), json!({"last": true})];
    for (data, path) in secrets.iter().flat_map(|data| [(data, "a"), (data, "b ä/?#%/c")]) {
        put(&kv, path, data.clone()).await;
        assert_eq!(secret(&kv, path, 0).await, *data);
    }
    for (version, data) in (1..).zip(&secrets) {
        assert_eq!(secret(&kv, "a", version).await, *data);
        assert_eq!(secret(&kv, "b ä/?#%/c", version).await, *data);
    }
    let reply = kv.call(Read, "data/a", json!({"version": 1})).await.unwrap();
    for digits in ["123456789012345678901234567890", "1.50", "1e-400"] {
        assert!(reply.answered().unwrap().as_str().contains(digits), "{digits}");
    }
}

#[tokio::test]
async fn subkeys_show_names_alone() {
    let kv = harness();
    let data = json!({"foo": "abc", "bar": {"baz": {"deep": 1}}, "quux": {}, "list": [{"a": 1}], "n": 5});
    put(&kv, "a", data).await;
    for (depth, expected) in [
        (
            json!(0),
            json!({"foo": null, "bar": {"baz": {"deep": null}}, "quux": null, "list": null, "n": null}),
        ),
        (json!(1), json!({"foo": null, "bar": null, "quux": null, "list": null, "n": null})),
        (json!("2"), json!({"foo": null, "bar": {"baz": null}, "quux": null, "list": null, "n": null})),
        (
            json!(9),
            json!({"foo": null, "bar": {"baz": {"deep": null}}, "quux": null, "list": null, "n": null}),
        ),
    ] {
        let answer = kv.data(Read, "subkeys/a", json!({"depth": depth})).await;
        assert_eq!(answer["subkeys"], expected, "{depth}");
        assert_eq!(answer["metadata"]["version"], 1);
    }
    put(&kv, "a", json!({"other": 1})).await;
    let answer = kv.data(Read, "subkeys/a", json!({"version": 1, "depth": 1})).await;
    assert_eq!(answer["subkeys"].as_object().unwrap().len(), 5);
    assert_eq!(kv.data(Read, "subkeys/a", json!({})).await["subkeys"], json!({"other": null}));
    assert!(is_absent(&kv.call(Read, "subkeys/a", json!({"version": 7})).await));
    assert!(is_absent(&kv.call(Read, "subkeys/nope", json!({})).await));
    done(&kv, Delete, "data/a", json!({})).await;
    let reply = gone(kv.call(Read, "subkeys/a", json!({})).await);
    let answer = reply.answered().unwrap().to_value();
    assert_eq!((&answer["subkeys"], &answer["metadata"]["version"]), (&json!(null), &json!(2)));
}

#[tokio::test]
async fn paths_of_version_1_are_answered_with_a_hint() {
    let kv = harness();
    let hint = |verb| {
        format!(
            "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to \
             use. If using the Vault CLI, use 'vault kv {verb}' for this operation."
        )
    };
    for (operation, verb) in
        [(Read, "get"), (Update, "put"), (List, "list"), (Delete, "delete"), (Patch, "patch"), (Scan, "list")]
    {
        for path in ["", "my-secret", "database/creds"] {
            let reply = gone(kv.call(operation, path, json!({"x": 1})).await);
            assert_eq!(reply.warnings(), [hint(verb)], "{operation} {path:?}");
            assert!(reply.answered().is_none());
        }
    }
    for (operation, path) in
        [(List, "data/a"), (Read, "delete/a"), (Update, "subkeys/a"), (Read, "detailed-metadata/a")]
    {
        assert!(matches!(kv.call(operation, path, json!({})).await, Err(EngineError::Unsupported)), "{path}");
    }
}
