//! `operator unseal` and `operator seal`.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::commands::status;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::text::{WIDTH, wrap};

pub(crate) static UNSEAL: Command = Command::remote(
    "unseal",
    "Unseals the server",
    "[options] [KEY]",
    r"
Provides one of the unseal keys. The server unseals when the threshold is reached.

Without KEY, the terminal asks for it, so that it does not stay in the shell's history.

    $ {p} operator unseal
    Unseal Key (will be hidden):
",
    |call| Box::pin(unseal(call)),
)
.format()
.flags(&[
    Flag::switch("migrate", "Provide the key for a seal migration.").default("false"),
    Flag::switch("reset", "Discard the keys provided so far.").default("false"),
])
.args(0, 1);

pub(crate) static SEAL: Command = Command::remote(
    "seal",
    "Seals the server",
    "[options]",
    r"
Seals the server: it discards its keys and serves only its status until it is unsealed.
",
    |call| Box::pin(seal(call)),
)
.takes(0);

async fn unseal(call: &mut Call<'_>) -> Outcome {
    let (reset, migrate) = (call.flags.on("reset"), call.flags.on("migrate"));
    let what = "Error unsealing";
    let body = if reset {
        json!({ "reset": true, "migrate": migrate })
    } else {
        let mut key = call.arg(0).trim().to_owned();
        if key.is_empty() {
            key = ask(call)?;
        }
        json!({ "key": key, "reset": false, "migrate": migrate })
    };
    let request = Request::write("sys/unseal").json(&body).because(what)?;
    let state = call.fields(request).await.because(what)?;
    show(call, state).await
}

/// Shows the state that the server is in now.
async fn show(call: &mut Call<'_>, mut state: Map<String, Value>) -> Outcome {
    if state.get("sealed") == Some(&json!(false)) {
        // What the cluster looks like is only known now, and is no reason to fail.
        if let Ok(response) = call.ask(Request::read("sys/leader")).await
            && let Ok(leader) = response.json::<Map<String, Value>>().await
        {
            state.extend(leader.into_iter().filter(|(key, value)| {
                key == "ha_enabled"
                    || !(value.is_null() || [json!(0), json!(""), json!(false)].contains(value))
            }));
        }
    } else if state.get("storage_type").is_some_and(|kind| kind == "raft") {
        state.insert("ha_enabled".to_owned(), json!(true));
    }
    status::show(call, &state)
}

fn ask(call: &mut Call<'_>) -> Result<String, Failure> {
    match call.ask_hidden("Unseal Key (will be hidden): ") {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) => Err(Failure::local(wrap(
            &format!(
                "An error occurred attempting to ask for an unseal key. The raw error message is shown below, but usually \
                 this is because you attempted to pipe a value into the unseal command or you are executing outside of a \
                 terminal (tty). You should run the unseal command from a terminal for maximum security. If this is not an \
                 option, the unseal key can be provided as the first argument to the unseal command. The raw error was: \
                 {error}"
            ),
            WIDTH,
        ))),
    }
}

async fn seal(call: &mut Call<'_>) -> Outcome {
    call.reply(Request::write("sys/seal")).await.because("Error sealing")?;
    call.say("Success! Vault is sealed.")
}
