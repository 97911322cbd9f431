//! The events about secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use strongroom_barrier::{Emitted, EventSink};
use strongroom_engine_api::{Engine, Operation, Operation::*};

use super::rig::Rig;

#[derive(Default)]
struct Recorder(Mutex<Vec<(u64, Emitted)>>);

impl EventSink for Recorder {
    fn is_heard(&self) -> bool {
        true
    }

    fn publish(&self, index: u64, events: Vec<Emitted>) {
        self.0.lock().unwrap().extend(events.into_iter().map(|event| (index, event)));
    }
}

/// A request (what, where, with what), and the event that it tells: its type and metadata.
type Step<'a> = (Operation, &'a str, Value, Option<(&'a str, Value)>);

/// The requests, and what is told of each: the type, and the metadata without what all events have.
async fn tells(engine: &Engine, steps: Vec<Step<'_>>) {
    let rig = Rig::new();
    let recorder = Arc::new(Recorder::default());
    rig.publish_to(recorder.clone());
    for (operation, path, input, told) in steps {
        rig.outcome(engine, operation, path, input).await.unwrap();
        let heard: Vec<_> = recorder.0.lock().unwrap().drain(..).collect();
        let Some((event_type, metadata)) = told else {
            assert!(heard.is_empty(), "{operation} {path}: {heard:?}");
            continue;
        };
        let [(_, Emitted { event, .. })] = heard.as_slice() else { panic!("{operation} {path}: {heard:?}") };
        assert_eq!((event.event_type.as_ref(), event.time), (event_type, rig.clock.now()));
        let mut expected: BTreeMap<String, String> = serde_json::from_value(metadata).unwrap();
        expected.insert("modified".to_owned(), "true".to_owned());
        expected.insert("operation".to_owned(), event_type.split_once('/').unwrap().1.to_owned());
        let found: BTreeMap<String, String> =
            event.metadata.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())).collect();
        assert_eq!(found, expected, "{operation} {path}");
        assert!(!format!("{event:?}").contains("hunter2"), "no secrets");
    }
}

#[tokio::test]
async fn version_1_tells_writes_and_deletions() {
    let secret = json!({"password": "hunter2"});
    let written = json!({"path": "kv/a/b", "data_path": "kv/a/b"});
    tells(
        &crate::v1(),
        vec![
            (Update, "a/b", secret, Some(("kv-v1/write", written))),
            (Read, "a/b", json!({}), None),
            (Delete, "a/b", json!({}), Some(("kv-v1/delete", json!({"path": "kv/a/b"})))),
        ],
    )
    .await;
}

#[tokio::test]
async fn version_2_tells_what_changes() {
    let versions =
        |path: &str, current: &str| json!({"path": path, "current_version": current, "oldest_version": "0"});
    let with = |mut metadata: Value, name: &str, value: &str| {
        metadata[name] = value.into();
        metadata
    };
    let data = |current: &str| with(versions("kv/data/a/b", current), "data_path", "kv/data/a/b");
    let of_metadata = with(versions("kv/metadata/a/b", "2"), "data_path", "kv/metadata/a/b");
    let secret = json!({"data": {"password": "hunter2"}});
    let listed = json!({"versions": [1, 2]});
    let undeleted = with(versions("kv/undelete/a/b", "2"), "data_path", "kv/data/a/b");
    tells(
        &crate::v2(),
        vec![
            (
                Update,
                "config",
                json!({"max_versions": 5}),
                Some(("kv-v2/config-write", json!({"path": "kv/config", "data_path": "kv/config"}))),
            ),
            (Update, "data/a/b", secret.clone(), Some(("kv-v2/data-write", data("1")))),
            (Patch, "data/a/b", secret, Some(("kv-v2/data-patch", data("2")))),
            (Read, "data/a/b", json!({}), None),
            (Delete, "data/a/b", json!({}), Some(("kv-v2/data-delete", versions("kv/data/a/b", "2")))),
            (Delete, "data/a/b", json!({}), None),
            (
                Update,
                "undelete/a/b",
                listed.clone(),
                Some(("kv-v2/undelete", with(undeleted, "undeleted_versions", "[1,2]"))),
            ),
            (
                Update,
                "delete/a/b",
                listed.clone(),
                Some(("kv-v2/delete", with(versions("kv/delete/a/b", "2"), "deleted_versions", "[1,2]"))),
            ),
            (
                Update,
                "destroy/a/b",
                listed,
                Some(("kv-v2/destroy", with(versions("kv/destroy/a/b", "2"), "destroyed_versions", "[1,2]"))),
            ),
            (
                Update,
                "metadata/a/b",
                json!({"max_versions": 3}),
                Some(("kv-v2/metadata-write", of_metadata.clone())),
            ),
            (Patch, "metadata/a/b", json!({"max_versions": 4}), Some(("kv-v2/metadata-patch", of_metadata))),
            (
                Delete,
                "metadata/a/b",
                json!({}),
                Some(("kv-v2/metadata-delete", json!({"path": "kv/metadata/a/b"}))),
            ),
            (Delete, "metadata/a/b", json!({}), None),
        ],
    )
    .await;
}
