//! A mount that goes from version 1 to version 2 while it works.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::Operation::*;
use strongroom_engine_api::harness::Harness;

use super::rig::Rig;
use super::{done, gone, is_absent};

/// The time at which everything below is written as version 1.
const WRITTEN: &str = "2023-11-14T22:13:20Z";

/// A mount with what version 1 left, a day later as version 2.
async fn upgraded(entries: &[(&str, Value)]) -> Harness {
    let mut kv = Harness::new(crate::v1());
    for (path, data) in entries {
        done(&kv, Update, path, data.clone()).await;
    }
    kv.engine = crate::v2();
    kv.clock.advance(Duration::from_hours(24));
    kv
}

#[tokio::test]
async fn entries_are_first_versions_before_and_after_they_are_moved() {
    let exact: Value = serde_json::from_str("[1.50, 123456789012345678901234567890]").unwrap();
    let large = json!({"blob": "x".repeat(10_000), "exact": exact});
    let mut kv = upgraded(&[("a", json!({"x": 1, "ttl": "1h"})), ("d/large", large.clone())]).await;
    for moved in [false, true] {
        let metadata = json!({
            "created_time": WRITTEN, "custom_metadata": null, "deletion_time": "", "destroyed": false, "version": 1
        });
        let expected = json!({"data": {"x": 1, "ttl": "1h"}, "metadata": metadata});
        assert_eq!(kv.data(Read, "data/a", json!({})).await, expected, "moved: {moved}");
        assert_eq!(kv.data(Read, "data/d/large", json!({"version": 1})).await["data"], large);
        assert_eq!(kv.data(Read, "subkeys/a", json!({})).await["subkeys"], json!({"x": null, "ttl": null}));
        let metadata = kv.data(Read, "metadata/a", json!({})).await;
        assert_eq!(metadata["current_version"], 1);
        assert_eq!(
            (&metadata["created_time"], &metadata["updated_time"]),
            (&json!(WRITTEN), &json!(WRITTEN))
        );
        assert_eq!(kv.data(List, "metadata", json!({})).await, json!({"keys": ["a", "d/"]}));
        assert_eq!(kv.data(Scan, "metadata", json!({})).await, json!({"keys": ["a", "d/large"]}));
        assert!(is_absent(&kv.call(Read, "data/a", json!({"version": 2})).await));
        kv.run_jobs().await;
    }
    kv.engine = crate::v1();
    assert!(is_absent(&kv.call(List, "", json!({})).await), "nothing is left behind");
}

#[tokio::test]
async fn every_change_moves_its_key_first() {
    let entry = || json!({"x": 1});
    let paths = ["written", "patched", "deleted", "destroyed", "settled", "removed", "versions-deleted"];
    let kv = upgraded(&paths.map(|path| (path, entry()))).await;
    let conflict = kv.call(Update, "data/written", json!({"data": {}, "options": {"cas": 0}})).await;
    assert_eq!(super::refused(conflict), "check-and-set parameter did not match the current version");
    let written = kv.data(Update, "data/written", json!({"data": {"x": 2}, "options": {"cas": 1}})).await;
    assert_eq!(written["version"], 2);
    done(&kv, Patch, "data/patched", json!({"data": {"y": 2}})).await;
    done(&kv, Delete, "data/deleted", json!({})).await;
    done(&kv, Update, "destroy/destroyed", json!({"versions": [1]})).await;
    done(&kv, Update, "metadata/settled", json!({"custom_metadata": {"a": "b"}})).await;
    done(&kv, Delete, "metadata/removed", json!({})).await;
    done(&kv, Update, "delete/versions-deleted", json!({"versions": [1]})).await;
    for _before_and_after in 0..2 {
        assert_eq!(kv.data(Read, "data/written", json!({"version": 1})).await["data"], entry());
        assert_eq!(kv.data(Read, "data/written", json!({})).await["data"], json!({"x": 2}));
        assert_eq!(kv.data(Read, "data/patched", json!({})).await["data"], json!({"x": 1, "y": 2}));
        assert_eq!(kv.data(Read, "data/patched", json!({"version": 1})).await["data"], entry());
        gone(kv.call(Read, "data/deleted", json!({})).await);
        let destroyed = gone(kv.call(Read, "data/destroyed", json!({})).await).answered().unwrap().to_value();
        assert_eq!(destroyed["metadata"]["destroyed"], true);
        let settled = kv.data(Read, "data/settled", json!({})).await;
        assert_eq!(
            (&settled["data"], &settled["metadata"]["custom_metadata"]),
            (&entry(), &json!({"a": "b"}))
        );
        assert!(is_absent(&kv.call(Read, "data/removed", json!({})).await), "it does not come back");
        gone(kv.call(Read, "data/versions-deleted", json!({})).await);
        kv.run_jobs().await;
    }
    done(&kv, Update, "undelete/deleted", json!({"versions": [1]})).await;
    assert_eq!(kv.data(Read, "data/deleted", json!({})).await["data"], entry());
}

#[tokio::test]
async fn what_version_1_left_exists() {
    let rig = Rig::new();
    let (v1, v2) = (crate::v1(), crate::v2());
    rig.call(&v1, Create, "a", json!({"x": 1})).await;
    for _before_and_after in 0..2 {
        for (path, exists) in
            [("data/a", true), ("metadata/a", true), ("data/b", false), ("metadata/a/b", false)]
        {
            assert_eq!(rig.exists(&v2, path).await, exists, "{path}");
        }
        rig.step(&v2).await;
    }
}

