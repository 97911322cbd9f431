//! Roles as a whole.

use super::*;

fn plain() -> Value {
    json!({
        "bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": null, "secret_id_num_uses": 0,
        "secret_id_ttl": 0, "token_bound_cidrs": [], "token_explicit_max_ttl": 0, "token_max_ttl": 0,
        "token_no_default_policy": false, "token_num_uses": 0, "token_period": 0, "token_policies": [], "token_ttl": 0,
        "token_type": "default",
    })
}

fn with(mut base: Value, changes: &Value) -> Value {
    base.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    base
}

#[tokio::test]
async fn a_new_role_has_vaults_defaults_and_a_random_role_id() {
    let method = method();
    assert_eq!(post(&method, "role/Web", json!({})).await, Value::Null);
    assert_eq!(get(&method, "role/web").await, plain());
    assert_eq!(get(&method, "role/WEB").await, plain());
    assert_eq!(keys(&method, "role").await, ["web"]);
    assert_eq!(get(&method, "role/web/role-id").await["role_id"].as_str().unwrap().len(), 36);
    assert_eq!(get(&method, "role/web/local-secret-ids").await, json!({"local_secret_ids": false}));
}

#[tokio::test]
async fn a_role_keeps_what_is_given_and_what_was() {
    let method = method();
    let given = json!({
        "secret_id_bound_cidrs": "1.2.3.4/16", "secret_id_num_uses": "5", "secret_id_ttl": "1h",
        "local_secret_ids": true, "token_policies": "B,a,a", "token_ttl": "10m", "token_max_ttl": "1h",
        "token_bound_cidrs": ["10.0.0.0/8", "::1"], "token_type": "service",
    });
    post(&method, "role/web", given).await;
    post(&method, "role/web", json!({"token_ttl": "20m", "bind_secret_id": "false"})).await;
    let expected = json!({
        "secret_id_bound_cidrs": ["1.2.3.4/16"], "secret_id_num_uses": 5, "secret_id_ttl": 3600,
        "local_secret_ids": true, "bind_secret_id": false, "token_policies": ["a", "b"], "token_ttl": 1200,
        "token_max_ttl": 3600, "token_bound_cidrs": ["10.0.0.0/8", "::1"], "token_type": "service",
    });
    assert_eq!(get(&method, "role/web").await, with(plain(), &expected));
}

#[tokio::test]
async fn older_names_are_taken_and_echoed() {
    let method = method();
    post(&method, "role/web", json!({"policies": "c", "period": "1h", "bound_cidr_list": "10.0.0.0/8"}))
        .await;
    let role = get(&method, "role/web").await;
    let older = json!({
        "policies": ["c"], "token_policies": ["c"], "period": 3600, "token_period": 3600,
        "secret_id_bound_cidrs": ["10.0.0.0/8"],
    });
    assert_eq!(role, with(plain(), &older));
    let both = json!({"policies": "c", "token_policies": "d", "period": "2h", "token_period": "3h"});
    post(&method, "role/web", both).await;
    let role = get(&method, "role/web").await;
    assert_eq!((&role["policies"], &role["period"]), (&json!(["d"]), &json!(10_800)));
    post(&method, "role/web", json!({"token_policies": "e", "token_period": "4h"})).await;
    let role = get(&method, "role/web").await;
    assert_eq!((role.get("policies"), role.get("period")), (None, None));
    assert_eq!(role["token_policies"], json!(["e"]));
}

#[tokio::test]
async fn faults_are_refused_in_vaults_words() {
    let method = method();
    for (input, text) in [
        (json!({"bind_secret_id": false}), "at least one constraint should be enabled on the role"),
        (
            json!({"secret_id_bound_cidrs": "10.0.0.0/8,5.5.5.5"}),
            "failed to validate CIDR blocks: invalid CIDR address: 5.5.5.5",
        ),
        (json!({"secret_id_num_uses": -1}), "secret_id_num_uses cannot be negative"),
        (json!({"token_num_uses": -1}), "'token_num_uses' cannot be negative"),
        (json!({"token_type": "bogus"}), "invalid 'token_type' value \"bogus\""),
        (
            json!({"token_ttl": "2h", "token_max_ttl": "1h"}),
            "'token_ttl' cannot be greater than 'token_max_ttl'",
        ),
        (json!({"role_id": ""}), "invalid role_id supplied, or failed to generate a role_id"),
        (json!({"role_id": "x".repeat(4097)}), "role_id is longer than maximum of 4096 bytes"),
        (
            json!({"token_type": "batch", "token_num_uses": 3}),
            "'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count",
        ),
        (
            json!({"token_type": "batch", "period": 3}),
            "'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens",
        ),
    ] {
        assert_eq!(post_refused(&method, "role/web", input).await, bad(text));
    }
    let (_, text) = post_refused(&method, "role/web", json!({"secret_id_ttl": -1})).await;
    assert!(text.contains("\"secret_id_ttl\": cannot provide negative value '-1'"), "{text}");
    let long = format!("role/{}", "x".repeat(4097));
    assert_eq!(
        post_refused(&method, &long, json!({})).await,
        bad("role_name is longer than maximum of 4096 bytes")
    );
    assert_eq!(refused(&method, Operation::Read, "role/web", json!({})).await.0, 404);
    assert_eq!(refused(&method, Operation::List, "role", json!({})).await.0, 404);
}

