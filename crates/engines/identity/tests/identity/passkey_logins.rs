//! Logins with a passkey as their second factor.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

use crate::authenticator::{Device, ELIGIBLE, PRESENT, VERIFIED, decode, encode};
use crate::mfa::{at_once, begin, enforce, unsatisfied};
use crate::passkeys::{WEBAUTHN, guarded, method, register};
use crate::rig::{accessor, login};

pub(crate) fn asking(request: &str, method: &str) -> Request {
    let input = json!({"mfa_request_id": request, "mfa_method_id": method});
    Request::new("", Verb::Write, "sys/mfa/challenge", input)
}

/// The options for a login that waits.
async fn challenge(server: &Server, request: &str, method: &str) -> Value {
    server.ask(asking(request, method)).await.data()["public_key"].clone()
}

pub(crate) fn answering(request: &str, method: &str, answer: &Value) -> Request {
    let input = json!({"mfa_request_id": request, "mfa_payload": {method: answer}});
    Request::new("", Verb::Write, "sys/mfa/validate", input)
}

async fn answer(server: &Server, request: &str, method: &str, answer: &Value) -> Response {
    server.ask(answering(request, method, answer)).await
}

const NO_CHALLENGE: &str = "no challenge is open: get one from sys/mfa/challenge";

#[tokio::test]
async fn a_login_waits_for_its_passkey() {
    let (server, method, bob, mut device) = guarded(json!({"method_name": "keys"})).await;
    let waiting = login(&server, json!({"name": "bob"})).await;
    let any = json!([{"type": "webauthn", "id": method, "uses_passcode": false, "name": "keys"}]);
    assert_eq!(waiting.auth()["mfa_requirement"]["mfa_constraints"], json!({ "door": { "any": any } }));
    let id = waiting.text("/auth/mfa_requirement/mfa_request_id");
    let options = challenge(&server, &id, &method).await;
    let allowed = json!([{"type": "public-key", "id": encode(&device.id), "transports": ["usb", "hybrid"]}]);
    assert_eq!(options["allowCredentials"], allowed);
    assert_eq!(
        (&options["rpId"], &options["userVerification"]),
        (&json!("example.com"), &json!("preferred"))
    );
    let signed = device.sign(&options);
    let done = answer(&server, &id, &method, &signed).await;
    assert_eq!(done.auth()["entity_id"], bob.as_str(), "{}", done.body);
    assert_eq!(server.get(&done.token(), "auth/token/lookup-self").await.data()["path"], "auth/door/login");
    assert_eq!(answer(&server, &id, &method, &signed).await.refusal(), (403, "invalid request ID"));
    let list = server.list(&format!("{WEBAUTHN}/admin-passkeys/{method}/{bob}")).await;
    let info = list.data()["key_info"].as_object().unwrap().values().next().unwrap().clone();
    assert_eq!(
        (&info["sign_count"], &info["last_used_time"]),
        (&json!(2), &json!(server.clock.now().rfc3339()))
    );
    // By name, in a list, and as text.
    for form in [
        |answer: Value| json!([answer]),
        |answer: Value| json!(answer.to_string()),
        |answer: Value| json!([answer.to_string()]),
    ] {
        let id = begin(&server, "bob").await;
        let signed = device.sign(&challenge(&server, &id, &method).await);
        assert_eq!(answer(&server, &id, "keys", &form(signed)).await.status, 200);
    }
}

