//! The whole method, run by the harness.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::{Access, AuthGrant, Backend as _, EngineError, Operation, Renewal, TokenKind};

use crate::engine;

/// `pass` as bcrypt of cost 5 has it (by libxcrypt): quick to check.
const HASH_OF_PASS: &str = "$2b$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K";

fn method() -> Harness {
    Harness::new(engine())
}

async fn get(method: &Harness, path: &str) -> Value {
    method.data(Operation::Read, path, json!({})).await
}

async fn post(method: &Harness, path: &str, input: Value) {
    assert_eq!(method.data(Operation::Update, path, input).await, Value::Null);
}

async fn refused(method: &Harness, path: &str, input: Value) -> (u16, String) {
    match method.call(Operation::Update, path, input).await {
        Ok(_) => panic!("{path} succeeds"),
        Err(error) => refusal(error),
    }
}

fn refusal(error: EngineError) -> (u16, String) {
    match error {
        EngineError::Invalid(text) | EngineError::Credentials(text) => (400, text),
        EngineError::Denied(text) => (403, text),
        other => panic!("{other:?}"),
    }
}

fn bad(text: &str) -> (u16, String) {
    (400, text.to_owned())
}

async fn login(method: &Harness, name: &str, password: &str) -> Result<AuthGrant, (u16, String)> {
    let reply = method.call(Operation::Update, &format!("login/{name}"), json!({"password": password})).await;
    Ok(reply.map_err(refusal)?.login().cloned().expect("a login is answered with a grant"))
}

/// A user whose password is `pass`.
async fn with_user(name: &str, mut input: Value) -> Harness {
    let method = method();
    input["password_hash"] = json!(HASH_OF_PASS);
    post(&method, &format!("users/{name}"), input).await;
    method
}

fn shown(changes: &Value) -> Value {
    let mut user = json!({
        "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0, "token_no_default_policy": false,
        "token_num_uses": 0, "token_period": 0, "token_policies": [], "token_ttl": 0, "token_type": "default",
    });
    user.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    user
}

/// Method, path, members of the body, members of the answer's data. Source: Vault's published `OpenAPI` document, and
/// its API page for `password_hash` and what reads answer.
const OPERATIONS: [(&str, &str, &[&str]); 7] = [
    ("POST", "login/{username}", &["password"]),
    ("LIST", "users/", &["after", "limit"]),
    ("GET", "users/{username}", &[]),
    (
        "POST",
        "users/{username}",
        &[
            "bound_cidrs",
            "max_ttl",
            "password",
            "password_hash",
            "policies",
            "token_bound_cidrs",
            "token_explicit_max_ttl",
            "token_max_ttl",
            "token_no_default_policy",
            "token_num_uses",
            "token_period",
            "token_policies",
            "token_ttl",
            "token_type",
            "ttl",
        ],
    ),
    ("DELETE", "users/{username}", &[]),
    ("POST", "users/{username}/password", &["password", "password_hash"]),
    ("POST", "users/{username}/policies", &["policies", "token_policies"]),
];

#[test]
fn every_documented_operation_is_there_with_its_fields() {
    let engine = engine();
    for (method, path, takes) in OPERATIONS {
        let operation = match method {
            "GET" => Operation::Read,
            "POST" => Operation::Update,
            "DELETE" => Operation::Delete,
            _ => Operation::List,
        };
        let route = engine.routes().iter().find(|route| route.pattern().openapi() == path);
        let route = route.unwrap_or_else(|| panic!("{path} is missing"));
        let (_, endpoint) = route.operations().find(|(other, _)| *other == operation).unwrap();
        let mut taken: Vec<&str> = endpoint.doc.fields.iter().map(|field| field.name.as_str()).collect();
        taken.sort_unstable();
        assert_eq!(taken, takes, "{method} {path}");
        assert!(endpoint.doc.fields.iter().all(|field| !field.description.is_empty()), "{method} {path}");
        let access = if path.starts_with("login") { Access::Open } else { Access::Granted };
        assert_eq!(endpoint.access, access, "{method} {path}");
    }
    let count: usize = engine.routes().iter().map(|route| route.operations().count()).sum();
    // A user is created and updated by one documented POST.
    assert_eq!(count, OPERATIONS.len() + 1);
}

#[tokio::test]
async fn a_user_is_kept_without_showing_the_password() {
    let method =
        with_user("Al", json!({"token_policies": "b,A", "token_ttl": "1h", "token_bound_cidrs": "1.2.3.4"}))
            .await;
    let expected =
        shown(&json!({"token_policies": ["a", "b"], "token_ttl": 3600, "token_bound_cidrs": ["1.2.3.4"]}));
    assert_eq!(get(&method, "users/al").await, expected);
    post(&method, "users/AL", json!({"token_max_ttl": "2h", "token_type": "batch"})).await;
    let user = get(&method, "users/al").await;
    assert_eq!((&user["token_ttl"], &user["token_max_ttl"]), (&json!(3600), &json!(7200)));
    assert_eq!(user["token_type"], json!("batch"));
}

