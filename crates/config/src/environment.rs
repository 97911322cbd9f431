//! The environment variables that Vault documents for keys of the configuration file. They take precedence over it.

use std::path::PathBuf;

use strongroom_hcl::Value;
use strongroom_stdx::Secret;

use crate::config::{LOG_FORMATS, LOG_LEVELS};
use crate::keys::{self, Status};
use crate::{Config, ConfigError, Etcd, Postgresql, Raft, Storage, convert, etcd};

const NON_VOTER: &str = "VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER";

impl Config {
    /// Lays the environment over the configuration; answers what its operator should know. `lookup` gives the value of a variable; an empty one counts as
    /// not set. Variables: `VAULT_API_ADDR` (or `VAULT_REDIRECT_ADDR`), `VAULT_CLUSTER_ADDR`, `VAULT_LOG_LEVEL`,
    /// `VAULT_LOG_FORMAT`, `VAULT_DISABLE_MLOCK`, `VAULT_UI`, `VAULT_DISABLE_USER_LOCKOUT`, and with `storage "raft"` `VAULT_RAFT_PATH`,
    /// `VAULT_RAFT_NODE_ID`, `VAULT_RAFT_RETRY_JOIN_AS_NON_VOTER` (any value), with `storage "etcd"` `ETCD_ADDR`,
    /// `ETCD_HA_ENABLED`, `ETCD_USERNAME`, `ETCD_PASSWORD`, with `storage "postgresql"` `VAULT_PG_CONNECTION_URL`.
    pub fn apply_environment(
        &mut self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, ConfigError> {
        let environment = Environment { lookup };
        // The older name first, so that the newer one wins.
        environment.set(&mut self.api_addr, "VAULT_REDIRECT_ADDR", convert::url)?;
        environment.set(&mut self.api_addr, "VAULT_API_ADDR", convert::url)?;
        environment.set(&mut self.cluster_addr, "VAULT_CLUSTER_ADDR", convert::reachable_url)?;
        environment
            .set(&mut self.log_level, "VAULT_LOG_LEVEL", |value| convert::choice(value, &LOG_LEVELS))?;
        environment
            .set(&mut self.log_format, "VAULT_LOG_FORMAT", |value| convert::choice(value, &LOG_FORMATS))?;
        environment.set(&mut self.disable_mlock, "VAULT_DISABLE_MLOCK", convert::flag)?;
        if environment.read("VAULT_DISABLE_USER_LOCKOUT", convert::flag)? == Some(true) {
            self.user_lockout_disabled = true;
        }
        let mut warnings = Vec::new();
        if let Some(ui) = environment.read("VAULT_UI", convert::flag)? {
            self.ui = ui;
            warnings.extend(without_effect("VAULT_UI", &keys::OUTERMOST, "ui").filter(|_| ui));
        }
        match &mut self.storage {
            Some(Storage::Raft(raft)) => raft.apply_environment(&environment)?,
            Some(Storage::Etcd(etcd)) => etcd.apply_environment(&environment)?,
            Some(Storage::Postgresql(postgresql)) => postgresql.apply_environment(&environment)?,
            Some(Storage::Inmem) | None => {}
        }
        Ok(warnings)
    }
}

impl Raft {
    fn apply_environment<L: Fn(&str) -> Option<String>>(
        &mut self,
        environment: &Environment<L>,
    ) -> Result<(), ConfigError> {
        environment
            .set(&mut self.path, "VAULT_RAFT_PATH", |value| convert::text(value).map(PathBuf::from))?;
        environment.set(&mut self.node_id, "VAULT_RAFT_NODE_ID", convert::text)?;
        if environment.read(NON_VOTER, convert::text)?.is_some() {
            self.retry_join_as_non_voter = true;
        }
        Ok(())
    }
}

impl Etcd {
    fn apply_environment<L: Fn(&str) -> Option<String>>(
        &mut self,
        environment: &Environment<L>,
    ) -> Result<(), ConfigError> {
        if let Some(address) = environment.read("ETCD_ADDR", etcd::addresses)? {
            self.address = address;
        }
        if let Some(enabled) = environment.read("ETCD_HA_ENABLED", convert::flag)? {
            self.ha_enabled = enabled;
        }
        environment.set(&mut self.username, "ETCD_USERNAME", convert::text)?;
        environment
            .set(&mut self.password, "ETCD_PASSWORD", |value| convert::text(value).map(Secret::new))?;
        for variable in ["ETCD_DISCOVERY_SRV", "ETCD_DISCOVERY_SRV_NAME"] {
            environment
                .read(variable, |_| Err::<(), _>(format!("is not supported; {}", etcd::NO_DISCOVERY)))?;
        }
        Ok(())
    }
}

impl Postgresql {
    fn apply_environment<L: Fn(&str) -> Option<String>>(
        &mut self,
        environment: &Environment<L>,
    ) -> Result<(), ConfigError> {
        environment.set(&mut self.connection_url, "VAULT_PG_CONNECTION_URL", |value| {
            convert::text(value).map(Secret::new)
        })
    }
}

/// The warning about a variable whose key has no effect.
fn without_effect(variable: &str, block: &keys::Block, key: &str) -> Option<String> {
    match block.status(key) {
        Some(Status::NoEffect(reason)) => {
            Some(format!("environment variable {variable} is accepted and has no effect: {reason}"))
        }
        _ => None,
    }
}

struct Environment<L> {
    lookup: L,
}

impl<L: Fn(&str) -> Option<String>> Environment<L> {
    fn read<T>(
        &self,
        variable: &'static str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = (self.lookup)(variable).filter(|text| !text.is_empty()) else { return Ok(None) };
        let value = convert(&Value::String(text));
        value.map(Some).map_err(|message| ConfigError::Environment { variable, message })
    }

    fn set<T>(
        &self,
        target: &mut Option<T>,
        variable: &'static str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = self.read(variable, convert)? {
            *target = Some(value);
        }
        Ok(())
    }
}
