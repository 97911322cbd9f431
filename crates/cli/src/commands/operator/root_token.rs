//! `operator generate-root`: a new root token from a quorum of unseal keys.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::{Map, Value, json};
use strongroom_client::Request;
use strongroom_stdx::Entropy;
use zeroize::Zeroizing;

use super::pgp_keys;
use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome, SendError};
use crate::flags::Flag;
use crate::output::text::{WIDTH, wrap};
use crate::output::{Format, go, table};

pub(crate) static GENERATE_ROOT: Command = Command::remote(
    "generate-root",
    "Generates a new root token",
    "[options] [KEY]",
    r#"
Makes a new root token with the consent of as many holders of unseal keys as the threshold says.

One of them starts with -init, which shows a one-time password, or names a PGP key. Each holder then gives a key: as KEY,
from standard input with "-", or at the terminal. The last one sees the token, encrypted; -decode and the password give
the token itself.

    $ {p} operator generate-root -init
    $ {p} operator generate-root
    $ {p} operator generate-root -decode=$ENCODED_TOKEN -otp=$OTP
"#,
    |call| Box::pin(generate_root(call)),
)
.format()
.flags(&[
    Flag::switch("cancel", "Cancel the attempt and discard the keys provided so far.").default("false"),
    Flag::text("decode", "Encoded token to decode with -otp; \"-\" reads it from standard input."),
    Flag::switch("generate-otp", "Print a one-time password that fits -init.").default("false"),
    Flag::switch("init", "Start an attempt.").default("false"),
    Flag::text("nonce", "Nonce of the attempt that the key is for."),
    Flag::text("otp", "One-time password for -init or -decode."),
    Flag::text("pgp-key", "File of the PGP public key to encrypt the token to."),
    Flag::switch("status", "Only show the progress of the attempt.").default("false"),
])
.args(0, 1);

const API: &str = "sys/generate-root";

async fn generate_root(call: &mut Call<'_>) -> Outcome {
    if call.flags.on("generate-otp") {
        let status = status(call).await.because("Error getting root generation status")?;
        return print_otp(call, &status);
    }
    if call.flags.given("decode") {
        return decode(call);
    }
    if call.flags.on("cancel") {
        let what = "Error canceling root token generation";
        call.reply(Request::delete(format!("{API}/attempt"))).await.because(what)?;
        return call.say("Success! Root token generation canceled (if it was started)");
    }
    if call.flags.on("init") {
        return start(call).await;
    }
    if call.flags.on("status") {
        let status = status(call).await.because("Error getting root generation status")?;
        return show(call, &status);
    }
    provide(call).await
}

async fn status(call: &mut Call<'_>) -> Result<Map<String, Value>, SendError> {
    data(call, Request::read(format!("{API}/attempt"))).await
}

async fn data(call: &mut Call<'_>, request: Request) -> Result<Map<String, Value>, SendError> {
    let body = call.fields(request).await?;
    Ok(match body.get("data") {
        Some(Value::Object(data)) => data.clone(),
        _ => body,
    })
}

/// The length of a password, which is that of the token.
fn otp_length(status: &Map<String, Value>) -> usize {
    let length = status.get("otp_length").and_then(Value::as_u64).unwrap_or(0);
    usize::try_from(length).ok().filter(|length| *length > 0).unwrap_or(28)
}

fn print_otp(call: &mut Call<'_>, status: &Map<String, Value>) -> Outcome {
    let otp =
        Entropy::system().base62(otp_length(status)).map_err(|error| Failure::local(error.to_string()))?;
    if call.format == Format::Table { call.write(&otp) } else { call.show_value(&json!({ "otp": otp })) }
}

async fn start(call: &mut Call<'_>) -> Outcome {
    let otp = call.flags.text("otp").unwrap_or_default().to_owned();
    let key = match call.flags.text("pgp-key") {
        Some(name) => pgp_keys(name)?.into_iter().next().unwrap_or_default(),
        None => String::new(),
    };
    let what = "Error initializing root generation";
    let request = Request::write(format!("{API}/attempt"))
        .json(&json!({ "otp": otp, "pgp_key": key }))
        .because(what)?;
    let status = data(call, request).await.because(what)?;
    if status.get("otp").is_some_and(|otp| *otp != json!("")) && call.format == Format::Table {
        let notice = "A One-Time-Password has been generated for you and is shown in the OTP field. You will need this \
                      value to decode the resulting root token, so keep it safe.";
        call.warn(wrap(notice, WIDTH))?;
    }
    show(call, &status)
}

async fn provide(call: &mut Call<'_>) -> Outcome {
    let what = "Error getting root generation status";
    let status = status(call).await.because(what)?;
    if status.get("started") != Some(&json!(true)) {
        let text = format!(
            "No root generation is in progress. Start a root generation by running \"{} operator generate-root -init\".\n\
             If starting root generation using the OTP method and generating your own OTP, the length of the OTP string \
             needs to be {} characters in length.",
            call.program,
            otp_length(&status)
        );
        return Err(Failure::local(wrap(&text, WIDTH)));
    }
    let running = status.get("nonce").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (key, nonce) = key_and_nonce(call, &running, "Operation nonce")?;
    let what = "Error posting unseal key";
    let body = json!({ "key": key.as_str(), "nonce": nonce });
    let request = Request::write(format!("{API}/update")).json(&body).because(what)?;
    let status = data(call, request).await.because(what)?;
    show(call, &status)
}

