//! [`RaftStore`]: the log, the state and the consensus core as one [`Store`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{Config, Raft, SnapshotPolicy, StepDownPolicy, StorageHelper};
use strongroom_storage::{Commit, CommitError, Index, Observer, Snapshot, Store, StoreError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::batch_wait::BatchSoon;
use crate::candidacy;
use crate::directory::{Directory, Identity, Introduction, read_introduction};
use crate::files::sync_directory;
use crate::log::Log;
use crate::maintenance::Maintenance;
use crate::network::Peers;
use crate::options::{OpenError, Options};
use crate::proposer::{Pending, Proposer, QUEUE};
use crate::recover::recover;
use crate::removed::Removal;
use crate::role::Contact;
use crate::space::{Space, probe_of};
use crate::spool::remove_leftovers;
use crate::state::{Machine, State};
use crate::terms::{Terms, learn_terms, settle_vote};
use crate::transport::Transport;
use crate::types::{Node, Types};

/// The time that closing waits for what was proposed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that may be under way to the consensus core.
const CHANNEL: u64 = 1024;

/// The state of the node in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node's name.
    pub node_id: String,
    /// The cluster's identity.
    pub cluster_id: String,
    /// The leader's name, as far as known.
    pub leader: Option<String>,
    /// The address at which the leader serves clients, as far as known.
    pub leader_address: Option<String>,
    /// True if this node leads.
    pub is_leader: bool,
    /// The term of the last vote.
    pub term: u64,
    /// The last entry in this node's log.
    pub last_log: Index,
    /// The last entry known to be on a majority.
    pub committed: Index,
    /// The last entry that reads here can see.
    pub applied: Index,
    /// The voters, by name.
    pub voters: Vec<String>,
    /// Bytes of the table's file on disk.
    pub table_bytes: u64,
    /// Bytes of the keys and values in the table.
    pub stored_bytes: u64,
    /// Bytes of the log's files.
    pub log_bytes: u64,
}

/// The durable [`Store`].
///
/// Close it before letting go of it. One that is dropped instead closes in the background, if its runtime still
/// runs; nothing that was acknowledged is lost in any case.
pub struct RaftStore {
    pub(crate) inner: Arc<Inner>,
    /// Held while a snapshot arrives.
    pub(crate) receiving: tokio::sync::Mutex<()>,
    /// Held while a saved state is put in the place of the present one.
    pub(crate) restoring: tokio::sync::Mutex<()>,
    proposals: Mutex<Option<mpsc::Sender<Pending>>>,
    pub(crate) space: Arc<Space>,
    pub(crate) max_commit_size: usize,
}

/// The parts that closing needs.
pub(crate) struct Inner {
    node_id: String,
    raft_id: u64,
    pub(crate) path: PathBuf,
    /// True if it may lead.
    pub(crate) eligible: AtomicBool,
    /// The description of this node for a cluster that it begins.
    this_node: Node,
    leader_wait: Duration,
    /// The way to other nodes.
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) contact: Contact,
    pub(crate) terms: Arc<Terms>,
    pub(crate) removal: Removal,
    /// The members as this node learned of them when it was admitted.
    pub(crate) introduction: ArcSwapOption<Introduction>,
    pub(crate) raft: Raft<Types, Machine>,
    pub(crate) state: Arc<State>,
    pub(crate) log: Log,
    proposer: Mutex<Option<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    closed: AtomicBool,
    /// Released last.
    directory: Mutex<Option<Directory>>,
}

/// Brings what was found in the files into a state from which the node can start; closes them where it cannot.
async fn settle_files(
    options: &Options,
    directory: &Directory,
    log: &Log,
    state: &Arc<State>,
    terms: &Terms,
) -> Result<Option<Introduction>, OpenError> {
    let settled = async {
        refuse_lost_tail(directory, log, state).await?;
        settle_vote(log, state, terms).await?;
        recover(options, &directory.identity, log, state).await?;
        learn_terms(log, state, terms).await?;
        read_introduction(&directory.path)
    };
    let settled = settled.await;
    if settled.is_err() {
        log.close();
        state.close();
    }
    settled
}

