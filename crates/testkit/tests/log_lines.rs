//! What the log tells at `info`: each line once, after the commit that it is about, and at once.

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
use strongroom_engine_api::Engine;
use strongroom_mounts::NewMount;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::{LogLines, Server, Setup};

/// A server with an engine of each class.
async fn server() -> Server {
    let engine = || Engine::new("things", "Keeps things.");
    Setup::default().with(engine).with(|| Engine::auth("people", "Logs people in.")).start().await
}

#[tokio::test]
async fn mounts_and_auth_methods() {
    let server = server().await;
    let log = LogLines::capture();
    server.write("sys/mounts/boxes", json!({ "type": "unknown" })).await;
    assert_eq!(log.take(), [""; 0], "what is refused is not told");

    let txn = server.txn().await;
    let new = || NewMount { kind: "things".to_owned(), ..NewMount::default() };
    server.services().mounts.add_mount(&txn, NamespaceId::ROOT, "given-up/", new()).await.unwrap();
    txn.discard();
    txn.commit().await.unwrap();
    let (first, second) = (server.txn().await, server.txn().await);
    for txn in [&first, &second] {
        server.services().mounts.add_mount(txn, NamespaceId::ROOT, "one/", new()).await.unwrap();
    }
    assert_eq!(log.take(), [""; 0], "nothing is committed yet");
    first.commit().await.unwrap();
    assert_eq!(log.take(), ["INFO successful mount namespace= path=one/ type=things"], "at once");
    second.commit().await.unwrap_err();
    assert_eq!(log.take(), [""; 0], "a conflict changes nothing");

    server.write("sys/auth/people", json!({ "type": "people" })).await;
    assert_eq!(log.take(), ["INFO enabled credential backend namespace= path=people/ type=people"]);
    server.write("sys/mounts/one/tune", json!({ "description": "tuned" })).await;
    assert_eq!(log.take(), [""; 0]);
    server.delete("sys/auth/people").await;
    assert_eq!(log.take(), ["INFO disabled credential backend namespace= path=people/"]);
    server.write("sys/remount", json!({ "from": "one", "to": "two" })).await;
    assert_eq!(log.take(), ["INFO mount moved namespace= from=one/ to=two/"]);
    server.delete("sys/mounts/two").await;
    assert_eq!(log.take(), ["INFO successfully unmounted namespace= path=two/"]);
}

#[tokio::test]
async fn second_factors() {
    let server = server().await;
    let log = LogLines::capture();
    let made = server.write("identity/mfa/method/totp", json!({ "issuer": "i" })).await;
    let method = made.data()["method_id"].as_str().unwrap().to_owned();
    assert_eq!(log.take(), [format!("INFO writing MFA method method_id={method}")]);
    let rule = json!({ "mfa_method_ids": [method], "auth_method_types": ["people"] });
    server.write("identity/mfa/login-enforcement/people", rule).await;
    assert_eq!(log.take(), ["INFO writing login enforcement name=people"]);
    let entity = server.write("identity/entity", json!({ "name": "bob" })).await.data()["id"].clone();
    let (asks, bob) = (json!({ "method_id": method, "entity_id": entity }), entity.as_str().unwrap());
    for told in [vec![format!("INFO made a TOTP key entity_id={bob} method_id={method}")], Vec::new()] {
        server.write("identity/mfa/method/totp/admin-generate", asks.clone()).await;
        assert_eq!(log.take(), told, "once, and without the key");
    }
    for told in [vec![format!("INFO deleted a TOTP key entity_id={bob} method_id={method}")], Vec::new()] {
        server.write("identity/mfa/method/totp/admin-destroy", asks.clone()).await;
        assert_eq!(log.take(), told);
    }
    server.delete("identity/mfa/login-enforcement/people").await;
    assert_eq!(log.take(), ["INFO deleting login enforcement name=people"]);
    server.delete(&format!("identity/mfa/method/totp/{method}")).await;
    assert_eq!(log.take(), [format!("INFO deleting MFA method method_id={method}")]);
}

#[tokio::test]
async fn policies() {
    let server = Server::new().await;
    let log = LogLines::capture();
    server.write("sys/policies/acl/wrong", json!({ "policy": "path" })).await;
    assert_eq!(log.take(), [""; 0]);
    server
        .write("sys/policies/acl/web", json!({ "policy": "path \"a\" { capabilities = [\"read\"] }" }))
        .await;
    assert_eq!(log.take(), ["INFO writing policy policy=web"]);
    server.delete("sys/policies/acl/web").await;
    assert_eq!(log.take(), ["INFO deleting policy policy=web"]);
}

#[tokio::test]
async fn audit_devices() {
    let server = Server::new().await;
    let log = LogLines::capture();
    let told =
        server.write("sys/audit/off", json!({ "type": "file", "options": { "file_path": "discard" } })).await;
    assert_eq!(told.status, 204, "{}", told.body);
    assert_eq!(log.take(), ["INFO enabled audit backend path=off/ type=file"]);
    server.delete("sys/audit/off").await;
    assert_eq!(log.take(), ["INFO disabled audit backend path=off/"]);
    server.delete("sys/audit/off").await;
    assert_eq!(log.take(), [""; 0], "there was none");
}

#[tokio::test(start_paused = true)]
async fn leadership() {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 2, 1, Faults::default()).await;
    let log = LogLines::capture();
    let mut lines = Vec::new();
    let until = async |lines: &mut Vec<String>, text: &str, times: usize| {
        for _ in 0..200 {
            cluster.clock.advance(Duration::from_secs(1));
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            lines.extend(log.take().into_iter().filter(|line| line.contains("active operation")));
            if lines.iter().filter(|line| line.contains(text)).count() >= times {
                return;
            }
        }
        panic!("{text}: {lines:?}");
    };
    until(&mut lines, "acquired leadership, enabling active operation", 1).await;
    cluster.leadership.elect(Some(1));
    until(&mut lines, "acquired leadership", 2).await;
    until(&mut lines, "stepping down from active operation to standby", 1).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
}
