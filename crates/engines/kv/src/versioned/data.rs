//! `data/`: reading, writing, patching, and deleting the newest version.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::Int;
use strongroom_engine_api::{Call, Clock, Data, Engine, EngineError, Input, Path, Reply, Txn, View};

use super::events::of_key;
use super::input::WriteInput;
use super::key::{Key, Version, VersionMetadata};
use super::store::{self, Content};
use super::versions::delete_version;
use crate::paths::check_writable;
use crate::secret_json::SecretJson;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("data/{path..}", |route| {
        route
            .read("Read a version of a secret, the newest where none is named.", read)
            .upsert("Write a new version of a secret.", super::key_exists, write)
            .patch("Write a new version made of the newest one and a JSON merge patch.", patch)
            .delete("Delete the newest version of a secret; it can be brought back.", delete)
    })
}

/// The version asked for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct VersionInput {
    /// If provided during a read, the value at the version number will be returned.
    version: Option<Int>,
}

impl VersionInput {
    /// The number; zero for the newest.
    pub(super) fn number(&self) -> u64 {
        self.version.as_ref().and_then(|version| u64::try_from(version.0).ok()).unwrap_or(0)
    }
}

#[derive(Serialize, JsonSchema)]
struct SecretAnswer {
    /// The secret's data; null where the version is deleted or destroyed.
    #[schemars(with = "Option<Map<String, Value>>")]
    data: Option<Content>,
    /// The version.
    metadata: VersionMetadata,
}

async fn read(
    Path(path): Path<String>,
    Input(asked): Input<VersionInput>,
    clock: Clock,
    view: View,
) -> Result<Data<SecretAnswer>, EngineError> {
    let key = store::find(&view, &path).await?.ok_or(EngineError::NotFound)?;
    let (number, version) = key.version(asked.number()).ok_or(EngineError::NotFound)?;
    let metadata = key.describe_version(number, version);
    if version.is_gone(clock.now()) {
        return Err(gone(&SecretAnswer { data: None, metadata })?);
    }
    let data = Some(Content::of(&view, &path, key, number).await?);
    Ok(Data(SecretAnswer { data, metadata }))
}

/// A 404 that says what there is to say.
pub(super) fn gone<T: Serialize>(answer: &T) -> Result<EngineError, EngineError> {
    Ok(EngineError::NotFoundWith(Box::new(Reply::data(answer)?)))
}

async fn write(
    Path(path): Path<String>,
    input: WriteInput,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Data<VersionMetadata>, EngineError> {
    check_writable(&path)?;
    let data = input.data()?;
    let config = store::config(&txn).await?;
    let found = store::find(&txn, &path).await?;
    input.check_cas(&config, found.as_deref())?;
    let now = call.environment.clock.now();
    let mut key = found.map_or_else(|| Key::new(now), Arc::unwrap_or_clone);
    store::add_version(&txn, &path, &mut key, SecretJson::of(data)?, &config, now)?;
    txn.emit(|| of_key(&call, "kv-v2/data-write", ("data", Some("data")), &path, &key));
    save_newest(&txn, &path, key)
}

async fn patch(
    Path(path): Path<String>,
    input: WriteInput,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Data<VersionMetadata>, EngineError> {
    check_writable(&path)?;
    let changes = input.data()?;
    let now = call.environment.clock.now();
    let key = store::find(&txn, &path).await?.ok_or(EngineError::NotFound)?;
    let (number, version) = key.version(0).ok_or(EngineError::NotFound)?;
    let config = store::config(&txn).await?;
    input.check_cas(&config, Some(&key))?;
    if version.is_gone(now) {
        return Err(gone(&key.describe_version(number, version))?);
    }
    let content = Content::of(&txn, &path, key.clone(), number).await?;
    let newest = content.data().ok_or(EngineError::NotFound)?;
    let mut tree = newest.tree()?;
    tree.merge(changes);
    let data = SecretJson::of(tree.value())?;
    let mut key = Arc::unwrap_or_clone(key);
    store::add_version(&txn, &path, &mut key, data, &config, now)?;
    txn.emit(|| of_key(&call, "kv-v2/data-patch", ("data", Some("data")), &path, &key));
    save_newest(&txn, &path, key)
}

/// Saves a key and answers its newest version.
fn save_newest(txn: &Txn, path: &str, key: Key) -> Result<Data<VersionMetadata>, EngineError> {
    let missing = || EngineError::Internal("a key that was written has no version".to_owned());
    let (number, version): (u64, Version) = key.version(0).ok_or_else(missing)?;
    let answer = key.describe_version(number, version);
    store::save(txn, path, key)?;
    Ok(Data(answer))
}

async fn delete(Path(path): Path<String>, call: Arc<Call>, txn: Txn) -> Result<(), EngineError> {
    let Some(key) = store::find(&txn, &path).await? else { return Ok(()) };
    let mut key = Arc::unwrap_or_clone(key);
    if delete_version(&mut key, 0, call.environment.clock.now()) {
        txn.emit(|| of_key(&call, "kv-v2/data-delete", ("data", None), &path, &key));
        store::save(&txn, &path, key)?;
    }
    Ok(())
}
