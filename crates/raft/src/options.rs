//! The options of a node, and the errors of opening one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strongroom_stdx::{Clock, Entropy};

use crate::space::Probe;
use crate::transport::{Isolated, Transport};

const MIB: u64 = 1 << 20;

/// The options of a [`crate::RaftStore`]. Start from [`Options::new`] and change what differs.
#[derive(Clone)]
pub struct Options {
    /// The data directory (`path` of the `raft` storage stanza); made if it is not there.
    pub path: PathBuf,
    /// The node's name in the cluster; `None`: as stored, or a new UUID in a new directory.
    pub node_id: Option<String>,
    /// The cluster's identity; `None`: as stored, or a new UUID in a new directory.
    pub cluster_id: Option<String>,
    /// The address at which this node serves clients; told to those who ask another node.
    pub api_address: String,
    /// The address at which this node talks to its peers.
    pub cluster_address: String,
    /// True if an empty directory becomes a cluster of this one voter when it is opened. Otherwise it does so when
    /// the server is initialized ([`Store::begin`](strongroom_storage::Store::begin)), or waits to be admitted to one.
    pub bootstrap: bool,
    /// The way to other nodes.
    pub transport: Arc<dyn Transport>,
    /// Bytes of the table's pages kept in memory.
    pub cache_size: usize,
    /// Bytes of applied writes kept in memory before they are merged into the table.
    pub memtable_size: usize,
    /// Bytes of one log file.
    pub segment_size: u64,
    /// Bytes of recent log entries kept in memory for peers.
    pub log_cache_size: usize,
    /// Log entries after which the log is compacted.
    pub snapshot_threshold: u64,
    /// Bytes of log after which it is compacted.
    pub snapshot_threshold_size: u64,
    /// Log entries kept behind a compaction, so that a peer that lags a little needs no snapshot.
    pub trailing_logs: u64,
    /// Bytes of one commit, encoded, above which it is refused. At most half a log file.
    pub max_commit_size: usize,
    /// Commits that may share a log entry.
    pub max_batch_commits: usize,
    /// Bytes after which a log entry takes no more commits.
    pub max_batch_size: usize,
    /// Log entries that may be under way at a time.
    pub pipeline_depth: usize,
    /// Bytes of the file system that are left to finishing what was accepted; below, writes are refused.
    /// `None`: two log files, or an eighth of a small file system.
    pub reserve: Option<u64>,
    /// The time without writes after which the table is packed and memory is written out.
    pub idle_after: Duration,
    /// The interval of a leader's heartbeats. Peers wait between four and eight times as long.
    pub heartbeat: Duration,
    /// The time that opening waits until this node leads, where it is the only voter.
    pub leader_wait: Duration,
    /// The source of time.
    pub clock: Clock,
    /// The source of identities.
    pub entropy: Entropy,
    /// The probe of free space; `None`: the file system is asked.
    pub(crate) probe: Option<Probe>,
}

impl Options {
    /// The defaults for a data directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            node_id: None,
            cluster_id: None,
            api_address: String::new(),
            cluster_address: String::new(),
            bootstrap: true,
            transport: Arc::new(Isolated),
            cache_size: 32 << 20,
            memtable_size: 32 << 20,
            segment_size: 8 * MIB,
            log_cache_size: 4 << 20,
            snapshot_threshold: 8192,
            snapshot_threshold_size: 32 * MIB,
            trailing_logs: 512,
            max_commit_size: 4 << 20,
            max_batch_commits: 512,
            max_batch_size: 1 << 20,
            pipeline_depth: 1,
            reserve: None,
            idle_after: Duration::from_secs(10),
            heartbeat: Duration::from_millis(100),
            leader_wait: Duration::from_secs(10),
            clock: Clock::system(),
            entropy: Entropy::system(),
            probe: None,
        }
    }

    /// Sets the largest commit, and makes log files and batches fit to it.
    pub fn set_max_commit_size(&mut self, bytes: usize) {
        self.max_commit_size = bytes;
        self.max_batch_size = self.max_batch_size.min(bytes);
        let two = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(2);
        self.segment_size = self.segment_size.max(two);
    }

    /// Says whether the options contradict each other, as opening does.
    ///
    /// # Errors
    ///
    /// [`OpenError::Options`].
    pub fn check(&self) -> Result<(), OpenError> {
        let half_segment = self.segment_size / 2;
        if self.segment_size < 64 << 10 || self.segment_size > MAX_SEGMENT_SIZE {
            return Err(OpenError::Options("a log file must have between 64 KiB and 1 GiB".into()));
        }
        if u64::try_from(self.max_commit_size).unwrap_or(u64::MAX) > half_segment {
            return Err(OpenError::Options("a commit must not be larger than half a log file".into()));
        }
        if self.max_batch_size > self.max_commit_size {
            return Err(OpenError::Options("a batch must not be larger than a commit may be".into()));
        }
        if self.max_batch_commits == 0 || self.pipeline_depth == 0 || self.memtable_size == 0 {
            return Err(OpenError::Options("a limit of zero lets nothing be written".into()));
        }
        if self.heartbeat < Duration::from_millis(10) || self.heartbeat > Duration::from_mins(1) {
            return Err(OpenError::Options("the heartbeat must lie between 10 ms and 60 s".into()));
        }
        Ok(())
    }
}

/// The largest file of the log.
pub(crate) const MAX_SEGMENT_SIZE: u64 = 1 << 30;

/// Reasons why a data directory could not be opened. Nothing in it has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("{path}: the data directory is in use by another process", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory is not one of Strongroom, or belongs to another node or cluster.
    #[error("{path}: {reason}", path = path.display())]
    Foreign {
        /// The file that shows it.
        path: PathBuf,
        /// The data found.
        reason: String,
    },
    /// A later version of the program wrote the directory.
    #[error("{path}: written in format {version}, this program reads up to {supported}", path = path.display())]
    Newer {
        /// The file that shows it.
        path: PathBuf,
        /// The format found.
        version: u32,
        /// The newest format that is understood.
        supported: u32,
    },
    /// The stored data is not what was written.
    #[error("{path}: corrupt at offset {offset}: {reason} (see docs/runbooks/rebuild-node.md)", path = path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Bytes from its beginning.
        offset: u64,
        /// The data found.
        reason: String,
    },
    /// `raft/peers.json` cannot be followed.
    #[error("{path}: {reason}", path = path.display())]
    Recovery {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The options contradict each other.
    #[error("invalid storage options: {0}")]
    Options(String),
    /// The consensus core did not start.
    #[error("raft did not start: {0}")]
    Start(String),
}

impl OpenError {
    /// Adds to an error of the system the path it arose at.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// An error of the system while a file is read. One that is not as it can be is damaged.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| {
            if source.kind() == io::ErrorKind::InvalidData {
                return Self::corrupt(&path, 0, source.to_string());
            }
            Self::Io { path, source }
        }
    }

    pub(crate) fn corrupt(path: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), offset, reason: reason.into() }
    }
}
