//! Saving the state, and putting a saved one in its place.
//!
//! A state is restored through the log: its entries are staged under keys that nobody else uses, in ordinary commits,
//! and one more log entry puts them in the place of everything, on every node at the same index. So followers, a
//! restart in the middle and the log's compaction need nothing new, and what is not staged whole changes nothing.

use std::io::{BufReader, Read};

use futures::{StreamExt, TryStreamExt, stream};
use openraft::errors::RaftError;
use strongroom_storage::{Commit, CommitError, Index, KeyRange, STAGED, StoreError, Write};
use tokio::sync::mpsc;

use crate::RaftStore;
use crate::proposer::refused;
use crate::state::{BaseView, Export, entries_of, staged_range};
use crate::types::{Command, Staging};

/// Bytes of keys and values that are staged in one commit at most.
const PIECE: usize = 256 << 10;
/// Commits under way at once while staging.
const AT_ONCE: usize = 4;
/// Keys of a broken off staging that are removed in one commit.
const REMOVED_AT_ONCE: usize = 1024;

/// The facts of a saved state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedFacts {
    /// The cluster's identity.
    pub cluster_id: String,
    /// The last log entry in it.
    pub index: Index,
    /// The term of that entry.
    pub term: u64,
    /// The members by name, and whether they vote.
    pub members: Vec<(String, bool)>,
}

/// The state at one index, to be read as often as needed. Later writes do not change it.
pub struct Saved {
    base: BaseView,
    cluster_id: String,
}

impl Saved {
    /// Its facts.
    pub fn facts(&self) -> SavedFacts {
        let facts = &self.base.facts;
        let members = facts.membership.membership();
        let votes = |id: u64| members.voter_ids().any(|voter| voter == id);
        SavedFacts {
            cluster_id: self.cluster_id.clone(),
            index: facts.index(),
            term: facts.applied.map_or(0, |applied| applied.committed_leader_id().term),
            members: members.nodes().map(|(id, node)| (node.name.clone(), votes(*id))).collect(),
        }
    }

    /// Bytes of its keys and values together.
    pub fn size(&self) -> u64 {
        self.base.facts.bytes
    }

    /// Its bytes from the beginning: the same each time. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`StoreError`] where the table cannot be read.
    pub fn read(&self) -> Result<impl Read + Send + 'static, StoreError> {
        Export::new(&self.base, &self.cluster_id, Some(&[STAGED]))
    }
}

/// The facts of a saved state that are known without its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked<const N: usize> {
    /// The number of entries.
    pub entries: u64,
    /// The entries that were asked for, as stored.
    pub found: [Option<Vec<u8>>; N],
}

/// Reads a saved state to its end: whole, in order and as its checksums have it. Keeps the entries at `wanted`.
///
/// # Errors
///
/// [`StoreError::Corrupt`] for anything else.
pub fn check_saved<const N: usize>(
    stream: impl Read,
    wanted: &[impl AsRef<[u8]>; N],
) -> Result<Checked<N>, StoreError> {
    let mut checked = Checked { entries: 0, found: [const { None }; N] };
    entries_of(&mut BufReader::new(stream), |key, value| {
        checked.entries = checked.entries.saturating_add(1);
        for (_, found) in wanted.iter().zip(&mut checked.found).filter(|(wanted, _)| wanted.as_ref() == key) {
            *found = Some(value.to_vec());
        }
        Ok(())
    })?;
    Ok(checked)
}

impl RaftStore {
    /// All that is applied now, durable and of one index.
    ///
    /// # Errors
    ///
    /// [`StoreError`] where it cannot be made durable.
    pub async fn save(&self) -> Result<Saved, StoreError> {
        let base = self.inner.state.checkpoint().await?;
        Ok(Saved { base, cluster_id: self.cluster_id().to_string() })
    }

