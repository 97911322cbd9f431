//! The endpoints for single parts of a role.

use super::*;

/// Endpoint, member, what is given, what is answered then, and what a new role answers.
fn cases() -> Vec<(&'static str, &'static str, Value, Value, Value)> {
    vec![
        ("bind-secret-id", "bind_secret_id", json!("true"), json!(true), json!(true)),
        ("bound-cidr-list", "bound_cidr_list", json!("10.0.0.0/8"), json!(["10.0.0.0/8"]), json!(null)),
        (
            "secret-id-bound-cidrs",
            "secret_id_bound_cidrs",
            json!(["10.0.0.0/8"]),
            json!(["10.0.0.0/8"]),
            json!(null),
        ),
        (
            "token-bound-cidrs",
            "token_bound_cidrs",
            json!("1.2.3.4,::/8"),
            json!(["1.2.3.4", "::/8"]),
            json!(null),
        ),
        ("policies", "token_policies", json!("c,B"), json!(["b", "c"]), json!([])),
        ("period", "token_period", json!("3h"), json!(10_800), json!(0)),
        ("secret-id-num-uses", "secret_id_num_uses", json!(5), json!(5), json!(0)),
        ("secret-id-ttl", "secret_id_ttl", json!("1h"), json!(3600), json!(0)),
        ("token-num-uses", "token_num_uses", json!("7"), json!(7), json!(0)),
        ("token-ttl", "token_ttl", json!(90), json!(90), json!(0)),
        ("token-max-ttl", "token_max_ttl", json!("2m"), json!(120), json!(0)),
    ]
}

#[tokio::test]
async fn each_part_is_read_set_and_put_back() {
    for (endpoint, member, given, answered, fresh) in cases() {
        let method = method();
        post(&method, "role/web", json!({})).await;
        let path = format!("role/WEB/{endpoint}");
        assert_eq!(get(&method, &path).await, json!({member: fresh}), "{endpoint}");
        assert_eq!(post(&method, &path, json!({member: given})).await, Value::Null, "{endpoint}");
        assert_eq!(get(&method, &path).await, json!({member: answered}), "{endpoint}");
        let in_role = if member == "bound_cidr_list" { "secret_id_bound_cidrs" } else { member };
        assert_eq!(get(&method, "role/web").await[in_role], answered, "{endpoint}");
        assert_eq!(delete(&method, &path).await, Value::Null, "{endpoint}");
        assert_eq!(get(&method, &path).await, json!({member: fresh}), "{endpoint}");
    }
}

#[tokio::test]
async fn without_the_role_there_is_no_part() {
    let method = method();
    for (endpoint, member, given, _, _) in cases() {
        let path = format!("role/nope/{endpoint}");
        assert_eq!(refused(&method, Operation::Read, &path, json!({})).await.0, 404, "{endpoint}");
        let refusal = post_refused(&method, &path, json!({member: given})).await;
        assert_eq!(refusal, (404, "unsupported path".to_owned()), "{endpoint}");
        assert_eq!(delete(&method, &path).await, Value::Null, "{endpoint}");
    }
}

#[tokio::test]
async fn a_missing_member_is_named_or_changes_nothing() {
    let method = method();
    post(&method, "role/web", json!({})).await;
    for (endpoint, member, ..) in cases() {
        let path = format!("role/web/{endpoint}");
        let missing = match endpoint {
            "bound-cidr-list" | "secret-id-bound-cidrs" | "token-bound-cidrs" => {
                assert_eq!(post(&method, &path, json!({})).await, Value::Null);
                continue;
            }
            "period" => "missing period".to_owned(),
            _ => format!("missing {member}"),
        };
        assert_eq!(post_refused(&method, &path, json!({})).await, bad(&missing), "{endpoint}");
    }
}

