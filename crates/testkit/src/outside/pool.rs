//! The pool of a mount: a value that follows from a setting, and holds connections.
//!
//! Each mount has settings that only grow, so that a value which is older than the view it was asked with shows: it is
//! answered beside what the view says.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{Cached, Data, Derived, EngineError, Path, Source, Stored, TableId, Txn, View};

use super::engine::{SETTINGS, Way};
use super::system::{Connection, Failure};

/// A setting: how often it was written.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(super) struct Setting {
    /// The number it stands at.
    number: u64,
}

impl Stored for Setting {}

/// What follows from a setting, with the way to the system.
pub(super) struct Pool {
    /// The setting that it is made from.
    pub(super) setting: u64,
    way: Arc<Way>,
}

impl Derived for Pool {
    type Key = str;

    const FROM: &'static [TableId] = &[SETTINGS.id()];
    const CONNECTS: bool = true;

    async fn derive(key: &str, from: Source) -> Result<Self, EngineError> {
        let setting = SETTINGS.get(&from.view, key).await?.map_or(0, |setting| setting.number);
        let way = from.extension::<Way>()?;
        way.system.pool_made();
        Ok(Self { setting, way })
    }

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.way.system.pool_gone();
    }
}

impl Pool {
    /// A connection to the system, from this node.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        self.way.system.connect(&self.way.gate).await
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

pub(super) async fn write_setting(Path(name): Path<String>, txn: Txn) -> Result<Data<Setting>, EngineError> {
    let before = SETTINGS.get(&txn, &name).await?.map_or(0, |setting| setting.number);
    let setting = Setting { number: before + 1 };
    SETTINGS.put(&txn, &name, setting.clone())?;
    Ok(Data(setting))
}
