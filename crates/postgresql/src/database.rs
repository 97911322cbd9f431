//! [`Postgresql`]: the database as nodes share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_leased_db::{ApplyError, Batch, Claim, Database, Fence, Head, Limits};
use strongroom_stdx::Entropy;
use strongroom_storage::{Active, Index, KeyRange, Snapshot, StoreError};
use tokio_postgres::types::Type;

use crate::connection::{Connection, Connector, Parameter, Purpose};
use crate::failure::Failure;
use crate::lane::Lane;
use crate::options::{OpenError, Options};
use crate::pool::Pool;
use crate::schema;
use crate::snapshot::DatabaseSnapshot;
use crate::statements::Statements;
use crate::value::{self, number};

/// The limits of a statement. CockroachDB takes messages of up to 16 MiB.
const LIMITS: Limits = Limits { keys: 16_384, bytes: 8 << 20 };

/// The first and the longest pause before connecting is tried again.
const CONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(15), Duration::from_secs(5));

/// A store's tables in a PostgreSQL database, or in one that speaks its protocol and language.
pub struct Postgresql {
    statements: Arc<Statements>,
    cluster_id: String,
    pool: Arc<Pool>,
    /// For changes of entries and what is asked to decide on them.
    writing: Lane,
    /// For the lock and the head, which must not wait for those.
    locking: Lane,
    closed: AtomicBool,
}

impl Postgresql {
    /// Connects, finds the store's tables or makes them. The first to open a store draws its identity.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; with `max_connect_retries` of `None`, a database that cannot be reached is waited for.
    pub async fn open(options: &Options, entropy: &Entropy) -> Result<Postgresql, OpenError> {
        let (target, tables) = options.read()?;
        let statements = Arc::new(Statements::new(&tables));
        let connector = Arc::new(Connector::new(target, options.timeout));
        let connection = connect(&connector, options.max_connect_retries).await?;
        let may_create = !options.skip_create_table;
        let cluster_id = schema::settle(&connection, &tables, &statements, may_create, entropy).await?;
        connection.end();
        let pool = Pool::new(
            Arc::clone(&connector),
            options.max_parallel,
            options.max_idle_connections,
            options.timeout,
        );
        Ok(Postgresql {
            statements,
            cluster_id,
            pool,
            writing: Lane::new(Arc::clone(&connector), Purpose::Writing),
            locking: Lane::new(connector, Purpose::Locking),
            closed: AtomicBool::new(false),
        })
    }
}

