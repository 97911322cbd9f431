//! Writing: what callers ask for while a change is under way goes into the next one together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use strongroom_storage::{Commit, CommitError, Index, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::database::{ApplyError, Batch, Database, Fence, Limits};
use crate::decide::{Decided, decide};
use crate::lock::Lock;
use crate::notifications::Notifications;

/// Callers that may wait in the queue before more are made to wait outside.
pub(crate) const QUEUE: usize = 4096;

/// Commits that may share a change.
const MAX_COMMITS: usize = 512;

/// Between two attempts at finding out what became of a change.
const RETRY: Duration = Duration::from_millis(100);

/// A commit that waits to be decided.
pub(crate) struct Pending {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<Index, CommitError>>,
}

/// Takes commits from the queue and makes changes of the database out of them, one at a time.
pub(crate) struct Writer {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) lock: Arc<Lock>,
    pub(crate) queue: mpsc::Receiver<Pending>,
    /// Taken from the queue, beyond what fitted into the last change.
    pub(crate) waiting: VecDeque<Pending>,
    /// The head as this node has left it, under which fence; asked for where it is not known.
    pub(crate) position: Option<(Fence, Index)>,
    /// It has been said that the database is full.
    pub(crate) full: bool,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        while let Some(pending) = self.next_batch().await {
            let (commits, answers): (Vec<_>, Vec<_>) =
                pending.into_iter().map(|pending| (pending.commit, pending.answer)).unzip();
            let outcomes = self.write(&commits).await;
            // Callers that have gone away need no answer.
            match outcomes {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        let _ = answer.send(outcome);
                    }
                }
                Err(error) => {
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// The commits of the next change; `None` when there will be no more.
    async fn next_batch(&mut self) -> Option<Vec<Pending>> {
        if self.waiting.is_empty() {
            self.waiting.push_back(self.queue.recv().await?);
        }
        while self.waiting.len() < MAX_COMMITS
            && let Ok(pending) = self.queue.try_recv()
        {
            self.waiting.push_back(pending);
        }
        let limits = self.database.limits();
        let (mut keys, mut bytes) = (0usize, 0usize);
        let fitting = self.waiting.iter().take_while(|pending| {
            keys = keys.saturating_add(pending.commit.writes.len());
            bytes = bytes.saturating_add(pending.commit.size());
            keys <= limits.keys && bytes <= limits.bytes
        });
        // One that is larger than a limit was refused before.
        let count = fitting.count().max(1);
        Some(self.waiting.drain(..count).collect())
    }

    async fn write(&mut self, commits: &[Commit]) -> Result<Vec<Result<Index, CommitError>>, CommitError> {
        let (fence, from) = self.settle().await?;
        let asked: Vec<&Commit> = commits.iter().collect();
        let Decided { outcomes, batch } = decide(self.database.as_ref(), &asked, fence, from).await?;
        if batch.to == from {
            return Ok(outcomes);
        }
        let applied = match self.database.apply(&batch).await {
            Ok(()) => true,
            Err(ApplyError::Refused(error)) => return Err(StoreError::Failed(error).into()),
            Err(ApplyError::NoSpace(error)) => {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(error, "the database is out of space: writes fail");
                }
                return Err(CommitError::NoSpace);
            }
            Err(ApplyError::Overtaken) => false,
            Err(ApplyError::Unknown(error)) => self.find_out(&batch, &error).await?,
        };
        if !applied {
            // Nothing of it was written. Where this node still owns the lock, the callers decide again on what is there.
            self.position = None;
            self.settle().await?;
            return Err(CommitError::Conflict);
        }
        self.position = Some((fence, batch.to));
        if std::mem::take(&mut self.full) {
            tracing::info!("the database has space again");
        }
        for (commit, outcome) in commits.iter().zip(&outcomes) {
            if let Ok(index) = outcome {
                let keys: Vec<&[u8]> = commit.writes.iter().map(|write| write.key.as_ref()).collect();
                self.notifications.applied(*index, &keys);
            }
        }
        Ok(outcomes)
    }

    /// The fence under which this node writes, and the head's index, of which all observers know.
    async fn settle(&mut self) -> Result<(Fence, Index), CommitError> {
        let fence = self.lock.fence().ok_or_else(|| self.not_leader())?;
        if let Some(position) = self.position.filter(|(of, _)| *of == fence) {
            return Ok(position);
        }
        self.position = None;
        let head = self.database.head().await?;
        if head.fence != fence {
            self.lock.lose(fence);
            return Err(self.not_leader());
        }
        self.notifications.outdated(head.index);
        self.position = Some((fence, head.index));
        Ok((fence, head.index))
    }

    fn not_leader(&self) -> CommitError {
        let leader = self.lock.holder().map(|holder| holder.api_address);
        CommitError::NotLeader { leader: leader.filter(|address| !address.is_empty()) }
    }

    /// Finds out if a change was made whose answer did not arrive. An empty change in its place settles it: either that
    /// is made, and the other never can be, or the head shows what has happened.
    async fn find_out(&mut self, batch: &Batch, error: &str) -> Result<bool, CommitError> {
        tracing::warn!(error, "no response to a database write");
        self.position = None;
        let instead = Batch {
            fence: batch.fence,
            from: batch.from,
            to: batch.to.saturating_add(1),
            ..Batch::default()
        };
        while self.lock.fence() == Some(batch.fence) {
            match self.database.apply(&instead).await {
                Ok(()) => return Ok(false),
                Err(ApplyError::Overtaken) => {
                    if let Ok(head) = self.database.head().await
                        && head.fence == batch.fence
                    {
                        // Both its own and the empty one may have been made after their answers were lost.
                        return match head.index {
                            index if index == batch.to => Ok(true),
                            index if index == instead.to => Ok(false),
                            _ => Err(CommitError::Uncertain(error.to_owned())),
                        };
                    }
                }
                Err(ApplyError::Refused(_) | ApplyError::NoSpace(_) | ApplyError::Unknown(_)) => {}
            }
            tokio::time::sleep(RETRY).await;
        }
        Err(CommitError::Uncertain(error.to_owned()))
    }
}

/// Refuses a commit that no change of the database can carry.
pub(crate) fn check(commit: &Commit, limits: Limits) -> Result<(), CommitError> {
    let size = commit.size();
    if size > limits.bytes {
        return Err(CommitError::TooLarge { size, limit: limits.bytes });
    }
    let count = commit.writes.len();
    if count > limits.keys {
        let limit = limits.keys;
        let text = format!("a request's {count} writes exceed the limit of {limit} of the database");
        return Err(StoreError::Failed(text).into());
    }
    Ok(())
}
