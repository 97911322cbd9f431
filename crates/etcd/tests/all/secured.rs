//! Etcd with TLS and with users.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use strongroom_etcd::{Etcd, Login, Options, Tls};
use strongroom_leased_db::{ApplyError, Database};

use crate::batch;
use crate::server::{Server, until};

/// An authority, and what it has issued, as files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str| self.folder.path().join(format!("{name}{end}"));
        std::fs::write(file(".pem"), certificate.pem()).unwrap();
        std::fs::write(file(".key"), key.serialize_pem()).unwrap();
        (file(".pem"), file(".key"))
    }
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_on_both_sides() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (cert, key) = ours.issue("server", "127.0.0.1");
    let arguments = [
        "--client-cert-auth".to_owned(),
        "--trusted-ca-file".to_owned(),
        shown(&ours.ca()),
        "--cert-file".to_owned(),
        shown(&cert),
        "--key-file".to_owned(),
        shown(&key),
    ];
    let server = Server::start_with("https", &arguments);
    let (cert, key) = ours.issue("client", "client.example");
    let with = |ca: &Authority, client: Option<(PathBuf, PathBuf)>| {
        let (cert_file, key_file) = client.unzip();
        Options {
            tls: Tls { ca_file: Some(ca.ca()), cert_file, key_file },
            request_timeout: std::time::Duration::from_secs(20),
            ..server.options("tls")
        }
    };
    let etcd = Etcd::open(with(&ours, Some((cert.clone(), key.clone())))).await.unwrap();
    etcd.apply(&batch(0, 0, &[("a", "1")])).await.unwrap();
    assert_eq!(etcd.snapshot().await.unwrap().get(b"a").await.unwrap().unwrap().value, "1");

    let refused = async |options| Etcd::open(options).await.err().unwrap().to_string();
    let wrong_ca = refused(with(&theirs, Some((cert, key)))).await;
    assert!(wrong_ca.contains("UnknownIssuer") || wrong_ca.contains("certificate"), "{wrong_ca}");
    let anonymous = refused(with(&ours, None)).await;
    assert!(anonymous.contains("etcd"), "{anonymous}");
    let foreign = refused(with(&ours, Some(theirs.issue("foreign", "x")))).await;
    assert!(foreign.contains("etcd"), "{foreign}");
    let missing = refused(with(&ours, Some(("/nonexistent.pem".into(), "/nonexistent.key".into())))).await;
    assert!(missing.contains("/nonexistent"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("server", "etcd.example");
    let arguments = ["--cert-file".to_owned(), shown(&cert), "--key-file".to_owned(), shown(&key)];
    let server = Server::start_with("https", &arguments);
    let tls = Tls { ca_file: Some(authority.ca()), ..Tls::default() };
    let error = Etcd::open(Options { tls, ..server.options("tls") }).await.err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
}

const PASSWORD: &str = "a-password-that-must-not-show";

/// Asks etcd over its gateway.
fn ask(server: &Server, path: &str, token: Option<&str>, body: &serde_json::Value) -> serde_json::Value {
    let mut command = Command::new("curl");
    command.args(["-sS", &format!("{}{path}", server.url()), "-d", &body.to_string()]);
    if let Some(token) = token {
        command.args(["-H", &format!("Authorization: {token}")]);
    }
    let output = command.stdin(Stdio::null()).output().expect("curl");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A user that may read and write below `/vault/`, and the server asking everybody who they are. Answers root's token.
fn with_users(server: &Server) -> String {
    use serde_json::json;
    let prefix = json!({"permType": "READWRITE", "key": base64("/vault/"), "range_end": base64("/vault0")});
    for (path, body) in [
        ("/v3/auth/user/add", json!({"name": "root", "password": "root's"})),
        ("/v3/auth/role/add", json!({"name": "root"})),
        ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
        ("/v3/auth/user/add", json!({"name": "strongroom", "password": PASSWORD})),
        ("/v3/auth/role/add", json!({"name": "vault"})),
        ("/v3/auth/role/grant", json!({"name": "vault", "perm": prefix})),
        ("/v3/auth/user/grant", json!({"user": "strongroom", "role": "vault"})),
        ("/v3/auth/enable", json!({})),
    ] {
        let answer = ask(server, path, None, &body);
        assert!(answer.get("error").is_none(), "{path}: {answer}");
    }
    let root = ask(server, "/v3/auth/authenticate", None, &json!({"name": "root", "password": "root's"}));
    root["token"].as_str().unwrap().to_owned()
}

fn as_user(server: &Server, password: &str) -> Options {
    let login = Login { username: "strongroom".to_owned(), password: password.to_owned().into() };
    Options { login: Some(login), ..server.options("vault") }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_user_that_may_use_one_path() {
    let server = Server::start();
    let root = with_users(&server);
    let etcd = Etcd::open(as_user(&server, PASSWORD)).await.unwrap();
    let fence = crate::granted(&etcd, &crate::node(1), 300, false).await;
    etcd.apply(&batch(fence, 0, &[("a", "1")])).await.unwrap();
    assert!(etcd.renew(fence, std::time::Duration::from_secs(300)).await.unwrap());

    let refused = async |options| Etcd::open(options).await.err().unwrap().to_string();
    let elsewhere = refused(Options { path: "elsewhere".to_owned(), ..as_user(&server, PASSWORD) }).await;
    assert!(elsewhere.contains("permission denied"), "{elsewhere}");
    let nobody = refused(server.options("vault")).await;
    assert!(nobody.contains("user name is empty"), "{nobody}");
    let wrong = refused(as_user(&server, "a-wrong-one-that-must-not-show")).await;
    assert!(wrong.contains("authentication failed"), "{wrong}");
    assert!(!wrong.contains("must-not-show"), "{wrong}");

    // A restart forgets etcd's tokens; a change of users makes older ones invalid.
    server.start_again();
    etcd.apply(&batch(fence, 1, &[("a", "2")])).await.unwrap();
    let added = serde_json::json!({"name": "another", "password": "x"});
    let token = ask(
        &server,
        "/v3/auth/authenticate",
        None,
        &serde_json::json!({"name": "root", "password": "root's"}),
    );
    assert_ne!(token["token"].as_str(), Some(root.as_str()));
    let answer = ask(&server, "/v3/auth/user/add", token["token"].as_str(), &added);
    assert!(answer.get("error").is_none(), "{answer}");
    etcd.apply(&batch(fence, 2, &[("a", "3")])).await.unwrap();

    // A password that is not right any more is told once the token is, without being shown.
    let changed = serde_json::json!({"name": "strongroom", "password": "another"});
    ask(&server, "/v3/auth/user/changepw", token["token"].as_str(), &changed);
    let error = match etcd.apply(&batch(fence, 3, &[("a", "4")])).await {
        Err(ApplyError::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.contains("authentication failed") && !error.contains(PASSWORD), "{error}");
    assert_eq!(format!("{:?}", as_user(&server, PASSWORD).login).matches(PASSWORD).count(), 0);
}

/// A user and a password do no harm where etcd asks for none, and serve as soon as it does.
#[tokio::test(flavor = "multi_thread")]
async fn users_may_come_later() {
    let server = Server::start();
    let etcd = Etcd::open(as_user(&server, PASSWORD)).await.unwrap();
    etcd.apply(&batch(0, 0, &[("a", "1")])).await.unwrap();
    with_users(&server);
    until("it logs in", async || {
        let from = etcd.head().await.unwrap().index;
        etcd.apply(&batch(0, from, &[("a", "2")])).await.is_ok()
    })
    .await;
}
