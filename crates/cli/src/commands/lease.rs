//! `lease`: look leases up, renew and revoke them.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;

pub(crate) static LEASE: Command = Command::group(
    "lease",
    "Interact with leases",
    r"
Looks up, renews and revokes the leases of dynamic secrets.

    $ {p} lease renew database/creds/readonly/2f6a614c...
    $ {p} lease revoke -prefix aws/creds/deploy
",
    &[&LOOKUP, &RENEW, &REVOKE],
);

static LOOKUP: Command = Command::remote(
    "lookup",
    "Look up the lease of a secret",
    "[options] ID",
    r"
Shows when a lease was issued, when it expires, and whether it is renewable.
",
    |call| Box::pin(lookup(call)),
)
.format()
.args(0, 1);

static RENEW: Command = Command::remote(
    "renew",
    "Renews the lease of a secret",
    "[options] ID",
    r"
Extends the lease of a secret. Fails if the secret cannot be renewed, has been revoked, or is at its
maximum already.
",
    |call| Box::pin(renew(call)),
)
.format()
.flags(&[Flag::span("increment", "Requested extension. The server is not required to honor it.").or("i")])
.takes(1);

static REVOKE: Command = Command::remote(
    "revoke",
    "Revokes leases and secrets",
    "[options] ID",
    r"
Revokes a secret by its lease id, or all secrets whose lease ids start with a prefix. The work is queued and tried again
until it succeeds, unless -sync or -force is given.

    $ {p} lease revoke database/creds/readonly/2f6a614c...
    $ {p} lease revoke -prefix aws/creds/deploy
    $ {p} lease revoke -force -prefix consul/creds
",
    |call| Box::pin(revoke(call)),
)
.flags(&[
    Flag::switch(
        "force",
        "Forget the lease even if the secrets engine cannot revoke the secret. For recovery, when the secret has been \
         removed by hand. Needs -prefix.",
    )
    .or("f")
    .default("false"),
    Flag::switch("prefix", "Treat ID as a prefix of lease ids.").default("false"),
    Flag::switch("sync", "Wait for the revocation, and fail if it fails.").default("false"),
])
.takes(1);

async fn lookup(call: &mut Call<'_>) -> Outcome {
    let id = call.arg(0).trim().to_owned();
    if id.is_empty() {
        return Err(Failure::local("Missing ID!"));
    }
    let what = format!("error looking up lease id {id}");
    let request = Request::write("sys/leases/lookup").json(&json!({ "lease_id": id })).because(&what)?;
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("No lease found with id {id}"))),
    }
}

async fn renew(call: &mut Call<'_>) -> Outcome {
    let id = call.arg(0).trim().to_owned();
    let increment = call.flags.span("increment").unwrap_or_default().as_secs();
    let what = format!("Error renewing {id}");
    let body = json!({ "increment": increment, "lease_id": id });
    let request = Request::write("sys/leases/renew").json(&body).because(&what)?;
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Ok(()),
    }
}

async fn revoke(call: &mut Call<'_>) -> Outcome {
    let (force, prefix) = (call.flags.on("force"), call.flags.on("prefix"));
    let id = call.arg(0).trim().trim_start_matches('/').to_owned();
    if force && !prefix {
        return Err(Failure::local("Specifying -force requires also specifying -prefix"));
    }
    if force {
        call.warn(
            "Warning! Force-removing leases can cause Vault to become out of sync with\nsecret engines!",
        )?;
        let request = Request::write(format!("sys/leases/revoke-force/{id}"));
        call.reply(request).await.because(format!("Error force revoking leases with prefix {id}"))?;
        return call.say(format!("Success! Force revoked any leases with prefix: {id}"));
    }
    let sync = call.flags.on("sync");
    let mut body = Map::from_iter([("sync".to_owned(), Value::Bool(sync))]);
    let (path, what) = if prefix {
        (format!("sys/leases/revoke-prefix/{id}"), format!("Error revoking leases with prefix {id}"))
    } else {
        body.insert("lease_id".to_owned(), Value::String(id.clone()));
        ("sys/leases/revoke".to_owned(), format!("Error revoking lease {id}"))
    };
    let request = Request::write(path).json(&body).because(&what)?;
    call.reply(request).await.because(what)?;
    match (sync, prefix) {
        (false, _) => call.say("All revocation operations queued successfully!"),
        (true, true) => call.say(format!("Success! Revoked any leases with prefix: {id}")),
        (true, false) => call.say(format!("Success! Revoked lease: {id}")),
    }
}
