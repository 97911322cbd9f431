//! Second factors on several nodes: through a standby, and over failover.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::{Request, Response};

use crate::authenticator::Device;
use crate::mfa::{Authenticator, validation};
use crate::passkey_logins::{answering, asking};
use crate::passkeys::WEBAUTHN;

fn login(cluster: &Cluster) -> Request {
    static CODES: AtomicUsize = AtomicUsize::new(0);
    let code = format!("code-{}", CODES.fetch_add(1, Ordering::Relaxed));
    cluster.system.add_code(&code);
    Request::new("", Verb::Write, "auth/code/login/alice", json!({"code": code, "alias": "alice"}))
}

async fn at(cluster: &Cluster, node: usize, request: &Request) -> Response {
    let answer = cluster.send(node, request, None);
    while !answer.is_finished() {
        cluster.run().await;
    }
    answer.await.unwrap().expect("an answer")
}

/// A cluster of two whose logins are asked for a second factor, its method, and alice's authenticator.
async fn cluster(conflicts: u64) -> (Cluster, String, Authenticator) {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 2, 1, Faults { conflicts, unknown: 0 }).await;
    let first = at(&cluster, 0, &login(&cluster)).await;
    let entity = first.auth()["entity_id"].clone();
    let made = cluster.done(Verb::Write, "identity/mfa/method/totp", json!({"issuer": "i"})).await;
    let method = made.data()["method_id"].as_str().unwrap().to_owned();
    let asks = json!({"method_id": method, "entity_id": entity});
    let made = cluster.done(Verb::Write, "identity/mfa/method/totp/admin-generate", asks).await;
    let authenticator = Authenticator::of(made.data()["url"].as_str().unwrap());
    let rule = json!({"mfa_method_ids": [method], "auth_method_types": ["outside-code"]});
    cluster.done(Verb::Write, "identity/mfa/login-enforcement/all", rule).await;
    (cluster, method, authenticator)
}

#[tokio::test]
async fn a_login_may_go_through_different_nodes() {
    for conflicts in [0, 40] {
        let (cluster, method, authenticator) = cluster(conflicts).await;
        let waiting = at(&cluster, 1, &login(&cluster)).await;
        let id = waiting.text("/auth/mfa_requirement/mfa_request_id");
        assert_ne!(id, "", "{}", waiting.body);
        let code = authenticator.code(cluster.clock.now(), 0);
        let done = at(&cluster, 1, &validation(&id, &method, &code)).await;
        assert_eq!(done.status, 200, "{}", done.body);
        let token = done.token();
        for node in [0, 1] {
            let looks = Request::new(&token, Verb::Read, "auth/token/lookup-self", Value::Null);
            assert_eq!(at(&cluster, node, &looks).await.status, 200);
            let again = at(&cluster, node, &validation(&id, &method, &code)).await;
            assert_eq!(again.refusal(), (403, "invalid request ID"));
            let single = login(&cluster).header("x-vault-mfa", format!("{method}:{code}"));
            let used = at(&cluster, node, &single).await;
            assert!(used.error().contains("code already used"), "{}", used.body);
        }
    }
}

#[tokio::test]
async fn a_used_passcode_stays_used_and_a_waiting_login_ends_with_the_term() {
    let (cluster, method, authenticator) = cluster(0).await;
    let code = authenticator.code(cluster.clock.now(), 0);
    let single = |code: &str| login(&cluster).header("x-vault-mfa", format!("{method}:{code}"));
    let waiting = at(&cluster, 0, &login(&cluster)).await;
    let id = waiting.text("/auth/mfa_requirement/mfa_request_id");
    assert_eq!(at(&cluster, 0, &single(&code)).await.status, 200);
    for leader in [1, 0] {
        cluster.leadership.elect(Some(leader));
        cluster.run().await;
        for node in [0, 1] {
            let used = at(&cluster, node, &single(&code)).await;
            assert!(used.error().contains("code already used"), "{}", used.body);
            let next = authenticator.code(cluster.clock.now(), 1);
            let over = at(&cluster, node, &validation(&id, &method, &next)).await;
            assert_eq!(over.refusal(), (403, "invalid request ID"), "leader {leader}");
        }
    }
    let next = authenticator.code(cluster.clock.now(), 1);
    assert_eq!(at(&cluster, 1, &single(&next)).await.status, 200);
}

#[tokio::test]
async fn a_passkey_is_asked_and_counted_on_every_node() {
    for conflicts in [0, 40] {
        let image = Image::new().await;
        let cluster = Cluster::new(&image, 2, 1, Faults { conflicts, unknown: 0 }).await;
        let entity = at(&cluster, 0, &login(&cluster)).await.auth()["entity_id"].clone();
        let made = cluster.done(Verb::Write, WEBAUTHN, json!({"rp_id": "example.com"})).await;
        let method = made.text("/data/method_id");
        let mut device = Device::new("ES256");
        let of_alice = json!({"method_id": method, "entity_id": entity});
        let begun =
            cluster.done(Verb::Write, &format!("{WEBAUTHN}/admin-register-begin"), of_alice.clone()).await;
        let mut finish = of_alice;
        finish["credential"] = device.make(&begun.data()["public_key"]);
        cluster.done(Verb::Write, &format!("{WEBAUTHN}/admin-register-finish"), finish).await;
        let rule = json!({"mfa_method_ids": [method], "auth_method_types": ["outside-code"]});
        cluster.done(Verb::Write, "identity/mfa/login-enforcement/all", rule).await;
        let open = async |node: usize| {
            let waiting = at(&cluster, node, &login(&cluster)).await;
            let id = waiting.text("/auth/mfa_requirement/mfa_request_id");
            let options = at(&cluster, node, &asking(&id, &method)).await.data()["public_key"].clone();
            (id, options)
        };
        let (left, options_left) = open(1).await;
        let (id, options) = open(1).await;
        let done = at(&cluster, 1, &answering(&id, &method, &device.sign(&options))).await;
        assert_eq!(done.status, 200, "{}", done.body);
        for (leader, number) in [(1, 1), (0, 0)] {
            cluster.leadership.elect(Some(number));
            cluster.run().await;
            let over =
                at(&cluster, leader, &answering(&left, &method, &device.sign_again(&options_left))).await;
            assert_eq!(over.refusal(), (403, "invalid request ID"), "leader {leader}");
            let (id, options) = open(leader).await;
            let copy = at(&cluster, 0, &answering(&id, &method, &device.sign_again(&options))).await;
            assert!(copy.error().contains("its counter has not grown"), "leader {leader}: {}", copy.body);
            let (id, options) = open(leader).await;
            assert_eq!(at(&cluster, 1, &answering(&id, &method, &device.sign(&options))).await.status, 200);
        }
    }
}
