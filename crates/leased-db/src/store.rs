//! [`SharedStore`]: a database and the lock as one [`Store`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use strongroom_storage::{
    Active, Commit, CommitError, Coordinator, Index, Observer, Role, Snapshot, SteppedDown, Store, StoreError,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::database::Database;
use crate::lock::{Lock, Timing};
use crate::notifications::Notifications;
use crate::writer::{Pending, QUEUE, Writer, check};

/// The options of a [`SharedStore`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// This node's description for the others.
    pub me: Active,
    /// True if nodes take over from one another (`ha_enabled`). Otherwise a node takes the lock from whoever has it
    /// when it starts, so that of two that were started by mistake the later one writes.
    pub ha_enabled: bool,
    /// The times of the lock.
    pub timing: Timing,
}

/// A [`Store`] in a database that several nodes share.
///
/// Close it before letting go of it: otherwise the others wait until the lock's time is over.
pub struct SharedStore {
    database: Arc<dyn Database>,
    notifications: Arc<Notifications>,
    lock: Arc<Lock>,
    cluster_id: Arc<str>,
    proposals: Mutex<Option<mpsc::Sender<Pending>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    closed: AtomicBool,
}

impl SharedStore {
    /// Opens the store in a database. It may lead as soon as it owns the lock, unless told otherwise
    /// ([`Coordinator::set_eligible`]).
    ///
    /// # Errors
    ///
    /// [`StoreError`] where the database cannot be reached.
    pub async fn open(database: Arc<dyn Database>, options: Options) -> Result<Arc<Self>, StoreError> {
        let head = database.head().await?;
        let notifications = Arc::new(Notifications::new(head.index));
        let lock = Arc::new(Lock::new(
            database.clone(),
            notifications.clone(),
            options.me,
            options.timing,
            !options.ha_enabled,
        ));
        let (proposals, queue) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(false);
        let writer = Writer {
            database: database.clone(),
            notifications: notifications.clone(),
            lock: lock.clone(),
            queue,
            waiting: VecDeque::new(),
            position: None,
            full: false,
        };
        let tasks = vec![tokio::spawn(writer.run()), tokio::spawn(lock.clone().run(stopped))];
        Ok(Arc::new(Self {
            database,
            notifications,
            lock,
            cluster_id: head.cluster_id.into(),
            proposals: Mutex::new(Some(proposals)),
            tasks: Mutex::new(tasks),
            stop,
            closed: AtomicBool::new(false),
        }))
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Returns when all observers know of an index that a snapshot shows. The active node's own writer tells them of
    /// it in an instant; where another node has written, they hear that anything may have changed.
    async fn make_known(&self, index: Index) {
        let mut told = self.notifications.watch();
        while *told.borrow_and_update() < index {
            if self.lock.fence().is_none() {
                self.notifications.outdated(index);
                return;
            }
            tokio::select! {
                _ = told.changed() => {}
                // The answer of the writer's change may be lost, and the lock with it.
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }
}

/// Between two looks whether this node still writes.
const POLL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(100);

#[async_trait]
impl Store for SharedStore {
    fn applied(&self) -> Index {
        self.notifications.told()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.check_open()?;
        let snapshot = self.database.snapshot().await?;
        self.make_known(snapshot.index()).await;
        Ok(snapshot)
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        self.check_open()?;
        check(&commit, self.database.limits())?;
        let closed = || CommitError::Store(StoreError::Closed);
        let proposals =
            self.proposals.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        proposals.send(Pending { commit, answer }).await.map_err(|_gone| closed())?;
        drop(proposals);
        answered.await.map_err(|_dropped| CommitError::Uncertain("storage stopped".to_owned()))?
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.lock.begin().await
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.notifications.observe(observer);
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(self.proposals.lock().unwrap_or_else(PoisonError::into_inner).take());
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tasks = tasks.into_iter();
        // What was accepted is finished before the lock is given back.
        if let Some(writer) = tasks.next() {
            let _ = writer.await;
        }
        self.stop.send_replace(true);
        for task in tasks {
            let _ = task.await;
        }
        self.database.close().await;
    }

    fn kind(&self) -> &'static str {
        self.database.kind()
    }
}

#[async_trait]
impl Coordinator for SharedStore {
    fn role(&self) -> Role {
        self.lock.role()
    }

    fn leading(&self) -> Option<u64> {
        self.lock.leading()
    }

    fn set_eligible(&self, eligible: bool) {
        self.lock.set_eligible(eligible);
    }

    fn active(&self) -> Option<Active> {
        self.lock.holder()
    }

    fn number(&self) -> u64 {
        self.lock.me().number
    }

    fn cluster_id(&self) -> Arc<str> {
        self.cluster_id.clone()
    }

    async fn step_down(&self) -> SteppedDown {
        self.lock.hand_over().await
    }
}
