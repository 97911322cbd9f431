//! `operator raft`: the nodes of integrated storage and their snapshots.

use std::fs;

use serde_json::{Map, Value, json};
use strongroom_client::Request;
use strongroom_stdx::format_duration;

use super::snapshot;
use crate::call::Call;
use crate::command::{Command, Outside};
use crate::failure::{Because, Failure, Outcome, io_reason};
use crate::flags::Flag;
use crate::output::{Format, go, table};

pub(crate) static RAFT: Command = Command::group(
    "raft",
    "Interact with Vault's raft storage backend",
    r"
Manages the nodes of integrated storage, and saves and restores snapshots.

    $ {p} operator raft list-peers
    $ {p} operator raft snapshot save backup.snap
",
    &[&AUTOPILOT, &DEMOTE, &JOIN, &LIST_PEERS, &PROMOTE, &RECOVER, &REMOVE_PEER, &snapshot::SNAPSHOT],
);

static LIST_PEERS: Command = Command::remote(
    "list-peers",
    "Returns the Raft peer set",
    "[options]",
    r"
Lists the nodes of the Raft cluster.
",
    |call| Box::pin(list_peers(call)),
)
.format()
.takes(0);

static JOIN: Command = Command::remote(
    "join",
    "Joins a node to the Raft cluster",
    "[options] [LEADER-API-ADDR | AUTO-JOIN-CONFIGURATION]",
    r#"
Joins the node to the Raft cluster of the leader at this address, or of the leader that discovery finds.

    $ {p} operator raft join https://127.0.0.2:8200
    $ {p} operator raft join "provider=dns name=vault.internal"
    $ {p} operator raft join "provider=static addrs=10.0.0.1,10.0.0.2:8300"

A flag's value that starts with "@" is read from the file of that name.
"#,
    |call| Box::pin(join(call)),
)
.format()
.flags(&[
    Flag::int("auto-join-port", "Port of the addresses that discovery finds.").default("8200"),
    Flag::text("auto-join-scheme", "Scheme of the addresses that discovery finds.").default("https"),
    Flag::text("leader-ca-cert", "CA certificate to verify the leader with."),
    Flag::text("leader-client-cert", "Certificate to present to the leader."),
    Flag::text("leader-client-key", "Private key of -leader-client-cert."),
    Flag::switch("non-voter", "Join without a vote.").default("false"),
    Flag::switch("retry", "Retry until the node has joined.").default("false"),
])
.args(0, 1);

static RECOVER: Command =
    Command::outside("recover", "Recovers a cluster that has lost quorum", Outside::Recover);

static REMOVE_PEER: Command = Command::remote(
    "remove-peer",
    "Removes a node from the Raft cluster",
    "[options] SERVER-ID",
    r"
Permanently removes a node from the Raft cluster.
",
    |call| Box::pin(remove_peer(call)),
)
.flags(&[Flag::text("dr-token", "Token that authorizes the operation on a disaster recovery secondary.")])
.takes(1);

static PROMOTE: Command = Command::remote(
    "promote",
    "Promotes a permanent non-voter to a voter",
    "[options] SERVER-ID",
    "Promotes a non-voter to a voter.",
    |call| Box::pin(promote(call)),
)
.takes(1);

static DEMOTE: Command = Command::remote(
    "demote",
    "Demotes a voter to a permanent non-voter",
    "[options] SERVER-ID",
    "Demotes a voter to a non-voter.",
    |call| Box::pin(demote(call)),
)
.takes(1);

static AUTOPILOT: Command = Command::group(
    "autopilot",
    "Interact with the autopilot of the Raft cluster",
    r"
Shows the health of the nodes, and shows or changes the configuration of autopilot.
",
    &[&GET_CONFIG, &SET_CONFIG, &STATE],
);

static STATE: Command = Command::remote(
    "state",
    "Displays the state of the Raft cluster as seen by autopilot",
    "[options]",
    "Shows the health of the cluster and of each node.",
    |call| Box::pin(state(call)),
)
.format()
.takes(0);

static GET_CONFIG: Command = Command::remote(
    "get-config",
    "Returns the configuration of autopilot",
    "[options]",
    "Shows the configuration of autopilot.",
    |call| Box::pin(get_config(call)),
)
.format()
.takes(0);

