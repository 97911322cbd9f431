//! A job that changes something outside, each timeline by itself: what the simulation finds by chance is named here.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

use std::time::Duration;

use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_expiry::LeaseState;
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::outside::Mood;

const SECOND: Duration = Duration::from_secs(1);
const ACCOUNT: &str = "db/accounts/app";

/// A cluster with an account that is rotated once a minute.
async fn cluster(nodes: usize) -> Cluster {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, nodes, 1, Faults::default()).await;
    cluster.done(Verb::Write, ACCOUNT, json!({})).await;
    cluster
}

/// The account's name in the system, and its password as far as is known.
async fn known(cluster: &Cluster) -> (String, String) {
    let account = cluster.done(Verb::Read, ACCOUNT, json!({})).await;
    (account.text("/data/outside"), account.text("/data/password"))
}

async fn holds(cluster: &Cluster) -> String {
    cluster.system.password_of(&known(cluster).await.0)
}

async fn intents(cluster: &Cluster) -> Vec<LeaseState> {
    let found = cluster.leases(NamespaceId::ROOT, "db/rotate-accounts/app/").await;
    found.into_iter().map(|(_, state)| state).collect()
}

/// Time passes until the job has sent something.
async fn sent(cluster: &Cluster) {
    let before = cluster.system.changes();
    for _ in 0..300 {
        if cluster.system.changes() > before {
            return;
        }
        cluster.pass(SECOND).await;
    }
    panic!("the job does nothing");
}

/// Time passes until nothing is left to be settled.
async fn settled(cluster: &Cluster) {
    for _ in 0..600 {
        if intents(cluster).await.is_empty() {
            return;
        }
        cluster.pass(SECOND).await;
    }
    panic!("not settled: {:?}", intents(cluster).await);
}

#[tokio::test]
async fn a_job_changes_and_notes_what_it_changed() {
    let cluster = cluster(1).await;
    for changes in 1..=3 {
        sent(&cluster).await;
        settled(&cluster).await;
        assert_eq!(cluster.system.changes(), changes);
        let (_, password) = known(&cluster).await;
        assert_eq!(password, holds(&cluster).await);
        assert_ne!(password, "first");
    }
}

#[tokio::test]
async fn a_job_records_its_intent_before_it_acts() {
    let mut cluster = cluster(2).await;
    cluster.system.set(Mood::Slow);
    sent(&cluster).await;
    assert!(matches!(intents(&cluster).await[..], [LeaseState::Intended(_)]));
    assert_eq!(holds(&cluster).await, "first", "it is under way");
    // What it sent arrives after its node is gone, and another finds out.
    cluster.crash(0);
    cluster.system.set(Mood::Fine);
    cluster.leadership.elect(Some(1));
    let mut arrived = false;
    for _ in 0..150 {
        cluster.pass(SECOND).await;
        let changed = holds(&cluster).await != "first";
        assert!(!changed || arrived || !intents(&cluster).await.is_empty(), "it changed and nobody knows");
        arrived |= changed;
    }
    settled(&cluster).await;
    assert!(arrived);
    assert_eq!(known(&cluster).await.1, holds(&cluster).await);
}

#[tokio::test]
async fn what_a_job_changed_is_known_whatever_becomes_of_it() {
    let moods = [Mood::Lying, Mood::Mute, Mood::Slow, Mood::Panicking, Mood::Refusing, Mood::Fine];
    for mood in moods {
        for crashes in [false, true] {
            let mut cluster = cluster(2).await;
            cluster.system.set(mood);
            sent_or_refused(&cluster).await;
            if crashes {
                cluster.crash(0);
                cluster.leadership.elect(Some(1));
            }
            for _ in 0..70 {
                cluster.pass(SECOND).await;
            }
            cluster.system.set(Mood::Fine);
            settled(&cluster).await;
            let (_, password) = known(&cluster).await;
            assert_eq!(password, holds(&cluster).await, "{mood:?} {crashes}");
            // And the next one goes on from there.
            sent(&cluster).await;
            settled(&cluster).await;
            assert_ne!(known(&cluster).await.1, password, "{mood:?} {crashes}");
            assert_eq!(known(&cluster).await.1, holds(&cluster).await, "{mood:?} {crashes}");
            assert!(cluster.system.made_twice().is_empty());
        }
    }
}

async fn sent_or_refused(cluster: &Cluster) {
    for _ in 0..65 {
        cluster.pass(SECOND).await;
        if cluster.system.changes() > 0 {
            return;
        }
    }
    assert_eq!(cluster.system.mood(), Mood::Refusing);
}

#[tokio::test]
async fn a_job_acts_once_for_an_intent_however_often_it_conflicts() {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 1, 1, Faults { conflicts: 60, unknown: 0 }).await;
    cluster.done(Verb::Write, ACCOUNT, json!({})).await;
    for _ in 0..10 {
        sent(&cluster).await;
        settled(&cluster).await;
        assert_eq!(known(&cluster).await.1, holds(&cluster).await);
    }
    assert!(cluster.system.made_twice().is_empty());
}

#[tokio::test]
async fn a_job_leaves_alone_what_is_not_settled_yet() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Mute);
    sent(&cluster).await;
    assert_eq!(cluster.system.changes(), 1);
    // The act is given up, and what it sent may still arrive.
    let mut waited = 0;
    while !matches!(intents(&cluster).await[..], [LeaseState::Revoking(_)]) {
        cluster.pass(SECOND).await;
        waited += 1;
        assert!(waited < 90, "it is given up in time");
    }
    cluster.system.set(Mood::Fine);
    for _ in 0..100 {
        cluster.pass(SECOND).await;
        if intents(&cluster).await.is_empty() {
            break;
        }
        assert_eq!(cluster.system.changes(), 1, "a second act before the first is settled");
    }
    settled(&cluster).await;
    assert_eq!(known(&cluster).await.1, holds(&cluster).await);
    sent(&cluster).await;
    assert_eq!(cluster.system.changes(), 2);
}

#[tokio::test]
async fn a_job_that_cannot_send_leaves_nothing_behind_and_is_tried_again() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Down);
    for _ in 0..200 {
        cluster.pass(SECOND).await;
    }
    assert!(intents(&cluster).await.is_empty(), "nothing was sent");
    assert_eq!(cluster.system.changes(), 0);
    let jobs = cluster.done(Verb::Read, "sys/jobs", json!({})).await.body.to_string();
    assert!(jobs.contains("the system cannot be reached"), "{jobs}");
    cluster.system.set(Mood::Fine);
    sent(&cluster).await;
    settled(&cluster).await;
    assert_eq!(known(&cluster).await.1, holds(&cluster).await);
}
