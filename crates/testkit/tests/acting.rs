//! Operations that act or ask outside, each timeline by itself: what the simulation finds by chance is named here.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_barrier::NamespaceId;
use strongroom_expiry::LeaseState;
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::outside::{IDLE, Mood, TRANSIT};
use strongroom_testkit::{Request, Response};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const WEB: &str = "db/creds/web";

async fn cluster(nodes: usize) -> Cluster {
    faulty(nodes, Faults::default()).await
}

async fn faulty(nodes: usize, faults: Faults) -> Cluster {
    let image = Image::new().await;
    Cluster::new(&image, nodes, 1, faults).await
}

fn read(cluster: &Cluster, path: &str) -> Request {
    Request::new(&cluster.root, Verb::Read, path, Value::Null)
}

fn write(cluster: &Cluster, path: &str, input: Value) -> Request {
    Request::new(&cluster.root, Verb::Write, path, input)
}

/// A token that may do everything.
async fn token(cluster: &Cluster, input: Value) -> String {
    let mut fields = json!({ "policies": ["all"], "ttl": "1h" });
    fields.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
    cluster.done(Verb::Write, "auth/token/create", fields).await.text("/auth/client_token")
}

/// A request that has come to where the system is to answer.
async fn begun(cluster: &Cluster, request: &Request) -> JoinHandle<Option<Response>> {
    let running = cluster.send(0, request, None);
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!running.is_finished(), "{:?}", running.await);
    running
}

async fn answer(cluster: &Cluster, running: JoinHandle<Option<Response>>) -> Response {
    for _ in 0..200 {
        if running.is_finished() {
            return running.await.unwrap().expect("an answer");
        }
        cluster.pass(SECOND).await;
    }
    panic!("no answer");
}

async fn recorded(cluster: &Cluster) -> Vec<(String, LeaseState)> {
    cluster.leases(NamespaceId::ROOT, &format!("{WEB}/")).await
}

/// Time passes until every attempt that is due has been made.
async fn long(cluster: &Cluster) {
    for _ in 0..60 {
        cluster.pass(SECOND * 5).await;
    }
}

#[tokio::test]
async fn a_credential_is_made_renewed_and_dropped() {
    let cluster = cluster(1).await;
    let issued = cluster.done(Verb::Read, WEB, Value::Null).await;
    let id = issued.text("/lease_id");
    assert_eq!(issued.data()["username"], id);
    assert_eq!(issued.body["lease_duration"], 3600);
    assert_eq!(issued.body["renewable"], true);
    assert_eq!(cluster.system.users().len(), 1);
    let facts = cluster.done(Verb::Write, "sys/leases/lookup", json!({ "lease_id": id })).await;
    assert_eq!(facts.data()["state"], "active");
    cluster.clock.advance(SECOND * 600);
    cluster.done(Verb::Write, "sys/leases/renew", json!({ "lease_id": id, "increment": 3000 })).await;
    cluster.done(Verb::Write, "sys/leases/revoke", json!({ "lease_id": id })).await;
    cluster.pass(SECOND).await;
    assert!(cluster.system.users().is_empty());
    assert!(recorded(&cluster).await.is_empty());
}

#[tokio::test]
async fn a_plan_that_conflicts_is_made_again_and_the_act_is_not() {
    let cluster = faulty(1, Faults { conflicts: 60, unknown: 0 }).await;
    for made in 1..=20 {
        let issued = cluster.ask(&read(&cluster, WEB)).await;
        assert_eq!(issued.status, 200, "{}", issued.body);
        assert_eq!(cluster.system.asked_for(), made);
    }
    assert!(cluster.system.made_twice().is_empty());
    assert_eq!(cluster.system.users().len(), recorded(&cluster).await.len());
}

#[tokio::test]
async fn a_token_revoked_while_its_credential_is_made_gets_none() {
    let cluster = cluster(1).await;
    let token = token(&cluster, json!({})).await;
    cluster.system.set(Mood::Slow);
    let request = Request::new(&token, Verb::Read, WEB, Value::Null).wrapped(SECOND * 60);
    let running = begun(&cluster, &request).await;
    assert!(matches!(recorded(&cluster).await[..], [(_, LeaseState::Intended(_))]));
    cluster.done(Verb::Write, "auth/token/revoke", json!({ "token": token })).await;
    let refused = answer(&cluster, running).await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "permission denied"));
    assert_eq!(cluster.system.asked_for(), 1, "it was made");
    cluster.system.set(Mood::Fine);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty());
}

