//! Whole calls against a scripted server: what is sent, what is printed, and with which exit code.

mod autopilot;
mod faults;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::testing::io;
use crate::{Commands, Io, Known, Outside, run};

struct Server;

impl Commands for Server {
    fn help(&self, _command: Outside) -> &'static str {
        "Usage: {p} server [options]\n"
    }

    fn flag_values(&self, _command: Outside, flag: &str) -> Vec<String> {
        if flag == "log-level" { vec!["info".to_owned(), "warn".to_owned()] } else { Vec::new() }
    }

    fn known(&self, what: Known) -> Vec<String> {
        let words: &[&str] = match what {
            Known::Flags(_) => &["-config", "-dev", "-dev-tls"],
            Known::SecretsEngines => &["kv", "transit"],
            Known::AuthMethods => &["approle", "userpass"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn run<'a>(
        &'a self,
        command: Outside,
        args: Vec<String>,
        io: &'a mut Io,
    ) -> Pin<Box<dyn Future<Output = i32> + Send + 'a>> {
        Box::pin(async move {
            writeln!(io.stdout, "{command:?} {args:?}").unwrap();
            7
        })
    }
}

/// The outcome of a call.
struct Done {
    code: i32,
    out: String,
    err: String,
    /// Each request: its first line, a newline, its body.
    asked: Vec<String>,
    /// For each request, the TTL that it asks for a wrapping token to have.
    wrap_ttls: Vec<Option<String>>,
}

/// A call in the making.
struct Case {
    answers: VecDeque<(u16, String)>,
    env: Vec<(String, String)>,
    stdin: String,
}

/// A call that a server answers with these statuses and bodies, one after the other.
fn answered(answers: &[(u16, &str)]) -> Case {
    let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    Case { answers, env: Vec::new(), stdin: String::new() }
}

impl Case {
    fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    async fn run(self, words: &[&str]) -> Done {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answers = self.answers;
        tokio::spawn(async move {
            for (status, body) in answers {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, status, &body, &seen).await;
            }
        });
        let mut env: Vec<(&str, &str)> = vec![("VAULT_ADDR", &address)];
        if !self.env.iter().any(|(name, _)| name == "HOME" || name == "VAULT_TOKEN") {
            env.push(("VAULT_TOKEN", "root"));
        }
        env.extend(self.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (mut io, out, err) = io(&self.stdin, &env);
        let argv = std::iter::once("vault").chain(words.iter().copied()).map(OsString::from).collect();
        let code = run(argv, &mut io, &Server).await;
        let (asked, wrap_ttls) = asked.lock().unwrap().iter().cloned().unzip();
        let plain = |text: String| text.replace(&address, "http://server");
        Done { code, out: plain(out.text()), err: plain(err.text()), asked, wrap_ttls }
    }
}

async fn answer(mut stream: TcpStream, status: u16, body: &str, seen: &Mutex<Vec<(String, Option<String>)>>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, sent)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            head.lines().find_map(|line| line.to_lowercase().strip_prefix(name).map(str::to_owned))
        };
        let length: usize = header("content-length: ").and_then(|length| length.parse().ok()).unwrap_or(0);
        let chunked = header("transfer-encoding: ").is_some_and(|coding| coding == "chunked");
        if if chunked { sent.ends_with("0\r\n\r\n") } else { sent.len() >= length } {
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").replace("/v1/", "");
            let asked = format!("{line}\n{sent}").trim_end().to_owned();
            seen.lock().unwrap().push((asked, header("x-vault-wrap-ttl: ")));
            break;
        }
    }
    let reply =
        format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

const V2: &str = r#"{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}"#;
const V1: &str = r#"{"data":{"path":"kv1/","type":"kv","options":{"version":"1"}}}"#;
const DENIED: &str = r#"{"errors":["permission denied"]}"#;

