//! This node as one of a cluster: whether it is the active one, where the active one is, and how nodes are admitted.
//!
//! [`Node`] has the barrier and the state of the seal, which tells it when the keys come and go; it knows nothing of requests,
//! mounts and tokens. Storage replicates by itself (`strongroom-raft`), messages travel by themselves (`strongroom-cluster`):
//! here is what a node does about either. What fails is logged and tried again.

mod autopilot;
mod coordination;
mod joining;
mod membership;
mod removal;
mod renewal;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use strongroom_barrier::{Barrier, BarrierError, CoreLocal, Table, TableId, tables};
use strongroom_cluster::{Identity, Network};
use strongroom_engine_api::{Environment, Moment, Secret};
use strongroom_raft::RaftStore;
use strongroom_seal::RootKey;
use strongroom_seal_state::{SealListener, SealState};
use strongroom_storage::{ELECTION, Leadership};
use tokio::sync::Semaphore;

pub use autopilot::{AutopilotConfig, AutopilotServer, AutopilotState};
pub use coordination::Coordination;
pub use joining::{Challenge, ChallengeAnswer, JoinGrant};
pub(crate) use membership::KeptAuthority;
pub use renewal::Members;

tables! {
    /// The authority of the cluster's certificates; there is one.
    pub(crate) AUTHORITY: Table<CoreLocal, str, KeptAuthority> = 9;
    /// The configuration of autopilot; there is one.
    pub(crate) AUTOPILOT: Table<CoreLocal, str, AutopilotConfig> = 10;
}

/// The API address of a node to join, and how it is trusted.
#[derive(Clone, Default)]
pub struct LeaderAddress {
    /// The URL of its API.
    pub api_addr: String,
    /// The authority of its certificate, PEM; empty: the system's.
    pub ca_cert: String,
    /// The name in its certificate; empty: that of the URL.
    pub server_name: String,
    /// This node's certificate for it, PEM; may be empty.
    pub client_cert: String,
    /// The key of this node's certificate, PEM.
    pub client_key: Secret<String>,
}

/// Finds nodes of the cluster that is to be joined.
#[async_trait]
pub trait Discovery: Send + Sync + 'static {
    /// The expression by which they are found: two of the same are the same.
    fn expression(&self) -> Secret<String>;

    /// The URLs of their APIs, as they are known now.
    ///
    /// # Errors
    ///
    /// What went wrong, for an operator to read.
    async fn addresses(&self) -> Result<Vec<String>, String>;
}

/// The nodes that are asked to admit this one.
#[derive(Clone)]
pub enum JoinTarget {
    /// The one at this address.
    Known(LeaderAddress),
    /// Those that are found at each attempt, trusted as said here; the address in it is not used.
    Found(Arc<dyn Discovery>, LeaderAddress),
}

impl JoinTarget {
    /// True if this asks the same nodes as another.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => {
                one.api_addr.trim_end_matches('/') == other.api_addr.trim_end_matches('/')
            }
            (Self::Found(one, _), Self::Found(other, _)) => {
                one.expression().expose() == other.expression().expose()
            }
            _ => false,
        }
    }

    async fn addresses(&self) -> Result<Vec<LeaderAddress>, String> {
        match self {
            Self::Known(leader) => Ok(vec![leader.clone()]),
            Self::Found(discovery, trust) => {
                let at = |api_addr| LeaderAddress { api_addr, ..trust.clone() };
                Ok(discovery.addresses().await?.into_iter().map(at).collect())
            }
        }
    }
}

/// Speaks to another node's API, before there is a way over the cluster port.
#[async_trait]
pub trait JoinClient: Send + Sync + 'static {
    /// Writes to a path of the node's API; answers the `data` of what it says.
    ///
    /// # Errors
    ///
    /// What went wrong, for an operator to read.
    async fn write(&self, leader: &LeaderAddress, path: &str, body: Value) -> Result<Value, String>;

    /// Understands how nodes are to be found (`auto_join`); the scheme and port of their APIs' URLs are the usual ones
    /// unless given.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for whoever wrote it.
    fn discovery(
        &self,
        expression: &Secret<String>,
        scheme: Option<&str>,
        port: Option<u16>,
    ) -> Result<Arc<dyn Discovery>, String>;
}

/// The behavior of a node where it does not lead, and where there is no leader.
#[derive(Clone, Copy, Debug)]
pub struct StandbyPolicy {
    /// It answers reads, rather than handing them on.
    pub answers_reads: bool,
    /// For how long it answers reads without a quorum; the answers say that they may be old.
    pub stale_reads_for: Duration,
    /// After how long without a quorum it seals itself.
    pub seal_after: Option<Duration>,
}

