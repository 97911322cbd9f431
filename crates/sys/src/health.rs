//! The state of this node: `sys/health`, `sys/leader`, `sys/ha-status`, `sys/step-down`, `sys/version-history`,
//! `sys/config/state/sanitized`. Source: Vault's API pages of these names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_barrier::{Barrier, BarrierError};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Clock, Engine, EngineError, Extension, Input, IntoReply, OperationDoc, Redactions, Reply, bad_request,
};

use strongroom_node::{Coordination, Node};
use strongroom_pipeline::Settings;
use strongroom_raft::Member;
use strongroom_seal_state::{SealState, SealStatus};
use strongroom_storage::{Active, CommitError, SteppedDown};

use crate::envelopes::{MergedData, NoEnvelope};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("health", |r| r.open().while_sealed().read("Returns the health status of the server.", health))
        .route("leader", |r| {
            r.open().while_sealed().read("Returns the high availability status and current leader.", leader)
        })
        .route("ha-status", |r| r.read("Check the HA status of a cluster.", ha_status))
        .route("step-down", |r| r.sudo().update("Cause the node to give up active status.", step_down))
        .route("config/state/sanitized", |r| {
            r.read("Return a sanitized version of the server's configuration.", sanitized)
        })
}

/// The input of a health check: the statuses to answer instead of the usual ones.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct HealthInput {
    /// Answers a standby with the active node's status.
    standbyok: Option<Text>,
    /// Answers a performance standby with the active node's status.
    perfstandbyok: Option<Text>,
    /// The status of an active node.
    activecode: Option<Text>,
    /// The status of a standby.
    standbycode: Option<Text>,
    /// The status of a disaster recovery secondary.
    drsecondarycode: Option<Text>,
    /// The status of a performance standby.
    performancestandbycode: Option<Text>,
    /// The status of a sealed node.
    sealedcode: Option<Text>,
    /// The status of a node that is not initialized.
    uninitcode: Option<Text>,
    /// The status of a standby that cannot reach the active node.
    haunhealthycode: Option<Text>,
    /// The status of a node taken out of its cluster.
    removedcode: Option<Text>,
}

/// The answer to a health check.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_excessive_bools, reason = "the members that Vault answers")]
struct Health {
    /// True if there are keys in storage.
    initialized: bool,
    /// True if the node is sealed.
    sealed: bool,
    /// True if another node is active.
    standby: bool,
    /// True if it is a standby that serves reads.
    performance_standby: bool,
    /// The state of performance replication.
    replication_performance_mode: &'static str,
    /// The state of disaster recovery replication.
    replication_dr_mode: &'static str,
    /// Seconds since the Unix epoch.
    server_time_utc: u64,
    /// The version of the server.
    version: String,
    /// Always false: there is one edition.
    enterprise: bool,
    /// The cluster's name, while unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster_name: String,
    /// The cluster's id, while unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster_id: String,
    /// The duration of a standby's last echo, milliseconds.
    echo_duration_ms: u64,
    /// The difference between a standby's clock and the active node's, milliseconds.
    clock_skew_ms: i64,
    /// True if this node was taken out of its cluster, where it has been in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_from_cluster: Option<bool>,
    /// The age of a secondary's last message from the primary, milliseconds.
    replication_primary_canary_age_ms: u64,
}

/// Documented as [`Health`]; the status and whether there is a body depend on what is asked.
struct HealthAnswer(u16, Health);

impl IntoReply for HealthAnswer {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<Health>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        if matches!(self.0, 204 | 304) {
            return Ok(Reply::raw(self.0, "", ""));
        }
        NoEnvelope(self.0, self.1).into_reply()
    }
}

/// A status that a client chose.
fn chosen(given: Option<&Text>, usual: u16) -> Result<u16, EngineError> {
    let Some(given) = given else { return Ok(usual) };
    let status = given.parse::<u16>().ok().filter(|status| (200..1000).contains(status));
    status.ok_or_else(|| bad_request(format!("{:?} is not an HTTP status code", given.0)))
}

