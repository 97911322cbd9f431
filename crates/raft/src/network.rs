//! The messages of the consensus core to other nodes, for a [`Transport`].

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::unfold;
use futures::{Stream, StreamExt};
use openraft::async_runtime::WatchReceiver;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{AnyError, OptionalSend, RaftMetrics, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch_wait::BatchSoon;
use crate::state::SnapshotStream;
use crate::terms::{Terms, Votes};
use crate::transport::{Peer, Rpc, Transport, TransportError};
use crate::types::{LeaderId, Node, Types, Vote};

/// The time that a message which only says what is committed by now waits for another. With more writes to come, the
/// next message says so too, and nothing is gained by sending two; without, this is how much later followers hear of
/// it.
const COMMIT_NOTICE_DELAY: Duration = Duration::from_millis(1);
/// The factor of the longest wait while an entry is being put together.
const BATCH_SOON_FACTOR: u32 = 4;

/// Makes the ways to peers.
#[derive(Clone)]
pub(crate) struct Peers {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) batch_soon: Arc<BatchSoon>,
    pub(crate) terms: Arc<Terms>,
    /// The present members and their addresses; set once the consensus core runs.
    pub(crate) members: Arc<OnceLock<WatchReceiverOf<Types, RaftMetrics<Types>>>>,
}

/// The way to one peer.
pub(crate) struct Link {
    transport: Arc<dyn Transport>,
    batch_soon: Arc<BatchSoon>,
    terms: Arc<Terms>,
    members: Arc<OnceLock<WatchReceiverOf<Types, RaftMetrics<Types>>>>,
    peer: Peer,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Node) -> Link {
        let peer = Peer {
            raft_id: target,
            node_id: node.name.clone(),
            cluster_address: node.cluster_address.clone(),
        };
        Link {
            transport: self.transport.clone(),
            batch_soon: self.batch_soon.clone(),
            terms: self.terms.clone(),
            members: self.members.clone(),
            peer,
        }
    }
}

/// A message as it travels.
pub(crate) fn encode(message: &impl Serialize) -> Result<Bytes, rmp_serde::encode::Error> {
    rmp_serde::to_vec(message).map(Bytes::from)
}

/// A message that has arrived.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

fn broken(error: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(error))
}

fn failed(error: &TransportError) -> RPCError<Types> {
    match error {
        TransportError::Unreachable(_) => Unreachable::new(error).into(),
        TransportError::Failed(_) => broken(error),
    }
}

impl Link {
    /// The peer where it is by now: a member that has moved is not given another link.
    fn follow(&mut self) {
        let Some(metrics) = self.members.get() else { return };
        let metrics = metrics.borrow_watched();
        let known = metrics.membership_config.membership().get_node(&self.peer.raft_id);
        if let Some(node) = known
            && node.cluster_address != self.peer.cluster_address
        {
            self.peer.cluster_address.clone_from(&node.cluster_address);
        }
    }

    async fn ask<Q, A>(&mut self, rpc: Rpc, question: &Q, option: &RPCOption) -> Result<A, RPCError<Types>>
    where
        Q: Serialize,
        A: DeserializeOwned + Votes,
    {
        self.follow();
        let body = encode(question).map_err(|error| broken(&error))?;
        let asked = self.transport.call(&self.peer, rpc, body);
        let answered = tokio::time::timeout(option.soft_ttl(), asked).await;
        let slow = |_elapsed| {
            let text = format!("node {} did not answer in {:?}", self.peer.node_id, option.soft_ttl());
            RPCError::Unreachable(Unreachable::new(&AnyError::error(text)))
        };
        let body = answered.map_err(slow)?.map_err(|error| failed(&error))?;
        self.understand(&body)
    }

    /// An answer, whose vote would be adopted.
    fn understand<A: DeserializeOwned + Votes>(&self, body: &[u8]) -> Result<A, RPCError<Types>> {
        let answer: A = decode(body).map_err(|error| broken(&error))?;
        if let Some(term) = answer.term() {
            self.terms.accept(term).map_err(|error| broken(&error))?;
        }
        Ok(answer)
    }
}

