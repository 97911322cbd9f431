//! `operator rekey`: new unseal or recovery keys from a quorum of the old ones.

use serde_json::{Map, Value, json};
use strongroom_client::Request;

use super::pgp_keys;
use super::root_token::key_and_nonce;
use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::flags::Flag;
use crate::output::text::{WIDTH, wrap};
use crate::output::{Format, go, table};

pub(crate) static REKEY: Command = Command::remote(
    "rekey",
    "Generates new unseal keys",
    "[options] [KEY]",
    r#"
Makes new unseal keys, or recovery keys with -target=recovery, with the consent of as many holders of the old ones as the
threshold says. Takes no downtime.

One of them starts with -init. Each holder then gives a key: as KEY, from standard input with "-", or at the terminal.
The last one sees the new keys.

    $ {p} operator rekey -init -key-shares=5 -key-threshold=3
    $ {p} operator rekey
"#,
    |call| Box::pin(rekey(call)),
)
.format()
.flags(&[
    Flag::switch("backup", "Let the server keep a copy of the new keys, encrypted to -pgp-keys.").default("false"),
    Flag::switch("backup-delete", "Delete the server's copy of the keys.").default("false"),
    Flag::switch("backup-retrieve", "Show the server's copy of the keys.").default("false"),
    Flag::switch("cancel", "Cancel the operation and discard the keys provided so far.").default("false"),
    Flag::switch("init", "Start the operation.").default("false"),
    Flag::int("key-shares", "Number of keys to create.").or("n").default("5"),
    Flag::int("key-threshold", "Number of keys required.").or("t").default("3"),
    Flag::text("nonce", "Nonce of the operation that the key is for."),
    Flag::text("pgp-keys", "Files of PGP public keys to encrypt the new keys to, one each, separated by commas."),
    Flag::switch("status", "Only show the progress of the operation.").default("false"),
    Flag::text("target", "Which keys: \"barrier\" or \"recovery\".").default("barrier"),
    Flag::switch("verify", "With -init, ask for the new keys before they take effect; otherwise, give a new key.")
        .default("false"),
])
.args(0, 1);

/// The API paths of a target.
struct Paths {
    base: &'static str,
    backup: &'static str,
}

async fn rekey(call: &mut Call<'_>) -> Outcome {
    let paths = match call.flags.text("target").unwrap_or("barrier").to_lowercase().as_str() {
        "barrier" => Paths { base: "sys/rekey", backup: "sys/rekey/backup" },
        "recovery" | "hsm" => {
            Paths { base: "sys/rekey-recovery-key", backup: "sys/rekey/recovery-key-backup" }
        }
        other => return Err(Failure::local(format!("Unknown target: {other}"))),
    };
    let verify = call.flags.on("verify");
    if call.flags.on("backup-delete") {
        call.reply(Request::delete(paths.backup)).await.because("Error deleting backed up keys")?;
        return call.say("Success! Deleted backed up keys (if they existed)");
    }
    if call.flags.on("backup-retrieve") {
        let what = "Error retrieving backed up keys";
        let reply = call.reply_or_none(Request::read(paths.backup)).await.because(what)?;
        return match reply {
            Some(reply) => call.show(&reply),
            None => Err(Failure::remote("No backed up keys")),
        };
    }
    if call.flags.on("cancel") {
        let path = format!("{}/{}", paths.base, if verify { "verify" } else { "init" });
        call.reply(Request::delete(path)).await.because("Error canceling rekey")?;
        return call.say("Success! Canceled rekeying (if it was started)");
    }
    if call.flags.on("init") {
        return start(call, &paths).await;
    }
    if call.flags.on("status") {
        let status = status(call, &paths, verify).await.because("Error reading rekey status")?;
        return show(call, &status);
    }
    provide(call, &paths, verify).await
}

async fn data(call: &mut Call<'_>, request: Request) -> Result<Map<String, Value>, SendError> {
    let body = call.fields(request).await?;
    Ok(match body.get("data") {
        Some(Value::Object(data)) => data.clone(),
        _ => body,
    })
}

async fn status(call: &mut Call<'_>, paths: &Paths, verify: bool) -> Result<Map<String, Value>, SendError> {
    let path = format!("{}/{}", paths.base, if verify { "verify" } else { "init" });
    data(call, Request::read(path)).await
}

