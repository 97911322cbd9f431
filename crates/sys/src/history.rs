//! `sys/version-history`: the versions that have served this cluster, and the times of their installation. Source:
//! Vault's API page of this name.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Reads, Stored, Txn, View};
use strongroom_engine_api::{Engine, EngineError, Extension, Moment, Paging, Reply, Schedule};
use strongroom_pipeline::{Settings, Started};

use crate::tables::VERSIONS;

/// The installation of a version.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Installed {
    /// The time since which it serves.
    at: Moment,
    /// The time at which it was built (RFC 3339).
    built: String,
}

impl Stored for Installed {}

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("version-history", |r| r.list("Returns map of historical version change entries.", list))
        .job("version-history", Schedule::Every(Duration::from_secs(60)), record)
}

/// Puts this version on record.
async fn record(
    Extension(settings): Extension<Settings>,
    Extension(started): Extension<Started>,
    txn: Txn,
) -> Result<bool, EngineError> {
    let version = &settings.version;
    if VERSIONS.get(&txn, version.as_str()).await?.is_none() {
        VERSIONS.put(&txn, version.as_str(), this_version(&settings, *started))?;
    }
    Ok(false)
}

fn this_version(settings: &Settings, started: Started) -> Installed {
    Installed { at: started.0, built: settings.build_date.clone() }
}

/// The facts shown of a version.
#[derive(Serialize, JsonSchema)]
struct Shown {
    /// The time at which it was built (RFC 3339).
    build_date: String,
    /// The version before it.
    previous_version: Option<String>,
    /// The time since which it serves (RFC 3339).
    timestamp_installed: String,
}

async fn list(
    Extension(settings): Extension<Settings>,
    Extension(started): Extension<Started>,
    view: View,
    paging: Paging,
) -> Result<Reply, EngineError> {
    let history = history(&settings, *started, &view).await?;
    let mut info = BTreeMap::new();
    let mut keys = Vec::new();
    let mut previous = None;
    for (version, installed) in history {
        let shown = Shown {
            build_date: installed.built,
            previous_version: previous.replace(version.clone()),
            timestamp_installed: installed.at.rfc3339_secs(),
        };
        info.insert(version.clone(), shown);
        keys.push(version);
    }
    // Names are in the order of time, so that "after" means those installed later.
    let from = paging.after.and_then(|after| keys.iter().position(|key| *key == after));
    let from = from.map_or(0, |at| at.saturating_add(1));
    let keys: Vec<String> = keys.into_iter().skip(from).take(paging.limit).collect();
    info.retain(|version, _| keys.contains(version));
    Reply::keys_with(&keys, &info)
}

/// Versions in the order they came, this one included if housekeeping has not been there yet.
async fn history(
    settings: &Settings,
    started: Started,
    reads: &impl Reads,
) -> Result<Vec<(String, Installed)>, EngineError> {
    let kept = VERSIONS.scan(reads, "", None, usize::MAX).await?;
    let mut history: Vec<(String, Installed)> =
        kept.into_iter().map(|(version, installed)| (version, (*installed).clone())).collect();
    let version = &settings.version;
    if !history.iter().any(|(known, _)| known == version) {
        history.push((version.clone(), this_version(settings, started)));
    }
    history.sort_by_key(|(_, installed)| installed.at);
    Ok(history)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use strongroom_pipeline::Settings;

    use crate::testing::{START, Server};

    #[tokio::test]
    async fn a_version_is_remembered_from_its_first_start() {
        let built = "2026-01-02T03:04:05Z";
        let settings =
            Settings { version: "9.9.9".to_owned(), build_date: built.to_owned(), ..Settings::default() };
        let server = Server::with(settings).await;
        let expected = json!({
            "keys": ["9.9.9"],
            "key_info": { "9.9.9": {
                "build_date": built,
                "previous_version": null,
                "timestamp_installed": START.rfc3339_secs(),
            } },
        });
        assert_eq!(server.list("sys/version-history").await.data(), &expected, "before housekeeping");
        server.clock.advance(Duration::from_mins(1));
        server.core.background.run_jobs_once(true).await.unwrap();
        assert_eq!(server.list("sys/version-history").await.data(), &expected, "and after");
    }
}
