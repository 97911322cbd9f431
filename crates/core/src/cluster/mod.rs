//! This node as one of a cluster: whether it is the active one, where the active one is, and how nodes are admitted.

mod autopilot;
mod freshness;
mod joining;
mod membership;
mod removal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use strongroom_cluster::{Identity, Network};
use strongroom_engine_api::{Moment, Secret};
use strongroom_raft::{MemberStatus, Peer, RaftStore};

use crate::Core;
use crate::snapshots::ObjectStore;

pub use autopilot::{AutopilotConfig, AutopilotServer, AutopilotState};
pub(crate) use freshness::Freshness;
pub use joining::{Admission, Answered, Challenge};
pub(crate) use membership::KeptAuthority;

/// Where the API of a node is that is to be joined, and how it is trusted.
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

/// Speaks to another node's API, before there is a way over the cluster port.
#[async_trait]
pub trait Introducer: Send + Sync + 'static {
    /// Writes to a path of the node's API; answers the `data` of what it says.
    ///
    /// # Errors
    ///
    /// What went wrong, for an operator to read.
    async fn write(&self, leader: &LeaderAddress, path: &str, body: Value) -> Result<Value, String>;
}

/// How a node behaves where it does not lead, and where nobody does.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// It answers reads, rather than handing them on.
    pub answers_reads: bool,
    /// For how long it answers reads without a quorum; the answers say that they may be old.
    pub stale_reads_for: Duration,
    /// After how long without a quorum it seals itself.
    pub seal_after: Option<Duration>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { answers_reads: true, stale_reads_for: Duration::ZERO, seal_after: None }
    }
}

/// What this node needs to be one of a cluster.
pub struct ClusterNode {
    /// Storage, which knows the members.
    pub store: Arc<RaftStore>,
    /// The way to the others.
    pub network: Arc<Network>,
    /// What this node shows the others.
    pub identity: Identity,
    /// The way to a node that is to be joined.
    pub introducer: Arc<dyn Introducer>,
    /// Where this node serves clients, and its peers.
    pub api_address: String,
    /// Where this node talks to its peers.
    pub cluster_address: String,
    /// How it behaves where it does not lead.
    pub conduct: Conduct,
    /// The way to buckets that snapshots are kept in, where there is one.
    pub objects: Option<Arc<dyn ObjectStore>>,
    /// Held while a snapshot is restored.
    pub(crate) restoring: tokio::sync::Mutex<()>,
    /// The automated snapshots under way.
    pub(crate) auto_snapshots: UnderWay,
    state: Mutex<State>,
}

/// What is being done, by name, and since when.
#[derive(Default)]
pub(crate) struct UnderWay(Mutex<HashMap<String, Moment>>);

impl UnderWay {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False where it is under way already.
    pub(crate) fn begin(&self, name: &str, now: Moment) -> bool {
        let mut all = self.all();
        let free = !all.contains_key(name);
        if free {
            all.insert(name.to_owned(), now);
        }
        free
    }

    pub(crate) fn end(&self, name: &str) {
        self.all().remove(name);
    }

    /// Since when it is under way, if it is.
    pub(crate) fn since(&self, name: &str) -> Option<Moment> {
        self.all().get(name).copied()
    }
}

/// What passes.
#[derive(Default)]
struct State {
    joining: Option<joining::Joining>,
    challenges: HashMap<String, joining::Posed>,
    /// Since when this node leads, as far as it has noticed.
    leading: Option<(u64, Moment)>,
    /// Whether it has been said that there is no quorum.
    quorum_lost: bool,
    /// The others have said that this node was taken out.
    removed: bool,
    /// What this node has seen of the others while it leads.
    watch: autopilot::Watch,
}

