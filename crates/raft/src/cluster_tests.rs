//! Several nodes in one process, over a network that can be cut.

mod candidacy;
mod disk_room;
mod recovery;
mod senders;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_storage::{CommitError, Index, Observer, Store};
use tempfile::TempDir;

use crate::space::Room;
use crate::testing::{Hub, Wire};
use crate::tests::{all, get, options, put, saved};
use crate::{Introduction, Member, Options, RaftStore, Role};

/// Bytes left where nothing was filled, and bytes below which writes are refused.
const FREE: u64 = 1 << 30;
const RESERVE: u64 = 1 << 20;

/// A cluster under test.
struct Cluster {
    hub: Arc<Hub>,
    /// Bytes that each node's disk has left, by name.
    free: Mutex<HashMap<String, Arc<AtomicU64>>>,
    root: TempDir,
    nodes: Vec<Arc<RaftStore>>,
}

fn small(path: &Path) -> Options {
    let mut options = options(path);
    options.snapshot_threshold = 64;
    options.trailing_logs = 16;
    options
}

fn member(store: &RaftStore) -> Member {
    Member {
        raft_id: store.raft_id(),
        node_id: store.node_id().to_owned(),
        api_address: format!("https://{}:8200", store.node_id()),
        cluster_address: format!("{}:8201", store.node_id()),
        non_voter: false,
    }
}

impl Cluster {
    async fn of(size: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut cluster = Self { hub: Arc::default(), free: Mutex::default(), root, nodes: Vec::new() };
        let first = cluster.open("n0").await;
        first.begin().await.unwrap();
        cluster.nodes.push(first);
        for n in 1..size {
            cluster.add(&format!("n{n}")).await;
        }
        cluster
    }

    async fn open(&self, name: &str) -> Arc<RaftStore> {
        let wire = Arc::new(Wire::new(&self.hub));
        let mut options = small(&self.root.path().join(name));
        options.node_id = Some(name.into());
        options.api_address = format!("https://{name}:8200");
        options.bootstrap = false;
        options.transport = wire.clone();
        options.reserve = Some(RESERVE);
        let free = self.free_of(name);
        options.probe = Some(Arc::new(move || Ok(Room { free: free.load(Ordering::SeqCst), total: FREE })));
        let store = RaftStore::open(options).await.unwrap();
        wire.join(&store);
        store
    }

    fn free_of(&self, name: &str) -> Arc<AtomicU64> {
        let mut free = self.free.lock().unwrap();
        free.entry(name.to_owned()).or_insert_with(|| Arc::new(AtomicU64::new(FREE))).clone()
    }

    /// Admits a new node and gives it a vote.
    async fn add(&mut self, name: &str) {
        let leader = self.leader().await;
        let store = self.open(name).await;
        store.adopt(&leader.cluster_id(), &leader.introduction()).await.unwrap();
        leader.admit(&member(&store)).await.unwrap();
        // What the leader tells of its members may be a moment older than what it has done.
        until("its vote", async || leader.promote(name).await.unwrap().then_some(())).await;
        self.nodes.push(store);
    }

    async fn leader(&self) -> Arc<RaftStore> {
        self.leader_among(&self.nodes).await
    }

    async fn leader_among(&self, nodes: &[Arc<RaftStore>]) -> Arc<RaftStore> {
        until("a leader", async || {
            for node in nodes {
                if node.role() == Role::Leads {
                    return Some(node.clone());
                }
            }
            None
        })
        .await
    }

    fn others(&self, than: &RaftStore) -> Vec<Arc<RaftStore>> {
        self.nodes.iter().filter(|node| node.raft_id() != than.raft_id()).cloned().collect()
    }

    /// Cuts a node off from all others, in both directions.
    fn isolate(&self, node: &RaftStore) {
        let mut cut = self.hub.cut.lock().unwrap();
        for other in self.others(node) {
            cut.insert((node.raft_id(), other.raft_id()));
            cut.insert((other.raft_id(), node.raft_id()));
        }
    }

    fn heal(&self) {
        self.hub.cut.lock().unwrap().clear();
    }

