//! `version` and `version-history`.

use std::future::ready;

use serde_json::Value;
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome};
use crate::output::{Format, table};

pub(crate) static VERSION: Command = Command::local(
    "version",
    "Prints the version of this program",
    "",
    r"
Prints the version of this program, which can differ from that of the server.
",
    |call| Box::pin(ready(version(call))),
);

pub(crate) static HISTORY: Command = Command::remote(
    "version-history",
    "Prints the version history of the target server",
    "[options]",
    r"
Prints the versions that the server has run, and since when.
",
    |call| Box::pin(history(call)),
)
.format()
.takes(0);

fn version(call: &mut Call<'_>) -> Outcome {
    call.say(crate::version_line(call.program))
}

async fn history(call: &mut Call<'_>) -> Outcome {
    let what = "Error reading version history";
    let reply = call.reply_or_none(Request::list("sys/version-history")).await.because(what)?;
    let Some(reply) = reply else { return Err(Failure::remote("Invalid response: no data")) };
    if call.format != Format::Table {
        return call.show_value(&reply);
    }
    let info = reply.field("key_info").and_then(Value::as_object);
    let text = |version: &str, key: &str| {
        let entry = info.and_then(|info| info.get(version)).and_then(|entry| entry.get(key));
        entry.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut rows: Vec<Vec<String>> =
        [["Version", "Installation Time", "Build Date"], ["-------", "-----------------", "----------"]]
            .map(|row| row.map(str::to_owned).to_vec())
            .to_vec();
    for version in reply.keys().into_iter().flatten().filter_map(Value::as_str) {
        rows.push(vec![
            version.to_owned(),
            text(version, "timestamp_installed"),
            text(version, "build_date"),
        ]);
    }
    call.say(table::aligned(&rows, "  ", "n/a"))
}
