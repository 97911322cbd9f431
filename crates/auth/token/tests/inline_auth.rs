//! Requests that carry a login with them, in a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_engine_api::lenient::{Flag, Int, List, Text};
use strongroom_engine_api::{
    AuthGrant, Engine, EngineError, Input, LeaseGrant, Path, Reply, TokenKind, parse_cidrs,
};
use strongroom_pipeline::{Inbound, Inline, InlineLogin, Verb};
use strongroom_testkit::{Request, Response, Server, Setup};

/// A login that says what it is granted.
#[derive(Deserialize, JsonSchema)]
struct DoorInput {
    /// The password.
    password: Option<Text>,
    /// Policies of the token.
    policies: Option<List>,
    /// True for a batch token.
    batch: Option<Flag>,
    /// Uses.
    num_uses: Option<Int>,
    /// Blocks that the token may be used from.
    cidrs: Option<List>,
}

async fn enter(Path(name): Path<String>, Input(input): Input<DoorInput>) -> Result<AuthGrant, EngineError> {
    if input.password.is_none_or(|password| password.0 != "right") {
        return Err(EngineError::Credentials("invalid username or password".to_owned()));
    }
    Ok(AuthGrant {
        alias: name,
        policies: input.policies.map(|policies| policies.0).unwrap_or_default(),
        kind: if input.batch.is_some_and(|batch| batch.0) { TokenKind::Batch } else { TokenKind::Service },
        num_uses: input.num_uses.map_or(0, |uses| u32::try_from(uses.0).unwrap()),
        bound_cidrs: parse_cidrs(&input.cidrs.map(|cidrs| cidrs.0).unwrap_or_default()).unwrap(),
        renewable: true,
        ..AuthGrant::default()
    })
}

async fn nothing() -> Result<Reply, EngineError> {
    Reply::data(&json!({"open": true}))
}

fn door() -> Engine {
    Engine::auth("door", "Lets those in who know the password.")
        .locks_users_out()
        .route("login/{name}", |r| {
            r.login(|call| call.params.first().cloned()).update("Log in.", enter).read("Log in.", enter)
        })
        .route("open", |r| r.open().read("Say something to anybody.", nothing))
}

async fn lend() -> Result<Reply, EngineError> {
    let lease = LeaseGrant { ttl: Duration::from_hours(1), ..LeaseGrant::default() };
    Ok(Reply::data(&json!({"lent": true}))?.lent(lease))
}

fn loans() -> Engine {
    Engine::new("loans", "Lends secrets.").route("creds", |r| r.read("Lend.", lend))
}

async fn server() -> Server {
    let server = Setup::default().with(door).with(loans).start().await;
    server.enable("auth/door/", "door").await;
    server.enable("loans/", "loans").await;
    let all = "capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"]";
    server.policy("all", &format!("path \"*\" {{ {all} }}")).await;
    server
}

fn login(path: &str, input: &Value) -> InlineLogin {
    InlineLogin {
        asked: Verb::Write,
        namespace: String::new(),
        path: path.to_owned(),
        input: input.as_object().unwrap().clone(),
    }
}

async fn ask(server: &Server, request: Request, login: InlineLogin) -> Response {
    let inbound = Inbound { inline: Inline::carrying(login), ..request.inbound() };
    server.core.pipeline.handle(inbound).await.into()
}

/// Asks as `ann` with all rights.
async fn ask_as_ann(server: &Server, asked: Verb, path: &str, input: Value) -> Response {
    let right = login("auth/door/login/ann", &json!({"password": "right", "policies": "all"}));
    ask(server, Request::new("", asked, path, input), right).await
}

fn is_logins(told: &Response) -> bool {
    told.header("X-Vault-Inline-Auth-Failed") == Some("true")
}

