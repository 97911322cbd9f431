//! `login`: exchange credentials for a token, and keep it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value};
use strongroom_client::{Auth, Reply, Request};
use strongroom_stdx::Secret;

use crate::Known;
use crate::call::{Call, sanitize};
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::Format;
use crate::output::text::{WIDTH, wrap};
use crate::second_factor;
use crate::token_helper::TokenHelper;
use crate::values;

pub(crate) static LOGIN: Command = Command::remote(
    "login",
    "Authenticate locally",
    "[options] [AUTH K=V...]",
    r#"
Logs in and stores the token for later commands, by default in ~/.vault-token.

The method is "token" unless -method says otherwise: the argument is then the token, "-" reads it from standard input,
and without an argument the terminal is asked. Other methods take key=value pairs; "{p} auth help TYPE" names them.

    $ {p} login
    $ {p} login -method=userpass username=my-username
    $ {p} login -method=ldap -path=ldap-prod username=my-username

With -wrap-ttl, the response is unwrapped, unless -no-store or -token-only asks for the wrapping token.
"#,
    |call| Box::pin(login(call)),
)
.field()
.flags(&[
    Flag::text("method", "Type of the auth method, such as \"userpass\". Its path is given with -path.")
        .default("token")
        .offers(Offer::Known(Known::AuthMethods)),
    Flag::switch("no-print", "Do not show the token.").default("false"),
    Flag::switch("no-store", "Do not store the token; only show it.").default("false"),
    Flag::text("path", "Path of the auth method. Defaults to its type."),
    Flag::switch("token-only", "Print only the token, and do not store it.").default("false"),
]);

/// A method's login over the API.
struct Method {
    name: &'static str,
    /// Its parameters, for help.
    parameters: &'static str,
    /// The parameter that is part of the path rather than the body.
    in_path: Option<&'static str>,
    /// The parameter that is asked for if it is missing.
    hidden: Option<(&'static str, &'static str)>,
}

/// Methods that log in with one write to `auth/<path>/login`.
const METHODS: [Method; 11] = [
    with_password("userpass"),
    with_password("ldap"),
    with_password("okta"),
    with_password("radius"),
    posting("approle", "role_id=<string>    The role's id.\nsecret_id=<string>  The role's secret id."),
    posting(
        "cert",
        "name=<string>  The certificate role. The certificate is that of -client-cert and -client-key.",
    ),
    posting("jwt", "role=<string>  The role.\njwt=<string>   The signed token."),
    posting("kubernetes", "role=<string>  The role.\njwt=<string>   The service account's token."),
    posting("gcp", "role=<string>  The role.\njwt=<string>   The signed token."),
    posting("azure", "role=<string>  The role.\njwt=<string>   The managed identity's token."),
    Method {
        name: "github",
        parameters: "token=<string>  A personal access token. Asked for if missing.",
        in_path: None,
        hidden: Some(("token", "GitHub Personal Access Token (will be hidden): ")),
    },
];

const fn with_password(name: &'static str) -> Method {
    Method {
        name,
        parameters: "username=<string>  The user's name.\npassword=<string>  The password. Asked for if missing.",
        in_path: Some("username"),
        hidden: Some(("password", "Password (will be hidden): ")),
    }
}

const fn posting(name: &'static str, parameters: &'static str) -> Method {
    Method { name, parameters, in_path: None, hidden: None }
}

/// The help for a login with a method; `None` if this program has no handler for it. `{p}` stands for the program's
/// name.
pub(crate) fn usage(name: &str) -> Option<String> {
    if name == "token" {
        return Some("Usage: {p} login [TOKEN]\n\n  Logs in with a token. It is asked for if missing; \"-\" reads it from \
                     standard input."
            .to_owned());
    }
    let method = METHODS.iter().find(|method| method.name == name)?;
    let mut text = format!(
        "Usage: {{p}} login -method={name} [CONFIG K=V...]\n\n  Logs in with the {name} auth method.\n\n"
    );
    text.push_str("Configuration:\n");
    for line in method.parameters.lines() {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {line}");
    }
    Some(text)
}

