//! `namespace`: create, list, look up, patch, lock and delete namespaces.

use serde_json::{Map, Value, json};
use strongroom_client::{Reply, Request};

use crate::call::{Call, sanitize};
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::{Format, go};

pub(crate) static NAMESPACE: Command = Command::group(
    "namespace",
    "Interact with namespaces",
    r"
Creates, lists, looks up, patches, locks and deletes namespaces. Paths are relative to the namespace of the command.

    $ {p} namespace create team-a
    $ {p} namespace list
",
    &[&CREATE, &DELETE, &LIST, &LOCK, &LOOKUP, &PATCH, &SCAN, &UNLOCK],
);

const CUSTOM: Flag = Flag::map(
    "custom-metadata",
    "A key=value pair that describes the namespace. Can be given several times.",
);

static CREATE: Command = Command::remote(
    "create",
    "Create a new namespace",
    "[options] PATH",
    r"
Creates the namespace PATH.

    $ {p} namespace create team-a
    $ {p} namespace create -namespace=team-a project-1
",
    |call| Box::pin(create(call)),
)
.field()
.flags(&[CUSTOM])
.takes(1);

static PATCH: Command = Command::remote(
    "patch",
    "Patch an existing namespace",
    "[options] PATH",
    r"
Changes the custom metadata of the namespace PATH.

    $ {p} namespace patch -custom-metadata=owner=ops -remove-custom-metadata=old team-a
",
    |call| Box::pin(patch(call)),
)
.field()
.flags(&[
    CUSTOM,
    Flag::list("remove-custom-metadata", "Key of the custom metadata to remove. Can be given several times."),
])
.takes(1);

static DELETE: Command = Command::remote(
    "delete",
    "Delete an existing namespace",
    "[options] PATH",
    r"
Deletes the namespace PATH and everything in it.

    $ {p} namespace delete team-a
",
    |call| Box::pin(delete(call)),
)
.takes(1);

static LIST: Command = Command::remote(
    "list",
    "List child namespaces",
    "[options]",
    r"
Lists the namespaces in the namespace of the command.
",
    |call| Box::pin(list(call)),
)
.format()
.detailed()
.takes(0);

static SCAN: Command = Command::remote(
    "scan",
    "List all (child) namespaces recursively",
    "[options]",
    r"
Lists all namespaces below the namespace of the command.
",
    |call| Box::pin(scan(call)),
)
.format()
.detailed()
.takes(0);

static LOOKUP: Command = Command::remote(
    "lookup",
    "Look up an existing namespace",
    "[options] PATH",
    r"
Shows the namespace PATH.
",
    |call| Box::pin(lookup(call)),
)
.field()
.takes(1);

static LOCK: Command = Command::remote(
    "lock",
    "Lock the API for particular namespaces",
    "[options] [PATH]",
    r"
Locks the API of the namespace PATH, or of the namespace of the command, and of all namespaces in it. The key that is
shown unlocks it.
",
    |call| Box::pin(lock(call)),
)
.format()
.args(0, 1);

static UNLOCK: Command = Command::remote(
    "unlock",
    "Unlock the API for particular namespaces",
    "[options] [PATH]",
    r"
Unlocks the API of a namespace that was locked, with -unlock-key or as root.

    $ {p} namespace unlock -unlock-key=$KEY team-a
",
    |call| Box::pin(unlock(call)),
)
.args(0, 1);

fn show(call: &mut Call<'_>, reply: Option<Reply>) -> Outcome {
    match reply {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote("Namespace not found")),
    }
}

async fn create(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let what = "Error creating namespace";
    let body = json!({ "custom_metadata": call.flags.map("custom-metadata") });
    let request = Request::post(format!("sys/namespaces/{path}")).json(&body).because(what)?;
    let reply = call.reply(request).await.because(what)?;
    show(call, reply)
}

async fn patch(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let added = call.flags.map("custom-metadata").into_iter().map(|(key, value)| (key, Value::String(value)));
    let removed = call.flags.list("remove-custom-metadata").iter().map(|key| (key.clone(), Value::Null));
    let metadata: Map<String, Value> = added.chain(removed).collect();
    if metadata.is_empty() {
        return Err(Failure::local(
            "At least one of -custom-metadata and -remove-custom-metadata must be specified",
        ));
    }
    let what = "Error patching namespace";
    let request =
        Request::patch(format!("sys/namespaces/{path}")).json(&json!({ "custom_metadata": metadata }));
    let reply = call.reply(request.because(what)?).await.because(what)?;
    show(call, reply)
}

async fn delete(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let reply = call
        .reply(Request::delete(format!("sys/namespaces/{path}")))
        .await
        .because("Error deleting namespace")?;
    if let Some(reply) = &reply {
        call.show_warnings(reply)?;
        if reply.field("status").is_some() {
            return call.say(format!("Success! Namespace deletion scheduled: {path}/"));
        }
    }
    call.say(format!("Success! Namespace deleted at: {path}/"))
}

async fn list(call: &mut Call<'_>) -> Outcome {
    listing(call, Request::list("sys/namespaces")).await
}

async fn scan(call: &mut Call<'_>) -> Outcome {
    listing(call, Request::scan("sys/namespaces")).await
}

async fn listing(call: &mut Call<'_>, request: Request) -> Outcome {
    let reply = call.reply_or_none(request).await.because("Error listing namespaces")?;
    if call.format == Format::Table && reply.as_ref().and_then(Reply::keys).is_none_or(Vec::is_empty) {
        return Err(Failure::remote("No namespaces found"));
    }
    call.show_list("sys/namespaces", reply.as_ref())
}

async fn lookup(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let request = Request::read(format!("sys/namespaces/{path}"));
    let reply = call.reply_or_none(request).await.because("Error looking up namespace")?;
    show(call, reply)
}

fn lock_path(call: &Call<'_>, operation: &str) -> String {
    sanitize(&format!("sys/namespaces/api-lock/{operation}/{}", call.path_arg(0)))
}

async fn lock(call: &mut Call<'_>) -> Outcome {
    let request = Request::write(lock_path(call, "lock"));
    let reply = call.reply(request).await.because("Error locking namespace")?.unwrap_or_default();
    if call.format != Format::Table {
        return call.show(&reply);
    }
    let key = reply.field("unlock_key").map(go::value).unwrap_or_default();
    call.say(format!(
        "Unlock Key: {key}\n\nNamespace is now locked. Please securely store the unlock key printed above.\nYou must supply \
         the unlock key to re-enable access to the namespace.\nIf the unlock key is lost, sudo capability is required to \
         unlock the namespace without it."
    ))
}

async fn unlock(call: &mut Call<'_>) -> Outcome {
    let what = "Error unlocking namespace";
    let request = Request::write(lock_path(call, "unlock"));
    let key = call.flags.text("unlock-key").map(str::to_owned);
    let request = match key {
        Some(key) => request.json(&json!({ "unlock_key": key })).because(what)?,
        None => request,
    };
    call.reply(request).await.because(what)?;
    call.say("Namespace unlocked successfully!")
}