#[tokio::test]
async fn moving_is_done_in_bounded_steps_and_lists_are_whole_meanwhile() {
    let rig = Rig::new();
    let (v1, v2) = (crate::v1(), crate::v2());
    let paths: Vec<String> = (0..450).map(|number| format!("k{number:03}")).collect();
    for path in &paths {
        rig.call(&v1, Create, path, json!({"path": path})).await;
    }
    let whole = json!({ "keys": paths });
    let mut left = Vec::new();
    loop {
        assert_eq!(rig.data(&v2, List, "metadata", json!({})).await, whole);
        assert_eq!(rig.data(&v2, Scan, "metadata", json!({})).await, whole);
        let page = json!({"after": "k198", "limit": 4});
        let expected = json!({"keys": ["k199", "k200", "k201", "k202"]});
        assert_eq!(rig.data(&v2, List, "metadata", page.clone()).await, expected);
        assert_eq!(rig.data(&v2, Scan, "metadata", page).await, expected);
        for path in [&paths[0], &paths[199], &paths[200], &paths[449]] {
            let secret = rig.data(&v2, Read, &format!("data/{path}"), json!({})).await;
            assert_eq!(secret["data"]["path"], path.as_str());
        }
        let more = rig.step(&v2).await;
        let unmoved = rig.open(&v1, List, "", json!({})).await.outcome;
        left.push(
            unmoved.map_or(0, |reply| reply.answered().unwrap().to_value()["keys"].as_array().unwrap().len()),
        );
        if !more {
            break;
        }
    }
    assert_eq!(left, [250, 50, 0]);
}

#[tokio::test]
async fn a_step_is_bounded_in_bytes_too() {
    let rig = Rig::new();
    let (v1, v2) = (crate::v1(), crate::v2());
    for path in ["a", "b", "c"] {
        rig.call(&v1, Create, path, json!({"blob": "x".repeat(700_000)})).await;
    }
    assert!(rig.step(&v2).await);
    assert_eq!(rig.data(&v1, List, "", json!({})).await, json!({"keys": ["c"]}));
    assert!(!rig.step(&v2).await);
    assert_eq!(rig.data(&v2, List, "metadata", json!({})).await, json!({"keys": ["a", "b", "c"]}));
}

#[tokio::test]
async fn a_write_and_the_move_of_its_key_exclude_each_other() {
    let rig = Rig::new();
    let (v1, v2) = (crate::v1(), crate::v2());
    rig.call(&v1, Create, "a", json!({"x": 1})).await;
    let input = json!({"data": {"x": 2}});

    let write = rig.open(&v2, Update, "data/a", input.clone()).await;
    assert!(!rig.step(&v2).await);
    assert!(!write.commit().await, "the key has been moved since");
    assert_eq!(rig.data(&v2, Update, "data/a", input.clone()).await["version"], 2);

    rig.call(&v1, Create, "b", json!({"x": 1})).await;
    let (step, _more) = rig.open_step(&v2).await;
    rig.call(&v2, Update, "data/b", input).await;
    assert!(!step.commit().await, "the key has been written since");
    assert!(!rig.step(&v2).await);

    for path in ["data/a", "data/b"] {
        assert_eq!(rig.data(&v2, Read, path, json!({"version": 1})).await["data"], json!({"x": 1}));
        assert_eq!(rig.data(&v2, Read, path, json!({})).await["data"], json!({"x": 2}));
    }
}

#[tokio::test]
async fn a_late_write_of_version_1_becomes_the_newest_version() {
    let rig = Rig::new();
    let (v1, v2) = (crate::v1(), crate::v2());
    rig.call(&v1, Create, "a", json!({"x": 1})).await;
    let overtaken = rig.open(&v1, Update, "a", json!({"x": 2})).await;
    rig.step(&v2).await;
    // It has not read what it replaces, so nothing stops it: what it was told is that it took effect.
    assert!(overtaken.commit().await);
    rig.clock.advance(Duration::from_mins(1));
    rig.step(&v2).await;
    let newest = rig.data(&v2, Read, "data/a", json!({})).await;
    assert_eq!((&newest["data"], &newest["metadata"]["version"]), (&json!({"x": 2}), &json!(2)));
    assert_eq!(rig.data(&v2, Read, "data/a", json!({"version": 1})).await["data"], json!({"x": 1}));
    assert!(rig.open(&v1, Read, "a", json!({})).await.outcome.is_err(), "it is moved");
}

#[tokio::test]
async fn two_writes_with_the_same_cas_exclude_each_other() {
    let rig = Rig::new();
    let v2 = crate::v2();
    let input = |x: u32| json!({"data": {"x": x}, "options": {"cas": 0}});
    let first = rig.open(&v2, Create, "data/a", input(1)).await;
    let second = rig.open(&v2, Create, "data/a", input(2)).await;
    assert!(first.commit().await);
    assert!(!second.commit().await);
    let third = rig.open(&v2, Update, "data/a", input(2)).await;
    assert_eq!(super::refused(third.outcome), "check-and-set parameter did not match the current version");
}

#[tokio::test]
async fn settings_that_change_meanwhile_count() {
    let rig = Rig::new();
    let v2 = crate::v2();
    let write = rig.open(&v2, Create, "data/a", json!({"data": {}})).await;
    rig.call(&v2, Update, "config", json!({"cas_required": true})).await;
    assert!(!write.commit().await, "it would have been refused");
}
