//! `status`: the state of the seal, and the server's place in the cluster.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome};
use crate::output::{Format, go, table};

pub(crate) static STATUS: Command = Command::remote(
    "status",
    "Print seal and HA status",
    "[options]",
    r"
Prints the state of the server: whether it is sealed, and its role in the cluster. Also works with a sealed server.

The exit code tells the seal's state:

    0  unsealed
    1  error
    2  sealed
",
    |call| Box::pin(status(call)),
)
.format()
.takes(0);

/// The fields of `sys/seal-status` and `sys/leader`, in the order `-format=json` prints them.
const ORDER: [&str; 32] = [
    "type",
    "initialized",
    "sealed",
    "t",
    "n",
    "progress",
    "nonce",
    "version",
    "build_date",
    "commit_date",
    "migration",
    "cluster_name",
    "cluster_id",
    "recovery_seal",
    "recovery_seal_type",
    "storage_type",
    "removed_from_cluster",
    "hcp_link_status",
    "hcp_link_resource_ID",
    "warnings",
    "ha_enabled",
    "is_self",
    "active_time",
    "leader_address",
    "leader_cluster_address",
    "performance_standby",
    "performance_standby_last_remote_wal",
    "performance_standby_last_replayed_wal",
    "last_wal",
    "last_wal_timestamp",
    "raft_committed_index",
    "raft_applied_index",
];

/// The fields this command decides by; everything else is only shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Seal {
    sealed: bool,
    initialized: bool,
}

async fn status(call: &mut Call<'_>) -> Outcome {
    let failed = |failure: Failure| match failure {
        Failure::Remote(message) => Failure::Local(message),
        other => other,
    };
    let response = call
        .send(Request::read("sys/seal-status"))
        .await
        .because("Error checking seal status")
        .map_err(failed)?;
    let mut state: Map<String, Value> =
        response.json().await.because("Error checking seal status").map_err(failed)?;
    let seal: Seal = serde_json::from_value(Value::Object(state.clone()))
        .map_err(|error| Failure::local(format!("Error checking seal status: {error}")))?;
    if !seal.sealed && seal.initialized {
        add_leader(call, &mut state).await.map_err(failed)?;
    } else if state.get("storage_type").is_some_and(|kind| kind == "raft") {
        state.entry("ha_enabled").or_insert(json!(true));
    }
    show(call, &state)?;
    if seal.sealed { Err(Failure::Exit(2)) } else { Ok(()) }
}

/// Adds what `sys/leader` knows about the node's place in the cluster.
async fn add_leader(call: &mut Call<'_>, state: &mut Map<String, Value>) -> Result<(), Failure> {
    let response = call.ask(Request::read("sys/leader")).await.because("Error checking leader status")?;
    let leader: Map<String, Value> = response.json().await.because("Error checking leader status")?;
    for (key, value) in leader {
        let zero = value == json!(0) || value == json!("") || value.is_null();
        let silent = zero || value == json!(false) || value == json!("0001-01-01T00:00:00Z");
        if key == "ha_enabled" || !silent {
            state.insert(key, value);
        }
    }
    Ok(())
}

/// Shows a seal status as a table, or as JSON or YAML.
pub(crate) fn show(call: &mut Call<'_>, state: &Map<String, Value>) -> Outcome {
    if call.format == Format::Table {
        let rows: Vec<_> = rows(state).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        return call.say(table::pairs(&rows));
    }
    call.show_value(&Ordered(state))
}

/// A map whose known fields come in [`ORDER`], the others behind them.
struct Ordered<'a>(&'a Map<String, Value>);

impl serde::Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = ORDER.iter().filter_map(|key| self.0.get_key_value(*key));
        let other = self.0.iter().filter(|(key, _)| !ORDER.contains(&key.as_str()));
        serializer.collect_map(known.chain(other))
    }
}