#[tokio::test]
async fn a_lease_revoked_by_its_prefix_while_it_is_made_is_never_in_force() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Slow);
    let running = begun(&cluster, &read(&cluster, WEB)).await;
    cluster.done(Verb::Write, "sys/leases/revoke-prefix/db", json!({})).await;
    assert_eq!(answer(&cluster, running).await.status, 403);
    cluster.system.set(Mood::Fine);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty());
}

#[tokio::test]
async fn a_mount_disabled_while_it_makes_a_credential_drains() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Slow);
    let running = begun(&cluster, &read(&cluster, "other/creds/web")).await;
    cluster.done(Verb::Delete, "sys/mounts/other", Value::Null).await;
    cluster.done(Verb::Write, "sys/mounts/other", json!({ "type": "outside" })).await;
    assert_eq!(answer(&cluster, running).await.status, 403);
    cluster.system.set(Mood::Fine);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty());
    assert!(cluster.leases(NamespaceId::ROOT, "other/creds/web/").await.is_empty());
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_lease() {
    for looks in 1..8 {
        let cluster = cluster(1).await;
        cluster.system.set(Mood::Slow);
        let running = cluster.send(0, &read(&cluster, WEB), Some(looks));
        for _ in 0..40 {
            cluster.pass(SECOND).await;
        }
        let answered = running.await.unwrap();
        assert!(answered.is_none_or(|answer| answer.status == 200));
        let recorded = recorded(&cluster).await;
        assert_eq!(cluster.system.users().len(), recorded.len());
        assert!(recorded.iter().all(|(_, state)| state.is_active()), "{looks}: {recorded:?}");
    }
}

#[tokio::test]
async fn a_standby_begins_nothing() {
    let cluster = cluster(2).await;
    cluster.system.add_code("one");
    let login = Request::new("", Verb::Write, "auth/code/login/alice", json!({ "code": "one" }));
    for request in [read(&cluster, WEB), write(&cluster, "db/rotate", json!({})), login.clone()] {
        let leader = cluster.leadership.leader();
        cluster.leadership.elect(None);
        let nobody = cluster.send(1, &request, None).await.unwrap();
        assert!(nobody.is_none(), "{request:?}");
        cluster.leadership.elect(leader);
    }
    assert_eq!((cluster.system.asked_for(), cluster.system.codes_asked()), (0, 0));
    assert!(recorded(&cluster).await.is_empty());
    // Handed on, each is done.
    assert_eq!(cluster.send(1, &read(&cluster, WEB), None).await.unwrap().unwrap().status, 200);
    assert_eq!(cluster.send(1, &login, None).await.unwrap().unwrap().status, 200);
    assert_eq!((cluster.system.asked_for(), cluster.system.codes_asked()), (1, 1));
}

#[tokio::test]
async fn what_a_dead_leader_sent_is_undone_when_it_arrives() {
    let mut cluster = cluster(2).await;
    cluster.system.set(Mood::Slow);
    let running = begun(&cluster, &read(&cluster, WEB)).await;
    cluster.crash(0);
    assert!(running.await.unwrap().is_none());
    cluster.system.set(Mood::Fine);
    cluster.leadership.elect(Some(1));
    // The successor undoes the intent at once, before what was sent has arrived.
    let id = recorded(&cluster).await[0].0.clone();
    let mut undone_before = false;
    let mut existed = false;
    for _ in 0..TRANSIT.as_secs() * 2 {
        cluster.pass(SECOND / 2).await;
        existed |= cluster.system.users().contains_key(&id);
        let leases = recorded(&cluster).await;
        undone_before |= !existed && leases.iter().any(|(_, state)| state.has_ended());
        assert!(!existed || !leases.is_empty(), "it exists and nobody knows");
    }
    assert!(undone_before && existed);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty());
}