/// Starts the consensus over log and state.
async fn start_raft(
    options: &Options,
    identity: &Identity,
    log: &Log,
    state: &Arc<State>,
    terms: &Arc<Terms>,
    batch_soon: &Arc<BatchSoon>,
) -> Result<Raft<Types, Machine>, OpenError> {
    let mut config = config(options, identity)?;
    config.enable_elect = !terms.has_forgotten_vote();
    let members = Arc::<OnceLock<_>>::default();
    let peers = Peers {
        transport: options.transport.clone(),
        batch_soon: batch_soon.clone(),
        terms: terms.clone(),
        members: members.clone(),
    };
    let machine = Machine(state.clone());
    let raft = Raft::new(identity.raft_id, Arc::new(config), peers, log.clone(), machine)
        .await
        .map_err(|error| OpenError::Start(error.to_string()))?;
    // The first messages go where members were when the link was made.
    let _ = members.set(raft.metrics());
    Ok(raft)
}

impl RaftStore {
    /// Opens a data directory, or makes one. Where this node is the only voter, returns when it leads and has
    /// applied all that its log holds.
    pub async fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        options.check()?;
        let opened = tokio::task::spawn_blocking({
            let options = options.clone();
            move || open_files(&options)
        });
        let (directory, log, state) = opened.await.map_err(|error| OpenError::Start(error.to_string()))??;
        let identity = directory.identity.clone();
        let terms = Arc::new(Terms::of(&directory.path));
        let probe = options.probe.clone().unwrap_or_else(|| probe_of(&directory.path));
        let space = Space::new(probe, options.clock.clone(), options.reserve, options.segment_size)
            .map_err(OpenError::io(&directory.path))?;
        let introduction = settle_files(&options, &directory, &log, &state, &terms).await?;
        terms.know(introduction.as_ref().map_or(0, |told| told.seen.term));
        log.prepare_next();
        let batch_soon = Arc::<BatchSoon>::default();
        let raft = start_raft(&options, &identity, &log, &state, &terms, &batch_soon).await?;
        let space = Arc::new(space);
        let (proposals, queue) = mpsc::channel(QUEUE);
        let proposer = Proposer::new(raft.clone(), log.clone(), space.clone(), queue, batch_soon, &options);
        let (stop, stopped) = watch::channel(false);
        let maintenance = Maintenance::new(raft.clone(), log.clone(), state.clone(), space.clone(), &options);
        let store = Self {
            inner: Arc::new(Inner {
                this_node: Node {
                    name: identity.node_id.clone(),
                    api_address: options.api_address.clone(),
                    cluster_address: options.cluster_address.clone(),
                    non_voter: false,
                },
                node_id: identity.node_id,
                raft_id: identity.raft_id,
                path: options.path.clone(),
                eligible: AtomicBool::new(true),
                leader_wait: options.leader_wait,
                transport: options.transport.clone(),
                contact: Contact::new(raft.metrics(), election_timeout(&options).1),
                terms,
                removal: Removal::of(&options.path),
                introduction: ArcSwapOption::from_pointee(introduction),
                raft,
                state,
                log,
                proposer: Mutex::new(Some(tokio::spawn(proposer.run()))),
                stop,
                closed: AtomicBool::new(false),
                directory: Mutex::new(Some(directory)),
            }),
            receiving: tokio::sync::Mutex::default(),
            restoring: tokio::sync::Mutex::default(),
            proposals: Mutex::new(Some(proposals)),
            space,
            max_commit_size: options.max_commit_size,
        };
        if let Err(error) = store.inner.start(&options).await {
            store.close().await;
            return Err(if store.space.is_there() { error } else { OpenError::Start(NO_SPACE.to_owned()) });
        }
        tokio::spawn(maintenance.run(stopped));
        let store = Arc::new(store);
        tokio::spawn(candidacy::watch(Arc::downgrade(&store), options.clock));
        Ok(store)
    }

    /// The node's name in the cluster.
    pub fn node_id(&self) -> &str {
        &self.inner.node_id
    }

    /// The node's number in the consensus protocol.
    pub fn raft_id(&self) -> u64 {
        self.inner.raft_id
    }

    /// The cluster's identity.
    pub fn cluster_id(&self) -> Arc<str> {
        self.inner.state.cluster_id()
    }

    /// True if this node may be elected from now on. One that cannot serve should not lead.
    pub fn set_eligible(&self, eligible: bool) {
        self.inner.eligible.store(eligible, Ordering::Release);
        self.settle_candidacy();
    }

    /// Makes this node, which belongs to no cluster yet, wait for being admitted to the one of this identity, whose
    /// members are those told.
    ///
    /// # Errors
    ///
    /// [`OpenError::Start`] for a node that belongs to a cluster; [`OpenError::Io`] where it cannot be kept.
    pub async fn adopt(&self, cluster_id: &str, told: &Introduction) -> Result<(), OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Start(error.to_string());
        if self.inner.raft.is_initialized().await.map_err(|error| failed(&error))? {
            return Err(failed(&"the node belongs to a cluster already"));
        }
        let mut directory = self.inner.directory.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = directory.as_mut().ok_or_else(|| failed(&StoreError::Closed))?;
        directory.adopt(cluster_id, told)?;
        self.inner.terms.know(told.seen.term);
        self.inner.introduction.store(Some(Arc::new(told.clone())));
        self.inner.state.set_cluster_id(cluster_id);
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    /// True if this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.inner.raft.is_leader()
    }

    /// The address at which the leader serves clients, as far as known.
    pub fn leader_address(&self) -> Option<String> {
        self.status().leader_address
    }

    /// The state of the node.
    pub fn status(&self) -> Status {
        let inner = &self.inner;
        let metrics = inner.raft.metrics().borrow_watched().clone();
        let members = metrics.membership_config.membership();
        let leader = metrics.current_leader.and_then(|id| members.get_node(&id));
        let name_of =
            |id: u64| members.get_node(&id).map_or_else(|| id.to_string(), |node| node.name.clone());
        let (table_bytes, stored_bytes) = inner.state.sizes();
        Status {
            node_id: inner.node_id.clone(),
            cluster_id: inner.state.cluster_id().to_string(),
            leader: leader.map(|node| node.name.clone()),
            leader_address: leader.map(|node| node.api_address.clone()).filter(|address| !address.is_empty()),
            is_leader: inner.raft.is_leader(),
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            committed: inner.log.committed().map_or(0, |committed| committed.index),
            applied: inner.state.applied(),
            voters: members.voter_ids().map(name_of).collect(),
            table_bytes,
            stored_bytes,
            log_bytes: inner.log.size(),
        }
    }

    /// Resolves when reads here can see `index` (Vault's `X-Vault-Index`), or with an error when the store closes.
    pub async fn wait_applied(&self, index: Index) -> Result<(), StoreError> {
        let mut applied = self.inner.state.watch_applied();
        let mut stopped = self.inner.stop.subscribe();
        tokio::select! {
            reached = applied.wait_for(|applied| *applied >= index) => {
                reached.map(|_| ()).map_err(|_gone| StoreError::Closed)
            }
            _ = stopped.wait_for(|stopped| *stopped) => Err(StoreError::Closed),
        }
    }

    /// A core that has stopped accepts nothing more: what is asked of it now is certainly not written.
    pub(crate) fn check_running(&self) -> Result<(), StoreError> {
        let metrics = self.inner.raft.metrics();
        let running = metrics.borrow_watched().running_state.clone();
        running.map_err(|error| StoreError::Failed(error.to_string()))
    }

    /// True if the disk has room for writes.
    pub(crate) fn has_room(&self) -> bool {
        self.space.is_there()
    }

    pub(crate) async fn propose(&self, commit: Commit) -> Result<Index, CommitError> {
        let closed = || CommitError::Store(StoreError::Closed);
        let proposals =
            self.proposals.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        self.check_running()?;
        let (answer, answered) = oneshot::channel();
        let pending = Pending::new(commit, answer);
        if pending.size > self.max_commit_size {
            return Err(CommitError::TooLarge { size: pending.size, limit: self.max_commit_size });
        }
        if !self.space.is_there() {
            return Err(CommitError::NoSpace);
        }
        proposals.send(pending).await.map_err(|_gone| closed())?;
        drop(proposals);
        answered.await.map_err(|_dropped| CommitError::Uncertain("storage stopped".into()))?
    }
}

