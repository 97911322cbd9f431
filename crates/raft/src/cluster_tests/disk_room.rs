//! Nodes whose disks fill up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_storage::{CommitError, Store};

use super::{Cluster, FREE, until};
use crate::RaftStore;
use crate::tests::{get, put};

impl Cluster {
    fn fill(&self, node: &RaftStore) {
        self.free_of(node.node_id()).store(0, Ordering::SeqCst);
    }

    fn make_room(&self, node: &RaftStore) {
        self.free_of(node.node_id()).store(FREE, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_leader_gives_way_to_one_that_has_room() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    old.commit(put("kept", "1")).await.unwrap();
    cluster.agree().await;
    let others = cluster.others(&old);
    let full = &others[0];
    cluster.fill(full);
    cluster.fill(&old);
    until("a refusal", async || {
        matches!(old.commit(put("refused", "1")).await, Err(CommitError::NoSpace)).then_some(())
    })
    .await;
    until("another leader", async || others[1].leading()).await;
    others[1].commit(put("kept", "2")).await.unwrap();
    assert!(!full.is_leader());
    assert_eq!(others[1].successors().await, Vec::<String>::new(), "the others have no room");

    // The full ones come back, and take leadership again.
    cluster.make_room(full);
    cluster.make_room(&old);
    until("successors", async || (others[1].successors().await.len() == 2).then_some(())).await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_full_one_leads_all_the_same() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    old.commit(put("kept", "1")).await.unwrap();
    cluster.agree().await;
    for node in &cluster.nodes {
        cluster.fill(node);
    }
    until("a refusal", async || {
        matches!(old.commit(put("refused", "1")).await, Err(CommitError::NoSpace)).then_some(())
    })
    .await;
    let term = old.status().term;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((old.is_leader(), old.status().term), (true, term), "there is nobody to hand over to");
    // When it is gone, they wait for one that has room, and go on without in the end.
    cluster.isolate(&old);
    let new = cluster.leader_among(&cluster.others(&old)).await;
    assert_eq!(get(&new, "kept").await.as_deref(), Some(b"1".as_slice()));
    cluster.heal();
    for node in &cluster.nodes {
        cluster.make_room(node);
    }
    until("writes", async || cluster.leader().await.commit(put("kept", "2")).await.ok()).await;
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_follower_is_not_elected() {
    let cluster = Cluster::of(3).await;
    let old = cluster.leader().await;
    cluster.agree().await;
    let others = cluster.others(&old);
    cluster.fill(&others[0]);
    until("that it knows", async || (!others[0].is_ready()).then_some(())).await;
    // It looks twice a second; elections here are faster.
    others[0].settle_candidacy();
    assert!(old.hand_over(others[0].node_id()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!others[0].is_leader(), "it takes no leadership that is offered");
    cluster.isolate(&old);
    until("another leader", async || others[1].leading()).await;
    cluster.heal();
    cluster.make_room(&others[0]);
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_gives_up_what_it_keeps_for_others() {
    let cluster = Cluster::of(1).await;
    let store = cluster.leader().await;
    for n in 0..100 {
        store.commit(put(format!("key/{n}"), vec![7; 3000])).await.unwrap();
    }
    let log = cluster.root.path().join("n0").join("log");
    let files = || std::fs::read_dir(&log).unwrap().count();
    cluster.fill(&store);
    let last = store.status().last_log;
    let purged = || store.inner.log.purged().map(|purged| purged.index);
    until("a log without entries", async || (purged() == Some(last)).then_some(())).await;
    // What is being filled, what comes next, the vote, room for another, and the committed position.
    until("few files", async || (files() <= 5).then_some(())).await;
    cluster.make_room(&store);
    until("writes", async || store.commit(put("after", "1")).await.ok()).await;
    cluster.close().await;
}
