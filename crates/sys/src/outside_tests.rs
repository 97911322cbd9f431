//! Outgoing connections of engines and their requests to the server, in a whole server and over real sockets.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::PrivateKeyDer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine_api::lenient::{Int, Text};
use strongroom_engine_api::outbound_api::{Request, SharedTls, Timeouts, TlsSettings, Trust, pem};
use strongroom_engine_api::{
    ActError, Clock, Engine, EngineError, IdentityTokenRequest, Input, Intent, Issued, LeaseTerms, Leased,
    Moment, Mount, Outbound, Path, Plan, Reply, RevokeError, Stored, System, View, bad_request,
};
use strongroom_outbound::{AddressPolicy, Resolver, Settings as OutboundSettings};
use strongroom_pipeline::{Settings, Verb};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::testing::Server;

/// The URL to ask, and the options of the request.
#[derive(Clone, Deserialize, JsonSchema)]
struct Where {
    /// The URL.
    url: Text,
    /// The authority to trust, in PEM.
    ca: Option<Text>,
    /// Redirects to follow.
    follow: Option<Int>,
    /// The seconds that it may take.
    seconds: Option<Int>,
}

struct Question {
    url: String,
    tls: Option<SharedTls>,
    follow: u32,
    timeouts: Timeouts,
}

async fn prepare(_view: View, Input(asked): Input<Where>) -> Result<Question, EngineError> {
    let tls = asked.ca.map(|ca| {
        let trusted =
            pem::certificates(ca.0.as_bytes()).map_err(|error| bad_request(format!("ca: {error}")))?;
        Ok::<_, EngineError>(SharedTls::new(TlsSettings {
            trust: Trust::Only(trusted),
            ..TlsSettings::default()
        }))
    });
    let seconds = asked.seconds.and_then(|seconds| u64::try_from(seconds.0).ok());
    let whole = seconds.map(Duration::from_secs);
    Ok(Question {
        url: asked.url.0,
        tls: tls.transpose()?,
        follow: asked.follow.and_then(|follow| u32::try_from(follow.0).ok()).unwrap_or_default(),
        timeouts: whole.map_or_else(Timeouts::default, |whole| Timeouts::default().within(whole)),
    })
}

async fn ask(question: Question, out: Outbound) -> Result<String, EngineError> {
    let out =
        question.tls.map_or_else(|| out.clone(), |tls| out.with_tls(tls)).with_timeouts(question.timeouts);
    let answer = out.http(Request::get(question.url).follow(question.follow)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

async fn conclude(said: Arc<String>) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "said": *said }))
}

/// The payload of a lease: the URL of what was made.
#[derive(Clone, Serialize, Deserialize)]
struct User {
    url: String,
}

impl Stored for User {}

/// The secret that was made.
#[derive(Serialize, JsonSchema)]
struct Made {
    /// Its password.
    password: String,
}

async fn plan(Input(asked): Input<Where>) -> Result<Plan<User>, EngineError> {
    Ok(Plan::new(User { url: asked.url.0 }))
}

async fn make(intent: Intent<User>, out: Outbound, system: System) -> Result<Issued<Made>, ActError> {
    let password = system.generate_password("users").await.map_err(ActError::NotSent)?;
    intent.check()?;
    out.http(Request::post(&intent.payload.url).json(&json!({ "password": password.expose() }))).await?;
    Ok(Issued::new(Made { password: password.expose().clone() }))
}

async fn end(user: Leased<User>, out: Outbound) -> Result<(), RevokeError> {
    out.http(Request::delete(&user.payload.url)).await?;
    Ok(())
}

async fn extend(user: Leased<User>, out: Outbound) -> Result<LeaseTerms, EngineError> {
    out.http(Request::get(&user.payload.url)).await?;
    Ok(LeaseTerms::default())
}

async fn password(Path(policy): Path<String>, system: System) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "password": system.generate_password(&policy).await?.expose() }))
}

async fn facts(system: System, mount: Arc<Mount>) -> Result<Reply, EngineError> {
    let cluster = system.cluster().map(|cluster| json!([cluster.name, cluster.id]));
    let request = IdentityTokenRequest { audience: "cloud".to_owned(), ..IdentityTokenRequest::default() };
    let token = system.identity_token(&request).await;
    Reply::data(&json!({
        "cluster": cluster,
        "active": system.is_active(),
        "entity": system.entity("nobody").await?.map(|entity| entity.id),
        "token": token.map_err(|error| error.to_string()).err(),
        "mount": [mount.namespace_path, mount.path, mount.accessor],
        "ttls": [mount.lifetimes.default.as_secs(), mount.lifetimes.max.as_secs()],
        "local": mount.local,
    }))
}

