//! The connections for reading.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::connection::{Connection, Connector, Purpose};
use crate::failure::Failure;

/// The time for which an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Between two looks for those.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Up to so many connections, made when they are needed, kept for a while when they are not.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    size: usize,
    permits: Arc<Semaphore>,
    /// The last one that was given back is the first to be used again, so that those too many grow old.
    idle: Mutex<Vec<(Instant, Connection)>>,
    max_idle: usize,
    timeout: Duration,
    runtime: Handle,
}

/// A connection on loan.
pub(crate) struct Loan {
    pub(crate) connection: Connection,
    /// True if it has been used before, and may have broken since.
    pub(crate) is_used: bool,
    permit: OwnedSemaphorePermit,
    pool: Arc<Pool>,
}

impl Pool {
    pub(crate) fn new(
        connector: Arc<Connector>,
        size: usize,
        max_idle: usize,
        timeout: Duration,
    ) -> Arc<Pool> {
        let permits = Arc::new(Semaphore::new(size.min(Semaphore::MAX_PERMITS)));
        let idle = Mutex::new(Vec::new());
        let pool =
            Arc::new(Pool { connector, size, permits, idle, max_idle, timeout, runtime: Handle::current() });
        tokio::spawn(close_old(Arc::downgrade(&pool)));
        pool
    }

    /// A connection, when there is one.
    pub(crate) async fn borrow(self: &Arc<Pool>) -> Result<Loan, Failure> {
        let permit = match timeout(self.timeout, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_closed)) => return Err(Failure::Closed),
            Err(_elapsed) => {
                return Err(Failure::refused(format!(
                    "all connections to the database were in use for {:?}; \"max_parallel\" is {}",
                    self.timeout, self.size
                )));
            }
        };
        let kept = std::iter::from_fn(|| self.idle().pop()).find(|(_, connection)| connection.is_open());
        let (is_used, connection) = match kept {
            Some((_, connection)) => (true, connection),
            None => (false, self.connector.connect(Purpose::Reading).await?),
        };
        Ok(Loan { connection, is_used, permit, pool: Arc::clone(self) })
    }

    /// Ends what is not in use and refuses what comes; connections in use end when they are given back.
    pub(crate) fn close(&self) {
        self.permits.close();
        for (_, connection) in std::mem::take(&mut *self.idle()) {
            connection.end();
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_old(&self) -> Vec<(Instant, Connection)> {
        let mut idle = self.idle();
        // The oldest are at the front.
        let old = idle.iter().take_while(|(since, _)| since.elapsed() >= IDLE_TIMEOUT).count();
        idle.drain(..old).collect()
    }
}

impl Loan {
    /// Gives the connection back, with no transaction open on it.
    pub(crate) fn give_back(self) {
        let Loan { connection, permit, pool, .. } = self;
        let mut idle = pool.idle();
        if pool.permits.is_closed() || idle.len() >= pool.max_idle {
            drop(idle);
            connection.end();
        } else {
            idle.push((Instant::now(), connection));
        }
        drop(permit);
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

async fn close_old(pool: Weak<Pool>) {
    loop {
        sleep(IDLE_CHECK_INTERVAL).await;
        let Some(pool) = pool.upgrade() else { return };
        for (_, connection) in pool.take_old() {
            connection.end();
        }
    }
}