#[tokio::test]
async fn reads() {
    let body = r#"{"lease_duration":2764800,"data":{"a":"1","ttl":90},"warnings":["careful"]}"#;
    let done = answered(&[(200, body)]).run(&["read", "/cubbyhole/x/", "version=3"]).await;
    assert_eq!(done.code, 0);
    assert_eq!(
        done.out,
        "Key                 Value\n---                 -----\nrefresh_interval    768h\na                   1\nttl                 1m30s\n"
    );
    assert_eq!(done.err, "WARNING! The following warnings were returned from Vault:\n\n  * careful\n\n");
    assert_eq!(done.asked, ["GET cubbyhole/x?version=3"]);
    let done = answered(&[(200, body)]).run(&["read", "-field=a", "cubbyhole/x"]).await;
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "1", ""));
    let done = answered(&[(200, body)]).run(&["read", "-field=zz", "cubbyhole/x"]).await;
    assert_eq!((done.code, done.err.as_str()), (1, "Field \"zz\" not present in secret\n"));
    let done = answered(&[(200, body)]).run(&["read", "-format=raw", "cubbyhole/x"]).await;
    assert_eq!(done.out, format!("{body}\n"));
}

#[tokio::test]
async fn errors_of_the_server_are_told_as_vault_tells_them() {
    let done = answered(&[(403, DENIED)]).run(&["read", "cubbyhole/x"]).await;
    assert_eq!(done.code, 2);
    assert_eq!(
        done.err,
        "Error reading cubbyhole/x: Error making API request.\n\nURL: GET http://server/v1/cubbyhole/x\n\
         Code: 403. Errors:\n\n* permission denied\n"
    );
    let done = answered(&[(404, "{\"errors\":[]}")]).run(&["read", "cubbyhole/x"]).await;
    assert_eq!((done.code, done.err.as_str()), (2, "No value found at cubbyhole/x\n"));
    // People want answers: nothing is tried again unless asked for.
    let done = answered(&[(500, "{}"), (200, "{}")]).run(&["read", "cubbyhole/x"]).await;
    assert_eq!((done.code, done.asked.len()), (2, 1));
}

#[tokio::test]
async fn writes() {
    let done = answered(&[(204, "")]).stdin("secret").run(&["write", "a/b", "k=v", "p=-"]).await;
    assert_eq!((done.code, done.out.as_str()), (0, "Success! Data written to: a/b\n"));
    assert_eq!(done.asked, ["PUT a/b\n{\"k\":\"v\",\"p\":\"secret\"}"]);
    let done = answered(&[(204, "")]).run(&["write", "-format=json", "a/b", "k=v"]).await;
    assert_eq!((done.code, done.out.as_str()), (0, ""));
    let done = answered(&[]).run(&["write", "a/b"]).await;
    assert_eq!((done.code, done.err.as_str()), (1, "Must supply data or use -force\n"));
    let done = answered(&[(204, "")]).run(&["write", "-f", "a/b"]).await;
    assert_eq!(done.asked, ["PUT a/b\n{}"]);
    let done = answered(&[]).run(&["write", "a/b", "c"]).await;
    let wanted = "Failed to parse K=V data: invalid key/value pair \"c\": format must be key=value\n";
    assert_eq!((done.code, done.err.as_str()), (1, wanted));
}

#[tokio::test]
async fn lists() {
    let body = r#"{"data":{"keys":["a","b/"],"key_info":{"a":{"x":1}}}}"#;
    let done = answered(&[(200, body)]).run(&["list", "-limit=2", "secret/metadata/"]).await;
    assert_eq!((done.code, done.out.as_str()), (0, "Keys\n----\na\nb/\n"));
    assert_eq!(done.asked, ["GET secret/metadata?limit=2&list=true"]);
    let done = answered(&[(200, body)]).env("VAULT_FORMAT", "json").run(&["list", "x"]).await;
    assert_eq!(done.out, "[\n  \"a\",\n  \"b/\"\n]\n");
    let done = answered(&[(200, body)]).run(&["list", "-detailed", "x"]).await;
    assert_eq!(done.out, "Keys    x\n----    -\na       1\nb/      n/a\n");
    let done = answered(&[(404, "{}")]).run(&["list", "-format=json", "x"]).await;
    assert_eq!((done.code, done.out.as_str()), (2, "{}\n"));
    let done = answered(&[(404, "{}")]).run(&["list", "x"]).await;
    assert_eq!((done.code, done.err.as_str()), (2, "No value found at x\n"));
}

