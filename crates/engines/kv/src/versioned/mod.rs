//! KV version 2: versions of each secret, which can be deleted, brought back, and destroyed.

mod config;
mod custom_metadata;
mod data;
mod events;
mod hint;
mod input;
mod key;
mod list;
mod metadata;
mod store;
mod subkeys;
mod versions;

use strongroom_engine_api::{Clock, Engine, EngineError, Path, Schedule, Txn};

use crate::VERSION;

pub(crate) use config::Config;
pub(crate) use key::Key;
pub(crate) use store::VersionData;

pub(crate) fn engine() -> Engine {
    let engine = Engine::new(
        crate::KIND,
        "Keeps versions of secrets under any path. Versions can be read by their number, deleted and brought \
         back, or permanently destroyed; each key keeps a configured number of versions.",
    )
    .generic_name("kv_v2")
    .alias("kv-v2", VERSION, "2")
    .serving(VERSION, "2")
    .job("upgrade", Schedule::OnCommit(crate::tables::ENTRIES.id()), move_entries);
    hint::route(list::routes(metadata::routes(versions::routes(subkeys::routes(data::routes(
        config::routes(engine),
    ))))))
}

/// Moves what version 1 left behind, some at a time.
async fn move_entries(txn: Txn, clock: Clock) -> Result<bool, EngineError> {
    store::move_some(&txn, clock.now()).await
}

/// True if there is a key at the path: what tells a creation from an update.
async fn key_exists(Path(path): Path<String>, txn: Txn) -> Result<bool, EngineError> {
    Ok(store::find(&txn, &path).await?.is_some())
}

/// Of which versions there is data in storage, wherever it lies: what is destroyed must not be among them.
#[cfg(test)]
pub(crate) async fn stored_data(
    reads: &impl strongroom_engine_api::Reads,
) -> Result<std::collections::BTreeSet<(String, u64)>, EngineError> {
    let mut stored = store::data_apart(reads).await?;
    for (path, key) in crate::tables::KEYS.scan(reads, "", None, usize::MAX).await? {
        stored.extend(key.newest.is_some().then_some((path, key.current)));
    }
    for path in crate::tables::ENTRIES.keys(reads, "", None, usize::MAX).await? {
        stored.insert((path, 1));
    }
    Ok(stored)
}
