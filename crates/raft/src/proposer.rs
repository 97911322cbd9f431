//! Group commit: what callers ask for while an entry is under way goes into the next entry together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use strongroom_storage::{Commit, CommitError, Index, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::batch::Batch;
use crate::batch_wait::{BatchSoon, BatchWait};
use crate::codec::commit_len;
use crate::log::Log;
use crate::options::Options;
use crate::space::Space;
use crate::state::Machine;
use crate::types::{Command, Reply, Types};

/// Callers that may wait in the queue before more are made to wait outside.
pub(crate) const QUEUE: usize = 4096;

type Answer = oneshot::Sender<Result<Index, CommitError>>;

/// A commit that waits to be proposed.
pub(crate) struct Pending {
    pub(crate) commit: Commit,
    /// Bytes of it, encoded.
    pub(crate) size: usize,
    pub(crate) answer: Answer,
}

impl Pending {
    pub(crate) fn new(commit: Commit, answer: Answer) -> Self {
        Self { size: commit_len(&commit), commit, answer }
    }
}

/// Makes entries out of what waits.
pub(crate) struct Proposer {
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) log: Log,
    pub(crate) space: Arc<Space>,
    pub(crate) queue: mpsc::Receiver<Pending>,
    /// Taken from the queue, beyond what fitted into the last entry.
    waiting: VecDeque<Pending>,
    batch_wait: BatchWait,
    batch_soon: Arc<BatchSoon>,
    under_way: Arc<Semaphore>,
    depth: u32,
    /// Bytes of the entries under way.
    bytes_under_way: Arc<AtomicU64>,
    max_commits: usize,
    max_size: usize,
}

impl Proposer {
    pub(crate) fn new(
        raft: Raft<Types, Machine>,
        log: Log,
        space: Arc<Space>,
        queue: mpsc::Receiver<Pending>,
        batch_soon: Arc<BatchSoon>,
        options: &Options,
    ) -> Self {
        let depth = u32::try_from(options.pipeline_depth).unwrap_or(u32::MAX).min(64);
        Self {
            raft,
            log,
            space,
            queue,
            waiting: VecDeque::new(),
            batch_wait: BatchWait::default(),
            batch_soon,
            under_way: Arc::new(Semaphore::new(usize::try_from(depth).unwrap_or(1))),
            depth,
            bytes_under_way: Arc::default(),
            max_commits: options.max_batch_commits,
            max_size: options.max_batch_size,
        }
    }

    /// Works until the queue is closed and empty, and returns when nothing is under way any more.
    pub(crate) async fn run(mut self) {
        while let Ok(permit) = self.under_way.clone().acquire_owned().await {
            let Some(batch) = self.next_batch().await else { break };
            self.propose(batch, permit).await;
            self.batch_soon.set(false);
        }
        let _ = self.under_way.acquire_many(self.depth).await;
    }

    /// The next entry's commits; `None` when there will be no more.
    async fn next_batch(&mut self) -> Option<Vec<Pending>> {
        self.take_queued();
        if self.waiting.is_empty() {
            self.waiting.push_back(self.queue.recv().await?);
        } else if self.has_peers() {
            self.batch_soon.set(true);
            self.batch_wait.gather(&mut self.waiting, &mut self.queue, self.max_commits).await;
        }
        self.take_queued();
        let mut size = 0usize;
        let fitting = self.waiting.iter().take(self.max_commits).take_while(|pending| {
            size = size.saturating_add(pending.size);
            size <= self.max_size
        });
        // One that is larger than the limit by itself goes alone.
        let count = fitting.count().max(1);
        self.batch_wait.leave(count);
        Some(self.waiting.drain(..count).collect())
    }

    fn take_queued(&mut self) {
        while self.waiting.len() < self.max_commits
            && let Ok(pending) = self.queue.try_recv()
        {
            self.waiting.push_back(pending);
        }
    }

    /// True if an entry goes to other nodes, too.
    fn has_peers(&self) -> bool {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().membership_config.membership().nodes().nth(1).is_some()
    }

    async fn propose(&self, batch: Vec<Pending>, permit: OwnedSemaphorePermit) {
        let size = batch.iter().map(|pending| pending.size).fold(16, usize::saturating_add);
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let has_room = self.space.is_there() && self.log.reserve(size, &self.bytes_under_way).await.is_ok();
        let (commits, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.commit, pending.answer)).unzip();
        if !has_room {
            answer_all(answers, &CommitError::NoSpace);
            return;
        }
        self.bytes_under_way.fetch_add(size, Ordering::AcqRel);
        let under_way =
            UnderWay { bytes: self.bytes_under_way.clone(), size, log: self.log.clone(), _permit: permit };
        // Dropped unanswered when the core stops: callers then hear that the outcome is not known.
        let reply = Reply::new(move |result| {
            drop(under_way);
            answer(answers, result);
        });
        if let Err(error) = self.raft.client_write_ff(Command::Batch(Batch::from(commits)), Some(reply)).await
        {
            tracing::error!(%error, "raft has stopped");
        }
    }
}

/// An entry that was proposed and whose outcome is not known yet.
struct UnderWay {
    bytes: Arc<AtomicU64>,
    size: u64,
    log: Log,
    _permit: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.size, Ordering::AcqRel);
        self.log.released();
    }
}

fn answer(answers: Vec<Answer>, result: ClientWriteResult<Types>) {
    match result {
        Ok(done) => {
            for (answer, applied) in answers.into_iter().zip(done.data.0) {
                let _ = answer.send(if applied { Ok(done.log_id.index) } else { Err(CommitError::Conflict) });
            }
        }
        Err(error) => answer_all(answers, &refused(error)),
    }
}

fn answer_all(answers: Vec<Answer>, error: &CommitError) {
    for answer in answers {
        let _ = answer.send(Err(error.clone()));
    }
}

/// The address at which clients find the leader.
fn address_of(forward: ForwardToLeader<Types>) -> Option<String> {
    forward.leader_node.map(|node| node.api_address).filter(|address| !address.is_empty())
}

pub(crate) fn refused(error: ClientWriteError<Types>) -> CommitError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => CommitError::NotLeader { leader: address_of(forward) },
        ClientWriteError::LogEntryDiscarded(_) => CommitError::Uncertain("leadership was lost".into()),
        other => CommitError::Store(StoreError::Failed(other.to_string())),
    }
}