async fn health(
    Extension(settings): Extension<Settings>,
    Extension(seal_state): Extension<SealState>,
    Extension(node): Extension<Node>,
    clock: Clock,
    redactions: Redactions,
    Input(input): Input<HealthInput>,
) -> Result<HealthAnswer, EngineError> {
    let status = seal_state.status().await?;
    let codes = [
        chosen(input.uninitcode.as_ref(), 501)?,
        chosen(input.sealedcode.as_ref(), 503)?,
        chosen(input.activecode.as_ref(), 200)?,
        chosen(input.standbycode.as_ref(), 429)?,
        chosen(input.haunhealthycode.as_ref(), 474)?,
        chosen(input.removedcode.as_ref(), 530)?,
    ];
    // States that a node of this version is never in: what is asked for them must still make sense.
    for (given, usual) in [(&input.drsecondarycode, 472), (&input.performancestandbycode, 473)] {
        chosen(given.as_ref(), usual)?;
    }
    let [uninitialized, sealed, active, standby, unhealthy, removed] = codes;
    let stands_by = node.is_standby();
    // As in Vault: naming the parameter is enough, but for a plain no.
    let standby_ok = input.standbyok.as_ref().is_some_and(|given| given.0 != "false");
    let answered = match &status {
        SealStatus { initialized: false, .. } => uninitialized,
        _ if node.is_removed() => removed,
        SealStatus { sealed: true, .. } => sealed,
        _ if stands_by && node.without_quorum().is_some() => unhealthy,
        _ if stands_by && !standby_ok => standby,
        _ => active,
    };
    let shown = |text: String, redacted: bool| if redacted { String::new() } else { text };
    let replication = if status.sealed { "unknown" } else { "disabled" };
    let health = Health {
        initialized: status.initialized,
        sealed: status.sealed,
        standby: status.sealed || stands_by,
        performance_standby: false,
        replication_performance_mode: replication,
        replication_dr_mode: replication,
        server_time_utc: clock.now().as_secs(),
        version: shown(settings.version.clone(), redactions.version),
        enterprise: false,
        cluster_name: shown(status.cluster_name, redactions.cluster_name),
        cluster_id: status.cluster_id,
        echo_duration_ms: 0,
        clock_skew_ms: 0,
        replication_primary_canary_age_ms: 0,
        removed_from_cluster: node.cluster().map(|_| node.is_removed()),
    };
    Ok(HealthAnswer(answered, health))
}

/// The form in which Vault writes a time that was never set.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The leader.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the members that Vault answers")]
struct Leader {
    /// True if storage allows high availability: several nodes, one of them active.
    ha_enabled: bool,
    /// True if this node is the leader.
    is_self: bool,
    /// Since when it leads (RFC 3339); the year 1 where it does not.
    active_time: String,
    /// The address at which clients reach the leader.
    leader_address: String,
    /// The address at which nodes reach the leader.
    leader_cluster_address: String,
    /// True if this node is a standby that serves reads.
    performance_standby: bool,
    /// The last entry a performance standby has seen.
    performance_standby_last_remote_wal: u64,
    /// The last entry that is durable on a majority.
    #[serde(skip_serializing_if = "Option::is_none")]
    raft_committed_index: Option<u64>,
    /// The last entry that reads on this node can see.
    #[serde(skip_serializing_if = "Option::is_none")]
    raft_applied_index: Option<u64>,
}

async fn leader(
    Extension(barrier): Extension<Barrier>,
    Extension(this_node): Extension<Node>,
    redactions: Redactions,
) -> Result<NoEnvelope<Leader>, EngineError> {
    let others = this_node.coordination().filter(|coordination| coordination.has_others());
    let node = others.filter(|_| !barrier.is_sealed());
    let since = this_node.active_since().filter(|_| node.is_some());
    let leading = node.and_then(Coordination::active).filter(|_| !redactions.addresses);
    let address =
        |of: fn(&Active) -> &String| leading.as_ref().map_or_else(String::new, |leader| of(leader).clone());
    let status = this_node.cluster().map(|node| node.store.status());
    Ok(NoEnvelope(
        200,
        Leader {
            ha_enabled: others.is_some(),
            is_self: since.is_some(),
            active_time: since.map_or_else(|| NEVER.to_owned(), strongroom_engine_api::Moment::rfc3339),
            leader_address: address(|leader| &leader.api_address),
            leader_cluster_address: address(|leader| &leader.cluster_address),
            performance_standby: false,
            performance_standby_last_remote_wal: 0,
            raft_committed_index: status.as_ref().map(|status| status.committed),
            raft_applied_index: status.as_ref().map(|status| status.applied),
        },
    ))
}

/// The nodes of a cluster.
#[derive(Serialize, JsonSchema)]
struct Nodes {
    /// Each with its addresses.
    nodes: Vec<NodeView>,
}

/// A node.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the members that Vault answers")]
struct NodeView {
    /// The name of its machine.
    hostname: String,
    /// The address at which clients reach it.
    api_address: String,
    /// The address at which nodes reach it.
    cluster_address: String,
    /// True if it is the active node.
    active_node: bool,
    /// The time of a standby's last echo (RFC 3339).
    last_echo: Option<String>,
    /// The duration of its last echo, milliseconds.
    echo_duration_ms: u64,
    /// The difference between its clock and the active node's, milliseconds.
    clock_skew_ms: i64,
    /// Its version.
    version: String,
    /// The version that automated upgrades take it for.
    upgrade_version: String,
    /// Its redundancy zone.
    redundancy_zone: String,
}

