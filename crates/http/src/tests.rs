//! The edge over a whole core with an engine that uses all of it, spoken to over a connection.

mod speaking;

use std::sync::Arc;

use serde_json::json;
use strongroom_engine_api::{
    Binary, CertificateChain, Data, Engine, EngineError, Input, Named, Peer, RawError, RawTail, Redactions,
    Reply, Upgrade, UpgradeOffer, Upload,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::EdgeSettings;
use speaking::{Server, Told};

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Parts {
    serial: String,
    format: Option<String>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Asked {
    operation: Option<String>,
}

/// An engine with what PKI, ACME, OCSP, SCEP and the events need of the edge.
fn engine() -> Engine {
    const OWNED: &[&str] =
        &["Replay-Nonce", "Location", "Link", "Retry-After", "Content-Length", "Connection"];
    Engine::new("edges", "Uses all of the edge.")
        .route("binary", |r| r.open().update("Take bytes.", binary))
        .route("stream", |r| r.open().update("Take a stream.", stream))
        .route("acme/{step}", |r| {
            r.owns(OWNED).open().read("Owned headers.", acme).update("A raw error.", problem)
        })
        .route("tuned", |r| r.open().read("Headers that are not owned.", acme))
        .route("cert/{serial:hex}[/raw[/{format}]]", |r| r.open().read("A certificate.", certificate))
        .route("ocsp/{request:raw}", |r| r.read("An OCSP response.", ocsp))
        .route("peer", |r| r.open().read("Who asks.", peer))
        .route("echo", |r| r.open().read("Echo.", echo))
}

async fn binary(
    Binary { content_type, bytes }: Binary<1000>,
    Input(asked): Input<Asked>,
) -> Result<Reply, EngineError> {
    let answer =
        [format!("{content_type}|{}|", asked.operation.unwrap_or_default()).as_bytes(), &bytes].concat();
    Ok(Reply::raw(200, format!("application/x-{}", bytes.len()), answer))
}

async fn stream(upload: Upload) -> Result<Reply, EngineError> {
    Ok(Reply::stream("application/octet-stream", upload.take().expect("taken once")))
}

async fn acme() -> Result<Reply, EngineError> {
    let reply = Reply::data(&json!({ "a": 1 }))?.header("Replay-Nonce", "n").header("Location", "/l");
    let reply = reply.header("Link", "<a>;rel=index").header("Link", "<b>;rel=up").header("X-Other", "no");
    Ok(reply.header("Content-Length", "1").header("Connection", "close"))
}

async fn problem() -> Result<(), RawError> {
    Err(RawError {
        status: 429,
        content_type: "application/problem+json".into(),
        body: r#"{"type":"urn:ietf:params:acme:error:rateLimited"}"#.into(),
        headers: vec![("Retry-After".to_owned(), "7".to_owned()), ("X-Other".to_owned(), "no".to_owned())],
        reason: "rate limited".to_owned(),
    })
}

async fn certificate(Named(parts): Named<Parts>) -> Result<Data<Parts>, EngineError> {
    Ok(Data(parts))
}

async fn ocsp(tail: RawTail) -> Result<Reply, EngineError> {
    Ok(Reply::raw(200, "text/plain", format!("{} {}", tail.path, tail.query.as_deref().unwrap_or("-"))))
}

async fn peer(peer: Peer, redactions: Redactions) -> Result<Reply, EngineError> {
    let certificates: Vec<_> =
        peer.certificates.iter().map(|one| String::from_utf8_lossy(one).into_owned()).collect();
    let address = peer.address.map(|address| address.to_string());
    Reply::data(&json!({ "address": address, "certificates": certificates, "version": redactions.version }))
}

async fn echo(offer: Arc<UpgradeOffer>) -> Result<Upgrade, EngineError> {
    let key = offer.headers.get("sec-websocket-key").cloned().unwrap_or_default();
    let headers = vec![("Sec-WebSocket-Accept".to_owned(), key)];
    Ok(Upgrade::new(offer.protocol.clone(), headers, |mut connection| async move {
        let mut bytes = [0; 4];
        while connection.read_exact(&mut bytes).await.is_ok() {
            bytes.reverse();
            if connection.write_all(&bytes).await.is_err() || connection.flush().await.is_err() {
                return;
            }
        }
    }))
}

async fn server() -> Server {
    Server::with(engine(), EdgeSettings::default()).await
}

#[tokio::test]
async fn a_route_reads_its_body_as_it_declares() {
    let server = server().await;
    let body = [0xffu8, 0, b'{'];
    let told = server
        .post("/v1/edges/binary?operation=PKI", &["Content-Type: application/ocsp-request"], &body)
        .await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("application/x-3")));
    assert_eq!(told.body, [&b"application/ocsp-request|PKI|"[..], &body].concat());
    let told = server.post("/v1/edges/binary", &[], &[b'x'; 1001]).await;
    assert_eq!((told.status, told.errors()), (413, "request body too large".to_owned()));
    let told = server.post("/v1/edges/binary", &[], &[b'x'; 1000]).await;
    assert_eq!(told.status, 200);
    let told = server.post("/v1/edges/stream", &[], &body).await;
    assert_eq!((told.status, &*told.body), (200, &body[..]));
    assert_eq!(server.post("/v1/edges/acme/x", &[], &body).await.status, 400, "JSON elsewhere");
}

