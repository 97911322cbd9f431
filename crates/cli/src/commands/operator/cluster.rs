//! `operator rotate`, `key-status`, `members`, `step-down`.

use serde_json::{Map, Value, json};
use strongroom_client::Request;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::output::{Format, go, table};

pub(crate) static ROTATE: Command = Command::remote(
    "rotate",
    "Rotates the underlying encryption key",
    "[options]",
    r"
Adds a new key to the keyring, with which all data is encrypted from now on. Older data stays readable with the older
keys. Takes no downtime.
",
    |call| Box::pin(rotate(call)),
)
.format()
.takes(0);

pub(crate) static KEY_STATUS: Command = Command::remote(
    "key-status",
    "Provides information about the active encryption key",
    "[options]",
    r"
Shows the term of the active encryption key, its installation time, and the number of encryptions.
",
    |call| Box::pin(key_status(call)),
)
.format()
.takes(0);

pub(crate) static MEMBERS: Command = Command::remote(
    "members",
    "Returns the list of nodes in the cluster",
    "[options]",
    r"
Lists the nodes of the cluster that the active node knows.
",
    |call| Box::pin(members(call)),
)
.format()
.takes(0);

pub(crate) static STEP_DOWN: Command = Command::remote(
    "step-down",
    "Forces the active node to resign active duty",
    "[options]",
    r"
Makes the active node step down. It waits before it stands for election again, but may become active again.
",
    |call| Box::pin(step_down(call)),
)
.takes(0);

async fn rotate(call: &mut Call<'_>) -> Outcome {
    call.reply(Request::write("sys/rotate")).await.because("Error rotating key")?;
    let status = read_status(call).await.because("Error reading key status")?;
    call.inform("Success! Rotated key\n")?;
    show(call, &status)
}

async fn key_status(call: &mut Call<'_>) -> Outcome {
    let status = read_status(call).await.because("Error reading key status")?;
    show(call, &status)
}

async fn read_status(call: &mut Call<'_>) -> Result<Map<String, Value>, SendError> {
    let body = call.fields(Request::read("sys/key-status")).await?;
    Ok(match body.get("data") {
        Some(Value::Object(data)) => data.clone(),
        _ => body,
    })
}

fn show(call: &mut Call<'_>, status: &Map<String, Value>) -> Outcome {
    if call.format != Format::Table {
        let fields = ["term", "install_time", "encryptions"]
            .map(|key| (key, status.get(key).cloned().unwrap_or_default()));
        let fields: Map<String, Value> =
            fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        return call.show_value(&fields);
    }
    let text = |key: &str| status.get(key).map(go::value).unwrap_or_default();
    let rows = [
        ("Key Term", text("term")),
        ("Install Time", short_time(&text("install_time"))),
        ("Encryption Count", text("encryptions")),
    ];
    call.say(table::columns(&rows.map(|(key, value)| vec![key.to_owned(), value])))
}

/// A time as in RFC 822: `23 Nov 26 18:12 UTC`.
fn short_time(text: &str) -> String {
    let format = format_description!("[day] [month repr:short] [year repr:last_two] [hour]:[minute] UTC");
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| time.to_offset(time::UtcOffset::UTC).format(&format).ok())
        .unwrap_or_else(|| text.to_owned())
}

async fn members(call: &mut Call<'_>) -> Outcome {
    let what = "Error looking up cluster members";
    let answer = call.fields(Request::read("sys/ha-status")).await.because(what)?;
    let nodes =
        answer.get("nodes").or_else(|| answer.get("Nodes")).or_else(|| answer.get("data")?.get("nodes"));
    let Some(nodes) = nodes.and_then(Value::as_array) else {
        return Err(Failure::remote(format!("{what}: no nodes in the response")));
    };
    if call.format != Format::Table {
        return call.show_value(&json!({ "Nodes": nodes }));
    }
    let text = |node: &Value, key: &str| {
        node.get(key).filter(|value| !value.is_null()).map(go::value).unwrap_or_default()
    };
    let keys = [
        "hostname",
        "api_address",
        "cluster_address",
        "active_node",
        "version",
        "upgrade_version",
        "redundancy_zone",
        "last_echo",
    ];
    let rows = nodes.iter().map(|node| keys.iter().map(|key| text(node, key)).collect()).collect();
    let header = [
        "Host Name",
        "API Address",
        "Cluster Address",
        "Active Node",
        "Version",
        "Upgrade Version",
        "Redundancy Zone",
        "Last Echo",
    ];
    call.say(table::headed(&header, rows))
}

async fn step_down(call: &mut Call<'_>) -> Outcome {
    call.reply(Request::write("sys/step-down")).await.because("Error stepping down")?;
    let address = call.client()?.config().address.clone();
    call.say(format!("Success! Stepped down: {address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(short_time("2026-11-23T18:12:33.26Z"), "23 Nov 26 18:12 UTC");
        assert_eq!(short_time("2026-01-01T00:30:00+01:00"), "31 Dec 25 23:30 UTC");
        assert_eq!(short_time("soon"), "soon");
    }
}
