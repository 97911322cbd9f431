//! Logins in two requests and in one, with a TOTP passcode as their second factor.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_engine_api::Moment;
use strongroom_mfa::{Algorithm, TotpSettings};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

use crate::rig::{accessor, entity, login, server};

/// An authenticator: what a user has scanned.
pub(crate) struct Authenticator {
    key: Vec<u8>,
    settings: TotpSettings,
}

impl Authenticator {
    /// The one that has scanned a URL.
    pub(crate) fn of(url: &str) -> Self {
        let value = |name: &str| {
            let (_, rest) = url.split_once(&format!("{name}=")).unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        let mut bits = String::new();
        for c in value("secret").chars() {
            let digit = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).unwrap();
            write!(bits, "{digit:05b}").unwrap();
        }
        let bytes = bits.as_bytes().chunks_exact(8).map(|byte| std::str::from_utf8(byte).unwrap());
        Self {
            key: bytes.map(|byte| u8::from_str_radix(byte, 2).unwrap()).collect(),
            settings: TotpSettings {
                period: value("period").parse().unwrap(),
                digits: value("digits").parse().unwrap(),
                algorithm: Algorithm::from_name(&value("algorithm")).unwrap(),
                ..TotpSettings::default()
            },
        }
    }

    /// The passcode of a time step, so many after the one of now.
    pub(crate) fn code(&self, now: Moment, steps: i64) -> String {
        let step = self.settings.step(now).checked_add_signed(steps).unwrap();
        self.settings.passcode(&self.key, step).expose().clone()
    }
}

/// Makes a TOTP method.
pub(crate) async fn method(server: &Server, mut input: Value) -> String {
    input["issuer"] = json!("Strongroom");
    let made = server.write("identity/mfa/method/totp", input).await;
    made.data()["method_id"].as_str().unwrap().to_owned()
}

pub(crate) async fn enforce(server: &Server, name: &str, input: Value) {
    let written = server.write(&format!("identity/mfa/login-enforcement/{name}"), input).await;
    assert_eq!(written.status, 204, "{}", written.body);
}

/// Makes the key of an entity.
pub(crate) async fn scan(server: &Server, method: &str, entity: &str) -> Authenticator {
    let input = json!({"method_id": method, "entity_id": entity});
    let made = server.write("identity/mfa/method/totp/admin-generate", input).await;
    Authenticator::of(made.data()["url"].as_str().unwrap())
}

/// A server whose door asks `bob` for a second factor: its method, its user's entity, and the user's authenticator.
pub(crate) async fn guarded(settings: Value) -> (Server, String, String, Authenticator) {
    let server = server().await;
    let bob = entity(&server, "bob").await;
    let method = method(&server, settings).await;
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "door", json!({"mfa_method_ids": [method], "auth_method_accessors": [door]})).await;
    let authenticator = scan(&server, &method, &bob).await;
    (server, method, bob, authenticator)
}

/// The first request of a login: the id under which it waits.
pub(crate) async fn begin(server: &Server, name: &str) -> String {
    let answer = login(server, json!({ "name": name })).await;
    assert_eq!(answer.auth()["client_token"], "", "{}", answer.body);
    answer.text("/auth/mfa_requirement/mfa_request_id")
}

pub(crate) fn validation(request: &str, method: &str, code: &str) -> Request {
    let input = json!({"mfa_request_id": request, "mfa_payload": {method: [code]}});
    Request::new("", Verb::Write, "sys/mfa/validate", input)
}

pub(crate) async fn validate(server: &Server, request: &str, method: &str, code: &str) -> Response {
    server.ask(validation(request, method, code)).await
}

/// A login in one request.
pub(crate) async fn at_once(server: &Server, name: &str, credential: &str) -> Response {
    let request = Request::new("", Verb::Write, "auth/door/login", json!({ "name": name }));
    server.ask(request.header("x-vault-mfa", credential)).await
}

/// Vault's refusal of what is given for the enforcement `door`.
pub(crate) fn unsatisfied(method: &str, reason: &str) -> String {
    format!(
        "failed to satisfy enforcement door. error: 2 errors occurred:\n\t* {reason}\n\t* login MFA validation failed for \
         methodID: [{method}]\n\n"
    )
}

#[tokio::test]
async fn a_login_waits_for_its_passcode() {
    let (server, method, bob, authenticator) = guarded(json!({"method_name": "phone"})).await;
    let answer = login(&server, json!({"name": "bob"})).await;
    let auth = answer.auth();
    assert_eq!((&auth["client_token"], &auth["entity_id"]), (&json!(""), &json!("")));
    assert_eq!(auth["policies"], Value::Null);
    let any = json!([{"type": "totp", "id": method, "uses_passcode": true, "name": "phone"}]);
    assert_eq!(auth["mfa_requirement"]["mfa_constraints"], json!({ "door": { "any": any } }));
    assert!(answer.body["warnings"][0].as_str().unwrap().contains("subject to MFA validation"));
    let id = answer.text("/auth/mfa_requirement/mfa_request_id");
    let wrong = validate(&server, &id, &method, "000000").await;
    assert_eq!(wrong.refusal(), (403, &*unsatisfied(&method, "failed to validate TOTP passcode")));
    let done = validate(&server, &id, &method, &authenticator.code(server.clock.now(), 0)).await;
    assert_eq!((&done.auth()["entity_id"], &done.body["mount_type"]), (&json!(bob), &json!("door")));
    assert_eq!(done.auth()["mfa_requirement"], Value::Null);
    assert_eq!(server.get(&done.token(), "auth/token/lookup-self").await.data()["path"], "auth/door/login");
    let again = validate(&server, &id, &method, &authenticator.code(server.clock.now(), 1)).await;
    assert_eq!(again.refusal(), (403, "invalid request ID"), "a login makes one token");
    // By name, and the form in which the passcode of some methods is given.
    server.clock.advance(Duration::from_mins(1));
    let id = begin(&server, "bob").await;
    let code = format!("passcode={}", authenticator.code(server.clock.now(), 0));
    assert_eq!(validate(&server, &id, "phone", &code).await.status, 200);
    let other = login(&server, json!({"name": "ann"})).await;
    assert_eq!(other.auth()["client_token"], "", "everybody at this door");
    let gate = server.ask(Request::new("", Verb::Write, "auth/gate/login", json!({"name": "bob"}))).await;
    assert_ne!(gate.token(), "", "and nobody at another");
}