#[tokio::test]
async fn one_request_logs_in_and_acts_and_leaves_no_token() {
    let server = server().await;
    // The first login makes an entity, which stays.
    assert_eq!(ask_as_ann(&server, Verb::Read, "sys/mounts", json!({})).await.status, 200);
    let before = server.records().await;
    for asked in [Verb::Write, Verb::Read] {
        let login = InlineLogin {
            asked,
            ..login("auth/door/login/ann", &json!({"password": "right", "policies": "all"}))
        };
        let told = ask(&server, Request::new("", Verb::Read, "sys/mounts", json!({})), login).await;
        assert_eq!((told.status, is_logins(&told)), (200, false), "{}", told.body);
        assert_eq!(told.body["auth"], Value::Null, "the token stays here");
    }
    let told =
        ask_as_ann(&server, Verb::Write, "sys/policies/acl/new", json!({"policy": "path \"a\" {}"})).await;
    assert_eq!(told.status, 204);
    let after = server.records().await;
    assert_eq!(before.tokens(), after.tokens());
    let names = server.list("sys/policies/acl").await;
    assert!(names.data()["keys"].as_array().unwrap().contains(&json!("new")));
    assert_eq!(server.list("sys/leases/lookup/auth/door").await.status, 404);
    // Limited uses and batch tokens are of one request all the same.
    for more in [json!({"num_uses": 1}), json!({"batch": true})] {
        let mut input = json!({"password": "right", "policies": "all"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let told = ask(
            &server,
            Request::new("", Verb::Read, "sys/mounts", json!({})),
            login("auth/door/login/ann", &input),
        )
        .await;
        assert_eq!(told.status, 200, "{}", told.body);
    }
    let told = ask_as_ann(&server, Verb::Write, "sys/capabilities-self", json!({"path": "sys/mounts"})).await;
    assert_eq!(told.data()["sys/mounts"], json!(["create", "delete", "list", "read", "sudo", "update"]));
}

#[tokio::test]
async fn what_would_be_kept_for_the_token_is_refused() {
    let server = server().await;
    let ask = async |asked, path: &str| ask_as_ann(&server, asked, path, json!({})).await;
    let leases = "requests with inline authentication cannot generate leases";
    assert_eq!(ask(Verb::Read, "loans/creds").await.refusal(), (400, leases));
    assert_eq!(server.list("sys/leases/lookup/loans").await.status, 404);
    let tokens = "requests with inline authentication cannot create tokens";
    for path in ["create", "create-orphan"] {
        assert_eq!(ask(Verb::Write, &format!("auth/token/{path}")).await.refusal(), (400, tokens));
    }
    let hole = "requests with inline authentication have no cubbyhole";
    for asked in [Verb::Read, Verb::Write, Verb::List] {
        assert_eq!(ask(asked, "cubbyhole/a").await.refusal(), (400, hole));
    }
    for (asked, path) in [(Verb::Read, "lookup-self"), (Verb::Write, "lookup"), (Verb::Write, "renew-self")] {
        let told = ask(asked, &format!("auth/token/{path}")).await;
        assert!(matches!(told.status, 400 | 403), "{path}: {}", told.body);
        assert!(!told.body.to_string().contains("hvs."), "{}", told.body);
    }
}

#[tokio::test]
async fn a_login_that_fails_is_answered_in_place_of_the_request() {
    let server = server().await;
    let read = || Request::new("", Verb::Read, "sys/mounts", json!({}));
    let told = ask(&server, read(), login("auth/door/login/ann", &json!({"password": "wrong"}))).await;
    assert_eq!((told.refusal(), is_logins(&told)), ((400, "invalid username or password"), true));
    let given = Request::new(&server.root, Verb::Read, "sys/mounts", json!({}));
    let right = || login("auth/door/login/ann", &json!({"password": "right"}));
    let text = "cannot layer inline authentication with token authentication";
    assert_eq!(ask(&server, given, right()).await.refusal(), (400, text));
    for (path, status) in [
        ("auth/nowhere/login", 403),
        ("auth/token/create", 403),
        ("sys/mounts", 403),
        ("sys/unseal", 400),
        ("sys/wrapping/unwrap", 400),
    ] {
        let told = ask(&server, read(), login(path, &json!({}))).await;
        assert_eq!((told.status, is_logins(&told)), (status, true), "{path}: {}", told.body);
    }
    let open = InlineLogin { asked: Verb::Read, ..login("auth/door/open", &json!({})) };
    let text = "the path of inline authentication gave no token";
    assert_eq!(ask(&server, read(), open).await.refusal(), (400, text));
    // What nobody is asked for there is answered without.
    let health = Request::new("", Verb::Read, "sys/seal-status", json!({}));
    let told = ask(&server, health, login("auth/door/login/ann", &json!({"password": "wrong"}))).await;
    assert_eq!((told.status, is_logins(&told)), (200, false));
}

#[tokio::test]
async fn the_guards_of_logins_and_tokens_hold() {
    let server = server().await;
    let read = || Request::new("", Verb::Read, "sys/mounts", json!({}));
    // Policies.
    let few = login("auth/door/login/ann", &json!({"password": "right"}));
    let told = ask(&server, read(), few).await;
    assert_eq!((told.status, is_logins(&told)), (403, false), "{}", told.body);
    // Addresses.
    let bound = || {
        login("auth/door/login/ann", &json!({"password": "right", "policies": "all", "cidrs": "10.0.0.0/8"}))
    };
    assert_eq!(ask(&server, read(), bound()).await.status, 403);
    assert_eq!(ask(&server, read().from([10, 1, 2, 3]), bound()).await.status, 200);
    // A disabled entity.
    let id = server.list("identity/entity/id").await.data()["keys"][0].as_str().unwrap().to_owned();
    server.write(&format!("identity/entity/id/{id}"), json!({"disabled": true})).await;
    let told = ask_as_ann(&server, Verb::Read, "sys/mounts", json!({})).await;
    assert_eq!((told.status, is_logins(&told)), (403, true));
    server.write(&format!("identity/entity/id/{id}"), json!({"disabled": false})).await;
    assert_eq!(ask_as_ann(&server, Verb::Read, "sys/mounts", json!({})).await.status, 200);
    // Lockout.
    for _ in 0..5 {
        ask(&server, read(), login("auth/door/login/ann", &json!({"password": "wrong"}))).await;
    }
    let told = ask_as_ann(&server, Verb::Read, "sys/mounts", json!({})).await;
    assert_eq!((told.refusal(), is_logins(&told)), ((403, "permission denied"), true));
}

#[tokio::test]
async fn a_login_is_in_a_namespace_of_its_own() {
    let server = server().await;
    server.write("sys/namespaces/a", json!({})).await;
    server.write("sys/namespaces/b", json!({})).await;
    let within = |namespace: &str, asked, path: &str, input| {
        Request::new(&server.root, asked, path, input).within(namespace)
    };
    server.ask(within("a", Verb::Write, "sys/auth/door", json!({"type": "door"}))).await;
    let text = json!({"policy": "path \"sys/mounts\" { capabilities = [\"read\"] }"});
    server.ask(within("a", Verb::Write, "sys/policies/acl/all", text)).await;
    let read = |namespace| Request::new("", Verb::Read, "sys/mounts", json!({})).within(namespace);
    let right = |namespace: &str| InlineLogin {
        namespace: namespace.to_owned(),
        ..login("auth/door/login/ann", &json!({"password": "right", "policies": "all"}))
    };
    for (namespace, from, status) in
        [("a", "a", 200), ("a", "", 200), ("b", "a", 403), ("", "a", 403), ("a", "b", 403)]
    {
        let told = ask(&server, read(namespace), right(from)).await;
        assert_eq!(told.status, status, "{namespace} from {from}: {}", told.body);
    }
}

#[tokio::test]
async fn login_and_request_are_on_record_and_belong_together() {
    let server = server().await;
    let path: PathBuf = std::env::temp_dir().join(format!("strongroom-inline-{}.log", std::process::id()));
    let options = json!({"type": "file", "options": {"file_path": path}});
    assert_eq!(server.write("sys/audit/file", options).await.status, 204);
    ask_as_ann(&server, Verb::Read, "sys/mounts", json!({})).await;
    ask(
        &server,
        Request::new("", Verb::Read, "sys/mounts", json!({})),
        login("auth/door/login/ann", &json!({})),
    )
    .await;
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(!text.contains("right"), "{text}");
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |path: &str| -> Vec<&Value> { records.iter().filter(|r| r["request"]["path"] == path).collect() };
    let (logins, reads) = (of("auth/door/login/ann"), of("sys/mounts"));
    assert_eq!(
        (logins.len(), reads.len()),
        (4, 2),
        "a failed login is on record, and its request is not looked at"
    );
    assert_ne!(logins[0]["request"]["id"], reads[0]["request"]["id"]);
    let token = &logins[1]["auth"]["client_token"];
    assert!(token.as_str().unwrap().starts_with("hmac-"), "{token}");
    for read in reads {
        assert_eq!((&read["request"]["client_token"], &read["auth"]["client_token"]), (token, token));
        assert_eq!(read["auth"]["entity_id"], logins[1]["auth"]["entity_id"]);
        assert_eq!(read["auth"]["accessor"], logins[1]["auth"]["accessor"]);
    }
    assert_eq!(logins[3]["error"], "invalid username or password");
}

#[tokio::test]
async fn a_sealed_server_and_wrapped_answers() {
    let server = server().await;
    let right = || login("auth/door/login/ann", &json!({"password": "right", "policies": "all"}));
    let wrapped = Request::new("", Verb::Read, "sys/mounts", json!({})).wrapped(Duration::from_secs(60));
    let told = ask(&server, wrapped, right()).await;
    let unwrap = json!({"token": told.body["wrap_info"]["token"]});
    assert_eq!(server.write("sys/wrapping/unwrap", unwrap).await.status, 200, "{}", told.body);
    server.services().seal_state.seal().await;
    let told = ask(&server, Request::new("", Verb::Read, "sys/mounts", json!({})), right()).await;
    assert_eq!(told.refusal(), (503, "Vault is sealed"));
}