fn rows(state: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let get = |key: &str| state.get(key);
    let text = |key: &str| get(key).map(go::value).unwrap_or_default();
    let on = |key: &str| get(key) == Some(&json!(true));
    let mut rows: Vec<(&'static str, String)> = Vec::new();
    let recovery = on("recovery_seal");
    rows.push(("Seal Type", text("type")));
    if recovery {
        let kind = text("recovery_seal_type");
        rows.push(("Recovery Seal Type", if kind.is_empty() { "shamir".to_owned() } else { kind }));
    }
    rows.push(("Initialized", text("initialized")));
    rows.push(("Sealed", text("sealed")));
    rows.push((if recovery { "Total Recovery Shares" } else { "Total Shares" }, text("n")));
    rows.push(("Threshold", text("t")));
    if on("sealed") {
        rows.push(("Unseal Progress", format!("{}/{}", text("progress"), text("t"))));
        rows.push(("Unseal Nonce", text("nonce")));
    }
    if on("migration") {
        rows.push(("Seal Migration in Progress", "true".to_owned()));
    }
    rows.push(("Version", text("version")));
    for (label, key) in [("Build Date", "build_date"), ("Storage Type", "storage_type")] {
        if !text(key).is_empty() {
            rows.push((label, text(key)));
        }
    }
    if !text("cluster_name").is_empty() && !text("cluster_id").is_empty() {
        rows.push(("Cluster Name", text("cluster_name")));
        rows.push(("Cluster ID", text("cluster_id")));
    }
    if get("removed_from_cluster").is_some_and(Value::is_boolean) {
        rows.push(("Removed From Cluster", text("removed_from_cluster")));
    }
    rows.push(("HA Enabled", if on("ha_enabled") { "true" } else { "false" }.to_owned()));
    if on("ha_enabled") && !on("sealed") {
        rows.extend(cluster_rows(state));
    }
    rows
}

/// The rows of a node that is one of several.
fn cluster_rows(state: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let text = |key: &str| state.get(key).map(go::value).unwrap_or_default();
    let on = |key: &str| state.get(key) == Some(&json!(true));
    let mut rows = vec![("HA Cluster", text("leader_cluster_address"))];
    if on("is_self") {
        rows.push(("HA Mode", "active".to_owned()));
        if !text("active_time").is_empty() {
            rows.push(("Active Since", text("active_time")));
        }
    } else {
        let mode = if on("performance_standby") { "performance standby" } else { "standby" };
        rows.push(("HA Mode", mode.to_owned()));
        if !text("leader_address").is_empty() {
            rows.push(("Active Node Address", text("leader_address")));
        }
    }
    for (label, key) in [
        ("Performance Standby Node Last Remote WAL", "performance_standby_last_remote_wal"),
        ("Last WAL", "last_wal"),
        ("Raft Committed Index", "raft_committed_index"),
        ("Raft Applied Index", "raft_applied_index"),
    ] {
        if !text(key).is_empty() {
            rows.push((label, text(key)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: &Value) -> String {
        let state = state.as_object().unwrap();
        table::pairs(&rows(state).into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Vec<_>>())
    }

    #[test]
    fn a_sealed_server_shows_its_progress() {
        let text = shown(
            &json!({"type": "shamir", "initialized": true, "sealed": true, "t": 2, "n": 3, "progress": 1,
            "nonce": "", "version": "2.0.0", "storage_type": "raft", "ha_enabled": true}),
        );
        let wanted = "Key                Value\n---                -----\nSeal Type          shamir\n\
            Initialized        true\nSealed             true\nTotal Shares       3\nThreshold          2\n\
            Unseal Progress    1/2\nUnseal Nonce       n/a\nVersion            2.0.0\nStorage Type       raft\n\
            HA Enabled         true";
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_standby_names_the_active_node() {
        let text = shown(&json!({"type": "awskms", "initialized": true, "sealed": false, "t": 2, "n": 3,
            "version": "2.0.0", "build_date": "2026-01-01T00:00:00Z", "recovery_seal": true, "ha_enabled": true,
            "leader_address": "https://a:8200", "leader_cluster_address": "https://a:8201", "raft_applied_index": 7}));
        for line in [
            "Total Recovery Shares    3",
            "Recovery Seal Type       shamir",
            "HA Mode                  standby",
            "Active Node Address      https://a:8200",
            "Raft Applied Index       7",
            "Build Date               2026-01-01T00:00:00Z",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn json_keeps_the_documented_order() {
        let state = json!({"zz": 1, "version": "2", "n": 3, "type": "shamir", "ha_enabled": false});
        let text =
            crate::output::json(&Ordered(state.as_object().unwrap())).unwrap().replace(['\n', ' '], "");
        assert_eq!(text, r#"{"type":"shamir","n":3,"version":"2","ha_enabled":false,"zz":1}"#);
    }
}
