//! Version 2 against a model: random requests over a few keys, and time going on between them. Half of the runs begin
//! with what version 1 left, which is moved at a random moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use strongroom_engine_api::{Engine, EngineError, Moment, Operation, Operation::*, Reply};

use super::rig::Rig;

const PATHS: [&str; 2] = ["a", "a/b"];

#[derive(Clone, Debug)]
enum Step {
    Write { data: u32, cas: Option<u64> },
    Patch { data: u32 },
    DeleteNewest,
    Delete(Vec<u64>),
    Undelete(Vec<u64>),
    Destroy(Vec<u64>),
    Limit(u32),
    Lifetime(u64),
    Remove,
    MountLimit(u32),
    MountLifetime(i64),
    Wait(u64),
    Maintain,
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let numbers = || prop::collection::vec(0..5u64, 1..4);
    let step = prop_oneof![
        6 => (0..1000u32, prop::option::of(0..5u64)).prop_map(|(data, cas)| Step::Write { data, cas }),
        2 => (0..1000u32).prop_map(|data| Step::Patch { data }),
        2 => Just(Step::DeleteNewest),
        2 => numbers().prop_map(Step::Delete),
        2 => numbers().prop_map(Step::Undelete),
        2 => numbers().prop_map(Step::Destroy),
        1 => (0..4u32).prop_map(Step::Limit),
        1 => (0..100u64).prop_map(Step::Lifetime),
        1 => Just(Step::Remove),
        1 => (0..4u32).prop_map(Step::MountLimit),
        1 => (-2..100i64).prop_map(Step::MountLifetime),
        2 => (1..60u64).prop_map(Step::Wait),
        1 => Just(Step::Maintain),
    ];
    prop::collection::vec((0..PATHS.len(), step), 1..60)
}

/// Every third secret is larger than what lies with its key.
fn secret(data: u32) -> Value {
    let padding = if data.is_multiple_of(3) { "p".repeat(5000) } else { String::new() };
    json!({ "n": data, "padding": padding })
}

struct ModelVersion {
    data: Value,
    deletion: Option<Moment>,
    destroyed: bool,
}

#[derive(Default)]
struct ModelKey {
    current: u64,
    oldest: u64,
    limit: u32,
    lifetime: u64,
    versions: BTreeMap<u64, ModelVersion>,
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<&'static str, ModelKey>,
    limit: u32,
    lifetime: i64,
}

impl ModelVersion {
    fn readable(&self, now: Moment) -> bool {
        !self.destroyed && self.deletion.is_none_or(|at| now < at)
    }
}

impl Model {
    fn write(&mut self, path: &'static str, data: Value, now: Moment) {
        let key = self.keys.entry(path).or_default();
        let lifetime = match (u64::try_from(self.lifetime), key.lifetime) {
            (Err(_), _) | (Ok(0), 0) => None,
            (Ok(0), own) => Some(own),
            (Ok(mount), 0) => Some(mount),
            (Ok(mount), own) => Some(mount.min(own)),
        };
        key.current = key.current.saturating_add(1);
        let deletion = lifetime.map(|secs| now.after(Duration::from_secs(secs)));
        key.versions.insert(key.current, ModelVersion { data, deletion, destroyed: false });
        let limit = match (key.limit, self.limit) {
            (0, 0) => 10,
            (0, mount) => mount,
            (own, _) => own,
        };
        while key.versions.len() > usize::try_from(limit).unwrap() {
            let (gone, _) = key.versions.pop_first().unwrap();
            key.oldest = gone.saturating_add(1);
        }
    }

    fn newest_readable(&self, path: &str, now: Moment) -> Option<&ModelVersion> {
        let key = self.keys.get(path)?;
        key.versions.get(&key.current).filter(|version| version.readable(now))
    }
}

/// A mount of version 2.
struct Mount {
    rig: Rig,
    engine: Engine,
}

impl Mount {
    async fn call(&self, operation: Operation, path: &str, input: Value) -> Result<Reply, EngineError> {
        self.rig.outcome(&self.engine, operation, path, input).await
    }
}

