//! The engines as their clients see them.

mod events;
mod flat;
mod key_metadata;
mod lists;
mod model;
mod rig;
mod upgrade;
mod versioned;

use std::collections::BTreeMap;

use serde_json::Value;
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::{Backend as _, EngineError, Json, Operation, Reply};

/// The text of a 400.
fn refused(outcome: Result<Reply, EngineError>) -> String {
    match outcome {
        Err(EngineError::Invalid(text)) => text,
        Err(other) => panic!("refused otherwise: {other:?}"),
        Ok(reply) => panic!("taken: {:?}", reply.answered().map(Json::to_value)),
    }
}

/// True if the answer is a 404 with nothing to say.
fn is_absent(outcome: &Result<Reply, EngineError>) -> bool {
    matches!(outcome, Err(EngineError::NotFound))
}

/// The content of a 404.
fn gone(outcome: Result<Reply, EngineError>) -> Reply {
    match outcome {
        Err(EngineError::NotFoundWith(reply)) => *reply,
        Err(other) => panic!("refused otherwise: {other:?}"),
        Ok(reply) => panic!("found: {:?}", reply.answered().map(Json::to_value)),
    }
}

/// Does what must succeed.
async fn done(harness: &Harness, operation: Operation, path: &str, input: Value) {
    if let Err(error) = harness.call(operation, path, input).await {
        panic!("{operation} {path}: {error}");
    }
}

#[test]
fn mounts_are_of_version_1_or_2() {
    for engine in [crate::v1(), crate::v2()] {
        assert_eq!(engine.kind(), "kv");
        let check = |options: &[(&str, &str)]| {
            let own = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            engine.validate_options(&own.collect::<BTreeMap<_, _>>())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("version", "1")]), Ok(()));
        assert_eq!(check(&[("version", "2")]), Ok(()));
        assert!(check(&[("version", "3")]).unwrap_err().contains("unsupported KV version \"3\""));
    }
    assert_eq!(crate::v1().generic(), "kv_v1");
    assert_eq!(crate::v2().generic(), "kv_v2");
}
