//! Renewals of tokens whose auth method asks outside, each timeline by itself.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::outside::Mood;
use strongroom_testkit::{Request, Response};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const SELF: &str = "auth/token/renew-self";

async fn cluster(nodes: usize, faults: Faults) -> Cluster {
    let image = Image::new().await;
    Cluster::new(&image, nodes, 1, faults).await
}

/// Logs in as `alice`; answers the `auth` member.
async fn log_in(cluster: &Cluster) -> Value {
    cluster.system.add_code("one");
    let login = Request::new("", Verb::Write, "auth/code/login/alice", json!({ "code": "one" }));
    let granted = cluster.ask(&login).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    granted.body["auth"].clone()
}

fn token_of(auth: &Value) -> &str {
    auth["client_token"].as_str().unwrap()
}

fn renewal(token: &str) -> Request {
    Request::new(token, Verb::Write, SELF, json!({}))
}

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

async fn ttl(cluster: &Cluster, token: &str) -> u64 {
    let looked_up = cluster.done(Verb::Write, "auth/token/lookup", json!({ "token": token })).await;
    looked_up.data()["ttl"].as_u64().unwrap()
}

#[tokio::test]
async fn what_the_outside_says_of_an_account_sets_the_terms() {
    let cluster = cluster(1, Faults::default()).await;
    let auth = log_in(&cluster).await;
    let token = token_of(&auth);
    cluster.system.set_account("alice", Some(("", 7)));
    let root = cluster.root.clone();
    let by_text = Request::new(&root, Verb::Write, "auth/token/renew", json!({ "token": token }));
    let accessor = json!({ "accessor": auth["accessor"] });
    let by_accessor = Request::new(&root, Verb::Write, "auth/token/renew-accessor", accessor);
    for (asked, request) in (1..).zip([renewal(token), by_text, by_accessor]) {
        cluster.clock.advance(SECOND * 60);
        let renewed = cluster.ask(&request).await;
        assert_eq!(renewed.status, 200, "{}", renewed.body);
        assert_eq!(renewed.body["auth"]["lease_duration"], 420);
        assert_eq!(ttl(&cluster, token).await, 420);
        assert_eq!(cluster.system.accounts_asked(), asked);
    }
    for (allowed, text) in
        [(Some(("admins", 7)), "policies have changed, not renewing"), (None, "the account is blocked")]
    {
        cluster.system.set_account("alice", allowed);
        cluster.clock.advance(SECOND * 60);
        let before = ttl(&cluster, token).await;
        let refused = cluster.ask(&renewal(token)).await;
        assert_eq!((refused.status, refused.error().as_str()), (400, text));
        assert_eq!(ttl(&cluster, token).await, before, "and nothing is renewed");
    }
}

#[tokio::test]
async fn a_token_of_no_method_that_asks_is_renewed_without_a_question() {
    let cluster = cluster(1, Faults::default()).await;
    cluster.system.set(Mood::Down);
    let made = cluster.done(Verb::Write, "auth/token/create", json!({ "ttl": "1h" })).await;
    let renewed = cluster.ask(&renewal(&made.text("/auth/client_token"))).await;
    assert_eq!(renewed.status, 200, "{}", renewed.body);
    assert_eq!(cluster.system.accounts_asked(), 0);
}

#[tokio::test]
async fn a_system_that_fails_renews_nothing_and_the_next_renewal_asks_again() {
    for (mood, status) in
        [(Mood::Down, 502), (Mood::Refusing, 400), (Mood::Lying, 400), (Mood::Panicking, 500)]
    {
        let cluster = cluster(1, Faults::default()).await;
        let auth = log_in(&cluster).await;
        let token = token_of(&auth);
        cluster.clock.advance(SECOND * 60);
        let before = ttl(&cluster, token).await;
        cluster.system.set(mood);
        let refused = cluster.ask(&renewal(token)).await;
        assert_eq!(refused.status, status, "{mood:?} {}", refused.body);
        assert_eq!(ttl(&cluster, token).await, before, "{mood:?}");
        cluster.system.set(Mood::Fine);
        // What was sent before the panic arrives.
        cluster.system.deliver();
        let asked = cluster.system.accounts_asked();
        assert_eq!(cluster.ask(&renewal(token)).await.status, 200);
        assert_eq!(cluster.system.accounts_asked(), asked + 1);
    }
}

