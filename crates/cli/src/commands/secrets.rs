//! `secrets`: enable, list, tune, move and disable secrets engines.

use strongroom_client::Request;

use super::mounts::{self, ENABLING, TUNING};
use crate::Known;
use crate::call::{Call, mount_path, sanitize};
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Outcome};
use crate::flags::Flag;

pub(crate) static SECRETS: Command = Command::group(
    "secrets",
    "Interact with secrets engines",
    r"
Enables, lists, tunes, moves and disables secrets engines.

    $ {p} secrets list
    $ {p} secrets enable database
",
    &[&DISABLE, &ENABLE, &LIST, &MOVE, &TUNE],
);

static ENABLE: Command = Command::remote(
    "enable",
    "Enable a secrets engine",
    "[options] TYPE",
    r"
Enables a secrets engine of TYPE. Requests below its path then go to it.

    $ {p} secrets enable -path=kv -version=2 kv
    $ {p} secrets enable -max-lease-ttl=30m database
",
    |call| Box::pin(enable(call)),
)
.flags(&ENABLING)
.more(&TUNING)
.takes(1)
.offers(&[Offer::Known(Known::SecretsEngines)]);

static DISABLE: Command = Command::remote(
    "disable",
    "Disable a secrets engine",
    "[options] PATH",
    r"
Disables the secrets engine at PATH (not its type). Its secrets are revoked and its data is deleted.

    $ {p} secrets disable kv/
",
    |call| Box::pin(disable(call)),
)
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

static LIST: Command = Command::remote(
    "list",
    "List enabled secrets engines",
    "[options]",
    r#"
Lists the secrets engines. A TTL of "system" is the server's default.
"#,
    |call| Box::pin(list(call)),
)
.format()
.flags(&[Flag::switch("detailed", "Also show TTLs, options, versions and replication.").default("false")])
.takes(0);

static TUNE: Command = Command::remote(
    "tune",
    "Tune a secrets engine's configuration",
    "[options] PATH",
    r"
Changes the configuration of the secrets engine at PATH (not its type). Settings without a flag are unchanged.

    $ {p} secrets tune -default-lease-ttl=72h pki/
",
    |call| Box::pin(tune(call)),
)
.flags(&TUNING)
.takes(1)
.offers(&[Offer::Mounts, Offer::Nothing]);

static MOVE: Command = Command::remote(
    "move",
    "Move a secrets engine to a new path",
    "[options] SOURCE DESTINATION",
    r"
Moves a secrets engine, within a namespace or to another one. Its leases are revoked; its data is kept. The command
waits until the move is done.

    $ {p} secrets move secret/ generic/
",
    |call| Box::pin(relocate(call)),
)
.takes(2)
.offers(&[Offer::Mounts, Offer::Nothing]);

async fn enable(call: &mut Call<'_>) -> Outcome {
    let enabled = mounts::enable(call, "sys/mounts", "Error enabling").await?;
    call.say(format!("Success! Enabled the {} secrets engine at: {}", enabled.kind, enabled.path))
}

async fn disable(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    let request = Request::delete(format!("sys/mounts/{}", sanitize(&path)));
    call.reply(request).await.because(format!("Error disabling secrets engine at {path}"))?;
    call.say(format!("Success! Disabled the secrets engine (if it existed) at: {path}"))
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let mounts = mounts::table(call, "sys/mounts").await.because("Error listing secrets engines")?;
    mounts::show(call, &mounts, false)
}

async fn tune(call: &mut Call<'_>) -> Outcome {
    let path = mount_path(call.arg(0));
    mounts::tune(call, &sanitize(&path)).await.because(format!("Error tuning secrets engine {path}"))?;
    call.say(format!("Success! Tuned the secrets engine at: {path}"))
}

async fn relocate(call: &mut Call<'_>) -> Outcome {
    mounts::relocate(call, "secrets engine").await
}
