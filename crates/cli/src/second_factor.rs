//! The second factor of a login that waits, asked for at the terminal.
//!
//! As in Vault, that is done where there is one thing to ask: a single enforcement with a single method, and a person to ask.
//! Otherwise the requirement itself is the result, for the caller to answer at `sys/mfa/validate`.

use serde_json::{Value, json};
use strongroom_client::{Reply, Request};

use crate::call::Call;
use crate::failure::{Because, Failure};

/// The type of methods that no terminal can answer for.
const WEBAUTHN: &str = "webauthn";

/// The one method that is to be asked for.
struct Method {
    request: String,
    id: String,
    kind: String,
    uses_passcode: bool,
}

/// The method of a login that waits for a single one.
fn single(reply: &Reply) -> Option<Method> {
    let requirement = reply.auth.as_ref()?.mfa_requirement.as_ref()?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let constraints = requirement.get("mfa_constraints")?.as_object()?;
    let any = constraints.values().next().filter(|_| constraints.len() == 1)?.get("any")?.as_array()?;
    let [method] = any.as_slice() else { return None };
    Some(Method {
        request: text(requirement, "mfa_request_id")?,
        id: text(method, "id")?,
        kind: text(method, "type")?,
        uses_passcode: method.get("uses_passcode").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// The namespace in front of the path of a login, with a slash at its end: the login waits there.
fn place(path: &str) -> &str {
    let at = path.find("/auth/").map_or(0, |at| at.saturating_add(1));
    path.get(..at).unwrap_or_default()
}

/// Concludes a login to `path` where its answer waits for what a person at the terminal can give; other answers stay as they are.
pub(crate) async fn conclude(call: &mut Call<'_>, path: &str, reply: Reply) -> Result<Reply, Failure> {
    let may_ask = call.io.stdin_is_terminal && !call.flags.on("non-interactive");
    let Some(method) = single(&reply).filter(|_| may_ask) else { return Ok(reply) };
    if method.kind == WEBAUTHN {
        call.warn("This login needs a passkey, which answers in a browser only.")?;
        return Ok(reply);
    }
    call.warn("Initiating Interactive MFA Validation...")?;
    let failed = "Error validating MFA";
    let passcode = if method.uses_passcode {
        let prompt = format!("Enter the passphrase for methodID {:?} of type {:?}: ", method.id, method.kind);
        let asked = call.ask_hidden(&prompt);
        asked.map_err(|error| Failure::remote(format!("{failed}: {error}")))?.to_string()
    } else {
        call.warn(
            "Asking Vault to perform MFA validation with upstream service. You should receive a push notification in your \
             authenticator app shortly",
        )?;
        String::new()
    };
    let body = json!({"mfa_request_id": method.request, "mfa_payload": {method.id: [passcode]}});
    let request = Request::write(format!("{}sys/mfa/validate", place(path))).json(&body).because(failed)?;
    let answer = call.send(request.without_token()).await.because(failed)?.reply().await.because(failed)?;
    answer.ok_or_else(|| Failure::remote(format!("{failed}: empty response")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(constraints: &str) -> Reply {
        let text = format!(
            r#"{{"auth":{{"client_token":"","mfa_requirement":{{"mfa_request_id":"r","mfa_constraints":{constraints}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_single_method_is_asked_for() {
        let one = r#"{"any":[{"type":"totp","id":"m","uses_passcode":true}]}"#;
        let found = single(&reply(&format!(r#"{{"a":{one}}}"#))).unwrap();
        assert_eq!(
            (&*found.request, &*found.id, &*found.kind, found.uses_passcode),
            ("r", "m", "totp", true)
        );
        assert!(single(&reply(&format!(r#"{{"a":{one},"b":{one}}}"#))).is_none());
        let two = r#"{"any":[{"type":"totp","id":"m"},{"type":"totp","id":"n"}]}"#;
        assert!(single(&reply(&format!(r#"{{"a":{two}}}"#))).is_none());
        assert!(single(&reply("{}")).is_none() && single(&Reply::default()).is_none());
    }

    #[test]
    fn a_login_waits_in_its_namespace() {
        for (path, namespace) in [
            ("auth/userpass/login/bob", ""),
            ("team/auth/userpass/login/bob", "team/"),
            ("a/b/auth/x/login", "a/b/"),
        ] {
            assert_eq!(place(path), namespace, "{path}");
        }
    }
}