#[tokio::test]
async fn a_sealed_server_says_so_whatever_the_body_is() {
    let server = server().await;
    server.core.services.seal_state.seal().await;
    let told = server.post("/v1/edges/binary", &[], &[0xff]).await;
    assert_eq!((told.status, told.errors()), (503, "Vault is sealed".to_owned()));
}

#[tokio::test]
async fn owned_headers_pass_and_others_do_not() {
    let server = server().await;
    let told = server.get("/v1/edges/acme/nonce", &[]).await;
    assert_eq!(
        (told.status, told.header("replay-nonce"), told.header("location")),
        (200, Some("n"), Some("/l"))
    );
    assert_eq!(told.all("link"), ["<a>;rel=index", "<b>;rel=up"]);
    assert_eq!((told.header("x-other"), told.header("connection")), (None, None));
    assert_eq!(told.header("content-length"), Some(&*told.body.len().to_string()), "the server's own");
    let told = server.get("/v1/edges/tuned", &[]).await;
    assert_eq!((told.status, told.header("replay-nonce"), told.header("link")), (200, None, None));
}

#[tokio::test]
async fn an_error_may_have_a_body_of_its_own() {
    let server = server().await;
    let told = server.post("/v1/edges/acme/order", &[], b"{}").await;
    assert_eq!((told.status, told.header("content-type")), (429, Some("application/problem+json")));
    assert_eq!((told.header("retry-after"), told.header("x-other")), (Some("7"), None));
    assert!(told.text().contains("rateLimited"), "{}", told.text());
}

#[tokio::test]
async fn parts_of_a_path_are_drawn_by_name() {
    let server = server().await;
    for (path, format) in [("", None), ("/raw", None), ("/raw/pem", Some("pem"))] {
        let told = server.get(&format!("/v1/edges/cert/3a:4b{path}"), &[]).await;
        assert_eq!(told.data(), json!({ "serial": "3a:4b", "format": format }), "{path}");
    }
    let root = format!("X-Vault-Token: {}", server.root);
    assert_eq!(server.get("/v1/edges/cert/xyz", &[&root]).await.status, 404);
    assert_eq!(server.get("/v1/edges/cert/3a/other", &[&root]).await.status, 404);
}

#[tokio::test]
async fn a_raw_tail_is_read_as_sent_and_policies_see_what_is_before_it() {
    let server = server().await;
    let root = server.root.clone();
    let told = server.get("/v1/edges/ocsp/MEM//a%2Fb+c%3D?x=%2F", &[&format!("X-Vault-Token: {root}")]).await;
    assert_eq!((told.status, told.text().as_str()), (200, "MEM//a%2Fb+c%3D x=%2F"));
    let allowed = server.token("path \"edges/ocsp/\" { capabilities = [\"read\"] }").await;
    let told = server.get("/v1/edges/ocsp/MEM//a%2Fb", &[&format!("X-Vault-Token: {allowed}")]).await;
    assert_eq!(told.text(), "MEM//a%2Fb -");
    let denied = server
        .token("path \"edges/*\" { capabilities = [\"read\"] } path \"edges/ocsp/*\" { capabilities = [\"deny\"] }")
        .await;
    for tail in ["MEM", "%4DEM", "/MEM", "a/../b"] {
        let told =
            server.get(&format!("/v1/edges/ocsp/{tail}"), &[&format!("X-Vault-Token: {denied}")]).await;
        assert!(matches!(told.status, 400 | 403), "{tail}: {}", told.status);
    }
}

