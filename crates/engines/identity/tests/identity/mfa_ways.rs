//! Every way to a token by a login passes the enforcements.

use std::time::Duration;

use serde_json::json;
use strongroom_pipeline::{Inbound, Inline, InlineLogin, Verb};
use strongroom_testkit::{Request, Response};

use crate::mfa::{Authenticator, at_once, begin, enforce, guarded, method, scan, validate, validation};
use crate::rig::{accessor, entity, group, login, server};

#[tokio::test]
async fn batch_tokens_and_wrapped_logins_wait_as_well() {
    let (server, method, _, authenticator) = guarded(json!({})).await;
    let batch = login(&server, json!({"name": "bob", "batch": true})).await;
    let id = batch.text("/auth/mfa_requirement/mfa_request_id");
    let made = validate(&server, &id, &method, &authenticator.code(server.clock.now(), 0)).await;
    assert_eq!(made.auth()["token_type"], "batch");

    server.clock.advance(Duration::from_mins(1));
    let request = Request::new("", Verb::Write, "auth/door/login", json!({"name": "bob"}));
    let wrapped = server.ask(request.clone().wrapped(Duration::from_mins(5))).await;
    assert!(wrapped.body["wrap_info"].is_null(), "there is nothing to wrap yet: {}", wrapped.body);
    let id = wrapped.text("/auth/mfa_requirement/mfa_request_id");
    let done = validate(&server, &id, &method, &authenticator.code(server.clock.now(), 0)).await;
    let token = done.text("/wrap_info/token");
    assert_ne!(token, "", "wrapped as the login asked: {}", done.body);
    let opened = server.post(&token, "sys/wrapping/unwrap", json!({})).await;
    assert_eq!(server.get(&opened.token(), "auth/token/lookup-self").await.status, 200);

    server.clock.advance(Duration::from_mins(1));
    let id = begin(&server, "bob").await;
    let asks = validation(&id, &method, &authenticator.code(server.clock.now(), 0));
    let done = server.ask(asks.wrapped(Duration::from_mins(5))).await;
    assert_ne!(done.text("/wrap_info/token"), "", "{}", done.body);
    assert!(done.body["auth"].is_null());
}

#[tokio::test]
async fn enforcements_go_by_type_group_and_entity() {
    let server = server().await;
    let method = method(&server, json!({})).await;
    let bob = entity(&server, "bob").await;
    let waits = async |name: &str, groups: &[&str]| {
        let answer = login(&server, json!({"name": name, "groups": groups})).await;
        answer.auth()["client_token"] == ""
    };
    let door = accessor(&server, "auth/door/").await;
    let ops = group(&server, json!({"name": "ops", "type": "external"})).await;
    let alias = json!({"name": "the ops", "mount_accessor": door, "canonical_id": ops});
    assert_eq!(server.write("identity/group-alias", alias).await.status, 200);
    let all = group(&server, json!({"name": "all", "member_group_ids": [ops]})).await;
    for (field, named, who) in [
        ("identity_entity_ids", bob.as_str(), [true, false, false]),
        ("identity_group_ids", ops.as_str(), [false, true, false]),
        ("identity_group_ids", all.as_str(), [false, true, false]),
        ("auth_method_types", "door", [true, true, true]),
    ] {
        enforce(&server, "who", json!({"mfa_method_ids": [method], field: [named]})).await;
        assert_eq!(waits("bob", &[]).await, who[0], "{field}");
        assert_eq!(waits("ann", &["the ops"]).await, who[1], "{field}: groups of this login count");
        assert_eq!(waits("ann", &[]).await, who[2], "{field}");
        assert_eq!(server.delete("identity/mfa/login-enforcement/who").await.status, 204);
    }
    let typo = json!({"mfa_method_ids": [method], "auth_method_types": ["dor"]});
    let refused = server.write("identity/mfa/login-enforcement/who", typo).await;
    assert_eq!(refused.refusal(), (400, "auth method type \"dor\" is invalid"));
}

#[tokio::test]
async fn a_login_without_an_entity_is_refused() {
    let (server, _, _, _) = guarded(json!({})).await;
    let nobody = login(&server, json!({})).await;
    let text = "an entity is required for MFA, and this auth method's login has none";
    assert_eq!(nobody.refusal(), (403, text));
}

