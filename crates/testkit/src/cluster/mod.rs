//! Whole cores over one store, or each over its own: nodes that lead, follow, crash, stand still and come back.

mod gate;
mod impatient;
mod leadership;
mod raft;
mod store;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use strongroom_barrier::{Barrier, NamespaceId};
use strongroom_core::Assembly;
use strongroom_engine_api::{Clock, Environment, Moment};
use strongroom_events::Subscription;
use strongroom_expiry::LeaseState;
use strongroom_initialization::InitRequest;
use strongroom_mounts::Catalog;
use strongroom_node::Coordination;
use strongroom_pipeline::{Settings, Verb};
use strongroom_raft::testing::DiskState;
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::{Coordinator, InMemory, Store};
use tokio::task::JoinHandle;

pub use gate::Gate;
pub use leadership::Leadership;
pub use store::Faults;

use crate::outside::{self, System};
use crate::{Request, Response, Seeded};
use impatient::Impatient;
use leadership::NodeCoordinator;
use raft::Raft;
use store::NodeStore;

/// The moment at which every cluster begins.
const START: Moment = Moment::from_secs(1_700_000_000);

/// A state to begin from, made once: initialized, with the mounts `db/`, `other/` and `auth/code/`, and in the namespace
/// `team/` with `db/`; a policy `all` that grants everything.
pub struct Image {
    stored: Stored,
    share: Vec<u8>,
    root: String,
}

/// What the nodes of a cluster begin with.
enum Stored {
    /// A store that all share.
    Shared(InMemory),
    /// A disk each.
    Disks(Vec<DiskState>),
}

impl Image {
    /// Makes it, of nodes that share a store.
    pub async fn new() -> Self {
        let store = Arc::new(InMemory::new());
        let ground = Ground::Shared { store: store.clone(), observer: None };
        let (share, root) = Self::fill(&mut Cluster::over(ground, 1, Seeded::new(0))).await;
        Self { stored: Stored::Shared(store.fork()), share, root }
    }

    /// Makes it, of `nodes` that have a store each. Wants a runtime with paused time.
    pub async fn of_raft(nodes: usize) -> Self {
        let (random, clock) = (Seeded::new(0), Clock::stepped(START));
        let raft = Raft::new(vec![DiskState::default(); nodes], &clock, &random, 0);
        let mut cluster = Cluster::at(Ground::Raft(Box::new(raft)), nodes, random, clock);
        let (share, root) = Self::fill(&mut cluster).await;
        let Ground::Raft(raft) = &mut cluster.ground else { panic!("it is of raft") };
        raft.admit_all().await;
        let disks = raft.close().await;
        Self { stored: Stored::Disks(disks), share, root }
    }

    async fn fill(cluster: &mut Cluster) -> (Vec<u8>, String) {
        let core = cluster.start(0).await;
        let made =
            core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.expect("initializes");
        cluster.share.clone_from(made.key_parts[0].expose());
        core.services.seal_state.offer_key_part(cluster.share.clone()).await.expect("unseals");
        cluster.root.clone_from(made.root_token.expose());
        let enable = json!({ "type": "outside" });
        cluster.done(Verb::Write, "sys/mounts/db", enable.clone()).await;
        cluster.done(Verb::Write, "sys/mounts/other", enable.clone()).await;
        cluster.done(Verb::Write, "sys/auth/code", json!({ "type": "outside-code" })).await;
        cluster.done(Verb::Write, "sys/namespaces/team", json!({})).await;
        cluster.done(Verb::Write, "team/sys/mounts/db", enable).await;
        let everything =
            r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;
        cluster.done(Verb::Write, "sys/policies/acl/all", json!({ "policy": everything })).await;
        (cluster.share.clone(), cluster.root.clone())
    }
}

/// What nodes stand on.
enum Ground {
    /// One store, and somebody who looks on whatever nodes do.
    Shared { store: Arc<InMemory>, observer: Option<Arc<Assembly>> },
    /// A store each.
    Raft(Box<Raft>),
}

/// A node that runs or ran.
struct Node {
    core: Arc<Assembly>,
    gate: Gate,
    background: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.background.abort();
    }
}