static SET_CONFIG: Command = Command::remote(
    "set-config",
    "Modifies the configuration of autopilot",
    "[options]",
    "Changes the configuration of autopilot. Settings without a flag are unchanged.",
    |call| Box::pin(set_config(call)),
)
.flags(&[
    Flag::switch("cleanup-dead-servers", "Remove dead nodes from the cluster."),
    Flag::span(
        "dead-server-last-contact-threshold",
        "Time without contact after which a node counts as dead.",
    ),
    Flag::switch("disable-upgrade-migration", "Do not move to newer nodes automatically."),
    Flag::span("last-contact-threshold", "Time without contact after which a node is unhealthy."),
    Flag::int("max-trailing-logs", "Maximum number of log entries that a healthy node may be behind."),
    Flag::int("min-quorum", "Minimum number of nodes to keep when dead nodes are removed."),
    Flag::span(
        "server-stabilization-time",
        "Time that a node must be healthy before it is promoted to a voter.",
    ),
])
.takes(0);

async fn list_peers(call: &mut Call<'_>) -> Outcome {
    let what = "Error reading the raft cluster configuration";
    let reply =
        call.reply(Request::read("sys/storage/raft/configuration")).await.because(what)?.unwrap_or_default();
    if call.format != Format::Table {
        return call.show_value(&reply);
    }
    let servers = reply.field("config").and_then(|config| config.get("servers")).and_then(Value::as_array);
    let text = |server: &Value, key: &str| server.get(key).map(go::value).unwrap_or_default();
    let row = |server: &Value| {
        let state = if server.get("leader") == Some(&json!(true)) { "leader" } else { "follower" };
        vec![text(server, "node_id"), text(server, "address"), state.to_owned(), text(server, "voter")]
    };
    let rows = servers.into_iter().flatten().map(row).collect();
    call.say(table::headed(&["Node", "Address", "State", "Voter"], rows))
}

async fn join(call: &mut Call<'_>) -> Outcome {
    let target = call.arg(0).trim().to_owned();
    let what = "Error joining the node to the Raft cluster";
    let file = |name: &str| match call.flags.text(name).unwrap_or_default().strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| {
            Failure::local(format!("Failed to parse data from {path}: {}", io_reason(&error)))
        }),
        None => Ok(call.flags.text(name).unwrap_or_default().to_owned()),
    };
    let discover = target.contains("provider=");
    let body = json!({
        "auto_join": if discover { target.as_str() } else { "" },
        "auto_join_scheme": if discover { call.flags.text("auto-join-scheme").unwrap_or_default() } else { "" },
        "auto_join_port": if discover { call.flags.int("auto-join-port").unwrap_or(0) } else { 0 },
        "leader_api_addr": if discover { "" } else { target.as_str() },
        "leader_ca_cert": file("leader-ca-cert")?,
        "leader_client_cert": file("leader-client-cert")?,
        "leader_client_key": file("leader-client-key")?,
        "retry": call.flags.on("retry"),
        "non_voter": call.flags.on("non-voter"),
    });
    let request = Request::post("sys/storage/raft/join").json(&body).because(what)?;
    let answer = call.fields(request).await.because(what)?;
    if call.format != Format::Table {
        return call.show_value(&answer);
    }
    let joined = answer.get("joined").or_else(|| answer.get("data")?.get("joined")) == Some(&json!(true));
    call.say(table::pairs(&[("Joined".to_owned(), joined.to_string())]))
}

async fn remove_peer(call: &mut Call<'_>) -> Outcome {
    on_peer(call, "remove-peer", "Error removing the peer from raft cluster", "Peer removed successfully!")
        .await
}

async fn promote(call: &mut Call<'_>) -> Outcome {
    on_peer(call, "promote", "Error promoting server", "Server promoted successfully!").await
}

async fn demote(call: &mut Call<'_>) -> Outcome {
    on_peer(call, "demote", "Error demoting server", "Server demoted successfully!").await
}

async fn on_peer(call: &mut Call<'_>, operation: &str, failed: &str, done: &str) -> Outcome {
    let id = call.arg(0).trim().to_owned();
    let mut body = json!({ "server_id": id });
    if let (Some(fields), Some(token)) = (body.as_object_mut(), call.flags.text("dr-token")) {
        fields.insert("dr_operation_token".to_owned(), json!(token));
    }
    let request = Request::write(format!("sys/storage/raft/{operation}")).json(&body).because(failed)?;
    call.reply(request).await.because(failed)?;
    call.say(done)
}