async fn login(call: &mut Call<'_>) -> Outcome {
    let token_only = call.flags.on("token-only");
    let store = keeps(call);
    let name = call.flags.text("method").unwrap_or("token").to_lowercase();
    let mut reply = if name == "token" { with_token(call).await? } else { with_method(call, &name).await? };
    // A wrapped login is opened, unless the wrapping token is what was asked for.
    if let Some(wrap) = reply.wrap_info.as_ref().filter(|_| store) {
        let token = wrap.token.clone();
        call.use_token(Some(token))?;
        // The inside must not be wrapped again.
        let request = Request::write("sys/wrapping/unwrap").wrap(Duration::ZERO);
        let what = "Error unwrapping token";
        reply = call
            .ask(request)
            .await
            .because(what)?
            .reply()
            .await
            .because(what)?
            .ok_or_else(|| Failure::remote("Could not find wrapped response"))?;
    }
    let wrapping = reply.wrap_info.as_ref().map(|wrap| wrap.token.clone());
    let token = match (&reply.auth, wrapping) {
        (_, Some(token)) => token,
        (Some(auth), None) if auth.mfa_requirement.is_some() => return call.show(&reply),
        (Some(auth), None) => auth.client_token.clone(),
        (None, None) => {
            return Err(Failure::remote(
                "Vault returned a secret, but the secret has no authentication information attached. This should never \
                 happen and is likely a bug.",
            ));
        }
    };
    if token_only {
        return call.write(token.expose());
    }
    if store {
        if let Err(failure) = keep(call, token.expose()) {
            return lost(call, &reply, &failure);
        }
    } else if reply.wrap_info.is_none() {
        let notice = "The token was not stored in token helper. Set the VAULT_TOKEN environment variable or pass the token \
                      below with each request to Vault.";
        call.warn(format!("{}\n", wrap(notice, WIDTH)))?;
    }
    finish(call, &reply)
}

/// True if the token is to be kept in the token helper.
fn keeps(call: &Call<'_>) -> bool {
    !call.flags.on("no-store") && !call.flags.on("token-only")
}

/// Shows the token that could not be kept, so that the login is not lost with it.
fn lost(call: &mut Call<'_>, reply: &Reply, failure: &Failure) -> Outcome {
    let notice = "Authentication was successful, but the token was not persisted. The resulting token is shown below for \
                  your records.";
    let message = format!("Error storing token: {failure}\n{}\n", wrap(notice, WIDTH));
    let message = call.io.painted("31", &message);
    writeln!(call.io.stderr, "{message}")?;
    call.show(reply)?;
    Err(Failure::Exit(2))
}

fn keep(call: &mut Call<'_>, token: &str) -> Outcome {
    TokenHelper::find(call.io)?.store(token)?;
    if call.io.variable("TOKEN").is_some() {
        let notice = "WARNING! The VAULT_TOKEN environment variable is set! The value of this variable will take \
                      precedence; if this is unwanted please unset VAULT_TOKEN or update its value accordingly.";
        call.warn(format!("{}\n", wrap(notice, WIDTH)))?;
    }
    Ok(())
}

fn finish(call: &mut Call<'_>, reply: &Reply) -> Outcome {
    if call.flags.on("no-print") {
        return Ok(());
    }
    if call.flags.text("field").is_none() && call.format == Format::Table && reply.auth.is_some() {
        let notice = format!(
            "Success! You are now authenticated. The token information displayed below is already stored in the token \
             helper. You do NOT need to run \"{} login\" again. Future Vault requests will automatically use this token.",
            call.program
        );
        let notice =
            if call.flags.on("no-store") { "Success! You are now authenticated.".to_owned() } else { notice };
        call.say(format!("{}\n", wrap(&notice, WIDTH)))?;
    }
    call.show(reply)
}

