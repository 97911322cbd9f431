//! The types that the consensus library works with. No type of it leaves this crate.

use std::fmt;

use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_adv};
use openraft::raft::responder::Responder;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use serde::{Deserialize, Serialize};

use crate::batch::Batch;

/// The log entry's payload: what it asks of the state.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Commits that share an index and a sync.
    Batch(Batch),
    /// The staged entries take the place of everything.
    Replace(Staging),
}

/// Entries that were written aside, to take the place of everything at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Staging {
    /// Tells this staging from one that broke off before.
    pub(crate) id: u64,
    /// The number of entries that there must be.
    pub(crate) entries: u64,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(batch) => write!(f, "{} commits", batch.commits().len()),
            Self::Replace(staging) => write!(f, "replacement by {} entries", staging.entries),
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The outcome of each commit of a batch, in its order, or of a replacement: whether it was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcomes(pub(crate) Vec<bool>);

/// The cluster's knowledge of a node besides its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// The operator's name for the node (`node_id` in the configuration).
    pub(crate) name: String,
    /// The address at which the node serves clients.
    pub(crate) api_address: String,
    /// The address at which the node talks to its peers.
    pub(crate) cluster_address: String,
    /// It is never to vote.
    #[serde(default)]
    pub(crate) non_voter: bool,
}

/// The consensus library's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

#[allow(
    deprecated,
    reason = "the name suggested instead lives in a crate that would have to be kept in step"
)]
type Runtime = openraft::impls::TokioRuntime;

pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = EntryPayload<Command, u64, Node>;
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Node>;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Node>;

impl RaftTypeConfig for Types {
    type D = Command;
    type R = Outcomes;
    type NodeId = u64;
    type Node = Node;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// Takes the outcome of a proposal where it is decided, without a task in between.
pub(crate) struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Reply<T> {
    pub(crate) fn new(take: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(take))
    }
}

impl<T: OptionalSend + 'static> Responder<Types, T> for Reply<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