#[tokio::test]
async fn no_token_is_created_for_an_alias_that_would_be_asked() {
    let server = server().await;
    let role = json!({"allowed_entity_aliases": ["*"], "orphan": true});
    server.write("auth/token/roles/app", role).await;
    let create = async || server.write("auth/token/create/app", json!({"entity_alias": "web"})).await;
    let id = create().await.auth()["entity_id"].as_str().unwrap().to_owned();
    let method = method(&server, json!({})).await;
    let token = accessor(&server, "auth/token/").await;
    for who in [
        json!({"auth_method_types": ["token"]}),
        json!({"auth_method_accessors": [token]}),
        json!({"identity_entity_ids": [id]}),
    ] {
        let mut input = who.clone();
        input["mfa_method_ids"] = json!([method]);
        enforce(&server, "tokens", input).await;
        let text = "a login of this entity needs a second factor, so no token can be created for its alias";
        assert_eq!(create().await.refusal(), (403, text), "{who}");
        let child = server.write("auth/token/create", json!({})).await;
        assert_eq!(child.status, 200, "a token without an alias is no login");
        assert_eq!(server.delete("identity/mfa/login-enforcement/tokens").await.status, 204);
    }
    assert_eq!(create().await.status, 200);
}

#[tokio::test]
async fn a_method_holds_in_its_namespace_and_inside_it() {
    let server = server().await;
    assert_eq!(server.write("sys/namespaces/team", json!({})).await.status, 200);
    let within = async |path: &str, input: serde_json::Value| {
        server.ask(Request::new(&server.root, Verb::Write, path, input).within("team")).await
    };
    assert_eq!(within("sys/auth/door", json!({"type": "door"})).await.status, 204);
    let above = method(&server, json!({"method_name": "phone"})).await;
    let inner = json!({"mfa_method_ids": [above], "auth_method_types": ["door"]});
    assert_eq!(within("identity/mfa/login-enforcement/team", inner).await.status, 204);
    let below = within("identity/mfa/method/totp", json!({"issuer": "i"})).await.data()["method_id"].clone();
    let upward = json!({"mfa_method_ids": [below], "auth_method_types": ["door"]});
    let refused = server.write("identity/mfa/login-enforcement/up", upward).await;
    assert_eq!(refused.status, 400, "a method inside is none of those around it");
    assert_ne!(entity(&server, "bob").await, "", "nor is its enforcement");
    let enters = Request::new("", Verb::Write, "auth/door/login", json!({"name": "bob"})).within("team");
    let waiting = server.ask(enters).await;
    let id = waiting.text("/auth/mfa_requirement/mfa_request_id");
    let listed =
        server.ask(Request::new(&server.root, Verb::List, "identity/entity/id", json!({})).within("team"));
    let bob = listed.await.data()["keys"][0].clone();
    let asks = json!({"method_id": above, "entity_id": bob});
    let made = within("identity/mfa/method/totp/admin-generate", asks).await;
    let authenticator = Authenticator::of(made.data()["url"].as_str().unwrap());
    let code = authenticator.code(server.clock.now(), 0);
    let outside = server.ask(validation(&id, &above, &code)).await;
    assert_eq!(outside.refusal(), (403, "invalid request ID"), "it waits in its own namespace");
    let wrong = server.ask(validation(&id, &above, "000000").within("team")).await;
    assert!(wrong.error().starts_with("failed to satisfy enforcement team."), "{}", wrong.body);
    let unknown = server.ask(validation("x", &above, &code).within("team")).await;
    assert_eq!(unknown.refusal(), (403, "permission denied"), "who has not logged in learns nothing of it");
    let done = server.ask(validation(&id, &above, &code).within("team")).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let kept = server.delete(&format!("identity/mfa/method/totp/{above}")).await;
    assert!(kept.error().starts_with("methodID is still used by an enforcement"), "{}", kept.body);
    // What is enforced above holds inside as well.
    enforce(&server, "above", json!({"mfa_method_ids": [above], "auth_method_types": ["door"]})).await;
    let enters = Request::new("", Verb::Write, "auth/door/login", json!({"name": "bob"})).within("team");
    let constraints = server.ask(enters).await.auth()["mfa_requirement"]["mfa_constraints"].clone();
    assert_eq!(constraints.as_object().unwrap().keys().collect::<Vec<_>>(), ["above", "team"]);
}

