//! Nodes that each have a durable store of their own: disks in memory that lose what was not synced, and links that can be
//! cut.
//!
//! A node that is killed leaves its disk as of that moment, by some seeds after a power cut. What is left of its process
//! goes on against a directory that nobody opens again, behind a gate that lets nothing out.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_engine_api::Clock;
use strongroom_raft::testing::{DiskState, Hub, WatchedDisk, Wire};
use strongroom_raft::{Member, Options, Peer, RaftStore, Role, Rpc, Transport, TransportError};
use strongroom_storage::Store as _;
use tempfile::TempDir;

use super::Gate;
use crate::Seeded;

/// The time that raft is given to settle anything; nobody waits for as long.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// The stores of the nodes that run, and the disks of those that do not.
pub(super) struct Raft {
    hub: Arc<Hub>,
    gates: Gates,
    random: Seeded,
    clock: Clock,
    /// Answers of peers that are lost, in percent.
    lost: u64,
    folder: TempDir,
    opened: usize,
    disks: Vec<DiskState>,
    running: Vec<Option<Running>>,
}

struct Running {
    store: Arc<RaftStore>,
    disk: WatchedDisk,
    path: PathBuf,
}

type Gates = Arc<Mutex<HashMap<u64, Gate>>>;

impl Raft {
    pub(super) fn new(disks: Vec<DiskState>, clock: &Clock, random: &Seeded, lost: u64) -> Self {
        // In memory where there is such a place: what a crash leaves is decided here, not by a device.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        Self {
            hub: Arc::default(),
            gates: Gates::default(),
            random: random.clone(),
            clock: clock.clone(),
            lost,
            folder,
            opened: 0,
            running: disks.iter().map(|_| None).collect(),
            disks,
        }
    }

    fn options(&self, node: usize, path: &std::path::Path) -> Options {
        let mut options = Options::new(path);
        options.node_id = Some(format!("n{node}"));
        options.api_address = format!("https://n{node}:8200");
        options.bootstrap = false;
        options.clock = self.clock.clone();
        options.entropy = self.random.entropy();
        // So small that checkpoints, compaction and snapshots happen within a schedule.
        options.segment_size = 256 << 10;
        options.max_commit_size = 100 << 10;
        options.max_batch_size = 64 << 10;
        options.cache_size = 1 << 20;
        options.memtable_size = 64 << 10;
        options.log_cache_size = 64 << 10;
        options.snapshot_threshold = 24;
        options.trailing_logs = 8;
        options.reserve = Some(0);
        options
    }

    /// Opens the store of a node that does not run, from what its disk holds.
    pub(super) async fn open(&mut self, node: usize, gate: &Gate) -> Arc<RaftStore> {
        let path = self.folder.path().join(self.opened.to_string());
        self.opened += 1;
        std::fs::create_dir(&path).expect("a new directory");
        let disk = self.disks[node].place(&path);
        let wire = Arc::new(Wire::new(&self.hub));
        let mut options = self.options(node, &path);
        options.transport = Arc::new(Link {
            wire: wire.clone(),
            gate: gate.clone(),
            gates: self.gates.clone(),
            random: self.random.clone(),
            lost: self.lost,
        });
        let store = RaftStore::open(options).await.unwrap_or_else(|error| panic!("node {node}: {error}"));
        self.gates.lock().expect("not poisoned").insert(store.raft_id(), gate.clone());
        wire.join(&store);
        self.running[node] = Some(Running { store: store.clone(), disk, path });
        store
    }

    /// The process is gone, and with it what its disk had not been asked to keep.
    pub(super) fn crash(&mut self, node: usize) {
        if let Some(Running { store, disk, path }) = self.running[node].take() {
            self.disks[node] = disk.crashed(self.random.next());
            let _leftover = std::fs::remove_dir_all(path);
            // Its threads end when it is closed; nothing that it does meanwhile is seen by anybody.
            tokio::spawn(async move { store.close().await });
        }
    }

    /// Ends all in order; answers what the disks hold then.
    pub(super) async fn close(&mut self) -> Vec<DiskState> {
        for node in 0..self.running.len() {
            if let Some(Running { store, disk, .. }) = self.running[node].take() {
                store.close().await;
                self.disks[node] = disk.content();
            }
        }
        self.disks.clone()
    }

    pub(super) fn store(&self, node: usize) -> Option<&Arc<RaftStore>> {
        self.running[node].as_ref().map(|running| &running.store)
    }

    /// Whether a node leads, as it knows itself by its lease.
    pub(super) fn leads(&self, node: usize) -> bool {
        self.store(node).is_some_and(|store| store.role() == Role::Leads)
    }

    /// Cuts the ways from one node to another, or of one node to all, in one direction or both.
    pub(super) fn cut(&self, node: usize) {
        let Some(one) = self.store(node).map(|store| store.raft_id()) else { return };
        let ways = self.random.below(3);
        let all = self.random.chance(60);
        let others = self.running.iter().flatten().map(|running| running.store.raft_id());
        let mut cut = self.hub.cut.lock().expect("not poisoned");
        for other in others.filter(|other| *other != one && (all || self.random.chance(50))) {
            if ways != 1 {
                cut.insert((one, other));
            }
            if ways != 2 {
                cut.insert((other, one));
            }
        }
    }

    /// All ways are open.
    pub(super) fn mend(&self) {
        self.hub.cut.lock().expect("not poisoned").clear();
    }

    /// Snapshots that were sent from node to node.
    pub(super) fn snapshots(&self) -> usize {
        self.hub.snapshots.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Makes the other nodes members of the first one's cluster, and waits until they have all that it has.
    pub(super) async fn admit_all(&mut self) {
        let leader = self.store(0).expect("it runs").clone();
        for node in 1..self.running.len() {
            let gate = Gate::default();
            let store = self.open(node, &gate).await;
            store.adopt(&leader.cluster_id(), &leader.introduction()).await.expect("adopted");
            let member = Member {
                raft_id: store.raft_id(),
                node_id: store.node_id().to_owned(),
                api_address: format!("https://n{node}:8200"),
                cluster_address: format!("n{node}:8201"),
                non_voter: false,
            };
            leader.admit(&member).await.expect("admitted");
            until("a vote", async || leader.promote(store.node_id()).await.is_ok_and(|done| done)).await;
            until("all data", async || store.applied() >= leader.applied()).await;
        }
    }
}

