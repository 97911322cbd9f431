//! Secret ids: made, listed, looked up, destroyed.

use std::time::Duration;

use super::*;

async fn lookup(method: &Harness, role: &str, secret_id: &str) -> Value {
    post(method, &format!("role/{role}/secret-id/lookup"), json!({"secret_id": secret_id})).await
}

async fn with_role(input: Value) -> Harness {
    let method = method();
    post(&method, "role/web", input).await;
    method
}

#[tokio::test]
async fn a_secret_id_is_told_once_and_known_by_its_accessor() {
    let method = with_role(json!({})).await;
    let input = json!({
        "metadata": "{\"tag\":\"x\"}", "ttl": 600, "num_uses": 3, "cidr_list": ["127.0.0.0/8"],
        "token_bound_cidrs": ["127.0.0.1/32"],
    });
    let made = post(&method, "role/WEB/secret-id", input).await;
    let (secret_id, accessor) =
        (made["secret_id"].as_str().unwrap(), made["secret_id_accessor"].as_str().unwrap());
    let expected = json!({
        "secret_id": secret_id, "secret_id_accessor": accessor, "secret_id_num_uses": 3, "secret_id_ttl": 600,
    });
    assert_eq!(made, expected);
    assert_eq!((secret_id.len(), accessor.len()), (36, 36));
    let known = json!({
        "cidr_list": ["127.0.0.0/8"], "creation_time": "2023-11-14T22:13:20Z",
        "expiration_time": "2023-11-14T22:23:20Z", "last_updated_time": "2023-11-14T22:13:20Z",
        "metadata": {"tag": "x"}, "secret_id_accessor": accessor, "secret_id_num_uses": 3, "secret_id_ttl": 600,
        "token_bound_cidrs": ["127.0.0.1/32"],
    });
    assert_eq!(lookup(&method, "web", secret_id).await, known);
    let by_accessor = json!({"secret_id_accessor": accessor});
    assert_eq!(post(&method, "role/web/secret-id-accessor/lookup", by_accessor).await, known);
    assert_eq!(keys(&method, "role/web/secret-id").await, [accessor]);
}

#[tokio::test]
async fn without_a_ttl_there_is_no_end_and_with_one_the_mounts_maximum_counts() {
    let method = with_role(json!({})).await;
    let made = post(&method, "role/web/secret-id", json!({})).await;
    assert_eq!((&made["secret_id_ttl"], &made["secret_id_num_uses"]), (&json!(0), &json!(0)));
    let known = lookup(&method, "web", made["secret_id"].as_str().unwrap()).await;
    assert_eq!(known["expiration_time"], json!("0001-01-01T00:00:00Z"));
    assert_eq!((&known["metadata"], &known["cidr_list"]), (&json!({}), &json!([])));
    let made = post(&method, "role/web/secret-id", json!({"ttl": "20000h"})).await;
    assert_eq!(made["secret_id_ttl"], json!(2_764_800));
}

#[tokio::test]
async fn a_custom_secret_id_is_taken_once_for_a_role() {
    let method = with_role(json!({})).await;
    post(&method, "role/other", json!({})).await;
    let input = || json!({"secret_id": "mine", "num_uses": 2, "ttl": 60});
    let made = post(&method, "role/web/custom-secret-id", input()).await;
    assert_eq!((&made["secret_id"], &made["secret_id_num_uses"]), (&json!("mine"), &json!(2)));
    let refusal = post_refused(&method, "role/web/custom-secret-id", input()).await;
    assert_eq!(refusal, bad("failed to store secret_id: SecretID is already registered"));
    post(&method, "role/other/custom-secret-id", input()).await;
    for input in [json!({}), json!({"secret_id": ""})] {
        assert_eq!(post_refused(&method, "role/web/custom-secret-id", input).await, bad("missing secret_id"));
    }
    let long =
        post_refused(&method, "role/web/custom-secret-id", json!({"secret_id": "x".repeat(4097)})).await;
    let text = "failed to store secret_id: failed to create HMAC of secret ID: value is longer than maximum of 4096 bytes";
    assert_eq!(long, bad(text));
    // Once over, it may be assigned anew, even before housekeeping.
    method.clock.advance(Duration::from_mins(1));
    post(&method, "role/web/custom-secret-id", input()).await;
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 1);
    method.clock.advance(Duration::from_secs(5));
    method.run_jobs().await;
    assert_ne!(lookup(&method, "web", "mine").await, Value::Null);
}

