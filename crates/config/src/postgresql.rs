//! `storage "postgresql"`.
//!
//! Sources: <https://developer.hashicorp.com/vault/docs/configuration/storage/postgresql>, and for
//! `skip_create_table` and `max_connect_retries` <https://openbao.org/docs/configuration/storage/postgresql/>.

use strongroom_stdx::Secret;

use crate::ConfigError;
use crate::fields::Fields;

/// `storage "postgresql"`.
#[derive(Clone, Debug)]
pub struct Postgresql {
    /// The address of the database and how to log in; needed, here or in `VAULT_PG_CONNECTION_URL`.
    pub connection_url: Option<Secret<String>>,
    /// The table of the entries.
    pub table: String,
    /// Several nodes share the store, and stand in for one another.
    pub ha_enabled: bool,
    /// The table of the lock.
    pub ha_table: String,
    /// Connections for reading, at most.
    pub max_parallel: u32,
    /// The number of those that are kept open while nobody reads; all of them unless set.
    pub max_idle_connections: Option<u32>,
    /// The number of retries of connecting at the start; 0: without end.
    pub max_connect_retries: u32,
    /// Tables that are missing are an error.
    pub skip_create_table: bool,
}

impl Postgresql {
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Postgresql, ConfigError> {
        Ok(Postgresql {
            connection_url: fields.secret("connection_url")?,
            table: fields.text("table")?.unwrap_or_else(|| "vault_kv_store".to_owned()),
            ha_enabled: fields.switch("ha_enabled")?,
            ha_table: fields.text("ha_table")?.unwrap_or_else(|| "vault_ha_locks".to_owned()),
            max_parallel: fields.integer("max_parallel", 1..=65_536)?.unwrap_or(128),
            max_idle_connections: fields.integer("max_idle_connections", 0..=65_536)?,
            max_connect_retries: fields.integer("max_connect_retries", 0..=i64::from(u32::MAX))?.unwrap_or(1),
            skip_create_table: fields.switch("skip_create_table")?,
        })
    }
}