#[tokio::test]
async fn a_leader_that_stood_still_does_not_send_what_its_successor_has_undone() {
    let cluster = cluster(2).await;
    // It stops on the way to the system: its next look is whether it still decides.
    let request = read(&cluster, WEB);
    let running = cluster.send(0, &request, None);
    for _ in 0..1000 {
        if !recorded(&cluster).await.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    cluster.gate(0).unwrap().pause();
    cluster.leadership.elect(Some(1));
    long(&cluster).await;
    assert!(recorded(&cluster).await.is_empty(), "the successor has undone it");
    cluster.gate(0).unwrap().resume();
    let refused = answer(&cluster, running).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(cluster.system.asked_for(), 0);
}

#[tokio::test]
async fn an_act_that_another_node_has_undone_meanwhile_is_to_be_tried_again() {
    let cluster = cluster(2).await;
    cluster.system.set(Mood::Slow);
    let running = begun(&cluster, &read(&cluster, WEB)).await;
    // It has sent, and stands still while another node leads and undoes what it finds; then it leads again.
    cluster.gate(0).unwrap().pause();
    cluster.leadership.elect(Some(1));
    cluster.system.set(Mood::Fine);
    for _ in 0..40 {
        cluster.pass(SECOND).await;
    }
    let is_intended = |(_, state): &(String, LeaseState)| matches!(state, LeaseState::Intended(_));
    assert!(!recorded(&cluster).await.iter().any(is_intended), "the other node has undone it");
    cluster.leadership.elect(Some(0));
    cluster.gate(0).unwrap().resume();
    let refused = answer(&cluster, running).await;
    assert_eq!(refused.status, 503, "nobody has taken anything from the client: {}", refused.body);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty());
}

#[tokio::test]
async fn an_act_that_is_given_up_is_undone_twice() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Mute);
    let running = begun(&cluster, &read(&cluster, WEB)).await;
    let given_up = answer(&cluster, running).await;
    assert_eq!(
        (given_up.status, given_up.error().as_str()),
        (504, "no answer within 1m0s"),
        "{}",
        given_up.body
    );
    cluster.system.set(Mood::Fine);
    let mut before = None;
    for _ in 0..150 {
        cluster.pass(SECOND).await;
        let leases = recorded(&cluster).await;
        if let Some((_, LeaseState::Revoking(revoking))) = leases.first() {
            before = revoking.again.or(before);
        }
    }
    assert!(before.is_some(), "it was to be tried again");
    assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty());
    assert!(IDLE + TRANSIT < SECOND * 60, "the system keeps to what the frame assumes");
}

#[tokio::test]
async fn a_refusal_and_a_panic_leave_nothing_behind() {
    for (mood, status) in
        [(Mood::Refusing, 400), (Mood::Lying, 400), (Mood::Panicking, 500), (Mood::Down, 502)]
    {
        let cluster = cluster(1).await;
        cluster.system.set(mood);
        let refused = cluster.ask(&read(&cluster, WEB)).await;
        assert_eq!(refused.status, status, "{mood:?} {}", refused.body);
        if mood == Mood::Down {
            assert!(recorded(&cluster).await.is_empty(), "nothing was sent");
        }
        cluster.system.set(Mood::Fine);
        long(&cluster).await;
        assert!(cluster.system.users().is_empty() && recorded(&cluster).await.is_empty(), "{mood:?}");
    }
}

#[tokio::test]
async fn the_last_use_of_a_token_makes_nothing() {
    let cluster = cluster(1).await;
    let twice = token(&cluster, json!({ "num_uses": 2 })).await;
    let request = Request::new(&twice, Verb::Read, WEB, Value::Null);
    assert_eq!(cluster.ask(&request).await.status, 200);
    let refused = cluster.ask(&request).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("token had one use left"), "{}", refused.error());
    assert_eq!(cluster.ask(&request).await.status, 403, "that was its last");
    assert_eq!(cluster.system.asked_for(), 1);
}

#[tokio::test]
async fn a_batch_token_holds_what_it_was_lent_and_no_longer_than_it_lives() {
    let cluster = cluster(1).await;
    let batch = token(&cluster, json!({ "type": "batch", "ttl": "10m" })).await;
    let issued = cluster.ask(&Request::new(&batch, Verb::Read, WEB, Value::Null)).await;
    assert_eq!(issued.status, 200, "{}", issued.body);
    assert!(issued.body["lease_duration"].as_u64().unwrap() <= 600);
    cluster.clock.advance(SECOND * 601);
    long(&cluster).await;
    assert!(cluster.system.users().is_empty());
}

#[tokio::test]
async fn too_many_acts_of_a_mount_are_refused_before_anything_is_sent() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Slow);
    let mut running = Vec::new();
    for _ in 0..512 {
        running.push(cluster.send(0, &read(&cluster, WEB), None));
        tokio::task::yield_now().await;
    }
    for _ in 0..100_000 {
        if cluster.system.asked_for() == 512 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let refused = cluster.ask(&read(&cluster, WEB)).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(cluster.system.asked_for(), 512);
    // Others have their own.
    cluster.system.set(Mood::Fine);
    assert_eq!(cluster.ask(&read(&cluster, "other/creds/web")).await.status, 200);
    for running in running {
        assert_eq!(answer(&cluster, running).await.status, 200);
    }
    assert_eq!(cluster.ask(&read(&cluster, WEB)).await.status, 200);
}

