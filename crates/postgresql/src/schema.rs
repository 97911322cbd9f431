//! Finding the store's tables in a database, and making them.

use strongroom_stdx::Entropy;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::options::{OpenError, Table, Tables};
use crate::statements::{ENTRIES, FORMAT, HEAD, LOCK, Statements};
use crate::value;

/// The number of attempts to make what another node makes at the same time.
const MAX_ATTEMPTS: u32 = 8;

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> OpenError {
        OpenError::Database(failure.text().to_owned())
    }
}

/// Finds the store, or begins one; answers its identity.
pub(crate) async fn settle(
    connection: &Connection,
    tables: &Tables,
    statements: &Statements,
    may_create: bool,
    entropy: &Entropy,
) -> Result<String, OpenError> {
    let mut tries = 1;
    while let Some(missing) = missing(connection, tables).await? {
        if !may_create {
            let table = missing.quoted();
            let message = format!("table {table} is missing, and \"skip_create_table\" is set");
            return Err(OpenError::Database(message));
        }
        if let Err(failure) = connection.batch(&statements.create).await {
            // It leaves its transaction open.
            connection.batch("ROLLBACK").await?;
            if tries >= MAX_ATTEMPTS || !is_of_two_at_once(&failure) {
                return Err(failure.into());
            }
        }
        tries = tries.saturating_add(1);
    }
    let cluster_id = begin(connection, tables, statements, entropy).await?;
    connection.query_patiently(&statements.begin_lock, &[(&cluster_id, Type::TEXT)]).await?;
    Ok(cluster_id)
}

/// The first table that is not there; an error where one is there that is not this store's.
async fn missing<'a>(connection: &Connection, tables: &'a Tables) -> Result<Option<&'a Table>, OpenError> {
    let wanted = [(&tables.entries, &ENTRIES[..]), (&tables.head, &HEAD[..]), (&tables.lock, &LOCK[..])];
    for (table, columns) in wanted {
        // Looked at in the way in which it is used later, whatever schema it is found in.
        match connection.prepare(&format!("SELECT * FROM {} LIMIT 0", table.quoted())).await {
            Ok(statement) => {
                let found: Vec<(&str, Type)> = statement
                    .columns()
                    .iter()
                    .map(|column| (column.name(), column.type_().clone()))
                    .collect();
                if found != columns {
                    return Err(foreign(table, &found));
                }
            }
            Err(failure) if failure.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(Some(table)),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(None)
}

fn foreign(table: &Table, found: &[(&str, Type)]) -> OpenError {
    let vaults = found.iter().any(|(name, _)| matches!(*name, "parent_path" | "ha_identity"));
    let columns: Vec<String> = found.iter().map(|(name, of)| format!("{name} {of}")).collect();
    let whose = if vaults { "it is a Vault's" } else { "it has other columns" };
    OpenError::Foreign {
        table: table.quoted().to_owned(),
        found: format!("{whose} ({})", columns.join(", ")),
    }
}

/// True if a table was not made because another node was just making it. `IF NOT EXISTS` does not wait for the other.
fn is_of_two_at_once(failure: &Failure) -> bool {
    let codes = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT];
    failure.is_passing() || failure.code().is_some_and(|code| codes.contains(code))
}

async fn begin(
    connection: &Connection,
    tables: &Tables,
    statements: &Statements,
    entropy: &Entropy,
) -> Result<String, OpenError> {
    let drawn = entropy.uuid().map_err(|error| OpenError::Database(error.to_string()))?;
    let mut tries = 1;
    loop {
        let rows = connection.query_patiently(&statements.head, &[]).await?;
        if let Some(row) = rows.first() {
            let unreadable = |error: strongroom_storage::StoreError| OpenError::Database(error.to_string());
            let format: i64 = value::column(row, 0).map_err(unreadable)?;
            if format != FORMAT {
                let table = tables.head.quoted();
                let message = format!("table {table} is of format {format}; this version knows {FORMAT}");
                return Err(OpenError::Database(message));
            }
            return value::column(row, 1).map_err(unreadable);
        }
        if tries > MAX_ATTEMPTS {
            let (entries, head) = (tables.entries.quoted(), tables.head.quoted());
            let message = format!("table {entries} has entries, and {head} has no row that belongs to them");
            return Err(OpenError::Database(message));
        }
        match connection.query(&statements.begin_head, &[(&FORMAT, Type::INT8), (&drawn, Type::TEXT)]).await {
            Err(failure) if !is_of_two_at_once(&failure) => return Err(failure.into()),
            _ => tries = tries.saturating_add(1),
        }
    }
}