/// Some nodes, and the system outside.
pub struct Cluster {
    /// Time.
    pub clock: Clock,
    /// The system outside.
    pub system: System,
    /// Who leads, where nodes share a store.
    pub leadership: Arc<Leadership>,
    /// The token that may do everything.
    pub root: String,
    random: Seeded,
    ground: Ground,
    share: Vec<u8>,
    faults: Arc<Mutex<Faults>>,
    nodes: Vec<Option<Node>>,
    /// Held as long as this is there.
    presence: Arc<()>,
}

impl Cluster {
    /// A cluster that begins from an image: all nodes unsealed, and one leads.
    pub async fn new(image: &Image, nodes: usize, seed: u64, faults: Faults) -> Self {
        let (random, clock) = (Seeded::new(seed), Clock::stepped(START));
        let ground = match &image.stored {
            Stored::Shared(store) => Ground::Shared { store: Arc::new(store.fork()), observer: None },
            Stored::Disks(disks) => {
                assert_eq!(disks.len(), nodes, "as many as the image has");
                Ground::Raft(Box::new(Raft::new(disks.clone(), &clock, &random, faults.unknown)))
            }
        };
        let mut cluster = Self::at(ground, nodes, random, clock);
        cluster.root.clone_from(&image.root);
        cluster.share.clone_from(&image.share);
        cluster.faults = Arc::new(Mutex::new(faults));
        for node in 0..nodes {
            cluster.restart(node).await;
        }
        cluster.leadership.elect(Some(0));
        if let Ground::Shared { store, .. } = &cluster.ground {
            let looking = NodeCoordinator { node: u64::MAX, leadership: cluster.leadership.clone() };
            let core = cluster.core(&Gate::default(), store.clone(), Arc::new(looking));
            core.services.seal_state.offer_key_part(cluster.share.clone()).await.expect("unseals");
            if let Ground::Shared { observer, .. } = &mut cluster.ground {
                *observer = Some(core);
            }
        }
        cluster.led().await;
        cluster
    }

    fn over(ground: Ground, nodes: usize, random: Seeded) -> Self {
        Self::at(ground, nodes, random, Clock::stepped(START))
    }

    fn at(ground: Ground, nodes: usize, random: Seeded, clock: Clock) -> Self {
        let leadership = Arc::new(Leadership::default());
        leadership.elect(Some(0));
        let presence = Arc::new(());
        if matches!(ground, Ground::Raft(_)) {
            raft::have_time_pass(&presence);
        }
        Self {
            system: System::new(clock.clone(), random.clone()),
            clock,
            leadership,
            root: String::new(),
            random,
            ground,
            share: Vec::new(),
            faults: Arc::default(),
            nodes: (0..nodes).map(|_| None).collect(),
            presence,
        }
    }

    fn core(&self, gate: &Gate, store: Arc<dyn Store>, coordinator: Arc<dyn Coordinator>) -> Arc<Assembly> {
        let entropy = self.random.entropy();
        let barrier = Barrier::new(store, entropy.clone(), 1 << 20);
        let catalog = Catalog::new()
            .with(strongroom_sys::engine())
            .with(strongroom_token::engine())
            .with(strongroom_cubbyhole::engine())
            .with(strongroom_identity_engine::engine())
            .with(outside::engine(&self.system, gate))
            .with(outside::auth(&self.system, gate));
        let environment = Environment { clock: self.clock.clone(), entropy };
        let core = Assembly::new(
            barrier,
            environment,
            Settings::default(),
            catalog,
            Seals::one(Arc::new(ShamirSeal)),
        );
        core.services.node.set_coordination(Coordination::new(coordinator, None));
        core
    }

    async fn start(&mut self, node: usize) -> Arc<Assembly> {
        let gate = Gate::default();
        let (inner, leadership, coordinator): (Arc<dyn Store>, _, Arc<dyn Coordinator>) =
            match &mut self.ground {
                Ground::Shared { store, .. } => {
                    let (node, leadership) = (number(node), self.leadership.clone());
                    let coordinator = NodeCoordinator { node, leadership: leadership.clone() };
                    (store.clone(), Some((leadership, node)), Arc::new(coordinator))
                }
                Ground::Raft(raft) => {
                    let store = raft.open(node, &gate).await;
                    (store.clone(), None, store)
                }
            };
        let store = NodeStore {
            inner,
            gate: gate.clone(),
            leadership,
            faults: self.faults.clone(),
            random: self.random.clone(),
        };
        let core = self.core(&gate, Arc::new(store), coordinator);
        let background = tokio::spawn(core.background.clone().run_background());
        self.nodes[node] = Some(Node { core: core.clone(), gate, background });
        core
    }

