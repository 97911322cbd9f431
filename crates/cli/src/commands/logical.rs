//! `read`, `write`, `list`, `scan`, `patch`, `delete`, `unwrap`: the operations every path knows.

use serde_json::{Map, Value, json};
use strongroom_client::{Reply, Request};

use crate::call::Call;
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::Format;
use crate::second_factor;
use crate::values;

pub(crate) static READ: Command = Command::remote(
    "read",
    "Read data and retrieve secrets",
    "[options] PATH [DATA K=V...]",
    r"
Reads data at PATH: a secret, new credentials, a configuration. Pairs after the path become query parameters.

    $ {p} read secret/data/my-secret
    $ {p} read secret/data/my-secret version=3
",
    |call| Box::pin(read(call)),
)
.field()
.args(1, usize::MAX)
.offers(&[Offer::Paths, Offer::Nothing]);

const FORCE: Flag = Flag::switch("force", "Go on without any key=value pairs, for paths that need none.")
    .or("f")
    .default("false");

pub(crate) static WRITE: Command = Command::remote(
    "write",
    "Write data, configuration, and secrets",
    "[options] PATH [DATA K=V...]",
    r#"
Writes data to PATH. The behavior depends on the engine mounted there.

Data is given as key=value pairs. A value that starts with "@" is read from the file of that name, the value "-" from
standard input. "@file.json" and "-" alone stand for a whole JSON object.

    $ {p} write cubbyhole/git-credentials username=sandy
    $ {p} write -force transit/keys/my-key
    $ {p} write aws/roles/ops policy=@policy.json
    $ echo "$TOKEN" | {p} write consul/config/access token=-
"#,
    |call| Box::pin(write(call)),
)
.field()
.flags(&[FORCE])
.args(1, usize::MAX)
.offers(&[Offer::Paths, Offer::Nothing]);

pub(crate) static PATCH: Command = Command::remote(
    "patch",
    "Patch data, configuration, and secrets",
    "[options] PATH [DATA K=V...]",
    r"
Updates the given fields of the data at PATH and leaves the others unchanged. Data is given as for the write command.

    $ {p} patch pki/roles/example allow_localhost=false
",
    |call| Box::pin(patch(call)),
)
.field()
.flags(&[FORCE])
.args(1, usize::MAX)
.offers(&[Offer::Paths, Offer::Nothing]);

pub(crate) static DELETE: Command = Command::remote(
    "delete",
    "Delete secrets and configuration",
    "[options] PATH [DATA K=V...]",
    r"
Deletes data at PATH. The behavior depends on the engine mounted there. Pairs after the path become query
parameters.

    $ {p} delete cubbyhole/git-credentials
",
    |call| Box::pin(delete(call)),
)
.field()
.args(1, usize::MAX)
.offers(&[Offer::Paths, Offer::Nothing]);

const PAGING: [Flag; 2] = [
    Flag::text("after", "List names after this one, on paths that support paging."),
    Flag::int("limit", "Maximum number of names, on paths that support paging.").default("-1"),
];

pub(crate) static LIST: Command = Command::remote(
    "list",
    "List data or secrets",
    "[options] PATH",
    r"
Lists the names below PATH. Names that end in a slash are prefixes of further names.

    $ {p} list secret/metadata/my-app/
",
    |call| Box::pin(list(call)),
)
.detailed()
.format()
.flags(&PAGING)
.takes(1)
.offers(&[Offer::Paths]);

pub(crate) static SCAN: Command = Command::remote(
    "scan",
    "Scan (recursively list) data or secrets",
    "[options] PATH",
    r"
Lists all names below PATH, recursively.

    $ {p} scan secret/metadata/my-app/
",
    |call| Box::pin(scan(call)),
)
.detailed()
.format()
.flags(&PAGING)
.takes(1)
.offers(&[Offer::Paths]);

pub(crate) static UNWRAP: Command = Command::remote(
    "unwrap",
    "Unwrap a wrapped secret",
    "[options] [TOKEN]",
    r"
Unwraps a wrapping token and shows the response that it holds. Works once per token. Without TOKEN the token
in use is opened.

    $ {p} unwrap hvs.CAESI...
",
    |call| Box::pin(unwrap(call)),
)
.field()
.args(0, 1);

