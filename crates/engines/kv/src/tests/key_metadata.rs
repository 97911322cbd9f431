//! Version 2: `metadata/`.

use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_engine_api::Operation::*;

use super::versioned::{harness, put};
use super::{done, gone, is_absent, refused};

#[tokio::test]
async fn a_key_can_be_made_without_data() {
    let kv = harness();
    assert!(is_absent(&kv.call(Read, "metadata/m", json!({})).await));
    done(&kv, Update, "metadata/m", json!({})).await;
    let expected = json!({
        "cas_required": false, "created_time": "2023-11-14T22:13:20Z", "current_version": 0, "custom_metadata": null,
        "delete_version_after": "0s", "max_versions": 0, "oldest_version": 0,
        "updated_time": "2023-11-14T22:13:20Z", "versions": {}
    });
    assert_eq!(kv.data(Read, "metadata/m", json!({})).await, expected);
    assert!(is_absent(&kv.call(Read, "data/m", json!({})).await));
    assert!(is_absent(&kv.call(Read, "data/m", json!({"version": 1})).await));
    assert!(is_absent(&kv.call(Read, "subkeys/m", json!({})).await));
    done(&kv, Delete, "data/m", json!({})).await;
    done(&kv, Update, "data/m", json!({"data": {"x": 1}, "options": {"cas": 0}})).await;
    assert_eq!(kv.data(Read, "metadata/m", json!({})).await["current_version"], 1);
}

#[tokio::test]
async fn shows_settings_and_history() {
    let kv = harness();
    let settings = json!({
        "max_versions": 3, "cas_required": true, "delete_version_after": "3h25m19s", "custom_metadata": {"a": "b"}
    });
    done(&kv, Update, "metadata/m", settings).await;
    kv.clock.advance(Duration::from_secs(10));
    let written = kv.data(Update, "data/m", json!({"data": {}, "options": {"cas": 0}})).await;
    assert_eq!(written["custom_metadata"], json!({"a": "b"}));
    assert_eq!(kv.data(Read, "data/m", json!({})).await["metadata"]["custom_metadata"], json!({"a": "b"}));
    done(&kv, Update, "destroy/m", json!({"versions": [1]})).await;
    let expected = json!({
        "cas_required": true, "created_time": "2023-11-14T22:13:20Z", "current_version": 1,
        "custom_metadata": {"a": "b"}, "delete_version_after": "3h25m19s", "max_versions": 3, "oldest_version": 0,
        "updated_time": "2023-11-14T22:13:30Z",
        "versions": {"1": {
            "created_time": "2023-11-14T22:13:30Z", "deletion_time": "2023-11-15T01:38:49Z", "destroyed": true
        }}
    });
    assert_eq!(kv.data(Read, "metadata/m", json!({})).await, expected);
    done(&kv, Update, "metadata/m", json!({"custom_metadata": {"c": 5}})).await;
    let after = kv.data(Read, "metadata/m", json!({})).await;
    assert_eq!(after["custom_metadata"], json!({"c": "5"}), "replaced as a whole, and text");
    assert_eq!((&after["max_versions"], &after["cas_required"]), (&json!(3), &json!(true)), "the rest stays");
}

#[tokio::test]
async fn patches_change_what_they_name() {
    let kv = harness();
    assert!(is_absent(&kv.call(Patch, "metadata/m", json!({"max_versions": 2})).await));
    let settings = json!({
        "max_versions": 3, "cas_required": true, "delete_version_after": "10m", "custom_metadata": {"a": "b", "c": "d"}
    });
    done(&kv, Update, "metadata/m", settings).await;
    done(&kv, Patch, "metadata/m", json!({})).await;
    let patch = json!({"custom_metadata": {"a": null, "nope": null, "e": "f"}, "cas_required": null, "max_versions": "7"});
    done(&kv, Patch, "metadata/m", patch).await;
    let after = kv.data(Read, "metadata/m", json!({})).await;
    assert_eq!(after["custom_metadata"], json!({"c": "d", "e": "f"}));
    assert_eq!((&after["max_versions"], &after["cas_required"]), (&json!(7), &json!(false)));
    assert_eq!(after["delete_version_after"], "10m0s");
    let patch = json!({"custom_metadata": null, "max_versions": null, "delete_version_after": null});
    done(&kv, Patch, "metadata/m", patch).await;
    let after = kv.data(Read, "metadata/m", json!({})).await;
    assert_eq!(after["custom_metadata"], json!(null));
    assert_eq!((&after["max_versions"], &after["delete_version_after"]), (&json!(0), &json!("0s")));
}

