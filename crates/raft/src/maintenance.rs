//! Maintenance of the store: it compacts the log, writes out memory and packs the table when nobody writes.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use strongroom_stdx::{Clock, Moment};
use strongroom_storage::Index;
use tokio::sync::watch;

use crate::log::Log;
use crate::options::Options;
use crate::space::Space;
use crate::state::{Machine, State};
use crate::types::Types;

/// The time limit of a compaction before the next is tried.
const COMPACTION_TIMEOUT: Duration = Duration::from_mins(10);
/// The interval of checks for free space, and for a time without writes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Maintenance {
    raft: Raft<Types, Machine>,
    log: Log,
    state: Arc<State>,
    space: Arc<Space>,
    clock: Clock,
    threshold: u64,
    threshold_size: u64,
    trailing: u64,
    idle_after: Duration,
    /// Log bytes written, and the last entry, when the log was last compacted.
    compacted: (u64, Index),
    /// The last entry at the last check for writes.
    seen: Index,
    /// The time at which the log last grew, or was last idle.
    grown: Moment,
    /// The last entry when everything dispensable was last deleted for lack of space.
    thrifty: Option<Index>,
}

impl Maintenance {
    pub(crate) fn new(
        raft: Raft<Types, Machine>,
        log: Log,
        state: Arc<State>,
        space: Arc<Space>,
        options: &Options,
    ) -> Self {
        // Entries that a previous run left behind count, so that short runs compact as well as long ones.
        let first = log.purged().map_or(0, |purged| purged.index);
        let seen = state.applied();
        Self {
            raft,
            log,
            state,
            space,
            clock: options.clock.clone(),
            threshold: options.snapshot_threshold,
            threshold_size: options.snapshot_threshold_size,
            trailing: options.trailing_logs,
            idle_after: options.idle_after,
            compacted: (0, first.saturating_add(options.trailing_logs)),
            seen,
            grown: options.clock.now(),
            thrifty: None,
        }
    }

    /// Works until `stop` is set, or its sender is gone.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let clock = self.clock.clone();
        loop {
            if self.compaction_is_due() {
                self.compact(self.trailing).await;
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.log.grown() => self.grown = clock.now(),
                () = clock.sleep(POLL_INTERVAL.min(self.idle_after)) => {}
            }
            if !self.space.is_there() {
                self.make_room().await;
            }
            if clock.now().since(self.grown) >= self.idle_after {
                self.grown = clock.now();
                self.when_idle().await;
            }
        }
    }

    fn compaction_is_due(&self) -> bool {
        let (written, index) = self.compacted;
        self.log.written().saturating_sub(written) >= self.threshold_size
            || self.state.applied().saturating_sub(index) >= self.threshold
    }

    /// Deletes what is kept for convenience: the log that spares a peer a snapshot, and a file to be used again.
    async fn make_room(&mut self) {
        let applied = self.state.applied();
        if self.thrifty.replace(applied) != Some(applied) {
            tracing::info!("out of space: discarding log entries that are already in the table");
            self.compact(0).await;
        }
        self.log.drop_spare().await;
    }

    /// Makes the table durable as it is and deletes the log that it covers, except for so many entries.
    async fn compact(&mut self, trailing: u64) {
        let wanted = self.state.applied();
        self.compacted = (self.log.written(), wanted);
        let mut progress = self.raft.watch_snapshot_progress();
        if self.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let done = progress.wait_until(|at| at.as_ref().is_some_and(|at| at.index >= wanted));
        if !matches!(tokio::time::timeout(COMPACTION_TIMEOUT, done).await, Ok(Ok(_))) {
            tracing::warn!("the log could not be compacted");
            return;
        }
        let keep = if self.log.size() > self.threshold_size.saturating_mul(2) { 0 } else { trailing };
        if let Some(upto) = wanted.checked_sub(keep) {
            let _ = self.raft.trigger().purge_log(upto).await;
        }
    }

    /// Runs when the log has not grown for a while.
    async fn when_idle(&mut self) {
        let applied = self.state.applied();
        if std::mem::replace(&mut self.seen, applied) != applied {
            return;
        }
        if self.state.is_dirty() {
            let _ = self.state.checkpoint().await;
        } else if self.state.is_loose() {
            self.state.pack();
        }
    }
}
