//! `kv metadata`: a secret's settings and the history of its versions.

use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_client::Request;
use strongroom_stdx::format_duration;

use super::data::titled;
use super::mount::Place;
use crate::call::Call;
use crate::command::Command;
use crate::commands::logical::{deleted, written};
use crate::common::MOUNT;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::{Format, table};

pub(crate) static METADATA: Command = Command::group(
    "metadata",
    "Interact with the metadata of secrets in the KV store",
    r"
Reads and changes the metadata of secrets, on mounts that keep versions.

    $ {p} kv metadata put -mount=secret -max-versions=5 -delete-version-after=3h25m19s foo
    $ {p} kv metadata get -mount=secret foo
    $ {p} kv metadata delete -mount=secret foo
",
    &[&DELETE, &GET, &PATCH, &PUT],
);

static GET: Command = Command::remote(
    "get",
    "Retrieves key metadata from the KV store",
    "[options] KEY",
    r"
Shows the settings of the secret KEY and its versions.

    $ {p} kv metadata get -mount=secret foo
",
    |call| Box::pin(get(call)),
)
.format()
.flags(&[MOUNT])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

const SETTINGS: [Flag; 5] = [
    Flag::switch(
        "cas-required",
        "Require check and set for every write. Defaults to the setting of the mount.",
    ),
    Flag::map("custom-metadata", "A key=value pair that describes the secret. Can be given several times."),
    Flag::span(
        "delete-version-after",
        "Time after which a version is deleted, such as \"30s\" or \"3h25m19s\". Defaults to the setting of the mount.",
    ),
    Flag::int("max-versions", "Number of versions to keep. Defaults to the setting of the mount."),
    MOUNT,
];

static PUT: Command = Command::remote(
    "put",
    "Sets or updates key settings in the KV store",
    "[options] KEY",
    r"
Replaces the settings of the secret KEY, which need not exist yet.

    $ {p} kv metadata put -mount=secret -max-versions=5 foo
    $ {p} kv metadata put -mount=secret -custom-metadata=owner=ops foo
",
    |call| Box::pin(put(call)),
)
.format()
.flags(&SETTINGS)
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

static PATCH: Command = Command::remote(
    "patch",
    "Patches key settings in the KV store",
    "[options] KEY",
    r"
Updates the given settings of the secret KEY and leaves the others unchanged.

    $ {p} kv metadata patch -mount=secret -custom-metadata=owner=ops foo
    $ {p} kv metadata patch -mount=secret -remove-custom-metadata=owner foo
",
    |call| Box::pin(patch(call)),
)
.format()
.flags(&SETTINGS)
.more(&[Flag::list(
    "remove-custom-metadata",
    "Key of the custom metadata to remove. Can be given several times.",
)])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

static DELETE: Command = Command::remote(
    "delete",
    "Deletes all versions and metadata for a key in the KV store",
    "[options] KEY",
    r"
Permanently deletes the secret KEY with all its versions.

    $ {p} kv metadata delete -mount=secret foo
",
    |call| Box::pin(delete(call)),
)
.flags(&[MOUNT])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

const V1: &str = "Metadata not supported on KV Version 1";

async fn get(call: &mut Call<'_>) -> Outcome {
    let place = Place::find(call).await?;
    place.versioned(V1)?;
    let path = place.api("metadata");
    let reply = call.reply_or_none(Request::read(&path)).await.because(format!("Error reading {path}"))?;
    let Some(reply) = reply else { return Err(Failure::remote(format!("No value found at {path}"))) };
    if call.format != Format::Table {
        return call.show(&reply);
    }
    call.show_warnings(&reply)?;
    let mut settings = reply.data.unwrap_or_default();
    let versions = match settings.remove("versions") {
        Some(Value::Object(versions)) => versions,
        _ => Map::new(),
    };
    call.say(table::title("Metadata Path", path.chars().count()))?;
    call.say(format!("{path}\n"))?;
    titled(call, "Metadata", &settings)?;
    let mut versions: Vec<(u64, Map<String, Value>)> = versions
        .into_iter()
        .filter_map(|(number, facts)| Some((number.parse().ok()?, facts.as_object()?.clone())))
        .collect();
    versions.sort_by_key(|(number, _)| *number);
    for (number, facts) in versions {
        call.say("")?;
        titled(call, &format!("Version {number}"), &facts)?;
    }
    Ok(())
}

/// The settings that the given flags stand for.
fn settings(call: &Call<'_>) -> Map<String, Value> {
    let flags = &call.flags;
    let mut settings = Map::new();
    if let Some(versions) = flags.int("max-versions").filter(|versions| *versions >= 0) {
        settings.insert("max_versions".to_owned(), json!(versions));
    }
    if let Some(required) = flags.choice("cas-required") {
        settings.insert("cas_required".to_owned(), json!(required));
    }
    if let Some(span) = flags.span("delete-version-after").filter(|span| *span >= Duration::ZERO) {
        settings.insert("delete_version_after".to_owned(), json!(format_duration(span)));
    }
    if flags.given("custom-metadata") {
        settings.insert("custom_metadata".to_owned(), json!(flags.map("custom-metadata")));
    }
    settings
}

async fn put(call: &mut Call<'_>) -> Outcome {
    let place = Place::find(call).await?;
    place.versioned(V1)?;
    let path = place.api("metadata");
    let what = format!("Error writing data to {path}");
    let request = Request::write(&path).json(&settings(call)).because(&what)?;
    let reply = call.reply(request).await.because(what)?;
    written(call, &path, reply.as_ref())
}

async fn patch(call: &mut Call<'_>) -> Outcome {
    let place = Place::find(call).await?;
    place.versioned(V1)?;
    let path = place.api("metadata");
    let mut settings = settings(call);
    let mut custom: Map<String, Value> = call
        .flags
        .map("custom-metadata")
        .into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect();
    for name in call.flags.list("remove-custom-metadata") {
        custom.insert(name.clone(), Value::Null);
    }
    if !custom.is_empty() {
        settings.insert("custom_metadata".to_owned(), Value::Object(custom));
    }
    let what = format!("Error writing data to {path}");
    let request = Request::patch(&path).json(&settings).because(&what)?;
    let reply = call.reply(request).await.because(what)?;
    written(call, &path, reply.as_ref())
}

async fn delete(call: &mut Call<'_>) -> Outcome {
    let place = Place::find(call).await?;
    place.versioned(V1)?;
    let path = place.api("metadata");
    let reply = call.reply(Request::delete(&path)).await.because(format!("Error deleting {path}"))?;
    deleted(call, &path, reply.as_ref())
}