#[tokio::test]
async fn local_secret_ids_are_decided_at_creation() {
    let method = method();
    post(&method, "role/web", json!({"local_secret_ids": true})).await;
    for value in [true, false] {
        let refusal = post_refused(&method, "role/web", json!({"local_secret_ids": value})).await;
        assert_eq!(refusal, bad("local_secret_ids can only be modified during role creation"));
    }
    assert_eq!(get(&method, "role/web/local-secret-ids").await, json!({"local_secret_ids": true}));
}

#[tokio::test]
async fn what_has_no_meaning_is_adjusted_with_a_warning() {
    let method = method();
    for kind in ["batch", "service"] {
        let given = format!("default-{kind}");
        let reply = reply(&method, "role/web", json!({"token_type": given})).await;
        assert_eq!(reply.warnings(), [format!("{given} has no useful meaning; adjusting to {kind}")]);
        assert_eq!(get(&method, "role/web").await["token_type"], json!(kind));
    }
    let reply = reply(&method, "role/web", json!({"token_max_ttl": "20000h"})).await;
    let text = "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value \
                will be truncated";
    assert_eq!(reply.warnings(), [text]);
}

#[tokio::test]
async fn a_role_id_belongs_to_one_role() {
    let method = method();
    post(&method, "role/a", json!({"role_id": "Shared"})).await;
    assert_eq!(
        post_refused(&method, "role/b", json!({"role_id": "Shared"})).await,
        bad("role_id already in use")
    );
    assert_eq!(refused(&method, Operation::Read, "role/b", json!({})).await.0, 404);
    post(&method, "role/b", json!({"role_id": "shared"})).await;
    let refusal = post_refused(&method, "role/b/role-id", json!({"role_id": "Shared"})).await;
    assert_eq!(refusal, bad("role_id already in use"));
    post(&method, "role/a", json!({"role_id": "Shared", "token_ttl": 5})).await;
    post(&method, "role/a/role-id", json!({"role_id": "other"})).await;
    assert_eq!(get(&method, "role/a/role-id").await, json!({"role_id": "other"}));
    post(&method, "role/b", json!({"role_id": "Shared"})).await;
    assert_eq!(get(&method, "role/b/role-id").await, json!({"role_id": "Shared"}));
    for input in [json!({}), json!({"role_id": ""})] {
        assert_eq!(post_refused(&method, "role/a/role-id", input).await, bad("missing role_id"));
    }
    let refusal = post_refused(&method, "role/nope/role-id", json!({"role_id": "x"})).await;
    assert_eq!(refusal, (404, "unsupported path".to_owned()));
    assert_eq!(refused(&method, Operation::Read, "role/nope/role-id", json!({})).await.0, 404);
    delete(&method, "role/b").await;
    post(&method, "role/c", json!({"role_id": "Shared"})).await;
}

#[tokio::test]
async fn roles_are_listed_in_pages() {
    let method = method();
    for name in ["c", "a", "b"] {
        post(&method, &format!("role/{name}"), json!({})).await;
    }
    let page = method.data(Operation::List, "role/", json!({"after": "a", "limit": "1"})).await;
    assert_eq!(page, json!({"keys": ["b"]}));
    assert_eq!(delete(&method, "role/nope").await, Value::Null);
    delete(&method, "role/B").await;
    assert_eq!(keys(&method, "role/").await, ["a", "c"]);
}

#[tokio::test]
async fn of_two_roles_made_at_once_one_has_the_role_id() {
    let method = std::sync::Arc::new(method());
    let tasks: Vec<_> = (0..8)
        .map(|at| {
            let method = method.clone();
            tokio::spawn(async move {
                let path = format!("role/r{at}");
                method.call(Operation::Update, &path, json!({"role_id": "wanted"})).await.is_ok()
            })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.unwrap());
    }
    assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    assert_eq!(keys(&method, "role").await.len(), 1);
}