#[tokio::test]
async fn older_names_are_taken_and_echoed() {
    let older = json!({"policies": "b,A", "ttl": "1h", "max_ttl": "2h", "bound_cidrs": "127.0.0.0/8"});
    let method = with_user("al", older).await;
    let expected = shown(&json!({
        "policies": ["a", "b"], "token_policies": ["a", "b"], "ttl": 3600, "token_ttl": 3600, "max_ttl": 7200,
        "token_max_ttl": 7200, "bound_cidrs": ["127.0.0.0/8"], "token_bound_cidrs": ["127.0.0.0/8"],
    }));
    assert_eq!(get(&method, "users/al").await, expected);
    let newer =
        json!({"token_policies": "c", "token_ttl": 1, "token_max_ttl": 2, "token_bound_cidrs": "::1"});
    post(&method, "users/al", newer).await;
    let expected =
        json!({"token_policies": ["c"], "token_ttl": 1, "token_max_ttl": 2, "token_bound_cidrs": ["::1"]});
    assert_eq!(get(&method, "users/al").await, shown(&expected));
    post(&method, "users/al/policies", json!({})).await;
    post(&method, "users/al/policies", json!({"policies": "x,Y"})).await;
    assert_eq!(get(&method, "users/al").await["policies"], json!(["x", "y"]));
    post(&method, "users/al/policies", json!({"token_policies": "z"})).await;
    let user = get(&method, "users/al").await;
    assert_eq!((user.get("policies"), &user["token_policies"]), (None, &json!(["z"])));
}

#[tokio::test]
async fn users_are_listed_and_deleted() {
    let method = with_user("Carl", json!({})).await;
    for name in ["al", "bo"] {
        post(&method, &format!("users/{name}"), json!({"password_hash": HASH_OF_PASS})).await;
    }
    let all = method.data(Operation::List, "users", json!({})).await;
    assert_eq!(all, json!({"keys": ["al", "bo", "carl"]}));
    let page = method.data(Operation::List, "users/", json!({"after": "al", "limit": 1})).await;
    assert_eq!(page, json!({"keys": ["bo"]}));
    for name in ["AL", "nobody"] {
        assert_eq!(method.data(Operation::Delete, &format!("users/{name}"), json!({})).await, Value::Null);
    }
    assert!(matches!(method.call(Operation::Read, "users/al", json!({})).await, Err(EngineError::NotFound)));
    assert_eq!(login(&method, "al", "pass").await.unwrap_err(), bad("invalid username or password"));
    let empty = self::method();
    assert!(matches!(empty.call(Operation::List, "users", json!({})).await, Err(EngineError::NotFound)));
}

#[tokio::test]
async fn faults_are_refused_in_vaults_words() {
    let method = with_user("al", json!({})).await;
    let missing = "must provide either password or password_hash";
    let both = json!({"password": "x", "password_hash": HASH_OF_PASS});
    for (path, input, text) in [
        ("users/new", json!({}), missing),
        ("users/new", json!({"password": "", "password_hash": ""}), missing),
        ("users/al/password", json!({}), missing),
        ("users/al/password", both.clone(), "only one of password or password_hash may be provided"),
        ("users/new", both, "only one of password or password_hash may be provided"),
        ("users/al", json!({"password_hash": "bogus"}), "password_hash is not a valid bcrypt hash"),
        ("users/al", json!({"password": "x".repeat(73)}), "bcrypt: password length exceeds 72 bytes"),
        ("users/none/password", json!({"password": "x"}), "username does not exist"),
        ("users/none/policies", json!({}), "username does not exist"),
        ("users/al", json!({"token_type": "default-batch"}), "invalid 'token_type' value \"default-batch\""),
        (
            "users/al",
            json!({"ttl": "2h", "max_ttl": "1h"}),
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        ),
        ("login/al", json!({}), "missing password"),
        ("login/none", json!({"password": ""}), "missing password"),
    ] {
        assert_eq!(refused(&method, path, input).await, bad(text), "{path}");
    }
    assert!(matches!(method.call(Operation::Read, "users/new", json!({})).await, Err(EngineError::NotFound)));
    login(&method, "al", "pass").await.unwrap();
}