async fn read(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let mut request = Request::read(&path);
    for (key, value) in pairs(call)? {
        request = request.query(key, value);
    }
    let what = format!("Error reading {path}");
    if call.format == Format::Raw && call.flags.text("field").is_none() {
        let response = call.send(request).await.because(&what)?;
        if response.status() == 404 {
            return Err(Failure::remote(format!("No value found at {path}")));
        }
        let body = response.bytes().await.because(&what)?;
        return call.say(String::from_utf8_lossy(&body));
    }
    let reply = call.reply_or_none(request).await.because(what)?;
    let nothing = || Err(Failure::remote(format!("No value found at {path}")));
    let Some(reply) = reply else { return nothing() };
    if reply.data.is_none() && reply.auth.is_none() && reply.wrap_info.is_none() {
        // The server tells why there is nothing, such as a path of KV version 2 without "data/".
        match call.format {
            Format::Table => call.show_warnings(&reply)?,
            _ => call.show(&reply)?,
        }
        return nothing();
    }
    call.show(&reply)
}

async fn write(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let data = data(call)?;
    let request = Request::write(&path).json(&data).because("Error encoding data")?;
    let reply = call.reply(request).await.because(format!("Error writing data to {path}"))?;
    // A write can be a login.
    let reply = match reply {
        Some(reply) => Some(second_factor::conclude(call, &path, reply).await?),
        None => None,
    };
    written(call, &path, reply.as_ref())
}

async fn patch(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let data = data(call)?;
    let request = Request::patch(&path).json(&data).because("Error encoding data")?;
    let reply = call.reply(request).await.because(format!("Error writing data to {path}"))?;
    written(call, &path, reply.as_ref())
}

/// Shows what a write answered, or that it worked.
pub(crate) fn written(call: &mut Call<'_>, path: &str, reply: Option<&Reply>) -> Outcome {
    match reply {
        Some(reply) => call.show(reply),
        None if call.flags.text("field").is_some() => Err(Failure::Exit(1)),
        None => call.inform(format!("Success! Data written to: {path}")),
    }
}

async fn delete(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let mut request = Request::delete(&path);
    for (key, value) in pairs(call)? {
        request = request.query(key, value);
    }
    let reply = call.reply(request).await.because(format!("Error deleting {path}"))?;
    deleted(call, &path, reply.as_ref())
}

/// Shows what a delete answered, or that it worked.
pub(crate) fn deleted(call: &mut Call<'_>, path: &str, reply: Option<&Reply>) -> Outcome {
    match reply {
        Some(reply) => call.show(reply),
        None => call.inform(format!("Success! Data deleted (if it existed) at: {path}")),
    }
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let reply = call
        .reply_or_none(paged(call, Request::list(&path)))
        .await
        .because(format!("Error listing {path}"))?;
    call.show_list(&path, reply.as_ref())
}

async fn scan(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let reply = call
        .reply_or_none(paged(call, Request::scan(&path)))
        .await
        .because(format!("Error scanning {path}"))?;
    call.show_list(&path, reply.as_ref())
}

fn paged(call: &Call<'_>, mut request: Request) -> Request {
    if let Some(after) = call.flags.text("after") {
        request = request.query("after", after);
    }
    if let Some(limit) = call.flags.int("limit").filter(|limit| *limit >= 0) {
        request = request.query("limit", limit.to_string());
    }
    request
}

async fn unwrap(call: &mut Call<'_>) -> Outcome {
    let token = call.arg(0).trim().to_owned();
    let body = if token.is_empty() { Value::Null } else { json!({ "token": token }) };
    let request = Request::write("sys/wrapping/unwrap").json(&body).because("Error unwrapping")?;
    match call.reply(request).await.because("Error unwrapping")? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote("Could not find wrapped response")),
    }
}

/// The data behind the path. Nothing at all needs `-force`, since it is more often a mistake.
fn data(call: &mut Call<'_>) -> Result<Map<String, Value>, Failure> {
    let args = call.args.get(1..).unwrap_or_default().to_vec();
    if args.is_empty() && !call.flags.on("force") {
        return Err(Failure::local("Must supply data or use -force"));
    }
    values::parse(&args, call.io)
        .map_err(|reason| Failure::local(format!("Failed to parse K=V data: {reason}")))
}

fn pairs(call: &mut Call<'_>) -> Result<Vec<(String, String)>, Failure> {
    let args = call.args.get(1..).unwrap_or_default().to_vec();
    values::parse_texts(&args, call.io)
        .map_err(|reason| Failure::local(format!("Failed to parse K=V data: {reason}")))
}
