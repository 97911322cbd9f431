//! The client against a scripted server: retries, redirects, headers, `404`s, TLS, Unix sockets and time limits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use strongroom_stdx::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use crate::{Client, Config, Error, Request, Retry, Tls};

type Script = Arc<Mutex<Vec<String>>>;

/// Answers each request with the next of `answers` (status line, headers and body), and keeps what it was asked.
struct Fake {
    address: String,
    asked: Script,
}

async fn fake(answers: &[&str]) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Script::default();
    let (seen, answers) = (Arc::clone(&asked), answers.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, &seen, &answer).await;
        }
    });
    Fake { address, asked }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Script, answer: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            seen.lock().unwrap().push(text);
            break;
        }
        if read == 0 {
            break;
        }
    }
    let (head, body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    let head = head.replace('\n', "\r\n");
    let reply =
        format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

fn config(address: &str) -> Config {
    let pause = Duration::from_millis(1);
    let retry = Retry { max: 2, wait_min: pause, wait_max: pause };
    Config {
        address: address.to_owned(),
        retry,
        token: Some(Secret::new("root".to_owned())),
        ..Config::default()
    }
}

fn client(fake: &Fake) -> Client {
    Client::new(config(&fake.address)).unwrap()
}

impl Fake {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn first_lines(&self) -> Vec<String> {
        self.asked().iter().map(|text| text.lines().next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn tries_again_where_documented() {
    let server = fake(&["503 x\n\n{}", "412 x\n\n{}", "200 OK\n\n{\"data\":{\"a\":1}}"]).await;
    let reply = client(&server).read("secret/a").await.unwrap().unwrap();
    assert_eq!(reply.field("a"), Some(&json!(1)));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn gives_up_after_the_last_retry() {
    let answer = "500 x\n\n{\"errors\":[\"internal error\"]}";
    let server = fake(&[answer; 4]).await;
    let error = client(&server).read("secret/a").await.unwrap_err();
    assert_eq!(server.asked().len(), 3);
    let wanted = format!(
        "Error making API request.\n\nURL: GET {}/v1/secret/a\nCode: 500. Errors:\n\n* internal error",
        server.address
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn does_not_repeat_what_will_not_change() {
    for status in [400, 403, 429, 501] {
        let server = fake(&[&format!("{status} x\n\n{{\"errors\":[]}}"), "200 OK\n\n{}"]).await;
        let error = client(&server).write("secret/a", json!({})).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(server.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_retried_write_carries_its_body_again() {
    let server = fake(&["502 x\n\n", "204 No Content"]).await;
    let reply = client(&server).write("secret/a", json!({"k": "v"})).await.unwrap();
    assert!(reply.is_none());
    for request in server.asked() {
        assert!(request.starts_with("PUT /v1/secret/a HTTP/1.1\r\n"));
        assert!(request.ends_with("\r\n\r\n{\"k\":\"v\"}"));
    }
}

#[tokio::test]
async fn not_found_is_an_answer_of_reads() {
    let server = fake(&[
        "404 x\n\n{\"errors\":[]}",
        "404 x\n\n{\"data\":{\"metadata\":{}}}",
        "404 x\n\n{\"warnings\":[\"w\"]}",
        "404 x\n\n{\"errors\":[\"no handler for route\"]}",
    ])
    .await;
    let client = client(&server);
    assert!(client.read("a").await.unwrap().is_none());
    assert!(client.read("a").await.unwrap().unwrap().data.is_some());
    assert_eq!(client.list("a").await.unwrap().unwrap().warnings(), ["w"]);
    assert_eq!(client.write("a", json!({})).await.unwrap_err().status(), Some(404));
    assert_eq!(server.first_lines()[2], "GET /v1/a?list=true HTTP/1.1");
}

#[tokio::test]
async fn follows_one_redirect() {
    let server = fake(&["307 x\nLocation: /v1/b", "200 OK\n\n{\"data\":{}}"]).await;
    assert!(client(&server).read("a").await.unwrap().is_some());
    assert_eq!(server.first_lines(), ["GET /v1/a HTTP/1.1", "GET /v1/b HTTP/1.1"]);
    let looping = fake(&["307 x\nLocation: /v1/a", "307 x\nLocation: /v1/a", "200 OK"]).await;
    client(&looping).send(Request::read("a")).await.unwrap();
    assert_eq!(looping.asked().len(), 2);
    let told_not_to = fake(&["307 x\nLocation: /v1/b", "200 OK"]).await;
    let client = Client::new(Config { disable_redirects: true, ..config(&told_not_to.address) }).unwrap();
    assert_eq!(client.send(Request::read("a")).await.unwrap().status(), 307);
}

#[tokio::test]
async fn a_standby_may_redirect_to_another_node() {
    let active = fake(&["200 OK\n\n{\"data\":{\"a\":1}}"]).await;
    let other = active.address.replace("127.0.0.1", "localhost");
    let standby = fake(&[&format!("307 x\nLocation: {other}/v1/a?b=c")]).await;
    let answer = client(&standby).send(Request::read("a").query("b", "c")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(active.asked().remove(0).to_lowercase().contains("\r\nx-vault-token: root\r\n"));
}

/// Anything but the redirect of a standby goes nowhere else, neither with the token nor without it.
#[tokio::test]
async fn a_token_does_not_follow_other_redirects_to_another_host() {
    for (status, path) in [(301, "/v1/a"), (302, "/v1/a"), (308, "/v1/a"), (307, "/v1/b"), (307, "/v1/a?x=y")]
    {
        let thief = fake(&["200 OK\n\n{}"]).await;
        let other = thief.address.replace("127.0.0.1", "localhost");
        let server = fake(&[&format!("{status} x\nLocation: {other}{path}")]).await;
        let error = client(&server).send(Request::read("a")).await.err().unwrap().to_string();
        assert_eq!(error, format!("redirect to another host refused: {other}{path}"), "{status}");
        assert!(thief.asked().is_empty());
    }
    // Another port of the same host is the same machine.
    let moved = fake(&["200 OK\n\n{}"]).await;
    let server = fake(&[&format!("301 x\nLocation: {}/v1/b", moved.address)]).await;
    assert_eq!(client(&server).send(Request::read("a")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn wrapping_data_has_a_lifetime_by_itself() {
    let server = fake(&["200 OK\n\n{}", "200 OK\n\n{}", "200 OK\n\n{}"]).await;
    let client = client(&server);
    client.write("/sys/wrapping/wrap", json!({"a": 1})).await.unwrap();
    client.write("sys/wrapping/unwrap", json!({})).await.unwrap();
    let own = Request::write("sys/wrapping/wrap").wrap(Duration::from_secs(7));
    client.send(own).await.unwrap();
    let ttls: Vec<_> = server.asked().iter().map(|text| ttl_of(text)).collect();
    assert_eq!(ttls, [Some("5m0s".to_owned()), None, Some("7s".to_owned())]);
}

fn ttl_of(request: &str) -> Option<String> {
    request.lines().find_map(|line| line.to_lowercase().strip_prefix("x-vault-wrap-ttl: ").map(str::to_owned))
}

#[tokio::test]
async fn says_that_a_server_does_not_speak_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _hello = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    let mut config = config(&address);
    config.retry.max = 0;
    let error = Client::new(config).unwrap().read("a").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("Get \"{address}/v1/a\": http: server gave HTTP response to HTTPS client")
    );
}

#[tokio::test]
async fn sends_what_it_is_configured_to() {
    let server = fake(&["200 OK\n\n{}"]).await;
    let config = Config {
        namespace: Some("/team/a".to_owned()),
        mfa: vec!["m:123".to_owned()],
        wrap_ttl: Some(Duration::from_hours(1)),
        policy_override: true,
        headers: vec![("X-Extra".to_owned(), "1".to_owned())],
        ..config(&server.address)
    };
    Client::new(config).unwrap().patch("a", json!({})).await.unwrap();
    let request = server.asked().remove(0).to_lowercase();
    for header in [
        "x-vault-request: true",
        "x-vault-token: root",
        "x-vault-namespace: team/a/",
        "x-vault-mfa: m:123",
        "x-vault-wrap-ttl: 1h0m0s",
        "x-vault-policy-override: true",
        "x-extra: 1",
        "content-type: application/merge-patch+json",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} in {request}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_a_header_is_refused() {
    let token = Some(Secret::new("a\nb".to_owned()));
    let client = Client::new(Config { token, ..Config::default() }).unwrap();
    let error = client.read("a").await.unwrap_err();
    assert!(error.to_string().contains("non-printable"), "{error}");
}

#[tokio::test]
async fn says_when_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error =
        Client::new(config(&format!("http://127.0.0.1:{port}"))).unwrap().read("a").await.unwrap_err();
    let wanted = format!(
        "Get \"http://127.0.0.1:{port}/v1/a\": dial tcp 127.0.0.1:{port}: connect: connection refused"
    );
    assert_eq!(error.to_string(), wanted);
}

#[tokio::test]
async fn stops_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let config = Config { timeout: Duration::from_millis(20), ..config(&address) };
    let error = Client::new(config).unwrap().read("a").await.unwrap_err();
    assert!(
        matches!(&error, Error::Transport { reason, .. } if reason == "context deadline exceeded"),
        "{error}"
    );
}

#[tokio::test]
async fn speaks_through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &Script::default(), "200 OK\n\n{\"data\":{\"via\":\"unix\"}}").await;
    });
    let client = Client::new(config(&format!("unix://{}", path.display()))).unwrap();
    assert_eq!(client.read("a").await.unwrap().unwrap().field("via"), Some(&json!("unix")));
}

#[tokio::test]
async fn tunnels_and_forwards_through_a_proxy() {
    let proxy = fake(&["200 OK\n\n{\"data\":{}}", "403 Forbidden"]).await;
    let through = |address: &str| {
        let mut config = config(address);
        config.proxy.all = Some(proxy.address.replace("http://", "http://user:pw@"));
        config.retry.max = 0;
        Client::new(config).unwrap()
    };
    assert!(through("http://vault.invalid:8200").read("a").await.unwrap().is_some());
    let error = through("https://vault.invalid:8200").read("a").await.unwrap_err();
    assert!(error.to_string().contains("proxyconnect: HTTP/1.1 403 Forbidden"), "{error}");
    assert_eq!(
        proxy.first_lines(),
        ["GET http://vault.invalid:8200/v1/a HTTP/1.1", "CONNECT vault.invalid:8200 HTTP/1.1"]
    );
    assert!(proxy.asked()[1].contains("\r\nProxy-Authorization: Basic dXNlcjpwdw==\r\n"));
}

#[tokio::test]
async fn verifies_the_server() {
    let made = rcgen::generate_simple_self_signed(vec!["vault.example".to_owned()]).unwrap();
    let key = rustls_key(&made.signing_key.serialize_der());
    let address = secured(made.cert.der().clone(), key).await;
    let with = |tls: Tls| {
        let retry = Retry { max: 0, ..Retry::default() };
        Client::new(Config { tls, retry, ..config(&address) }).unwrap()
    };
    let ca_bytes = Some(made.cert.pem().into_bytes());
    let named =
        Tls { ca_bytes: ca_bytes.clone(), server_name: Some("vault.example".to_owned()), ..Tls::default() };
    assert!(with(named).read("a").await.unwrap().is_some());
    let skipping = Tls { skip_verify: true, ..Tls::default() };
    assert!(with(skipping).read("a").await.unwrap().is_some());
    let wrong_name = Tls { ca_bytes, ..Tls::default() };
    assert!(with(wrong_name).read("a").await.unwrap_err().to_string().contains("tls: "));
    assert!(with(Tls::default()).read("a").await.unwrap_err().to_string().contains("tls: "));
}

/// A certificate of `openssl req -x509` is an authority by its constraints and shown by a server all the same.
#[tokio::test]
async fn believes_a_self_signed_certificate_that_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=vault"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(path("key.pem")).arg("-out").arg(path("cert.pem"));
    let Ok(made) = openssl.output() else {
        eprintln!("skipped: there is no openssl");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cert = strongroom_outbound::tls::pem::certificates_in_file(&path("cert.pem")).unwrap().remove(0);
    let key = strongroom_outbound::tls::pem::private_key_in_file(&path("key.pem")).unwrap();
    let address = secured(cert, key).await;
    let by_path = Tls { ca_path: Some(folder.path().join("trusted")), ..Tls::default() };
    std::fs::create_dir(path("trusted")).unwrap();
    std::fs::copy(path("cert.pem"), path("trusted/vault.crt")).unwrap();
    let by_bytes = Tls { ca_bytes: Some(std::fs::read(path("cert.pem")).unwrap()), ..Tls::default() };
    for tls in [Tls { ca_cert: Some(path("cert.pem")), ..Tls::default() }, by_path, by_bytes] {
        let client = Client::new(Config { tls, ..config(&address) }).unwrap();
        assert!(client.read("a").await.unwrap().is_some());
    }
    let retry = Retry { max: 0, ..Retry::default() };
    let error = Client::new(Config { retry, ..config(&address) }).unwrap().read("a").await.unwrap_err();
    assert!(error.to_string().contains("tls: invalid peer certificate"), "{error}");
}

/// The token of a client on the server's own machine is not for a proxy to see.
#[tokio::test]
async fn this_machine_is_reached_without_a_proxy() {
    let proxy = fake(&["200 OK\n\n{}"]).await;
    let server = fake(&["200 OK\n\n{\"data\":{}}"]).await;
    let mut config = config(&server.address);
    config.proxy.http = Some(proxy.address.clone());
    assert!(Client::new(config).unwrap().read("a").await.unwrap().is_some());
    assert_eq!((server.asked().len(), proxy.asked().len()), (1, 0));
}

/// A server that shows a certificate; answers its address.
async fn secured(
    cert: rustls_pki_types::CertificateDer<'static>,
    key: rustls_pki_types::PrivateKeyDer<'static>,
) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &Script::default(), "200 OK\n\n{\"data\":{}}").await;
            }
        }
    });
    address
}

fn rustls_key(der: &[u8]) -> rustls_pki_types::PrivateKeyDer<'static> {
    rustls_pki_types::PrivateKeyDer::try_from(der.to_vec()).unwrap()
}
