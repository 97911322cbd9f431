//! `sys/key-status`, `sys/rotate`, `sys/rotate/config`, and `sys/rotate/keyring` as another name of the latter two.
//! Source: Vault's API pages of these names.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Int, Ttl};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Route, bad_request, format_duration,
};
use strongroom_seal_state::{RotationConfig, SealState};

use crate::envelopes::MergedData;

pub(crate) fn routes(engine: Engine) -> Engine {
    let rotate =
        |r: Route| r.sudo().update("Rotate the backend encryption key used to persist data.", rotate);
    let config = |r: Route| {
        r.read("Read the automatic rotation of the encryption key.", read_config)
            .update("Configure the automatic rotation of the encryption key.", write_config)
    };
    engine
        .route("key-status", |r| r.read("Provides information about the backend encryption key.", key_status))
        .route("rotate", rotate)
        .route("rotate/config", config)
        .route("rotate/keyring", rotate)
        .route("rotate/keyring/config", config)
}

/// The active key.
#[derive(Serialize, JsonSchema)]
struct KeyStatus {
    /// Its number, counting from 1.
    term: u32,
    /// The time of its creation (RFC 3339).
    install_time: String,
    /// Entries sealed with it so far, about.
    encryptions: u64,
}

async fn key_status(
    Extension(seal_state): Extension<SealState>,
) -> Result<MergedData<KeyStatus>, EngineError> {
    let active = seal_state.key_status()?;
    Ok(MergedData(KeyStatus {
        term: active.term,
        install_time: active.created.rfc3339(),
        encryptions: active.encryptions,
    }))
}

async fn rotate(Extension(seal_state): Extension<SealState>) -> Result<(), EngineError> {
    seal_state.rotate().await
}

/// The configuration of automatic rotation.
#[derive(Serialize, JsonSchema)]
struct Config {
    /// Entries sealed with one key at most.
    max_operations: u64,
    /// The time between rotations; 0 where there is none.
    interval: Value,
    /// True if keys are rotated automatically.
    enabled: bool,
}

/// The input of configuring; absent members stay as they are.
#[derive(Deserialize, JsonSchema)]
struct ConfigInput {
    /// True if keys are rotated automatically.
    enabled: Option<Flag>,
    /// The time between rotations, at least 24 hours; 0 rotates by operations only.
    interval: Option<Ttl>,
    /// Entries sealed with one key at most.
    max_operations: Option<Int>,
}

async fn read_config(
    Extension(seal_state): Extension<SealState>,
    view: View,
) -> Result<Data<Config>, EngineError> {
    let config = seal_state.rotation_config(&view).await?;
    let interval = if config.interval.is_zero() { json!(0) } else { json!(format_duration(config.interval)) };
    Ok(Data(Config { max_operations: config.max_operations, interval, enabled: config.enabled }))
}

/// The fewest operations and the shortest interval that may be configured.
const FEWEST_OPERATIONS: u64 = 1_000_000;
const SHORTEST_INTERVAL: Duration = Duration::from_hours(24);

async fn write_config(
    Extension(seal_state): Extension<SealState>,
    txn: Txn,
    Input(input): Input<ConfigInput>,
) -> Result<(), EngineError> {
    let mut config = seal_state.rotation_config(&txn).await?;
    if let Some(enabled) = input.enabled {
        config.enabled = enabled.0;
    }
    if let Some(asked) = input.max_operations {
        let most = RotationConfig::default().max_operations;
        let fits = u64::try_from(asked.0).ok().filter(|asked| (FEWEST_OPERATIONS..=most).contains(asked));
        config.max_operations = fits.ok_or_else(|| {
            bad_request(format!("max_operations must be in the range [{FEWEST_OPERATIONS},{most}]"))
        })?;
    }
    if let Some(interval) = input.interval {
        if !interval.is_zero() && interval.0 < SHORTEST_INTERVAL {
            let shortest = format_duration(SHORTEST_INTERVAL);
            return Err(bad_request(format!("interval must be greater or equal to {shortest}")));
        }
        config.interval = interval.0;
    }
    seal_state.set_rotation_config(&txn, config)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::Verb;

    use crate::testing::{START, Server};

    #[tokio::test]
    async fn rotating_makes_the_next_key() {
        let server = Server::new().await;
        let before = server.read("sys/key-status").await;
        assert_eq!(before.data()["term"], 1);
        assert_eq!(before.data()["install_time"], START.rfc3339());
        assert_eq!(before.body["term"], 1, "also at the top");
        assert_eq!(server.write("sys/rotate", json!({})).await.status, 204);
        assert_eq!(server.write("sys/rotate/keyring", json!({})).await.status, 204);
        assert_eq!(server.read("sys/key-status").await.data()["term"], 3);
        let plain = server.token_with(r#"path "sys/rotate" { capabilities = ["update"] }"#).await;
        assert_eq!(server.ask_as(&plain, Verb::Write, "sys/rotate", json!({})).await.status, 403);
    }

    #[tokio::test]
    async fn the_configuration_keeps_what_is_not_given() {
        let server = Server::new().await;
        let read = async || server.read("sys/rotate/config").await.data().clone();
        let first = read().await;
        assert_eq!((&first["enabled"], &first["interval"]), (&json!(true), &json!(0)));
        let input = json!({ "interval": "48h", "max_operations": 2_000_000 });
        assert_eq!(server.write("sys/rotate/config", input).await.status, 204);
        assert_eq!(
            read().await,
            json!({ "enabled": true, "interval": "48h0m0s", "max_operations": 2_000_000 })
        );
        server.write("sys/rotate/keyring/config", json!({ "enabled": "false", "interval": 0 })).await;
        assert_eq!(read().await, json!({ "enabled": false, "interval": 0, "max_operations": 2_000_000 }));
    }

    #[tokio::test]
    async fn the_configuration_has_bounds() {
        let server = Server::new().await;
        let most = server.read("sys/rotate/config").await.data()["max_operations"].clone();
        let range = format!("max_operations must be in the range [1000000,{most}]");
        for (input, text) in [
            (json!({ "max_operations": 1 }), range.as_str()),
            (json!({ "max_operations": -1 }), range.as_str()),
            (json!({ "max_operations": 99_999_999_999_u64 }), range.as_str()),
            (json!({ "interval": "1h" }), "interval must be greater or equal to 24h0m0s"),
        ] {
            assert_eq!(server.write("sys/rotate/config", input).await.error(), (400, text));
        }
    }
}
