//! Identity tokens of mounts, and what engines learn of entities.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{Engine, EngineError, IdentityTokenRequest, Input, Path, Reply, System};
use strongroom_oidc::Parts;
use strongroom_pipeline::{Settings, Verb};
use strongroom_testkit::{Request, Response, Server, Setup};

use crate::oidc::claims;
use crate::rig::{accessor, door, group, login};

#[derive(Deserialize, JsonSchema)]
struct ProveInput {
    /// The audience.
    audience: Option<Text>,
    /// The TTL.
    ttl: Option<Ttl>,
    /// The key.
    key: Option<Text>,
}

async fn prove(system: System, Input(input): Input<ProveInput>) -> Result<Reply, EngineError> {
    let request = IdentityTokenRequest {
        audience: input.audience.map(|audience| audience.0).unwrap_or_default(),
        ttl: input.ttl.map(|ttl| ttl.0).unwrap_or_default(),
        key: input.key.map(|key| key.0).unwrap_or_default(),
    };
    let made = system.identity_token(&request).await?;
    Reply::data(&json!({"token": made.token.expose(), "ttl": made.ttl.as_secs()}))
}

async fn who(Path(id): Path<String>, system: System) -> Result<Reply, EngineError> {
    let found = system.entity(&id).await?;
    let told = found.map(|found| json!([found.id, found.name, found.metadata, found.groups]));
    Reply::data(&json!({ "who": told }))
}

fn routes(engine: Engine) -> Engine {
    engine
        .route("prove", |r| r.update("Say who the mount is.", prove))
        .route("who/{id}", |r| r.read("Say who somebody is.", who))
}

async fn server() -> Server {
    let settings = Settings { api_addr: "https://vault.example:8200".to_owned(), ..Settings::default() };
    let setup = Setup::default().with(door).settings(settings);
    let setup = setup.with(|| routes(Engine::new("cloud", "Proves who it is.")));
    let server = setup.with(|| routes(Engine::auth("clouds", "Proves who it is."))).start().await;
    server.enable("cloud/", "cloud").await;
    server.enable("auth/clouds/", "clouds").await;
    server.enable("auth/door/", "door").await;
    server
}

async fn proof(server: &Server, input: Value) -> String {
    server.write("cloud/prove", input).await.data()["token"].as_str().unwrap().to_owned()
}

async fn is_good(server: &Server, token: &str) -> bool {
    let parts = Parts::of(token).expect("a token");
    let keys = server.get("", "identity/oidc/plugins/.well-known/keys").await.body["keys"].clone();
    let is_published = keys.as_array().unwrap().iter().any(|key| key["kid"] == parts.kid.as_str());
    let namespace = strongroom_barrier::NamespaceId::ROOT;
    let is_signed = server.services().oidc.is_signed(&server.view().await, namespace, &parts).await.unwrap();
    assert_eq!(is_signed, is_published);
    is_signed
}

#[tokio::test]
async fn a_mount_proves_which_it_is() {
    let server = server().await;
    for (path, class) in [("cloud/", "secret"), ("auth/clouds/", "auth")] {
        let told = server.write(&format!("{path}prove"), json!({"audience": "sts.example"})).await;
        let token = told.data()["token"].as_str().unwrap().to_owned();
        let (accessor, kind) =
            (accessor(&server, path).await, path.trim_end_matches('/').trim_start_matches("auth/"));
        let expected = json!({
            "iss": "https://vault.example:8200/v1/identity/oidc/plugins",
            "sub": format!("plugin-identity:root:{class}:{accessor}"),
            "aud": ["sts.example"], "iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_003_600,
            "vaultproject.io": {
                "accessor": accessor, "class": class, "local": false, "namespace_id": "root", "namespace_path": "",
                "path": format!("{kind}/"), "plugin": kind,
                "version": format!("v{}+builtin.strongroom", Settings::default().version),
            },
        });
        assert_eq!(Value::Object(claims(&token)), expected);
        assert_eq!(told.data()["ttl"], 3600);
        assert!(is_good(&server, &token).await);
    }
    let config = server.get("", "identity/oidc/plugins/.well-known/openid-configuration").await.body;
    assert_eq!(config["issuer"], "https://vault.example:8200/v1/identity/oidc/plugins");
    assert_eq!(config["jwks_uri"], "https://vault.example:8200/v1/identity/oidc/plugins/.well-known/keys");
    // Nobody's token: it is good for nothing here.
    let token = proof(&server, json!({"audience": "a"})).await;
    assert_eq!(server.write("identity/oidc/introspect", json!({"token": token})).await.body["active"], false);
    server.write("identity/oidc/config", json!({"issuer": "https://public.example"})).await;
    let token = proof(&server, json!({"audience": "a"})).await;
    assert_eq!(claims(&token)["iss"], "https://public.example/v1/identity/oidc/plugins");
}