#[tokio::test]
async fn headers_that_decide_are_read_or_refused() {
    let server = server().await;
    for (name, value) in [
        ("X-Vault-Namespace", "t\u{e4}"),
        ("X-Vault-Wrap-TTL", "6\u{b2}"),
        ("X-Vault-Token", "hvs.\u{e9}"),
        ("Authorization", "Bearer \u{e9}"),
        ("X-Vault-Policy-Override", "tru\u{e9}"),
        ("X-Forwarded-For", "1.2.3.4, \u{e9}"),
        ("Content-Type", "application/\u{e9}"),
    ] {
        let told = server.get("/v1/edges/peer", &[&format!("{name}: {value}")]).await;
        assert!(
            told.status == 400 && told.errors().contains(name),
            "{name}: {} {}",
            told.status,
            told.errors()
        );
    }
    for name in ["X-Vault-Namespace", "X-Vault-Wrap-TTL", "X-Vault-Token", "X-Vault-Policy-Override"] {
        let field = format!("{name}: 60");
        let told = server.get("/v1/edges/peer", &[&field, &field]).await;
        assert!(
            told.status == 400 && told.errors().contains(name),
            "{name}: {} {}",
            told.status,
            told.errors()
        );
    }
}

#[tokio::test]
async fn a_client_comes_with_its_address_and_certificates() {
    let chain: CertificateChain =
        [b"one", b"two"].map(|der| bytes::Bytes::from_static(der)).into_iter().collect();
    let mapped: std::net::SocketAddr = "[::ffff:10.0.0.7]:9".parse().unwrap();
    let server = server().await.of(Peer::at(mapped).with(chain));
    let told = server.get("/v1/edges/peer", &[]).await;
    let expected = json!({ "address": "10.0.0.7:9", "certificates": ["one", "two"], "version": false });
    assert_eq!(told.data(), expected);
}

#[tokio::test]
async fn a_listener_keeps_its_clients_within_its_rules() {
    let settings = EdgeSettings {
        chroot_namespace: "admin".to_owned(),
        max_token_size: 10,
        redactions: Redactions { version: true, ..Redactions::default() },
        ..EdgeSettings::default()
    };
    let server = Server::with(engine(), settings.clone()).await;
    for namespace in ["", "root", "/", "..", "../..", "admin", "/root/"] {
        let told = server.get("/v1/edges/peer", &[&format!("X-Vault-Namespace: {namespace}")]).await;
        // There is no such namespace, which is not told to those without a token; the root's endpoint is open.
        assert!(told.status == 403 && told.errors().contains("permission denied"), "{}", told.text());
    }
    let server = Server::with(engine(), EdgeSettings { chroot_namespace: String::new(), ..settings }).await;
    assert_eq!(server.get("/v1/edges/peer", &[]).await.data()["version"], true);
    let told = server.get("/v1/edges/peer", &["X-Vault-Token: 12345678901"]).await;
    assert!(told.status == 400 && told.errors().contains("authentication token"), "{}", told.text());
}