#[tokio::test]
async fn custom_metadata_has_limits() {
    let kv = harness();
    done(&kv, Update, "metadata/m", json!({})).await;
    let long_name = "k".repeat(129);
    let long_text = "v".repeat(513);
    let one = |what: &str| format!("1 error occurred:\n\t* custom_metadata validation failed: {what}\n\n");
    for (given, text) in [
        (json!({"": "x"}), one("length of key \"\" is 0 but must be 0 < len(key) <= 128")),
        (json!({"a": ""}), one("length of value for key \"a\" is 0 but must be 0 < len(value) <= 512")),
        (
            json!({long_name.as_str(): "b"}),
            one(&format!("length of key \"{long_name}\" is 129 but must be 0 < len(key) <= 128")),
        ),
        (
            json!({"a": long_text}),
            one("length of value for key \"a\" is 513 but must be 0 < len(value) <= 512"),
        ),
        (json!({"a": "b\nc"}), one("value for key \"a\" contains unprintable characters")),
        (json!({"a\tb": "c"}), one("key \"a\\tb\" (a\tb) contains unprintable characters")),
        (
            json!({"": "x", "a": ""}),
            "2 errors occurred:\n\t* custom_metadata validation failed: length of key \"\" is 0 but must be 0 < \
             len(key) <= 128\n\t* custom_metadata validation failed: length of value for key \"a\" is 0 but must be \
             0 < len(value) <= 512\n\n"
                .to_owned(),
        ),
        (
            json!({"a": {"x": 1}}),
            "custom_metadata validation failed: '' expected type 'string', got unconvertible type \
             'map[string]interface {}'"
                .to_owned(),
        ),
        (
            json!("x=y"),
            "Field validation failed: error converting input for field \"custom_metadata\": '' expected type \
             'map[string]interface {}', got unconvertible type 'string'"
                .to_owned(),
        ),
    ] {
        for operation in [Update, Patch] {
            assert_eq!(refused(kv.call(operation, "metadata/m", json!({"custom_metadata": given})).await), text);
        }
    }
    let members = |range: std::ops::Range<u32>| -> Map<String, Value> {
        range.map(|number| (format!("k{number}"), json!("v"))).collect()
    };
    let too_many = one("payload must contain at most 64 keys, provided 65");
    assert_eq!(
        refused(kv.call(Update, "metadata/m", json!({"custom_metadata": members(0..65)})).await),
        too_many
    );
    done(&kv, Update, "metadata/m", json!({"custom_metadata": members(0..64)})).await;
    assert_eq!(
        refused(kv.call(Patch, "metadata/m", json!({"custom_metadata": {"more": "v"}})).await),
        too_many
    );
    done(&kv, Patch, "metadata/m", json!({"custom_metadata": {"k0": null, "k1": "new", "more": "v"}})).await;
    let limits = json!({ "k".repeat(128).as_str(): "v".repeat(512) });
    done(&kv, Update, "metadata/m", json!({"custom_metadata": limits})).await;
    assert_eq!(kv.data(Read, "metadata/m", json!({})).await["custom_metadata"], limits);
}

#[tokio::test]
async fn deleting_it_removes_everything() {
    let kv = harness();
    done(&kv, Delete, "metadata/nope", json!({})).await;
    for x in 1..=3 {
        put(&kv, "a", json!({"x": x, "pad": "p".repeat(3000 * x)})).await;
    }
    put(&kv, "a/b", json!({"x": 9})).await;
    done(&kv, Delete, "metadata/a", json!({})).await;
    for path in ["data/a", "metadata/a", "subkeys/a"] {
        assert!(is_absent(&kv.call(Read, path, json!({})).await), "{path}");
    }
    assert_eq!(kv.data(List, "metadata", json!({})).await, json!({"keys": ["a/"]}));
    assert_eq!(put(&kv, "a", json!({"x": 1})).await["version"], 1);
    assert!(is_absent(&kv.call(Read, "data/a", json!({"version": 2})).await));
    assert_eq!(kv.data(Read, "data/a/b", json!({})).await["data"], json!({"x": 9}));
}

#[tokio::test]
async fn the_root_is_a_folder_only() {
    let kv = harness();
    for operation in [Read, Update, Patch, Delete] {
        let reply = gone(kv.call(operation, "metadata", json!({})).await);
        assert_eq!(
            reply.warnings(),
            ["Non-listing operations on the root of a K/V v2 mount are not supported."]
        );
    }
    assert_eq!(
        refused(kv.call(Update, "metadata/a/", json!({})).await),
        "cannot write to a path ending in '/'"
    );
}
