//! The leader's knowledge of each member, and votes that are given and taken.

use std::time::Duration;

use strongroom_storage::Store;

use super::{Cluster, until};
use crate::tests::put;
use crate::{MemberStatus, RaftStore};

fn of(store: &RaftStore, name: &str) -> MemberStatus {
    store.members().into_iter().find(|status| status.member.node_id == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_knows_how_far_each_is_and_when_it_was_heard() {
    let cluster = Cluster::of(3).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let last = leader.status().last_log;
    for name in ["n0", "n1", "n2"] {
        until("word of all", async || {
            let status = of(&leader, name);
            let heard = status.silence.is_some_and(|silence| silence < Duration::from_secs(1));
            (heard && status.last_log >= Some(last)).then_some(())
        })
        .await;
        assert_eq!(of(&leader, name).last_term, Some(leader.status().term), "{name}");
    }
    assert_eq!(of(&leader, leader.node_id()).silence, Some(Duration::ZERO));
    let follower = cluster.others(&leader).remove(0);
    assert_eq!(of(&follower, leader.node_id()).silence, None, "only the leader hears acknowledgements");

    cluster.isolate(&follower);
    until("silence", async || {
        leader.commit(put("missed", "by one")).await.unwrap();
        let status = of(&leader, follower.node_id());
        let behind = status.last_log < Some(leader.status().last_log);
        (behind && status.silence? > Duration::from_millis(500)).then_some(())
    })
    .await;
    cluster.heal();
    until("an end of it", async || {
        (of(&leader, follower.node_id()).silence? < Duration::from_millis(500)).then_some(())
    })
    .await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_demoted_is_never_to_vote_until_promoted() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    assert!(leader.demote("n2").await.unwrap());
    let status = of(&leader, "n2");
    assert_eq!((status.voter, status.member.non_voter), (false, true));
    assert_eq!(status.member.api_address, "https://n2:8200", "nothing else is changed");
    cluster.agree().await;
    assert!(leader.promote("n2").await.unwrap());
    let status = of(&leader, "n2");
    assert_eq!((status.voter, status.member.non_voter), (true, false));
    assert!(!leader.demote("n9").await.unwrap() && !leader.promote("n9").await.unwrap());
    cluster.agree().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_is_told_so_and_nobody_else() {
    let mut cluster = Cluster::of(4).await;
    cluster.agree().await;
    let leader = cluster.leader().await;
    let mut others = cluster.others(&leader);
    let (removed, behind) = (others.remove(0), others.remove(0));
    for node in &cluster.nodes {
        assert!(!node.ask_whether_removed().await, "{} is a member", node.node_id());
    }
    let fresh = cluster.open("fresh").await;
    assert!(!fresh.ask_whether_removed().await, "it belongs to none yet");

    leader.remove(removed.node_id()).await.unwrap();
    until("certainty", async || removed.ask_whether_removed().await.then_some(())).await;
    assert!(!behind.ask_whether_removed().await);

    // One of those who are asked has not heard of the admission.
    cluster.isolate(&behind);
    fresh.adopt(&leader.cluster_id(), &leader.introduction()).await.unwrap();
    leader.admit(&super::member(&fresh)).await.unwrap();
    until("word of it", async || (!fresh.members().is_empty()).then_some(())).await;
    assert!(behind.members().iter().all(|status| status.member.node_id != "fresh"));
    assert!(!fresh.ask_whether_removed().await);
    cluster.heal();
    let index = cluster.leader().await.commit(put("after", "all")).await.unwrap();
    behind.wait_applied(index).await.unwrap();

    let leader = cluster.leader().await;
    leader.remove("fresh").await.unwrap();
    until("certainty", async || fresh.ask_whether_removed().await.then_some(())).await;
    leader.admit(&super::member(&fresh)).await.unwrap();
    until("a return", async || (!fresh.ask_whether_removed().await).then_some(())).await;
    cluster.nodes.push(fresh);
    cluster.close().await;
}