#[tokio::test]
async fn a_question_is_asked_once_however_often_the_rest_is_decided_again() {
    let cluster = faulty(1, Faults { conflicts: 70, unknown: 0 }).await;
    for login in 1..=20 {
        let code = format!("code-{login}");
        cluster.system.add_code(&code);
        let request = Request::new("", Verb::Write, "auth/code/login/alice", json!({ "code": code }));
        let granted = cluster.ask(&request).await;
        assert_eq!(granted.status, 200, "{}", granted.body);
        assert_eq!(cluster.system.codes_asked(), login);
        let again = cluster.ask(&request).await;
        assert_eq!((again.status, again.error().as_str()), (400, "the code is not good"));
        // The count of failures does not lock out whoever fails now and then.
        cluster.system.add_code("reset");
        let reset = Request::new("", Verb::Write, "auth/code/login/alice", json!({ "code": "reset" }));
        assert_eq!(cluster.ask(&reset).await.status, 200);
        // As many as were sent.
        assert_eq!(cluster.system.codes_asked(), login + 2);
        cluster.system.forget_codes_asked(2);
    }
}

#[tokio::test]
async fn a_question_of_a_client_that_goes_away_is_answered_all_the_same() {
    let cluster = cluster(1).await;
    cluster.system.set(Mood::Slow);
    cluster.system.add_code("one");
    let request = Request::new("", Verb::Write, "auth/code/login/alice", json!({ "code": "one" }));
    let running = cluster.send(0, &request, Some(1));
    for _ in 0..40 {
        cluster.pass(SECOND).await;
    }
    assert!(running.await.unwrap().is_none());
    assert_eq!(cluster.system.codes_asked(), 1);
}

#[tokio::test]
async fn a_change_outside_is_known_whatever_becomes_of_it() {
    for mood in [Mood::Fine, Mood::Lying, Mood::Mute, Mood::Slow, Mood::Panicking, Mood::Refusing] {
        for crashes in [false, true] {
            let mut cluster = cluster(2).await;
            cluster.system.set(mood);
            let running = cluster.send(0, &write(&cluster, "db/rotate", json!({})), None);
            for _ in 0..30 {
                tokio::task::yield_now().await;
            }
            if crashes {
                cluster.crash(0);
                cluster.leadership.elect(Some(1));
            }
            for _ in 0..100 {
                cluster.pass(SECOND).await;
            }
            cluster.system.set(Mood::Fine);
            for _ in 0..40 {
                cluster.pass(SECOND * 15).await;
            }
            assert!(cluster.leases(NamespaceId::ROOT, "db/rotate/").await.is_empty(), "{mood:?} {crashes}");
            let known = cluster.done(Verb::Read, "db/rotate", Value::Null).await;
            assert_eq!(known.data()["password"], cluster.system.password(), "{mood:?} {crashes}");
            assert!(mood != Mood::Fine || crashes || cluster.system.password() != "first");
            running.abort();
        }
    }
}

#[tokio::test]
async fn a_look_at_the_queues_that_is_cut_off_is_taken_again() {
    let cluster = cluster(1).await;
    let id = cluster.done(Verb::Read, WEB, Value::Null).await.text("/lease_id");
    cluster.system.set(Mood::Down);
    cluster.done(Verb::Write, "sys/leases/revoke", json!({ "lease_id": id })).await;
    cluster.pass(SECOND).await;
    // From here on nobody goes on by himself. The queues are due to be read again, and the node stands still meanwhile.
    cluster.clock.advance(SECOND * 61);
    cluster.gate(0).unwrap().pause();
    let revocation = cluster.node(0).unwrap().services.revocation.clone();
    {
        let mut looking = pin!(revocation.next_revocation());
        let looked = looking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(looked, Poll::Pending), "its term ends while it looks");
    }
    cluster.gate(0).unwrap().resume();
    assert!(revocation.next_revocation().await.unwrap().is_some(), "the lease is still to be revoked");
}

#[tokio::test]
async fn the_jobs_of_intents_are_listed() {
    let cluster = cluster(1).await;
    for _ in 0..15 {
        cluster.pass(SECOND).await;
    }
    let jobs = cluster.done(Verb::Read, "sys/jobs", Value::Null).await;
    let names = jobs.body.to_string();
    assert!(names.contains("intents") && names.contains("db/") && names.contains("count"), "{names}");
}