/// Only the active node has heard of all the others: another hands the question on, and answers what it knows itself
/// where there is none.
async fn ha_status(
    Extension(settings): Extension<Settings>,
    Extension(this_node): Extension<Node>,
    clock: Clock,
) -> Result<MergedData<Nodes>, EngineError> {
    if let Some(cluster) = this_node.cluster()
        && this_node.way_to_active().is_some()
    {
        let leader = cluster.store.leader_address();
        return Err(BarrierError::Commit(CommitError::NotLeader { leader }).into());
    }
    let this = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = |hostname, api_address: &String, cluster_address: &String, active_node| NodeView {
        hostname,
        api_address: api_address.clone(),
        cluster_address: cluster_address.clone(),
        active_node,
        last_echo: None,
        echo_duration_ms: 0,
        clock_skew_ms: 0,
        version: settings.version.clone(),
        upgrade_version: settings.version.clone(),
        redundancy_zone: String::new(),
    };
    let Some(cluster) = this_node.cluster() else {
        let mut nodes = vec![node(this(), &settings.api_addr, &settings.cluster_addr, this_node.is_active())];
        // Where nodes share a database, they know of the one that is active.
        let active =
            this_node.coordination().and_then(Coordination::active).filter(|_| !this_node.is_active());
        nodes.extend(
            active.map(|active| {
                node(active.node_id.clone(), &active.api_address, &active.cluster_address, true)
            }),
        );
        return Ok(MergedData(Nodes { nodes }));
    };
    let now = clock.now();
    let members = cluster.store.members().into_iter().map(|status| {
        let Member { raft_id, node_id, api_address, cluster_address, .. } = status.member;
        // The name of another node's machine is not known here; that of the node is.
        let hostname = if raft_id == cluster.store.raft_id() { this() } else { node_id };
        let heard = status.silence.filter(|_| !status.leader);
        let version = this_node.version_of(cluster, raft_id);
        NodeView {
            last_echo: heard.map(|silence| now.before(silence).rfc3339()),
            version: version.clone(),
            upgrade_version: version,
            ..node(hostname, &api_address, &cluster_address, status.leader)
        }
    });
    Ok(MergedData(Nodes { nodes: members.collect() }))
}

/// With no other node there is no node to hand over to: as in Vault, nothing happens.
async fn step_down(Extension(node): Extension<Node>) -> Result<(), EngineError> {
    match node.step_down().await {
        SteppedDown::Nothing | SteppedDown::HandedOver => Ok(()),
        SteppedDown::NobodyReady => {
            let reason = "no other node can take over: each is sealed, not reached or out of space; this node stays active";
            Err(EngineError::Status(500, reason.to_owned()))
        }
    }
}

async fn sanitized(Extension(settings): Extension<Settings>) -> Result<Reply, EngineError> {
    match &settings.sanitized {
        Value::Null => Reply::data(&json!({})),
        sanitized => Reply::data(sanitized),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::{Settings, Verb};

    use crate::testing::{START, Server};

    async fn health(server: &Server, query: serde_json::Value) -> crate::testing::Told {
        server.ask_as("", Verb::Read, "sys/health", query).await
    }

    #[tokio::test]
    async fn health_follows_the_seal() {
        let blank = Server::blank(Settings::default());
        let told = health(&blank, json!({})).await;
        assert_eq!(
            (told.status, &told.body["initialized"], &told.body["sealed"]),
            (501, &json!(false), &json!(true))
        );
        assert_eq!(health(&blank, json!({ "uninitcode": "200" })).await.status, 200);

        let sealed = Server::sealed(Settings::default(), 1, 1).await;
        let told = health(&sealed, json!({})).await;
        assert_eq!((told.status, &told.body["standby"]), (503, &json!(true)));
        assert_eq!(told.body.get("cluster_id"), None);
        assert_eq!(health(&sealed, json!({ "sealedcode": 299 })).await.status, 299);

        let server = Server::new().await;
        let told = health(&server, json!({ "standbyok": "" })).await;
        assert_eq!(told.status, 200);
        assert_eq!(told.body["server_time_utc"], START.as_secs());
        assert_eq!(told.body["replication_dr_mode"], "disabled");
        assert_ne!(told.body["cluster_name"], json!(null));
        assert_eq!(
            health(&server, json!({ "activecode": "204" })).await.body,
            json!(null),
            "204 has no body"
        );
        for wrong in
            [json!({ "activecode": "x" }), json!({ "standbycode": "99" }), json!({ "activecode": "100" })]
        {
            assert_eq!(health(&server, wrong).await.status, 400);
        }
    }

    #[tokio::test]
    async fn one_node_leads_itself() {
        let server = Server::new().await;
        let leader = server.ask_as("", Verb::Read, "sys/leader", json!({})).await;
        assert_eq!((&leader.body["ha_enabled"], &leader.body["is_self"]), (&json!(false), &json!(false)));
        let nodes = server.read("sys/ha-status").await;
        assert_eq!(nodes.data()["nodes"][0]["active_node"], true);
        assert_ne!(nodes.data()["nodes"][0]["hostname"], "");
        assert_eq!(nodes.body["nodes"], nodes.data()["nodes"]);
        assert_eq!(server.write("sys/step-down", json!({})).await.status, 204);
        let plain = server.token_with(r#"path "sys/*" { capabilities = ["update", "read"] }"#).await;
        assert_eq!(server.ask_as(&plain, Verb::Write, "sys/step-down", json!({})).await.status, 403);
    }

    #[tokio::test]
    async fn the_configuration_is_shown_as_it_was_sanitized() {
        let settings = Settings { sanitized: json!({ "api_addr": "x" }), ..Settings::default() };
        let server = Server::with(settings).await;
        assert_eq!(server.read("sys/config/state/sanitized").await.data(), &json!({ "api_addr": "x" }));
    }
}
