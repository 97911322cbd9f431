//! Identity tokens: named keys, roles, what a token says, who verifies it, and time.

use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_oidc::{Algorithm, Parts};
use strongroom_pipeline::{Settings, Verb};
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::{Request, Response, Server, Setup};

use crate::rig::{DENIED, accessor, door, group, login, token};

const HOUR: Duration = Duration::from_secs(3600);
const ADDRESS: &str = "https://vault.example:8200";

/// A server with an address, and with a policy `tokens` that lets its holder get tokens of roles.
pub(crate) async fn server() -> Server {
    let settings = Settings { api_addr: ADDRESS.to_owned(), ..Settings::default() };
    let server = Setup::default().with(door).settings(settings).start().await;
    server.enable("auth/door/", "door").await;
    server.policy("tokens", r#"path "identity/oidc/token/*" { capabilities = ["read"] }"#).await;
    server
}

pub(crate) async fn caller(server: &Server, name: &str) -> (String, String) {
    let made = login(server, json!({ "name": name, "policies": ["tokens", "default"] })).await;
    (made.token(), made.auth()["entity_id"].as_str().unwrap().to_owned())
}

pub(crate) fn claims(token: &str) -> Map<String, Value> {
    Parts::of(token).expect("a token").claims
}

fn kid(token: &str) -> String {
    Parts::of(token).expect("a token").kid
}

async fn done(server: &Server, path: &str, input: Value) {
    let answer = server.write(&format!("identity/oidc/{path}"), input).await;
    assert_eq!(answer.status, 204, "{path}: {}", answer.body);
}

async fn role_with(server: &Server, algorithm: &str) {
    done(server, "key/k", json!({ "algorithm": algorithm, "allowed_client_ids": "*" })).await;
    done(server, "role/r", json!({ "key": "k", "client_id": "app" })).await;
}

async fn identity_token(server: &Server, caller: &str) -> String {
    server.get(caller, "identity/oidc/token/r").await.data()["token"].as_str().unwrap().to_owned()
}

async fn kids(server: &Server) -> Vec<String> {
    let keys = server.get("", "identity/oidc/.well-known/keys").await;
    assert_eq!(keys.status, 200);
    let keys = keys.body["keys"].as_array().unwrap().clone();
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn introspect(server: &Server, input: Value) -> Value {
    let told = server.write("identity/oidc/introspect", input).await;
    assert_eq!(told.status, 200);
    told.body
}

#[tokio::test]
async fn a_named_key_is_created_read_listed_and_deleted() {
    let server = server().await;
    assert_eq!(server.list("identity/oidc/key").await.data()["keys"], json!(["default"]));
    let default = server.read("identity/oidc/key/default").await;
    let expected = json!({
        "algorithm": "RS256", "allowed_client_ids": ["*"], "rotation_period": 86400, "verification_ttl": 86400,
    });
    assert_eq!(default.data(), &expected);
    done(
        &server,
        "key/k",
        json!({ "algorithm": "ES384", "rotation_period": "12h", "verification_ttl": 43200 }),
    )
    .await;
    let expected = json!({
        "algorithm": "ES384", "allowed_client_ids": [], "rotation_period": 43200, "verification_ttl": 43200,
    });
    assert_eq!(server.read("identity/oidc/key/k").await.data(), &expected);
    done(&server, "key/k", json!({ "allowed_client_ids": "a,b,a" })).await;
    let read = server.read("identity/oidc/key/k").await;
    assert_eq!(read.data()["allowed_client_ids"], json!(["a", "b"]));
    assert_eq!(read.data()["algorithm"], "ES384", "what is left out stays");
    assert_eq!(server.list("identity/oidc/key").await.data()["keys"], json!(["default", "k"]));
    assert_eq!(kids(&server).await.len(), 2, "the next key is published too");
    assert_eq!(server.delete("identity/oidc/key/k").await.status, 204);
    assert_eq!(server.read("identity/oidc/key/k").await.status, 404);
    assert!(kids(&server).await.is_empty());
}

#[tokio::test]
async fn refusals_are_in_vaults_words() {
    let server = server().await;
    role_with(&server, "EdDSA").await;
    for (path, input, text) in [
        (
            "config",
            json!({"issuer": "https://a/b"}),
            "invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)",
        ),
        ("key/x", json!({"algorithm": "HS256"}), "unknown signing algorithm \"HS256\""),
        ("key/x", json!({"rotation_period": 59}), "rotation_period must be at least one minute"),
        (
            "key/x",
            json!({"rotation_period": 60, "verification_ttl": 601}),
            "verification_ttl cannot be longer than 10x rotation_period",
        ),
        (
            "key/k",
            json!({"verification_ttl": "1h"}),
            "unable to update key \"k\" because it is currently referenced by one or more roles with a token ttl greater than 3600 seconds: r",
        ),
        ("key/x/rotate", json!({}), "no named key found at \"x\""),
        ("role/x", json!({}), "the key parameter is required"),
        ("role/x", json!({"key": "none"}), "cannot find key \"none\""),
        (
            "role/r",
            json!({"ttl": "25h"}),
            "a role's token ttl cannot be longer than the verification_ttl of the key it references",
        ),
        (
            "role/r",
            json!({"template": "{\"iss\": \"x\"}"}),
            "top level key \"iss\" not allowed. Restricted keys: iat, aud, exp, iss, sub, namespace, nonce, auth_time, at_hash, c_hash",
        ),
    ] {
        let refused = server.write(&format!("identity/oidc/{path}"), input).await;
        assert_eq!(refused.refusal(), (400, text), "{path}");
    }
    let refused = server.delete("identity/oidc/key/k").await;
    let text = "unable to delete key \"k\" because it is currently referenced by these roles: r";
    assert_eq!(refused.refusal(), (400, text));
    let refused = server.delete("identity/oidc/key/default").await;
    assert_eq!(refused.refusal(), (400, "deletion of key \"default\" not allowed"));
    let refused = server.read("identity/oidc/token/r").await;
    assert_eq!(refused.refusal(), (400, "no entity associated with the request's token"));
    let (caller, _) = caller(&server, "ann").await;
    let refused = server.get(&caller, "identity/oidc/token/none").await;
    assert_eq!(refused.refusal(), (400, "role \"none\" not found"));
    done(&server, "key/k", json!({ "allowed_client_ids": "other" })).await;
    let refused = server.get(&caller, "identity/oidc/token/r").await;
    let text = "the key \"k\" does not list the client ID of the role \"r\" as an allowed client ID";
    assert_eq!(refused.refusal(), (400, text));
}

#[tokio::test]
async fn a_token_says_who_its_entity_is() {
    let server = server().await;
    let (caller, id) = caller(&server, "ann").await;
    let in_group = group(&server, json!({ "name": "web", "member_entity_ids": [id] })).await;
    server.write(&format!("identity/entity/id/{id}"), json!({ "metadata": { "color": "green" } })).await;
    let door = accessor(&server, "auth/door/").await;
    let template = format!(
        r#"{{"color": {{{{identity.entity.metadata.color}}}}, "user": {{"name": {{{{identity.entity.aliases.{door}.name}}}},
            "groups": {{{{identity.entity.groups.names}}}}, "ids": {{{{identity.entity.groups.ids}}}}}}, "nbf": {{{{time.now}}}}}}"#
    );
    done(&server, "key/k", json!({ "algorithm": "ES256", "allowed_client_ids": "app" })).await;
    done(&server, "role/r", json!({ "key": "k", "client_id": "app", "template": template, "ttl": "12h" }))
        .await;
    let read = server.read("identity/oidc/role/r").await;
    assert_eq!(read.data(), &json!({ "client_id": "app", "key": "k", "template": template, "ttl": 43200 }));
    let given = server.get(&caller, "identity/oidc/token/r").await;
    assert_eq!((&given.data()["client_id"], &given.data()["ttl"]), (&json!("app"), &json!(43200)));
    let token = given.data()["token"].as_str().unwrap();
    let now = server.clock.now().as_secs();
    let expected = json!({
        "iss": format!("{ADDRESS}/v1/identity/oidc"), "sub": id, "aud": "app", "iat": now, "exp": now + 43200,
        "namespace": "root", "color": "green", "nbf": now,
        "user": { "name": "ann", "groups": ["web"], "ids": [in_group] },
    });
    assert_eq!(Value::Object(claims(token)), expected);
    assert!(kids(&server).await.contains(&kid(token)));
    let drawn = server.write("identity/oidc/role/drawn", json!({ "key": "k" })).await;
    assert_eq!(drawn.status, 204);
    let id = server.read("identity/oidc/role/drawn").await.data()["client_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 26);
    assert_eq!(server.list("identity/oidc/role").await.data()["keys"], json!(["drawn", "r"]));
    assert_eq!(server.delete("identity/oidc/role/drawn").await.status, 204);
    assert_eq!(server.read("identity/oidc/role/drawn").await.status, 404);
}

