//! Version 2: lists.

use serde_json::json;
use strongroom_engine_api::Operation::*;

use super::is_absent;
use super::versioned::{harness, put};

#[tokio::test]
async fn lists_and_scans() {
    let kv = harness();
    assert!(is_absent(&kv.call(List, "metadata/", json!({})).await));
    for path in ["b", "d/e/f", "d/g", "d", "z"] {
        put(&kv, path, json!({"x": 1})).await;
    }
    assert_eq!(kv.data(List, "metadata", json!({})).await, json!({"keys": ["b", "d", "d/", "z"]}));
    assert_eq!(kv.data(List, "metadata/d", json!({})).await, json!({"keys": ["e/", "g"]}));
    assert!(is_absent(&kv.call(List, "metadata/b", json!({})).await));
    let page = json!({"after": "b", "limit": 2});
    assert_eq!(kv.data(List, "metadata/", page.clone()).await, json!({"keys": ["d", "d/"]}));
    assert_eq!(
        kv.data(List, "metadata/", json!({"after": "c", "limit": -1})).await,
        json!({"keys": ["d", "d/", "z"]})
    );
    assert!(is_absent(&kv.call(List, "metadata/", json!({"after": "zzz"})).await));
    assert_eq!(kv.data(Scan, "metadata", json!({})).await, json!({"keys": ["b", "d", "d/e/f", "d/g", "z"]}));
    assert_eq!(kv.data(Scan, "metadata/", page).await, json!({"keys": ["d", "d/e/f"]}));
    assert_eq!(kv.data(Scan, "metadata/d", json!({"after": "e/f"})).await, json!({"keys": ["g"]}));
}

#[tokio::test]
async fn detailed_lists_carry_metadata() {
    let kv = harness();
    put(&kv, "d/a", json!({"x": 1})).await;
    put(&kv, "d/e/f", json!({"x": 1})).await;
    let metadata = kv.data(Read, "metadata/d/a", json!({})).await;
    let expected = json!({"keys": ["a", "e/"], "key_info": {"a": metadata, "e/": {}}});
    assert_eq!(kv.data(List, "detailed-metadata/d", json!({})).await, expected);
    let deep = kv.data(Read, "metadata/d/e/f", json!({})).await;
    let expected = json!({"keys": ["d/a", "d/e/f"], "key_info": {"d/a": metadata, "d/e/f": deep}});
    assert_eq!(kv.data(Scan, "detailed-metadata", json!({})).await, expected);
    let page = kv.data(Scan, "detailed-metadata", json!({"limit": 1})).await;
    assert_eq!(page, json!({"keys": ["d/a"], "key_info": {"d/a": metadata}}));
    assert!(is_absent(&kv.call(List, "detailed-metadata/nope", json!({})).await));
}