#[tokio::test]
async fn the_key_says_for_whom_and_how_long() {
    let server = server().await;
    let input = json!({"algorithm": "ES256", "allowed_client_ids": "a,b", "rotation_period": "1h", "verification_ttl": "10m"});
    server.write("identity/oidc/key/k", input).await;
    let refused = async |input: Value| server.write("cloud/prove", input).await;
    let text = "the key \"k\" does not list the audience as an allowed client ID";
    assert_eq!(refused(json!({"audience": "c", "key": "k"})).await.refusal(), (400, text));
    assert_eq!(
        refused(json!({"audience": "a", "key": "none"})).await.refusal(),
        (400, "key \"none\" not found")
    );
    assert_eq!(refused(json!({"key": "k"})).await.refusal(), (400, "missing audience of the identity token"));
    for (ttl, lives) in [("1m", 60), ("10m", 600), ("5h", 600), ("0", 600)] {
        let told = refused(json!({"audience": "b", "key": "k", "ttl": ttl})).await;
        let claims = claims(told.data()["token"].as_str().unwrap());
        assert_eq!((&told.data()["ttl"], &claims["exp"]), (&json!(lives), &json!(1_700_000_000 + lives)));
    }
}

#[tokio::test]
async fn a_rotated_key_verifies_its_tokens_to_their_end() {
    let server = server().await;
    let input = json!({"algorithm": "EdDSA", "allowed_client_ids": "*", "rotation_period": "1h", "verification_ttl": "1h"});
    server.write("identity/oidc/key/k", input).await;
    let ask = json!({"audience": "a", "key": "k"});
    server.pass(Duration::from_secs(3000), Duration::from_secs(600)).await;
    let first = proof(&server, ask.clone()).await;
    server.pass(Duration::from_secs(1200), Duration::from_secs(300)).await;
    let second = proof(&server, ask).await;
    assert_ne!(
        Parts::of(&first).unwrap().kid,
        Parts::of(&second).unwrap().kid,
        "the job has rotated the key"
    );
    assert!(is_good(&server, &first).await && is_good(&server, &second).await);
    server.pass(Duration::from_secs(3600), Duration::from_secs(300)).await;
    assert!(!is_good(&server, &first).await, "an hour after its key has last signed");
}

#[tokio::test]
async fn namespaces_prove_by_keys_of_their_own() {
    let server = server().await;
    server.write("sys/namespaces/team", json!({})).await;
    let within = async |asked: Verb, path: &str, input: Value| -> Response {
        server.ask(Request::new(&server.root, asked, path, input).within("team")).await
    };
    assert_eq!(within(Verb::Write, "sys/mounts/c", json!({"type": "cloud"})).await.status, 204);
    let told = within(Verb::Write, "c/prove", json!({"audience": "a"})).await;
    let claims = claims(told.data()["token"].as_str().unwrap());
    assert_eq!(claims["iss"], "https://vault.example:8200/v1/team/identity/oidc/plugins");
    let of = &claims["vaultproject.io"];
    let id = of["namespace_id"].as_str().unwrap();
    assert_eq!((of["namespace_path"].as_str(), of["path"].as_str()), (Some("team/"), Some("c/")));
    let subject = format!("plugin-identity:{id}:secret:{}", of["accessor"].as_str().unwrap());
    assert_eq!(claims["sub"], subject.as_str());
    assert_ne!(id, "root");
    assert!(
        !is_good(&server, told.data()["token"].as_str().unwrap()).await,
        "not by the root namespace's keys"
    );
    let keys = within(Verb::Read, "identity/oidc/plugins/.well-known/keys", json!({})).await;
    assert_eq!(keys.body["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn many_first_uses_at_once_make_one_key() {
    let server = server().await;
    let ask = || server.write("cloud/prove", json!({"audience": "a"}));
    let told = futures::future::join_all((0..4).map(|_| ask())).await;
    for told in told {
        assert!(is_good(&server, told.data()["token"].as_str().unwrap()).await);
    }
    let keys = server.get("", "identity/oidc/plugins/.well-known/keys").await.body["keys"].clone();
    assert_eq!(keys.as_array().unwrap().len(), 2, "what signs, and what will sign next");
}

#[tokio::test]
async fn engines_learn_of_entities() {
    let server = server().await;
    let id = login(&server, json!({"name": "ann"})).await.auth()["entity_id"].as_str().unwrap().to_owned();
    server.write(&format!("identity/entity/id/{id}"), json!({"name": "ann", "metadata": {"k": "v"}})).await;
    group(&server, json!({"name": "dev", "member_entity_ids": [id]})).await;
    let told = server.read(&format!("cloud/who/{id}")).await;
    assert_eq!(told.data()["who"], json!([id, "ann", {"k": "v"}, ["dev"]]));
    assert_eq!(server.read("cloud/who/nobody").await.data()["who"], Value::Null);
}