impl ClusterNode {
    /// A node over its store.
    pub fn new(
        store: Arc<RaftStore>,
        network: Arc<Network>,
        identity: Identity,
        introducer: Arc<dyn Introducer>,
        api_address: String,
        cluster_address: String,
    ) -> Self {
        Self {
            store,
            network,
            identity,
            introducer,
            api_address,
            cluster_address,
            conduct: Conduct::default(),
            objects: None,
            restoring: tokio::sync::Mutex::default(),
            auto_snapshots: UnderWay::default(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member that leads, as far as this node knows.
    pub fn leader(&self) -> Option<MemberStatus> {
        self.store.members().into_iter().find(|member| member.leader)
    }

    /// The way to the active node; `None` while there is none, or it is this one.
    pub fn active_peer(&self) -> Option<Peer> {
        let leader = self.leader().filter(|leader| leader.member.raft_id != self.store.raft_id())?;
        Some(Peer {
            raft_id: leader.member.raft_id,
            node_id: leader.member.node_id,
            cluster_address: leader.member.cluster_address,
        })
    }
}

impl Core {
    /// Makes this node one of a cluster. Once.
    pub fn set_cluster(&self, node: ClusterNode) {
        let _ = self.cluster.set(node);
    }

    /// This node as one of a cluster; `None` where storage knows no others.
    pub fn cluster(&self) -> Option<&ClusterNode> {
        self.cluster.get()
    }

    /// Whether it is this node that decides: it leads, or there are no others.
    pub fn is_active(&self) -> bool {
        self.leading().is_some()
    }

    /// The term in which this node decides, 0 where there are no others; `None` for a node that does not.
    pub(crate) fn leading(&self) -> Option<u64> {
        self.cluster.get().map_or(Some(0), |node| node.store.leading())
    }

    /// For how long this node has been without a leader or a majority: where that is longer than an election takes.
    pub fn without_quorum(&self) -> Option<Duration> {
        self.cluster()?.store.role().without_quorum().filter(|since| *since >= freshness::ELECTION)
    }

    /// Says that the quorum is lost or back, and seals a node that has been without one for as long as configured.
    pub(crate) async fn watch_quorum(&self) {
        let Some(node) = self.cluster() else { return };
        let lost = self.without_quorum();
        let told = std::mem::replace(&mut node.state().quorum_lost, lost.is_some());
        match lost {
            Some(since) if node.conduct.seal_after.is_some_and(|limit| since >= limit) => {
                tracing::error!(seconds = since.as_secs(), "sealing: no quorum for quorum_loss_seal_after");
                self.seal().await;
            }
            Some(_) if !told => {
                let stale = !node.conduct.stale_reads_for.is_zero();
                tracing::error!(
                    answers_stale_reads = stale,
                    "no quorum: this node neither leads nor hears a leader"
                );
            }
            None if told => tracing::info!("there is a quorum again"),
            _ => {}
        }
    }

    /// Whether another node decides, and this one answers what it can and hands on the rest.
    pub fn is_standby(&self) -> bool {
        !self.is_active() && !self.barrier.is_sealed()
    }

    /// Since when this node is the active one, as of now.
    pub fn active_since(&self) -> Option<Moment> {
        let standing = self.standing()?;
        let Some(node) = self.cluster() else { return Some(standing.active_since) };
        let Some(term) = node.store.leading() else {
            node.state().leading = None;
            return None;
        };
        let now = self.environment.clock.now();
        let mut state = node.state();
        match state.leading {
            Some((of, since)) if of == term => Some(since),
            _ => {
                let since = if state.leading.is_none() && term <= 1 { standing.active_since } else { now };
                state.leading = Some((term, since));
                Some(since)
            }
        }
    }

    /// Gives up being the active node, if another can take over. Where none can, or this is not the active one: false.
    pub async fn step_down(&self) -> bool {
        let Some(node) = self.cluster().filter(|node| node.store.is_leader()) else { return false };
        let able = |member: &MemberStatus| member.voter && !member.leader;
        let mut successors: Vec<MemberStatus> = node.store.members().into_iter().filter(able).collect();
        successors.sort_by_key(|member| std::cmp::Reverse(member.last_log));
        for successor in successors {
            let name = successor.member.node_id;
            if !matches!(node.store.hand_over(Some(&name)).await, Ok(true)) {
                continue;
            }
            // One that is sealed does not take over: the next is asked.
            for _ in 0..HANDOVER_LOOKS {
                if !node.store.is_leader() {
                    tracing::info!(successor = name, "stepped down");
                    return true;
                }
                self.environment.clock.sleep(HANDOVER_LOOK).await;
            }
        }
        false
    }
}

/// How long it is looked whether a successor has taken over.
const HANDOVER_LOOK: Duration = Duration::from_millis(20);
const HANDOVER_LOOKS: u32 = 50;
