//! `auth`: enable, list, tune, move and disable auth methods.

use serde_json::Value;
use strongroom_client::Request;

use super::login;
use super::mounts::{self, ENABLING, LOCKOUT, TUNING};
use crate::Known;
use crate::call::{Call, mount_path, sanitize};
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;

pub(crate) static AUTH: Command = Command::group(
    "auth",
    "Interact with auth methods",
    r#"
Enables, lists, tunes, moves and disables auth methods. To log in with one, use "{p} login".

    $ {p} auth list
    $ {p} auth enable userpass
"#,
    &[&DISABLE, &ENABLE, &HELP, &LIST, &MOVE, &TUNE],
);

static ENABLE: Command = Command::remote(
    "enable",
    "Enables a new auth method",
    "[options] TYPE",
    r"
Enables an auth method of TYPE below auth/.

    $ {p} auth enable userpass
    $ {p} auth enable -path=ldap-prod ldap
",
    |call| Box::pin(enable(call)),
)
.flags(&ENABLING)
.more(&TUNING)
.takes(1)
.offers(&[Offer::Known(Known::AuthMethods)]);

static DISABLE: Command = Command::remote(
    "disable",
    "Disables an auth method",
    "[options] PATH",
    r"
Disables the auth method at PATH (not its type). All tokens it has issued are revoked.

    $ {p} auth disable userpass/
",
    |call| Box::pin(disable(call)),
)
.takes(1)
.offers(&[Offer::AuthMounts, Offer::Nothing]);

static LIST: Command = Command::remote(
    "list",
    "Lists enabled auth methods",
    "[options]",
    r#"
Lists the auth methods. A TTL of "system" is the server's default.
"#,
    |call| Box::pin(list(call)),
)
.format()
.flags(&[Flag::switch("detailed", "Also show TTLs, token types, options and replication.").default("false")])
.takes(0);

static TUNE: Command = Command::remote(
    "tune",
    "Tunes an auth method's configuration",
    "[options] PATH",
    r"
Changes the configuration of the auth method at PATH (not its type). Settings without a flag are unchanged.

    $ {p} auth tune -default-lease-ttl=72h userpass/
",
    |call| Box::pin(tune(call)),
)
.flags(&LOCKOUT)
.more(&TUNING)
.takes(1)
.offers(&[Offer::AuthMounts, Offer::Nothing]);

static MOVE: Command = Command::remote(
    "move",
    "Move an auth method to a new path",
    "[options] SOURCE DESTINATION",
    r"
Moves an auth method, within a namespace or to another one. Its leases are revoked; its data is kept. The command
waits until the move is done.

    $ {p} auth move auth/approle/ auth/machines/
",
    |call| Box::pin(relocate(call)),
)
.takes(2)
.offers(&[Offer::AuthMounts, Offer::Nothing]);

static HELP: Command = Command::remote(
    "help",
    "Prints usage for an auth method",
    "[options] TYPE | PATH",
    r"
Prints how to log in with the auth method of TYPE, or with the one enabled at PATH.

    $ {p} auth help userpass
",
    |call| Box::pin(help(call)),
)
.takes(1)
.offers(&[Offer::Known(Known::AuthMethods)]);

async fn enable(call: &mut Call<'_>) -> Outcome {
    let kind = call.arg(0).trim().to_owned();
    let enabled = mounts::enable(call, "sys/auth", &format!("Error enabling {kind} auth")).await?;
    call.say(format!("Success! Enabled {} auth method at: {}", enabled.kind, enabled.path))
}

async fn disable(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    let request = Request::delete(format!("sys/auth/{}", sanitize(&path)));
    call.reply(request).await.because(format!("Error disabling auth method at {path}"))?;
    call.say(format!("Success! Disabled the auth method (if it existed) at: {path}"))
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let methods = mounts::table(call, "sys/auth").await.because("Error listing enabled authentications")?;
    mounts::show(call, &methods, true)
}

async fn tune(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    let api = format!("auth/{}", sanitize(&path));
    mounts::tune(call, &api).await.because(format!("Error tuning auth method {path}"))?;
    call.say(format!("Success! Tuned the auth method at: {path}"))
}

async fn relocate(call: &mut Call<'_>) -> Outcome {
    mounts::relocate(call, "auth method").await
}

async fn help(call: &mut Call<'_>) -> Outcome {
    let name = sanitize(call.arg(0));
    let kind = if login::usage(&name).is_some() {
        name
    } else {
        let methods = mounts::table(call, "sys/auth").await.because("Error listing auth methods")?;
        let method = methods.get(&format!("{name}/"));
        match method.and_then(|method| method.get("type")).and_then(Value::as_str) {
            Some(kind) => kind.to_owned(),
            None => {
                return Err(Failure::local(format!(
                    "No auth method available on the server at {:?}",
                    format!("{name}/")
                )));
            }
        }
    };
    match login::usage(&kind) {
        Some(usage) => call.say(usage.replace("{p}", call.program).trim()),
        None => {
            Err(Failure::local(format!("No method-specific CLI handler available for auth method {kind:?}")))
        }
    }
}
