//! Methods, enforcements and keys over the API.

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::Request;

use crate::mfa::{Authenticator, at_once, begin, enforce, guarded, method, validate};
use crate::rig::{accessor, entity, login, server};

#[tokio::test]
async fn methods_are_made_read_listed_and_deleted() {
    let server = server().await;
    let id =
        method(&server, json!({"method_name": "phone", "period": "1m", "max_validation_attempts": 3})).await;
    let expected = json!({
        "algorithm": "SHA1", "digits": 6, "enable_self_enrollment": false, "id": id, "issuer": "Strongroom",
        "key_size": 20, "max_validation_attempts": 3, "name": "phone", "namespace_id": "root", "namespace_path": "",
        "period": 60, "qr_size": 200, "skew": 1, "type": "totp",
    });
    for path in [format!("identity/mfa/method/{id}"), format!("identity/mfa/method/totp/{id}")] {
        assert_eq!(*server.read(&path).await.data(), expected, "{path}");
    }
    for path in ["identity/mfa/method", "identity/mfa/method/totp"] {
        let listed = server.list(path).await;
        assert_eq!(*listed.data(), json!({"keys": [id], "key_info": {&*id: expected}}), "{path}");
    }
    let update =
        server.write(&format!("identity/mfa/method/totp/{id}"), json!({"digits": 8, "skew": 0})).await;
    assert_eq!(update.status, 204);
    let read = server.read(&format!("identity/mfa/method/{id}")).await;
    assert_eq!((&read.data()["digits"], &read.data()["name"]), (&json!(8), &json!("phone")));
    let taken =
        server.write("identity/mfa/method/totp", json!({"issuer": "i", "method_name": "PHONE"})).await;
    let text = "a login MFA method configuration with the method name PHONE already exists";
    assert_eq!(taken.refusal(), (400, text));
    for (input, text) in [
        (json!({}), "issuer must be set"),
        (json!({"issuer": "i", "digits": 7}), "digits can only be 6 or 8"),
        (json!({"issuer": "i", "algorithm": "MD5"}), "unrecognized algorithm"),
        (json!({"issuer": "i", "period": 0}), "period must be between 1 and 31536000"),
        (
            json!({"issuer": "a:b"}),
            "issuer must have no colon and no control characters, and at most 256 bytes",
        ),
    ] {
        let refused = server.write("identity/mfa/method/totp", input).await;
        assert_eq!(refused.refusal(), (400, text));
    }
    let unknown = server.write("identity/mfa/method/totp/x", json!({"digits": 8})).await;
    assert_eq!(unknown.refusal(), (400, "configuration for method ID \"x\" does not exist"));
    assert_eq!(server.delete(&format!("identity/mfa/method/totp/{id}")).await.status, 204);
    assert_eq!(server.read(&format!("identity/mfa/method/{id}")).await.status, 404);
    assert_eq!(server.list("identity/mfa/method").await.status, 404);
    method(&server, json!({"method_name": "Phone"})).await;
}

#[tokio::test]
async fn enforcements_are_made_read_listed_and_deleted() {
    let (server, method, _, _) = guarded(json!({})).await;
    let door = accessor(&server, "auth/door/").await;
    let path = "identity/mfa/login-enforcement/door";
    let read = server.read(path).await;
    let data = read.data();
    assert_eq!(data["mfa_method_ids"], json!([method]));
    assert_eq!((&data["name"], &data["namespace_id"]), (&json!("door"), &json!("root")));
    assert_eq!((&data["auth_method_accessors"], &data["auth_method_types"]), (&json!([door]), &json!([])));
    let listed = server.list("identity/mfa/login-enforcement").await;
    assert_eq!(*listed.data(), json!({"keys": ["door"], "key_info": {"door": data}}));
    let used = server.delete(&format!("identity/mfa/method/totp/{method}")).await;
    assert!(used.error().starts_with("methodID is still used by an enforcement"), "{}", used.body);
    for (input, text) in [
        (json!({"mfa_method_ids": []}), "missing method ids"),
        (json!({"mfa_method_ids": ["x"]}), "configuration for method ID \"x\" does not exist"),
        (json!({"auth_method_accessors": ["x"]}), "auth method accessor \"x\" is invalid"),
        (json!({"identity_group_ids": ["x"]}), "identity group ID \"x\" is invalid"),
        (json!({"identity_entity_ids": ["x"]}), "identity entity ID \"x\" is invalid"),
    ] {
        assert_eq!(server.write(path, input).await.refusal(), (400, text));
    }
    assert_eq!(server.delete(path).await.status, 204);
    assert_eq!(server.read(path).await.status, 404);
    assert_eq!(server.delete(&format!("identity/mfa/method/totp/{method}")).await.status, 204);
}

