//! Conversions between the database's values and ours.

use bytes::Bytes;
use strongroom_storage::{Index, StoreError};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// The only row of an answer.
pub(crate) fn only(rows: &[Row]) -> Result<&Row, StoreError> {
    rows.first().ok_or_else(|| StoreError::Corrupt("the row of the store's head or lock is gone".to_owned()))
}

/// A column of a row.
pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|error| StoreError::Corrupt(format!("column {column}: {error}")))
}

pub(crate) fn index(row: &Row, at: usize) -> Result<Index, StoreError> {
    let found: i64 = column(row, at)?;
    u64::try_from(found).map_err(|_negative| StoreError::Corrupt(format!("an index of {found}")))
}

pub(crate) fn bytes(row: &Row, at: usize) -> Result<Bytes, StoreError> {
    column::<&[u8]>(row, at).map(Bytes::copy_from_slice)
}

/// An index, fence or count for the database. It has no such number above the greatest of its type, where it matches
/// nothing.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
