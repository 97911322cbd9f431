//! Starting again with other members, after the majority was lost for good: the file `raft/peers.json` in the data
//! directory, as Vault documents it ("Recover from lost quorum").
//!
//! ```json
//! [{"id": "node1", "address": "node1.example.com:8201", "non_voter": false}]
//! ```
//! This node goes on alone with what its log holds, to its last entry; it must be the only voter named. Others may be
//! named as non-voters: they are started as they are, follow this node, and are promoted then. What only others had is
//! given up, and a lost node that is started again does not know that it was left behind.
//!
//! In Vault the file may name several voters, on each of them. Here the entry that makes the members is of a new term on
//! the node that writes it, so that two such nodes could not tell whose log is the longer one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt, StorageHelper};
use serde::Deserialize;

use crate::directory::Identity;
use crate::files::{MAX_SMALL_FILE, read_at_most, remove_file, sync_directory};
use crate::log::Log;
use crate::options::{OpenError, Options};
use crate::state::{Machine, State};
use crate::types::{Entry, LeaderId, LogId, Membership, Node, Vote};

/// The path of the file, in the data directory.
pub(crate) const PEERS: &str = "raft/peers.json";

/// A member as the file names it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peer {
    /// The node's name (`node_id`).
    pub(crate) id: String,
    /// The address at which it talks to its peers, `host:port` or a URL; as before where empty.
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) non_voter: bool,
}

/// Follows a `peers.json`, if there is one: makes its members those of the cluster, durably, and removes the file. Run
/// before the consensus core starts; run again after a crash in the middle, it ends alike.
pub(crate) async fn recover(
    options: &Options,
    identity: &Identity,
    log: &Log,
    state: &Arc<State>,
) -> Result<(), OpenError> {
    let path = options.path.join(PEERS);
    let text = match read_at_most(&path, MAX_SMALL_FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io(&path)(error)),
    };
    let refused = |reason: String| OpenError::Recovery { path: path.clone(), reason };
    let peers: Vec<Peer> = serde_json::from_slice(&text).map_err(|error| refused(error.to_string()))?;
    rewrite(identity, log, state, &peers).await.map_err(|error| match error {
        Rewrite::Unfit(reason) => refused(reason),
        Rewrite::Failed(reason) => OpenError::Start(format!("recovery: {reason}")),
    })?;
    remove(&path).map_err(OpenError::io(&path))
}

/// Reasons why the members could not be changed to those asked for.
pub(crate) enum Rewrite {
    /// It makes no sense to ask for them; nothing was changed.
    Unfit(String),
    /// Storage failed.
    Failed(String),
}

/// The members as last written to the log, committed or not.
pub(crate) async fn membership(log: &Log, state: &Arc<State>) -> Result<Membership, String> {
    let (mut log, mut machine) = (log.clone(), Machine(state.clone()));
    let found = StorageHelper::new(&mut log, &mut machine).get_membership().await;
    found.map(|found| found.effective().membership().clone()).map_err(|error| error.to_string())
}

/// Makes these the members, durably, by an entry after all that is there; answers where it is.
pub(crate) async fn rewrite(
    identity: &Identity,
    log: &Log,
    state: &Arc<State>,
    peers: &[Peer],
) -> Result<LogId, Rewrite> {
    let failed = |error: &dyn std::fmt::Display| Rewrite::Failed(error.to_string());
    let before = membership(log, state).await.map_err(Rewrite::Failed)?;
    let members = members_of(peers, &before, identity).map_err(Rewrite::Unfit)?;
    let mut log = log.clone();
    let last = log.last().max(state.durable_position());
    let vote = log.read_vote().await.map_err(|error| failed(&error))?;
    let entry = next_entry(identity.raft_id, last, vote, members).map_err(|error| failed(&error))?;
    let names: Vec<&str> = peers.iter().map(|peer| peer.id.as_str()).collect();
    tracing::warn!(
        members = ?names,
        last_entry = last.map_or(0, |last| last.index),
        "recovering from the loss of the quorum: what the members left out had beyond this entry is given up"
    );
    // The vote first: no entry may be of a later term than the vote.
    let term = entry.log_id.committed_leader_id().term;
    log.save_vote(&Vote::new(term, identity.raft_id)).await.map_err(|error| failed(&error))?;
    let at = entry.log_id;
    log.blocking_append([entry]).await.map_err(|error| failed(&error))?;
    Ok(at)
}

/// The membership that the file asks for. A node that is no member has no number that could be written into it.
fn members_of(peers: &[Peer], known: &Membership, me: &Identity) -> Result<Membership, String> {
    let (mut nodes, mut voters) = (BTreeMap::new(), BTreeSet::new());
    for peer in peers {
        let Some((number, node)) = known.nodes().find(|(_, node)| node.name == peer.id) else {
            let mut names: Vec<&str> = known.nodes().map(|(_, node)| node.name.as_str()).collect();
            names.sort_unstable();
            let members = names.join(", ");
            return Err(format!(
                "{:?} is no member; members are {members}. Leave it out, and let it join afterwards",
                peer.id
            ));
        };
        let mut node: Node = node.clone();
        node.non_voter = peer.non_voter;
        if !peer.address.is_empty() {
            node.cluster_address = with_scheme(&peer.address);
        }
        if nodes.insert(*number, node).is_some() {
            return Err(format!("{:?} is named twice", peer.id));
        }
        if !peer.non_voter {
            voters.insert(*number);
        }
    }
    if !voters.contains(&me.raft_id) {
        return Err(format!("it does not name this node, {:?}, as a voter", me.node_id));
    }
    if voters.len() > 1 {
        return Err(
            "it names several voters, of which one would take back what only another has. Name the others \
                    with \"non_voter\": true, only on this node, and promote them afterwards"
                .to_owned(),
        );
    }
    Membership::new(vec![voters], nodes).map_err(|error| error.to_string())
}

/// Addresses of the cluster port are URLs; Vault's file has host and port.
fn with_scheme(address: &str) -> String {
    if address.contains("://") { address.to_owned() } else { format!("https://{address}") }
}

/// The entry that makes the members: after all that is there, in a term of its own.
fn next_entry(
    me: u64,
    last: Option<LogId>,
    vote: Option<Vote>,
    members: Membership,
) -> Result<Entry, &'static str> {
    let term = last.map_or(0, |last| last.committed_leader_id().term);
    let term = vote.map_or(term, |vote| term.max(vote.leader_id().term));
    let (Some(term), Some(index)) = (term.checked_add(1), last.map_or(0, |last| last.index).checked_add(1))
    else {
        return Err("the log has come to the end of all numbers");
    };
    let log_id = LogId::new(LeaderId { term, node_id: me }, index);
    Ok(Entry { log_id, payload: EntryPayload::Membership(members) })
}

fn remove(path: &Path) -> io::Result<()> {
    remove_file(path)?;
    path.parent().map_or(Ok(()), sync_directory)
}