/// Logs in with a token: looks it up, so that a wrong one is not kept.
async fn with_token(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let token = match call.args.as_slice() {
        [] => ask(call)?,
        [arg] if arg == "-" => call.io.read_stdin()?.trim().to_owned(),
        [arg] => arg.strip_prefix("token=").unwrap_or(arg).trim().to_owned(),
        args => match values::parse_texts(args, call.io) {
            Ok(pairs) => {
                pairs.into_iter().find(|(key, _)| key == "token").map(|(_, token)| token).unwrap_or_default()
            }
            Err(reason) => return Err(Failure::local(format!("Error parsing configuration: {reason}"))),
        },
    };
    if token.is_empty() {
        return Err(Failure::remote(
            "Error authenticating: a token must be passed to auth, please view the help for more information",
        ));
    }
    let token = Secret::new(token);
    call.use_token(Some(token.clone()))?;
    // The token is known already: where it is kept, there is nothing to wrap.
    let request = Request::read("auth/token/lookup-self");
    let sent = if keeps(call) { call.ask(request).await } else { call.send(request).await };
    let what = "Error authenticating: error looking up token";
    let reply = sent.because(what)?.reply().await.because(what)?.unwrap_or_default();
    if reply.wrap_info.is_some() {
        return Ok(reply);
    }
    let data = reply.data.unwrap_or_default();
    let list = |key: &str| {
        let items = data.get(key).and_then(Value::as_array)?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
    };
    let policies = list("policies").unwrap_or_default();
    let identity = list("identity_policies");
    let mut all = policies.clone();
    all.extend(identity.iter().flatten().filter(|policy| !policies.contains(policy)).cloned());
    all.sort();
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = data
        .get("meta")
        .and_then(Value::as_object)
        .map(|meta| meta.iter().map(|(key, value)| (key.clone(), crate::output::go::value(value))).collect());
    let auth = Auth {
        client_token: token,
        accessor: text("accessor"),
        policies: Some(all),
        token_policies: Some(policies),
        identity_policies: identity,
        metadata,
        orphan: data.get("orphan").and_then(Value::as_bool).unwrap_or(false),
        entity_id: text("entity_id"),
        lease_duration: data.get("ttl").and_then(Value::as_i64).unwrap_or(0),
        renewable: data.get("renewable").and_then(Value::as_bool).unwrap_or(false),
        mfa_requirement: None,
    };
    Ok(Reply { request_id: reply.request_id, auth: Some(auth), ..Reply::default() })
}

fn ask(call: &mut Call<'_>) -> Result<String, Failure> {
    match call.ask_hidden("Token (will be hidden): ") {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => Err(Failure::remote(format!(
            "Error authenticating: An error occurred attempting to ask for a token. The raw error message is shown below, \
             but usually this is because you attempted to pipe a value into the command or you are executing outside of a \
             terminal (tty). If you want to pipe the value, pass \"-\" as the argument to read from stdin. The raw error \
             was: {error}"
        ))),
    }
}

/// Logs in with another method.
async fn with_method(call: &mut Call<'_>, name: &str) -> Result<Reply, Failure> {
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        let text = format!(
            "Unknown auth method: {name}. Use \"{} auth list\" to see the complete list of auth methods. Additionally, \
             some auth methods are only available via the HTTP API.",
            call.program
        );
        return Err(Failure::local(wrap(&text, WIDTH)));
    };
    let args = call.args.clone();
    let pairs = values::parse_texts(&args, call.io)
        .map_err(|reason| Failure::local(format!("Error parsing configuration: {reason}")))?;
    let mut body: Map<String, Value> =
        pairs.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    // The old spelling of -path.
    let mount = body.remove("mount").and_then(|mount| mount.as_str().map(str::to_owned));
    let mount = call.flags.text("path").map(str::to_owned).or(mount).unwrap_or_else(|| name.to_owned());
    let mut path = format!("auth/{}/login", sanitize(&mount));
    let authenticating = |reason: &str| Failure::remote(format!("Error authenticating: {reason}"));
    if let Some(key) = method.in_path {
        let value = body
            .remove(key)
            .and_then(|value| value.as_str().map(str::to_owned))
            .filter(|value| !value.is_empty());
        let value = value.or_else(|| (call.io.env)("LOGNAME").filter(|_| name == "ldap"));
        let value = value.ok_or_else(|| authenticating(&format!("'{key}' must be specified")))?;
        path = format!("{path}/{value}");
    }
    if let Some((key, prompt)) = method.hidden
        && !body.contains_key(key)
    {
        let environment = match name {
            "github" => call.io.variable("AUTH_GITHUB_TOKEN"),
            "ldap" => call.io.variable("LDAP_PASSWORD"),
            _ => None,
        };
        let value = match environment {
            Some(value) => value,
            None => call.ask_hidden(prompt).map_err(|error| authenticating(&error.to_string()))?.to_string(),
        };
        body.insert(key.to_owned(), Value::String(value));
    }
    let request = Request::write(&path).json(&body).because("Error authenticating")?.without_token();
    // A wrapped login is for the caller to open.
    let what = "Error authenticating";
    let reply = call.send(request).await.because(what)?.reply().await.because(what)?;
    second_factor::conclude(call, &path, reply.ok_or_else(|| authenticating("empty response"))?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_explain_themselves() {
        assert!(usage("userpass").unwrap().contains("username=<string>"));
        assert!(usage("token").unwrap().contains("login [TOKEN]"));
        assert!(usage("zork").is_none());
    }
}