#[tokio::test]
async fn the_role_bounds_its_secret_ids() {
    let role = json!({
        "secret_id_num_uses": 5, "secret_id_ttl": "1h", "secret_id_bound_cidrs": "10.0.0.0/8",
        "token_bound_cidrs": "10.0.0.0/8",
    });
    let method = with_role(role).await;
    let made = post(&method, "role/web/secret-id", json!({})).await;
    assert_eq!((&made["secret_id_ttl"], &made["secret_id_num_uses"]), (&json!(3600), &json!(5)));
    let subset = "failed to verify subset relationship between CIDR blocks on the role [\"10.0.0.0/8\"] and CIDR blocks \
                  on the secret ID [\"11.0.0.0/8\"]";
    let uses = "num_uses cannot be higher than the role's secret_id_num_uses";
    let ttl = "ttl cannot be longer than the role's secret_id_ttl";
    for (input, text) in [
        (json!({"num_uses": 6}), uses),
        (json!({"num_uses": 0}), uses),
        (json!({"num_uses": -1}), "num_uses cannot be negative"),
        (json!({"ttl": "2h"}), ttl),
        (json!({"ttl": 0}), ttl),
        (json!({"cidr_list": "11.0.0.0/8"}), subset),
        (json!({"token_bound_cidrs": "11.0.0.0/8"}), subset),
        (json!({"cidr_list": "bogus"}), "failed to validate CIDR blocks: invalid CIDR address: bogus"),
        (
            json!({"token_bound_cidrs": "bogus"}),
            "failed to validate token CIDR blocks: invalid CIDR address: bogus",
        ),
        (
            json!({"metadata": "bogus"}),
            "failed to parse metadata: failed to parse the input: invalid <key,value> format",
        ),
    ] {
        assert_eq!(post_refused(&method, "role/web/secret-id", input).await, bad(text));
    }
    let input =
        json!({"num_uses": 4, "ttl": "30m", "cidr_list": "10.1.0.0/16", "token_bound_cidrs": "10.2.0.0/16"});
    post(&method, "role/web/secret-id", input).await;
    post(&method, "role/web", json!({"bind_secret_id": false})).await;
    for endpoint in ["secret-id", "custom-secret-id"] {
        let refusal = post_refused(&method, &format!("role/web/{endpoint}"), json!({"secret_id": "x"})).await;
        assert_eq!(refusal, bad("bind_secret_id is not set on the role"));
    }
}

#[tokio::test]
async fn what_is_not_there_is_answered_as_vault_does() {
    let method = with_role(json!({})).await;
    assert_eq!(lookup(&method, "web", "nope").await, Value::Null);
    assert_eq!(post(&method, "role/web/secret-id/destroy", json!({"secret_id": "nope"})).await, Value::Null);
    let missing = (404, "failed to find accessor entry for secret_id_accessor: \"nope\"".to_owned());
    for action in ["lookup", "destroy"] {
        let by_secret_id = format!("secret-id/{action}");
        let by_accessor = format!("secret-id-accessor/{action}");
        let refusal =
            post_refused(&method, &format!("role/web/{by_accessor}"), json!({"secret_id_accessor": "nope"}))
                .await;
        assert_eq!(refusal, missing);
        for (endpoint, text) in
            [(&by_secret_id, "missing secret_id"), (&by_accessor, "missing secret_id_accessor")]
        {
            assert_eq!(post_refused(&method, &format!("role/web/{endpoint}"), json!({})).await, bad(text));
        }
        let no_role = (404, "role \"Nope\" does not exist".to_owned());
        let refusal =
            post_refused(&method, &format!("role/Nope/{by_secret_id}"), json!({"secret_id": "x"})).await;
        assert_eq!(refusal, no_role);
        let input = json!({"secret_id_accessor": "x"});
        assert_eq!(post_refused(&method, &format!("role/Nope/{by_accessor}"), input).await, no_role);
    }
    for endpoint in ["secret-id", "custom-secret-id"] {
        let refusal =
            post_refused(&method, &format!("role/Nope/{endpoint}"), json!({"secret_id": "x"})).await;
        assert_eq!(refusal, (404, "role \"Nope\" does not exist".to_owned()));
    }
    let refusal = refused(&method, Operation::List, "role/Nope/secret-id", json!({})).await;
    assert_eq!(refusal, bad("role \"Nope\" does not exist"));
    assert_eq!(refused(&method, Operation::List, "role/web/secret-id", json!({})).await.0, 404);
}

#[tokio::test]
async fn an_accessor_leads_within_its_role_only() {
    let method = with_role(json!({})).await;
    post(&method, "role/other", json!({})).await;
    let made = post(&method, "role/web/secret-id", json!({})).await;
    let by_accessor = json!({"secret_id_accessor": made["secret_id_accessor"]});
    for action in ["lookup", "destroy"] {
        let path = format!("role/other/secret-id-accessor/{action}");
        assert_eq!(post_refused(&method, &path, by_accessor.clone()).await.0, 404);
    }
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 1);
}

#[tokio::test]
async fn destroyed_secret_ids_leave_nothing_behind() {
    let method = with_role(json!({"role_id": "web"})).await;
    for operation in [Operation::Update, Operation::Delete] {
        for (endpoint, member) in [("secret-id", "secret_id"), ("secret-id-accessor", "secret_id_accessor")] {
            let made = post(&method, "role/web/secret-id", json!({"ttl": 600})).await;
            let secret_id = made["secret_id"].as_str().unwrap();
            login(&method, "web", secret_id).await.unwrap();
            let path = format!("role/web/{endpoint}/destroy");
            method.call(operation, &path, json!({member: made[member]})).await.unwrap();
            assert_eq!(login(&method, "web", secret_id).await.unwrap_err(), bad("invalid role or secret ID"));
            assert_eq!(lookup(&method, "web", secret_id).await, Value::Null);
            assert_eq!(refused(&method, Operation::List, "role/web/secret-id", json!({})).await.0, 404);
        }
    }
}

#[tokio::test]
async fn accessors_are_listed_in_pages() {
    let method = with_role(json!({})).await;
    for _ in 0..7 {
        post(&method, "role/web/secret-id", json!({})).await;
    }
    let all = keys(&method, "role/web/secret-id").await;
    assert!(all.is_sorted());
    let page = method.data(Operation::List, "role/web/secret-id", json!({"after": all[2], "limit": 3})).await;
    assert_eq!(page["keys"], json!(all[3..6]));
}