#[tokio::test]
async fn an_answer_is_as_it_must_be() {
    let (server, method, bob, mut device) =
        guarded(json!({"user_verification": "required", "max_validation_attempts": 1000})).await;
    let own_handle = {
        let begun = crate::passkeys::admin_begin(&server, &method, &bob).await;
        begun.data()["public_key"]["user"]["id"].as_str().unwrap().to_owned()
    };
    let stranger = Device::new("ES256");
    let id = begin(&server, "bob").await;
    let refusal = async |device: &mut Device, change: &dyn Fn(&mut Value)| {
        let mut signed = device.sign(&challenge(&server, &id, &method).await);
        change(&mut signed);
        let refused = answer(&server, &id, &method, &signed).await;
        let reason = refused.error();
        let again = answer(&server, &id, &method, &signed).await;
        assert_eq!(
            again.refusal(),
            (403, &*unsatisfied(&method, NO_CHALLENGE)),
            "a challenge is answered once"
        );
        let prefix = "failed to satisfy enforcement door. error: 2 errors occurred:\n\t* failed to validate the passkey's answer: ";
        let rest = reason.strip_prefix(prefix).unwrap_or_else(|| panic!("{reason}"));
        rest.split('\n').next().unwrap().to_owned()
    };
    let as_it_is = |_: &mut Value| {};
    for (client, expected) in [
        (json!({"type": "webauthn.create"}), "its client data is of another type"),
        (json!({"challenge": encode(&[0; 32])}), "it answers another challenge"),
        (json!({"challenge": ""}), "it answers another challenge"),
        (json!({"origin": "https://login.example.com"}), "its origin is not allowed"),
        (json!({"crossOrigin": true}), "it was made inside a page of another origin"),
    ] {
        device.client = client;
        assert_eq!(refusal(&mut device, &as_it_is).await, expected);
    }
    device.client = json!({});
    device.rp_id = "evil.org".to_owned();
    assert_eq!(refusal(&mut device, &as_it_is).await, "it is for another relying party");
    device.rp_id = "example.com".to_owned();
    for (flags, expected) in [
        (VERIFIED, "nobody was present"),
        (PRESENT, "the user was not verified"),
        (PRESENT | VERIFIED | ELIGIBLE, "its backup eligibility has changed"),
    ] {
        device.flags = flags;
        assert_eq!(refusal(&mut device, &as_it_is).await, expected);
    }
    device.flags = PRESENT | VERIFIED;
    device.handle = Some(encode(&[3; 16]));
    assert_eq!(refusal(&mut device, &as_it_is).await, "it is of another user");
    device.handle = Some(own_handle);
    let flip = |name: &'static str, at: usize| {
        move |signed: &mut Value| {
            let mut bytes = decode(signed["response"][name].as_str().unwrap());
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            signed["response"][name] = json!(encode(&bytes));
        }
    };
    assert_eq!(refusal(&mut device, &flip("signature", usize::MAX)).await, "its signature is wrong");
    assert_eq!(
        refusal(&mut device, &flip("authenticatorData", 36)).await,
        "its signature is wrong",
        "the counter"
    );
    let unsigned = |signed: &mut Value| signed["response"]["signature"] = json!("");
    assert_eq!(refusal(&mut device, &unsigned).await, "its signature is wrong");
    let other = |signed: &mut Value| {
        (signed["id"], signed["rawId"]) = (json!(encode(&stranger.id)), json!(encode(&stranger.id)));
    };
    let unknown = "it is not a passkey of this user for this method";
    assert_eq!(refusal(&mut device, &other).await, unknown);
    for junk in [json!({}), json!({"id": "", "rawId": "", "type": "public-key", "response": []})] {
        let text = "it is not the JSON form of a public key credential";
        assert_eq!(refusal(&mut device, &|signed: &mut Value| *signed = junk.clone()).await, text);
    }
    let signed = device.sign(&challenge(&server, &id, &method).await);
    assert_eq!(answer(&server, &id, &method, &signed).await.status, 200, "the login has waited all the time");
}

#[tokio::test]
async fn a_challenge_is_of_one_login_and_one_method() {
    let (server, method, bob, mut device) = guarded(json!({})).await;
    let (first, second) = (begin(&server, "bob").await, begin(&server, "bob").await);
    let without = answer(&server, &first, &method, &device.sign(&json!({"challenge": ""}))).await;
    assert_eq!(without.refusal(), (403, &*unsatisfied(&method, NO_CHALLENGE)));
    let of_first = device.sign(&challenge(&server, &first, &method).await);
    let _ = challenge(&server, &second, &method).await;
    let crossed = answer(&server, &second, &method, &of_first).await;
    assert!(crossed.error().contains("it answers another challenge"), "{}", crossed.body);
    let _ = challenge(&server, &first, &method).await;
    let older = answer(&server, &first, &method, &of_first).await;
    assert!(older.error().contains("it answers another challenge"), "a newer one was given: {}", older.body);
    let other = self::method(&server, json!({})).await;
    register(&server, &other, &bob, &Device::new("EdDSA")).await;
    let unknown = format!("configuration for method ID {other:?} does not exist");
    assert_eq!(
        server.ask(asking(&first, &other)).await.refusal(),
        (400, &*unknown),
        "this login does not need it"
    );
    assert_eq!(server.ask(asking("x", &method)).await.refusal(), (403, "invalid request ID"));
    assert_eq!(server.ask(asking("", &method)).await.refusal(), (400, "missing request ID"));
    assert_eq!(server.ask(asking(&first, "")).await.refusal(), (400, "missing MFA method ID"));
    let phone = crate::mfa::method(&server, json!({})).await;
    enforce(&server, "door", json!({"mfa_method_ids": [method, phone, other]})).await;
    let third = begin(&server, "bob").await;
    let text = format!("MFA method {phone:?} is not of type webauthn");
    assert_eq!(server.ask(asking(&third, &phone)).await.refusal(), (400, &*text));
    let options = challenge(&server, &third, &other).await;
    let _ = challenge(&server, &third, &method).await;
    let crossed = answer(&server, &third, &method, &device.sign(&options)).await;
    assert!(crossed.error().contains("it answers another challenge"), "{}", crossed.body);
    let ann = begin(&server, "ann").await;
    let none = format!("the entity has no passkey for MFA method {method:?}");
    assert_eq!(server.ask(asking(&ann, &method)).await.refusal(), (400, &*none));
    let single = at_once(&server, "bob", &format!("{method}:{}", device.sign(&options))).await;
    assert!(single.error().contains("a passkey answers a challenge"), "{}", single.body);
}