impl Default for StandbyPolicy {
    fn default() -> Self {
        Self { answers_reads: true, stale_reads_for: Duration::ZERO, seal_after: None }
    }
}

/// The parts that this node needs to be a member of a cluster.
pub struct ClusterNode {
    /// Storage, which knows the members.
    pub store: Arc<RaftStore>,
    /// The way to the others.
    pub network: Arc<Network>,
    /// The identity that this node shows the others.
    pub identity: Identity,
    /// The way to a node that is to be joined.
    pub join_client: Arc<dyn JoinClient>,
    /// The address at which this node serves clients, and its peers.
    pub api_address: String,
    /// The address at which this node talks to its peers.
    pub cluster_address: String,
    /// Its behavior where it does not lead.
    pub standby_policy: StandbyPolicy,
    /// Room for attempts at joining that someone waits for.
    attempts: Semaphore,
    state: Mutex<State>,
}

/// The state that changes.
#[derive(Default)]
struct State {
    joining: Option<joining::Joining>,
    /// The challenges of the last minute that were answered rightly.
    answered: HashSet<joining::Nonce>,
    /// The attempts in the background that were asked for over the API.
    background_join: Option<joining::BackgroundJoin>,
    /// The time at which this node's certificate was last renewed.
    certified: Option<Moment>,
    /// True if it has been said that there is no quorum.
    quorum_lost: bool,
    /// The time at which this node last announced its addresses.
    announced: Option<Moment>,
    /// The reason why nobody accepted that, as it was last logged.
    unannounced: Option<String>,
    /// The observations of the others while this node leads.
    watch: autopilot::Watch,
}

impl ClusterNode {
    /// A node over its store.
    pub fn new(
        store: Arc<RaftStore>,
        network: Arc<Network>,
        identity: Identity,
        join_client: Arc<dyn JoinClient>,
        api_address: String,
        cluster_address: String,
    ) -> Self {
        Self {
            store,
            network,
            identity,
            join_client,
            api_address,
            cluster_address,
            standby_policy: StandbyPolicy::default(),
            attempts: Semaphore::new(joining::MAX_ATTEMPTS),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This node: what it is in its cluster, and how it and others settle who decides.
pub struct Node {
    barrier: Arc<Barrier>,
    environment: Environment,
    seal_state: Arc<SealState>,
    /// The version of the program.
    version: String,
    leadership: Leadership,
    cluster: OnceLock<ClusterNode>,
    coordination: OnceLock<Coordination>,
}

impl Node {
    /// A node that is alone until it is told otherwise; `version` is the program's. `leadership` tells others
    /// from then on.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        seal_state: Arc<SealState>,
        version: String,
        leadership: Leadership,
    ) -> Self {
        let (cluster, coordination) = (OnceLock::new(), OnceLock::new());
        Self { barrier, environment, seal_state, version, leadership, cluster, coordination }
    }

    /// Makes this node one of a cluster with integrated storage. Once.
    pub fn set_cluster(&self, node: ClusterNode) {
        self.set_coordination(Coordination::new(node.store.clone(), Some(node.network.clone())));
        let _ = self.cluster.set(node);
    }

    /// This node as one of a cluster with integrated storage; `None` for other storage.
    pub fn cluster(&self) -> Option<&ClusterNode> {
        self.cluster.get()
    }

    /// Says that the quorum is lost or back, and seals a node that has been without one for as long as configured.
    pub async fn watch_quorum(&self) {
        let Some(node) = self.cluster() else { return };
        let lost = self.without_quorum().filter(|since| *since >= ELECTION);
        let told = std::mem::replace(&mut node.state().quorum_lost, lost.is_some());
        match lost {
            Some(since) if node.standby_policy.seal_after.is_some_and(|limit| since >= limit) => {
                tracing::error!(seconds = since.as_secs(), "sealing: no quorum for quorum_loss_seal_after");
                self.seal_state.seal().await;
            }
            Some(_) if !told => {
                let stale = !node.standby_policy.stale_reads_for.is_zero();
                tracing::error!(
                    answers_stale_reads = stale,
                    "no quorum: no contact with a leader or a majority"
                );
            }
            None if told => tracing::info!("quorum restored"),
            _ => {}
        }
    }
}

#[async_trait]
impl SealListener for Node {
    async fn unsealing(&self, root_key: &RootKey) -> Result<(), BarrierError> {
        self.finish_joining(root_key).await
    }

    async fn unsealed(&self) {
        if let Err(error) = self.enter_cluster().await {
            tracing::error!(%error, "this node has no valid certificate for the cluster port");
        }
    }

    async fn sealing(&self) {
        if self.cluster().is_some() {
            // In a shared database, giving up the lock is all there is to it.
            self.step_down().await;
        }
        self.set_eligible(false);
    }
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