#[tokio::test]
async fn usage_mistakes_cost_no_request() {
    for (words, message) in [
        (&["read"][..], "Not enough arguments (expected 1, got 0)\n"),
        (&["read", "-zork", "x"], "flag provided but not defined: -zork\n"),
        (&["read", "-format=zork", "x"], "Invalid output format: zork\n"),
        (&["unwrap", "a", "b"], "Too many arguments (expected 0-1, got 2)\n"),
        (&["secrets", "move", "a"], "Not enough arguments (expected 2, got 1)\n"),
        (&["token", "revoke"], "Not enough arguments (expected 1 or -self, got 0)\n"),
        (&["lease", "revoke", "-force", "x"], "Specifying -force requires also specifying -prefix\n"),
    ] {
        let done = answered(&[]).run(words).await;
        assert_eq!((done.code, done.err.as_str()), (1, message), "{words:?}");
    }
    let done = answered(&[(204, "")]).run(&["write", "a", "k=v", "-force"]).await;
    assert!(
        done.err.starts_with("Command flags must be provided before positional arguments."),
        "{}",
        done.err
    );
}

#[tokio::test]
async fn helps() {
    let done = answered(&[]).run(&["kv", "get", "-h"]).await;
    assert_eq!(done.code, 0);
    assert!(done.out.starts_with("Usage: vault kv get [options] KEY\n"), "{}", done.out);
    let done = answered(&[]).run(&["kv"]).await;
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.contains("\nSubcommands:\n"));
    assert_eq!(answered(&[]).run(&["zork"]).await.code, 127);
    assert_eq!(answered(&[]).run(&[]).await.code, 127);
    assert_eq!(answered(&[]).run(&["help"]).await.code, 0);
}