#[tokio::test]
async fn every_algorithm_signs_what_introspection_takes() {
    let server = server().await;
    let (caller, _) = caller(&server, "ann").await;
    for algorithm in Algorithm::ALL.map(Algorithm::name) {
        role_with(&server, algorithm).await;
        let token = identity_token(&server, &caller).await;
        assert_eq!(Parts::of(&token).unwrap().algorithm, algorithm);
        assert_eq!(introspect(&server, json!({ "token": token })).await, json!({ "active": true }));
    }
}

#[tokio::test]
async fn the_issuer_is_configured_and_told() {
    let server = server().await;
    let (caller, _) = caller(&server, "ann").await;
    role_with(&server, "EdDSA").await;
    let told = server.get("", "identity/oidc/.well-known/openid-configuration").await;
    let issuer = format!("{ADDRESS}/v1/identity/oidc");
    assert_eq!(
        (told.body["issuer"].as_str(), told.header("Cache-Control")),
        (Some(&*issuer), Some("max-age=3600"))
    );
    assert_eq!(told.body["jwks_uri"], format!("{issuer}/.well-known/keys"));
    let before = identity_token(&server, &caller).await;
    let set = server.write("identity/oidc/config", json!({ "issuer": "https://sso.example" })).await;
    assert_eq!(set.status, 200);
    assert!(set.text("/warnings/0").starts_with("If \"issuer\" is set explicitly"), "{}", set.body);
    assert_eq!(server.read("identity/oidc/config").await.data(), &json!({ "issuer": "https://sso.example" }));
    let token = identity_token(&server, &caller).await;
    assert_eq!(claims(&token)["iss"], "https://sso.example/v1/identity/oidc");
    let told = server.get("", "identity/oidc/.well-known/openid-configuration").await;
    assert_eq!(told.body["issuer"], claims(&token)["iss"]);
    assert_eq!(introspect(&server, json!({ "token": before })).await["active"], false, "of another issuer");
    assert_eq!(server.write("identity/oidc/config", json!({ "issuer": "" })).await.status, 204);
    assert_eq!(introspect(&server, json!({ "token": before })).await["active"], true);
}

