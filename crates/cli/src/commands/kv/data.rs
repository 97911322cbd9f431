//! `kv get`, `put`, `patch`, `delete`, `list`, `scan`.

use serde_json::{Map, Value, json};
use strongroom_client::{Reply, Request};

use super::mount::Place;
use crate::call::Call;
use crate::command::Command;
use crate::commands::logical::{deleted, written};
use crate::common::MOUNT;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::flags::Flag;
use crate::output::{Format, reply, table};
use crate::values;

pub(crate) static GET: Command = Command::remote(
    "get",
    "Retrieves data from the KV store",
    "[options] KEY",
    r"
Reads the secret KEY: its newest version, or that of -version.

    $ {p} kv get -mount=secret foo
    $ {p} kv get -mount=secret -field=password foo
",
    |call| Box::pin(get(call)),
)
.field()
.flags(&[MOUNT, Flag::int("version", "Version to read, on mounts that keep versions.")])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static PUT: Command = Command::remote(
    "put",
    "Sets or updates data in the KV store",
    "[options] KEY [DATA K=V...]",
    r"
Writes a new version of the secret KEY from the given data, in the form that the write command takes.

    $ {p} kv put -mount=secret foo bar=baz
    $ {p} kv put -mount=secret foo @data.json
    $ {p} kv put -mount=secret -cas=1 foo bar=baz
",
    |call| Box::pin(put(call)),
)
.field()
.flags(&[
    Flag::int(
        "cas",
        "Check and set: write only if the newest version is this one; 0 writes only if there is none.",
    )
    .default("-1"),
    MOUNT,
])
.args(1, usize::MAX)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static PATCH: Command = Command::remote(
    "patch",
    "Sets or updates data in the KV store without overwriting",
    "[options] KEY [DATA K=V...]",
    r"
Writes a new version of the secret KEY that updates the given fields and keeps the others. Only on mounts that
keep versions.

Where a token may not patch, the secret is read, changed here and written back, guarded by check and set. -method picks
one of the two ways.

    $ {p} kv patch -mount=secret foo bar=baz
    $ {p} kv patch -mount=secret -remove-data=bar foo
",
    |call| Box::pin(patch(call)),
)
.field()
.flags(&[
    Flag::int("cas", "Check and set: write only if the newest version is this one.").default("0"),
    Flag::text("method", "Patch method: \"patch\" patches on the server, \"rw\" reads and writes.")
        .offers(Offer::Words(&["patch", "rw"])),
    MOUNT,
    Flag::list("remove-data", "Field to remove. Can be given several times."),
])
.args(1, usize::MAX)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static DELETE: Command = Command::remote(
    "delete",
    "Deletes versions in the KV store",
    "[options] KEY",
    r#"
Deletes the newest version of the secret KEY, or those of -versions. On mounts that keep versions they can be undeleted;
"{p} kv metadata delete" permanently removes a secret.

    $ {p} kv delete -mount=secret foo
    $ {p} kv delete -mount=secret -versions=3 foo
"#,
    |call| Box::pin(delete(call)),
)
.field()
.flags(&[MOUNT, Flag::list("versions", "Versions to delete, separated by commas.")])
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static LIST: Command = Command::remote(
    "list",
    "List data or secrets",
    "[options] PATH",
    r"
Lists the secrets and paths below PATH.

    $ {p} kv list -mount=secret my-app/
",
    |call| Box::pin(list(call)),
)
.format()
.detailed()
.flags(&[MOUNT])
.args(0, 1)
.offers(&[Offer::Mounts, Offer::Nothing]);

pub(crate) static SCAN: Command = Command::remote(
    "scan",
    "Scan (recursively list) data or secrets",
    "[options] PATH",
    r"
Lists all secrets below PATH, recursively.

    $ {p} kv scan -mount=secret my-app/
",
    |call| Box::pin(scan(call)),
)
.format()
.detailed()
.flags(&[MOUNT])
.args(0, 1)
.offers(&[Offer::Mounts, Offer::Nothing]);

