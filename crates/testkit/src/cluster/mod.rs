//! Whole cores over one store: nodes that lead, follow, crash, stand still and come back.

mod client;
mod gate;
mod leadership;
mod store;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use strongroom_barrier::{Barrier, NamespaceId};
use strongroom_core::{Asked, Assembly, Catalog, Coordination, InitRequest, LeaseState, Settings};
use strongroom_engine_api::{Clock, Environment, Moment};
use strongroom_events::Subscription;
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::{InMemory, Store};
use tokio::task::JoinHandle;

pub use client::{Request, Response};
pub use gate::Gate;
pub use leadership::Leadership;
pub use store::Faults;

use crate::Seeded;
use crate::outside::{self, System};
use client::Impatient;
use leadership::NodeCoordinator;
use store::NodeStore;

/// The moment at which every cluster begins.
const START: Moment = Moment::from_secs(1_700_000_000);

/// A state to begin from, made once: initialized, with the mounts `db/`, `other/` and `auth/code/`, and in the namespace
/// `team/` with `db/`; a policy `all` that grants everything.
pub struct Image {
    store: InMemory,
    share: Vec<u8>,
    root: String,
}

impl Image {
    /// Makes it.
    pub async fn new() -> Self {
        let store = Arc::new(InMemory::new());
        let empty = Self { store: InMemory::new(), share: Vec::new(), root: String::new() };
        let mut cluster = Cluster::over(store.clone(), &empty, 1, 0, Faults::default());
        let core = cluster.start(0);
        let made =
            core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.expect("initializes");
        cluster.share = made.key_parts[0].expose().clone();
        core.services.seal_state.offer_key_part(cluster.share.clone()).await.expect("unseals");
        cluster.root = made.root_token.expose().clone();
        let enable = json!({ "type": "outside" });
        cluster.done(Asked::Write, "sys/mounts/db", enable.clone()).await;
        cluster.done(Asked::Write, "sys/mounts/other", enable.clone()).await;
        cluster.done(Asked::Write, "sys/auth/code", json!({ "type": "outside-code" })).await;
        cluster.done(Asked::Write, "sys/namespaces/team", json!({})).await;
        cluster.done(Asked::Write, "team/sys/mounts/db", enable).await;
        let everything =
            r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;
        cluster.done(Asked::Write, "sys/policies/acl/all", json!({ "policy": everything })).await;
        Self { store: store.fork(), share: cluster.share.clone(), root: cluster.root.clone() }
    }
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

/// Some nodes over one store, and the system outside.
pub struct Cluster {
    /// Time.
    pub clock: Clock,
    /// The system outside.
    pub system: System,
    /// Who leads.
    pub leadership: Arc<Leadership>,
    /// The token that may do everything.
    pub root: String,
    random: Seeded,
    store: Arc<InMemory>,
    share: Vec<u8>,
    faults: Faults,
    nodes: Vec<Option<Node>>,
    observer: Option<Arc<Assembly>>,
}

impl Cluster {
    /// A cluster that begins from an image: all nodes unsealed, the first leads.
    pub async fn new(image: &Image, nodes: usize, seed: u64, faults: Faults) -> Self {
        let store = Arc::new(image.store.fork());
        let mut cluster = Self::over(store, image, nodes, seed, faults);
        for node in 0..nodes {
            cluster.restart(node).await;
        }
        cluster.leadership.elect(Some(0));
        let observer = cluster.core(&Gate::default(), None);
        observer.services.seal_state.offer_key_part(cluster.share.clone()).await.expect("unseals");
        cluster.observer = Some(observer);
        cluster
    }

    fn over(store: Arc<InMemory>, image: &Image, nodes: usize, seed: u64, faults: Faults) -> Self {
        let (random, clock) = (Seeded::new(seed), Clock::stepped(START));
        let leadership = Arc::new(Leadership::default());
        leadership.elect(Some(0));
        Self {
            system: System::new(clock.clone(), random.clone()),
            clock,
            leadership,
            root: image.root.clone(),
            random,
            store,
            share: image.share.clone(),
            faults,
            nodes: (0..nodes).map(|_| None).collect(),
            observer: None,
        }
    }

    /// A core over the shared store: of a node, or of one who only looks on.
    fn core(&self, gate: &Gate, node: Option<u64>) -> Arc<Assembly> {
        let entropy = self.random.entropy();
        let number = node.unwrap_or(u64::MAX);
        let store: Arc<dyn Store> = match node {
            None => self.store.clone(),
            Some(node) => Arc::new(NodeStore {
                shared: self.store.clone(),
                node,
                gate: gate.clone(),
                leadership: self.leadership.clone(),
                faults: self.faults,
                random: self.random.clone(),
            }),
        };
        let barrier = Barrier::new(store, entropy.clone(), 1 << 20);
        let catalog = Catalog::new()
            .with(strongroom_sys::engine())
            .with(strongroom_token::engine())
            .with(strongroom_cubbyhole::engine())
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
        let coordinator = NodeCoordinator { node: number, leadership: self.leadership.clone() };
        core.services.node.set_coordination(Coordination::new(Arc::new(coordinator), None));
        core
    }

    fn start(&mut self, node: usize) -> Arc<Assembly> {
        let gate = Gate::default();
        let core = self.core(&gate, Some(number(node)));
        let background = tokio::spawn(core.background.clone().run_background());
        self.nodes[node] = Some(Node { core: core.clone(), gate, background });
        core
    }

    /// Starts a node anew, and unseals it.
    pub async fn restart(&mut self, node: usize) {
        self.crash(node);
        let core = self.start(node);
        core.services.seal_state.offer_key_part(self.share.clone()).await.expect("unseals");
    }

    /// Kills a node. Whatever it has sent is on its way; nothing else of it is left.
    pub fn crash(&mut self, node: usize) {
        if let Some(node) = self.nodes[node].take() {
            node.gate.kill();
        }
        if self.leadership.leader() == Some(number(node)) {
            self.leadership.elect(None);
        }
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
        let leader = self.leadership.leader()?;
        (0..self.size()).find(|node| number(*node) == leader && self.is_alive(*node))
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
        let leader = self.leader().expect("a leader");
        let core = self.node(leader).expect("alive").clone();
        core.pipeline.handle(request.inbound()).await.into()
    }

    /// As the root token; anything but a success fails the test.
    pub async fn done(&self, asked: Asked, path: &str, input: serde_json::Value) -> Response {
        let response = self.ask(&Request::new(&self.root, asked, path, input)).await;
        assert!(response.status < 300, "{path}: {} {}", response.status, response.body);
        response
    }

    /// Lets tasks go on, and what is under way outside arrive.
    pub async fn run(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        if self.system.deliver() {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Time passes.
    pub async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        self.run().await;
    }

    /// Leases of secrets at a path of a namespace by id, with their state: as they are stored, whatever nodes do.
    pub async fn leases(&self, namespace: NamespaceId, folder: &str) -> Vec<(String, LeaseState)> {
        let observer = self.observer.as_ref().expect("a cluster from an image");
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
        leases
    }

    /// The number of the namespace `team/`.
    pub async fn team(&self) -> NamespaceId {
        let observer = self.observer.as_ref().expect("a cluster from an image");
        let router = observer.services.mounts.router().await.expect("a router");
        let (found, rest) = router.descend(NamespaceId::ROOT, "team/x").expect("namespaces");
        assert_eq!(rest, "x");
        found.id
    }
}

fn number(node: usize) -> u64 {
    u64::try_from(node).expect("a small number")
}