#[tokio::test]
async fn a_counter_grows_or_is_always_zero() {
    let (server, method, bob, mut device) = guarded(json!({})).await;
    let log_in = async |device: &Device| {
        let id = begin(&server, "bob").await;
        let signed = device.sign_again(&challenge(&server, &id, &method).await);
        answer(&server, &id, &method, &signed).await
    };
    device.counter = 10;
    assert_eq!(log_in(&device).await.status, 200);
    for counter in [10, 9, 0] {
        device.counter = counter;
        let copy = log_in(&device).await;
        assert!(copy.error().contains("its counter has not grown"), "{counter}: {}", copy.body);
    }
    device.counter = 11;
    assert_eq!(log_in(&device).await.status, 200);
    server.services().seal_state.seal().await;
    server.unseal().await;
    assert!(log_in(&device).await.error().contains("its counter has not grown"), "it is stored");
    let uncounted = Device { counter: 0, ..Device::new("EdDSA") };
    register(&server, &method, &bob, &uncounted).await;
    for _ in 0..2 {
        assert_eq!(log_in(&uncounted).await.status, 200);
    }
    let counted = Device { counter: 1, ..uncounted };
    assert_eq!(log_in(&counted).await.status, 200);
    assert!(log_in(&Device { counter: 0, ..counted }).await.error().contains("its counter has not grown"));
}

#[tokio::test]
async fn attempts_are_counted() {
    let (server, method, _, mut device) = guarded(json!({"max_validation_attempts": 3})).await;
    let id = begin(&server, "bob").await;
    for _ in 0..3 {
        let _ = challenge(&server, &id, &method).await;
        let refused = answer(&server, &id, &method, &device.sign(&json!({"challenge": "x"}))).await;
        assert!(refused.error().contains("it answers another challenge"), "{}", refused.body);
    }
    let signed = device.sign(&challenge(&server, &id, &method).await);
    let locked = "maximum WebAuthn validation attempts 4 exceeded the allowed attempts 3. Please try again in 30 seconds";
    for _ in 0..2 {
        let refused = answer(&server, &id, &method, &signed).await;
        assert_eq!(refused.refusal(), (403, &*unsatisfied(&method, locked)));
    }
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(answer(&server, &id, &method, &signed).await.status, 200, "what was not judged is still good");
}