async fn get(call: &mut Call<'_>) -> Outcome {
    let place = Place::find(call).await?;
    let path = place.api("data");
    let mut request = Request::read(&path);
    if let Some(version) = call.flags.int("version").filter(|version| *version > 0 && place.v2) {
        request = request.query("version", version.to_string());
    }
    let reply = call.reply_or_none(request).await.because(format!("Error reading {path}"))?;
    let Some(reply) = reply else { return Err(Failure::remote(format!("No value found at {path}"))) };
    let nested = |name: &str| reply.field(name).and_then(Value::as_object).cloned();
    if let Some(name) = call.flags.text("field").map(str::to_owned).filter(|_| place.v2) {
        // A field is one of the secret's own.
        let value = nested("data").and_then(|data| data.get(&name).cloned());
        return call.show_field(&name, value.as_ref().filter(|value| !value.is_null()));
    }
    if call.format != Format::Table || call.flags.text("field").is_some() {
        return call.show(&reply);
    }
    call.show_warnings(&reply)?;
    if !place.v2 {
        return titled(call, "Data", &reply.data.unwrap_or_default());
    }
    secret_path(call, &path)?;
    if let Some(metadata) = nested("metadata").filter(|metadata| !metadata.is_empty()) {
        titled(call, "Metadata", &metadata)?;
        call.say("")?;
    }
    match nested("data").filter(|data| !data.is_empty()) {
        Some(data) => titled(call, "Data", &data),
        None => Ok(()),
    }
}

/// The line that tells where a secret is, as policies and the API name it.
fn secret_path(call: &mut Call<'_>, path: &str) -> Outcome {
    call.say(table::title("Secret Path", path.chars().count()))?;
    call.say(format!("{path}\n"))
}

/// A table under a title.
pub(crate) fn titled(call: &mut Call<'_>, title: &str, data: &Map<String, Value>) -> Outcome {
    let rows = reply::data_rows(data);
    call.say(table::title(title, table::pairs_width(&rows)))?;
    call.say(table::pairs(&rows))
}

/// The data of a write.
fn data(call: &mut Call<'_>, may_be_empty: bool) -> Result<Map<String, Value>, Failure> {
    let args = call.args.get(1..).unwrap_or_default().to_vec();
    if args.is_empty() && !may_be_empty {
        return Err(Failure::local("Must supply data"));
    }
    values::parse(&args, call.io)
        .map_err(|reason| Failure::local(format!("Failed to parse K=V data: {reason}")))
}

async fn put(call: &mut Call<'_>) -> Outcome {
    let data = data(call, false)?;
    let place = Place::find(call).await?;
    let path = place.api("data");
    let what = format!("Error writing data to {path}");
    let body = if place.v2 {
        let cas = call.flags.int("cas").filter(|cas| *cas >= 0);
        versioned_body(&data, cas)
    } else {
        Value::Object(data)
    };
    let request = Request::write(&path).json(&body).because(&what)?;
    let reply = call.reply(request).await.because(what)?;
    show_version(call, &place, &path, reply.as_ref())
}

fn versioned_body(data: &Map<String, Value>, cas: Option<i64>) -> Value {
    let options = cas.map_or_else(|| json!({}), |cas| json!({ "cas": cas }));
    json!({ "data": data, "options": options })
}

/// Shows the metadata of the version that was written.
fn show_version(call: &mut Call<'_>, place: &Place, path: &str, reply: Option<&Reply>) -> Outcome {
    match reply {
        Some(reply) if place.v2 && call.format == Format::Table && call.flags.text("field").is_none() => {
            call.show_warnings(reply)?;
            secret_path(call, path)?;
            titled(call, "Metadata", &reply.data.clone().unwrap_or_default())
        }
        reply => written(call, path, reply),
    }
}

