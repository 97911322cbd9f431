//! Bounds on terms.
//!
//! A node never returns from a term that it has adopted, and there is none after the last. Terms grow by elections, of which
//! there is no more than one per second; so a leap that no number of elections explains is an error or an attack, and is refused.
//! Allowed leaps cannot reach the last term in a lifetime.
//!
//! A vote that is beyond the bound all the same (a disk's fault, or of a time before the bound) is put aside when the store is
//! opened, see [`settle_vote`]. The node may have voted in a term that is not known any more, and so neither votes nor stands for
//! election until it has heard a leader. If all nodes are in this state, one must go on alone, as after the loss of the quorum
//! (`recover`).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::raft::{AppendEntriesResponse, SnapshotResponse, VoteResponse};
use openraft::storage::{RaftLogReader, RaftLogStorage};

use crate::files::{remove_file, replace_file};
use crate::log::Log;
use crate::options::OpenError;
use crate::state::State;
use crate::types::{LeaderId, Types, Vote};

/// The largest leap of a term beyond the one that a node knows: elections of twelve days without a pause.
pub(crate) const MAX_TERM_LEAP: u64 = 1 << 20;
/// A term that is never reached by elections.
pub(crate) const MAX_TERM: u64 = 1 << 62;

/// A term that is refused.
#[derive(Debug, thiserror::Error)]
#[error("refused: term {term} is too far from this node's, {known}")]
pub(crate) struct TermLeap {
    term: u64,
    known: u64,
}

/// The latest term that this node knows of.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    known: AtomicU64,
    told: AtomicBool,
    /// This node's vote was put aside, and no leader was heard since.
    forgotten: AtomicBool,
    /// Is there while that is so, also when the node is not running.
    marker: PathBuf,
}

/// The file in the data directory that says that the vote was put aside.
const MARKER: &str = "vote-forgotten";

impl Terms {
    /// Of a node with this data directory.
    pub(crate) fn of(directory: &Path) -> Self {
        let marker = directory.join(MARKER);
        Self { forgotten: AtomicBool::new(marker.exists()), marker, ..Self::default() }
    }

    /// A term that this node has in its own data, or was told of with its admission.
    pub(crate) fn know(&self, term: u64) {
        if term > self.known.load(Ordering::Acquire) {
            self.known.fetch_max(term, Ordering::AcqRel);
        }
    }

    /// Takes note of a term, or refuses one that no number of elections explains.
    pub(crate) fn accept(&self, term: u64) -> Result<(), TermLeap> {
        let known = self.known.load(Ordering::Acquire);
        if term <= MAX_TERM && term.saturating_sub(known) <= MAX_TERM_LEAP {
            self.know(term);
            return Ok(());
        }
        // Once: who sends this may send much of it.
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                term,
                known,
                "a node sent a term that no elections explain; it is refused, and so are others like it"
            );
        }
        Err(TermLeap { term, known })
    }

    fn forget_vote(&self) -> Result<(), OpenError> {
        replace_file(&self.marker, b"").map_err(OpenError::io(&self.marker))?;
        self.forgotten.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn has_forgotten_vote(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// A leader was heard, or there is no other voter: the term is known again.
    pub(crate) fn hear_leader(&self) {
        if !self.has_forgotten_vote() {
            return;
        }
        match remove_file(&self.marker) {
            Ok(()) => self.forgotten.store(false, Ordering::Release),
            Err(error) => tracing::warn!(%error, "it could not be noted that this node votes again"),
        }
    }
}

/// An answer that carries the vote of its sender, which is adopted where it is higher.
pub(crate) trait Votes {
    fn term(&self) -> Option<u64>;
}

impl Votes for AppendEntriesResponse<Types> {
    fn term(&self) -> Option<u64> {
        match self {
            Self::HigherVote(vote) => Some(vote.leader_id.term),
            _ => None,
        }
    }
}

impl Votes for VoteResponse<Types> {
    fn term(&self) -> Option<u64> {
        Some(self.vote.leader_id.term)
    }
}

impl Votes for SnapshotResponse<Types> {
    fn term(&self) -> Option<u64> {
        Some(self.vote.leader_id.term)
    }
}

impl<E> Votes for Result<(), E> {
    fn term(&self) -> Option<u64> {
        None
    }
}

/// Puts a vote aside that is beyond all bounds. The one that takes its place is for the leader of the last entry.
pub(crate) async fn settle_vote(log: &Log, state: &State, terms: &Terms) -> Result<(), OpenError> {
    let failed = |error: std::io::Error| OpenError::Start(error.to_string());
    let mut log = log.clone();
    let vote = log.read_vote().await.map_err(failed)?;
    let Some(vote) = vote.filter(|vote| vote.leader_id.term > MAX_TERM) else { return Ok(()) };
    let last = log.last().max(state.durable_position());
    let leader_id = last.map_or(LeaderId { term: 0, node_id: 0 }, |last| last.leader_id);
    if leader_id.term > MAX_TERM {
        let term = leader_id.term;
        return Err(OpenError::Start(format!(
            "the log ends in term {term}, after which there is no election; restore a snapshot into a new cluster"
        )));
    }
    tracing::error!(
        term = vote.leader_id.term,
        "this node's vote is of a term that is never reached; it is put aside, and this node votes again once it hears \
         a leader. Where all nodes say so, use \"operator raft recover\" on one"
    );
    terms.forget_vote()?;
    log.save_vote(&Vote { leader_id, committed: false }).await.map_err(failed)
}

/// Takes note of the terms in this node's data.
pub(crate) async fn learn_terms(log: &Log, state: &State, terms: &Terms) -> Result<(), OpenError> {
    let vote = log.clone().read_vote().await.map_err(|error| OpenError::Start(error.to_string()))?;
    let last = log.last().max(state.durable_position());
    terms.know(vote.map_or(0, |vote| vote.leader_id.term));
    terms.know(last.map_or(0, |last| last.leader_id.term));
    Ok(())
}
