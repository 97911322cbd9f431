//! One connection to the database: made, asked, and ended.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::Failure;
use crate::target::Target;

/// A value for a place in a statement, with its type, so that the database need not be asked for it.
pub(crate) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Snapshots, each in a transaction of its own kind.
    Reading,
    /// Changes of entries, each one statement that finds out by itself whether it was overtaken.
    Writing,
    /// The lock, in statements that wait for a change which is just being made, and then see what it has left: one that
    /// failed for it instead might never get its turn with a busy node.
    Locking,
}

/// The number of attempts of a statement that another transaction was in the way of.
const MAX_ATTEMPTS: u32 = 12;

/// The pause before the third attempt; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The longest wait.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Makes connections.
pub(crate) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(target: Target, timeout: Duration) -> Connector {
        Connector { config: target.config, tls: target.tls, timeout }
    }

    pub(crate) async fn connect(&self, purpose: Purpose) -> Result<Connection, Failure> {
        let connecting = self.config.connect(self.tls.clone());
        let (client, driver) = match timeout(self.timeout, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(Failure::of_connecting(&error)),
            Err(_elapsed) => return Err(Failure::refused("no answer to a new connection in time")),
        };
        let is_cockroach = driver.parameter("crdb_version").is_some();
        let driver = tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to the database has ended");
            }
        });
        let connection = Connection { client, driver: Some(driver), timeout: self.timeout };
        let settings = settings(purpose, self.timeout, is_cockroach);
        match connection.batch(&settings).await {
            Ok(()) => Ok(connection),
            // Nothing that matters was asked yet.
            Err(Failure::Unknown(text)) => Err(Failure::refused(text)),
            Err(failure) => Err(failure),
        }
    }
}

/// The settings of a new connection.
fn settings(purpose: Purpose, timeout: Duration, is_cockroach: bool) -> String {
    // The database gives up before we do, so that what it has not done is known not to be done.
    let limit = timeout.mul_f32(0.8).as_millis();
    let mut settings = format!("SET statement_timeout = {limit};");
    let isolation = match purpose {
        // Each snapshot says for itself.
        Purpose::Reading => return settings,
        Purpose::Writing => "SERIALIZABLE",
        Purpose::Locking => "READ COMMITTED",
    };
    settings.push_str("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL ");
    settings.push_str(isolation);
    settings.push_str(
        "; SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') = 'off';",
    );
    if is_cockroach {
        // It refuses statements that change a table in two ways unless it is told that no row is changed twice.
        settings.push_str("SET enable_multiple_modifications_of_table = on;");
    }
    settings
}

/// A connection. Dropped, it is cut off; see [`Connection::end`] for a polite way.
pub(crate) struct Connection {
    client: Client,
    driver: Option<JoinHandle<()>>,
    timeout: Duration,
}

impl Connection {
    pub(crate) fn is_open(&self) -> bool {
        !self.client.is_closed()
    }

    /// Runs one statement in one round trip, as a transaction of its own unless one is open.
    pub(crate) async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        self.answer(self.client.query_typed(statement, parameters)).await
    }

    /// Runs a statement that is a transaction of its own, again where another transaction was in its way.
    pub(crate) async fn query_patiently(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let mut pause = Duration::ZERO;
        for _ in 1..MAX_ATTEMPTS {
            match self.query(statement, parameters).await {
                Err(failure) if failure.is_passing() => {}
                answer => return answer,
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).clamp(FIRST_PAUSE, MAX_PAUSE);
        }
        self.query(statement, parameters).await
    }

    /// Runs statements that have no parameters and whose answers do not matter.
    pub(crate) async fn batch(&self, statements: &str) -> Result<(), Failure> {
        self.answer(self.client.batch_execute(statements)).await
    }

    /// Has a statement looked at and not run.
    pub(crate) async fn prepare(&self, statement: &str) -> Result<Statement, Failure> {
        self.answer(self.client.prepare(statement)).await
    }

    async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.timeout, request).await {
            Ok(answer) => answer.map_err(|error| Failure::of_request(&error)),
            Err(_elapsed) => {
                Err(Failure::Unknown(format!("no answer from the database within {:?}", self.timeout)))
            }
        }
    }

    /// Says good-bye and closes, in the background.
    pub(crate) fn end(mut self) {
        // It ends by itself when the client is gone.
        drop(self.driver.take());
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.abort();
        }
    }
}
