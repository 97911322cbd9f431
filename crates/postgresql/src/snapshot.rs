//! A snapshot: a transaction of the database that only reads, and shows what was there when it began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_storage::{Index, KeyRange, Snapshot, StoreError, Versioned};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::connection::Parameter;
use crate::failure::Failure;
use crate::pool::{Loan, Pool};
use crate::statements::Statements;
use crate::value;

/// The statement that makes a snapshot of those that follow.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(crate) struct DatabaseSnapshot {
    index: Index,
    statements: Arc<Statements>,
    /// Given back when this is dropped.
    loan: Option<Loan>,
    /// An answer did not come: the connection is not to be used again.
    is_broken: AtomicBool,
}

impl DatabaseSnapshot {
    pub(crate) async fn begin(pool: &Arc<Pool>, statements: &Arc<Statements>) -> Result<Self, StoreError> {
        loop {
            let loan = pool.borrow().await?;
            // Both are sent before the first is answered.
            let (begun, head) =
                futures::join!(loan.connection.batch(BEGIN), loan.connection.query(&statements.index, &[]));
            let is_used = loan.is_used;
            // From here on, whatever happens, the transaction is ended.
            let mut snapshot = DatabaseSnapshot {
                index: 0,
                statements: Arc::clone(statements),
                loan: Some(loan),
                is_broken: AtomicBool::new(false),
            };
            match begun.and(head) {
                Ok(rows) => {
                    snapshot.index = value::index(value::only(&rows)?, 0)?;
                    return Ok(snapshot);
                }
                // It broke while nobody used it.
                Err(failure) if is_used && failure.spoils_connection() => {
                    snapshot.is_broken.store(true, Ordering::Relaxed);
                }
                Err(failure) => {
                    snapshot.note(&failure);
                    return Err(failure.into());
                }
            }
        }
    }

    fn note(&self, failure: &Failure) {
        if failure.spoils_connection() {
            self.is_broken.store(true, Ordering::Relaxed);
        }
    }

    async fn query(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        let loan = self.loan.as_ref().ok_or(StoreError::Closed)?;
        let answer = loan.connection.query(statement, parameters).await;
        if let Err(failure) = &answer {
            self.note(failure);
        }
        Ok(answer?)
    }
}

#[async_trait]
impl Snapshot for DatabaseSnapshot {
    fn index(&self) -> Index {
        self.index
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let rows = self.query(&self.statements.get, &[(&key, Type::BYTEA)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Versioned { modified: value::index(row, 0)?, value: value::bytes(row, 1)? }))
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let parameters: [Parameter<'_>; 3] =
            [(&range.start, Type::BYTEA), (&range.end, Type::BYTEA), (&limit, Type::INT8)];
        let rows = self.query(&self.statements.scan, &parameters).await?;
        let entry = |row: &Row| {
            let modified = value::index(row, 1)?;
            Ok((value::bytes(row, 0)?, Versioned { modified, value: value::bytes(row, 2)? }))
        };
        rows.iter().map(entry).collect()
    }
}

impl Drop for DatabaseSnapshot {
    fn drop(&mut self) {
        let Some(loan) = self.loan.take() else { return };
        if *self.is_broken.get_mut() {
            return;
        }
        let runtime = loan.pool().runtime().clone();
        runtime.spawn(async move {
            if loan.connection.batch("ROLLBACK").await.is_ok() {
                loan.give_back();
            }
        });
    }
}
