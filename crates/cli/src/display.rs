//! Requests that are shown rather than sent: as a curl command, or as the policy they need. Writing to a string cannot
//! fail, so that its results are dropped.

use std::fmt::Write;

use http::Method;
use strongroom_client::{Client, Error, Payload, Request};

/// The request as a curl command. The token is not in it: the command asks for it when it runs.
pub(crate) fn curl(client: &Client, request: &Request, program: &str) -> Result<String, Error> {
    let prepared = client.prepare(request)?;
    let tls = &client.config().tls;
    let mut command = "curl".to_owned();
    if tls.skip_verify {
        command.push_str(" --insecure");
    }
    if prepared.method != Method::GET {
        let _ = write!(command, " -X {}", prepared.method);
    }
    for (option, path) in [
        ("--cacert", &tls.ca_cert),
        ("--capath", &tls.ca_path),
        ("--cert", &tls.client_cert),
        ("--key", &tls.client_key),
    ] {
        if let Some(path) = path {
            let _ = write!(command, " {option} {}", quoted(&path.to_string_lossy()));
        }
    }
    if let Some(socket) = client.config().address.strip_prefix("unix://") {
        let _ = write!(command, " --unix-socket {}", quoted(socket));
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &prepared.headers {
        let name = title_case(name.as_str());
        let value = match name.as_str() {
            "X-Vault-Token" => format!("$({program} print token)"),
            // The server takes any body for JSON, and the command is easier to read without.
            "Content-Type" if value == "application/json" => continue,
            _ => escaped(&String::from_utf8_lossy(value.as_bytes())),
        };
        headers.push((name, value));
    }
    headers.sort();
    for (name, value) in headers {
        let _ = write!(command, " -H \"{name}: {value}\"");
    }
    match request.payload() {
        Payload::Empty => {}
        Payload::Bytes(bytes) => {
            let _ = write!(command, " -d {}", quoted(&String::from_utf8_lossy(bytes)));
        }
        Payload::Stream(_) => command.push_str(" --data-binary @-"),
    }
    let _ = write!(command, " \"{}\"", escaped(&prepared.url));
    Ok(command)
}

/// The policy that the request needs.
pub(crate) fn policy(request: &Request) -> String {
    let path = request.path().trim_matches('/');
    let mut capabilities = if request.is_listing() {
        vec!["list"]
    } else {
        match *request.method() {
            Method::GET | Method::HEAD => vec!["read"],
            Method::PUT | Method::POST => vec!["create", "update"],
            Method::PATCH => vec!["patch"],
            Method::DELETE => vec!["delete"],
            _ => vec![],
        }
    };
    if needs_sudo(path) {
        capabilities.push("sudo");
    }
    let capabilities: Vec<String> =
        capabilities.into_iter().map(|capability| format!("{capability:?}")).collect();
    format!("path {path:?} {{\n  capabilities = [{}]\n}}", capabilities.join(", "))
}

/// True if a path is root-protected, by the list in Vault's documentation of policies ("Root protected API
/// endpoints").
fn needs_sudo(path: &str) -> bool {
    const EXACT: [&str; 10] = [
        "auth/token/accessors",
        "auth/token/revoke-orphan",
        "pki/root",
        "pki/root/sign-self-issued",
        "sys/audit",
        "sys/config/cors",
        "sys/remount",
        "sys/rotate",
        "sys/seal",
        "sys/step-down",
    ];
    const BELOW: [&str; 10] = [
        "sys/audit/",
        "sys/auth/",
        "sys/config/auditing/request-headers",
        "sys/config/ui/headers",
        "sys/internal/inspect/router/",
        "sys/leases/lookup/",
        "sys/leases/revoke-force/",
        "sys/leases/revoke-prefix/",
        "sys/plugins/catalog/",
        "sys/raw",
    ];
    EXACT.contains(&path) || BELOW.iter().any(|prefix| path.starts_with(prefix))
}

/// In single quotes for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// For the inside of double quotes of a shell.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `x-vault-token` → `X-Vault-Token`, which is how documents write headers.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use strongroom_client::Config;
    use strongroom_stdx::Secret;

    use super::*;

    fn client() -> Client {
        let config = Config {
            address: "http://127.0.0.1:8200".to_owned(),
            token: Some(Secret::new("hunter2".to_owned())),
            namespace: Some("team".to_owned()),
            ..Config::default()
        };
        Client::new(config).unwrap()
    }

    #[test]
    fn a_write_as_curl() {
        let request = Request::write("cubbyhole/x").body(Payload::Bytes(r#"{"a":"it's"}"#.into()));
        let shown = curl(&client(), &request, "vault").unwrap();
        let wanted = "curl -X PUT -H \"X-Vault-Namespace: team/\" -H \"X-Vault-Request: true\" \
                      -H \"X-Vault-Token: $(vault print token)\" -d '{\"a\":\"it'\"'\"'s\"}' \
                      \"http://127.0.0.1:8200/v1/cubbyhole/x\"";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn nothing_in_it_is_run_by_the_shell() {
        let request = Request::read("a").query("q", "x").header("X-Evil", "`id` $(id) \"");
        let shown = curl(&client(), &request, "vault").unwrap();
        assert!(shown.contains("-H \"X-Evil: \\`id\\` \\$(id) \\\"\""), "{shown}");
        assert!(shown.starts_with("curl -H ") && !shown.contains("hunter2"));
    }

    #[test]
    fn policies() {
        assert_eq!(
            policy(&Request::read("secret/data/x")),
            "path \"secret/data/x\" {\n  capabilities = [\"read\"]\n}"
        );
        assert_eq!(
            policy(&Request::list("secret/metadata/")),
            "path \"secret/metadata\" {\n  capabilities = [\"list\"]\n}"
        );
        assert!(policy(&Request::write("a")).contains("[\"create\", \"update\"]"));
        assert!(policy(&Request::patch("a")).contains("[\"patch\"]"));
        assert!(policy(&Request::delete("sys/audit/file")).contains("[\"delete\", \"sudo\"]"));
        assert!(!policy(&Request::post("sys/mounts/kv")).contains("sudo"));
    }
}
