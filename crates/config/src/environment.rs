//! The environment variables that Vault documents for keys of the configuration file. They take precedence over it.

use std::path::PathBuf;

use strongroom_hcl::Value;
use strongroom_stdx::{Secret, variable};

use crate::config::{LOG_FORMATS, LOG_LEVELS};
use crate::keys::{self, Status};
use crate::{Config, ConfigError, Etcd, Postgresql, Raft, Storage, convert, etcd};

const NON_VOTER: &str = "RAFT_RETRY_JOIN_AS_NON_VOTER";

impl Config {
    /// Lays the environment over the configuration; answers what its operator should know. `lookup` gives the value of a
    /// variable; an empty one counts as not set. Variables, each as `STRONGROOM_X`, `BAO_X` or `VAULT_X`: `API_ADDR` (or
    /// `REDIRECT_ADDR`), `CLUSTER_ADDR`, `LOG_LEVEL`, `LOG_FORMAT`, `DISABLE_MLOCK`, `UI`, `DISABLE_USER_LOCKOUT`, and
    /// with `storage "raft"` `RAFT_PATH`, `RAFT_NODE_ID`, `RAFT_RETRY_JOIN_AS_NON_VOTER` (any value), with `storage
    /// "postgresql"` `PG_CONNECTION_URL`; by just these names, with `storage "etcd"`, `ETCD_ADDR`, `ETCD_HA_ENABLED`,
    /// `ETCD_USERNAME`, `ETCD_PASSWORD`.
    pub fn apply_environment(
        &mut self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, ConfigError> {
        let environment = Environment { lookup };
        // The older name first, so that the newer one wins.
        environment.set(&mut self.api_addr, "REDIRECT_ADDR", convert::url)?;
        environment.set(&mut self.api_addr, "API_ADDR", convert::url)?;
        environment.set(&mut self.cluster_addr, "CLUSTER_ADDR", convert::reachable_url)?;
        environment.set(&mut self.log_level, "LOG_LEVEL", |value| convert::choice(value, &LOG_LEVELS))?;
        environment.set(&mut self.log_format, "LOG_FORMAT", |value| convert::choice(value, &LOG_FORMATS))?;
        environment.set(&mut self.disable_mlock, "DISABLE_MLOCK", convert::flag)?;
        if environment.read("DISABLE_USER_LOCKOUT", convert::flag)? == Some(true) {
            self.user_lockout_disabled = true;
        }
        let mut warnings = Vec::new();
        if let Some(ui) = environment.read("UI", convert::flag)? {
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
        environment.set(&mut self.path, "RAFT_PATH", |value| convert::text(value).map(PathBuf::from))?;
        environment.set(&mut self.node_id, "RAFT_NODE_ID", convert::text)?;
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
        let secret = |value: &Value| convert::text(value).map(Secret::new);
        if let Some(address) = environment.exactly("ETCD_ADDR", etcd::addresses)? {
            self.address = address;
        }
        if let Some(enabled) = environment.exactly("ETCD_HA_ENABLED", convert::flag)? {
            self.ha_enabled = enabled;
        }
        self.username = environment.exactly("ETCD_USERNAME", convert::text)?.or(self.username.take());
        self.password = environment.exactly("ETCD_PASSWORD", secret)?.or(self.password.take());
        for variable in ["ETCD_DISCOVERY_SRV", "ETCD_DISCOVERY_SRV_NAME"] {
            environment
                .exactly(variable, |_| Err::<(), _>(format!("is not supported; {}", etcd::NO_DISCOVERY)))?;
        }
        Ok(())
    }
}

impl Postgresql {
    fn apply_environment<L: Fn(&str) -> Option<String>>(
        &mut self,
        environment: &Environment<L>,
    ) -> Result<(), ConfigError> {
        environment
            .set(&mut self.connection_url, "PG_CONNECTION_URL", |value| convert::text(value).map(Secret::new))
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
    /// The value of one of this program's variables, which has a prefix.
    fn read<T>(
        &self,
        name: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        variable(&self.lookup, name).map(|found| converted(found, convert)).transpose()
    }

    /// The value of a variable that is another program's, by its full name.
    fn exactly<T>(
        &self,
        name: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let found = (self.lookup)(name).filter(|text| !text.is_empty());
        found.map(|text| converted((name.to_owned(), text), convert)).transpose()
    }

    fn set<T>(
        &self,
        target: &mut Option<T>,
        name: &str,
        convert: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = self.read(name, convert)? {
            *target = Some(value);
        }
        Ok(())
    }
}

fn converted<T>(
    (variable, text): (String, String),
    convert: impl Fn(&Value) -> Result<T, String>,
) -> Result<T, ConfigError> {
    convert(&Value::String(text)).map_err(|message| ConfigError::Environment { variable, message })
}