async fn state(call: &mut Call<'_>) -> Outcome {
    let what = "Error checking autopilot state";
    let reply = call.reply_or_none(Request::read("sys/storage/raft/autopilot/state")).await.because(what)?;
    let state = reply.and_then(|reply| reply.data).unwrap_or_default();
    if call.format != Format::Table {
        return call.show_value(&state);
    }
    if state.is_empty() {
        return Ok(());
    }
    let text = |key: &str| state.get(key).map(go::value).unwrap_or_default();
    let mut lines = Vec::new();
    for (label, key) in
        [("Healthy", "healthy"), ("Failure Tolerance", "failure_tolerance"), ("Leader", "leader")]
    {
        lines.push(format!("{:<33}{}", format!("{label}:"), text(key)));
    }
    lines.push("Voters:".to_owned());
    let names = |key: &str| state.get(key).and_then(Value::as_array).into_iter().flatten().map(go::value);
    lines.extend(names("voters").map(|name| format!("   {name}")));
    if names("non_voters").next().is_some() {
        lines.push("Non Voters:".to_owned());
        lines.extend(names("non_voters").map(|name| format!("   {name}")));
    }
    lines.push("Servers:".to_owned());
    let servers = state.get("servers").and_then(Value::as_object);
    for (id, server) in servers.into_iter().flatten() {
        lines.push(format!("   {id}"));
        for (label, key) in [
            ("Name", "name"),
            ("Address", "address"),
            ("Status", "status"),
            ("Node Status", "node_status"),
            ("Healthy", "healthy"),
            ("Last Contact", "last_contact"),
            ("Last Term", "last_term"),
            ("Last Index", "last_index"),
            ("Version", "version"),
            ("Node Type", "node_type"),
        ] {
            if let Some(value) = server.get(key).map(go::value) {
                lines.push(format!("      {:<19}{value}", format!("{label}:")));
            }
        }
    }
    let text = lines.join("\n");
    call.say(text)
}

async fn get_config(call: &mut Call<'_>) -> Outcome {
    let what = "Error fetching autopilot configuration";
    let reply =
        call.reply_or_none(Request::read("sys/storage/raft/autopilot/configuration")).await.because(what)?;
    let config = reply.and_then(|reply| reply.data).unwrap_or_default();
    if call.format != Format::Table {
        return call.show_value(&config);
    }
    let rows: Vec<_> = [
        ("Cleanup Dead Servers", "cleanup_dead_servers"),
        ("Last Contact Threshold", "last_contact_threshold"),
        ("Dead Server Last Contact Threshold", "dead_server_last_contact_threshold"),
        ("Server Stabilization Time", "server_stabilization_time"),
        ("Min Quorum", "min_quorum"),
        ("Max Trailing Logs", "max_trailing_logs"),
        ("Disable Upgrade Migration", "disable_upgrade_migration"),
    ]
    .into_iter()
    .filter_map(|(label, key)| Some((label.to_owned(), go::value(config.get(key)?))))
    .collect();
    call.say(table::pairs(&rows))
}

async fn set_config(call: &mut Call<'_>) -> Outcome {
    let what = "Error setting autopilot configuration";
    let flags = &call.flags;
    let mut config = Map::new();
    for name in ["cleanup-dead-servers", "disable-upgrade-migration"] {
        if let Some(on) = flags.choice(name) {
            config.insert(name.replace('-', "_"), json!(on));
        }
    }
    for name in ["dead-server-last-contact-threshold", "last-contact-threshold", "server-stabilization-time"]
    {
        if let Some(span) = flags.span(name) {
            config.insert(name.replace('-', "_"), json!(format_duration(span)));
        }
    }
    for name in ["max-trailing-logs", "min-quorum"] {
        if let Some(number) = flags.int(name) {
            config.insert(name.replace('-', "_"), json!(number));
        }
    }
    let request = Request::write("sys/storage/raft/autopilot/configuration").json(&config).because(what)?;
    call.reply(request).await.because(what)?;
    Ok(())
}
