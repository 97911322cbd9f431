//! The powers of a node that holds some key of the cluster, and their limits.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use strongroom_storage::Store;

use super::{Cluster, member, until};
use crate::network::encode;
use crate::terms::{MAX_TERM, MAX_TERM_LEAP};
use crate::tests::{all, get, put};
use crate::types::{Entry, LeaderId, LogId, Types, Vote};
use crate::{Introduction, Kept, Offline, Position, RaftStore, Role, Rpc, Sender};

fn vote(term: u64, node_id: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term, node_id }, committed }
}

/// All messages of the consensus protocol that a node can send, under this vote.
fn messages(vote: Vote, to: &RaftStore) -> Vec<(Rpc, Vec<u8>)> {
    let last_log_id = to.inner.log.last();
    let asking = Vote { committed: false, ..vote };
    let request = VoteRequest::<Types> { vote: asking, last_log_id, leadership_transfer: true };
    let append = AppendEntriesRequest::<Types> {
        vote: Vote { committed: true, ..vote },
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    };
    let leading = Vote { committed: true, ..vote };
    let transfer = TransferLeaderRequest::<Types>::new(leading, to.raft_id(), last_log_id);
    vec![
        (Rpc::Append, encode(&append).unwrap().to_vec()),
        (Rpc::Vote, encode(&request).unwrap().to_vec()),
        (Rpc::PreVote, encode(&request).unwrap().to_vec()),
        (Rpc::Transfer, encode(&transfer).unwrap().to_vec()),
    ]
}

/// Sends all of them and a snapshot, of which each is to be refused for the same reason.
async fn all_refused(sender: &Sender, vote: Vote, to: &RaftStore, reason: &str) {
    let before = to.status().term;
    for (rpc, body) in messages(vote, to) {
        let told = to.receive(sender, rpc, &body).await;
        let told = told.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(reason), "{}: {told:?}", rpc.name());
    }
    let meta = openraft::SnapshotMeta::<LeaderId, u64, crate::types::Node> {
        last_log_id: None,
        last_membership: openraft::StoredMembership::default(),
    };
    let head = encode(&(Vote { committed: true, ..vote }, meta)).unwrap();
    let told = to.receive_snapshot(sender, &head, std::io::empty()).await.unwrap_err().to_string();
    assert!(told.contains(reason), "snapshot: {told:?}");
    assert_eq!(to.status().term, before);
}

