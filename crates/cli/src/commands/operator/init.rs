//! `operator init`.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use super::pgp_keys;
use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::Format;

pub(crate) static INIT: Command = Command::remote(
    "init",
    "Initializes a server",
    "[options]",
    r"
Initializes the server: makes its root key, splits the key that guards it into shares, and shows these and the first root
token, once. Every unseal after that takes as many shares as the threshold says.

With an auto-unseal seal, recovery keys are created instead of unseal keys.

    $ {p} operator init
    $ {p} operator init -key-shares=1 -key-threshold=1

With -status, the exit code indicates the state: 0 initialized, 1 error, 2 not initialized.
",
    |call| Box::pin(init(call)),
)
.format()
.flags(&[
    Flag::int("key-shares", "Number of key shares to split the unseal key into.").or("n").default("5"),
    Flag::int("key-threshold", "Number of key shares required to unseal.").or("t").default("3"),
    Flag::text("pgp-keys", "Files of PGP public keys to encrypt the unseal keys to, one each, separated by commas."),
    Flag::text("recovery-pgp-keys", "As -pgp-keys, for the recovery keys."),
    Flag::int("recovery-shares", "Number of recovery keys to create, with an auto-unseal seal.").default("5"),
    Flag::int("recovery-threshold", "Number of key shares required for recovery.").default("3"),
    Flag::text("root-token-pgp-key", "File of the PGP public key to encrypt the root token to."),
    Flag::switch("status", "Only report whether the server is initialized.").default("false"),
])
.takes(0);

async fn init(call: &mut Call<'_>) -> Outcome {
    if call.flags.on("status") {
        return status(call).await;
    }
    let what = "Error initializing";
    let seal: Map<String, Value> =
        call.ask(Request::read("sys/seal-status")).await.because(what)?.json().await.because(what)?;
    let recovery = seal.get("recovery_seal") == Some(&json!(true));
    let flags = &call.flags;
    let keys = |name: &str| flags.text(name).map(pgp_keys).transpose();
    let number =
        |name: &str, wanted: bool| if wanted || flags.given(name) { flags.int(name).unwrap_or(0) } else { 0 };
    let root_token_key =
        keys("root-token-pgp-key")?.unwrap_or_default().into_iter().next().unwrap_or_default();
    let body = json!({
        "secret_shares": number("key-shares", !recovery),
        "secret_threshold": number("key-threshold", !recovery),
        "pgp_keys": keys("pgp-keys")?,
        "recovery_shares": number("recovery-shares", recovery),
        "recovery_threshold": number("recovery-threshold", recovery),
        "recovery_pgp_keys": keys("recovery-pgp-keys")?,
        "root_token_pgp_key": root_token_key,
    });
    let request = Request::write("sys/init").json(&body).because(what)?;
    let answer = call.fields(request).await.because(what)?;
    show(call, &answer, &body)
}

async fn status(call: &mut Call<'_>) -> Outcome {
    let what = "Error checking init status";
    let answer = call.send(Request::read("sys/init")).await.because(what);
    let answer = answer.map_err(|failure| match failure {
        Failure::Remote(message) => Failure::Local(message),
        other => other,
    })?;
    let answer: Map<String, Value> =
        answer.json().await.map_err(|error| Failure::local(format!("{what}: {error}")))?;
    let initialized = answer.get("initialized") == Some(&json!(true));
    if call.format != Format::Table {
        call.show_value(&json!({ "Initialized": initialized }))?;
    } else if initialized {
        call.say("Vault is initialized")?;
    } else {
        call.say("Vault is not initialized")?;
    }
    if initialized { Ok(()) } else { Err(Failure::Exit(2)) }
}

fn strings<'a>(answer: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    answer.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Shows the keys and the token, for the only time.
fn show(call: &mut Call<'_>, answer: &Map<String, Value>, asked: &Value) -> Outcome {
    let number = |key: &str| asked.get(key).and_then(Value::as_i64).unwrap_or(0);
    let token = answer.get("root_token").and_then(Value::as_str).unwrap_or_default();
    let unseal_keys = strings(answer, "keys_base64");
    let recovery_keys = strings(answer, "recovery_keys_base64");
    if call.format != Format::Table {
        let value = json!({
            "unseal_keys_b64": unseal_keys,
            "unseal_keys_hex": strings(answer, "keys"),
            "unseal_shares": number("secret_shares"),
            "unseal_threshold": number("secret_threshold"),
            "recovery_keys_b64": recovery_keys,
            "recovery_keys_hex": strings(answer, "recovery_keys"),
            "recovery_keys_shares": number("recovery_shares"),
            "recovery_keys_threshold": number("recovery_threshold"),
            "root_token": token,
        });
        return call.show_value(&value);
    }
    for (name, keys) in [("Unseal", &unseal_keys), ("Recovery", &recovery_keys)] {
        for (at, key) in keys.iter().enumerate() {
            call.say(format!("{name} Key {}: {key}", at.saturating_add(1)))?;
        }
    }
    call.say(format!("\nInitial Root Token: {token}\n"))?;
    if unseal_keys.is_empty() {
        call.say("Success! Vault is initialized")?;
        if recovery_keys.is_empty() {
            return Ok(());
        }
        return call.say(format!(
            "\nRecovery key initialized with {} key shares and a key threshold of {}. Please\nsecurely distribute the key \
             shares printed above.",
            number("recovery_shares"),
            number("recovery_threshold")
        ));
    }
    let (shares, threshold) = (number("secret_shares"), number("secret_threshold"));
    call.say(format!(
        "Vault initialized with {shares} key shares and a key threshold of {threshold}. Please securely\n\
         distribute the key shares printed above. When the Vault is re-sealed,\n\
         restarted, or stopped, you must supply at least {threshold} of these keys to unseal it\n\
         before it can start servicing requests.\n\n\
         Vault does not store the generated root key. Without at least {threshold} keys to\n\
         reconstruct the root key, Vault will remain permanently sealed!\n\n\
         It is possible to generate new unseal keys, provided you have a quorum of\n\
         existing unseal keys shares. See \"{} operator rekey\" for more information.",
        call.program
    ))
}