/// An unseal key and the nonce of the operation it is for. From standard input the nonce has to be named, so that a
/// script does not contribute to another operator's operation.
pub(crate) fn key_and_nonce(
    call: &mut Call<'_>,
    running: &str,
    label: &str,
) -> Result<(Zeroizing<String>, String), Failure> {
    let given = call.flags.text("nonce").map(str::to_owned);
    let arg = call.arg(0).trim().to_owned();
    match arg.as_str() {
        "-" => {
            let nonce =
                given.ok_or_else(|| Failure::local("Missing nonce value: specify it via the -nonce flag"))?;
            Ok((Zeroizing::new(call.io.read_stdin()?.trim().to_owned()), nonce))
        }
        "" => {
            let nonce = given.unwrap_or_else(|| running.to_owned());
            call.warn(format!("{label}: {nonce}"))?;
            match call.ask_hidden("Unseal Key (will be hidden): ") {
                Ok(key) => Ok((Zeroizing::new(key.trim().to_owned()), nonce)),
                Err(error) => {
                    let text = format!(
                        "An error occurred attempting to ask for the unseal key. The raw error message is shown below, but \
                         usually this is because you attempted to pipe a value into the command or you are executing \
                         outside of a terminal (tty). If you want to pipe the value, pass \"-\" as the argument to read \
                         from stdin. The raw error was: {error}"
                    );
                    Err(Failure::local(wrap(&text, WIDTH)))
                }
            }
        }
        _ => {
            let nonce =
                given.ok_or_else(|| Failure::local("Missing nonce value: specify it via the -nonce flag"))?;
            Ok((Zeroizing::new(arg), nonce))
        }
    }
}

fn decode(call: &mut Call<'_>) -> Outcome {
    let mut encoded = call.flags.text("decode").unwrap_or_default().to_owned();
    if encoded == "-" {
        call.io.read_stdin()?.trim().clone_into(&mut encoded);
    }
    let Some(otp) = call.flags.text("otp").map(str::to_owned) else {
        return Err(Failure::local("Missing otp: use -otp to supply it"));
    };
    if encoded.is_empty() {
        return Err(Failure::local("Missing encoded value: use -decode=<string> to supply it"));
    }
    let token = decoded(&encoded, &otp)
        .map_err(|reason| Failure::local(format!("Error decoding root token: {reason}")))?;
    if call.format == Format::Table {
        call.say(token.as_str())
    } else {
        call.show_value(&json!({ "token": token.as_str() }))
    }
}

/// The token: the encoded one, in base64, combined with the password by exclusive or.
fn decoded(encoded: &str, otp: &str) -> Result<Zeroizing<String>, String> {
    let bytes = STANDARD_NO_PAD
        .decode(encoded)
        .or_else(|_padded| STANDARD.decode(encoded))
        .map_err(|error| format!("error decoding base64'd token: {error}"))?;
    let bytes = Zeroizing::new(bytes);
    if bytes.len() != otp.len() {
        return Err(format!("length mismatch: the token has {} bytes, the otp {}", bytes.len(), otp.len()));
    }
    let plain: Vec<u8> = bytes.iter().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
    String::from_utf8(plain)
        .map(Zeroizing::new)
        .map_err(|_garbage| "the otp does not fit the token".to_owned())
}

fn show(call: &mut Call<'_>, status: &Map<String, Value>) -> Outcome {
    if call.format != Format::Table {
        return call.show_value(status);
    }
    let text = |key: &str| status.get(key).map(go::value).unwrap_or_default();
    let mut rows = vec![
        ("Nonce", text("nonce")),
        ("Started", text("started")),
        ("Progress", format!("{}/{}", text("progress"), text("required"))),
        ("Complete", text("complete")),
    ];
    for (label, key) in [("PGP Fingerprint", "pgp_fingerprint"), ("OTP", "otp"), ("OTP Length", "otp_length")]
    {
        if !matches!(text(key).as_str(), "" | "0" | "<nil>") {
            rows.push((label, text(key)));
        }
    }
    let token =
        [text("encoded_token"), text("encoded_root_token")].into_iter().find(|token| !token.is_empty());
    if let Some(token) = token {
        rows.push(("Encoded Token", token));
    }
    call.say(table::columns(
        &rows.into_iter().map(|(key, value)| vec![key.to_owned(), value]).collect::<Vec<_>>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_out_as_it_went_in() {
        let (token, otp) = ("hvs.abcdef", "0123456789");
        let bytes: Vec<u8> = token.bytes().zip(otp.bytes()).map(|(a, b)| a ^ b).collect();
        let encoded = STANDARD_NO_PAD.encode(bytes);
        assert_eq!(decoded(&encoded, otp).unwrap().as_str(), token);
        assert!(decoded(&encoded, "short").unwrap_err().contains("length mismatch"));
        assert!(decoded("!", otp).is_err());
    }
}