/// The membership that the node's certificate was signed under.
fn sender(node: &RaftStore) -> Sender {
    Sender { raft_id: node.raft_id(), seen: node.introduction().seen }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_another_node() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let others = cluster.others(&leader);
    let term = leader.status().term;
    for (from, to) in [(&others[0], &others[1]), (&others[0], &leader)] {
        for named in [leader.raft_id(), to.raft_id(), 77] {
            all_refused(&sender(from), vote(term + 1, named, true), to, "speaks for node").await;
        }
        // Nor does anybody speak for the node that it speaks to.
        let mirrored = Sender { raft_id: to.raft_id(), ..sender(to) };
        all_refused(&mirrored, vote(term + 1, to.raft_id(), true), to, "is no member").await;
    }
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_is_not_heard_any_more() {
    let mut cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let removed = cluster.others(&leader).remove(0);
    let old = sender(&removed);
    assert!(leader.hears(&old));
    leader.remove(removed.node_id()).await.unwrap();
    cluster.nodes.retain(|node| node.raft_id() != removed.raft_id());
    cluster.agree().await;
    let term = leader.status().term;
    for node in &cluster.nodes {
        until("the removal", async || (!node.hears(&old)).then_some(())).await;
        assert!(!node.is_member(old.raft_id));
        all_refused(&old, vote(term + 1, old.raft_id, true), node, "is no member").await;
        all_refused(&old, vote(term + 1, leader.raft_id(), true), node, "is no member").await;
        let told = node.receive(&old, Rpc::Ready, &[]).await;
        assert!(told.is_err(), "it is not told who could lead");
    }
    // It is told of itself, and of nobody else.
    until("certainty", async || removed.ask_whether_removed().await.then_some(())).await;
    removed.close().await;
    // What the others know of it they know after a restart, too.
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    for name in ["n0", "n1", "n2"] {
        if name != removed.node_id() {
            cluster.nodes.push(cluster.open(name).await);
        }
    }
    for node in &cluster.nodes {
        assert!(!node.hears(&old));
    }
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_admitted_since_leads_a_node_that_was_away() {
    let mut cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let away = cluster.others(&leader).remove(0);
    cluster.isolate(&away);
    cluster.nodes.retain(|node| node.raft_id() != away.raft_id());
    cluster.add("n3").await;
    cluster.agree().await;
    let new = cluster.nodes.last().unwrap().clone();
    assert!(!away.is_member(new.raft_id()), "it has not heard of it");
    assert!(away.hears(&sender(&new)), "its certificate is of a later membership");
    assert!(!away.hears(&Sender { raft_id: 77, ..sender(&away) }), "of one that it knows, without that node");
    until("n3 leading", async || {
        let _ = cluster.leader().await.hand_over("n3").await;
        (new.role() == Role::Leads).then_some(())
    })
    .await;
    cluster.heal();
    cluster.nodes.push(away);
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_just_been_admitted_believes_those_it_was_told_of() {
    let cluster = Cluster::of(1).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let fresh = cluster.open("fresh").await;
    assert!(!fresh.hears(&sender(&leader)), "it belongs to no cluster");
    let told = Introduction { seen: Position { term: 5, index: 9 }, members: vec![leader.raft_id()] };
    fresh.adopt(&leader.cluster_id(), &told).await.unwrap();
    let hears = |node: &RaftStore| {
        let seen = |term, index| Position { term, index };
        [(leader.raft_id(), seen(1, 1)), (7, seen(5, 9)), (7, seen(5, 10))]
            .map(|(raft_id, seen)| node.hears(&Sender { raft_id, seen }))
    };
    assert_eq!(hears(&fresh), [true, false, true]);
    fresh.close().await;
    let fresh = cluster.open("fresh").await;
    assert_eq!(hears(&fresh), [true, false, true], "also after a restart");
    fresh.close().await;
    cluster.close().await;
}

/// Its log begins with memberships of before; the leader that sends it may have been admitted under a later one.
#[tokio::test(flavor = "multi_thread")]
async fn who_catches_up_believes_those_it_was_told_of_until_its_log_has_come_as_far() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let now = leader.introduction().seen;
    for (name, seen, is_heard) in
        [("behind", Position { term: now.term + 5, ..now }, true), ("level", now, false)]
    {
        let node = cluster.open(name).await;
        let told = Introduction { seen, members: vec![leader.raft_id(), 7] };
        node.adopt(&leader.cluster_id(), &told).await.unwrap();
        leader.admit(&member(&node)).await.unwrap();
        cluster.nodes.push(node.clone());
        cluster.agree().await;
        assert!(node.membership_position() > Some(now));
        assert_eq!(node.hears(&Sender { raft_id: 7, seen: Position::default() }), is_heard, "{name}");
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_term_is_leapt_to() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let follower = cluster.others(&leader).remove(0);
    let mine = sender(&follower);
    let term = leader.status().term;
    for far in [term + MAX_TERM_LEAP + 1000, MAX_TERM, MAX_TERM + 1, u64::MAX] {
        for to in cluster.others(&follower) {
            all_refused(&mine, vote(far, follower.raft_id(), true), &to, "too far").await;
        }
    }
    // An entry of a term that no vote is of would be as bad.
    let entry = Entry {
        log_id: LogId { leader_id: LeaderId { term: u64::MAX, node_id: 1 }, index: 9000 },
        payload: openraft::EntryPayload::Blank,
    };
    let append = AppendEntriesRequest::<Types> {
        vote: vote(term + 1, follower.raft_id(), true),
        prev_log_id: None,
        entries: vec![entry],
        leader_commit: None,
    };
    let told = leader.receive(&mine, Rpc::Append, &encode(&append).unwrap()).await.unwrap_err();
    assert!(told.to_string().contains("later term than its leader"), "{told}");
    // A vote that is committed already is for nobody to grant.
    let asked = VoteRequest::<Types> {
        vote: vote(term + 1, follower.raft_id(), true),
        last_log_id: leader.inner.log.last(),
        leadership_transfer: true,
    };
    let told = leader.receive(&mine, Rpc::Vote, &encode(&asked).unwrap()).await.unwrap_err();
    assert!(told.to_string().contains("does not go with the message"), "{told}");
    cluster.agree().await;
    assert_eq!(cluster.leader().await.status().term, term);
    cluster.close().await;
}

/// Writes a vote that is beyond all terms into the directory of a node that is not running.
async fn spoil(cluster: &Cluster, name: &str) {
    let options = super::small(&cluster.root.path().join(name));
    let opened = tokio::task::spawn_blocking(move || crate::store::open_files(&options)).await.unwrap();
    let (directory, mut log, state) = opened.unwrap();
    log.save_vote(&vote(u64::MAX, 9, false)).await.unwrap();
    assert_eq!(log.read_vote().await.unwrap(), Some(vote(u64::MAX, 9, false)));
    tokio::task::spawn_blocking(move || {
        state.close();
        log.close();
        drop(directory);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoilt_vote_is_put_aside() {
    let mut cluster = Cluster::of(3).await;
    cluster.agree().await;
    let at = cluster.nodes.iter().position(|node| !node.is_leader()).unwrap();
    let node = cluster.nodes.remove(at);
    let name = node.node_id().to_owned();
    node.close().await;
    spoil(&cluster, &name).await;
    // It votes for nobody before it has heard who leads, however often it is started.
    let leader = cluster.leader().await;
    for node in &cluster.nodes {
        let mut cut = cluster.hub.cut.lock().unwrap();
        cut.insert((node.raft_id(), cluster.others(node)[0].raft_id()));
    }
    for _ in 0..2 {
        let node = cluster.open(&name).await;
        assert!(node.inner.terms.has_forgotten_vote());
        node.close().await;
    }
    cluster.heal();
    let node = cluster.open(&name).await;
    cluster.nodes.push(node.clone());
    let _ = leader;
    cluster.agree().await;
    until("a vote", async || (!node.inner.terms.has_forgotten_vote()).then_some(())).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_votes_are_all_spoilt_is_recovered() {
    let mut cluster = Cluster::of(3).await;
    cluster.leader().await.commit(put("kept", "1")).await.unwrap();
    cluster.agree().await;
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    for name in ["n0", "n1", "n2"] {
        spoil(&cluster, name).await;
    }
    for name in ["n0", "n1", "n2"] {
        cluster.nodes.push(cluster.open(name).await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.nodes.iter().all(|node| !node.is_leader()), "none of them knows how it voted");
    for node in std::mem::take(&mut cluster.nodes) {
        node.close().await;
    }
    let offline = Offline::open(&cluster.root.path().join("n1")).await.unwrap();
    let kept = ["n0", "n2"].map(|name| Kept { node_id: name.to_owned(), address: String::new() });
    offline.recover(&kept).await.unwrap();
    offline.close().await;
    for name in ["n0", "n1", "n2"] {
        cluster.nodes.push(cluster.open(name).await);
    }
    cluster.agree().await;
    assert_eq!(get(&cluster.nodes[0], "kept").await.as_deref(), Some(&b"1"[..]));
    let leader = cluster.leader().await;
    assert_eq!(leader.node_id(), "n1");
    assert!(leader.status().term < MAX_TERM_LEAP);
    for name in ["n0", "n2"] {
        until("its vote", async || leader.promote(name).await.unwrap().then_some(())).await;
    }
    cluster.agree().await;
    cluster.close().await;
}

/// Every subset of a cluster of three is restarted after something was done without it, as far as that is possible.
#[tokio::test(flavor = "multi_thread")]
async fn who_restarts_has_data_of_no_age_before_it_hears_a_leader() {
    let mut cluster = Cluster::of(3).await;
    cluster.leader().await.commit(put("token", "1")).await.unwrap();
    cluster.agree().await;
    let names = ["n0", "n1", "n2"];
    for subset in 1..8usize {
        let is_in = |name: &str| subset >> names.iter().position(|other| *other == name).unwrap() & 1 == 1;
        let (stopped, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut cluster.nodes).into_iter().partition(|node| is_in(node.node_id()));
        for node in &stopped {
            node.close().await;
        }
        drop(stopped);
        if rest.len() >= 2 {
            let leader = cluster.leader_among(&rest).await;
            leader.commit(put("revoked", subset.to_string())).await.unwrap();
        }
        for node in &rest {
            node.close().await;
        }
        drop(rest);
        // They are alone: nobody tells them what they have missed.
        for name in names.iter().filter(|name| is_in(name)) {
            let node = cluster.open(name).await;
            for other in &cluster.nodes {
                let mut cut = cluster.hub.cut.lock().unwrap();
                cut.insert((node.raft_id(), other.raft_id()));
                cut.insert((other.raft_id(), node.raft_id()));
            }
            cluster.nodes.push(node);
        }
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for node in &cluster.nodes {
                assert_eq!(node.data_age(), None, "{subset}: {}", node.node_id());
                assert!(matches!(node.role(), Role::Unheard { .. }), "{subset}: {:?}", node.role());
            }
        }
        cluster.heal();
        for name in names.iter().filter(|name| !is_in(name)) {
            let node = cluster.open(name).await;
            cluster.nodes.push(node);
        }
        // From the moment on that it takes its data for new it has what was done without it.
        let index = cluster.leader().await.status().committed;
        for node in &cluster.nodes {
            until("new data", async || node.data_age().is_some().then_some(())).await;
            assert!(node.applied() >= index, "{subset}: {}", node.node_id());
        }
        let leader = cluster.leader().await;
        let expected = all(&leader).await;
        for node in &cluster.nodes {
            assert_eq!(all(node).await, expected);
        }
    }
    cluster.close().await;
}

/// A leader is heard long before a snapshot has arrived.
#[tokio::test(flavor = "multi_thread")]
async fn who_catches_up_has_old_data_though_it_hears_its_leader() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    for n in 0..400 {
        leader.commit(put(format!("key/{n:03}"), vec![b'v'; 100])).await.unwrap();
    }
    until("compaction", async || leader.inner.log.purged().map(|_| ())).await;
    cluster.hub.breaking.store(usize::MAX, Ordering::SeqCst);
    let late = cluster.open("late").await;
    late.adopt(&leader.cluster_id(), &leader.introduction()).await.unwrap();
    leader.admit(&member(&late)).await.unwrap();
    until("a leader", async || (late.role() == Role::Follows).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(late.data_age(), None);
    cluster.hub.breaking.store(0, Ordering::SeqCst);
    until("new data", async || late.data_age().is_some().then_some(())).await;
    assert_eq!(get(&late, "key/399").await.map(|value| value.len()), Some(100));
    cluster.nodes.push(late);
    cluster.agree().await;
    cluster.close().await;
}