async fn start(call: &mut Call<'_>, paths: &Paths) -> Outcome {
    let flags = &call.flags;
    let body = json!({
        "secret_shares": flags.int("key-shares").unwrap_or(0),
        "secret_threshold": flags.int("key-threshold").unwrap_or(0),
        "pgp_keys": flags.text("pgp-keys").map(pgp_keys).transpose()?,
        "backup": flags.on("backup"),
        "require_verification": flags.on("verify"),
    });
    let encrypted = flags.given("pgp-keys");
    let what = "Error initializing rekey";
    let request = Request::write(format!("{}/init", paths.base)).json(&body).because(what)?;
    let status = data(call, request).await.because(what)?;
    if !encrypted && call.format == Format::Table {
        let notice = "WARNING! If you lose the keys after they are returned, there is no recovery. Consider canceling this \
                      operation and re-initializing with the -pgp-keys flag to protect the returned unseal keys along with \
                      -backup to allow recovery of the encrypted keys in case of emergency. You can delete the stored keys \
                      later using the -backup-delete flag.";
        call.warn(format!("{}\n", wrap(notice, WIDTH)))?;
    }
    show(call, &status)
}

async fn provide(call: &mut Call<'_>, paths: &Paths, verify: bool) -> Outcome {
    let state = status(call, paths, verify).await.because("Error getting rekey status")?;
    if state.get("started") != Some(&json!(true)) && !verify {
        let text = format!(
            "No rekey is in progress. Start a rekey process by running \"{} operator rekey -init\".",
            call.program
        );
        return Err(Failure::local(wrap(&text, WIDTH)));
    }
    let running = state.get("nonce").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (key, nonce) = key_and_nonce(call, &running, "Rekey operation nonce")?;
    let path = format!("{}/{}", paths.base, if verify { "verify" } else { "update" });
    let what = "Error posting unseal key";
    let request = Request::write(path).json(&json!({ "key": key.as_str(), "nonce": nonce })).because(what)?;
    let answer = data(call, request).await.because(what)?;
    if answer.get("complete") != Some(&json!(true)) {
        return show(call, &answer);
    }
    if verify {
        return call.say("Success! Rekey verified. The new keys are in use from now on.");
    }
    show_keys(call, &state, &answer)
}

/// Shows the new keys, for the only time.
fn show_keys(call: &mut Call<'_>, state: &Map<String, Value>, answer: &Map<String, Value>) -> Outcome {
    if call.format != Format::Table {
        return call.show_value(answer);
    }
    let strings = |key: &str| answer.get(key).and_then(Value::as_array).into_iter().flatten().map(go::value);
    let fingerprints: Vec<String> = strings("pgp_fingerprints").collect();
    for (at, key) in strings("keys_base64").enumerate() {
        let number = at.saturating_add(1);
        let line = match fingerprints.get(at) {
            Some(fingerprint) => format!("Key {number} fingerprint: {fingerprint}; value: {key}"),
            None => format!("Key {number}: {key}"),
        };
        call.say(line)?;
    }
    let text = |map: &Map<String, Value>, key: &str| map.get(key).map(go::value).unwrap_or_default();
    call.say(format!("\nOperation nonce: {}", text(answer, "nonce")))?;
    if answer.get("verification_required") == Some(&json!(true)) {
        let notice = format!(
            "Vault has created new keys, but they are not in use yet. Give each of them once with \"{} operator rekey \
             -verify\"; with as many as the threshold says, they take effect. Verification nonce: {}",
            call.program,
            text(answer, "verification_nonce")
        );
        return call.say(format!("\n{}", wrap(&notice, WIDTH)));
    }
    let (shares, threshold) = (text(state, "n"), text(state, "t"));
    call.say(format!(
        "\nVault rekeyed with {shares} key shares and a key threshold of {threshold}. Please securely distribute\n\
         the key shares printed above. When Vault is re-sealed, restarted, or stopped, you must\n\
         supply at least {threshold} of these keys to unseal it before it can start servicing requests."
    ))
}

fn show(call: &mut Call<'_>, status: &Map<String, Value>) -> Outcome {
    if call.format != Format::Table {
        return call.show_value(status);
    }
    let text = |key: &str| status.get(key).map(go::value).unwrap_or_default();
    let on = |key: &str| status.get(key) == Some(&json!(true));
    let mut rows = vec![("Nonce", text("nonce")), ("Started", text("started"))];
    if on("started") {
        if status.contains_key("required") {
            rows.push(("Rekey Progress", format!("{}/{}", text("progress"), text("required"))));
            rows.push(("New Shares", text("n")));
            rows.push(("New Threshold", text("t")));
        } else {
            rows.push(("New Shares", text("n")));
            rows.push(("New Threshold", text("t")));
            rows.push(("Verification Progress", format!("{}/{}", text("progress"), text("t"))));
        }
        if status.contains_key("verification_required") {
            rows.push(("Verification Required", text("verification_required")));
        }
    }
    if status.get("pgp_fingerprints").and_then(Value::as_array).is_some_and(|prints| !prints.is_empty()) {
        rows.push(("PGP Fingerprints", text("pgp_fingerprints")));
        rows.push(("Backup", text("backup")));
    }
    if status.get("verification_nonce").is_some_and(|nonce| *nonce != json!("")) {
        rows.push(("Verification Nonce", text("verification_nonce")));
    }
    let rows: Vec<_> = rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    call.say(table::pairs(&rows))
}
