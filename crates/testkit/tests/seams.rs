//! The seams of the frame that no act needs: events, derived values, certificates of clients, bodies that are no JSON, and
//! headers that a route owns.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail loudly"
)]

use std::collections::BTreeSet;

use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::outside::NOTE_WRITTEN;
use strongroom_testkit::{Request, Response};

const POOL: &str = "db/settings/pool";

async fn cluster(nodes: usize, faults: Faults) -> Cluster {
    let image = Image::new().await;
    Cluster::new(&image, nodes, 1, faults).await
}

fn request(cluster: &Cluster, asked: Verb, path: &str) -> Request {
    Request::new(&cluster.root, asked, path, Value::Null)
}

async fn at(cluster: &Cluster, node: usize, request: &Request) -> Response {
    cluster.send(node, request, None).await.unwrap().expect("an answer")
}

/// Pools that were let go are freed by a thread of its own.
async fn pools_come_to(cluster: &Cluster, expected: usize) {
    for _ in 0..1_000_000 {
        if cluster.system.pools() == expected {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} pools, not {expected}", cluster.system.pools());
}

#[tokio::test]
async fn an_event_is_told_once_for_what_was_committed_and_never_for_what_was_not() {
    let cluster = cluster(2, Faults { conflicts: 60, unknown: 0 }).await;
    let mut heard = [cluster.listen(0).unwrap(), cluster.listen(1).unwrap()];
    let mut indexes = BTreeSet::new();
    for value in 0..20 {
        let path = format!("db/notes/{value}");
        cluster.done(Verb::Write, &path, json!({ "value": value })).await;
        let published = heard[0].try_next().expect("told as soon as the write is answered");
        assert_eq!(published.event.event_type, NOTE_WRITTEN);
        assert_eq!(published.event.metadata["path"], path);
        assert_eq!(published.event.metadata["value"], value.to_string());
        assert_eq!(published.event.time, cluster.clock.now());
        assert!(published.origin.is_some() && published.position == 0);
        assert!(indexes.insert(published.index), "a commit has its own index");
        assert!(heard[0].try_next().is_none(), "once, however often it was decided again");
    }
    let refused = Request::new(&cluster.root, Verb::Write, "db/notes/x", json!({ "value": "x" }));
    assert_eq!(cluster.ask(&refused).await.status, 400);
    assert!(heard[0].try_next().is_none());
    assert!(heard[1].try_next().is_none(), "they are told on the node that commits");
    assert_eq!(heard[0].take_dropped(), 0);
}

#[tokio::test]
async fn a_derived_value_is_that_of_the_view_on_every_node_right_after_a_commit() {
    let cluster = cluster(2, Faults { conflicts: 40, unknown: 0 }).await;
    for number in 1..=20u64 {
        let wrote = cluster.ask(&request(&cluster, Verb::Write, POOL)).await;
        assert_eq!(wrote.data()["number"], number);
        for node in 0..2 {
            let read = at(&cluster, node, &request(&cluster, Verb::Read, POOL)).await;
            assert_eq!(read.data(), &json!({ "stored": number, "derived": number }), "{node}");
        }
        let issued = cluster.ask(&request(&cluster, Verb::Read, "db/creds/web")).await;
        assert_eq!(issued.data()["setting"], number, "an act has the value of its moment too");
    }
    // Another key of the same mount, and the same key of another mount, are values of their own.
    for path in ["db/settings/other", "other/settings/pool"] {
        let read = cluster.ask(&request(&cluster, Verb::Read, path)).await;
        assert_eq!(read.data(), &json!({ "stored": 0, "derived": 0 }), "{path}");
    }
    // The hooks of leases work through it as well.
    cluster.done(Verb::Write, "sys/leases/revoke-prefix/db", json!({})).await;
    for _ in 0..30 {
        cluster.pass(std::time::Duration::from_secs(5)).await;
    }
    assert!(cluster.system.users().is_empty());
}

#[tokio::test]
async fn a_value_is_kept_until_its_tables_change_and_ends_with_term_seal_and_mount() {
    let cluster = cluster(2, Faults::default()).await;
    let read = request(&cluster, Verb::Read, POOL);
    for _ in 0..5 {
        cluster.ask(&read).await.data();
    }
    assert_eq!(cluster.system.pools(), 1, "one is kept");
    cluster.done(Verb::Write, "db/notes/1", json!({ "value": 1 })).await;
    cluster.ask(&read).await.data();
    assert_eq!(cluster.system.pools(), 1, "other tables are of no matter to it");
    cluster.done(Verb::Write, POOL, Value::Null).await;
    pools_come_to(&cluster, 0).await;
    cluster.ask(&read).await.data();
    cluster.ask(&request(&cluster, Verb::Read, "other/settings/pool")).await.data();
    assert_eq!(cluster.system.pools(), 2);
    cluster.done(Verb::Delete, "sys/mounts/other", Value::Null).await;
    pools_come_to(&cluster, 1).await;
    // It holds connections, which end with the term.
    cluster.leadership.elect(Some(1));
    for _ in 0..5 {
        cluster.pass(std::time::Duration::from_secs(1)).await;
    }
    pools_come_to(&cluster, 0).await;
    cluster.ask(&read).await.data();
    assert_eq!(cluster.system.pools(), 1);
    cluster.done(Verb::Write, "sys/seal", Value::Null).await;
    assert_eq!(cluster.system.pools(), 0, "nothing is left when sealing is answered");
}

#[tokio::test]
async fn a_body_of_bytes_comes_back_as_it_was_with_the_headers_that_the_route_owns() {
    let cluster = cluster(1, Faults::default()).await;
    let bytes: Vec<u8> = (0..=255).collect();
    let sent = request(&cluster, Verb::Write, "db/echo").sending("application/x-junk", bytes.clone());
    let echoed = cluster.ask(&sent).await;
    assert_eq!((echoed.status, echoed.content_type.as_str()), (200, "application/x-junk"));
    assert_eq!(echoed.bytes, bytes);
    assert_eq!(echoed.header("Retry-After"), Some("7"));
    assert_eq!(echoed.header("X-Other"), None, "the mount does not allow it");
    let allow = json!({ "allowed_response_headers": ["X-Other"] });
    cluster.done(Verb::Write, "sys/mounts/db/tune", allow).await;
    let echoed = cluster.ask(&sent).await;
    assert_eq!((echoed.header("Retry-After"), echoed.header("X-Other")), (Some("7"), Some("1")));
    let misplaced = request(&cluster, Verb::Write, POOL).sending("application/x-junk", bytes);
    let misplaced = cluster.ask(&misplaced).await;
    assert!(misplaced.status >= 400, "a route that takes JSON is given bytes: {}", misplaced.status);
    let read = cluster.ask(&request(&cluster, Verb::Read, POOL)).await;
    assert_eq!(read.data()["stored"], 0, "its handler has not run");
}

#[tokio::test]
async fn a_handler_is_told_the_certificates_of_its_client() {
    let cluster = cluster(2, Faults::default()).await;
    let certificate = |serial: u64| {
        let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        Bytes::copy_from_slice(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    };
    let nobody = request(&cluster, Verb::Read, "db/peer");
    let shown = nobody.clone().showing([certificate(4711), certificate(1)]);
    for node in 0..2 {
        let told = at(&cluster, node, &shown).await;
        assert_eq!(told.data(), &json!({ "serial": "4711", "certificates": 2 }), "{node}");
        let told = at(&cluster, node, &nobody).await;
        assert_eq!(told.data(), &json!({ "serial": "", "certificates": 0 }), "{node}");
    }
}
