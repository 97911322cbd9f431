//! `token`: create, look up, renew and revoke tokens, and ask what they may do.

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_client::Request;
use strongroom_stdx::format_duration;

use crate::call::Call;
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::{Format, go};

pub(crate) static TOKEN: Command = Command::group(
    "token",
    "Interact with tokens",
    r"
Creates, looks up, renews and revokes tokens.

    $ {p} token create -policy=my-policy
    $ {p} token lookup
",
    &[&CAPABILITIES, &CREATE, &LOOKUP, &RENEW, &REVOKE],
);

static CREATE: Command = Command::remote(
    "create",
    "Create a new token",
    "[options]",
    r"
Creates a token as a child of the token in use. It has the same policies, unless some of them are chosen with -policy.

    $ {p} token create -policy=my-policy -ttl=30m
    $ {p} token create -role=my-role
",
    |call| Box::pin(create(call)),
)
.field()
.flags(&[
    Flag::text("display-name", "Name shown in audit logs and lease ids. Not a secret."),
    Flag::text("entity-alias", "Entity alias to log the token in as. Needs a -role that allows it."),
    Flag::span("explicit-max-ttl", "Hard limit of the token's lifetime, as in \"30s\" or \"5m\"."),
    Flag::text("id", "The token itself, instead of a random one. Requires sudo."),
    Flag::map("metadata", "A key=value pair of metadata, which audit logs show. Can be given several times."),
    Flag::switch("no-default-policy", "Do not attach the policy \"default\".").default("false"),
    Flag::switch("orphan", "Create the token without a parent, so that it outlives the token in use.").default("false"),
    Flag::span("period", "Period of each renewal; the token has no maximum TTL. Requires sudo."),
    Flag::list("policy", "Policy of the token. Can be given several times.").offers(Offer::Policies),
    Flag::switch("renewable", "Allow the token to be renewed up to its maximum TTL.").default("true"),
    Flag::text("role", "Token role to create the token with. It may override other flags."),
    Flag::span("ttl", "Lifetime until the first renewal, as in \"30s\" or \"5m\"."),
    Flag::text("type", "Type of the token: \"service\" or \"batch\".")
        .default("service")
        .offers(Offer::Words(&["batch", "service"])),
    Flag::int("use-limit", "Number of uses of the token. Defaults to unlimited."),
])
.takes(0);

const ACCESSOR: Flag = Flag::switch("accessor", "Take the argument as an accessor.").default("false");

static LOOKUP: Command = Command::remote(
    "lookup",
    "Display information about a token",
    "[options] [TOKEN | ACCESSOR]",
    r"
Shows information about a token. Without an argument, about the token in use.

    $ {p} token lookup
    $ {p} token lookup -accessor 9793c9b3-e04a-46f3-e7b8-748d7da248da
",
    |call| Box::pin(lookup(call)),
)
.format()
.flags(&[ACCESSOR])
.args(0, 1);

static RENEW: Command = Command::remote(
    "renew",
    "Renew a token lease",
    "[options] [TOKEN]",
    r"
Extends the TTL of a token. Without an argument, of the token in use. Fails if the token cannot be renewed, has been
revoked, or is at its maximum already.

    $ {p} token renew
    $ {p} token renew -increment=30m 96ddf4bc-d217-f3ba-f9bd-017055595017
",
    |call| Box::pin(renew(call)),
)
.format()
.flags(&[ACCESSOR, Flag::span("increment", "Requested TTL. The server is not required to honor it.").or("i")])
.args(0, 1);

static REVOKE: Command = Command::remote(
    "revoke",
    "Revoke a token and its children",
    "[options] [TOKEN | ACCESSOR]",
    r"
Revokes a token and all tokens it has created.

    $ {p} token revoke 96ddf4bc-d217-f3ba-f9bd-017055595017
    $ {p} token revoke -mode=orphan 96ddf4bc-d217-f3ba-f9bd-017055595017
    $ {p} token revoke -self
",
    |call| Box::pin(revoke(call)),
)
.flags(&[
    ACCESSOR,
    Flag::text(
        "mode",
        "What to revoke: without it, the token and its children; \"orphan\" spares the children; \"path\" revokes all \
         tokens issued below the path that the argument then is.",
    )
    .offers(Offer::Words(&["orphan", "path"])),
    Flag::switch("self", "Revoke the token in use.").default("false"),
]);

static CAPABILITIES: Command = Command::remote(
    "capabilities",
    "Print capabilities of a token on a path",
    "[options] [TOKEN] PATH",
    r"
Shows what a token may do at PATH: the token in use, or TOKEN.

    $ {p} token capabilities secret/data/foo
",
    |call| Box::pin(capabilities(call)),
)
.format()
.flags(&[ACCESSOR])
.args(1, 2);

async fn create(call: &mut Call<'_>) -> Outcome {
    let flags = &call.flags;
    let span = |name: &str| format_duration(flags.span(name).unwrap_or(Duration::ZERO));
    let text = |name: &str| flags.text(name).unwrap_or_default();
    let batch = text("type") == "batch";
    let mut body = json!({
        "ttl": span("ttl"),
        "explicit_max_ttl": span("explicit-max-ttl"),
        "period": span("period"),
        "display_name": text("display-name"),
        "num_uses": flags.int("use-limit").unwrap_or(0),
        // Batch tokens cannot be renewed; asking for it by default would be an error.
        "renewable": flags.on("renewable") && (!batch || flags.given("renewable")),
        "type": text("type"),
        "entity_alias": text("entity-alias"),
    });
    if let Some(fields) = body.as_object_mut() {
        if let Some(id) = flags.text("id") {
            fields.insert("id".to_owned(), json!(id));
        }
        if flags.given("policy") {
            fields.insert("policies".to_owned(), json!(flags.list("policy")));
        }
        if flags.given("metadata") {
            fields.insert("meta".to_owned(), json!(flags.map("metadata")));
        }
        for (flag, field) in [("orphan", "no_parent"), ("no-default-policy", "no_default_policy")] {
            if flags.on(flag) {
                fields.insert(field.to_owned(), Value::Bool(true));
            }
        }
    }
    let path = match flags.text("role") {
        Some(role) => format!("auth/token/create/{role}"),
        None => "auth/token/create".to_owned(),
    };
    let what = "Error creating token";
    let request = Request::post(path).json(&body).because(what)?;
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("{what}: empty response"))),
    }
}