#[tokio::test]
async fn introspection_finds_what_is_wrong() {
    let server = server().await;
    let (caller, id) = caller(&server, "ann").await;
    role_with(&server, "ES256").await;
    let token = identity_token(&server, &caller).await;
    let says = |told: Value| {
        (told["active"].as_bool().unwrap(), told["error"].as_str().unwrap_or_default().to_owned())
    };
    let inactive = |text: &str| (false, text.to_owned());
    let ask = |input: Value| introspect(&server, input);
    assert_eq!(says(ask(json!({ "token": token, "client_id": "app" })).await), (true, String::new()));
    let other = ask(json!({ "token": token, "client_id": "x" })).await;
    assert_eq!(says(other), inactive("error validating claims: invalid audience claim (aud)"));
    assert_eq!(says(ask(json!({ "token": "x" })).await), inactive("error parsing token"));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    let text = "unable to validate the token signature";
    assert_eq!(says(ask(json!({ "token": forged })).await), inactive(text));
    let entity = format!("identity/entity/id/{id}");
    server.write(&entity, json!({ "disabled": true })).await;
    assert_eq!(says(ask(json!({ "token": token })).await), inactive("entity was not found"));
    server.write(&entity, json!({ "disabled": false })).await;
    assert!(says(ask(json!({ "token": token })).await).0);
    server.clock.advance(24 * HOUR);
    let text = "error validating claims: token is expired (exp)";
    assert_eq!(says(ask(json!({ "token": token })).await), inactive(text));
    let (caller, id) = crate::oidc::caller(&server, "bob").await;
    let token = identity_token(&server, &caller).await;
    server.delete(&format!("identity/entity/id/{id}")).await;
    assert_eq!(says(ask(json!({ "token": token })).await), inactive("entity was not found"));
    let unsigned = server.post("", "identity/oidc/introspect", json!({ "token": token })).await;
    assert_eq!(unsigned.status, 403, "it takes a token of the server");
}