pub(crate) type Opened = (Directory, Log, Arc<State>);

pub(crate) fn open_files(options: &Options) -> Result<Opened, OpenError> {
    let directory = Directory::open(options)?;
    let log = Log::open(&directory.path.join("log"), options)?;
    let table: PathBuf = directory.path.join("state.redb");
    remove_leftovers(&directory.path).map_err(OpenError::io(&directory.path))?;
    let state = match State::open(&table, &directory.identity.cluster_id, options) {
        Ok(state) => state,
        Err(error) => {
            log.close();
            return Err(error);
        }
    };
    sync_directory(&directory.path).map_err(OpenError::io(&directory.path))?;
    Ok((directory, log, state))
}

/// The reason why a store that has no room for a vote does not start.
const NO_SPACE: &str = "no space left on the storage's file system";

/// Refuses a log that has lost its end. Where this node alone decides what is committed, all that was committed had
/// been synced to its log before: if the log ends earlier now, acknowledged writes are gone, and going on would hide
/// it. (With peers, a power cut may take the end of one log, and the others send it again.)
pub(crate) async fn refuse_lost_tail(
    directory: &Directory,
    log: &Log,
    state: &Arc<State>,
) -> Result<(), OpenError> {
    let there = log.last().max(state.durable_position()).map(|last| last.index);
    let Some(committed) = log.committed().filter(|committed| Some(committed.index) > there) else {
        return Ok(());
    };
    let (mut log, mut machine) = (log.clone(), Machine(state.clone()));
    let found = StorageHelper::new(&mut log, &mut machine).get_membership().await;
    let membership = found.map_err(|error| OpenError::Start(error.to_string()))?;
    // With no membership at all, everything is gone: to begin anew would let whoever comes first initialize the server.
    let mut voters = membership.effective().voter_ids();
    if voters.next().is_none_or(|voter| voter == directory.identity.raft_id) && voters.next().is_none() {
        let ends = there.map_or_else(|| "is empty".to_owned(), |last| format!("ends at entry {last}"));
        let reason = format!("the log {ends}, but entry {} was acknowledged", committed.index);
        return Err(OpenError::corrupt(&directory.path.join("log"), 0, reason));
    }
    Ok(())
}

