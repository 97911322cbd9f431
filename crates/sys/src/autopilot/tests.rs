//! Autopilot of one node on integrated storage, over a stepped clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use strongroom_cluster::{Identity, Network};
use strongroom_engine_api::Secret;
use strongroom_node::{ClusterNode, Discovery, JoinClient, LeaderAddress};
use strongroom_pipeline::Settings;
use strongroom_raft::{Member, Options, RaftStore};
use tempfile::TempDir;

use crate::testing::{START, Server};

const CONFIGURATION: &str = "sys/storage/raft/autopilot/configuration";
const STATE: &str = "sys/storage/raft/autopilot/state";

struct Nobody;

#[async_trait]
impl JoinClient for Nobody {
    async fn write(&self, _leader: &LeaderAddress, _path: &str, _body: Value) -> Result<Value, String> {
        Err("nobody is there".to_owned())
    }

    fn discovery(
        &self,
        _expression: &Secret<String>,
        _scheme: Option<&str>,
        _port: Option<u16>,
    ) -> Result<Arc<dyn Discovery>, String> {
        Err("finds nobody".to_owned())
    }
}

pub(crate) async fn on_raft() -> (Server, Arc<RaftStore>, TempDir) {
    let (mut server, store, directory) = node_on_raft(Arc::new(Nobody), true).await;
    server.initialize(1, 1).await;
    server.core.services.seal_state.offer_key_part(server.key_parts[0].clone()).await.unwrap();
    (server, store, directory)
}

/// A node that belongs to no cluster.
pub(crate) async fn unjoined(join_client: Arc<dyn JoinClient>) -> (Server, Arc<RaftStore>, TempDir) {
    node_on_raft(join_client, false).await
}

async fn node_on_raft(
    join_client: Arc<dyn JoinClient>,
    bootstrap: bool,
) -> (Server, Arc<RaftStore>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path());
    options.node_id = Some("n1".to_owned());
    options.bootstrap = bootstrap;
    options.cluster_address = "https://127.0.0.1:8201".to_owned();
    let store = RaftStore::open(options).await.unwrap();
    let server = Server::over(store.clone(), Settings::default());
    server.core.services.node.set_cluster(ClusterNode::new(
        store.clone(),
        Arc::new(Network::default()),
        Identity::of(directory.path(), server.clock.clone()),
        join_client,
        String::new(),
        String::new(),
    ));
    (server, store, directory)
}

#[tokio::test]
async fn without_integrated_storage_there_is_no_autopilot() {
    let server = Server::new().await;
    for path in [STATE, CONFIGURATION] {
        assert_eq!(server.read(path).await.error(), (400, "raft storage is not in use"), "{path}");
    }
    let told = server.write(CONFIGURATION, json!({ "min_quorum": 3 })).await;
    assert_eq!(told.error(), (400, "raft storage is not in use"));
}

