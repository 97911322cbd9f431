//! The state machine's interface to the consensus core.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use strongroom_storage::StoreError;

use super::base::BaseView;
use super::{Applied, SnapshotStream, State};
use crate::types::{Command, LeaderId, LogId, Node, StoredMembership, Types};

type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Node>;
type Snapshot = openraft::Snapshot<LeaderId, u64, Node, SnapshotStream>;

/// Applies what is committed, in order.
#[derive(Clone)]
pub(crate) struct Machine(pub(crate) Arc<State>);

fn io_error(error: StoreError) -> io::Error {
    io::Error::other(error)
}

impl Machine {
    /// Makes what was applied visible, and answers those who wait for it.
    fn announce(&self, applied: Vec<Applied>, responders: Vec<Option<ApplyResponder<Types>>>) {
        self.0.announce(&applied);
        for (applied, responder) in applied.into_iter().zip(responders) {
            if let Some(responder) = responder {
                responder.send(applied.outcomes);
            }
        }
    }

    fn snapshot_of(&self, base: &BaseView) -> io::Result<Snapshot> {
        let export = self.0.export(base, None).map_err(io_error)?;
        let meta =
            SnapshotMeta { last_log_id: base.facts.applied, last_membership: base.facts.membership.clone() };
        Ok(Snapshot { meta, snapshot: SnapshotStream::new(export) })
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = SnapshotStream;

    /// The table is a snapshot of itself: what is in memory is merged into it, durably. A stream is made of it only
    /// when somebody reads it.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let base = self.0.checkpoint().await.map_err(io_error)?;
        self.snapshot_of(&base)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotStream;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok(self.0.position())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let (mut applied, mut responders) = (Vec::new(), Vec::new());
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            if let EntryPayload::Normal(Command::Replace(staging)) = entry.payload {
                // What came before it is seen before it.
                self.announce(std::mem::take(&mut applied), std::mem::take(&mut responders));
                let outcomes = self.0.replace(entry.log_id, staging).await.map_err(io_error)?;
                if let Some(responder) = responder {
                    responder.send(outcomes);
                }
                continue;
            }
            self.0.make_room().await.map_err(io_error)?;
            applied.push(self.0.apply(entry).map_err(io_error)?);
            responders.push(responder);
        }
        self.announce(applied, responders);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotStream) -> io::Result<()> {
        self.0.install(snapshot, meta.last_log_id).await.map_err(io_error)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.0.durable().map(|base| self.snapshot_of(&base)).transpose()
    }
}