async fn patch(call: &mut Call<'_>) -> Outcome {
    let removed = call.flags.list("remove-data").to_vec();
    let mut data = data(call, !removed.is_empty())?;
    for name in removed {
        // A merge patch removes what it sets to null.
        data.insert(name, Value::Null);
    }
    let method = call.flags.text("method").unwrap_or_default().to_owned();
    let place = Place::find(call).await?;
    place.versioned("K/V engine mount must be version 2 for patch support")?;
    let path = place.api("data");
    let cas = call.flags.int("cas").filter(|cas| *cas > 0);
    let reply = match method.as_str() {
        "rw" => read_and_write(call, &path, data, cas).await?,
        "" | "patch" => {
            let what = format!("Error writing data to {path}");
            let request = Request::patch(&path).json(&versioned_body(&data, cas)).because(&what)?;
            match call.reply(request).await {
                // The token may not patch, or the server cannot: the other way is left.
                Err(SendError::Client(error))
                    if method.is_empty() && matches!(error.status(), Some(403 | 405)) =>
                {
                    read_and_write(call, &path, data, cas).await?
                }
                outcome => outcome.because(what)?,
            }
        }
        other => {
            return Err(Failure::remote(format!("Unsupported method provided to -method flag: {other}")));
        }
    };
    show_version(call, &place, &path, reply.as_ref())
}

/// Changes a secret by reading and writing it. Check and set keeps changes made in between.
async fn read_and_write(
    call: &mut Call<'_>,
    path: &str,
    changes: Map<String, Value>,
    cas: Option<i64>,
) -> Result<Option<Reply>, Failure> {
    let reading = format!("Error doing pre-read at {path}");
    let found =
        call.ask(Request::read(path)).await.because(&reading)?.reply_or_none().await.because(&reading)?;
    let found = found.and_then(|reply| reply.data).unwrap_or_default();
    let Some(mut data) = found.get("data").and_then(Value::as_object).cloned() else {
        return Err(Failure::remote(format!("No value found at {path}")));
    };
    let version = found.get("metadata").and_then(|metadata| metadata.get("version")).and_then(Value::as_i64);
    for (name, value) in changes {
        if value.is_null() {
            data.remove(&name);
        } else {
            data.insert(name, value);
        }
    }
    let what = format!("Error writing data to {path}");
    let request = Request::write(path).json(&versioned_body(&data, cas.or(version))).because(&what)?;
    call.reply(request).await.because(what)
}

async fn delete(call: &mut Call<'_>) -> Outcome {
    let versions = versions(call);
    let place = Place::find(call).await?;
    if !place.v2 {
        if !versions.is_empty() {
            return Err(Failure::local("Version-based deletion not supported on KV Version 1"));
        }
        let path = place.api("");
        let reply = call.reply(Request::delete(&path)).await.because(format!("Error deleting {path}"))?;
        return deleted(call, &path, reply.as_ref());
    }
    let shown = place.api("data");
    let what = format!("Error deleting {shown}");
    let request = if versions.is_empty() {
        Request::delete(&shown)
    } else {
        Request::write(place.api("delete")).json(&json!({ "versions": versions })).because(&what)?
    };
    let reply = call.reply(request).await.because(what)?;
    deleted(call, &shown, reply.as_ref())
}

/// The values of `-versions`, which may hold several, separated by commas.
pub(crate) fn versions(call: &Call<'_>) -> Vec<String> {
    let all = call.flags.list("versions").iter().flat_map(|text| text.split(','));
    all.map(|version| version.trim().to_owned()).filter(|version| !version.is_empty()).collect()
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let place = at(call).await?;
    let path = place.api("metadata");
    let reply = call.reply_or_none(Request::list(&path)).await.because(format!("Error listing {path}"))?;
    call.show_list(&path, reply.as_ref())
}

async fn scan(call: &mut Call<'_>) -> Outcome {
    let place = at(call).await?;
    let path = place.api("metadata");
    let reply = call.reply_or_none(Request::scan(&path)).await.because(format!("Error scanning {path}"))?;
    call.show_list(&path, reply.as_ref())
}

/// The folder to list: without an argument, the whole of `-mount`.
async fn at(call: &mut Call<'_>) -> Result<Place, Failure> {
    if call.args.is_empty() && call.flags.text("mount").is_none() {
        return Err(Failure::local("Not enough arguments (expected 1, got 0)"));
    }
    Place::find(call).await
}
