//! `metadata/`: a key's settings and history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use strongroom_engine_api::lenient::{Flag, Int, Ttl};
use strongroom_engine_api::{Call, Data, Engine, EngineError, Input, Path, Reply, Txn, View};

use super::config::{version_limit, whole_seconds};
use super::custom_metadata;
use super::events::{of_key, of_path};
use super::key::{Key, KeyMetadata};
use super::list;
use super::store;
use crate::paths::check_writable;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("metadata/{path..}", |route| {
        route
            .read("Read a key's metadata and versions.", read)
            .upsert("Write a key's metadata; no version is made.", super::key_exists, write)
            .patch("Change a key's metadata by a JSON merge patch; no version is made.", patch)
            .delete("Permanently remove a key with its metadata and all its versions.", delete)
            .list("List the names at the specified location; prefixes end in a slash.", list::list)
            .scan("List the paths of all keys below the specified location.", list::scan)
    })
}

async fn read(Path(path): Path<String>, view: View) -> Result<Data<KeyMetadata>, EngineError> {
    check_not_root(&path)?;
    let key = store::find(&view, &path).await?.ok_or(EngineError::NotFound)?;
    Ok(Data(key.describe()))
}

/// The root is a folder and nothing else.
fn check_not_root(path: &str) -> Result<(), EngineError> {
    if path.is_empty() {
        let hint = "Non-listing operations on the root of a K/V v2 mount are not supported.";
        return Err(EngineError::NotFoundWith(Box::new(Reply::default().warned(hint))));
    }
    Ok(())
}

#[derive(Deserialize, JsonSchema)]
struct MetadataInput {
    /// The number of versions to keep. If not set, the backend's configured max version is used.
    max_versions: Option<Int>,
    /// If true the key will require the cas parameter to be set on all write requests. If false, the backend's
    /// configuration will be used.
    cas_required: Option<Flag>,
    /// The length of time before a version is deleted. If not set, the backend's configured `delete_version_after` is
    /// used. Cannot be greater than the backend's `delete_version_after`. A zero duration clears the current setting.
    /// A negative duration will cause an error.
    delete_version_after: Option<Ttl>,
    /// User-provided key-value pairs that are used to describe arbitrary and version-agnostic information about a
    /// secret.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    custom_metadata: Option<Value>,
}

async fn write(
    Path(path): Path<String>,
    Input(input): Input<MetadataInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    check_not_root(&path)?;
    check_writable(&path)?;
    let now = call.environment.clock.now();
    let mut key = store::find(&txn, &path).await?.map_or_else(|| Key::new(now), Arc::unwrap_or_clone);
    if let Some(given) = &input.custom_metadata {
        key.custom_metadata = custom_metadata::replaced(custom_metadata::members(given)?)?;
    }
    apply(&mut key, &input)?;
    key.updated = now;
    txn.emit(|| of_key(&call, "kv-v2/metadata-write", ("metadata", Some("metadata")), &path, &key));
    store::save(&txn, &path, key)
}

/// Takes over the settings that a write and a patch treat alike.
fn apply(key: &mut Key, input: &MetadataInput) -> Result<(), EngineError> {
    if let Some(limit) = &input.max_versions {
        key.max_versions = version_limit(limit)?;
    }
    if let Some(required) = &input.cas_required {
        key.cas_required = required.0;
    }
    if let Some(span) = &input.delete_version_after {
        key.delete_version_after = whole_seconds(span.0);
    }
    Ok(())
}

async fn patch(
    Path(path): Path<String>,
    Input(input): Input<MetadataInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    check_not_root(&path)?;
    check_writable(&path)?;
    let mut key = Arc::unwrap_or_clone(store::find(&txn, &path).await?.ok_or(EngineError::NotFound)?);
    if let Some(given) = &input.custom_metadata {
        key.custom_metadata =
            custom_metadata::patched(&key.custom_metadata, custom_metadata::members(given)?)?;
    }
    apply(&mut key, &input)?;
    // In a merge patch null removes, and a setting that is removed is as if never made.
    let removed = |name| call.request.input.get(name).is_some_and(Value::is_null);
    if removed("custom_metadata") {
        key.custom_metadata.clear();
    }
    if removed("max_versions") {
        key.max_versions = 0;
    }
    if removed("cas_required") {
        key.cas_required = false;
    }
    if removed("delete_version_after") {
        key.delete_version_after = Duration::ZERO;
    }
    key.updated = call.environment.clock.now();
    txn.emit(|| of_key(&call, "kv-v2/metadata-patch", ("metadata", Some("metadata")), &path, &key));
    store::save(&txn, &path, key)
}

async fn delete(Path(path): Path<String>, call: Arc<Call>, txn: Txn) -> Result<(), EngineError> {
    check_not_root(&path)?;
    if let Some(key) = store::find(&txn, &path).await? {
        store::remove(&txn, &path, &key);
        txn.emit(|| of_path(&call, "kv-v2/metadata-delete", ("metadata", None), &path));
    }
    Ok(())
}
