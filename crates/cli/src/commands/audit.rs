//! `audit`: enable, list and disable audit devices.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use super::mounts;
use crate::call::{Call, mount_path, sanitize};
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::{Format, go, table};
use crate::values;

pub(crate) static AUDIT: Command = Command::group(
    "audit",
    "Interact with audit devices",
    r"
Enables, lists and disables audit devices. When audit devices are enabled, requests that none of them can record are rejected,
so that more than one device is a good idea.

    $ {p} audit enable file file_path=/var/log/vault_audit.log
",
    &[&DISABLE, &ENABLE, &LIST],
);

static ENABLE: Command = Command::remote(
    "enable",
    "Enables an audit device",
    "[options] TYPE [CONFIG K=V...]",
    r"
Enables an audit device of TYPE. Its options follow as key=value pairs.

    $ {p} audit enable file file_path=/var/log/vault_audit.log
    $ {p} audit enable -path=second file file_path=stdout
",
    |call| Box::pin(enable(call)),
)
.flags(&[
    Flag::text("description", "Description of the device."),
    Flag::switch("local", "Keep the device out of replication.").default("false"),
    Flag::text("path", "Path to enable the device at. Defaults to its type."),
])
.args(1, usize::MAX)
.offers(&[Offer::Words(&["file"]), Offer::Nothing]);

static DISABLE: Command = Command::remote(
    "disable",
    "Disables an audit device",
    "[options] PATH",
    r"
Disables the audit device at PATH. Existing audit logs are kept.

    $ {p} audit disable file/
",
    |call| Box::pin(disable(call)),
)
.takes(1)
.offers(&[Offer::AuditDevices]);

static LIST: Command = Command::remote(
    "list",
    "Lists enabled audit devices",
    "[options]",
    r"
Lists the audit devices.
",
    |call| Box::pin(list(call)),
)
.format()
.flags(&[Flag::switch("detailed", "Also show options and replication.").default("false")])
.takes(0);

async fn enable(call: &mut Call<'_>) -> Outcome {
    let kind = call.arg(0).trim().to_owned();
    let path = mount_path(call.flags.text("path").unwrap_or(&kind));
    let args = call.args.get(1..).unwrap_or_default().to_vec();
    let options = values::parse_texts(&args, call.io)
        .map_err(|reason| Failure::local(format!("Failed to parse K=V data: {reason}")))?;
    let options: Map<String, Value> =
        options.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    let body = json!({
        "type": kind,
        "description": call.flags.text("description").unwrap_or_default(),
        "options": options,
        "local": call.flags.on("local"),
    });
    let what = "Error enabling audit device";
    let request = Request::write(format!("sys/audit/{}", sanitize(&path))).json(&body).because(what)?;
    call.reply(request).await.because(what)?;
    call.say(format!("Success! Enabled the {kind} audit device at: {path}"))
}

async fn disable(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    let request = Request::delete(format!("sys/audit/{}", sanitize(&path)));
    call.reply(request).await.because("Error disabling audit device")?;
    call.say(format!("Success! Disabled audit device (if it was enabled) at: {path}"))
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let devices = mounts::table(call, "sys/audit").await.because("Error listing audits")?;
    if call.format != Format::Table {
        return call.show_value(&devices);
    }
    if devices.is_empty() {
        call.say("No audit devices are enabled.")?;
        return Err(Failure::Exit(2));
    }
    let detailed = call.flags.on("detailed");
    let text = |device: &Value, key: &str| device.get(key).map(go::value).unwrap_or_default();
    let rows = devices.iter().map(|(path, device)| {
        let mut row = vec![path.clone(), text(device, "type"), text(device, "description")];
        if detailed {
            let local = device.get("local") == Some(&json!(true));
            row.push(if local { "local" } else { "replicated" }.to_owned());
            let options = device.get("options").and_then(Value::as_object);
            let options =
                options.into_iter().flatten().map(|(key, value)| format!("{key}={}", go::value(value)));
            row.push(options.collect::<Vec<_>>().join(" "));
        }
        row
    });
    let header: &[&str] = if detailed {
        &["Path", "Type", "Description", "Replication", "Options"]
    } else {
        &["Path", "Type", "Description"]
    };
    let rows = rows.collect();
    call.say(table::headed(header, rows))
}
