//! `delete/`, `undelete/` and `destroy/`: versions by their numbers. Versions that do not exist are skipped.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_engine_api::lenient::Ints;
use strongroom_engine_api::{Call, Engine, EngineError, Input, Moment, Path, Txn, bad_request};

use super::events::of_key;
use super::key::Key;
use super::store;

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("delete/{path..}", |route| {
            route.update("Mark versions as deleted; they can be brought back.", delete)
        })
        .route("undelete/{path..}", |route| route.update("Bring deleted versions back.", undelete))
        .route("destroy/{path..}", |route| route.update("Permanently remove the versions' data.", destroy))
}

#[derive(Deserialize, JsonSchema)]
struct DeleteInput {
    /// The versions to be archived. The versioned data will not be deleted, but it will no longer be returned in
    /// normal get requests.
    versions: Option<Ints>,
}

#[derive(Deserialize, JsonSchema)]
struct UndeleteInput {
    /// The versions to unarchive. The versions will be restored and their data will be returned on normal get
    /// requests.
    versions: Option<Ints>,
}

#[derive(Deserialize, JsonSchema)]
struct DestroyInput {
    /// The versions to destroy. Their data will be permanently deleted.
    versions: Option<Ints>,
}

async fn delete(
    Path(path): Path<String>,
    Input(input): Input<DeleteInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    let numbers = numbers(input.versions, "No version number provided")?;
    let now = call.environment.clock.now();
    let told =
        Told { call: &call, event_type: "kv-v2/delete", paths: ("delete", None), list: "deleted_versions" };
    change(&txn, &path, &numbers, told, |key, number| delete_version(key, number, now)).await
}

/// Marks version `number` (zero: the newest) as deleted; whether that changed anything.
pub(super) fn delete_version(key: &mut Key, number: u64, now: Moment) -> bool {
    let number = if number == 0 { key.current } else { number };
    match key.versions.get_mut(&number) {
        Some(version) if !version.is_gone(now) => {
            version.deletion = Some(now);
            true
        }
        _ => false,
    }
}

async fn undelete(
    Path(path): Path<String>,
    Input(input): Input<UndeleteInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    let numbers = numbers(input.versions, "No version number provided")?;
    let paths = ("undelete", Some("data"));
    let told = Told { call: &call, event_type: "kv-v2/undelete", paths, list: "undeleted_versions" };
    change(&txn, &path, &numbers, told, |key, number| match key.versions.get_mut(&number) {
        Some(version) if !version.destroyed => version.deletion.take().is_some(),
        _ => false,
    })
    .await
}

async fn destroy(
    Path(path): Path<String>,
    Input(input): Input<DestroyInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    let numbers = numbers(input.versions, "no version number provided")?;
    let told = Told {
        call: &call,
        event_type: "kv-v2/destroy",
        paths: ("destroy", None),
        list: "destroyed_versions",
    };
    change(&txn, &path, &numbers, told, |key, number| match key.versions.get_mut(&number) {
        Some(version) if !version.destroyed => {
            version.destroyed = true;
            store::destroy_data(&txn, &path, key, number);
            true
        }
        _ => false,
    })
    .await
}

/// The versions a request names. A number that no version can have names none.
fn numbers(given: Option<Ints>, none: &'static str) -> Result<Vec<u64>, EngineError> {
    let given =
        given.map(|given| given.0).filter(|given| !given.is_empty()).ok_or_else(|| bad_request(none))?;
    Ok(given
        .into_iter()
        .filter_map(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
        .collect())
}

/// The event of a change of versions.
struct Told<'a> {
    call: &'a Call,
    event_type: &'static str,
    /// The prefix of the key in the path of the request, and in the one that shows the outcome.
    paths: (&'static str, Option<&'static str>),
    /// The member that lists the versions.
    list: &'static str,
}

async fn change(
    txn: &Txn,
    path: &str,
    numbers: &[u64],
    told: Told<'_>,
    mut each: impl FnMut(&mut Key, u64) -> bool,
) -> Result<(), EngineError> {
    let Some(key) = store::find(txn, path).await? else { return Ok(()) };
    let mut key = Arc::unwrap_or_clone(key);
    let mut changed = false;
    for number in numbers {
        changed |= each(&mut key, *number);
    }
    if changed {
        txn.emit(|| {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            of_key(told.call, told.event_type, told.paths, path, &key)
                .with(told.list, format!("[{}]", numbers.join(",")))
        });
        store::save(txn, path, key)?;
    }
    Ok(())
}