/// Asks until it is so.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_late| panic!("not {what}"));
}

/// A node's way to its peers: nothing passes while either stands still, and answers are lost.
struct Link {
    wire: Arc<Wire>,
    gate: Gate,
    gates: Gates,
    random: Seeded,
    lost: u64,
}

impl Link {
    /// Returns the peer's gate when both run.
    async fn pass(&self, peer: &Peer) -> Result<Gate, TransportError> {
        self.gate.pass().await;
        let theirs = self.gates.lock().expect("not poisoned").get(&peer.raft_id).cloned();
        let theirs = theirs.filter(|gate| !gate.is_dead()).ok_or_else(|| unreachable(peer))?;
        theirs.pass().await;
        Ok(theirs)
    }

    /// An answer on its way back.
    async fn back(
        &self,
        answer: Result<Bytes, TransportError>,
        (peer, theirs): (&Peer, Gate),
    ) -> Result<Bytes, TransportError> {
        // What a process does behind its end is not to be believed: its disk has kept nothing of it.
        if theirs.is_dead() {
            return Err(unreachable(peer));
        }
        self.gate.pass().await;
        if self.random.chance(self.lost) { Err(lost()) } else { answer }
    }
}

fn unreachable(peer: &Peer) -> TransportError {
    TransportError::Unreachable(peer.node_id.clone())
}

fn lost() -> TransportError {
    TransportError::Failed("the answer was lost".to_owned())
}

#[async_trait]
impl Transport for Link {
    async fn call(&self, peer: &Peer, rpc: Rpc, body: Bytes) -> Result<Bytes, TransportError> {
        let theirs = self.pass(peer).await?;
        // What was sent arrives also where the sender waits no longer.
        let (wire, to) = (self.wire.clone(), peer.clone());
        let answer = tokio::spawn(async move { wire.call(&to, rpc, body).await });
        let answer = answer.await.map_err(|_panic| lost())?;
        self.back(answer, (peer, theirs)).await
    }

    async fn send_snapshot(
        &self,
        peer: &Peer,
        head: Bytes,
        body: Box<dyn Read + Send>,
    ) -> Result<Bytes, TransportError> {
        let theirs = self.pass(peer).await?;
        let answer = self.wire.send_snapshot(peer, head, body).await;
        self.back(answer, (peer, theirs)).await
    }
}

/// Has raft's time pass, by small steps, as long as a cluster is there. Between the steps, the threads that write logs and
/// tables have a moment for their work, which is under way in no time at all otherwise.
pub(super) fn have_time_pass(cluster: &Arc<()>) {
    let cluster: Weak<()> = Arc::downgrade(cluster);
    // Time that is stepped does not run ahead by itself while a thread works.
    let (done, stays) = std::sync::mpsc::channel::<()>();
    drop(tokio::task::spawn_blocking(move || stays.recv()));
    tokio::spawn(async move {
        while cluster.strong_count() > 0 {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            std::thread::sleep(Duration::from_micros(10));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        drop(done);
    });
}