/// True if a call did what it asked, without what is checked elsewhere.
async fn taken(kv: &Mount, operation: Operation, path: String, input: Value) -> bool {
    match kv.call(operation, &path, input).await {
        Ok(_) => true,
        Err(EngineError::Invalid(_) | EngineError::NotFound | EngineError::NotFoundWith(_)) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn run(kv: &Mount, model: &mut Model, path: &'static str, step: Step) {
    let now = kv.rig.clock.now();
    let versions = |numbers: &[u64]| json!({ "versions": numbers });
    match step {
        Step::Write { data, cas } => {
            let options = cas.map_or(json!({}), |cas| json!({ "cas": cas }));
            let input = json!({"data": secret(data), "options": options});
            let fits = cas.is_none_or(|cas| cas == model.keys.get(path).map_or(0, |key| key.current));
            assert_eq!(taken(kv, Update, format!("data/{path}"), input).await, fits);
            if fits {
                model.write(path, secret(data), now);
            }
        }
        Step::Patch { data } => {
            let input = json!({"data": {"n": data, "patched": true}});
            let newest = model.newest_readable(path, now).map(|version| version.data.clone());
            assert_eq!(taken(kv, Patch, format!("data/{path}"), input).await, newest.is_some());
            if let Some(mut merged) = newest {
                merged["n"] = json!(data);
                merged["patched"] = json!(true);
                model.write(path, merged, now);
            }
        }
        Step::DeleteNewest => {
            assert!(taken(kv, Delete, format!("data/{path}"), json!({})).await);
            if let Some(key) = model.keys.get_mut(path) {
                delete(key, key.current, now);
            }
        }
        Step::Delete(numbers) => {
            assert!(taken(kv, Update, format!("delete/{path}"), versions(&numbers)).await);
            if let Some(key) = model.keys.get_mut(path) {
                for number in numbers {
                    delete(key, number, now);
                }
            }
        }
        Step::Undelete(numbers) => {
            assert!(taken(kv, Update, format!("undelete/{path}"), versions(&numbers)).await);
            each(model, path, &numbers, |version| version.deletion = None);
        }
        Step::Destroy(numbers) => {
            assert!(taken(kv, Update, format!("destroy/{path}"), versions(&numbers)).await);
            each(model, path, &numbers, |version| version.destroyed = true);
        }
        Step::Limit(limit) => {
            assert!(taken(kv, Update, format!("metadata/{path}"), json!({"max_versions": limit})).await);
            model.keys.entry(path).or_default().limit = limit;
        }
        Step::Lifetime(secs) => {
            assert!(
                taken(kv, Update, format!("metadata/{path}"), json!({"delete_version_after": secs})).await
            );
            model.keys.entry(path).or_default().lifetime = secs;
        }
        Step::Remove => {
            assert!(taken(kv, Delete, format!("metadata/{path}"), json!({})).await);
            model.keys.remove(path);
        }
        Step::MountLimit(limit) => {
            assert!(taken(kv, Update, "config".to_owned(), json!({"max_versions": limit})).await);
            model.limit = limit;
        }
        Step::MountLifetime(secs) => {
            assert!(taken(kv, Update, "config".to_owned(), json!({"delete_version_after": secs})).await);
            model.lifetime = secs;
        }
        Step::Wait(secs) => kv.rig.clock.advance(Duration::from_secs(secs)),
        Step::Maintain => assert!(!kv.rig.step(&kv.engine).await),
    }
}

fn delete(key: &mut ModelKey, number: u64, now: Moment) {
    if let Some(version) = key.versions.get_mut(&number).filter(|version| version.readable(now)) {
        version.deletion = Some(now);
    }
}

fn each(model: &mut Model, path: &str, numbers: &[u64], change: impl Fn(&mut ModelVersion)) {
    let Some(key) = model.keys.get_mut(path) else { return };
    for number in numbers {
        if let Some(version) = key.versions.get_mut(number).filter(|version| !version.destroyed) {
            change(version);
        }
    }
}

/// Everything that can be read is as the model has it.
async fn compare(kv: &Mount, model: &Model) {
    let now = kv.rig.clock.now();
    for path in PATHS {
        let Some(key) = model.keys.get(path) else {
            assert!(!taken(kv, Read, format!("metadata/{path}"), json!({})).await);
            assert!(!taken(kv, Read, format!("data/{path}"), json!({})).await);
            continue;
        };
        let metadata = kv.rig.data(&kv.engine, Read, &format!("metadata/{path}"), json!({})).await;
        assert_eq!(metadata["current_version"], key.current);
        assert_eq!(metadata["oldest_version"], key.oldest);
        assert_eq!(metadata["versions"].as_object().unwrap().len(), key.versions.len());
        for number in 1..=key.current.saturating_add(1) {
            let input = json!({ "version": number });
            let outcome = kv.call(Read, &format!("data/{path}"), input).await;
            let Some(version) = key.versions.get(&number) else {
                assert!(matches!(outcome, Err(EngineError::NotFound)));
                continue;
            };
            let answer = match outcome {
                Ok(reply) if version.readable(now) => reply.answered().unwrap().to_value(),
                Err(EngineError::NotFoundWith(reply)) if !version.readable(now) => {
                    reply.answered().unwrap().to_value()
                }
                _ => panic!("version {number} of {path}: readable is {}", version.readable(now)),
            };
            let data = if version.readable(now) { version.data.clone() } else { json!(null) };
            assert_eq!(answer["data"], data);
            assert_eq!(answer["metadata"]["destroyed"], version.destroyed);
            let deletion = version.deletion.map(Moment::rfc3339).unwrap_or_default();
            assert_eq!(answer["metadata"]["deletion_time"], deletion);
            assert_eq!(metadata["versions"][number.to_string()]["deletion_time"], deletion);
        }
    }
    let undestroyed = |(path, key): (&&str, &ModelKey)| -> Vec<(String, u64)> {
        let kept = key.versions.iter().filter(|(_, version)| !version.destroyed);
        kept.map(|(number, _)| ((*path).to_owned(), *number)).collect()
    };
    let expected: BTreeSet<(String, u64)> = model.keys.iter().flat_map(undestroyed).collect();
    let stored = crate::versioned::stored_data(&kv.rig.view()).await.unwrap();
    assert_eq!(stored, expected, "data is in storage exactly where it can still be brought back");
    let keys: Vec<&str> = model.keys.keys().copied().collect();
    let listed = kv.call(Scan, "metadata", json!({})).await;
    let listed = listed.map_or(json!({"keys": []}), |reply| reply.answered().unwrap().to_value());
    assert_eq!(listed, json!({ "keys": keys }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(steps in steps(), left in prop::collection::vec(0..PATHS.len(), 0..3)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let kv = Mount { rig: Rig::new(), engine: crate::v2() };
            let mut model = Model::default();
            for (data, at) in (0..).zip(&left) {
                kv.rig.call(&crate::v1(), Update, PATHS[*at], secret(data)).await;
                let first = ModelVersion { data: secret(data), deletion: None, destroyed: false };
                let key = ModelKey { current: 1, versions: BTreeMap::from([(1, first)]), ..ModelKey::default() };
                model.keys.insert(PATHS[*at], key);
            }
            for (at, step) in steps {
                run(&kv, &mut model, PATHS[at], step).await;
                compare(&kv, &model).await;
            }
        });
    }
}
