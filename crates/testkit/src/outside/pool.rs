//! The pool of a mount: a value that follows from a setting, and holds connections.
//!
//! Each mount has settings that only grow, so that a value which is older than the view it was asked with shows: it is
//! answered beside what the view says.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Cached, Data, Derived, EngineError, Input, Path, Source, Stored, TableId, Txn, View,
};

use super::engine::SETTINGS;
use super::reach::{Connection, Way};
use super::system::Failure;

/// A setting.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Setting {
    /// How often it was written.
    number: u64,
    /// Where the system is, where it is a real one.
    url: String,
}

/// What a write takes.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SettingInput {
    /// Where the system is; as before where it is left out.
    url: Option<Text>,
}

impl Stored for Setting {}

/// What follows from a setting, with the way to the system.
pub(super) struct Pool {
    /// The setting that it is made from.
    pub(super) setting: u64,
    url: String,
    way: Arc<Way>,
}

impl Derived for Pool {
    type Key = str;

    const FROM: &'static [TableId] = &[SETTINGS.id()];
    const CONNECTS: bool = true;

    async fn derive(key: &str, from: Source) -> Result<Self, EngineError> {
        let setting =
            SETTINGS.get(&from.view, key).await?.map(|setting| (*setting).clone()).unwrap_or_default();
        let way = from.extension::<Way>()?;
        way.count_pool(true);
        Ok(Self { setting: setting.number, url: setting.url, way })
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.way.count_pool(false);
    }
}

impl Pool {
    /// A connection to the system, from this node.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        self.way.connect(&self.url).await
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct SettingView {
    /// The setting, as the request's view has it.
    stored: u64,
    /// The setting from which the value at hand was made.
    derived: u64,
}

pub(super) async fn read_setting(
    Path(name): Path<String>,
    view: View,
    pools: Cached<Pool>,
) -> Result<Data<SettingView>, EngineError> {
    // In this order the value may be of a later moment than what the view has shown, if it were not of the view.
    let before = SETTINGS.get(&view, &name).await?.map_or(0, |setting| setting.number);
    let derived = pools.get(&name).await?.setting;
    let stored = SETTINGS.get(&view, &name).await?.map_or(0, |setting| setting.number);
    if before != stored {
        return Err(EngineError::Internal("a view has changed".to_owned()));
    }
    Ok(Data(SettingView { stored, derived }))
}

pub(super) async fn write_setting(
    Path(name): Path<String>,
    Input(input): Input<SettingInput>,
    txn: Txn,
) -> Result<Data<Setting>, EngineError> {
    let mut setting = SETTINGS.get(&txn, &name).await?.map(|setting| (*setting).clone()).unwrap_or_default();
    setting.number += 1;
    if let Some(url) = input.url {
        setting.url = url.0;
    }
    SETTINGS.put(&txn, &name, setting.clone())?;
    Ok(Data(setting))
}
