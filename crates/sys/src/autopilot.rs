//! `sys/storage/raft/autopilot/*`: the health of the nodes, and the handling of new and dead ones. Source: Vault's API
//! page `sys/storage/raft/autopilot`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Int, Ttl};
use strongroom_engine_api::{Engine, EngineError, Extension, Input, bad_request, format_duration};
use strongroom_node::{AutopilotServer, Node};

use crate::envelopes::MergedData;
use crate::raft::{member, without_scheme};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("storage/raft/autopilot/state", |r| {
            r.read(
                "Returns the state of the raft cluster under integrated storage as seen by autopilot.",
                state,
            )
        })
        .route("storage/raft/autopilot/configuration", |r| {
            r.read("Returns autopilot configuration.", read_config)
                .update("Configures autopilot.", write_config)
        })
}

/// The cluster as autopilot sees it.
#[derive(Serialize, JsonSchema)]
struct State {
    /// True if every node is healthy.
    healthy: bool,
    /// The number of voters that may fail, one after the other, before the cluster loses its quorum.
    failure_tolerance: usize,
    /// The nodes by name.
    servers: BTreeMap<String, Server>,
    /// The name of the node that leads.
    leader: String,
    /// The names of those that vote.
    voters: Vec<String>,
    /// The names of those that do not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    non_voters: Vec<String>,
}

/// A node as autopilot sees it.
#[derive(Serialize, JsonSchema)]
struct Server {
    /// Its name.
    id: String,
    /// Its name again.
    name: String,
    /// The address at which it talks to its peers.
    address: String,
    /// `alive`, or `left` for one that is to be removed.
    node_status: &'static str,
    /// The time since its last contact with the leader.
    last_contact: String,
    /// The term of the last entry that is known to be in its log.
    last_term: u64,
    /// The number of that entry.
    last_index: u64,
    /// True if it has contact with the leader and keeps up.
    healthy: bool,
    /// Since when that is so, as far as the node that leads has seen (RFC 3339).
    stable_since: String,
    /// `leader`, `voter` or `non-voter`.
    status: &'static str,
    /// `voter`, or `read-replica` for one that is never to vote.
    node_type: &'static str,
    /// The version of its program, once it has been heard.
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
}

impl From<&AutopilotServer> for Server {
    fn from(server: &AutopilotServer) -> Self {
        let AutopilotServer { status, .. } = server;
        let member = &status.member;
        Self {
            id: member.node_id.clone(),
            name: member.node_id.clone(),
            address: without_scheme(&member.cluster_address).to_owned(),
            node_status: if server.dead { "left" } else { "alive" },
            last_contact: format_duration(server.last_contact),
            last_term: status.last_term.unwrap_or(0),
            last_index: status.last_log.unwrap_or(0),
            healthy: server.healthy,
            stable_since: server.stable_since.rfc3339(),
            status: match (status.leader, status.voter) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "non-voter",
            },
            version: server.version.clone(),
            node_type: if member.non_voter { "read-replica" } else { "voter" },
        }
    }
}

async fn state(Extension(node): Extension<Node>, view: View) -> Result<MergedData<State>, EngineError> {
    let seen = node.autopilot_state(&view).await?;
    let names = |wanted: &dyn Fn(&AutopilotServer) -> bool| {
        let servers = seen.servers.iter().filter(|server| wanted(server));
        servers.map(|server| server.status.member.node_id.clone()).collect::<Vec<_>>()
    };
    Ok(MergedData(State {
        healthy: seen.healthy,
        failure_tolerance: seen.failure_tolerance,
        leader: names(&|server| server.status.leader).into_iter().next().unwrap_or_default(),
        voters: names(&|server| server.status.voter),
        non_voters: names(&|server| !server.status.voter),
        servers: seen
            .servers
            .iter()
            .map(|server| (server.status.member.node_id.clone(), server.into()))
            .collect(),
    }))
}