/// The shortest and the longest time that a node waits for a leader before it stands for election. The longer is also
/// the lease.
fn election_timeout(options: &Options) -> (Duration, Duration) {
    (options.heartbeat.saturating_mul(3), options.heartbeat.saturating_mul(5))
}

fn config(options: &Options, identity: &Identity) -> Result<Config, OpenError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (shortest, longest) = election_timeout(options);
    let config = Config {
        cluster_name: identity.cluster_id.clone(),
        heartbeat_interval: millis(options.heartbeat),
        election_timeout_min: millis(shortest),
        election_timeout_max: millis(longest),
        // A leader that is heard and hears nobody falls silent, so that others are free to elect one that works.
        quorum_loss_probe_interval: Some(millis(longest).saturating_mul(2)),
        // When and how far the log is compacted is decided here (see `maintenance`), by bytes as well as by count.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: options.snapshot_threshold.saturating_mul(2),
        enable_pre_vote: Some(true),
        removed_leader_step_down: StepDownPolicy::After(millis(options.heartbeat).div_euclid(4)),
        // After a power cut a leader may not remember all that it had committed; an election makes sure.
        enable_leader_restore: Some(false),
        // Callers wait in our own queue; few messages are ever in these.
        api_channel_size: Some(CHANNEL),
        notification_channel_size: Some(CHANNEL),
        api_batch_capacity: 64,
        ..Config::default()
    };
    config.validate().map_err(|error| OpenError::Options(error.to_string()))
}

