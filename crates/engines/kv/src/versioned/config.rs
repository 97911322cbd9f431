//! The mount's settings, which apply to every key.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use strongroom_engine_api::lenient::{Flag, Int, Ttl};
use strongroom_engine_api::{
    Call, Data, Engine, EngineError, Input, Stored, Txn, View, bad_request, format_duration,
};

use super::store;
use crate::events::event;
use crate::tables::CONFIG;

/// The configuration of a mount.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// Zero: ten.
    pub(super) max_versions: u32,
    pub(super) cas_required: bool,
    delete_version_after: Lifetime,
}

impl Stored for Config {}

/// The lifetime of versions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Lifetime {
    /// As keys say.
    #[default]
    Unset,
    /// At most this long, in whole seconds.
    AtMost(Duration),
    /// For ever, whatever keys say.
    Unlimited,
}

impl Config {
    /// The lifetime of a new version of a key with this setting of its own (zero: none): the shorter of both.
    pub(super) fn deletion_after(&self, of_key: Duration) -> Option<Duration> {
        let of_key = Some(of_key).filter(|span| !span.is_zero());
        match self.delete_version_after {
            Lifetime::Unlimited => None,
            Lifetime::Unset => of_key,
            Lifetime::AtMost(most) => Some(of_key.map_or(most, |span| span.min(most))),
        }
    }
}

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("config", |route| {
        route.read("Read the backend level settings.", read).update(
            "Configure backend level settings that are applied to every key in the key-value store.",
            write,
        )
    })
}

/// The settings as `config` answers them.
#[derive(Serialize, JsonSchema)]
struct ConfigAnswer {
    /// True if each write must give the cas parameter.
    cas_required: bool,
    /// The lifetime of versions; 0s where keys decide, -1s where they live for ever.
    delete_version_after: String,
    /// The number of versions to keep for each key; zero means ten.
    max_versions: u32,
}

async fn read(view: View) -> Result<Data<ConfigAnswer>, EngineError> {
    let config = store::config(&view).await?;
    let delete_version_after = match config.delete_version_after {
        Lifetime::Unset => format_duration(Duration::ZERO),
        Lifetime::AtMost(span) => format_duration(span),
        Lifetime::Unlimited => "-1s".to_owned(),
    };
    Ok(Data(ConfigAnswer {
        cas_required: config.cas_required,
        delete_version_after,
        max_versions: config.max_versions,
    }))
}

#[derive(Deserialize, JsonSchema)]
struct ConfigInput {
    /// The number of versions to keep for each key. Defaults to 10.
    max_versions: Option<Int>,
    /// If true, the backend will require the cas parameter to be set for each write.
    cas_required: Option<Flag>,
    /// If set, the length of time before a version is deleted. A negative duration disables the use of
    /// `delete_version_after` on all keys. A zero duration clears the current setting.
    delete_version_after: Option<GivenLifetime>,
}

async fn write(Input(input): Input<ConfigInput>, call: Arc<Call>, txn: Txn) -> Result<(), EngineError> {
    let mut config = Config::clone(store::config(&txn).await?.as_ref());
    if let Some(limit) = input.max_versions {
        config.max_versions = version_limit(&limit)?;
    }
    if let Some(required) = input.cas_required {
        config.cas_required = required.0;
    }
    if let Some(GivenLifetime(lifetime)) = input.delete_version_after {
        config.delete_version_after = lifetime;
    }
    CONFIG.put(&txn, &(), config)?;
    txn.emit(|| event(&call, "kv-v2/config-write", "config", Some("config")));
    Ok(())
}

/// `max_versions` as it is kept.
pub(super) fn version_limit(given: &Int) -> Result<u32, EngineError> {
    u32::try_from(given.0)
        .map_err(|_out_of_range| bad_request("max_versions must be between 0 and 4294967295"))
}

/// A duration of whole seconds: what answers show is what counts.
pub(super) fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

/// A duration that may lie below zero, which stands for [`Lifetime::Unlimited`].
struct GivenLifetime(Lifetime);

impl<'de> Deserialize<'de> for GivenLifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let (text, number);
        let magnitude = match &value {
            Value::String(given) => {
                text = given.trim();
                text.strip_prefix('-')
            }
            Value::Number(given) => {
                number = given.to_string();
                number.strip_prefix('-')
            }
            _ => None,
        };
        let read =
            |value| Ttl::deserialize(value).map(|ttl| whole_seconds(ttl.0)).map_err(serde::de::Error::custom);
        if let Some(magnitude) = magnitude {
            let zero = read(Value::from(magnitude))?.is_zero();
            return Ok(Self(if zero { Lifetime::Unset } else { Lifetime::Unlimited }));
        }
        let span = read(value)?;
        Ok(Self(if span.is_zero() { Lifetime::Unset } else { Lifetime::AtMost(span) }))
    }
}

impl JsonSchema for GivenLifetime {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Lifetime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "seconds" })
    }
}