#[tokio::test]
async fn a_part_that_does_not_fit_is_refused() {
    let method = method();
    post(&method, "role/web", json!({})).await;
    let no_constraint = bad("at least one constraint should be enabled on the role");
    assert_eq!(
        post_refused(&method, "role/web/bind-secret-id", json!({"bind_secret_id": false})).await,
        no_constraint
    );
    post(&method, "role/web/secret-id-bound-cidrs", json!({"secret_id_bound_cidrs": "10.0.0.0/8"})).await;
    post(&method, "role/web/bind-secret-id", json!({"bind_secret_id": false})).await;
    for endpoint in ["secret-id-bound-cidrs", "bound-cidr-list"] {
        let path = format!("role/web/{endpoint}");
        assert_eq!(refused(&method, Operation::Delete, &path, json!({})).await, no_constraint);
    }
    for (endpoint, input, text) in [
        ("secret-id-bound-cidrs", json!({"secret_id_bound_cidrs": ""}), "missing bound_cidr_list"),
        (
            "bound-cidr-list",
            json!({"bound_cidr_list": "bogus"}),
            "failed to validate CIDR blocks: invalid CIDR address: bogus",
        ),
        (
            "token-bound-cidrs",
            json!({"token_bound_cidrs": "bogus"}),
            "failed to parse token_bound_cidrs: error parsing address \"bogus\": Unable to convert \"bogus\" to an IPv4 \
             or IPv6 address, or a UNIX Socket",
        ),
        ("secret-id-num-uses", json!({"secret_id_num_uses": -5}), "secret_id_num_uses cannot be negative"),
        ("token-num-uses", json!({"token_num_uses": -5}), "'token_num_uses' cannot be negative"),
    ] {
        assert_eq!(post_refused(&method, &format!("role/web/{endpoint}"), input).await, bad(text));
    }
    post(&method, "role/web/token-max-ttl", json!({"token_max_ttl": "1h"})).await;
    let refusal = post_refused(&method, "role/web/token-ttl", json!({"token_ttl": "2h"})).await;
    assert_eq!(refusal, bad("token_ttl should not be greater than token_max_ttl"));
    post(&method, "role/web/token-ttl", json!({"token_ttl": "1h"})).await;
    let refusal = post_refused(&method, "role/web/token-max-ttl", json!({"token_max_ttl": "1m"})).await;
    assert_eq!(refusal, bad("token_max_ttl should be greater than or equal to token_ttl"));
    post(&method, "role/batch", json!({"token_type": "batch"})).await;
    assert_eq!(post_refused(&method, "role/batch/period", json!({"period": "1h"})).await.0, 400);
    assert_eq!(post_refused(&method, "role/batch/token-num-uses", json!({"token_num_uses": 1})).await.0, 400);
}

#[tokio::test]
async fn the_older_list_of_blocks_warns() {
    let method = method();
    post(&method, "role/web", json!({})).await;
    let reply = method.call(Operation::Read, "role/web/bound-cidr-list", json!({})).await.unwrap();
    let text = "The \"bound_cidr_list\" field is deprecated and will be removed. Please use \"secret_id_bound_cidrs\" \
                instead.";
    assert_eq!(reply.warnings(), [text]);
}

#[tokio::test]
async fn older_names_are_echoed_by_their_part() {
    let method = method();
    post(&method, "role/web", json!({})).await;
    post(&method, "role/web/policies", json!({"policies": ["a", "B"]})).await;
    assert_eq!(
        get(&method, "role/web/policies").await,
        json!({"policies": ["a", "b"], "token_policies": ["a", "b"]})
    );
    post(&method, "role/web/policies", json!({"token_policies": "c"})).await;
    assert_eq!(get(&method, "role/web/policies").await, json!({"token_policies": ["c"]}));
    post(&method, "role/web/period", json!({"period": "1h"})).await;
    assert_eq!(get(&method, "role/web/period").await, json!({"period": 3600, "token_period": 3600}));
    post(&method, "role/web/period", json!({"period": 4, "token_period": "2h"})).await;
    assert_eq!(get(&method, "role/web/period").await, json!({"period": 7200, "token_period": 7200}));
    delete(&method, "role/web/period").await;
    assert_eq!(get(&method, "role/web/period").await, json!({"token_period": 0}));
}
