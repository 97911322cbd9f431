//! The OIDC provider: clients, assignments, scopes, providers, and the way from an authorization code to who somebody is.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join;
use serde_json::{Value, json};
use strongroom_oidc::Algorithm;
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

use crate::oidc::{caller, claims, server};
use crate::rig::login;

const CALLBACK: &str = "https://app.example/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A server with a provider `p`, a confidential client `app` and a public one `cli`, and Ann, who may use them.
struct Rig {
    server: Server,
    /// Ann's token, and her entity.
    ann: String,
    ann_id: String,
    app: (String, String),
    cli: String,
}

impl Rig {
    async fn new() -> Self {
        let server = server().await;
        let (ann, ann_id) = caller(&server, "ann").await;
        let done = |path: &'static str, input: Value| {
            let server = &server;
            async move {
                let answer = server.write(&format!("identity/oidc/{path}"), input).await;
                assert_eq!(answer.status, 204, "{path}: {}", answer.body);
            }
        };
        done("key/k", json!({ "algorithm": "ES256", "allowed_client_ids": "*" })).await;
        done("assignment/people", json!({ "entity_ids": [ann_id] })).await;
        done("scope/profile", json!({ "template": r#"{"username": {{identity.entity.name}}, "team": {{identity.entity.metadata.team}}}"# })).await;
        let client = json!({
            "key": "k", "assignments": "people", "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"],
            "id_token_ttl": "30m", "access_token_ttl": "1h",
        });
        done("client/app", client.clone()).await;
        let mut public = client;
        public["client_type"] = json!("public");
        done("client/cli", public).await;
        done("provider/p", json!({ "allowed_client_ids": "*", "scopes_supported": "profile" })).await;
        let app = server.read("identity/oidc/client/app").await;
        let text = |name: &str| app.data()[name].as_str().unwrap().to_owned();
        let cli = server.read("identity/oidc/client/cli").await;
        let cli = cli.data()["client_id"].as_str().unwrap().to_owned();
        let app = (text("client_id"), text("client_secret"));
        Self { server, ann, ann_id, app, cli }
    }

    fn asked(&self) -> Value {
        json!({
            "client_id": self.app.0, "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid profile other",
            "state": "s1", "nonce": "n1",
        })
    }

    async fn authorize(&self, token: &str, input: Value) -> Response {
        let path = "identity/oidc/provider/p/authorize";
        self.server.ask(Request::new(token, Verb::Read, path, input)).await
    }

    /// A code for what is asked with changes.
    async fn code(&self, changes: Value) -> String {
        let answer = self.authorize(&self.ann, with(self.asked(), changes)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text("/code")
    }

    async fn exchange(&self, code: &str, changes: Value) -> Response {
        let input = json!({
            "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
            "client_id": self.app.0, "client_secret": self.app.1,
        });
        self.server.post("", "identity/oidc/provider/p/token", with(input, changes)).await
    }

    async fn tokens(&self, changes: Value) -> (String, String) {
        let code = self.code(changes).await;
        let given = self.exchange(&code, json!({})).await;
        assert_eq!(given.status, 200, "{}", given.body);
        (given.text("/access_token"), given.text("/id_token"))
    }

    async fn userinfo(&self, access: &str) -> Response {
        self.server.get(access, "identity/oidc/provider/p/userinfo").await
    }
}

/// The members of one object over those of another; null removes.
fn with(mut base: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { unreachable!("an object") };
    let members = base.as_object_mut().unwrap();
    for (name, value) in changes {
        match value {
            Value::Null => members.remove(&name),
            value => members.insert(name, value),
        };
    }
    base
}

fn error(answer: &Response) -> (u16, String, String) {
    (answer.status, answer.text("/error"), answer.text("/error_description"))
}

fn failed(status: u16, code: &str, text: &str) -> (u16, String, String) {
    (status, code.to_owned(), text.to_owned())
}

fn s256(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

#[tokio::test]
async fn a_client_learns_who_somebody_is() {
    let rig = Rig::new().await;
    let answer = rig.authorize(&rig.ann, rig.asked()).await;
    assert_eq!((answer.status, answer.text("/state").as_str()), (200, "s1"));
    let code = answer.text("/code");
    assert_eq!(code.len(), 32);
    let given = rig.exchange(&code, json!({})).await;
    assert_eq!(given.status, 200, "{}", given.body);
    assert_eq!((&given.body["token_type"], &given.body["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(given.header("Pragma"), Some("no-cache"));
    let (access, now) = (given.text("/access_token"), rig.server.clock.now().as_secs());
    assert!(access.starts_with("hvb."));
    let expected = json!({
        "iss": "https://vault.example:8200/v1/identity/oidc/provider/p", "sub": rig.ann_id, "aud": rig.app.0,
        "iat": now, "exp": now + 1800, "namespace": "root", "nonce": "n1",
        "at_hash": Algorithm::ES256.half_hash(&access), "c_hash": Algorithm::ES256.half_hash(&code),
        "username": rig.server.read(&format!("identity/entity/id/{}", rig.ann_id)).await.data()["name"],
    });
    assert_eq!(
        Value::Object(claims(&given.text("/id_token"))),
        expected,
        "a team that she has not is left out"
    );
    let told = rig.userinfo(&access).await;
    assert_eq!(told.body, json!({ "sub": rig.ann_id, "username": expected["username"] }));
    let post = rig.server.post(&access, "identity/oidc/provider/p/userinfo", json!({})).await;
    assert_eq!(post.body, told.body);
    for path in ["auth/token/lookup-self", "sys/mounts", "identity/oidc/provider/p"] {
        assert_eq!(rig.server.get(&access, path).await.status, 403, "{path}: it is good for nothing else");
    }
    rig.server.clock.advance(Duration::from_secs(3600));
    let late = rig.userinfo(&access).await;
    assert_eq!(error(&late), failed(401, "invalid_token", "access token is invalid or expired"));
    let challenge = late.header("WWW-Authenticate").unwrap();
    assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn a_public_client_proves_itself_by_its_verifier() {
    let rig = Rig::new().await;
    let cli = json!({ "client_id": rig.cli });
    let refused = rig.authorize(&rig.ann, with(rig.asked(), cli.clone())).await;
    assert_eq!(error(&refused), failed(400, "invalid_request", "PKCE is required for public clients"));
    assert_eq!(refused.text("/state"), "s1");
    for (method, challenge) in
        [("S256", s256(VERIFIER)), ("plain", VERIFIER.to_owned()), ("", VERIFIER.to_owned())]
    {
        let asked =
            with(cli.clone(), json!({ "code_challenge": challenge, "code_challenge_method": method }));
        let own = json!({ "client_id": rig.cli, "client_secret": null, "code_verifier": VERIFIER });
        let code = rig.code(asked.clone()).await;
        assert_eq!(rig.exchange(&code, own.clone()).await.status, 200, "{method}");
        let code = rig.code(asked.clone()).await;
        let wrong = rig.exchange(&code, with(own.clone(), json!({ "code_verifier": "x".repeat(43) }))).await;
        assert_eq!(error(&wrong), failed(400, "invalid_grant", "invalid code_verifier"));
        let again = rig.exchange(&code, own.clone()).await;
        assert_eq!(again.text("/error"), "invalid_grant", "a code is used up by a wrong verifier");
        let code = rig.code(asked).await;
        let none = rig.exchange(&code, with(own, json!({ "code_verifier": null }))).await;
        assert_eq!(error(&none), failed(400, "invalid_request", "code_verifier parameter is required"));
    }
    for (changes, text) in [
        (
            json!({ "code_challenge": VERIFIER, "code_challenge_method": "S512" }),
            "invalid code_challenge_method",
        ),
        (json!({ "code_challenge": "short" }), "invalid code_challenge"),
        (json!({ "code_challenge_method": "S256" }), "invalid code_challenge"),
    ] {
        let refused = rig.authorize(&rig.ann, with(with(rig.asked(), cli.clone()), changes)).await;
        assert_eq!(error(&refused), failed(400, "invalid_request", text));
    }
    let code = rig.code(json!({})).await;
    let bare = rig.exchange(&code, json!({ "code_verifier": VERIFIER })).await;
    assert_eq!(bare.text("/error"), "invalid_grant", "the challenge was taken out on the way");
}

#[tokio::test]
async fn what_may_not_be_asked_for_is_refused() {
    let rig = Rig::new().await;
    for (changes, code, text) in [
        (json!({ "scope": "profile" }), "invalid_request", "openid scope must be requested"),
        (json!({ "response_type": null }), "invalid_request", "response_type parameter is required"),
        (json!({ "response_type": "token" }), "unsupported_response_type", "unsupported response_type value"),
        (json!({ "client_id": null }), "invalid_request", "client_id parameter is required"),
        (json!({ "client_id": "none" }), "invalid_client_id", "client with client_id not found"),
        (json!({ "redirect_uri": null }), "invalid_request", "redirect_uri parameter is required"),
        (
            json!({ "redirect_uri": format!("{CALLBACK}/") }),
            "invalid_redirect_uri",
            "redirect_uri is not allowed for the client",
        ),
        (json!({ "request": "x" }), "request_not_supported", "request parameter is not supported"),
        (
            json!({ "request_uri": "x" }),
            "request_uri_not_supported",
            "request_uri parameter is not supported",
        ),
        (json!({ "max_age": 0 }), "invalid_request", "max_age must be greater than zero"),
        (json!({ "max_age": -1 }), "invalid_request", "max_age must be greater than zero"),
    ] {
        let refused = rig.authorize(&rig.ann, with(rig.asked(), changes)).await;
        assert_eq!(error(&refused), failed(400, code, text));
    }
    let refused = rig.authorize(&rig.server.root, rig.asked()).await;
    let text = "identity entity must be associated with the request";
    assert_eq!(error(&refused), failed(400, "access_denied", text));
    let bob = login(&rig.server, json!({ "name": "bob", "policies": ["default"] })).await.token();
    let refused = rig.authorize(&bob, rig.asked()).await;
    let text = "identity entity not authorized by client assignment";
    assert_eq!(error(&refused), failed(400, "access_denied", text));
    let unknown = Request::new(&rig.ann, Verb::Write, "identity/oidc/provider/none/authorize", rig.asked());
    assert_eq!(error(&rig.server.ask(unknown).await), failed(400, "invalid_request", "provider not found"));
    rig.server.write("identity/oidc/provider/p", json!({ "allowed_client_ids": rig.cli })).await;
    let refused = rig.authorize(&rig.ann, rig.asked()).await;
    let text = "client is not authorized to use the provider";
    assert_eq!(error(&refused), failed(400, "unauthorized_client", text));
    assert_eq!(rig.authorize("", rig.asked()).await.status, 403, "a token of the server is needed");
    let loopback = json!({ "redirect_uri": "http://127.0.0.1:4711/callback" });
    rig.server.write("identity/oidc/provider/p", json!({ "allowed_client_ids": "*" })).await;
    let code = rig.code(loopback.clone()).await;
    let other = rig.exchange(&code, json!({ "redirect_uri": "http://127.0.0.1:4712/callback" })).await;
    assert_eq!(other.text("/error"), "invalid_grant", "the port that was asked for is the one");
    let code = rig.code(loopback.clone()).await;
    assert_eq!(rig.exchange(&code, loopback).await.status, 200);
}

#[tokio::test]
async fn an_exchange_that_may_not_be_is_refused() {
    let rig = Rig::new().await;
    let (id, secret) = rig.app.clone();
    for (changes, status, code, text) in [
        (json!({ "client_id": null }), 401, "invalid_client", "client failed to authenticate"),
        (json!({ "client_id": "none" }), 401, "invalid_client", "client failed to authenticate"),
        (json!({ "client_secret": "x" }), 401, "invalid_client", "client failed to authenticate"),
        (json!({ "client_secret": null }), 401, "invalid_client", "client failed to authenticate"),
        (
            json!({ "client_secret": secret.trim_start_matches('h') }),
            401,
            "invalid_client",
            "client failed to authenticate",
        ),
        (json!({ "grant_type": null }), 400, "invalid_request", "grant_type parameter is required"),
        (json!({ "grant_type": "password" }), 400, "unsupported_grant_type", "unsupported grant_type value"),
        (json!({ "code": null }), 400, "invalid_request", "code parameter is required"),
        (json!({ "redirect_uri": null }), 400, "invalid_request", "redirect_uri parameter is required"),
        (json!({ "code": "x" }), 400, "invalid_grant", "authorization grant is invalid or expired"),
    ] {
        let code_given = rig.code(json!({})).await;
        let refused = rig.exchange(&code_given, changes).await;
        assert_eq!(error(&refused), failed(status, code, text));
        assert_eq!(refused.header("WWW-Authenticate").is_some(), status == 401);
        assert_eq!(
            rig.exchange(&code_given, json!({})).await.status,
            200,
            "the code was not shown by its client"
        );
    }
    let code = rig.code(json!({})).await;
    let other = rig.exchange(&code, json!({ "redirect_uri": "http://127.0.0.1/callback" })).await;
    let text = "redirect_uri does not match the redirect_uri used in the authorization request";
    assert_eq!(error(&other), failed(400, "invalid_grant", text));
    assert_eq!(rig.exchange(&code, json!({})).await.text("/error"), "invalid_grant", "the code is used up");
    rig.server.write("identity/oidc/client/two", json!({ "key": "k" })).await;
    let two = rig.server.read("identity/oidc/client/two").await;
    let code = rig.code(json!({})).await;
    let of_two =
        json!({ "client_id": two.data()["client_id"], "client_secret": two.data()["client_secret"] });
    let stolen = rig.exchange(&code, of_two).await;
    assert_eq!(
        error(&stolen),
        failed(400, "invalid_grant", "authorization code was not issued to the client")
    );
    let code = rig.code(json!({})).await;
    let input = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": id, "client_secret": secret,
    });
    let elsewhere = rig.server.post("", "identity/oidc/provider/default/token", input).await;
    assert_eq!(
        error(&elsewhere),
        failed(400, "invalid_grant", "authorization code was not issued by the provider")
    );
    let code = rig.code(json!({})).await;
    rig.server.clock.advance(Duration::from_secs(300));
    assert_eq!(rig.exchange(&code, json!({})).await.text("/error"), "invalid_grant", "five minutes");
}

#[tokio::test]
async fn a_code_is_used_once_and_shown_again_it_revokes() {
    let rig = Rig::new().await;
    let code = rig.code(json!({})).await;
    let given = rig.exchange(&code, json!({})).await;
    let access = given.text("/access_token");
    assert_eq!(rig.userinfo(&access).await.status, 200);
    let (unrelated, _) = rig.tokens(json!({})).await;
    let again = rig.exchange(&code, json!({})).await;
    assert_eq!(error(&again), failed(400, "invalid_grant", "authorization grant is invalid or expired"));
    assert_eq!(rig.userinfo(&access).await.status, 401);
    assert_eq!(rig.userinfo(&unrelated).await.status, 200, "what another code gave stays");
}

#[tokio::test]
async fn of_two_that_use_a_code_at_once_one_gets_tokens() {
    let rig = Rig::new().await;
    for _ in 0..20 {
        let code = rig.code(json!({})).await;
        let (one, two) = join(rig.exchange(&code, json!({})), rig.exchange(&code, json!({}))).await;
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
    }
}

#[tokio::test]
async fn who_is_disabled_deleted_or_not_assigned_any_more_gets_nothing() {
    let rig = Rig::new().await;
    let entity = format!("identity/entity/id/{}", rig.ann_id);
    let (access, _) = rig.tokens(json!({})).await;
    let code = rig.code(json!({})).await;
    rig.server.write(&entity, json!({ "disabled": true })).await;
    assert_eq!(rig.authorize(&rig.ann, rig.asked()).await.status, 403);
    let refused = rig.exchange(&code, json!({})).await;
    let text = "identity entity associated with the request not found";
    assert_eq!(error(&refused), failed(400, "invalid_request", text));
    assert_eq!(rig.userinfo(&access).await.status, 401);
    rig.server.write(&entity, json!({ "disabled": false })).await;
    assert_eq!(rig.userinfo(&access).await.status, 200);
    let code = rig.code(json!({})).await;
    rig.server.write("identity/oidc/assignment/people", json!({ "entity_ids": [] })).await;
    let text = "identity entity not authorized by client assignment";
    assert_eq!(error(&rig.exchange(&code, json!({})).await), failed(400, "invalid_request", text));
    assert_eq!(error(&rig.userinfo(&access).await), failed(403, "access_denied", text));
    let group = json!({ "name": "g", "member_entity_ids": [rig.ann_id] });
    let group = rig.server.write("identity/group", group).await.data()["id"].clone();
    rig.server.write("identity/oidc/assignment/people", json!({ "group_ids": [group] })).await;
    assert_eq!(rig.userinfo(&access).await.status, 200, "by a group");
    let (access, _) = rig.tokens(json!({})).await;
    rig.server.write(&format!("{entity}/revoke"), json!({})).await;
    assert_eq!(rig.userinfo(&access).await.status, 401, "what an entity held is revoked");
    rig.server.delete(&entity).await;
    assert_eq!(rig.userinfo(&access).await.status, 401);
}

#[tokio::test]
async fn a_login_may_not_be_older_than_asked() {
    let rig = Rig::new().await;
    let logged_in = rig.server.clock.now().as_secs();
    rig.server.clock.advance(Duration::from_secs(100));
    let (_, id_token) = rig.tokens(json!({ "max_age": 100 })).await;
    assert_eq!(claims(&id_token)["auth_time"], logged_in);
    let (_, id_token) = rig.tokens(json!({ "nonce": null })).await;
    assert_eq!((claims(&id_token).get("auth_time"), claims(&id_token).get("nonce")), (None, None));
    let refused = rig.authorize(&rig.ann, with(rig.asked(), json!({ "max_age": "99" }))).await;
    let text = "active re-authentication is required by max_age";
    assert_eq!(error(&refused), failed(400, "max_age_violation", text));
}

#[tokio::test]
async fn an_access_token_is_of_its_provider_and_namespace() {
    let rig = Rig::new().await;
    let (access, _) = rig.tokens(json!({})).await;
    let elsewhere = rig.server.get(&access, "identity/oidc/provider/default/userinfo").await;
    assert_eq!(elsewhere.status, 401);
    rig.server.write("sys/namespaces/team", json!({})).await;
    let request = Request::new(&access, Verb::Read, "identity/oidc/provider/p/userinfo", json!({}));
    assert_eq!(rig.server.ask(request.clone().within("team")).await.status, 401);
    let code = rig.code(json!({})).await;
    let input = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": rig.app.0,
        "client_secret": rig.app.1,
    });
    let request = Request::new("", Verb::Write, "identity/oidc/provider/default/token", input);
    let refused = rig.server.ask(request.within("team")).await;
    assert_eq!(refused.status, 401, "a client of another namespace is unknown: {}", refused.body);
    assert_eq!(rig.userinfo("").await.status, 401);
    for other in [&rig.ann, &rig.server.root] {
        assert_eq!(rig.userinfo(other).await.status, 401, "no access token");
    }
}

#[tokio::test]
async fn clients_assignments_scopes_and_providers_are_kept() {
    let rig = Rig::new().await;
    let server = &rig.server;
    let read = server.read("identity/oidc/client/app").await;
    let expected = json!({
        "access_token_ttl": 3600, "assignments": ["people"], "client_id": rig.app.0, "client_secret": rig.app.1,
        "client_type": "confidential", "id_token_ttl": 1800, "key": "k",
        "redirect_uris": [CALLBACK, "http://127.0.0.1/callback"],
    });
    assert_eq!(read.data(), &expected);
    assert!(rig.app.0.len() == 32 && rig.app.1.starts_with("hvo_secret_") && rig.app.1.len() == 75);
    assert_eq!(server.read("identity/oidc/client/cli").await.data().get("client_secret"), None);
    let listed = server.list("identity/oidc/client").await;
    assert_eq!(listed.data()["keys"], json!(["app", "cli"]));
    assert_eq!(listed.data()["key_info"]["app"], with(expected, json!({ "client_secret": null })));
    assert_eq!(server.list("identity/oidc/assignment").await.data()["keys"], json!(["allow_all", "people"]));
    let all = json!({ "entity_ids": ["*"], "group_ids": ["*"] });
    assert_eq!(server.read("identity/oidc/assignment/allow_all").await.data(), &all);
    assert_eq!(server.list("identity/oidc/scope").await.data()["keys"], json!(["profile"]));
    let listed = server.list("identity/oidc/provider").await;
    assert_eq!(listed.data()["keys"], json!(["default", "p"]));
    let issuer = "https://vault.example:8200/v1/identity/oidc/provider";
    let default =
        json!({ "allowed_client_ids": ["*"], "issuer": format!("{issuer}/default"), "scopes_supported": [] });
    assert_eq!(listed.data()["key_info"]["default"], default);
    server
        .write("identity/oidc/provider/q", json!({ "allowed_client_ids": "x", "issuer": "https://q:1" }))
        .await;
    let filtered = json!({ "allowed_client_id": "y" });
    let filtered = Request::new(&server.root, Verb::List, "identity/oidc/provider", filtered);
    assert_eq!(server.ask(filtered).await.data()["keys"], json!(["default", "p"]));
    let q = server.read("identity/oidc/provider/q").await;
    assert_eq!(q.data()["issuer"], "https://q:1/v1/identity/oidc/provider/q");
    for (path, text) in [
        ("client/app", ""),
        ("client/cli", ""),
        ("provider/p", ""),
        ("scope/profile", ""),
        ("assignment/people", ""),
        ("key/k", ""),
        ("provider/default", "deletion of OIDC provider \"default\" not allowed"),
        ("assignment/allow_all", "deletion of assignment \"allow_all\" not allowed"),
    ] {
        let answer = server.delete(&format!("identity/oidc/{path}")).await;
        if text.is_empty() {
            assert_eq!(answer.status, 204, "{path}: {}", answer.body);
            assert_eq!(server.read(&format!("identity/oidc/{path}")).await.status, 404, "{path}");
        } else {
            assert_eq!(answer.refusal(), (400, text));
        }
    }
}

#[tokio::test]
async fn refusals_of_operators_are_in_vaults_words() {
    let rig = Rig::new().await;
    let server = &rig.server;
    for (path, input, text) in [
        ("client/x", json!({ "key": "none" }), "key \"none\" does not exist"),
        ("client/x", json!({ "assignments": "none" }), "assignment \"none\" does not exist"),
        ("client/x", json!({ "client_type": "odd" }), "invalid client_type \"odd\""),
        ("client/app", json!({ "key": "default" }), "key modification is not allowed"),
        ("client/app", json!({ "client_type": "public" }), "client_type modification is not allowed"),
        (
            "client/app",
            json!({ "id_token_ttl": "25h" }),
            "a client's id_token_ttl cannot be greater than the verification_ttl of the key it references",
        ),
        ("assignment/allow_all", json!({}), "modification of assignment \"allow_all\" not allowed"),
        ("scope/openid", json!({}), "the \"openid\" scope name is reserved"),
        (
            "scope/x",
            json!({ "template": "{" }),
            "error parsing template JSON: EOF while parsing an object at line 1 column 1",
        ),
        ("provider/x", json!({ "scopes_supported": "none" }), "scope \"none\" does not exist"),
        (
            "provider/x",
            json!({ "issuer": "x" }),
            "invalid issuer, which must include only a scheme, host, and optional port (e.g. https://example.com:8200)",
        ),
    ] {
        let refused = server.write(&format!("identity/oidc/{path}"), input).await;
        assert_eq!(refused.refusal(), (400, text), "{path}");
    }
    for (path, text) in [
        (
            "assignment/people",
            "unable to delete assignment \"people\" because it is currently referenced by these clients: app, cli",
        ),
        (
            "scope/profile",
            "unable to delete scope \"profile\" because it is currently referenced by these providers: p",
        ),
        ("key/k", "unable to delete key \"k\" because it is currently referenced by these clients: app, cli"),
    ] {
        assert_eq!(server.delete(&format!("identity/oidc/{path}")).await.refusal(), (400, text));
    }
    server.write("identity/oidc/scope/again", json!({ "template": r#"{"username": "x"}"# })).await;
    let both =
        server.write("identity/oidc/provider/p", json!({ "scopes_supported": "profile,again,openid" })).await;
    assert!(
        both.text("/warnings/0").contains("conflict \"username\" in scopes profile, again"),
        "{}",
        both.body
    );
    let code = rig.code(json!({ "scope": "openid profile again" })).await;
    let refused = rig.exchange(&code, json!({})).await;
    assert_eq!(error(&refused), failed(400, "invalid_request", "the scopes have conflicting claims"));
}

#[tokio::test]
async fn a_provider_publishes_itself_and_the_keys_of_its_clients() {
    let rig = Rig::new().await;
    let server = &rig.server;
    let told = server.get("", "identity/oidc/provider/p/.well-known/openid-configuration").await;
    let issuer = "https://vault.example:8200/v1/identity/oidc/provider/p";
    assert_eq!(told.header("Cache-Control"), Some("max-age=3600"));
    for (name, value) in [
        ("issuer", json!(issuer)),
        ("jwks_uri", json!(format!("{issuer}/.well-known/keys"))),
        (
            "authorization_endpoint",
            json!("https://vault.example:8200/ui/vault/identity/oidc/provider/p/authorize"),
        ),
        ("token_endpoint", json!(format!("{issuer}/token"))),
        ("userinfo_endpoint", json!(format!("{issuer}/userinfo"))),
        ("scopes_supported", json!(["profile", "openid"])),
        (
            "token_endpoint_auth_methods_supported",
            json!(["client_secret_basic", "client_secret_post", "none"]),
        ),
        ("code_challenge_methods_supported", json!(["plain", "S256"])),
    ] {
        assert_eq!(told.body[name], value, "{name}");
    }
    server.write("identity/oidc/key/other", json!({ "algorithm": "EdDSA" })).await;
    let keys = server.get("", "identity/oidc/provider/p/.well-known/keys").await;
    let kinds: Vec<&str> =
        keys.body["keys"].as_array().unwrap().iter().map(|key| key["kty"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["EC", "EC"], "of a key that no client has, nothing");
    server.write("identity/oidc/provider/none", json!({ "allowed_client_ids": "x" })).await;
    let keys = server.get("", "identity/oidc/provider/none/.well-known/keys").await;
    assert_eq!(keys.body, json!({ "keys": [] }));
    assert_eq!(server.get("", "identity/oidc/provider/x/.well-known/keys").await.status, 404);
    assert_eq!(server.get("", "identity/oidc/provider/x/.well-known/openid-configuration").await.status, 404);
}

#[tokio::test]
async fn grants_are_forgotten_when_they_are_of_no_use() {
    let rig = Rig::new().await;
    let before = rig.server.stored().await.len();
    let (access, _) = rig.tokens(json!({})).await;
    rig.code(json!({})).await;
    assert_eq!(rig.server.stored().await.len(), before + 4, "a grant, and when it is due");
    rig.server.clock.advance(Duration::from_secs(301));
    rig.server.settle().await;
    assert_eq!(rig.userinfo(&access).await.status, 200, "kept while its access token is good");
    rig.server.clock.advance(Duration::from_secs(3600));
    rig.server.settle().await;
    let left = rig.server.stored().await;
    assert!(left.len() <= before, "{} of {before}", left.len());
}

#[tokio::test]
async fn codes_and_keys_outlive_the_server() {
    let mut rig = Rig::new().await;
    let code = rig.code(json!({})).await;
    let (access, _) = rig.tokens(json!({})).await;
    rig.server.restart().await;
    assert_eq!(rig.userinfo(&access).await.status, 200);
    let given = rig.exchange(&code, json!({})).await;
    assert_eq!(given.status, 200, "{}", given.body);
    rig.server.restart().await;
    assert_eq!(rig.exchange(&code, json!({})).await.text("/error"), "invalid_grant", "used before");
    assert_eq!(rig.userinfo(&given.text("/access_token")).await.status, 401, "and so revoked");
}

#[tokio::test]
async fn a_namespace_has_a_provider_of_its_own() {
    let rig = Rig::new().await;
    rig.server.write("sys/namespaces/team", json!({})).await;
    let within = async |token: &str, asked: Verb, path: &str, input: Value| {
        rig.server
            .ask(Request::new(token, asked, format!("identity/oidc/{path}"), input).within("team"))
            .await
    };
    let root = rig.server.root.clone();
    let client = json!({ "assignments": "allow_all", "redirect_uris": CALLBACK });
    assert_eq!(within(&root, Verb::Write, "client/app", client).await.status, 204);
    let client = within(&root, Verb::Read, "client/app", json!({})).await.data().clone();
    let policy =
        json!({ "policy": r#"path "team/identity/oidc/provider/+/authorize" { capabilities = ["read"] }"# });
    rig.server.write("sys/policies/acl/below", policy).await;
    let ann = login(&rig.server, json!({ "name": "ann", "policies": ["below"] })).await.token();
    let asked = with(rig.asked(), json!({ "client_id": client["client_id"], "scope": "openid" }));
    let granted = within(&ann, Verb::Read, "provider/default/authorize", asked).await;
    assert_eq!(granted.status, 200, "{}", granted.body);
    let input = json!({
        "grant_type": "authorization_code", "code": granted.text("/code"), "redirect_uri": CALLBACK,
        "client_id": client["client_id"], "client_secret": client["client_secret"],
    });
    let given = within("", Verb::Write, "provider/default/token", input).await;
    assert_eq!(given.status, 200, "{}", given.body);
    let claims = claims(&given.text("/id_token"));
    assert_eq!(claims["iss"], "https://vault.example:8200/v1/team/identity/oidc/provider/default");
    assert_eq!(claims["sub"], rig.ann_id, "an entity of the namespace above");
    assert_ne!(claims["namespace"], "root");
    let told = within(&given.text("/access_token"), Verb::Read, "provider/default/userinfo", json!({})).await;
    assert_eq!(told.body, json!({ "sub": rig.ann_id }));
}