#[tokio::test]
async fn a_key_is_rotated_in_time_and_verified_for_a_while() {
    let server = server().await;
    let start = server.clock.now();
    let (caller, _) = caller(&server, "ann").await;
    let input = json!({ "algorithm": "ES256", "allowed_client_ids": "*", "rotation_period": "24h", "verification_ttl": "12h" });
    done(&server, "key/k", input).await;
    done(&server, "role/r", json!({ "key": "k", "client_id": "app", "ttl": "12h" })).await;
    let first = identity_token(&server, &caller).await;
    let before = kids(&server).await;
    let next = before.iter().find(|id| **id != kid(&first)).unwrap().clone();
    let keys = server.get("", "identity/oidc/.well-known/keys").await;
    assert_eq!(keys.header("Cache-Control"), Some("max-age=3600"));
    server.clock.advance(23 * HOUR + Duration::from_secs(3500));
    let keys = server.get("", "identity/oidc/.well-known/keys").await;
    assert_eq!(keys.header("Cache-Control"), Some("max-age=100"), "until it rotates");
    server.settle().await;
    assert_eq!(kids(&server).await, before, "it is not due");
    let (caller, _) = crate::oidc::caller(&server, "ann").await;
    let last = identity_token(&server, &caller).await;
    server.clock.advance(Duration::from_secs(100));
    server.settle().await;
    let (caller, _) = crate::oidc::caller(&server, "ann").await;
    let second = identity_token(&server, &caller).await;
    assert_eq!(kid(&second), next, "the next key signs, which was published before");
    let after = kids(&server).await;
    assert_eq!(after.len(), 3);
    assert!(after.contains(&kid(&first)), "and the last one is verified");
    assert_eq!(introspect(&server, json!({ "token": last })).await["active"], true);
    server.clock.advance(12 * HOUR);
    assert_eq!(kids(&server).await.len(), 2, "no longer than the verification TTL, with or without the job");
    server.settle().await;
    assert_eq!(kids(&server).await.len(), 2);
    let stored = server.services().oidc.clone();
    assert_eq!(
        stored
            .key(&server.view().await, strongroom_barrier::NamespaceId::ROOT, "k")
            .await
            .unwrap()
            .unwrap()
            .next_rotation,
        start.after(48 * HOUR)
    );
}

#[tokio::test]
async fn a_key_is_rotated_by_hand() {
    let server = server().await;
    let (caller, _) = caller(&server, "ann").await;
    role_with(&server, "EdDSA").await;
    let first = identity_token(&server, &caller).await;
    done(&server, "key/k/rotate", json!({})).await;
    let second = identity_token(&server, &caller).await;
    assert_ne!(kid(&first), kid(&second));
    assert_eq!(introspect(&server, json!({ "token": first })).await["active"], true);
    done(&server, "key/k/rotate", json!({ "verification_ttl": 0 })).await;
    assert_eq!(introspect(&server, json!({ "token": second })).await["active"], false, "at once");
    assert_eq!(introspect(&server, json!({ "token": first })).await["active"], true);
    let third = identity_token(&server, &caller).await;
    done(&server, "key/k", json!({ "algorithm": "ES512" })).await;
    let fourth = identity_token(&server, &caller).await;
    assert_eq!(Parts::of(&fourth).unwrap().algorithm, "ES512");
    assert_eq!(
        introspect(&server, json!({ "token": third })).await["active"],
        true,
        "of the former algorithm"
    );
}

