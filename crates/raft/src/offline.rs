//! A data directory that no server uses: what it has, and recovering from the loss of the quorum.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use strongroom_stdx::Moment;
use strongroom_storage::Index;

use crate::directory::Directory;
use crate::log::Log;
use crate::options::{OpenError, Options};
use crate::recover::{PEERS, Peer, Rewrite, membership, rewrite};
use crate::state::State;
use crate::store::{open_files, refuse_lost_tail};
use crate::terms::{Terms, settle_vote};
use crate::types::{LogId, Membership};

/// A place in the log. Of two, the later one is of the later term, or of the same and has the higher index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The term of the entry's leader.
    pub term: u64,
    /// The entry's number.
    pub index: Index,
}

impl From<Option<LogId>> for Position {
    fn from(at: Option<LogId>) -> Self {
        at.map_or(Self::default(), |at| Self { term: at.committed_leader_id().term, index: at.index })
    }
}

/// The content of a data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The cluster's identity.
    pub cluster_id: String,
    /// The node's name.
    pub node_id: String,
    /// The last entry of its log, committed or not.
    pub last: Position,
    /// The last entry that it knows to be committed.
    pub committed: Index,
    /// The last entry that its table has on disk.
    pub checkpoint: Index,
    /// The members, as of the last entry that changed them; by name. Empty for a node that never joined.
    pub members: Vec<SurveyedMember>,
    /// The time at which its log was last written to (RFC 3339); `None` where the file system does not say.
    pub written: Option<String>,
}

/// A member, as a data directory has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyedMember {
    /// Its name.
    pub node_id: String,
    /// The address at which it talks to its peers.
    pub address: String,
    /// True if it votes.
    pub voter: bool,
}

/// A member that stays in the cluster besides the node that is recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub node_id: String,
    /// The address at which it talks to its peers; empty: as before.
    pub address: String,
}

/// A data directory that is locked until this is closed: no server starts on it meanwhile.
pub struct Offline {
    directory: Directory,
    log: Log,
    state: Arc<State>,
    written: Option<SystemTime>,
    members: Membership,
}

impl Offline {
    /// Opens a data directory as a start of the server does, and changes no more than that: a last entry that was not
    /// written completely is cut off.
    ///
    /// # Errors
    ///
    /// As for [`crate::RaftStore::open`]; [`OpenError::Foreign`] for a directory that is none, too, which is not made;
    /// [`OpenError::Recovery`] where a `peers.json` waits for the next start.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        let format = path.join("FORMAT");
        if !format.exists() {
            let reason = "not a Strongroom data directory".to_owned();
            return Err(OpenError::Foreign { path: format, reason });
        }
        let peers = path.join(PEERS);
        if peers.exists() {
            let reason = "the next start would recover by this file; remove it first".to_owned();
            return Err(OpenError::Recovery { path: peers, reason });
        }
        let written = last_written(&path.join("log"));
        let options = Options::new(path);
        let opened = tokio::task::spawn_blocking(move || open_files(&options));
        let (directory, log, state) = opened.await.map_err(|error| OpenError::Start(error.to_string()))??;
        let checked = async {
            refuse_lost_tail(&directory, &log, &state).await?;
            membership(&log, &state).await.map_err(OpenError::Start)
        };
        match checked.await {
            Ok(members) => Ok(Self { directory, log, state, written, members }),
            Err(error) => {
                close(log, state).await;
                Err(error)
            }
        }
    }

    /// The content of the directory.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let voters: Vec<u64> = self.members.voter_ids().collect();
        let mut members: Vec<SurveyedMember> = self
            .members
            .nodes()
            .map(|(id, node)| SurveyedMember {
                node_id: node.name.clone(),
                address: node.cluster_address.clone(),
                voter: voters.contains(id),
            })
            .collect();
        members.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        let identity = &self.directory.identity;
        Survey {
            cluster_id: identity.cluster_id.clone(),
            node_id: identity.node_id.clone(),
            last: self.log.last().max(self.state.durable_position()).into(),
            committed: self.log.committed().map_or(0, |committed| committed.index),
            checkpoint: self.state.durable_position().map_or(0, |at| at.index),
            members,
            written: self.written.and_then(|at| {
                let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
                Some(Moment::from_secs(since.as_secs()).rfc3339())
            }),
        }
    }

    /// Makes this node the only voter of its cluster, durably, with `kept` as members that follow it. Answers where the
    /// log ends then.
    ///
    /// # Errors
    ///
    /// [`OpenError::Options`] for who is no member; [`OpenError::Start`] where storage fails.
    pub async fn recover(&self, kept: &[Kept]) -> Result<Position, OpenError> {
        let me = &self.directory.identity;
        let mut peers = vec![Peer { id: me.node_id.clone(), address: String::new(), non_voter: false }];
        peers.extend(kept.iter().map(|kept| Peer {
            id: kept.node_id.clone(),
            address: kept.address.clone(),
            non_voter: true,
        }));
        let terms = Terms::of(&self.directory.path);
        settle_vote(&self.log, &self.state, &terms).await?;
        let made = rewrite(me, &self.log, &self.state, &peers).await;
        made.map(|at| Some(at).into()).map_err(|error| match error {
            Rewrite::Unfit(reason) => OpenError::Options(reason),
            Rewrite::Failed(reason) => OpenError::Start(reason),
        })
    }

    /// Gives the directory up.
    pub async fn close(self) {
        close(self.log, self.state).await;
        drop(self.directory);
    }
}

async fn close(log: Log, state: Arc<State>) {
    let closing = tokio::task::spawn_blocking(move || {
        state.close();
        log.close();
    });
    if let Err(error) = closing.await {
        tracing::error!(%error, "storage was not closed cleanly");
    }
}

/// The time at which a file of the log was last written to.
fn last_written(log: &Path) -> Option<SystemTime> {
    let files = fs::read_dir(log).ok()?.flatten();
    files.filter_map(|file| file.metadata().ok()?.modified().ok()).max()
}