#[tokio::test]
async fn the_version_is_the_second_word() {
    for words in [&["version"][..], &["-v"], &["--version"]] {
        let done = answered(&[]).run(words).await;
        assert_eq!((done.code, done.out.trim()), (0, crate::version_line("vault").as_str()));
    }
    assert!(crate::version_line("vault").starts_with("Vault v2.0.0+strongroom."));
    assert_eq!(
        crate::version_line("strongroom").split(' ').nth(1),
        Some(concat!("v", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(crate::program_name("/usr/local/bin/vault"), "vault");
    assert_eq!(crate::program_name("target/strongroom"), "strongroom");
}

#[tokio::test]
async fn some_commands_are_run_by_the_program_around() {
    let done = answered(&[]).run(&["server", "-dev", "-config", "x"]).await;
    assert_eq!((done.code, done.out.as_str()), (7, "Server [\"-dev\", \"-config\", \"x\"]\n"));
    let done = answered(&[]).run(&["server", "-dev", "-h"]).await;
    assert_eq!((done.code, done.out.as_str()), (0, "Usage: vault server [options]\n"));
    let done = answered(&[]).run(&["operator", "raft", "recover", "-yes"]).await;
    assert_eq!((done.code, done.out.as_str()), (7, "Recover [\"-yes\"]\n"));
}

#[tokio::test]
async fn the_status_is_the_exit_code() {
    let sealed =
        r#"{"type":"shamir","initialized":true,"sealed":true,"t":3,"n":5,"progress":1,"version":"2.0.0"}"#;
    let done = answered(&[(200, sealed)]).run(&["status"]).await;
    assert_eq!(done.code, 2);
    assert!(done.out.contains("Unseal Progress    1/3\n"), "{}", done.out);
    let unsealed = r#"{"type":"shamir","initialized":true,"sealed":false,"t":3,"n":5,"version":"2.0.0"}"#;
    let leader = r#"{"ha_enabled":true,"is_self":true,"leader_cluster_address":"https://a:8201","raft_applied_index":7}"#;
    let done = answered(&[(200, unsealed), (200, leader)]).run(&["status"]).await;
    assert_eq!(done.code, 0);
    assert!(done.out.contains("HA Mode               active\n"), "{}", done.out);
    let done = answered(&[(500, "{}")]).run(&["status"]).await;
    assert_eq!(done.code, 1);
    assert!(done.err.starts_with("Error checking seal status: "), "{}", done.err);
}

#[tokio::test]
async fn kv_finds_its_mount() {
    let secret = r#"{"data":{"data":{"a":"1"},"metadata":{"version":3,"deletion_time":""}}}"#;
    let done = answered(&[(200, V2), (200, secret)]).run(&["kv", "get", "-version=3", "secret/foo"]).await;
    assert_eq!(done.asked, ["GET sys/internal/ui/mounts/secret/foo", "GET secret/data/foo?version=3"]);
    let wanted = "== Secret Path ==\nsecret/data/foo\n\n====== Metadata ======\nKey              Value\n---              -----\n\
        deletion_time    n/a\nversion          3\n\n== Data ==\nKey    Value\n---    -----\na      1\n";
    assert_eq!(
        done.out.replace("= Secret Path =\n", "== Secret Path ==\n").replace("===", "=="),
        wanted.replace("===", "==")
    );
    let by_mount =
        answered(&[(200, V2), (200, secret)]).run(&["kv", "get", "-mount=secret", "-field=a", "foo"]).await;
    assert_eq!(by_mount.asked, ["GET sys/internal/ui/mounts/secret", "GET secret/data/foo"]);
    assert_eq!(by_mount.out, "1");
    let v1 = answered(&[(200, V1), (200, r#"{"data":{"a":"1"}}"#)]).run(&["kv", "get", "kv1/foo"]).await;
    assert_eq!(v1.asked[1], "GET kv1/foo");
    assert_eq!(v1.out, "== Data ==\nKey    Value\n---    -----\na      1\n");
    let missing = answered(&[(200, V2), (404, "{}")]).run(&["kv", "get", "secret/foo"]).await;
    assert_eq!((missing.code, missing.err.as_str()), (2, "No value found at secret/data/foo\n"));
    let denied = answered(&[(403, DENIED)]).run(&["kv", "get", "secret/foo"]).await;
    assert!(
        denied.err.starts_with("Error making API request.\n\nURL: GET http://server/v1/sys/internal"),
        "{}",
        denied.err
    );
}

#[tokio::test]
async fn kv_writes_versions() {
    let written = r#"{"data":{"version":4}}"#;
    let done =
        answered(&[(200, V2), (200, written)]).run(&["kv", "put", "-cas=3", "secret/foo", "a=1"]).await;
    assert_eq!(done.asked[1], "PUT secret/data/foo\n{\"data\":{\"a\":\"1\"},\"options\":{\"cas\":3}}");
    let done = answered(&[(200, V1), (204, "")]).run(&["kv", "put", "kv1/foo", "a=1"]).await;
    assert_eq!(done.asked[1], "PUT kv1/foo\n{\"a\":\"1\"}");
    assert_eq!(done.out, "Success! Data written to: kv1/foo\n");
    let done = answered(&[(200, V2), (204, "")]).run(&["kv", "destroy", "-versions=1,2", "secret/foo"]).await;
    assert_eq!(done.asked[1], "PUT secret/destroy/foo\n{\"versions\":[\"1\",\"2\"]}");
    let done = answered(&[(200, V2), (204, "")]).run(&["kv", "delete", "-versions=3", "secret/foo"]).await;
    assert_eq!(done.asked[1], "PUT secret/delete/foo\n{\"versions\":[\"3\"]}");
    let words =
        ["kv", "metadata", "patch", "-custom-metadata=a=b", "-remove-custom-metadata=c", "secret/foo"];
    let done = answered(&[(200, V2), (204, "")]).run(&words).await;
    assert_eq!(done.asked[1], "PATCH secret/metadata/foo\n{\"custom_metadata\":{\"a\":\"b\",\"c\":null}}");
}

#[tokio::test]
async fn a_patch_falls_back_on_reading_and_writing() {
    let found = r#"{"data":{"data":{"a":"1","b":"2"},"metadata":{"version":3}}}"#;
    let answers = [(200, V2), (403, DENIED), (200, found), (200, r#"{"data":{"version":4}}"#)];
    let done = answered(&answers).run(&["kv", "patch", "-remove-data=b", "secret/foo", "c=3"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.asked[1], "PATCH secret/data/foo\n{\"data\":{\"b\":null,\"c\":\"3\"},\"options\":{}}");
    assert_eq!(
        done.asked[3],
        "PUT secret/data/foo\n{\"data\":{\"a\":\"1\",\"c\":\"3\"},\"options\":{\"cas\":3}}"
    );
    let done = answered(&[(200, V2), (403, DENIED)])
        .run(&["kv", "patch", "-method=patch", "secret/foo", "c=3"])
        .await;
    assert_eq!((done.code, done.asked.len()), (2, 2));
}

#[tokio::test]
async fn a_login_keeps_its_token() {
    let home = tempfile::tempdir().unwrap();
    let login = r#"{"auth":{"client_token":"s.new","policies":["default"],"token_policies":["default"],"lease_duration":3600}}"#;
    let words = ["login", "-method=userpass", "username=bob", "password=pw"];
    let done = answered(&[(200, login)]).env("HOME", home.path().to_str().unwrap()).run(&words).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(done.asked, ["PUT auth/userpass/login/bob\n{\"password\":\"pw\"}"]);
    assert!(done.out.starts_with("Success! You are now authenticated."), "{}", done.out);
    assert!(done.out.contains("token                s.new\n"), "{}", done.out);
    assert_eq!(std::fs::read_to_string(home.path().join(".vault-token")).unwrap(), "s.new");
    let done = answered(&[]).env("HOME", home.path().to_str().unwrap()).run(&["print", "token"]).await;
    assert_eq!(done.out, "s.new\n");
    let words = ["login", "-token-only", "-method=userpass", "-path=up2", "username=eve", "password=pw"];
    let done = answered(&[(200, &login.replace("s.new", "s.other"))])
        .env("HOME", home.path().to_str().unwrap())
        .run(&words)
        .await;
    assert_eq!(
        (done.out.as_str(), done.asked[0].lines().next()),
        ("s.other", Some("PUT auth/up2/login/eve"))
    );
    assert_eq!(std::fs::read_to_string(home.path().join(".vault-token")).unwrap(), "s.new");
}

#[tokio::test]
async fn a_login_that_waits_is_shown_where_nobody_can_be_asked() {
    let home = tempfile::tempdir().unwrap();
    let waits = r#"{"auth":{"client_token":"","mfa_requirement":{"mfa_request_id":"d0","mfa_constraints":
        {"enf1":{"any":[{"type":"totp","id":"82","uses_passcode":true,"self_enrollment_enabled":true}]}}}}}"#;
    for words in [
        &["login", "-method=userpass", "username=bob", "password=pw"][..],
        &["write", "auth/userpass/login/bob", "password=pw"],
    ] {
        let done = answered(&[(200, waits)]).env("HOME", home.path().to_str().unwrap()).run(words).await;
        assert_eq!((done.code, done.asked.len()), (0, 1), "{}", done.err);
        assert!(done.err.contains("sending another request to"), "{}", done.err);
        assert!(
            done.out.contains("mfa_request_id                                      d0\n"),
            "{}",
            done.out
        );
        assert!(
            done.out.contains("mfa_constraint_enf1_totp_self_enrollment_enabled    true\n"),
            "{}",
            done.out
        );
    }
    assert!(!home.path().join(".vault-token").exists());
}

#[tokio::test]
async fn a_wrong_token_is_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let done =
        answered(&[(403, DENIED)]).env("HOME", home.path().to_str().unwrap()).run(&["login", "s.bad"]).await;
    assert_eq!(done.code, 2);
    assert!(done.err.starts_with("Error authenticating: error looking up token: "), "{}", done.err);
    assert!(!home.path().join(".vault-token").exists());
    let done = answered(&[]).run(&["login"]).await;
    assert_eq!(done.code, 2);
    assert!(done.err.starts_with("Token (will be hidden): \nError authenticating: "), "{}", done.err);
}

#[tokio::test]
async fn tokens() {
    let made = r#"{"auth":{"client_token":"t"}}"#;
    let words = ["token", "create", "-policy=a", "-ttl=1h", "-orphan", "-metadata=k=v", "-field=token"];
    let done = answered(&[(200, made)]).run(&words).await;
    assert_eq!(done.out, "t");
    let sent: serde_json::Value = serde_json::from_str(done.asked[0].split_once('\n').unwrap().1).unwrap();
    assert_eq!(sent["ttl"], "1h0m0s");
    assert_eq!(sent["policies"], serde_json::json!(["a"]));
    assert_eq!(sent["meta"], serde_json::json!({"k": "v"}));
    assert_eq!(sent["no_parent"], true);
    assert_eq!(sent["renewable"], true);
    let able = r#"{"data":{"capabilities":["update","read"],"a/b":["update","read"]}}"#;
    let done = answered(&[(200, able)]).run(&["token", "capabilities", "a/b"]).await;
    assert_eq!(
        (done.out.as_str(), done.asked[0].as_str()),
        ("read, update\n", "POST sys/capabilities-self\n{\"path\":\"a/b\"}")
    );
    let done = answered(&[(204, "")]).run(&["token", "revoke", "-mode=path", "auth/up"]).await;
    assert_eq!(done.asked, ["PUT sys/leases/revoke-prefix/auth/up"]);
}

#[tokio::test]
async fn requests_can_be_shown_instead() {
    let done = answered(&[]).run(&["write", "-output-curl-string", "a", "k=v"]).await;
    let wanted = "curl -X PUT -H \"X-Vault-Request: true\" -H \"X-Vault-Token: $(vault print token)\" -d '{\"k\":\"v\"}' \
                  \"http://server/v1/a\"\n";
    assert_eq!((done.code, done.out.as_str()), (0, wanted));
    let done = answered(&[(200, V2)]).run(&["kv", "put", "-output-policy", "secret/foo", "a=1"]).await;
    assert_eq!(done.out, "path \"secret/data/foo\" {\n  capabilities = [\"create\", \"update\"]\n}\n");
    assert_eq!(done.asked.len(), 1);
}

#[tokio::test]
async fn headers_of_vault_cannot_be_forged() {
    let done = answered(&[]).run(&["read", "-header=X-Vault-Token=x", "a"]).await;
    assert_eq!(done.code, 2);
    assert!(done.err.contains("Header starting by 'X-Vault-' are for internal usage only"), "{}", done.err);
}

#[tokio::test]
async fn mounts_are_enabled_tuned_and_moved() {
    let done = answered(&[(204, "")])
        .run(&["secrets", "enable", "-path=kv1", "-version=1", "-max-lease-ttl=1h", "kv"])
        .await;
    assert_eq!(done.out, "Success! Enabled the kv secrets engine at: kv1/\n");
    let (line, body) = done.asked[0].split_once('\n').unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(line, "POST sys/mounts/kv1");
    assert_eq!(body["options"]["version"], "1");
    assert_eq!(body["config"], serde_json::json!({"max_lease_ttl": "1h0m0s"}));
    let done = answered(&[(204, "")]).run(&["auth", "tune", "-default-lease-ttl=72h", "github/"]).await;
    assert_eq!(done.asked, ["POST sys/mounts/auth/github/tune\n{\"default_lease_ttl\":\"72h0m0s\"}"]);
    let started = r#"{"data":{"migration_id":"abc"}}"#;
    let ended = r#"{"data":{"migration_info":{"status":"success"}}}"#;
    let done = answered(&[(200, started), (200, ended)]).run(&["secrets", "move", "a", "b/"]).await;
    assert_eq!(
        done.asked,
        ["POST sys/remount\n{\"from\":\"a/\",\"to\":\"b/\"}", "GET sys/remount/status/abc"]
    );
    assert!(
        done.out.ends_with("Success! Finished moving secrets engine a/ to b/, with migration ID abc\n"),
        "{}",
        done.out
    );
}

#[tokio::test]
async fn initialization_shows_keys_and_token() {
    let seal = r#"{"type":"shamir","recovery_seal":false}"#;
    let keys = r#"{"keys":["00"],"keys_base64":["AA=="],"root_token":"s.root"}"#;
    let done = answered(&[(200, seal), (200, keys)]).run(&["operator", "init", "-n=1", "-t=1"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.starts_with(
        "Unseal Key 1: AA==\n\nInitial Root Token: s.root\n\nVault initialized with 1 key shares"
    ));
    let sent: serde_json::Value = serde_json::from_str(done.asked[1].split_once('\n').unwrap().1).unwrap();
    assert_eq!((&sent["secret_shares"], &sent["recovery_shares"]), (&1.into(), &0.into()));
    let done = answered(&[(200, seal), (200, keys)]).run(&["operator", "init", "-format=json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&shown["unseal_keys_b64"][0], &shown["root_token"], &shown["unseal_shares"]),
        (&"AA==".into(), &"s.root".into(), &5.into())
    );
    let done = answered(&[(200, r#"{"initialized":false}"#)]).run(&["operator", "init", "-status"]).await;
    assert_eq!((done.code, done.out.as_str()), (2, "Vault is not initialized\n"));
}

#[tokio::test]
async fn unsealing_needs_a_key_or_a_person() {
    let sealed =
        r#"{"type":"shamir","initialized":true,"sealed":true,"t":2,"n":3,"progress":1,"version":"2.0.0"}"#;
    let done = answered(&[(200, sealed)]).run(&["operator", "unseal", "abc"]).await;
    assert_eq!(done.asked, ["PUT sys/unseal\n{\"key\":\"abc\",\"migrate\":false,\"reset\":false}"]);
    assert!(done.code == 0 && done.out.contains("Unseal Progress    1/2\n"), "{}", done.out);
    let done = answered(&[]).run(&["operator", "unseal"]).await;
    assert_eq!(done.code, 1);
    assert!(
        done.err.starts_with("Unseal Key (will be hidden): \nAn error occurred attempting to ask"),
        "{}",
        done.err
    );
}

#[tokio::test]
async fn policies() {
    let done = answered(&[(204, "")]).stdin("path \"a\" {}").run(&["policy", "write", "P", "-"]).await;
    assert_eq!(done.asked, ["PUT sys/policies/acl/p\n{\"policy\":\"path \\\"a\\\" {}\"}"]);
    assert_eq!(done.out, "Success! Uploaded policy: p\n");
    assert_eq!(done.err, "Policy name was converted from \"P\" to \"p\"\n");
    let done = answered(&[(404, "{}")]).run(&["policy", "read", "nope"]).await;
    assert_eq!((done.code, done.err.as_str()), (2, "No policy named: nope\n"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.hcl");
    std::fs::write(&file, "path \"a/*\" {capabilities=[\"read\"]}\n").unwrap();
    let done = answered(&[]).run(&["policy", "fmt", file.to_str().unwrap()]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "path \"a/*\" {\n  capabilities = [\"read\"]\n}\n");
}

#[tokio::test]
async fn snapshots_travel_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("s.snap");
    let content = "x".repeat(200_000);
    let done = answered(&[(200, &content)])
        .run(&["operator", "raft", "snapshot", "save", file.to_str().unwrap()])
        .await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let done = answered(&[(204, "")])
        .run(&["operator", "raft", "snapshot", "restore", file.to_str().unwrap()])
        .await;
    assert_eq!(done.code, 0, "{}", done.err);
    let sent = done.asked[0].strip_prefix("POST sys/storage/raft/snapshot\n").unwrap();
    assert_eq!(sent.len(), content.len());
    let refused = answered(&[(403, DENIED)])
        .run(&["operator", "raft", "snapshot", "save", file.to_str().unwrap()])
        .await;
    assert_eq!(refused.code, 2);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
}

#[tokio::test]
async fn completion_is_asked_of_the_program() {
    let done = answered(&[]).env("COMP_LINE", "vault sec").run(&[]).await;
    assert_eq!((done.code, done.out.as_str()), (0, "secrets\n"));
    let done = answered(&[]).run(&["completion", "bash"]).await;
    assert_eq!(done.out, "complete -C vault vault\n");
}
