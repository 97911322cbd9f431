//! Guesses, races, and what changes while a login waits.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use strongroom_pipeline::Verb;
use strongroom_testkit::Request;

use crate::mfa::{at_once, begin, enforce, guarded, scan, unsatisfied, validate, validation};
use crate::rig::{accessor, entity, group, login};

#[tokio::test]
async fn guesses_are_counted_by_entity_and_method() {
    let (server, method, _, authenticator) = guarded(json!({"max_validation_attempts": 3})).await;
    let good = authenticator.code(server.clock.now(), 0);
    for _ in 0..3 {
        let id = begin(&server, "bob").await;
        let wrong = validate(&server, &id, &method, "000000").await;
        assert_eq!(wrong.refusal(), (403, &*unsatisfied(&method, "failed to validate TOTP passcode")));
    }
    let locked =
        "maximum TOTP validation attempts 4 exceeded the allowed attempts 3. Please try again in 30 seconds";
    let id = begin(&server, "bob").await;
    assert_eq!(validate(&server, &id, &method, &good).await.refusal(), (403, &*unsatisfied(&method, locked)));
    assert_eq!(at_once(&server, "bob", &format!("{method}:{good}")).await.status, 403);
    let ann = entity(&server, "ann").await;
    assert_eq!(ann, "", "she is asked too");
    let ann = server.list("identity/entity/id").await.data()["keys"].as_array().unwrap().len();
    assert_eq!(ann, 2);
    server.clock.advance(Duration::from_secs(30));
    let next = authenticator.code(server.clock.now(), 0);
    assert_eq!(validate(&server, &id, &method, &next).await.status, 200, "the same login");
}

#[tokio::test]
async fn of_many_guesses_at_once_no_more_are_judged_than_may_fail() {
    let (server, method, _, _) = guarded(json!({})).await;
    let guesses = join_all((0..200).map(|number| {
        let (server, method) = (&server, &method);
        async move {
            let id = begin(server, "bob").await;
            validate(server, &id, method, &format!("{number:06}")).await.error()
        }
    }))
    .await;
    let judged = guesses.iter().filter(|error| error.contains("failed to validate TOTP passcode")).count();
    let refused = guesses.iter().filter(|error| error.contains("maximum TOTP validation attempts")).count();
    let gone = guesses.iter().filter(|error| *error == "invalid request ID").count();
    assert_eq!(judged, 5, "{guesses:?}");
    assert_eq!(judged + refused + gone, 200, "{guesses:?}");
}

#[tokio::test]
async fn one_passcode_makes_one_token_however_often_it_is_sent() {
    let (server, method, _, authenticator) = guarded(json!({"max_validation_attempts": 1000})).await;
    let code = authenticator.code(server.clock.now(), 0);
    let (mut requests, id) = (Vec::new(), begin(&server, "bob").await);
    for number in 0..20 {
        let id = if number % 2 == 0 { id.clone() } else { begin(&server, "bob").await };
        requests.push(validation(&id, &method, &code));
        let single = Request::new("", Verb::Write, "auth/door/login", json!({"name": "bob"}));
        requests.push(single.header("x-vault-mfa", format!("{method}:{code}")));
    }
    let answers = join_all(requests.into_iter().map(|request| server.ask(request))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 403));
}

#[tokio::test]
async fn a_login_waits_five_minutes() {
    let (server, method, _, authenticator) = guarded(json!({})).await;
    let id = begin(&server, "bob").await;
    server.clock.advance(Duration::from_secs(299));
    let late = begin(&server, "bob").await;
    server.clock.advance(Duration::from_secs(1));
    let code = authenticator.code(server.clock.now(), 0);
    assert_eq!(validate(&server, &id, &method, &code).await.refusal(), (403, "invalid request ID"));
    assert_eq!(validate(&server, &late, &method, &code).await.status, 200);
}

#[tokio::test]
async fn sealing_ends_logins_that_wait() {
    let (server, method, _, authenticator) = guarded(json!({})).await;
    let id = begin(&server, "bob").await;
    server.services().seal_state.seal().await;
    server.unseal().await;
    let code = authenticator.code(server.clock.now(), 0);
    assert_eq!(validate(&server, &id, &method, &code).await.refusal(), (403, "invalid request ID"));
}

