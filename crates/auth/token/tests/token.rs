//! The method in a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]

use std::time::Duration;

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};

const CREATE: &str = "auth/token/create";
const HOUR: Duration = Duration::from_hours(1);

/// A server with policies for those who make tokens.
async fn server() -> Server {
    let server = Server::new().await;
    server.policy("dev", "path \"sys/mounts\" { capabilities = [\"read\"] }").await;
    let tokens = "path \"auth/token/*\" { capabilities = [\"create\", \"read\", \"update\", \"list\"] }";
    server.policy("tokens", tokens).await;
    let sudo = "path \"auth/token/*\" { capabilities = [\"create\", \"update\", \"list\", \"sudo\"] }";
    server.policy("sudo", sudo).await;
    server
}

async fn lookup(server: &Server, token: &str) -> Response {
    server.write("auth/token/lookup", json!({ "token": token })).await
}

async fn is_live(server: &Server, token: &str) -> bool {
    lookup(server, token).await.status == 200
}

async fn list(server: &Server, token: &str) -> Response {
    server.ask(Request::new(token, Verb::List, "auth/token/accessors", json!({}))).await
}

#[tokio::test]
async fn a_token_is_made_and_looked_up() {
    let server = server().await;
    let input = json!({
        "policies": ["dev"], "ttl": "1h", "meta": {"a": "b"}, "display_name": "hello World!!x", "num_uses": 5,
        "explicit_max_ttl": "2h",
    });
    let made = server.write(CREATE, input).await;
    let auth = made.auth();
    assert_eq!(auth["policies"], json!(["default", "dev"]));
    assert_eq!(auth["token_policies"], json!(["default", "dev"]));
    assert_eq!(auth["metadata"], json!({"a": "b"}));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(3600), &json!(true)));
    assert_eq!(
        (&auth["token_type"], &auth["orphan"], &auth["num_uses"]),
        (&json!("service"), &json!(false), &json!(5))
    );
    assert_eq!(made.body["warnings"], Value::Null);
    let token = made.token();
    server.clock.advance(Duration::from_mins(1));
    let mut expected = json!({
        "accessor": auth["accessor"], "creation_time": 1_700_000_000, "creation_ttl": 3600,
        "display_name": "token-hello-World--x", "entity_id": "", "expire_time": "2023-11-14T23:13:20Z",
        "explicit_max_ttl": 7200, "id": token, "issue_time": "2023-11-14T22:13:20Z", "meta": {"a": "b"},
        "num_uses": 5, "orphan": false, "path": CREATE, "policies": ["default", "dev"], "renewable": true,
        "ttl": 3540, "type": "service",
    });
    assert_eq!(lookup(&server, &token).await.data(), &expected);
    let told = server
        .ask(Request::new(&server.root, Verb::Read, "auth/token/lookup", json!({"token": token})))
        .await;
    assert_eq!(told.data(), &expected);
    expected["num_uses"] = json!(4);
    let told = server.get(&token, "auth/token/lookup-self").await;
    assert_eq!(told.data(), &expected, "this very request takes a use");
    expected["id"] = json!("");
    let told = server.write("auth/token/lookup-accessor", json!({"accessor": auth["accessor"]})).await;
    assert_eq!(told.data(), &expected);
    assert_eq!(
        server.read("auth/token/lookup").await.data()["id"],
        server.root.as_str(),
        "the calling token"
    );
    let accessors = server.list("auth/token/accessors").await;
    assert_eq!(accessors.data()["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn refusals_are_in_vaults_words() {
    let server = server().await;
    let forbidden = |text| (403, text);
    let invalid = |text| (400, text);
    for (path, input, expected) in [
        ("lookup", json!({"token": "bad"}), forbidden("bad token")),
        ("lookup-accessor", json!({}), invalid("1 error occurred:\n\t* missing accessor\n\n")),
        ("lookup-accessor", json!({"accessor": "x"}), invalid("1 error occurred:\n\t* invalid accessor\n\n")),
        ("renew", json!({}), invalid("missing token ID")),
        ("renew", json!({"token": "bad"}), invalid("token not found")),
        ("renew", json!({"token": server.root}), invalid("lease is not renewable")),
        ("renew-self", json!({}), invalid("lease is not renewable")),
        ("renew-accessor", json!({}), invalid("1 error occurred:\n\t* missing accessor\n\n")),
        ("renew-accessor", json!({"accessor": "x"}), invalid("1 error occurred:\n\t* invalid accessor\n\n")),
        ("revoke", json!({}), invalid("missing token ID")),
        ("revoke-accessor", json!({}), invalid("1 error occurred:\n\t* missing accessor\n\n")),
        ("revoke-orphan", json!({}), invalid("missing token ID")),
        ("revoke-orphan", json!({"token": "bad"}), invalid("token to revoke not found")),
        ("create/nope", json!({}), invalid("unknown role nope")),
        ("create", json!({"num_uses": -1}), invalid("number of uses cannot be negative")),
        ("create", json!({"ttl": "bogus"}), invalid("time: invalid duration \"bogus\"")),
        ("create", json!({"ttl": "-1h"}), invalid("ttl must be positive")),
        ("create", json!({"period": "-1h"}), invalid("period must be positive")),
        ("create", json!({"explicit_max_ttl": -1}), invalid("explicit_max_ttl must be positive")),
        ("create", json!({"type": "bogus"}), invalid("invalid 'token_type' value")),
        ("create", json!({"type": "batch"}), invalid("batch tokens cannot be root tokens")),
        ("create", json!({"id": "hvs.x"}), invalid("custom token ID cannot have the 'hvs.' prefix")),
        ("create", json!({"id": "s.x"}), invalid("custom token ID cannot have the 's.' prefix")),
        ("create", json!({"id": "x.y"}), invalid("custom token ID cannot have a '.' in the value")),
        (
            "create",
            json!({"entity_alias": "x"}),
            invalid("'entity_alias' is only allowed in combination with token role"),
        ),
    ] {
        assert_eq!(
            server.write(&format!("auth/token/{path}"), input.clone()).await.refusal(),
            expected,
            "{path} {input}"
        );
    }
    assert_eq!(server.write("auth/token/revoke", json!({"token": "bad"})).await.status, 204);
    let told = server.write("auth/token/revoke-accessor", json!({"accessor": "x"})).await;
    assert_eq!(told.body["warnings"], json!(["No token found with this accessor"]));
    for input in [json!({"num_uses": 3}), json!({"period": "1h"}), json!({"explicit_max_ttl": "1h"})] {
        let mut batch = input.clone();
        batch["type"] = json!("batch");
        let name = input.as_object().unwrap().keys().next().unwrap();
        let text = format!("batch tokens cannot have {name:?} set");
        assert_eq!(server.write(CREATE, batch).await.refusal(), (400, text.as_str()));
    }
}

#[tokio::test]
async fn what_goes_beyond_ones_own_needs_sudo() {
    let server = server().await;
    let plain = server.write(CREATE, json!({"policies": "tokens"})).await.token();
    let sudo = server.write(CREATE, json!({"policies": "sudo"})).await.token();
    for (input, what) in [
        (json!({"no_parent": true}), "create orphan token"),
        (json!({"period": "1h"}), "create periodic token"),
        (json!({"id": "mine"}), "specify token id"),
    ] {
        let text = format!("root or sudo privileges required to {what}");
        assert_eq!(server.post(&plain, CREATE, input.clone()).await.refusal(), (400, text.as_str()));
        assert_eq!(server.post(&sudo, CREATE, input).await.status, 200);
    }
    let told = server.post(&plain, CREATE, json!({"policies": ["dev"]})).await;
    assert_eq!(told.refusal(), (400, "child policies must be subset of parent"));
    assert_eq!(
        server.post(&sudo, CREATE, json!({"policies": ["dev"]})).await.auth()["policies"],
        json!(["default", "dev"])
    );
    let told = server.post(&sudo, CREATE, json!({"policies": ["root"]})).await;
    assert_eq!(told.refusal(), (400, "root tokens may not be created without parent token being root"));
    // Who may write there may make orphans.
    assert_eq!(server.post(&plain, "auth/token/create-orphan", json!({})).await.auth()["orphan"], true);
    assert_eq!(server.post(&plain, "auth/token/revoke-orphan", json!({"token": sudo})).await.status, 403);
    assert_eq!(list(&server, &plain).await.status, 403);
    assert_eq!(list(&server, &sudo).await.status, 200);
    let told = server.write(CREATE, json!({"id": "mine"})).await;
    assert_eq!(told.refusal(), (400, "cannot create a token with a duplicate ID"));
    assert!(is_live(&server, "mine").await);
}

#[tokio::test]
async fn some_tokens_make_no_others() {
    let server = server().await;
    let limited = server.write(CREATE, json!({"policies": "tokens", "num_uses": 3})).await.token();
    let told = server.post(&limited, CREATE, json!({})).await;
    assert_eq!(told.refusal(), (400, "restricted use token cannot generate child tokens"));
    let batch = server.write(CREATE, json!({"policies": "tokens", "type": "batch"})).await.token();
    assert!(batch.starts_with("hvb."));
    let told = server.post(&batch, CREATE, json!({})).await;
    assert_eq!(told.refusal(), (400, "batch tokens cannot create more tokens"));
    let renewed = server.post(&batch, "auth/token/renew-self", json!({})).await;
    assert_eq!(renewed.refusal(), (400, "batch tokens cannot be renewed"));
    for path in ["auth/token/revoke-self", "auth/token/revoke"] {
        let told = server.post(&batch, path, json!({"token": batch})).await;
        assert_eq!(told.refusal(), (400, "batch tokens cannot be revoked"));
    }
    let told = lookup(&server, &batch).await;
    assert_eq!(
        (&told.data()["type"], &told.data()["accessor"], &told.data()["orphan"]),
        (&json!("batch"), &json!(""), &json!(false))
    );
    let expiring = server.write(CREATE, json!({"ttl": "1h"})).await;
    assert_eq!(expiring.auth()["policies"], json!(["root"]));
    let told = server.post(&expiring.token(), CREATE, json!({})).await;
    assert_eq!(told.refusal(), (400, "expiring root tokens cannot create non-expiring root tokens"));
    assert_eq!(server.post(&expiring.token(), CREATE, json!({"ttl": "2h"})).await.status, 200);
    let endless = server.write(CREATE, json!({})).await;
    assert_eq!((&endless.auth()["lease_duration"], &endless.auth()["renewable"]), (&json!(0), &json!(false)));
}

#[tokio::test]
async fn clients_are_told_of_what_they_do_not_get() {
    let server = server().await;
    let told = server.write(CREATE, json!({"policies": ["gone"], "ttl": "1000h", "bogus": 1})).await;
    let expected = json!([
        "TTL of \"1000h0m0s\" exceeded the effective max_ttl of \"768h0m0s\"; TTL value is capped accordingly",
        "Policy \"gone\" does not exist",
        "Endpoint ignored these unrecognized parameters: [bogus]",
    ]);
    assert_eq!(told.body["warnings"], expected);
}

#[tokio::test]
async fn tokens_are_renewed() {
    let server = server().await;
    let token = server.write(CREATE, json!({"policies": "dev", "ttl": "1h"})).await.token();
    server.clock.advance(HOUR / 2);
    let told = server.post(&token, "auth/token/renew-self", json!({})).await;
    assert_eq!(
        (told.auth()["lease_duration"].as_u64(), told.token()),
        (Some(3600), token.clone()),
        "as at first"
    );
    let told = server.write("auth/token/renew", json!({"token": token, "increment": "2h"})).await;
    assert_eq!(told.auth()["lease_duration"], 7200);
    let data = lookup(&server, &token).await;
    assert_eq!(data.data()["last_renewal"], "2023-11-14T22:43:20Z");
    assert_eq!(data.data()["last_renewal_time"], 1_700_001_800);
    let told = server
        .write("auth/token/renew-accessor", json!({"accessor": data.data()["accessor"], "increment": 10}))
        .await;
    assert_eq!((&told.auth()["lease_duration"], &told.auth()["client_token"]), (&json!(10), &json!("")));
    let told = server.write("auth/token/renew", json!({"token": token, "increment": "5000h"})).await;
    assert_eq!(told.auth()["lease_duration"], 2_764_800 - 1800);
    let fixed =
        server.write(CREATE, json!({"policies": "dev", "ttl": "1h", "renewable": false})).await.token();
    let told = server.post(&fixed, "auth/token/renew-self", json!({})).await;
    assert_eq!(told.refusal(), (400, "lease is not renewable"));
    let periodic = server.write(CREATE, json!({"policies": "dev", "period": "1h"})).await.token();
    for _ in 0..100 {
        server.clock.advance(Duration::from_mins(59));
        let told = server.post(&periodic, "auth/token/renew-self", json!({"increment": "90h"})).await;
        assert_eq!(told.auth()["lease_duration"], 3600);
    }
    assert_eq!(lookup(&server, &periodic).await.data()["period"], 3600);
    server.clock.advance(HOUR);
    assert!(!is_live(&server, &periodic).await);
}

#[tokio::test]
async fn revoking_takes_children_along_or_leaves_them() {
    let server = server().await;
    let family = async || {
        let parent = server.write(CREATE, json!({"policies": ["tokens", "dev"]})).await.token();
        let child = server.post(&parent, CREATE, json!({})).await.token();
        let batch = server.post(&parent, CREATE, json!({"type": "batch"})).await.token();
        let orphan = server.post(&parent, "auth/token/create-orphan", json!({})).await.token();
        [parent, child, batch, orphan]
    };
    let live = async |tokens: &[String; 4]| {
        let mut live = Vec::new();
        for token in tokens {
            live.push(is_live(&server, token).await);
        }
        live
    };
    let tokens = family().await;
    assert_eq!(live(&tokens).await, [true; 4]);
    assert_eq!(server.post(&tokens[0], "auth/token/revoke-self", json!({})).await.status, 204);
    assert_eq!(live(&tokens).await, [false, false, false, true]);
    let tokens = family().await;
    assert_eq!(server.write("auth/token/revoke", json!({"token": tokens[0]})).await.status, 204);
    assert_eq!(live(&tokens).await, [false, false, false, true]);
    let tokens = family().await;
    let accessor = lookup(&server, &tokens[0]).await.data()["accessor"].clone();
    assert_eq!(server.write("auth/token/revoke-accessor", json!({"accessor": accessor})).await.status, 204);
    assert_eq!(live(&tokens).await, [false, false, false, true]);
    let tokens = family().await;
    assert_eq!(server.write("auth/token/revoke-orphan", json!({"token": tokens[0]})).await.status, 204);
    assert_eq!(live(&tokens).await, [false, true, false, true]);
    assert_eq!(lookup(&server, &tokens[1]).await.data()["orphan"], true);
    let limited = server.write(CREATE, json!({"policies": "default", "num_uses": 2})).await.token();
    assert_eq!(server.post(&limited, "auth/token/revoke-self", json!({})).await.status, 204);
    assert!(!is_live(&server, &limited).await);
}

#[tokio::test]
async fn roles_are_kept() {
    let server = server().await;
    let role = |name: &str| format!("auth/token/roles/{name}");
    assert_eq!(server.write(&role("plain"), json!({})).await.status, 204);
    let plain = json!({
        "allowed_entity_aliases": null, "allowed_policies": [], "allowed_policies_glob": [], "disallowed_policies": [],
        "disallowed_policies_glob": [], "explicit_max_ttl": 0, "name": "plain", "orphan": false, "path_suffix": "",
        "period": 0, "renewable": true, "token_explicit_max_ttl": 0, "token_no_default_policy": false,
        "token_period": 0, "token_type": "default-service",
    });
    assert_eq!(server.read(&role("plain")).await.data(), &plain);
    let input = json!({
        "allowed_policies": "dev,ops", "orphan": true, "period": "1h", "renewable": false, "path_suffix": "sfx",
        "token_num_uses": 4, "token_bound_cidrs": "127.0.0.1,10.0.0.0/8", "token_explicit_max_ttl": "10h",
        "token_no_default_policy": true, "allowed_entity_aliases": "a,B",
    });
    assert_eq!(server.write(&role("full"), input).await.status, 204);
    let mut full = json!({
        "allowed_entity_aliases": ["a", "b"], "allowed_policies": ["dev", "ops"], "allowed_policies_glob": [],
        "disallowed_policies": [], "disallowed_policies_glob": [], "explicit_max_ttl": 0, "name": "full",
        "orphan": true, "path_suffix": "sfx", "period": 3600, "renewable": false,
        "token_bound_cidrs": ["127.0.0.1", "10.0.0.0/8"], "token_explicit_max_ttl": 36000,
        "token_no_default_policy": true, "token_num_uses": 4, "token_period": 3600, "token_type": "default-service",
    });
    assert_eq!(server.read(&role("full")).await.data(), &full);
    let both = json!({"period": "2h", "token_period": "3h"});
    let told = server.write(&role("full"), both).await;
    let text = "Both 'token_period' and deprecated 'period' value supplied, ignoring the deprecated value";
    assert_eq!(told.body["warnings"], json!([text]));
    full["period"] = json!(0);
    full["token_period"] = json!(10800);
    assert_eq!(server.read(&role("full")).await.data(), &full);
    let listed = server.list("auth/token/roles").await;
    assert_eq!(listed.data()["keys"], json!(["full", "plain"]));
    let told = server.write(&role("plain"), json!({"explicit_max_ttl": "5000h"})).await;
    assert!(
        told.body["warnings"][0]
            .as_str()
            .unwrap()
            .starts_with("Given explicit max TTL of 18000000 is greater")
    );
    assert_eq!(server.delete(&role("full")).await.status, 204);
    assert_eq!(server.read(&role("full")).await.status, 404);
    let suffix = "given role path suffix contains invalid characters; must match \\w[\\w-.]+\\w";
    let batch = |what| format!("'token_type' cannot be 'batch' when role is set to generate {what}");
    let either =
        |what| format!("'token_type' cannot be 'batch' or 'default_batch' when set to generate {what}");
    for (input, text) in [
        (json!({"path_suffix": "a b"}), suffix.to_owned()),
        (json!({"path_suffix": "../x"}), suffix.to_owned()),
        (json!({"path_suffix": "ok"}), suffix.to_owned()),
        (json!({"token_type": "bogus"}), "invalid 'token_type' value \"bogus\"".to_owned()),
        (json!({"token_num_uses": -3}), "'token_num_uses' cannot be negative".to_owned()),
        (json!({"token_type": "batch"}), batch("non-orphan tokens")),
        (json!({"token_type": "batch", "orphan": true, "token_period": "1h"}), batch("periodic tokens")),
        (json!({"token_type": "batch", "orphan": true}), batch("renewable tokens")),
        (
            json!({"token_type": "batch", "orphan": true, "renewable": false, "explicit_max_ttl": "1h"}),
            batch("tokens with an explicit max TTL"),
        ),
        (
            json!({"token_type": "batch", "orphan": true, "renewable": false, "token_num_uses": 3}),
            either("tokens with limited use count"),
        ),
        (
            json!({"token_type": "default-batch", "token_num_uses": 3}),
            either("tokens with limited use count"),
        ),
        (json!({"token_type": "default-batch", "period": "1h"}), either("periodic tokens")),
    ] {
        assert_eq!(server.write(&role("bad"), input).await.refusal(), (400, text.as_str()));
    }
    assert_eq!(server.read(&role("bad")).await.status, 404);
}

#[tokio::test]
async fn roles_shape_their_tokens() {
    let server = server().await;
    let input = json!({
        "allowed_policies": "dev", "orphan": true, "token_period": "1h", "renewable": false, "path_suffix": "sfx",
        "token_num_uses": 4, "token_bound_cidrs": "10.0.0.0/8", "token_explicit_max_ttl": "10h",
        "allowed_entity_aliases": "al*",
    });
    server.write("auth/token/roles/full", input).await;
    let input = json!({"num_uses": 9, "period": "5h", "explicit_max_ttl": "2h", "renewable": true});
    let made = server.write("auth/token/create/full", input).await;
    let warnings = json!([
        "Explicit max TTL specified both during creation call and in role; using the lesser value of 7200 seconds",
        "Period specified both during creation call and in role; using the lesser value of 3600 seconds",
    ]);
    assert_eq!(made.body["warnings"], warnings);
    let told = lookup(&server, &made.token()).await;
    let data = told.data();
    assert_eq!(data["path"], "auth/token/create/full/sfx");
    assert_eq!(
        (&data["role"], &data["orphan"], &data["renewable"]),
        (&json!("full"), &json!(true), &json!(false))
    );
    assert_eq!(
        (&data["num_uses"], &data["period"], &data["explicit_max_ttl"]),
        (&json!(4), &json!(3600), &json!(7200))
    );
    assert_eq!(
        (&data["policies"], &data["bound_cidrs"]),
        (&json!(["default", "dev"]), &json!(["10.0.0.0/8"]))
    );
    let from = async |address| {
        let request = Request::new(&made.token(), Verb::Read, "sys/mounts", json!({}));
        server.ask(request.from(address)).await.status
    };
    assert_eq!((from([127, 0, 0, 1]).await, from([10, 1, 2, 3]).await), (403, 200));
    let told = server.write("auth/token/create/full", json!({"entity_alias": "bob"})).await;
    assert_eq!(told.refusal(), (400, "invalid 'entity_alias' value"));
    let told = server.write("auth/token/create/full", json!({"entity_alias": "Alice"})).await;
    assert_eq!(told.auth()["entity_id"].as_str().unwrap().len(), 36, "an allowed one is that of an entity");
    for (name, token_type, asked, got) in [
        ("b", "batch", "service", "batch"),
        ("s", "service", "batch", "service"),
        ("db", "default-batch", "", "batch"),
        ("db", "default-batch", "service", "service"),
        ("ds", "default-service", "batch", "batch"),
    ] {
        let role =
            json!({"token_type": token_type, "orphan": true, "renewable": false, "allowed_policies": "dev"});
        server.write(&format!("auth/token/roles/{name}"), role).await;
        let made = server.write(&format!("auth/token/create/{name}"), json!({"type": asked})).await;
        assert_eq!(made.auth()["token_type"], got, "{token_type} {asked}");
    }
}

#[tokio::test]
async fn a_renewal_goes_by_what_the_role_says_today() {
    let server = server().await;
    server.write("auth/token/roles/web", json!({"allowed_policies": "dev"})).await;
    let token = server.write("auth/token/create/web", json!({"ttl": "1h"})).await.token();
    server.write("auth/token/roles/web", json!({"token_period": "3h"})).await;
    let renew = async || server.post(&token, "auth/token/renew-self", json!({})).await;
    assert_eq!(renew().await.auth()["lease_duration"], 3 * 3600);
    server.delete("auth/token/roles/web").await;
    assert_eq!(
        renew().await.refusal(),
        (400, "original token role \"web\" could not be found, not renewing")
    );
}

#[tokio::test]
async fn tidying_is_done_by_housekeeping() {
    let server = server().await;
    let told = server.write("auth/token/tidy", json!({})).await;
    assert_eq!(told.status, 202);
    let text = "Tidy operation successfully started. Any information from the operation will be printed to the server logs.";
    assert_eq!(told.body["warnings"], json!([text]));
    let told = server.write("auth/token/tidy", json!({})).await;
    assert_eq!(told.body["warnings"], json!(["Tidy operation already in progress."]));
    server.core.background.run_jobs_once(false).await.unwrap();
    let told = server.write("auth/token/tidy", json!({})).await;
    assert_eq!(told.body["warnings"], json!([text]));
    assert!(is_live(&server, &server.root).await);
}