async fn connect(connector: &Connector, retries: Option<u32>) -> Result<Connection, OpenError> {
    let (mut pause, longest) = CONNECT_PAUSE;
    let mut tried = 0u32;
    loop {
        match connector.connect(Purpose::Writing).await {
            Ok(connection) => return Ok(connection),
            Err(failure) if retries.is_some_and(|retries| tried >= retries) => return Err(failure.into()),
            Err(failure) => tracing::warn!(error = failure.text(), "the database is not reachable yet"),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(longest);
        tried = tried.saturating_add(1);
    }
}

#[async_trait]
impl Database for Postgresql {
    async fn head(&self) -> Result<Head, StoreError> {
        let rows = self.locking.query(&self.statements.head, &[]).await?;
        let row = value::only(&rows)?;
        Ok(Head {
            cluster_id: value::column(row, 1)?,
            index: value::index(row, 2)?,
            fence: value::index(row, 3)?,
        })
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(DatabaseSnapshot::begin(&self.pool, &self.statements).await?))
    }

    async fn modified(&self, keys: &[Bytes]) -> Result<Vec<Index>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<&[u8]> = keys.iter().map(Bytes::as_ref).collect();
        let rows = self.writing.query(&self.statements.modified, &[(&asked, Type::BYTEA_ARRAY)]).await?;
        let found = rows
            .iter()
            .map(|row| Ok((value::column::<&[u8]>(row, 0)?, value::index(row, 1)?)))
            .collect::<Result<HashMap<_, _>, StoreError>>()?;
        Ok(asked.iter().map(|key| found.get(key).copied().unwrap_or_default()).collect())
    }

    async fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        if range.is_empty() {
            return Ok((0, 0));
        }
        let limit = number(at_most);
        let parameters: [Parameter<'_>; 3] =
            [(&range.start, Type::BYTEA), (&range.end, Type::BYTEA), (&limit, Type::INT8)];
        let rows = self.writing.query(&self.statements.count, &parameters).await?;
        let row = value::only(&rows)?;
        let newest: Option<i64> = value::column(row, 1)?;
        Ok((value::index(row, 0)?, newest.map_or(Ok(0), |_| value::index(row, 1))?))
    }

    async fn apply(&self, batch: &Batch) -> Result<(), ApplyError> {
        check(batch)?;
        let (fence, from, to) = (number(batch.fence), number(batch.from), number(batch.to));
        let deletes: Vec<&[u8]> = batch.deletes.iter().map(Bytes::as_ref).collect();
        let keys: Vec<&[u8]> = batch.puts.iter().map(|(key, _)| key.as_ref()).collect();
        let indexes: Vec<i64> = batch.puts.iter().map(|(_, entry)| number(entry.modified)).collect();
        let values: Vec<&[u8]> = batch.puts.iter().map(|(_, entry)| entry.value.as_ref()).collect();
        let parameters: [Parameter<'_>; 7] = [
            (&fence, Type::INT8),
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&deletes, Type::BYTEA_ARRAY),
            (&keys, Type::BYTEA_ARRAY),
            (&indexes, Type::INT8_ARRAY),
            (&values, Type::BYTEA_ARRAY),
        ];
        let rows = self.writing.query(&self.statements.apply, &parameters).await?;
        // It was done or not, and the answer cannot be read: as good as none.
        let unreadable = |error: StoreError| ApplyError::Unknown(error.to_string());
        let moved: i64 = value::column(value::only(&rows).map_err(unreadable)?, 0).map_err(unreadable)?;
        if moved == 1 { Ok(()) } else { Err(ApplyError::Overtaken) }
    }

    async fn claim(&self, me: &Active, span: Duration, by_force: bool) -> Result<Claim, StoreError> {
        let node = me.number.to_string();
        let holder = serde_json::to_string(me).map_err(|error| StoreError::Failed(error.to_string()))?;
        let seconds = span.as_secs_f64();
        let parameters: [Parameter<'_>; 5] = [
            (&self.cluster_id, Type::TEXT),
            (&node, Type::TEXT),
            (&holder, Type::TEXT),
            (&seconds, Type::FLOAT8),
            (&by_force, Type::BOOL),
        ];
        let rows = self.locking.query(&self.statements.claim, &parameters).await?;
        let row = value::only(&rows)?;
        if value::column::<Option<i64>>(row, 0)?.is_some() {
            return Ok(Claim::Granted(value::index(row, 0)?));
        }
        // Asked for anew: where another was granted it a moment ago, the statement has seen who owned it before.
        Ok(Claim::Held(self.holder().await?.unwrap_or_default()))
    }

    async fn renew(&self, fence: Fence, span: Duration) -> Result<bool, StoreError> {
        let (fence, seconds) = (number(fence), span.as_secs_f64());
        let parameters: [Parameter<'_>; 3] =
            [(&self.cluster_id, Type::TEXT), (&fence, Type::INT8), (&seconds, Type::FLOAT8)];
        Ok(!self.locking.query(&self.statements.renew, &parameters).await?.is_empty())
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let fence = number(fence);
        let parameters: [Parameter<'_>; 2] = [(&self.cluster_id, Type::TEXT), (&fence, Type::INT8)];
        self.locking.query(&self.statements.release, &parameters).await?;
        Ok(())
    }

    async fn holder(&self) -> Result<Option<Active>, StoreError> {
        let rows = self.locking.query(&self.statements.holder, &[(&self.cluster_id, Type::TEXT)]).await?;
        rows.first().map(|row| read_holder(value::column(row, 0)?)).transpose()
    }

    fn limits(&self) -> Limits {
        LIMITS
    }

    fn kind(&self) -> &'static str {
        "postgresql"
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.pool.close();
        self.writing.close().await;
        self.locking.close().await;
    }
}

impl Drop for Postgresql {
    fn drop(&mut self) {
        self.pool.close();
    }
}

fn read_holder(text: &str) -> Result<Active, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("the lock's holder: {error}")))
}

/// Refuses what the database would refuse in the middle, or might change more than once.
fn check(batch: &Batch) -> Result<(), Failure> {
    let keys = batch.puts.len().saturating_add(batch.deletes.len());
    let puts = batch.puts.iter().map(|(key, entry)| key.len().saturating_add(entry.value.len()));
    let bytes = puts.chain(batch.deletes.iter().map(Bytes::len)).fold(0, usize::saturating_add);
    if keys > LIMITS.keys || bytes > LIMITS.bytes {
        return Err(Failure::refused(format!("a change of {keys} keys and {bytes} bytes is too large")));
    }
    Ok(())
}