#[tokio::test]
async fn a_login_that_waits_is_judged_by_what_holds_then() {
    const OVER: (u16, &str) = (403, "the login does not hold any more; log in again");
    let (server, method, bob, authenticator) = guarded(json!({})).await;
    let at = format!("identity/entity/id/{bob}");
    let code = async || {
        server.clock.advance(Duration::from_mins(1));
        authenticator.code(server.clock.now(), 0)
    };
    let id = begin(&server, "bob").await;
    server.write(&at, json!({"policies": ["mounts"]})).await;
    let made = validate(&server, &id, &method, &code().await).await;
    assert_eq!(made.auth()["identity_policies"], json!(["mounts"]));
    assert_eq!(server.get(&made.token(), "sys/mounts").await.status, 200);

    let id = begin(&server, "bob").await;
    server.write(&at, json!({"disabled": true})).await;
    assert_eq!(validate(&server, &id, &method, &code().await).await.refusal(), OVER, "disabled");
    server.write(&at, json!({"disabled": false})).await;
    assert_eq!(validate(&server, &id, &method, &code().await).await.status, 200, "and enabled again");

    let id = begin(&server, "bob").await;
    server.write(&format!("{at}/revoke"), json!({})).await;
    assert_eq!(validate(&server, &id, &method, &code().await).await.refusal(), OVER, "revoked since");

    let id = begin(&server, "bob").await;
    let more = crate::mfa::method(&server, json!({})).await;
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "new", json!({"mfa_method_ids": [more], "auth_method_accessors": [door]})).await;
    let spare = scan(&server, &more, &bob).await;
    let now = code().await;
    let payload = json!({&*method: [now], &*more: [spare.code(server.clock.now(), 0)]});
    let input = json!({"mfa_request_id": id, "mfa_payload": payload});
    let refused = server.ask(Request::new("", Verb::Write, "sys/mfa/validate", input)).await;
    assert!(refused.error().starts_with("failed to satisfy enforcement new."), "not a method of this login");
    assert_eq!(server.delete("identity/mfa/login-enforcement/new").await.status, 204);
    assert_eq!(validate(&server, &id, &method, &code().await).await.status, 200);

    let id = begin(&server, "bob").await;
    assert_eq!(server.delete(&at).await.status, 204);
    assert_eq!(validate(&server, &id, &method, &code().await).await.refusal(), OVER, "deleted");
    let id = begin(&server, "bob").await;
    let missing = validate(&server, &id, &method, &code().await).await;
    assert!(
        missing.error().contains("not present in entity"),
        "a new entity, without a key: {}",
        missing.body
    );
    server.disable("auth/door/").await;
    assert_eq!(validate(&server, &id, &method, &code().await).await.refusal(), OVER, "the mount is gone");
}

#[tokio::test]
async fn keys_go_with_entities_that_are_merged() {
    let (server, method, bob, authenticator) = guarded(json!({})).await;
    let id = begin(&server, "bob").await;
    let made = server.write("identity/entity", json!({"name": "robert"})).await;
    let robert = made.data()["id"].as_str().unwrap().to_owned();
    let other = scan(&server, &method, &robert).await;
    let mut merge = json!({"from_entity_ids": [bob], "to_entity_id": robert});
    let refused = server.write("identity/entity/merge", merge.clone()).await;
    assert!(refused.error().contains("conflicting MFA secrets"), "{}", refused.body);
    merge["force"] = json!(true);
    assert_eq!(server.write("identity/entity/merge", merge).await.status, 204);
    let now = server.clock.now();
    assert_eq!(validate(&server, &id, &method, &authenticator.code(now, 0)).await.status, 403);
    let made = validate(&server, &id, &method, &other.code(now, 0)).await;
    assert_eq!(made.auth()["entity_id"], robert.as_str(), "the key of the one that stays");
    let third = server.write("identity/entity", json!({"name": "rob"})).await.data()["id"].clone();
    let merge = json!({"from_entity_ids": [robert], "to_entity_id": third});
    assert_eq!(server.write("identity/entity/merge", merge).await.status, 204);
    let used = at_once(&server, "bob", &format!("{method}:{}", other.code(now, 0))).await;
    assert!(used.error().contains("code already used"), "a used passcode stays used: {}", used.body);
    assert_eq!(at_once(&server, "bob", &format!("{method}:{}", other.code(now, 1))).await.status, 200);
}

#[tokio::test]
async fn an_enforcement_that_names_what_is_gone_refuses() {
    let (server, method, _, _) = guarded(json!({})).await;
    assert_eq!(server.delete("identity/mfa/login-enforcement/door").await.status, 204);
    assert_ne!(entity(&server, "bob").await, "");
    let door = accessor(&server, "auth/door/").await;
    let dev = group(&server, json!({"name": "dev"})).await;
    let ann = entity(&server, "ann").await;
    let gate = accessor(&server, "auth/gate/").await;
    for (field, named, path) in [
        ("identity_group_ids", &dev, format!("identity/group/id/{dev}")),
        ("identity_entity_ids", &ann, format!("identity/entity/id/{ann}")),
        ("auth_method_accessors", &gate, "sys/auth/gate".to_owned()),
    ] {
        enforce(&server, "who", json!({"mfa_method_ids": [method], field: [named]})).await;
        assert_ne!(entity(&server, "bob").await, "", "{field}: not he");
        assert_eq!(server.delete(&path).await.status, 204);
        let refused = login(&server, json!({"name": "bob"})).await;
        let (status, text) = refused.refusal();
        assert_eq!(status, 403, "{field}");
        assert!(text.starts_with("login enforcement \"who\" names what does not exist any more: "), "{text}");
        assert!(text.contains(named.as_str()), "{text}");
        let mut mended = json!({"mfa_method_ids": [method], field: []});
        mended["auth_method_accessors"] = json!([door]);
        enforce(&server, "who", mended).await;
        assert_eq!(entity(&server, "bob").await, "", "{field}: it is mended");
        assert_eq!(server.delete("identity/mfa/login-enforcement/who").await.status, 204);
    }
    let written =
        server.write("identity/mfa/login-enforcement/who", json!({"mfa_method_ids": [method]})).await;
    assert_eq!(written.status, 400, "for nobody");
}