impl Inner {
    /// Begins a cluster in an empty directory if asked to, and waits for leadership if no other node can have it.
    async fn start(&self, options: &Options) -> Result<(), OpenError> {
        let failed = |error: &dyn std::fmt::Display| OpenError::Start(error.to_string());
        let initialized = self.raft.is_initialized().await.map_err(|error| failed(&error))?;
        match (initialized, options.bootstrap) {
            (false, false) => Ok(()),
            (false, true) => self.begin().await,
            (true, _) => self.lead_if_alone().await,
        }
        .map_err(|error| failed(&error))
    }

    /// Makes a cluster of this node alone, where it belongs to none.
    async fn begin(&self) -> Result<(), StoreError> {
        let alone = BTreeMap::from([(self.raft_id, self.this_node.clone())]);
        match self.raft.initialize(alone).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return Err(StoreError::Failed(error.to_string())),
        }
        self.lead_if_alone().await
    }

    async fn lead_if_alone(&self) -> Result<(), StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Failed(error.to_string());
        let me = self.raft_id;
        // Asked of the core itself: the published metrics may be older than the cluster just made.
        let alone = self
            .raft
            .with_raft_state(move |state| state.membership_state.effective().voter_ids().eq([me]))
            .await
            .map_err(|error| failed(&error))?;
        if alone {
            self.terms.hear_leader();
            // No need to wait for others to speak up first.
            self.raft.trigger().elect(false).await.map_err(|error| failed(&error))?;
            let wait = self.raft.wait(Some(self.leader_wait));
            wait.current_leader(me, "leadership").await.map_err(|error| failed(&error))?;
            self.raft.wait_for_recovery(Some(self.leader_wait)).await.map_err(|error| failed(&error))?;
        } else {
            self.contact.remember_peers();
        }
        Ok(())
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let proposer = self.proposer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(proposer) = proposer
            && tokio::time::timeout(CLOSE_TIMEOUT, proposer).await.is_err()
        {
            tracing::warn!("closing with writes of unknown outcome");
        }
        self.stop.send_replace(true);
        // The consensus ends when the log and the state have answered it, which may be waiting for room.
        self.log.wait_no_longer();
        self.state.wait_no_longer();
        let _ = self.raft.shutdown().await;
        let (state, log) = (self.state.clone(), self.log.clone());
        let closed = tokio::task::spawn_blocking(move || {
            state.close();
            log.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "storage was not closed cleanly");
        }
        drop(self.directory.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

#[async_trait]
impl Store for RaftStore {
    fn applied(&self) -> Index {
        self.inner.state.applied()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        Ok(Box::new(self.inner.state.view()?.as_ref().clone()))
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        self.propose(commit).await
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.inner.begin().await
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.state.observe(observer);
    }

    async fn close(&self) {
        drop(self.proposals.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.inner.close().await;
    }

    fn kind(&self) -> &'static str {
        "raft"
    }
}

impl Drop for RaftStore {
    fn drop(&mut self) {
        if self.inner.closed.load(Ordering::Acquire) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = self.inner.clone();
            drop(self.proposals.lock().unwrap_or_else(PoisonError::into_inner).take());
            runtime.spawn(async move { inner.close().await });
        }
    }
}