    /// Every node has what the leader has.
    async fn agree(&self) {
        let leader = self.leader().await;
        let index = leader.commit(put("agreed", "upon")).await.unwrap();
        let expected = all(&leader).await;
        for node in &self.nodes {
            let waited = tokio::time::timeout(Duration::from_secs(20), node.wait_applied(index)).await;
            waited
                .unwrap_or_else(|_| panic!("{} stays behind: {:?}", node.node_id(), node.status()))
                .unwrap();
            assert_eq!(all(node).await, expected, "{}", node.node_id());
        }
    }

    async fn close(self) {
        for node in self.nodes {
            node.close().await;
        }
    }
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("no {what}"))
}

#[derive(Default)]
struct Told(AtomicU64, AtomicUsize);

impl Observer for Told {
    fn applied(&self, index: Index, _keys: &[&[u8]]) {
        let before = self.0.swap(index, Ordering::SeqCst);
        assert!(index > before, "{index} after {before}");
    }

    fn replaced(&self, index: Index) {
        self.0.store(index, Ordering::SeqCst);
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_accepts_all_have() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let told = Arc::new(Told::default());
    // Past its first entry, which is number 0.
    cluster.agree().await;
    cluster.nodes[2].observe(told.clone());
    for n in 0..300 {
        leader.commit(put(format!("key/{n:03}"), "value")).await.unwrap();
    }
    cluster.agree().await;
    assert_eq!(told.0.load(Ordering::SeqCst), cluster.nodes[2].applied(), "followers tell their observers");
    let refused = cluster.nodes[1].commit(put("a", "b")).await;
    let Err(CommitError::NotLeader { leader: Some(address) }) = refused else { panic!("{refused:?}") };
    assert_eq!(address, "https://n0:8200");
    let voters: Vec<_> =
        leader.members().iter().map(|m| (m.member.node_id.clone(), m.voter, m.leader)).collect();
    let expected = [("n0", true, true), ("n1", true, false), ("n2", true, false)];
    assert_eq!(voters, expected.map(|(name, voter, leads)| (name.to_owned(), voter, leads)));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_acknowledges_nothing_and_catches_up() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.agree().await;
    cluster.isolate(&old);
    let lost = tokio::spawn({
        let old = old.clone();
        async move { old.commit(put("lost", "1")).await }
    });
    let new = cluster.leader_among(&cluster.others(&old)).await;
    assert!(matches!(old.role(), Role::Unsure { .. }), "two leaders at a time: {:?}", old.role());
    new.commit(put("kept", "1")).await.unwrap();
    cluster.heal();
    let outcome = tokio::time::timeout(Duration::from_secs(20), lost).await.unwrap().unwrap();
    assert!(outcome.is_err(), "acknowledged without a majority: {outcome:?}");
    cluster.agree().await;
    assert_eq!(get(&old, "kept").await.as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(&old, "lost").await, None);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hears_nobody_gives_way() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.agree().await;
    let others = cluster.others(&old);
    for other in &others {
        cluster.hub.cut.lock().unwrap().insert((other.raft_id(), old.raft_id()));
    }
    let new = cluster.leader_among(&others).await;
    assert!(matches!(old.role(), Role::Unsure { .. }));
    new.commit(put("kept", "1")).await.unwrap();
    cluster.heal();
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_notices_that_it_is_alone() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(&leader).remove(0);
    until("a follower", async || (follower.role() == Role::Follows).then_some(())).await;
    cluster.isolate(&follower);
    let since = until("loneliness", async || follower.role().without_quorum()).await;
    assert!(since < Duration::from_secs(1));
    assert!(matches!(follower.role(), Role::CutOff { .. }));
    assert_eq!(leader.role(), Role::Leads, "two of three are enough");
    cluster.heal();
    until("a follower", async || (follower.role() == Role::Follows).then_some(())).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_counts_on_its_lease_no_longer() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let old = cluster.leader().await;
    let successors = old.successors().await;
    assert_eq!(successors.len(), 2, "{successors:?}");
    assert!(old.hand_over(&successors[0]).await.unwrap());
    assert_ne!(old.role(), Role::Leads);
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_elects_nobody() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    for other in &others {
        cluster.isolate(other);
    }
    let term = others[0].status().term;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(others.iter().all(|node| !node.is_leader()));
    assert_eq!(others[0].status().term, term, "a node that cannot win does not raise the term");
    cluster.heal();
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_gets_a_snapshot_also_when_it_breaks_off() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    for n in 0..400 {
        leader.commit(put(format!("key/{n:03}"), vec![b'v'; 100])).await.unwrap();
    }
    // To its end: another one while the snapshot is under way would take a second snapshot.
    let due = 64 + 16;
    until("compaction", async || {
        leader.inner.log.purged().is_some_and(|p| p.index + due > leader.applied()).then_some(())
    })
    .await;
    cluster.hub.breaking.store(2, Ordering::SeqCst);
    let told = Arc::new(Told::default());
    let late = cluster.open("late").await;
    late.adopt(&leader.cluster_id(), &leader.introduction()).await.unwrap();
    late.observe(told.clone());
    leader.admit(&member(&late)).await.unwrap();
    cluster.nodes.push(late.clone());
    cluster.agree().await;
    assert!(cluster.hub.snapshots.load(Ordering::SeqCst) >= 3, "two broke off, one arrived");
    assert_eq!(told.1.load(Ordering::SeqCst), 1, "only a whole snapshot replaces anything");
    assert!(!cluster.root.path().join("late").join(crate::spool::INCOMING).exists());
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let old = cluster.leader().await;
    assert!(old.hand_over("n2").await.unwrap());
    until("n2 leading", async || cluster.nodes[2].is_leader().then_some(())).await;
    cluster.agree().await;
    assert!(!old.hand_over("n1").await.unwrap(), "it leads no more");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lost_its_data_comes_back_under_its_name() {
    let mut cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let at = cluster.nodes.iter().position(|node| node.raft_id() != leader.raft_id()).unwrap();
    let lost = cluster.nodes.remove(at);
    let name = lost.node_id().to_owned();
    lost.close().await;
    std::fs::remove_dir_all(cluster.root.path().join(&name)).unwrap();
    cluster.add(&name).await;
    cluster.agree().await;
    assert_eq!(leader.members().len(), 3);
    leader.remove(&name).await.unwrap();
    assert_eq!(leader.members().len(), 2);
    leader.remove("nobody").await.unwrap();
    cluster.nodes.pop().unwrap().close().await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_takes_no_other_clusters_identity() {
    let cluster = Cluster::of(1).await;
    assert!(cluster.nodes[0].adopt("other", &Introduction::default()).await.is_err());
    let fresh = cluster.open("fresh").await;
    fresh.adopt("first", &Introduction::default()).await.unwrap();
    fresh.adopt("second", &Introduction::default()).await.unwrap();
    fresh.close().await;
    let again = cluster.open("fresh").await;
    assert_eq!(&*again.cluster_id(), "second");
    assert!(matches!(again.commit(put("a", "1")).await, Err(CommitError::NotLeader { leader: None })));
    again.close().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_cluster_goes_on() {
    let mut cluster = Cluster::of(3).await;
    cluster.agree().await;
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    for name in ["n0", "n1", "n2"] {
        let node = cluster.open(name).await;
        cluster.nodes.push(node);
    }
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_who_could_lead() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    others[0].set_eligible(false);
    assert_eq!(leader.successors().await, [others[1].node_id()]);
    cluster.hub.cut.lock().unwrap().insert((leader.raft_id(), others[1].raft_id()));
    assert!(leader.successors().await.is_empty());
    cluster.heal();
    others[1].set_eligible(false);
    assert!(leader.successors().await.is_empty());
    cluster.agree().await;
    assert_eq!(cluster.leader().await.raft_id(), leader.raft_id());
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_have_what_is_restored() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    for n in 0..50 {
        leader.commit(put(format!("k{n}"), "x".repeat(1000))).await.unwrap();
    }
    let state = saved(&leader).await;
    leader.commit(put("later", "not in it")).await.unwrap();
    let behind = cluster.others(&leader).remove(0);
    cluster.isolate(&behind);
    let index = leader.restore(std::io::Cursor::new(state), 5).await.unwrap();
    assert_eq!(all(&leader).await.len(), 50);
    // So much more that who was away is brought up to date by a snapshot.
    for n in 0..100 {
        leader.commit(put("after", n.to_string())).await.unwrap();
    }
    cluster.heal();
    cluster.agree().await;
    for node in &cluster.nodes {
        node.wait_applied(index).await.unwrap();
        assert_eq!(get(node, "later").await, None);
        assert_eq!(get(node, "after").await.unwrap(), "99");
        assert_eq!(all(node).await, all(&leader).await);
    }
    cluster.close().await;
}