#[tokio::test]
async fn what_is_configured_stays_and_the_rest_too() {
    let (server, store, _directory) = on_raft().await;
    let usual = json!({
        "cleanup_dead_servers": false,
        "dead_server_last_contact_threshold": "24h0m0s",
        "disable_upgrade_migration": false,
        "last_contact_threshold": "10s",
        "max_trailing_logs": 1000,
        "min_quorum": 0,
        "server_stabilization_time": "10s",
    });
    let told = server.read(CONFIGURATION).await;
    assert_eq!(told.data(), &usual);
    assert_eq!(told.body["max_trailing_logs"], 1000, "Vault answers it at the top, too");

    let wanted = json!({
        "cleanup_dead_servers": "true", "dead_server_last_contact_threshold": "90m", "min_quorum": "3",
        "last_contact_threshold": 20, "disable_upgrade_migration": true,
    });
    assert_eq!(server.write(CONFIGURATION, wanted).await.status, 204);
    let wanted = json!({ "max_trailing_logs": "2000", "server_stabilization_time": "1m30s" });
    assert_eq!(server.write(CONFIGURATION, wanted).await.status, 204);
    let kept = json!({
        "cleanup_dead_servers": true,
        "dead_server_last_contact_threshold": "1h30m0s",
        "disable_upgrade_migration": true,
        "last_contact_threshold": "20s",
        "max_trailing_logs": 2000,
        "min_quorum": 3,
        "server_stabilization_time": "1m30s",
    });
    assert_eq!(server.read(CONFIGURATION).await.data(), &kept);

    for (wrong, reason) in [
        (json!({ "min_quorum": 2 }), "cleanup_dead_servers needs a min_quorum of at least 3; it is 2"),
        (
            json!({ "dead_server_last_contact_threshold": "59s", "max_trailing_logs": 1 }),
            "dead_server_last_contact_threshold must be at least 1m0s; it is 59s",
        ),
        (json!({ "max_trailing_logs": -1 }), "max_trailing_logs must not be negative"),
        (json!({ "min_quorum": "-3" }), "min_quorum must not be negative"),
    ] {
        assert_eq!(server.write(CONFIGURATION, wrong).await.error(), (400, reason));
    }
    assert_eq!(server.read(CONFIGURATION).await.data(), &kept, "what is refused changes nothing");
    let off = json!({ "cleanup_dead_servers": false, "min_quorum": 0 });
    assert_eq!(server.write(CONFIGURATION, off).await.status, 204);
    let on = server.write(CONFIGURATION, json!({ "cleanup_dead_servers": true })).await;
    assert_eq!(on.error().0, 400, "how many must stay is to be said, too");
    drop(server);
    strongroom_storage::Store::close(&*store).await;
}

#[tokio::test]
async fn the_state_is_what_the_leader_hears() {
    let (server, store, _directory) = on_raft().await;
    server.clock.advance(Duration::from_secs(5));
    let told = server.read(STATE).await;
    let state = told.data();
    let node = &state["servers"]["n1"];
    assert_eq!(
        node,
        &json!({
            "id": "n1", "name": "n1", "address": "127.0.0.1:8201", "node_status": "alive", "last_contact": "0s",
            "last_term": node["last_term"], "last_index": node["last_index"], "healthy": true,
            "stable_since": START.after(Duration::from_secs(5)).rfc3339(), "status": "leader",
            "node_type": "voter", "version": Settings::default().version,
        })
    );
    assert!(node["last_index"].as_u64() > Some(0) && node["last_term"].as_u64() > Some(0));
    let whole = json!({
        "healthy": true, "failure_tolerance": 0, "leader": "n1", "voters": ["n1"], "servers": { "n1": node },
    });
    assert_eq!(state, &whole);

    let absent = Member {
        raft_id: 7,
        node_id: "n2".to_owned(),
        api_address: String::new(),
        cluster_address: "https://127.0.0.1:1".to_owned(),
        non_voter: true,
    };
    store.admit(&absent).await.unwrap();
    for _ in 0..12 {
        server.core.background.run_jobs_once(false).await.unwrap();
        server.clock.advance(Duration::from_secs(1));
    }
    let told = server.read(STATE).await;
    let state = told.data();
    assert_eq!(
        (&state["healthy"], &state["voters"], &state["non_voters"]),
        (&json!(false), &json!(["n1"]), &json!(["n2"]))
    );
    let node = &state["servers"]["n2"];
    assert_eq!((&node["status"], &node["node_type"]), (&json!("non-voter"), &json!("read-replica")));
    assert_eq!((&node["healthy"], &node["node_status"]), (&json!(false), &json!("alive")));
    assert_eq!((&node["last_contact"], &node["last_index"]), (&json!("12s"), &json!(0)));

    let wanted =
        json!({ "cleanup_dead_servers": true, "min_quorum": 3, "dead_server_last_contact_threshold": "1m" });
    assert_eq!(server.write(CONFIGURATION, wanted).await.status, 204);
    for second in 12..60 {
        assert_eq!(server.read(STATE).await.data()["servers"]["n2"]["node_status"], "alive", "{second}");
        server.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(server.read(STATE).await.data()["servers"]["n2"]["node_status"], "left");
    server.core.background.run_jobs_once(false).await.unwrap();
    assert_eq!(server.read(STATE).await.data()["servers"]["n2"], Value::Null, "it has been removed");
    drop(server);
    strongroom_storage::Store::close(&*store).await;
}