#[tokio::test]
async fn refusals_never_repeat_a_password() {
    let method = with_user("al", json!({})).await;
    for (path, input) in [
        ("users/new", json!({"password": {"hunter2": 1}})),
        ("users/new", json!({"password_hash": "hunter2"})),
        ("users/new", json!({"password": "hunter2", "password_hash": "hunter2"})),
        ("users/new", json!({"password": "hunter2".repeat(20)})),
        ("login/al", json!({"password": ["hunter2"]})),
        ("login/al", json!({"password": "hunter2"})),
    ] {
        let (status, text) = refused(&method, path, input).await;
        assert_eq!(status, 400);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_grant_is_what_the_user_says() {
    let input = json!({
        "token_policies": "p1", "token_ttl": "10m", "token_max_ttl": "1h", "token_num_uses": 3, "token_period": "5m",
        "token_no_default_policy": true,
    });
    let method = with_user("al", input).await;
    let grant = login(&method, "AL", "pass").await.unwrap();
    let username = BTreeMap::from([("username".to_owned(), "al".to_owned())]);
    let expected = AuthGrant {
        policies: vec!["p1".to_owned()],
        no_default_policy: true,
        metadata: username.clone(),
        display_name: "al".to_owned(),
        alias: "al".to_owned(),
        ttl: Duration::from_mins(10),
        max_ttl: Duration::from_hours(1),
        period: Duration::from_mins(5),
        num_uses: 3,
        renewable: true,
        internal: username,
        ..AuthGrant::default()
    };
    assert_eq!(format!("{grant:?}"), format!("{expected:?}"));
    let batch = with_user("bo", json!({"token_type": "batch"})).await;
    assert_eq!(login(&batch, "bo", "pass").await.unwrap().kind, TokenKind::Batch);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_answered_alike() {
    let method = with_user("al", json!({})).await;
    for (name, password) in [("al", "Pass"), ("al", "pass "), ("al", "pas"), ("none", "pass"), ("Ål", "pass")]
    {
        let refusal = login(&method, name, password).await.unwrap_err();
        assert_eq!(refusal, bad("invalid username or password"), "{name} {password}");
    }
}

#[tokio::test]
async fn a_password_is_changed_by_text_or_by_hash() {
    let method = method();
    post(&method, "users/al", json!({"password": "first", "token_policies": "p"})).await;
    login(&method, "al", "first").await.unwrap();
    post(&method, "users/al/password", json!({"password": "second"})).await;
    assert!(login(&method, "al", "first").await.is_err());
    login(&method, "al", "second").await.unwrap();
    post(&method, "users/al/password", json!({"password_hash": HASH_OF_PASS})).await;
    assert!(login(&method, "al", "second").await.is_err());
    assert_eq!(login(&method, "al", "pass").await.unwrap().policies, ["p"]);
    post(&method, "users/al", json!({"token_ttl": 5})).await;
    login(&method, "al", "pass").await.unwrap();
}

#[tokio::test]
async fn logins_come_from_bound_addresses_and_only_right_passwords_learn_it() {
    let mut method = with_user("al", json!({"token_bound_cidrs": "10.0.0.0/8"})).await;
    assert_eq!(login(&method, "al", "pass").await.unwrap_err(), (403, "permission denied".to_owned()));
    assert_eq!(login(&method, "al", "wrong").await.unwrap_err(), bad("invalid username or password"));
    method.remote = None;
    assert_eq!(login(&method, "al", "pass").await.unwrap_err().0, 403);
    method.remote = Some(IpAddr::from([10, 1, 2, 3]));
    login(&method, "al", "pass").await.unwrap();
}

fn renewal(grant: &AuthGrant, policies: &[&str]) -> Renewal {
    Renewal {
        internal: grant.internal.clone(),
        metadata: grant.metadata.clone(),
        policies: policies.iter().map(|name| (*name).to_owned()).collect(),
        increment: None,
    }
}

#[tokio::test]
async fn a_renewal_follows_the_user_of_today_while_policies_stay() {
    let method = with_user("al", json!({"token_policies": "b,a"})).await;
    let granted = login(&method, "al", "pass").await.unwrap();
    let renew = || method.renew(renewal(&granted, &["default", "b", "a"]));
    post(&method, "users/al", json!({"token_ttl": "90m", "token_policies": "default,a,b"})).await;
    let renewed = renew().await.unwrap();
    assert_eq!(renewed.ttl, Duration::from_mins(90));
    assert_eq!(renewed.metadata, granted.metadata);
    post(&method, "users/al/policies", json!({"token_policies": "a"})).await;
    assert_eq!(refusal(renew().await.unwrap_err()), bad("policies have changed, not renewing"));
    method.call(Operation::Delete, "users/al", json!({})).await.unwrap();
    assert_eq!(refusal(renew().await.unwrap_err()), bad("user \"al\" does not exist during renewal"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_logins_than_processors_all_get_their_turn() {
    let method = std::sync::Arc::new(with_user("al", json!({})).await);
    let tasks: Vec<_> = (0..24)
        .map(|at| {
            let method = method.clone();
            tokio::spawn(async move {
                login(&method, "al", if at % 2 == 0 { "pass" } else { "wrong" }).await.is_ok()
            })
        })
        .collect();
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), at % 2 == 0);
    }
}
