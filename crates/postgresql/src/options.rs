//! The options of the store.

use std::time::Duration;

use strongroom_stdx::Secret;

use crate::target::Target;

/// PostgreSQL cuts longer names off in silence, and two of them could then be one.
const MAX_NAME_BYTES: usize = 63;

/// The suffix that turns the name of the table of entries into that of the head.
const HEAD: &str = "_head";

/// The options of the store.
///
/// Source: <https://developer.hashicorp.com/vault/docs/configuration/storage/postgresql>.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address of the database and how to log in: a URL or `key=value` pairs, as libpq takes them.
    pub connection_url: Secret<String>,
    /// The table of the entries; `SCHEMA.TABLE` or `TABLE`, in exactly this spelling.
    pub table: String,
    /// The table of the lock. Stores with different entries may have it in common.
    pub ha_table: String,
    /// Connections for reading, at most. Writing and the lock have one each besides.
    pub max_parallel: usize,
    /// The number of those that are kept open while nobody reads.
    pub max_idle_connections: usize,
    /// The number of retries of connecting when the store is opened; `None`: without end.
    pub max_connect_retries: Option<u32>,
    /// True if tables that are missing are an error.
    pub skip_create_table: bool,
    /// The time limit of waiting for a connection, and for the database to answer.
    pub timeout: Duration,
}

impl Options {
    /// Vault's documented defaults.
    pub fn new(connection_url: Secret<String>) -> Options {
        Options {
            connection_url,
            table: "vault_kv_store".to_owned(),
            ha_table: "vault_ha_locks".to_owned(),
            max_parallel: 128,
            max_idle_connections: 128,
            max_connect_retries: Some(1),
            skip_create_table: false,
            timeout: Duration::from_secs(30),
        }
    }

    /// Says what is wrong with them as far as that can be seen without a database: certificates are loaded.
    pub fn check(&self) -> Result<(), OpenError> {
        self.read().map(|_| ())
    }

    pub(crate) fn read(&self) -> Result<(Target, Tables), OpenError> {
        let target = Target::read(self.connection_url.expose()).map_err(OpenError::Url)?;
        let entries = Table::read("table", &self.table)?;
        let head = Table::read("table", &format!("{}{HEAD}", self.table))?;
        let lock = Table::read("ha_table", &self.ha_table)?;
        if lock == entries || lock == head {
            return Err(OpenError::Option("\"table\" and \"ha_table\" must be different tables".to_owned()));
        }
        if self.max_parallel == 0 {
            return Err(OpenError::Option("\"max_parallel\" must be at least 1".to_owned()));
        }
        Ok((target, Tables { entries, head, lock }))
    }
}

/// Reasons why the store was not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection string cannot be used. What it says is not repeated: it may have a password in it.
    #[error("\"connection_url\" {0}")]
    Url(String),
    /// Another option cannot be used.
    #[error("{0}")]
    Option(String),
    /// The database cannot be reached, or does not let us do what is needed.
    #[error("the database: {0}")]
    Database(String),
    /// The database has a table of the name, and it is not what this store makes.
    #[error(
        "table {table} is not this server's: {found}; name another one (the data of a HashiCorp Vault cannot be read)"
    )]
    Foreign {
        /// The table.
        table: String,
        /// The difference.
        found: String,
    },
}

/// The tables of a store.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) entries: Table,
    pub(crate) head: Table,
    pub(crate) lock: Table,
}

/// The name of a table, quoted for use in a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table(String);

impl Table {
    fn read(option: &str, name: &str) -> Result<Table, OpenError> {
        let parts: Vec<&str> = name.split('.').collect();
        let fits = |part: &&str| (1..=MAX_NAME_BYTES).contains(&part.len()) && !part.contains('\0');
        if parts.len() > 2 || !parts.iter().all(fits) {
            let message = format!(
                "{option:?} must be TABLE or SCHEMA.TABLE with names of 1 to {MAX_NAME_BYTES} bytes ({HEAD:?} is \
                 appended for a second table), not {name:?}"
            );
            return Err(OpenError::Option(message));
        }
        let quoted = |part: &&str| format!("\"{}\"", part.replace('"', "\"\""));
        Ok(Table(parts.iter().map(quoted).collect::<Vec<_>>().join(".")))
    }

    pub(crate) fn quoted(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(Table::read("table", "a\"; DROP").unwrap().quoted(), "\"a\"\"; DROP\"");
        assert_eq!(Table::read("table", "Own.Store").unwrap().quoted(), "\"Own\".\"Store\"");
        for wrong in ["", ".a", "a.", "a.b.c", "a\0b", &"a".repeat(64)] {
            assert!(Table::read("table", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_second_tables_name_must_fit_too() {
        let mut options = Options::new(Secret::new("postgres://u@h/d?sslmode=disable".to_owned()));
        options.table = "t".repeat(58);
        options.check().unwrap();
        options.table = "t".repeat(59);
        assert!(options.check().unwrap_err().to_string().contains("_head"));
    }

    #[test]
    fn tables_must_differ() {
        let mut options = Options::new(Secret::new("postgres://u@h/d?sslmode=disable".to_owned()));
        for same in ["vault_kv_store", "vault_kv_store_head"] {
            options.ha_table = same.to_owned();
            assert!(options.check().is_err());
        }
    }

    #[test]
    fn they_do_not_show_the_url() {
        let options = Options::new(Secret::new("postgres://u:hush@h/d".to_owned()));
        assert!(!format!("{options:?}").contains("hush"));
    }
}