#[tokio::test]
async fn one_answer_makes_one_token_however_often_it_is_sent() {
    let (server, method, _, mut device) = guarded(json!({"max_validation_attempts": 1000})).await;
    let id = begin(&server, "bob").await;
    let signed = device.sign(&challenge(&server, &id, &method).await);
    let answers = join_all((0..20).map(|_| server.ask(answering(&id, &method, &signed)))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    // Two logins with one counter: of two answers at once, one is good.
    let (one, two) = (begin(&server, "bob").await, begin(&server, "bob").await);
    device.counter = device.counter.checked_add(1).unwrap();
    let first = device.sign_again(&challenge(&server, &one, &method).await);
    let second = device.sign_again(&challenge(&server, &two, &method).await);
    let requests = [answering(&one, &method, &first), answering(&two, &method, &second)];
    let answers = join_all(requests.into_iter().map(|request| server.ask(request))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn passkeys_go_with_their_entity() {
    let (server, method, bob, mut device) = guarded(json!({})).await;
    let robert = server.write("identity/entity", json!({"name": "robert"})).await.text("/data/id");
    let mut spare = Device::new("RS256");
    register(&server, &method, &robert, &spare).await;
    let id = begin(&server, "bob").await;
    let of_bob = challenge(&server, &id, &method).await;
    let merge = json!({"from_entity_ids": [bob], "to_entity_id": robert});
    assert_eq!(server.write("identity/entity/merge", merge).await.status, 204, "both keep theirs");
    let done = answer(&server, &id, &method, &device.sign(&of_bob)).await;
    assert_eq!(done.auth()["entity_id"], robert.as_str(), "{}", done.body);
    let id = begin(&server, "bob").await;
    let options = challenge(&server, &id, &method).await;
    assert_eq!(options["allowCredentials"].as_array().unwrap().len(), 2);
    assert_eq!(answer(&server, &id, &method, &spare.sign(&options)).await.status, 200);
    let id = begin(&server, "bob").await;
    let copied = device.sign_again(&challenge(&server, &id, &method).await);
    assert!(answer(&server, &id, &method, &copied).await.error().contains("its counter has not grown"));
    let admins = format!("{WEBAUTHN}/admin-passkeys/{method}/{robert}");
    let keys = server.list(&admins).await.data()["keys"].as_array().unwrap().clone();
    assert_eq!(server.delete(&format!("{admins}/{}", keys[0].as_str().unwrap())).await.status, 204);
    assert_eq!(server.list(&admins).await.data()["keys"].as_array().unwrap().len(), 1);
    let id = begin(&server, "bob").await;
    let options = challenge(&server, &id, &method).await;
    let left = options["allowCredentials"][0]["id"].as_str().unwrap().to_owned();
    let gone = if left == encode(&device.id) { spare.sign(&options) } else { device.sign(&options) };
    let refused = answer(&server, &id, &method, &gone).await;
    assert!(refused.error().contains("it is not a passkey of this user"), "{}", refused.body);
    let stored = async || server.stored().await.iter().filter(|(key, _)| is_passkey(key)).count();
    assert_ne!(stored().await, 0);
    assert_eq!(server.delete(&format!("identity/entity/id/{robert}")).await.status, 204);
    assert_eq!(stored().await, 0, "nothing is left of them");
}

/// True for a key of one of the tables of passkeys.
fn is_passkey(key: &[u8]) -> bool {
    matches!(key, [1, _, _, _, _, 80, ..] | [3, _, _, _, _, 81, ..])
}

#[tokio::test]
async fn a_passcode_or_a_passkey_is_enough_where_either_is_asked_for() {
    let (server, keys, bob, mut device) = guarded(json!({})).await;
    let phone = crate::mfa::method(&server, json!({})).await;
    let authenticator = crate::mfa::scan(&server, &phone, &bob).await;
    enforce(&server, "door", json!({"mfa_method_ids": [phone, keys]})).await;
    let id = begin(&server, "bob").await;
    let signed = device.sign(&challenge(&server, &id, &keys).await);
    assert_eq!(answer(&server, &id, &keys, &signed).await.status, 200);
    let code = authenticator.code(server.clock.now(), 0);
    assert_eq!(crate::mfa::validate(&server, &begin(&server, "bob").await, &phone, &code).await.status, 200);
    // And both where each has an enforcement of its own.
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "more", json!({"mfa_method_ids": [keys], "auth_method_accessors": [door]})).await;
    enforce(&server, "door", json!({"mfa_method_ids": [phone]})).await;
    server.clock.advance(Duration::from_mins(1));
    let id = begin(&server, "bob").await;
    let options = challenge(&server, &id, &keys).await;
    let (wrong, code) = (json!("000000"), json!(authenticator.code(server.clock.now(), 0)));
    let both = async |code: &Value, signed: Value| {
        let input = json!({"mfa_request_id": id, "mfa_payload": {&*phone: [code], &*keys: signed}});
        server.ask(Request::new("", Verb::Write, "sys/mfa/validate", input)).await
    };
    assert_eq!(both(&wrong, device.sign(&options)).await.status, 403);
    assert_eq!(both(&code, device.sign(&options)).await.status, 200, "nothing was judged of it before");
}
