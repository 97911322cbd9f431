//! A separate connection for work that must not wait for readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;
use tokio_postgres::Row;

use crate::connection::{Connection, Connector, Parameter, Purpose};
use crate::failure::Failure;

/// One connection, made when it is needed and used by one at a time, for single statements.
pub(crate) struct Lane {
    connector: Arc<Connector>,
    purpose: Purpose,
    connection: Mutex<Option<Connection>>,
    closed: AtomicBool,
}

impl Lane {
    pub(crate) fn new(connector: Arc<Connector>, purpose: Purpose) -> Lane {
        Lane { connector, purpose, connection: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// Runs a statement, again where another transaction was in the way.
    pub(crate) async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let mut place = self.connection.lock().await;
        if self.closed.load(Ordering::Acquire) {
            return Err(Failure::Closed);
        }
        // Whoever is cut off in the middle takes the connection along.
        let connection = match place.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.connector.connect(self.purpose).await?,
        };
        let answer = connection.query_patiently(statement, parameters).await;
        if !answer.as_ref().is_err_and(Failure::spoils_connection) {
            *place = Some(connection);
        }
        answer
    }

    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(connection) = self.connection.lock().await.take() {
            connection.end();
        }
    }
}