    /// Starts a node anew, and unseals it.
    pub async fn restart(&mut self, node: usize) {
        self.crash(node);
        let core = self.start(node).await;
        core.services.seal_state.offer_key_part(self.share.clone()).await.expect("unseals");
    }

    /// Kills a node. Whatever it has sent is on its way; nothing else of it is left, but what its disk was made to keep.
    pub fn crash(&mut self, node: usize) {
        if let Some(node) = self.nodes[node].take() {
            node.gate.kill();
        }
        match &mut self.ground {
            Ground::Shared { .. } if self.leadership.leader() == Some(number(node)) => {
                self.leadership.elect(None);
            }
            Ground::Shared { .. } => {}
            Ground::Raft(raft) => raft.crash(node),
        }
    }

    /// Has another node lead, or so disturbs the nodes that one may.
    pub fn unsettle(&self) {
        let alive: Vec<usize> = (0..self.size()).filter(|node| self.is_alive(*node)).collect();
        let Some(node) = self.random.pick(&alive).copied() else { return };
        match &self.ground {
            Ground::Shared { .. } => self.leadership.elect(Some(number(node))),
            Ground::Raft(raft) if self.random.chance(70) => raft.cut(node),
            Ground::Raft(raft) => {
                let leader = self.leader().and_then(|leader| raft.store(leader)).cloned();
                tokio::spawn(async move {
                    if let Some(leader) = leader {
                        let _told = leader.step_down().await;
                    }
                });
            }
        }
    }

    /// Whatever lies between the nodes works again.
    pub fn mend(&self) {
        if let Ground::Raft(raft) = &self.ground {
            raft.mend();
        }
    }

    /// Commits do not fail any more.
    pub fn calm(&self) {
        *self.faults.lock().expect("not poisoned") = Faults::default();
    }

    /// Waits until somebody leads, where that comes by itself.
    pub async fn led(&self) {
        if matches!(self.ground, Ground::Raft(_)) {
            raft::until("a leader", async || self.leader().is_some()).await;
        }
    }

    /// Snapshots that were sent from node to node.
    pub fn snapshots(&self) -> usize {
        match &self.ground {
            Ground::Shared { .. } => 0,
            Ground::Raft(raft) => raft.snapshots(),
        }
    }

    /// Ends all nodes in order.
    pub async fn close(mut self) {
        self.nodes.clear();
        if let Ground::Raft(raft) = &mut self.ground {
            raft.close().await;
        }
        drop(self.presence);
    }