    /// Puts a saved state in the place of everything, on all nodes; answers the index as of which it is there. `id`
    /// must be a number not used before.
    ///
    /// # Errors
    ///
    /// [`CommitError`]; nothing has changed then, except where the outcome is [`CommitError::Uncertain`].
    pub async fn restore(&self, stream: impl Read + Send + 'static, id: u64) -> Result<Index, CommitError> {
        let Ok(_one_at_a_time) = self.restoring.try_lock() else {
            return Err(StoreError::Failed("another snapshot is being restored".to_owned()).into());
        };
        self.clear_staged().await?;
        let done = match self.stage(stream, id).await {
            Ok(entries) => self.swap(Staging { id, entries }).await,
            Err(error) => Err(error),
        };
        if done.is_err()
            && let Err(error) = self.clear_staged().await
        {
            tracing::warn!(%error, "staged data of a snapshot remains until the next restore");
        }
        done
    }

    /// Writes the entries of a saved state aside; answers how many they are.
    async fn stage(&self, stream: impl Read + Send + 'static, id: u64) -> Result<u64, CommitError> {
        let (pieces, queue) = mpsc::channel(AT_ONCE);
        // Lengths come on top of keys and values.
        let limit = PIECE.min(self.max_commit_size / 2);
        let reading = tokio::task::spawn_blocking(move || read_pieces(stream, id, limit, &pieces));
        let commits = stream::unfold(queue, async |mut queue| Some((queue.recv().await?, queue)));
        let staging = commits.map(|writes| self.propose(Commit { writes, ..Commit::default() }));
        // Consumed, so that the reader ends too where staging breaks off.
        let staged = staging.buffered(AT_ONCE).try_for_each(async |_index| Ok(())).await;
        let read = reading.await.map_err(|error| StoreError::Failed(error.to_string()))?;
        staged?;
        Ok(read?)
    }

    async fn swap(&self, staging: Staging) -> Result<Index, CommitError> {
        let done = self.inner.raft.client_write(Command::Replace(staging)).await;
        let done = done.map_err(|error| match error {
            RaftError::APIError(error) => refused(error),
            RaftError::Fatal(error) => CommitError::Uncertain(error.to_string()),
        })?;
        if done.data.0 == [true] {
            Ok(done.log_id.index)
        } else {
            Err(StoreError::Failed("what was staged of the snapshot is not all there".to_owned()).into())
        }
    }

    /// Removes what a restore left that broke off with its node. Does nothing while one is under way here.
    ///
    /// # Errors
    ///
    /// [`CommitError`]: the rest is left for another time.
    pub async fn clear_broken_restore(&self) -> Result<(), CommitError> {
        match self.restoring.try_lock() {
            Ok(_none_under_way) => self.clear_staged().await,
            Err(_under_way) => Ok(()),
        }
    }

    async fn clear_staged(&self) -> Result<(), CommitError> {
        loop {
            let keys = self.inner.state.view()?.keys(&KeyRange::prefix(&[STAGED]), REMOVED_AT_ONCE)?;
            if keys.is_empty() {
                return Ok(());
            }
            let writes = keys.into_iter().map(|key| Write { key, value: None }).collect();
            self.propose(Commit { writes, ..Commit::default() }).await?;
        }
    }
}

/// Reads a saved state and hands its entries on, with the keys under which they are staged, in pieces of `limit` bytes.
fn read_pieces(
    stream: impl Read,
    id: u64,
    limit: usize,
    pieces: &mpsc::Sender<Vec<Write>>,
) -> Result<u64, StoreError> {
    let prefix = staged_range(id).start;
    let (mut piece, mut size, mut entries) = (Vec::new(), 0usize, 0u64);
    let gone = |_unsent| StoreError::Failed("staging broke off".to_owned());
    entries_of(&mut BufReader::new(stream), |key, value| {
        if key.first() == Some(&STAGED) {
            return Err(StoreError::Corrupt("snapshot: a key in it is reserved".to_owned()));
        }
        let write = Write { key: [&prefix, key].concat().into(), value: Some(value.to_vec().into()) };
        let more = write.key.len().saturating_add(value.len());
        if size.saturating_add(more) > limit && !piece.is_empty() {
            pieces.blocking_send(std::mem::take(&mut piece)).map_err(gone)?;
            size = 0;
        }
        size = size.saturating_add(more);
        piece.push(write);
        entries = entries.saturating_add(1);
        Ok(())
    })?;
    if !piece.is_empty() {
        pieces.blocking_send(piece).map_err(gone)?;
    }
    Ok(entries)
}