#[tokio::test]
async fn somebody_without_a_key_enrolls_as_they_log_in() {
    let server = server().await;
    let totp = method(&server, json!({"enable_self_enrollment": true})).await;
    let closed = method(&server, json!({})).await;
    let door = accessor(&server, "auth/door/").await;
    enforce(&server, "door", json!({"mfa_method_ids": [totp, closed], "auth_method_accessors": [door]}))
        .await;
    let answer = login(&server, json!({"name": "bob"})).await;
    let any = answer.auth()["mfa_requirement"]["mfa_constraints"]["door"]["any"].clone();
    assert_eq!(any[0]["self_enrollment_enabled"], true);
    assert_eq!(any[1].get("self_enrollment_enabled"), None);
    let id = answer.text("/auth/mfa_requirement/mfa_request_id");
    let enroll = async |id: &str, method: &str| {
        let input = json!({"mfa_request_id": id, "mfa_method_id": method});
        server.ask(Request::new("", Verb::Write, "identity/mfa/method/totp/self-enroll", input)).await
    };
    assert_eq!(enroll("x", &totp).await.refusal(), (403, "invalid request ID"));
    assert_eq!(enroll(&id, &closed).await.status, 400);
    assert_eq!(enroll(&id, "x").await.status, 400);
    let lost = enroll(&id, &totp).await;
    let made = enroll(&id, &totp).await;
    let (lost, made) = (lost.data()["url"].clone(), made.data()["url"].clone());
    assert_ne!(lost, made);
    let now = server.clock.now();
    let code = |url: &serde_json::Value| Authenticator::of(url.as_str().unwrap()).code(now, 0);
    let other = begin(&server, "bob").await;
    let foreign = validate(&server, &other, &totp, &code(&made)).await;
    assert!(foreign.error().contains("not present in entity"), "it is of one login: {}", foreign.body);
    assert_eq!(validate(&server, &id, &totp, &code(&lost)).await.status, 403, "the first is void");
    assert_eq!(validate(&server, &id, &totp, &code(&made)).await.status, 200);
    let text = format!("Entity already has a secret for MFA method {totp:?}");
    assert_eq!(enroll(&other, &totp).await.refusal(), (400, &*text));
    let again = login(&server, json!({"name": "bob"})).await;
    let any = again.auth()["mfa_requirement"]["mfa_constraints"]["door"]["any"].clone();
    assert_eq!(any[0].get("self_enrollment_enabled"), None, "he has one now");
    let next = Authenticator::of(made.as_str().unwrap()).code(now, 1);
    assert_eq!(at_once(&server, "bob", &format!("{totp}:{next}")).await.status, 200);
    // A key that an administrator makes meanwhile goes before one that is being enrolled.
    let answer = login(&server, json!({"name": "ann"})).await;
    let id = answer.text("/auth/mfa_requirement/mfa_request_id");
    let enrolling = enroll(&id, &totp).await.data()["url"].clone();
    let found =
        server.write("identity/lookup/entity", json!({"alias_name": "ann", "alias_mount_accessor": door}));
    let ann = found.await.data()["id"].as_str().unwrap().to_owned();
    let given = scan(&server, &totp, &ann).await;
    assert_eq!(validate(&server, &id, &totp, &code(&enrolling)).await.status, 403);
    assert_eq!(validate(&server, &id, &totp, &given.code(now, 0)).await.status, 200);
}

#[tokio::test]
async fn a_login_that_a_request_carries_gives_its_second_factor_with_it() {
    let (server, method, _, authenticator) = guarded(json!({})).await;
    let ask = async |credential: Option<String>| -> Response {
        let request = Request::new("", Verb::Write, "sys/capabilities-self", json!({"paths": ["a"]}));
        let request = match credential {
            Some(credential) => request.header("x-vault-mfa", credential),
            None => request,
        };
        let login = InlineLogin {
            asked: Verb::Write,
            namespace: String::new(),
            path: "auth/door/login".to_owned(),
            input: json!({"name": "bob"}).as_object().unwrap().clone(),
        };
        let inbound = Inbound { inline: Inline::carrying(login), ..request.inbound() };
        server.core.pipeline.handle(inbound).await.into()
    };
    let text = "login MFA is required: requests with inline authentication give it in X-Vault-MFA headers";
    assert_eq!(ask(None).await.refusal(), (403, text));
    assert_eq!(ask(Some(format!("{method}:000000"))).await.status, 403);
    let code = authenticator.code(server.clock.now(), 0);
    assert_eq!(ask(Some(format!("{method}:{code}"))).await.status, 200);
    assert_eq!(ask(Some(format!("{method}:{code}"))).await.status, 403, "a passcode is good once");
}