type Appended = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// The messages without those that the next one makes redundant.
fn without_redundant(
    messages: impl Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    batch_soon: Arc<BatchSoon>,
) -> BoxStream<'static, AppendEntriesRequest<Types>> {
    Box::pin(unfold((messages, batch_soon, false), async |(mut messages, batch_soon, begun)| {
        let mut message = messages.next().await?;
        let mut waits = BATCH_SOON_FACTOR;
        // The first one may be there to find out what the peer has.
        while begun && message.entries.is_empty() {
            match tokio::time::timeout(COMMIT_NOTICE_DELAY, messages.next()).await {
                Ok(Some(next)) => message = next,
                Err(_) if waits > 1 && batch_soon.is_soon() => waits = waits.saturating_sub(1),
                Ok(None) | Err(_) => break,
            }
        }
        Some((message, (messages, batch_soon, true)))
    }))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotStream;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.ask(Rpc::Append, &request, &option).await
    }

    fn stream_append<S>(
        &mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'_, Result<BoxStream<'_, Appended>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let batch_soon = self.batch_soon.clone();
        stream_append_sequential(self, without_redundant(input, batch_soon), option)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Rpc::Vote, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Rpc::PreVote, &request, &option).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(Rpc::Transfer, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::Snapshot<LeaderId, u64, Node, SnapshotStream>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let head = encode(&(vote, &snapshot.meta)).map_err(|error| broken(&error))?;
        self.follow();
        let sent = self.transport.send_snapshot(&self.peer, head, Box::new(snapshot.snapshot));
        // It takes as long as it takes: a peer that stops reading is noticed by the transport.
        let body = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = sent => sent.map_err(|error| failed(&error))?,
        };
        Ok(self.understand(&body)?)
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use futures::{FutureExt, StreamExt};
    use openraft::EntryPayload;
    use openraft::entry::RaftEntry;

    use super::*;
    use crate::types::{Entry, LogId};

    type Message = AppendEntriesRequest<Types>;

    fn at(index: u64) -> Option<LogId> {
        let leader = LeaderId { term: 1, node_id: 1 };
        (index > 0).then(|| LogId::new(leader, index))
    }

    fn message(entries: u64, commit: u64) -> Message {
        let entry = |index| Entry::new(at(index).unwrap(), EntryPayload::Blank);
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            entries: (1..=entries).map(entry).collect(),
            leader_commit: at(commit),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_committed_is_said_along_with_the_next_entries() {
        let (messages, receive) = mpsc::unbounded();
        // How many entries, and what is committed by then.
        let batch_soon = Arc::<BatchSoon>::default();
        let mut sent = without_redundant(receive, batch_soon.clone())
            .map(|message| (message.entries.len(), message.leader_commit.map_or(0, |at| at.index)));
        let say = |entries, commit| messages.unbounded_send(message(entries, commit)).unwrap();
        say(0, 0);
        assert_eq!(sent.next().await, Some((0, 0)), "the first one asks what the peer has");
        say(1, 1);
        say(0, 2);
        say(2, 3);
        assert_eq!(sent.next().await, Some((1, 1)));
        assert_eq!(sent.next().await, Some((2, 3)));
        assert!(sent.next().now_or_never().is_none());
        say(0, 4);
        say(0, 5);
        let before = tokio::time::Instant::now();
        assert_eq!(sent.next().await, Some((0, 5)), "nothing came in time: the newest goes alone");
        assert!(before.elapsed() >= COMMIT_NOTICE_DELAY);
        batch_soon.set(true);
        say(0, 6);
        assert!(
            tokio::time::timeout(COMMIT_NOTICE_DELAY * 2, sent.next()).await.is_err(),
            "an entry is about to leave"
        );
        say(1, 7);
        assert_eq!(sent.next().await, Some((1, 7)));
        say(0, 8);
        let before = tokio::time::Instant::now();
        assert_eq!(sent.next().await, Some((0, 8)), "it does not leave after all");
        assert!(before.elapsed() >= COMMIT_NOTICE_DELAY * BATCH_SOON_FACTOR);
        say(0, 9);
        drop(messages);
        assert_eq!(sent.next().await, Some((0, 9)), "at the end, nothing is left unsaid");
        assert_eq!(sent.next().await, None);
    }
}
