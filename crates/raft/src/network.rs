//! The way to other nodes. There is none yet to be reached: every peer is unreachable, which is all that a cluster of
//! one voter needs. The transport between nodes takes this module's place and nothing else changes.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::state::SnapshotStream;
use crate::types::{LeaderId, Node, Types, Vote};

/// Reaches nobody.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoPeers;

/// A peer that cannot be reached.
pub(crate) struct Absent(u64);

impl Absent {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::new(&AnyError::error(format!("no way to node {}", self.0)))
    }
}

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = Absent;

    async fn new_client(&mut self, target: u64, _node: &Node) -> Absent {
        Absent(target)
    }
}

impl RaftNetworkV2<Types> for Absent {
    type SnapshotData = SnapshotStream;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::Snapshot<LeaderId, u64, Node, SnapshotStream>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.unreachable().into())
    }
}
