//! The durable [`Store`](strongroom_storage::Store): Raft, with one voter or many, over a write-ahead log and an
//! embedded ordered table.
//!
//! A commit's way: [`RaftStore`] queues it; the proposer puts what is queued into one log entry; the log writes the
//! entry and syncs once; the consensus core finds it committed; the state machine decides each commit of the entry,
//! applies it in memory and tells the observers; the caller hears. Checkpoints merge memory into the table in the
//! background, and the log behind them is given up.
//!
//! No type of the consensus library or of the table library appears outside this crate.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")
)]

mod batch;
mod batch_wait;
mod candidacy;
#[cfg(test)]
mod cluster_tests;
mod codec;
mod directory;
mod files;
mod leadership_transfer;
mod log;
mod maintenance;
mod members;
mod network;
mod offline;
mod options;
mod peer_health;
mod proposer;
mod receive;
mod reclaim;
mod recover;
mod removed;
mod role;
mod sender;
mod snapshots;
mod space;
mod spool;
mod state;
mod store;
mod terms;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod types;
mod watched;

pub use directory::Introduction;
pub use members::{Member, MemberStatus};
pub use offline::{Kept, Offline, Position, Survey, SurveyedMember};
pub use options::{OpenError, Options};
pub use snapshots::{Checked, Saved, SavedFacts, check_saved};
pub use spool::Spool;
pub use store::{RaftStore, Status};
pub use strongroom_storage::Role;
pub use transport::{Isolated, Peer, Rpc, Sender, Transport, TransportError};