pub(crate) fn engine() -> Engine {
    Engine::new("remote", "Asks outside.")
        .lease("user", |l| l.revoke(end).renew(extend))
        .route("ask", |r| r.ask("Ask.", prepare, ask, conclude))
        .route("user", |r| r.issue("user", "Make a user.", plan, make))
        .route("password/{policy}", |r| r.read("Make a password.", password))
        .route("facts", |r| r.read("Say what is known.", facts))
}

/// A server outside that answers every request in the same way and closes the connection; `None` keeps silent.
struct Outside {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    async fn start(answer: Option<String>, tls: Option<rustls::ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = Self { port: listener.local_addr().unwrap().port(), lines: Arc::default() };
        let lines = outside.lines.clone();
        let acceptor = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (lines, answer, acceptor) = (lines.clone(), answer.clone(), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &lines, answer).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &lines, answer).await;
                            }
                        }
                    }
                });
            }
        });
        outside
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    lines: &Mutex<Vec<String>>,
    answer: Option<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    lines.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
    let Some(answer) = answer else { return std::future::pending().await };
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn leading(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
}

/// Names whose addresses change with each look; the last stay.
#[derive(Default)]
struct Names(Mutex<HashMap<&'static str, Vec<IpAddr>>>);

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.0.lock().unwrap();
        let answers = names.get_mut(name).ok_or_else(|| io::Error::other("no such host"))?;
        Ok(vec![if answers.len() > 1 { answers.remove(0) } else { answers[0] }])
    }
}

/// A server with the engine at `remote/`, whose way out has these settings.
async fn server(settings: OutboundSettings) -> Server {
    let way_out = Arc::new(strongroom_outbound::Outbound::new(settings));
    let server = Server::with(Settings { way_out, ..Settings::default() }).await;
    assert_eq!(server.write("sys/mounts/remote", json!({"type": "remote"})).await.status, 204);
    server
}

async fn asked(server: &Server, input: Value) -> (u16, String) {
    let told = server.write("remote/ask", input).await;
    match told.status {
        200 => (200, told.data()["said"].as_str().unwrap().to_owned()),
        status => (status, told.error().1.to_owned()),
    }
}

#[tokio::test]
async fn an_engine_speaks_tls_to_whom_it_trusts() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let outside = Outside::start(Some(ok("hello")), Some(tls)).await;
    let server = server(OutboundSettings::default()).await;
    let url = format!("https://127.0.0.1:{}/path", outside.port);
    assert_eq!(asked(&server, json!({"url": url, "ca": made.cert.pem()})).await, (200, "hello".to_owned()));
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    for input in [json!({"url": url}), json!({"url": url, "ca": other.cert.pem()})] {
        let (status, text) = asked(&server, input).await;
        assert_eq!(status, 502, "{text}");
        assert!(text.contains(&format!("https://127.0.0.1:{}: tls: ", outside.port)), "{text}");
        assert!(!text.contains("/path"), "{text}");
    }
    assert_eq!(
        asked(&server, json!({"url": url, "ca": "x"})).await,
        (400, "ca: no certificate found".to_owned())
    );
    assert_eq!(outside.lines(), ["GET /path HTTP/1.1"]);
}