#[tokio::test]
async fn a_system_that_does_not_answer_is_given_up_and_holds_nobody_up() {
    let cluster = cluster(1, Faults::default()).await;
    let auth = log_in(&cluster).await;
    let token = token_of(&auth);
    cluster.system.set(Mood::Mute);
    let running = begun(&cluster, &renewal(token)).await;
    // No transaction is open meanwhile: what the renewal is about can be changed.
    cluster.done(Verb::Write, "db/notes/1", json!({ "value": 1 })).await;
    let given_up = answer(&cluster, running).await;
    assert_eq!((given_up.status, given_up.error().as_str()), (504, "no answer within 1m0s"));
    assert_eq!(cluster.system.accounts_asked(), 1);
}

#[tokio::test]
async fn a_token_that_is_revoked_while_its_renewal_is_asked_for_is_not_renewed() {
    let cluster = cluster(1, Faults::default()).await;
    let root = cluster.root.clone();
    for by_itself in [true, false] {
        let auth = log_in(&cluster).await;
        let token = token_of(&auth);
        let by_text = Request::new(&root, Verb::Write, "auth/token/renew", json!({ "token": token }));
        let (request, status) = if by_itself { (renewal(token), 403) } else { (by_text, 400) };
        cluster.system.set(Mood::Slow);
        let running = begun(&cluster, &request).await;
        cluster.done(Verb::Write, "auth/token/revoke", json!({ "token": token })).await;
        let refused = answer(&cluster, running).await;
        assert_eq!(refused.status, status, "{}", refused.body);
        let gone = Request::new(&root, Verb::Write, "auth/token/lookup", json!({ "token": token }));
        assert_ne!(cluster.ask(&gone).await.status, 200, "it does not come back");
        cluster.system.set(Mood::Fine);
    }
}

#[tokio::test]
async fn a_renewal_asks_once_however_often_it_conflicts() {
    let cluster = cluster(1, Faults { conflicts: 70, unknown: 0 }).await;
    let auth = log_in(&cluster).await;
    for asked in 1..=20 {
        let renewed = cluster.ask(&renewal(token_of(&auth))).await;
        assert_eq!(renewed.status, 200, "{}", renewed.body);
        assert_eq!(cluster.system.accounts_asked(), asked);
    }
}

#[tokio::test]
async fn a_standby_asks_nobody_about_a_renewal() {
    let cluster = cluster(2, Faults::default()).await;
    let auth = log_in(&cluster).await;
    let request = renewal(token_of(&auth));
    let leader = cluster.leadership.leader();
    cluster.leadership.elect(None);
    assert!(cluster.send(1, &request, None).await.unwrap().is_none(), "nobody decides");
    assert_eq!(cluster.system.accounts_asked(), 0);
    cluster.leadership.elect(leader);
    // Handed on, it is done, by the node that decides.
    cluster.gate(1).unwrap().pause();
    assert_eq!(cluster.send(1, &request, None).await.unwrap().unwrap().status, 200);
    assert_eq!(cluster.system.accounts_asked(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_is_renewed_all_the_same() {
    for looks in 1..6 {
        let cluster = cluster(1, Faults::default()).await;
        let auth = log_in(&cluster).await;
        cluster.system.set_account("alice", Some(("", 7)));
        cluster.system.set(Mood::Slow);
        let running = cluster.send(0, &renewal(token_of(&auth)), Some(looks));
        for _ in 0..40 {
            cluster.pass(SECOND).await;
        }
        assert!(running.await.unwrap().is_none_or(|answer| answer.status == 200));
        assert_eq!(cluster.system.accounts_asked(), 1, "{looks}");
        assert!(ttl(&cluster, token_of(&auth)).await <= 420, "{looks}");
    }
}