#[tokio::test]
async fn a_passcode_is_good_once_however_it_is_spelled() {
    let (server, method, _, authenticator) = guarded(json!({"digits": 8, "algorithm": "SHA512"})).await;
    let now = server.clock.now();
    let code = authenticator.code(now, 0);
    let id = begin(&server, "bob").await;
    assert_eq!(validate(&server, &id, &method, &code).await.status, 200);
    let (front, back) = code.split_at(4);
    let older = authenticator.code(now, -1);
    for spelled in [code.clone(), format!(" {front} {back}\t"), format!("passcode={code}"), older] {
        let id = begin(&server, "bob").await;
        let used = validate(&server, &id, &method, &spelled).await;
        let text = unsatisfied(&method, "code already used; new code is available in 30 seconds");
        assert_eq!(used.refusal(), (403, &*text), "{spelled:?}");
    }
    server.clock.advance(Duration::from_secs(30));
    let used = at_once(&server, "bob", &format!("{method}:{code}")).await;
    assert_eq!(used.status, 403, "nor a step later, when its skew would allow it");
    let next = authenticator.code(server.clock.now(), 0);
    assert_eq!(at_once(&server, "bob", &format!("{method}:{next}")).await.status, 200);
}

#[tokio::test]
async fn a_device_may_be_off_by_one_step() {
    for skew in [0, 1] {
        let (server, method, _, authenticator) = guarded(json!({"skew": skew, "period": "60s"})).await;
        for (steps, is_near) in [(-2, false), (2, false), (-1, true), (1, true)] {
            server.clock.advance(Duration::from_mins(10));
            let code = authenticator.code(server.clock.now(), steps);
            let answer = at_once(&server, "bob", &format!("{method}:{code}")).await;
            let expected = if is_near && skew == 1 { 200 } else { 403 };
            assert_eq!(answer.status, expected, "skew {skew}, {steps} steps: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_login_in_one_request_names_the_method() {
    let (server, method, _, authenticator) = guarded(json!({"method_name": "phone"})).await;
    let code = authenticator.code(server.clock.now(), 0);
    let missing = at_once(&server, "bob", "another").await;
    let none =
        "failed to satisfy enforcement door. error: 1 error occurred:\n\t* MFA credentials not supplied\n\n";
    assert_eq!(missing.refusal(), (403, none));
    assert_eq!(at_once(&server, "bob", "phone").await.status, 403, "without a passcode");
    assert_eq!(at_once(&server, "bob", ":1").await.status, 400);
    let wrong = at_once(&server, "bob", &format!("{method}:000000")).await;
    assert_eq!(wrong.refusal(), (403, &*unsatisfied(&method, "failed to validate TOTP passcode")));
    assert_eq!(at_once(&server, "bob", &format!("phone:{code}")).await.status, 200);
    let free = Request::new("", Verb::Write, "auth/gate/login", json!({"name": "bob"}));
    let free = server.ask(free.header("x-vault-mfa", "phone:1")).await;
    assert_eq!(free.status, 200, "where nothing is needed, nothing is judged");
}

#[tokio::test]
async fn of_several_methods_one_is_enough_and_of_several_enforcements_all() {
    let (server, first, bob, authenticator) = guarded(json!({})).await;
    let second = method(&server, json!({"method_name": "token"})).await;
    let spare = scan(&server, &second, &bob).await;
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "door", json!({"mfa_method_ids": [first, second]})).await;
    let now = server.clock.now();
    let id = begin(&server, "bob").await;
    assert_eq!(validate(&server, &id, &second, &spare.code(now, 0)).await.status, 200);
    enforce(&server, "more", json!({"mfa_method_ids": [second], "auth_method_accessors": [door]})).await;
    server.clock.advance(Duration::from_mins(1));
    let now = server.clock.now();
    let id = begin(&server, "bob").await;
    let one = validate(&server, &id, &first, &authenticator.code(now, 0)).await;
    assert!(one.error().starts_with("failed to satisfy enforcement more."), "{}", one.body);
    let payload = json!({&*first: [authenticator.code(now, 0)], &*second: [spare.code(now, 0)]});
    let input = json!({"mfa_request_id": id, "mfa_payload": payload});
    let both = server.ask(Request::new("", Verb::Write, "sys/mfa/validate", input)).await;
    assert_eq!(both.status, 200, "a refusal has used nothing up: {}", both.body);
    // One passcode is enough where all enforcements name its method.
    server.clock.advance(Duration::from_mins(1));
    let code = spare.code(server.clock.now(), 0);
    assert_eq!(at_once(&server, "bob", &format!("{second}:{code}")).await.status, 200);
}
