//! Version 1.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::{EngineError, Operation::*};

use super::rig::Rig;
use super::{done, is_absent, refused};

fn harness() -> Harness {
    Harness::new(crate::v1())
}

#[tokio::test]
async fn keeps_what_it_is_given() {
    let kv = harness();
    assert!(is_absent(&kv.call(Read, "a/b", json!({})).await));
    done(&kv, Update, "a/b", json!({"x": 1, "path": "p", "nothing": null, "deep": {"l": [1, {}]}})).await;
    let read = kv.data(Read, "a/b", json!({})).await;
    assert_eq!(read, json!({"x": 1, "path": "p", "nothing": null, "deep": {"l": [1, {}]}}));
    done(&kv, Update, "a/b", json!({"y": 2})).await;
    assert_eq!(kv.data(Read, "a/b", json!({})).await, json!({"y": 2}), "a write replaces the whole");
    done(&kv, Delete, "a/b", json!({})).await;
    done(&kv, Delete, "a/b", json!({})).await;
    assert!(is_absent(&kv.call(Read, "a/b", json!({})).await));
}

#[tokio::test]
async fn refuses_what_vault_refuses() {
    let kv = harness();
    assert_eq!(refused(kv.call(Update, "a", json!({})).await), "missing data fields");
    assert_eq!(refused(kv.call(Update, "a/", json!({"x": 1})).await), "cannot write to a path ending in '/'");
    assert_eq!(refused(kv.call(Update, "", json!({"x": 1})).await), "missing path");
    assert!(matches!(kv.call(Patch, "a", json!({"x": 1})).await, Err(EngineError::Unsupported)));
    assert!(is_absent(&kv.call(Read, "", json!({})).await));
}

#[tokio::test]
async fn creating_is_told_from_updating() {
    let rig = Rig::new();
    let v1 = crate::v1();
    assert!(!rig.exists(&v1, "a").await);
    rig.call(&v1, Create, "a", json!({"x": 1})).await;
    assert!(rig.exists(&v1, "a").await);
    assert!(!rig.exists(&v1, "a/b").await);
    rig.call(&v1, Delete, "a", json!({})).await;
    assert!(!rig.exists(&v1, "a").await);
}

#[tokio::test]
async fn a_ttl_is_a_hint_to_readers() {
    let kv = harness();
    for (data, hint) in [
        (json!({"x": 1}), 0),
        (json!({"ttl": "30m"}), 1800),
        (json!({"ttl": 90}), 90),
        (json!({"ttl": "90.5s"}), 90),
        (json!({"lease": "1h"}), 3600),
        (json!({"lease": "1h", "ttl": "2h"}), 7200),
        (json!({"ttl": "10000h"}), 36_000_000),
        (json!({"ttl": "90"}), 90),
        (json!({"ttl": "soon"}), 0),
        (json!({"ttl": "-5"}), 0),
        (json!({"ttl": "NaN"}), 0),
        (json!({"ttl": -5}), 0),
        (json!({"ttl": null}), 0),
        (json!({"ttl": {"x": 1}}), 0),
    ] {
        done(&kv, Update, "a", data.clone()).await;
        let reply = kv.call(Read, "a", json!({})).await.unwrap();
        let lease = reply.lease().expect("readers get a lease duration");
        assert!(lease.hint_only && !lease.renewable);
        assert_eq!(lease.ttl, Duration::from_secs(hint), "{data}");
        assert_eq!(reply.answered().unwrap().to_value(), data, "a ttl is data as well");
    }
}

/// The mount's default TTL is for a secret without one, not for one that lives less than a second.
#[tokio::test]
async fn less_than_a_second_is_a_ttl() {
    let kv = harness();
    for ttl in [json!("500ms"), json!("0.5s"), json!(0.25), json!("0.5")] {
        done(&kv, Update, "a", json!({ "ttl": ttl })).await;
        let reply = kv.call(Read, "a", json!({})).await.unwrap();
        let hint = reply.lease().unwrap().ttl;
        assert!(!hint.is_zero() && hint.as_secs() == 0, "{ttl}: {hint:?}");
    }
    done(&kv, Update, "a", json!({"ttl": 0})).await;
    let reply = kv.call(Read, "a", json!({})).await.unwrap();
    assert!(reply.lease().unwrap().ttl.is_zero());
}

#[tokio::test]
async fn numbers_and_texts_survive() {
    let kv = harness();
    let text = r#"{"big":123456789012345678901234567890,"exact":1.50,"small":1e-400,"huge":1E400,"text":"ü\u0000\"漢🦀"}"#;
    let given: Value = serde_json::from_str(text).unwrap();
    done(&kv, Update, "n", given.clone()).await;
    let reply = kv.call(Read, "n", json!({})).await.unwrap();
    let data = reply.answered().unwrap();
    assert_eq!(data.to_value(), given);
    for digits in ["123456789012345678901234567890", "1.50", "1e-400"] {
        assert!(data.as_str().contains(digits), "{digits} in {}", data.as_str());
    }
}

#[tokio::test]
async fn large_values_survive() {
    let kv = harness();
    let given = json!({"blob": "x".repeat(1 << 20)});
    done(&kv, Update, "large", given.clone()).await;
    assert_eq!(kv.data(Read, "large", json!({})).await, given);
}

#[tokio::test]
async fn lists_folders_and_keys() {
    let kv = harness();
    assert!(is_absent(&kv.call(List, "", json!({})).await));
    for path in ["t", "d/e/f", "d/g", "d", "z"] {
        done(&kv, Update, path, json!({"x": 1})).await;
    }
    assert_eq!(kv.data(List, "", json!({})).await, json!({"keys": ["d", "d/", "t", "z"]}));
    assert_eq!(kv.data(List, "d", json!({})).await, json!({"keys": ["e/", "g"]}));
    assert_eq!(kv.data(List, "d/", json!({})).await, json!({"keys": ["e/", "g"]}));
    assert!(is_absent(&kv.call(List, "t", json!({})).await), "a key is no folder");
    assert_eq!(kv.data(List, "", json!({"after": "d", "limit": 2})).await, json!({"keys": ["d/", "t"]}));
    assert_eq!(kv.data(List, "", json!({"after": "d/"})).await, json!({"keys": ["t", "z"]}));
    assert_eq!(kv.data(Scan, "", json!({})).await, json!({"keys": ["d", "d/e/f", "d/g", "t", "z"]}));
    assert_eq!(kv.data(Scan, "d", json!({})).await, json!({"keys": ["e/f", "g"]}));
    assert_eq!(kv.data(Scan, "d", json!({"after": "e/f"})).await, json!({"keys": ["g"]}));
    assert_eq!(kv.data(Scan, "", json!({"limit": "1"})).await, json!({"keys": ["d"]}));
    assert!(is_absent(&kv.call(Scan, "nope", json!({})).await));
}