async fn lookup(call: &mut Call<'_>) -> Outcome {
    let token = call.arg(0).trim().to_owned();
    let accessor = call.flags.on("accessor");
    let what = "Error looking up token";
    let request = match (token.is_empty(), accessor) {
        (true, true) => {
            return Err(Failure::local("Not enough arguments with -accessor (expected 1, got 0)"));
        }
        (true, false) => Request::read("auth/token/lookup-self"),
        (false, true) => {
            Request::post("auth/token/lookup-accessor").json(&json!({ "accessor": token })).because(what)?
        }
        (false, false) => {
            Request::post("auth/token/lookup").json(&json!({ "token": token })).because(what)?
        }
    };
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("{what}: empty response"))),
    }
}

async fn renew(call: &mut Call<'_>) -> Outcome {
    let token = call.arg(0).trim().to_owned();
    let accessor = call.flags.on("accessor");
    let increment = call.flags.span("increment").unwrap_or_default().as_secs();
    let what = "Error renewing token";
    let request = match (token.is_empty(), accessor) {
        (true, true) => {
            return Err(Failure::local("Not enough arguments with -accessor (expected 1, got 0)"));
        }
        (true, false) => Request::write("auth/token/renew-self").json(&json!({ "increment": increment })),
        (false, true) => Request::post("auth/token/renew-accessor")
            .json(&json!({ "accessor": token, "increment": increment })),
        (false, false) => {
            Request::write("auth/token/renew").json(&json!({ "increment": increment, "token": token }))
        }
    };
    let request = request.because(what)?;
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("{what}: empty response"))),
    }
}

async fn revoke(call: &mut Call<'_>) -> Outcome {
    let token = call.arg(0).trim().to_owned();
    let (own, accessor) = (call.flags.on("self"), call.flags.on("accessor"));
    let mode = call.flags.text("mode").unwrap_or_default().to_owned();
    match (call.args.len(), own) {
        (0, false) => return Err(Failure::local("Not enough arguments (expected 1 or -self, got 0)")),
        (1.., true) => {
            return Err(Failure::local(format!(
                "Too many arguments (expected 0 with -self, got {})",
                call.args.len()
            )));
        }
        (2.., false) => {
            return Err(Failure::local(format!(
                "Too many arguments (expected 1 or -self, got {})",
                call.args.len()
            )));
        }
        _ if own && accessor => return Err(Failure::local("Cannot use -self with -accessor!")),
        _ if own && !mode.is_empty() => return Err(Failure::local("Cannot use -self with -mode!")),
        _ if accessor && mode == "orphan" => {
            return Err(Failure::local("Cannot use -accessor with -mode=orphan!"));
        }
        _ if accessor && mode == "path" => {
            return Err(Failure::local("Cannot use -accessor with -mode=path!"));
        }
        _ => {}
    }
    let what = "Error revoking token";
    let request = match (mode.as_str(), accessor) {
        _ if own => Request::write("auth/token/revoke-self"),
        ("", true) => {
            Request::post("auth/token/revoke-accessor").json(&json!({ "accessor": token })).because(what)?
        }
        ("", false) => Request::write("auth/token/revoke").json(&json!({ "token": token })).because(what)?,
        ("orphan", _) => {
            Request::write("auth/token/revoke-orphan").json(&json!({ "token": token })).because(what)?
        }
        ("path", _) => Request::write(format!("sys/leases/revoke-prefix/{token}")),
        (other, _) => return Err(Failure::local(format!("Invalid mode: {other}"))),
    };
    call.reply(request).await.because(what)?;
    call.say("Success! Revoked token (if it existed)")
}

async fn capabilities(call: &mut Call<'_>) -> Outcome {
    let two = call.args.len() == 2;
    let (token, path) =
        if two { (call.arg(0).to_owned(), call.arg(1)) } else { (String::new(), call.arg(0)) };
    let path = path.trim().to_owned();
    let accessor = call.flags.on("accessor");
    let what = "Error listing capabilities";
    let request = match (two, accessor) {
        (false, true) => {
            return Err(Failure::local("Not enough arguments with -accessor (expected 2, got 1)"));
        }
        (false, false) => Request::post("sys/capabilities-self").json(&json!({ "path": path })),
        (true, true) => {
            Request::post("sys/capabilities-accessor").json(&json!({ "accessor": token, "path": path }))
        }
        (true, false) => Request::post("sys/capabilities").json(&json!({ "token": token, "path": path })),
    };
    let reply = call.reply(request.because(what)?).await.because(what)?;
    let found = reply.as_ref().and_then(|reply| reply.field(&path).or_else(|| reply.field("capabilities")));
    let mut capabilities: Vec<String> =
        found.and_then(Value::as_array).into_iter().flatten().map(go::value).collect();
    if capabilities.is_empty() {
        return Err(Failure::local("No capabilities found"));
    }
    capabilities.sort();
    if call.format == Format::Table {
        call.say(capabilities.join(", "))
    } else {
        call.show_value(&capabilities)
    }
}
