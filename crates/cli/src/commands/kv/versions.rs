//! `kv undelete`, `destroy`, `rollback`, `enable-versioning`.

use serde_json::{Value, json};
use strongroom_client::Request;

use super::data::versions;
use super::mount::Place;
use crate::call::{Call, mount_path, sanitize};
use crate::command::Command;
use crate::commands::logical::written;
use crate::common::MOUNT;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;

pub(crate) static UNDELETE: Command = Command::remote(
    "undelete",
    "Undeletes versions in the KV store",
    "[options] KEY",
    r"
Restores deleted versions of the secret KEY.

    $ {p} kv undelete -mount=secret -versions=3 foo
",
    |call| Box::pin(undelete(call)),
)
.format()
.flags(&[MOUNT, Flag::list("versions", "Versions to undelete, separated by commas.")])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static DESTROY: Command = Command::remote(
    "destroy",
    "Permanently removes one or more versions in the KV store",
    "[options] KEY",
    r"
Permanently removes the data of versions of the secret KEY.

    $ {p} kv destroy -mount=secret -versions=3 foo
",
    |call| Box::pin(destroy(call)),
)
.format()
.flags(&[MOUNT, Flag::list("versions", "Versions to destroy, separated by commas.")])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static ROLLBACK: Command = Command::remote(
    "rollback",
    "Rolls back to a previous version of data",
    "[options] KEY",
    r"
Writes the data of an earlier version of the secret KEY again, as a new version.

    $ {p} kv rollback -mount=secret -version=2 foo
",
    |call| Box::pin(rollback(call)),
)
.format()
.flags(&[MOUNT, Flag::int("version", "Version whose data becomes current again.")])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static ENABLE_VERSIONING: Command = Command::remote(
    "enable-versioning",
    "Turns on versioning for a KV store",
    "[options] PATH",
    r"
Makes the KV mount at PATH keep versions from now on (version 2 of the engine).

    $ {p} kv enable-versioning secret
",
    |call| Box::pin(enable_versioning(call)),
)
.format()
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

async fn undelete(call: &mut Call<'_>) -> Outcome {
    on_versions(call, "undelete", "Undelete").await
}

async fn destroy(call: &mut Call<'_>) -> Outcome {
    on_versions(call, "destroy", "Destroy").await
}

async fn on_versions(call: &mut Call<'_>, operation: &str, title: &str) -> Outcome {
    let versions = versions(call);
    if versions.is_empty() {
        return Err(Failure::local(format!(
            "No versions provided, use the \"-versions\" flag to specify the version to {operation}."
        )));
    }
    let place = Place::find(call).await?;
    place.versioned(&format!("{title} not supported on KV Version 1"))?;
    let path = place.api(operation);
    let what = format!("Error writing data to {path}");
    let request = Request::write(&path).json(&json!({ "versions": versions })).because(&what)?;
    let reply = call.reply(request).await.because(what)?;
    written(call, &path, reply.as_ref())
}

async fn rollback(call: &mut Call<'_>) -> Outcome {
    let Some(version) = call.flags.int("version") else {
        return Err(Failure::local("Version flag must be specified"));
    };
    if version <= 0 {
        return Err(Failure::local(format!("Invalid value {version} for the version flag")));
    }
    let place = Place::find(call).await?;
    place.versioned("K/V engine mount must be version 2 for rollback support")?;
    let path = place.api("data");
    let reading = format!("Error doing pre-read at {path}");
    // The newest version guards the write; the wanted one is its data.
    let newest =
        call.ask(Request::read(&path)).await.because(&reading)?.reply_or_none().await.because(&reading)?;
    let current = newest.as_ref().and_then(|reply| reply.field("metadata")?.get("version")?.as_i64());
    let Some(current) = current else { return Err(Failure::remote(format!("No value found at {path}"))) };
    let request = Request::read(&path).query("version", version.to_string());
    let wanted = call.ask(request).await.because(&reading)?.reply_or_none().await.because(&reading)?;
    let Some(data) = wanted.as_ref().and_then(|reply| reply.field("data")).and_then(Value::as_object) else {
        return Err(Failure::remote(format!("No value found at {path}")));
    };
    let body = json!({ "data": data, "options": { "cas": current } });
    let what = format!("Error writing data to {path}");
    let request = Request::write(&path).json(&body).because(&what)?;
    let reply = call.reply(request).await.because(what)?;
    written(call, &path, reply.as_ref())
}

async fn enable_versioning(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    let what = format!("Error tuning secrets engine {path}");
    let body = json!({ "options": { "version": "2" } });
    let request = Request::post(format!("sys/mounts/{}/tune", sanitize(&path))).json(&body).because(&what)?;
    call.reply(request).await.because(what)?;
    call.inform(format!("Success! Tuned the secrets engine at: {path}"))
}