#[tokio::test]
async fn a_key_is_shown_once() {
    let (server, method, bob, first) = guarded(json!({"method_name": "phone"})).await;
    let now = server.clock.now();
    let asks = json!({"method_id": method, "entity_id": bob});
    let again = server.write("identity/mfa/method/totp/admin-generate", asks.clone()).await;
    assert!(again.body["data"].is_null());
    assert_eq!(again.body["warnings"], json!(["Entity already has a secret for MFA method \"phone\""]));
    assert_eq!(server.write("identity/mfa/method/totp/admin-destroy", asks.clone()).await.status, 204);
    let lost = at_once(&server, "bob", &format!("{method}:{}", first.code(now, 0))).await;
    assert!(lost.error().contains(&format!("MFA secret for method \"phone\" not present in entity {bob:?}")));
    let made = server.write("identity/mfa/method/totp/admin-generate", asks).await;
    let url = made.data()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("otpauth://totp/Strongroom:{bob}?algorithm=SHA1&digits=6&")), "{url}");
    assert!(made.data()["barcode"].as_str().unwrap().starts_with("iVBORw0KGgo"), "a PNG");
    let code = Authenticator::of(&url).code(now, 0);
    assert_eq!(at_once(&server, "bob", &format!("{method}:{code}")).await.status, 200);
    let stored = server.stored().await;
    assert!(!stored.iter().any(|(_, value)| value.windows(6).any(|part| part == code.as_bytes())));
    for (input, text) in [
        (json!({"entity_id": bob}), "missing method ID"),
        (json!({"method_id": method}), "missing entity ID"),
        (json!({"method_id": "x", "entity_id": bob}), "configuration for method ID \"x\" does not exist"),
        (json!({"method_id": method, "entity_id": "x"}), "invalid entity ID"),
    ] {
        for path in ["admin-generate", "admin-destroy"] {
            let refused = server.write(&format!("identity/mfa/method/totp/{path}"), input.clone()).await;
            assert_eq!(refused.refusal(), (400, text), "{path}");
        }
    }
}

#[tokio::test]
async fn users_make_their_own_key_where_they_may() {
    let server = server().await;
    let policy = "path \"identity/mfa/method/totp/generate\" { capabilities = [\"update\"] }";
    server.policy("own", policy).await;
    let method = method(&server, json!({"qr_size": 0})).await;
    let bob = login(&server, json!({"name": "bob", "policies": ["own"]})).await;
    let generate = async |token: &str| {
        let input = json!({"method_id": method});
        server.ask(Request::new(token, Verb::Write, "identity/mfa/method/totp/generate", input)).await
    };
    let made = generate(&bob.token()).await;
    assert_eq!(made.data().get("barcode"), None);
    let code = Authenticator::of(made.data()["url"].as_str().unwrap()).code(server.clock.now(), 0);
    assert!(generate(&bob.token()).await.body["data"].is_null(), "once");
    assert_eq!(generate(&server.root).await.refusal(), (400, "missing entity ID"), "a token of nobody");
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "door", json!({"mfa_method_ids": [method], "auth_method_accessors": [door]})).await;
    assert_eq!(at_once(&server, "bob", &format!("{method}:{code}")).await.status, 200);
    let name = entity(&server, "bob").await;
    assert_eq!(name, "");
}

#[tokio::test]
async fn validation_says_what_is_missing() {
    let server = server().await;
    let ask = async |input: Value| server.ask(Request::new("", Verb::Write, "sys/mfa/validate", input)).await;
    assert_eq!(ask(json!({"mfa_payload": {"a": ["1"]}})).await.refusal(), (400, "missing request ID"));
    assert_eq!(ask(json!({"mfa_request_id": "a"})).await.refusal(), (400, "missing MFA payload"));
    assert_eq!(ask(json!({"mfa_request_id": "a", "mfa_payload": {"": ["1"]}})).await.status, 400);
    assert_eq!(ask(json!({"mfa_request_id": "a", "mfa_payload": "x"})).await.status, 400);
    let unknown = ask(json!({"mfa_request_id": "a", "mfa_payload": {"a": []}})).await;
    assert_eq!(unknown.refusal(), (403, "invalid request ID"));
}

#[tokio::test]
async fn records_of_logins_show_no_passcode() {
    let (server, method, bob, authenticator) = guarded(json!({})).await;
    let path = std::env::temp_dir().join(format!("strongroom-mfa-{}.log", std::process::id()));
    let options = json!({"type": "file", "options": {"file_path": path}});
    assert_eq!(server.write("sys/audit/file", options).await.status, 204);
    let id = begin(&server, "bob").await;
    let code = authenticator.code(server.clock.now(), 0);
    assert_eq!(validate(&server, &id, &method, "000000").await.status, 403);
    assert_eq!(validate(&server, &id, &method, &code).await.status, 200);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(!text.contains(&code) && !text.contains("000000"));
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str, path: &str| -> Vec<&Value> {
        let is = |record: &&Value| record["type"] == kind && record["request"]["path"] == path;
        records.iter().filter(is).collect()
    };
    let waiting = of("response", "auth/door/login");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["response"].get("auth"), None, "there is no token yet");
    assert_eq!(of("request", "sys/mfa/validate").len(), 2);
    let validated = of("response", "sys/mfa/validate");
    assert!(validated[0]["error"].as_str().unwrap().contains("failed to validate TOTP passcode"));
    assert_eq!(validated[1]["auth"]["entity_id"], bob.as_str());
    assert_eq!(validated[1]["auth"]["display_name"], "door");
}