#[tokio::test]
async fn the_default_key_is_made_when_it_is_first_used() {
    let server = server().await;
    let (caller, _) = caller(&server, "ann").await;
    assert!(kids(&server).await.is_empty());
    done(&server, "role/r", json!({ "key": "default" })).await;
    assert_eq!(kids(&server).await.len(), 2);
    let token = identity_token(&server, &caller).await;
    assert_eq!(introspect(&server, json!({ "token": token })).await["active"], true);
}

#[tokio::test]
async fn each_namespace_has_its_own_keys() {
    let server = server().await;
    assert_eq!(server.write("sys/namespaces/team", json!({})).await.status, 200);
    let within = |asked: Verb, path: &str, input: Value| {
        let request = Request::new(&server.root, asked, path, input).within("team");
        async { server.ask(request).await }
    };
    let (caller, _) = caller(&server, "ann").await;
    role_with(&server, "EdDSA").await;
    let token = identity_token(&server, &caller).await;
    let told: Response =
        within(Verb::Read, "identity/oidc/.well-known/openid-configuration", json!({})).await;
    assert_eq!(told.body["issuer"], format!("{ADDRESS}/v1/team/identity/oidc"));
    let told = within(Verb::Read, "identity/oidc/.well-known/keys", json!({})).await;
    assert_eq!(told.body["keys"], json!([]));
    let told = within(Verb::Write, "identity/oidc/introspect", json!({ "token": token })).await;
    assert_eq!(told.body["active"], false);
    assert_eq!(within(Verb::Read, "identity/oidc/key/k", json!({})).await.status, 404);
    within(Verb::Write, "identity/oidc/key/k", json!({ "rotation_period": "1m", "verification_ttl": "1m" }))
        .await;
    assert_eq!(server.delete("sys/namespaces/team").await.status / 100, 2);
    server.pass(Duration::from_secs(180), Duration::from_secs(60)).await;
    assert_eq!(kids(&server).await.len(), 2, "and nothing is left to rotate that is gone");
}

#[tokio::test]
async fn a_token_takes_a_policy() {
    let server = server().await;
    role_with(&server, "EdDSA").await;
    let other = token(&server, "eve").await;
    assert_eq!(server.get(&other, "identity/oidc/token/r").await.refusal(), DENIED);
    assert_eq!(server.get("", "identity/oidc/token/r").await.status, 403);
}

#[tokio::test]
async fn a_standby_gives_tokens_and_verifies_them() {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 2, 1, Faults { conflicts: 0, unknown: 0 }).await;
    let key = json!({ "algorithm": "ES256", "allowed_client_ids": "*" });
    cluster.done(Verb::Write, "identity/oidc/key/k", key).await;
    cluster.done(Verb::Write, "identity/oidc/config", json!({ "issuer": "https://sso.example" })).await;
    cluster.done(Verb::Write, "identity/oidc/role/r", json!({ "key": "k" })).await;
    let app = json!({ "allowed_entity_aliases": ["*"], "orphan": true, "allowed_policies": ["all"] });
    cluster.done(Verb::Write, "auth/token/roles/app", app).await;
    let made = cluster
        .done(Verb::Write, "auth/token/create/app", json!({ "entity_alias": "web", "policies": "all" }))
        .await;
    let caller = made.token();
    let at = |node: usize, asked: Verb, path: &'static str, input: Value| {
        let request = Request::new(&caller, asked, path, input);
        let cluster = &cluster;
        async move { cluster.send(node, &request, None).await.unwrap().expect("an answer") }
    };
    let given = at(1, Verb::Read, "identity/oidc/token/r", json!({})).await;
    let token = given.data()["token"].as_str().unwrap().to_owned();
    for node in [0, 1] {
        let told = at(node, Verb::Write, "identity/oidc/introspect", json!({ "token": token })).await;
        assert_eq!(told.body["active"], true, "node {node}");
        let keys = at(node, Verb::Read, "identity/oidc/.well-known/keys", json!({})).await;
        assert_eq!(keys.body["keys"].as_array().unwrap().len(), 2);
    }
}