    /// Whether a node runs, or only stands still.
    pub fn is_alive(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    /// The gate of a node that is alive.
    pub fn gate(&self, node: usize) -> Option<&Gate> {
        self.nodes[node].as_ref().map(|node| &node.gate)
    }

    /// The core of a node that is alive.
    pub fn node(&self, node: usize) -> Option<&Arc<Assembly>> {
        self.nodes[node].as_ref().map(|node| &node.core)
    }

    /// Has somebody listen to the events of a node, with room for all of them; what is not yet taken is not lost with it.
    pub fn listen(&self, node: usize) -> Option<Subscription> {
        let bus = &self.node(node)?.services.events;
        Some(bus.subscribe(usize::MAX, Box::new(|_| true)).unwrap_or_else(|_many| panic!("one listens")))
    }

    /// The number of nodes, alive or not.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// The node that leads and is alive.
    pub fn leader(&self) -> Option<usize> {
        let leads = |node: &usize| match &self.ground {
            Ground::Shared { .. } => self.leadership.leader() == Some(number(*node)),
            Ground::Raft(raft) => raft.leads(*node) && self.gate(*node).is_some_and(Gate::is_running),
        };
        (0..self.size()).find(|node| self.is_alive(*node) && leads(node))
    }

    /// Whether each node has its own store, so that a standby may be behind.
    pub const fn lags(&self) -> bool {
        matches!(self.ground, Ground::Raft(_))
    }

    /// Sends a request to a node, in a task of its client's, who goes away after `looks` at it. A standby hands it on as it
    /// decides. `None`: there was no answer.
    pub fn send(&self, node: usize, request: &Request, looks: Option<usize>) -> JoinHandle<Option<Response>> {
        let asked = self.node(node).cloned();
        let leader = self.leader();
        let gates = [self.gate(node).cloned(), leader.and_then(|leader| self.gate(leader).cloned())];
        let leader = leader.and_then(|leader| self.node(leader).cloned());
        let inbound = request.inbound();
        let again = request.inbound();
        let asking = async move {
            let asked = asked?;
            if asked.services.node.is_active() {
                return Some(Response::from(asked.pipeline.handle(inbound).await));
            }
            if let Some(answer) = asked.pipeline.handle_as_standby(inbound).await {
                return Some(Response::from(answer));
            }
            Some(Response::from(leader?.pipeline.handle(again).await))
        };
        let asking = Impatient { inner: Box::pin(asking), looks: looks.unwrap_or(usize::MAX) };
        tokio::spawn(async move {
            let [first, second] = gates.map(Option::unwrap_or_default);
            tokio::select! {
                biased;
                answer = asking => answer.flatten(),
                () = first.died() => None,
                () = second.died() => None,
            }
        })
    }

    /// The answer of the leader.
    pub async fn ask(&self, request: &Request) -> Response {
        self.led().await;
        let leader = self.leader().expect("a leader");
        let core = self.node(leader).expect("alive").clone();
        core.pipeline.handle(request.inbound()).await.into()
    }

    /// As the root token; anything but a success fails the test.
    pub async fn done(&self, asked: Verb, path: &str, input: serde_json::Value) -> Response {
        let response = self.ask(&Request::new(&self.root, asked, path, input)).await;
        assert!(response.status < 300, "{path}: {} {}", response.status, response.body);
        response
    }

    /// Lets tasks go on, and what is under way outside arrive.
    pub async fn run(&self) {
        self.breathe().await;
        if self.system.deliver() {
            self.breathe().await;
        }
    }

    async fn breathe(&self) {
        match &self.ground {
            Ground::Shared { .. } => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
            // Messages between nodes and their logs take their time.
            Ground::Raft(_) => {
                tokio::time::sleep(Duration::from_millis(3 + self.random.below(30))).await;
            }
        }
    }

    /// Time passes.
    pub async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        self.run().await;
    }

    /// Who can see all that was ever acknowledged, whatever nodes do: `None` while nobody can.
    fn observer(&self) -> Option<&Arc<Assembly>> {
        match &self.ground {
            Ground::Shared { observer, .. } => observer.as_ref(),
            Ground::Raft(_) => self.node(self.leader()?),
        }
    }

    /// Leases of secrets at a path of a namespace by id, with their state: as they are stored.
    pub async fn leases(&self, namespace: NamespaceId, folder: &str) -> Vec<(String, LeaseState)> {
        self.led().await;
        self.try_leases(namespace, folder).await.expect("somebody can see")
    }

    /// The same; `None` while nobody can see all that was acknowledged.
    pub async fn try_leases(
        &self,
        namespace: NamespaceId,
        folder: &str,
    ) -> Option<Vec<(String, LeaseState)>> {
        let observer = self.observer()?;
        let view = observer.services.barrier.pinned_view().await.expect("a view");
        let names = observer.services.leases.lease_children(&view, namespace, folder, None, usize::MAX).await;
        let mut leases = Vec::new();
        for name in names.expect("read") {
            let id = format!("{folder}{name}");
            let lease = observer.services.leases.lease(&view, namespace, &id).await.expect("read");
            // A wrapping token is a lease of the path whose answer it wraps.
            if let Some(lease) = lease.filter(|lease| lease.token.is_none()) {
                leases.push((id, lease.state.clone()));
            }
        }
        Some(leases)
    }

    /// The number of the namespace `team/`.
    pub async fn team(&self) -> NamespaceId {
        let router =
            self.observer().expect("somebody leads").services.mounts.router().await.expect("a router");
        let (found, rest) = router.descend(NamespaceId::ROOT, "team/x").expect("namespaces");
        assert_eq!(rest, "x");
        found.id
    }
}

fn number(node: usize) -> u64 {
    u64::try_from(node).expect("a small number")
}