/// The configuration of autopilot.
#[derive(Serialize, JsonSchema)]
struct Config {
    /// True if dead nodes are removed.
    cleanup_dead_servers: bool,
    /// After how long a silent node is dead.
    dead_server_last_contact_threshold: String,
    /// There are no automated upgrades; it is kept and has no effect.
    disable_upgrade_migration: bool,
    /// The time for which a healthy node may be without contact.
    last_contact_threshold: String,
    /// The number of log entries a healthy node may be behind.
    max_trailing_logs: u64,
    /// The number of voters that removing dead nodes must leave.
    min_quorum: u64,
    /// The time for which a new node must be healthy before it becomes a voter.
    server_stabilization_time: String,
}

async fn read_config(
    Extension(node): Extension<Node>,
    view: View,
) -> Result<MergedData<Config>, EngineError> {
    member(&node)?;
    let config = node.autopilot_config(&view).await?;
    Ok(MergedData(Config {
        cleanup_dead_servers: config.cleanup_dead_servers,
        dead_server_last_contact_threshold: format_duration(config.dead_server_last_contact_threshold),
        disable_upgrade_migration: config.disable_upgrade_migration,
        last_contact_threshold: format_duration(config.last_contact_threshold),
        max_trailing_logs: config.max_trailing_logs,
        min_quorum: config.min_quorum,
        server_stabilization_time: format_duration(config.server_stabilization_time),
    }))
}

/// The input of configuring; absent members stay as they are.
#[derive(Deserialize, JsonSchema)]
struct ConfigInput {
    /// True if dead nodes are removed. Needs `min_quorum`.
    cleanup_dead_servers: Option<Flag>,
    /// After how long a silent node is dead; at least a minute, 24 hours unless set.
    dead_server_last_contact_threshold: Option<Ttl>,
    /// There are no automated upgrades; it is kept and has no effect.
    disable_upgrade_migration: Option<Flag>,
    /// The time for which a healthy node may be without contact; 10 seconds unless set.
    last_contact_threshold: Option<Ttl>,
    /// The number of log entries a healthy node may be behind; 1000 unless set.
    max_trailing_logs: Option<Int>,
    /// The number of voters that removing dead nodes must leave, at least 3.
    min_quorum: Option<Int>,
    /// The time for which a new node must be healthy before it becomes a voter; 10 seconds unless set.
    server_stabilization_time: Option<Ttl>,
    /// A token for disaster recovery secondaries. There are none.
    #[allow(dead_code, reason = "taken and of no use, as on a Vault primary")]
    dr_operation_token: Option<strongroom_engine_api::lenient::Text>,
}

async fn write_config(
    Extension(node): Extension<Node>,
    txn: Txn,
    Input(input): Input<ConfigInput>,
) -> Result<(), EngineError> {
    member(&node)?;
    let count = |name: &str, given: &Int| {
        u64::try_from(given.0).map_err(|_error| bad_request(format!("{name} must not be negative")))
    };
    node.configure_autopilot(&txn, |config| {
        if let Some(given) = &input.max_trailing_logs {
            config.max_trailing_logs = count("max_trailing_logs", given)?;
        }
        if let Some(given) = &input.min_quorum {
            config.min_quorum = count("min_quorum", given)?;
        }
        for (given, kept) in [
            (&input.cleanup_dead_servers, &mut config.cleanup_dead_servers),
            (&input.disable_upgrade_migration, &mut config.disable_upgrade_migration),
        ] {
            if let Some(given) = given {
                *kept = given.0;
            }
        }
        for (given, kept) in [
            (&input.dead_server_last_contact_threshold, &mut config.dead_server_last_contact_threshold),
            (&input.last_contact_threshold, &mut config.last_contact_threshold),
            (&input.server_stabilization_time, &mut config.server_stabilization_time),
        ] {
            if let Some(given) = given {
                *kept = given.0;
            }
        }
        Ok(())
    })
    .await
}

#[cfg(test)]
pub(crate) mod tests;