#[tokio::test]
async fn a_connection_is_handed_over() {
    let server = server().await;
    let mut wire = server.connect();
    let offer = "GET /v1/edges/echo HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Key: k3y\r\n\r\n";
    wire.write_all(offer.as_bytes()).await.unwrap();
    let told = Told::read_head(&mut wire).await;
    assert_eq!(
        (told.status, told.header("upgrade"), told.header("sec-websocket-accept")),
        (101, Some("websocket"), Some("k3y"))
    );
    for text in [b"1234", b"abcd"] {
        wire.write_all(text).await.unwrap();
        let mut answered = [0; 4];
        wire.read_exact(&mut answered).await.unwrap();
        answered.reverse();
        assert_eq!(&answered, text);
    }
    // The listener's end is that of what it has handed over.
    server.drain();
    assert_eq!(wire.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_that_is_not_offered_is_not_handed_over() {
    let server = server().await;
    for fields in [&[][..], &["Upgrade: websocket"], &["Connection: Upgrade"]] {
        assert_eq!(server.get("/v1/edges/echo", fields).await.status, 426);
    }
    // Whoever offers it where nobody takes it is answered as ever.
    let told = server.get("/v1/edges/peer", &["Connection: Upgrade", "Upgrade: h2c"]).await;
    assert_eq!(told.status, 200);
}

#[tokio::test]
async fn a_person_is_shown_a_page() {
    let server = server().await;
    let told = server.get("/", &["Accept: text/html"]).await;
    assert!(told.status == 200 && told.text().contains("VAULT_ADDR"), "{}", told.text());
    let told = server.get("/", &["Accept: */*"]).await;
    assert_eq!((told.status, told.text().trim()), (404, "{\"errors\":[]}"));
    for path in ["/metrics", "/.well-known/est/cacerts", "/ui", "/favicon.ico"] {
        assert_eq!(server.get(path, &[]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_path_in_another_form_is_redirected_to_its_one_form() {
    let server = server().await;
    for (sent, location) in [
        ("/v1//edges/peer", "/v1/edges/peer"),
        ("/v1/edges//peer?a=b%20c", "/v1/edges/peer?a=b%20c"),
        ("/v1/edges/./peer", "/v1/edges/peer"),
        ("/v1/edges%2F%2Fpeer/", "/v1/edges/peer/"),
        ("/v1/a%20b//%25x", "/v1/a%20b/%25x"),
    ] {
        let told = server.get(sent, &[]).await;
        assert_eq!((told.status, told.header("location")), (307, Some(location)), "{sent}");
    }
    let told = server.post("/v1/edges//binary", &[], b"{}").await;
    assert_eq!((told.status, told.header("connection")), (307, Some("close")), "its body is not read");
    let raw = server.get("/v1/edges/ocsp/a//b", &[]).await;
    assert_ne!(raw.status, 307, "a raw tail has no other form");
}

#[tokio::test]
async fn what_needs_no_token_takes_little() {
    let server = server().await;
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(crate::intake::MAX_OPEN_BODY));
    let told = server.post("/v1/sys/wrapping/lookup", &[], large.as_bytes()).await;
    assert_eq!(told.status, 413, "{}", told.errors());
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(9_000).repeat(6));
    let told = server.post("/v1/sys/wrapping/lookup", &[], many.as_bytes()).await;
    assert!(told.status == 413 || told.status == 400, "{}", told.errors());
    let token = format!("X-Vault-Token: {}", server.root);
    let told = server.post("/v1/sys/policies/acl/p", &[&token], large.as_bytes()).await;
    // With a token it is read, though it is no policy.
    assert_eq!((told.status, told.errors().contains("policy")), (400, true), "{}", told.errors());
}

#[tokio::test]
async fn bodies_share_a_budget_of_memory() {
    let settings = EdgeSettings { intake: Arc::new(crate::Intake::of(20_000)), ..EdgeSettings::default() };
    let server = Server::with(engine(), settings).await;
    let token = format!("X-Vault-Token: {}", server.root);
    let body = |bytes: usize| format!("{{\"policy\":\"# {}\"}}", "x".repeat(bytes));
    for _ in 0..5 {
        // What it took is given back.
        let told = server.post("/v1/sys/policies/acl/p", &[&token], body(8_000).as_bytes()).await;
        assert_eq!(told.status, 204, "{}", told.errors());
    }
    let told = server.post("/v1/sys/policies/acl/p", &[&token], body(12_000).as_bytes()).await;
    assert_eq!((told.status, told.errors().contains("try again")), (503, true), "{}", told.errors());
}

#[tokio::test]
async fn a_path_is_no_longer_than_8_kib() {
    let server = server().await;
    let told = server.get(&format!("/v1/{}", "/".repeat(8 << 10)), &[]).await;
    assert_eq!(told.status, 307);
    let told = server.get(&format!("/v1/{}", "/".repeat((8 << 10) + 1)), &[]).await;
    assert_eq!((told.status, told.errors()), (414, "request path is too long".to_owned()));
}
