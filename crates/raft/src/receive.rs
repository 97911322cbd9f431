//! The requests of other nodes to this one.

use std::io::{self, Read};

use bytes::Bytes;
use openraft::Instant as _;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use openraft::type_config::alias::InstantOf;
use serde::Serialize;
use strongroom_storage::StoreError;

use crate::RaftStore;
use crate::network::{decode, encode};
use crate::removed::AmIOut;
use crate::spool::{INCOMING, Spool};
use crate::state::{SnapshotStream, verify_snapshot};
use crate::transport::{Rpc, Sender};
use crate::types::{LeaderId, Node, Types, Vote};

type Instant = InstantOf<Types>;
type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Node>;

fn failed(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn answer(answer: &impl Serialize) -> Result<Bytes, StoreError> {
    encode(answer).map_err(|error| failed(&error))
}

impl RaftStore {
    /// Answers what another node asks. The caller has made sure that the sender is the one that asks.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] for what is no message, or is not for the sender to say, and where this node has stopped.
    pub async fn receive(&self, sender: &Sender, rpc: Rpc, body: &[u8]) -> Result<Bytes, StoreError> {
        // Who was removed may ask whether it was.
        if rpc != Rpc::Membership {
            self.check_sender(sender)?;
        }
        let raft = &self.inner.raft;
        let malformed = |error| failed(&format_args!("malformed {} message: {error}", rpc.name()));
        match rpc {
            Rpc::Append => {
                let request: AppendEntriesRequest<Types> = decode(body).map_err(malformed)?;
                let ends = [request.prev_log_id, request.leader_commit].into_iter().flatten();
                let entries = request.entries.iter().map(|entry| entry.log_id).chain(ends);
                self.check_vote(sender, &request.vote, true, entries)?;
                let (asked, committed) = (Instant::now(), request.leader_commit);
                // Before a leader has an entry of its own committed, it does not know all that is.
                let committed = committed.filter(|at| at.leader_id == request.vote.leader_id);
                let answered = raft.append_entries(request).await.map_err(|error| failed(&error))?;
                if !matches!(answered, AppendEntriesResponse::HigherVote(_)) {
                    self.hear_leader();
                    if let Some(committed) = committed {
                        let applied = self.inner.state.applied();
                        self.inner.contact.hear_committed(committed.index, asked, applied);
                    }
                }
                answer(&answered)
            }
            Rpc::Vote | Rpc::PreVote if self.inner.contact.may_have_granted() => {
                Err(StoreError::Failed("just restarted; it may have promised its vote".to_owned()))
            }
            Rpc::Vote | Rpc::PreVote if self.inner.terms.has_forgotten_vote() => Err(StoreError::Failed(
                "its vote was damaged; it votes again once it hears a leader".to_owned(),
            )),
            Rpc::Vote => {
                let request: VoteRequest<Types> = decode(body).map_err(malformed)?;
                self.check_vote(sender, &request.vote, false, request.last_log_id)?;
                answer(&raft.vote(request).await.map_err(|error| failed(&error))?)
            }
            Rpc::PreVote => {
                let request: VoteRequest<Types> = decode(body).map_err(malformed)?;
                self.check_vote(sender, &request.vote, false, request.last_log_id)?;
                answer(&raft.pre_vote(request).await.map_err(|error| failed(&error))?)
            }
            Rpc::Transfer if !self.is_ready() => {
                Err(StoreError::Failed("this node may not lead, or has no space left".to_owned()))
            }
            Rpc::Transfer => {
                let request: TransferLeaderRequest<Types> = decode(body).map_err(malformed)?;
                self.check_vote(sender, request.from_leader(), true, request.last_log_id().copied())?;
                answer(&raft.handle_transfer_leader(request).await.map_err(|error| failed(&error))?)
            }
            Rpc::Ready => answer(&self.is_ready()),
            Rpc::Membership => {
                let asked: AmIOut = decode(body).map_err(malformed)?;
                answer(&self.is_out(sender, asked))
            }
        }
    }

    fn check_sender(&self, sender: &Sender) -> Result<(), StoreError> {
        if self.hears(sender) {
            return Ok(());
        }
        Err(StoreError::Failed(format!("refused: node {:016x} is no member of the cluster", sender.raft_id)))
    }

    fn hear_leader(&self) {
        self.inner.contact.hear();
        self.inner.terms.hear_leader();
    }

    /// Takes a snapshot that another node sends. It is read to its end and checked before it replaces anything: a
    /// stream that breaks off changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] for what is no whole snapshot of this cluster, or is not for the sender to send, and where this
    /// node has stopped.
    pub async fn receive_snapshot(
        &self,
        sender: &Sender,
        head: &[u8],
        mut body: impl Read + Send + 'static,
    ) -> Result<Bytes, StoreError> {
        self.check_sender(sender)?;
        let (vote, meta): (Vote, SnapshotMeta) = decode(head).map_err(|error| failed(&error))?;
        self.check_vote(sender, &vote, true, meta.last_log_id)?;
        let _one_at_a_time = self.receiving.lock().await;
        let path = self.inner.path.join(INCOMING);
        let (cluster_id, expected) = (self.cluster_id(), meta.last_log_id);
        let kept = tokio::task::spawn_blocking(move || {
            let mut spooled = Spool::create(path)?;
            let copied = io::copy(&mut body, &mut spooled);
            copied.map_err(|error| failed(&format_args!("a snapshot did not arrive: {error}")))?;
            let found = verify_snapshot(&mut spooled.read()?)?;
            if found.cluster_id != *cluster_id {
                return Err(StoreError::Corrupt(format!("snapshot: it is of cluster {}", found.cluster_id)));
            }
            if found.applied != expected {
                return Err(StoreError::Corrupt("snapshot: it is not of the announced position".into()));
            }
            Ok(spooled)
        });
        let spooled = kept.await.map_err(|error| failed(&error))??;
        let snapshot = openraft::Snapshot { meta, snapshot: SnapshotStream::new(spooled.read()?) };
        let installed = self.inner.raft.install_full_snapshot(vote, snapshot).await;
        let installed = installed.map_err(|error| failed(&error))?;
        self.hear_leader();
        answer(&installed)
    }
}