#[tokio::test]
async fn what_keeps_silent_is_given_up() {
    let outside = Outside::start(None, None).await;
    let clock = Clock::stepped(Moment::from_secs(1));
    let server = server(OutboundSettings { clock: clock.clone(), ..OutboundSettings::default() }).await;
    let waiting = asked(&server, json!({"url": outside.url("/"), "seconds": 5}));
    let stepping = async {
        // Only once it has arrived is it the answer that is missing.
        while outside.lines().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..5 {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    let ((status, text), ()) = tokio::join!(waiting, stepping);
    assert_eq!((status, text.contains("no answer in time")), (504, true), "{text}");
}

#[tokio::test]
async fn no_detour_leads_where_it_is_forbidden() {
    let fine = Outside::start(Some(ok("fine")), None).await;
    let inside: IpAddr = "169.254.169.254".parse().unwrap();
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let names = Names(Mutex::new(HashMap::from([("rebound.example", vec![local, inside])])));
    let server = server(OutboundSettings { resolver: Arc::new(names), ..OutboundSettings::default() }).await;
    let forbidden = "connections to 169.254.169.254 are not permitted";
    let is_forbidden = |(status, text): &(u16, String)| *status == 400 && text.contains(forbidden);

    let rebound = json!({ "url": format!("http://rebound.example:{}/", fine.port) });
    assert_eq!(asked(&server, rebound.clone()).await, (200, "fine".to_owned()));
    let second = asked(&server, rebound).await;
    assert!(is_forbidden(&second), "the name leads elsewhere by now: {second:?}");

    let leading = Outside::start(Some(leading("http://169.254.169.254/latest/meta-data/")), None).await;
    let led = asked(&server, json!({"url": leading.url("/"), "follow": 3})).await;
    assert!(is_forbidden(&led), "{led:?}");
    assert_eq!((leading.lines().len(), fine.lines().len()), (1, 1));
}

#[tokio::test]
async fn the_operators_rules_hold_for_engines() {
    let outside = Outside::start(Some(ok("fine")), None).await;
    let policy = AddressPolicy::default().deny(["127.0.0.0/8".parse().unwrap()]);
    let narrow = server(OutboundSettings { policy, ..OutboundSettings::default() }).await;
    let (status, text) = asked(&narrow, json!({ "url": outside.url("/") })).await;
    assert_eq!(
        (status, text.ends_with("127.0.0.1 are not permitted: the range is denied")),
        (400, true),
        "{text}"
    );

    let way_out = strongroom_outbound::Outbound::new(OutboundSettings::default());
    way_out.own_addresses().set(vec![([127, 0, 0, 1], outside.port).into()]);
    let settings = Settings { way_out: Arc::new(way_out), ..Settings::default() };
    let own = Server::with(settings).await;
    assert_eq!(own.write("sys/mounts/remote", json!({"type": "remote"})).await.status, 204);
    let (status, text) = asked(&own, json!({ "url": outside.url("/") })).await;
    assert_eq!((status, text.ends_with("it is a port of this cluster")), (400, true), "{text}");

    let none = Server::new().await;
    assert_eq!(none.write("sys/mounts/remote", json!({"type": "remote"})).await.status, 204);
    let (status, text) = asked(&none, json!({ "url": outside.url("/") })).await;
    assert_eq!((status, text.ends_with("this server connects to nothing outside")), (400, true), "{text}");
    assert!(outside.lines().is_empty());
}

#[tokio::test]
async fn what_is_made_outside_is_prolonged_and_ended_there() {
    let outside = Outside::start(Some(ok("")), None).await;
    let server = server(OutboundSettings::default()).await;
    let make = async || server.ask(Verb::Read, "remote/user", json!({ "url": outside.url("/alice") })).await;
    assert_eq!(make().await.error(), (400, "no password policy found"));
    assert!(outside.lines().is_empty(), "nothing was sent");
    let policy = "length = 12\nrule \"charset\" {\n  charset = \"xyz\"\n}";
    assert_eq!(server.write("sys/policies/password/users", json!({ "policy": policy })).await.status, 204);
    let told = make().await;
    let password = told.data()["password"].as_str().unwrap();
    assert!(password.len() == 12 && password.chars().all(|letter| "xyz".contains(letter)));
    let lease = told.body["lease_id"].as_str().unwrap();
    assert_eq!(server.write("sys/leases/renew", json!({ "lease_id": lease })).await.status, 200);
    assert_eq!(server.write("sys/leases/revoke", json!({ "lease_id": lease })).await.status, 204);
    server.core.background.run_jobs_once(false).await.unwrap();
    let lines: Vec<String> =
        ["POST", "GET", "DELETE"].iter().map(|method| format!("{method} /alice HTTP/1.1")).collect();
    assert_eq!(outside.lines(), lines);
}

#[tokio::test]
async fn an_engine_knows_its_server_and_its_namespace() {
    let server = Server::new().await;
    assert_eq!(server.write("sys/namespaces/team", json!({})).await.status, 200);
    let tuned = json!({"type": "remote", "config": {"default_lease_ttl": "1h", "max_lease_ttl": "2h"}, "local": true});
    assert_eq!(server.write_in("team", "sys/mounts/remote", tuned).await.status, 204);
    let facts = server.read_in("team", "remote/facts").await.data().clone();
    let health = server.read("sys/health").await.body;
    assert_eq!(facts["cluster"], json!([health["cluster_name"], health["cluster_id"]]));
    let accessor =
        server.read_in("team", "sys/mounts").await.data()["remote/"]["accessor"].as_str().unwrap().to_owned();
    assert_eq!(facts["mount"], json!(["team/", "remote/", accessor]));
    assert_eq!(
        (&facts["ttls"], &facts["local"], &facts["active"]),
        (&json!([3600, 7200]), &json!(true), &json!(true))
    );
    assert_eq!((&facts["entity"], &facts["token"]), (&Value::Null, &Value::Null));

    // Password policies are those of the mount's namespace.
    let policy = |letter: &str| json!({"policy": format!("length = 8\nrule \"charset\" {{ charset = \"{letter}\" }}")});
    assert_eq!(server.write("sys/policies/password/p", policy("a")).await.status, 204);
    let make = async || server.read_in("team", "remote/password/p").await;
    assert_eq!(make().await.error(), (400, "no password policy found"));
    assert_eq!(server.write_in("team", "sys/policies/password/p", policy("b")).await.status, 204);
    assert_eq!(make().await.data()["password"], "bbbbbbbb");
}
