//! Logins.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use strongroom_engine_api::{TokenKind, parse_cidrs};

use super::*;

fn invalid() -> (u16, String) {
    bad("invalid role or secret ID")
}

async fn with_role(input: Value) -> Harness {
    let method = method();
    post(&method, "role/Web", input).await;
    post(&method, "role/web/role-id", json!({"role_id": "rid"})).await;
    method
}

async fn assign(method: &Harness, input: Value) {
    post(method, "role/web/custom-secret-id", input).await;
}

fn blocks(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn the_grant_is_what_the_role_says() {
    let role = json!({
        "token_policies": "p1", "token_ttl": "10m", "token_max_ttl": "1h", "token_num_uses": 3, "token_period": "5m",
        "token_explicit_max_ttl": "2h", "token_no_default_policy": true, "token_bound_cidrs": "10.0.0.0/8",
    });
    let method = with_role(role).await;
    assign(&method, json!({"secret_id": "s", "metadata": "{\"n\":\"1\",\"role_name\":\"evil\"}"})).await;
    let grant = login(&method, "rid", "s").await.unwrap();
    let expected = AuthGrant {
        policies: vec!["p1".to_owned()],
        no_default_policy: true,
        metadata: BTreeMap::from([
            ("n".to_owned(), "1".to_owned()),
            ("role_name".to_owned(), "web".to_owned()),
        ]),
        alias: "rid".to_owned(),
        ttl: Duration::from_mins(10),
        max_ttl: Duration::from_hours(1),
        explicit_max_ttl: Duration::from_hours(2),
        period: Duration::from_mins(5),
        num_uses: 3,
        kind: TokenKind::Service,
        bound_cidrs: parse_cidrs(&blocks(&["10.0.0.0/8"])).unwrap(),
        renewable: true,
        internal: BTreeMap::from([("role_name".to_owned(), "web".to_owned())]),
        ..AuthGrant::default()
    };
    assert_eq!(format!("{grant:?}"), format!("{expected:?}"));
}

#[tokio::test]
async fn batch_roles_grant_batch_tokens_and_secret_ids_bind_tokens() {
    let method = with_role(json!({"token_type": "batch", "token_bound_cidrs": "10.0.0.0/8"})).await;
    assign(&method, json!({"secret_id": "s", "token_bound_cidrs": "10.1.0.0/16"})).await;
    let grant = login(&method, "rid", "s").await.unwrap();
    assert_eq!(grant.kind, TokenKind::Batch);
    assert_eq!(grant.bound_cidrs, parse_cidrs(&blocks(&["10.1.0.0/16"])).unwrap());
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_refused_in_vaults_words() {
    let method = method();
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), invalid());
    let method = with_role(json!({})).await;
    assign(&method, json!({"secret_id": "s"})).await;
    for (input, text) in [
        (json!({}), "missing role_id"),
        (json!({"role_id": "", "secret_id": "s"}), "missing role_id"),
        (json!({"role_id": "rid"}), "missing secret_id"),
        (json!({"role_id": "rid", "secret_id": ""}), "missing secret_id"),
        (json!({"role_id": "RID", "secret_id": "s"}), "invalid role or secret ID"),
        (json!({"role_id": "rid", "secret_id": "S"}), "invalid role or secret ID"),
        (json!({"role_id": "web", "secret_id": "s"}), "invalid role or secret ID"),
        (json!({"role_id": "rid", "secret_id": "x".repeat(9000)}), "invalid role or secret ID"),
    ] {
        assert_eq!(post_refused(&method, "login", input).await, bad(text));
    }
    post(&method, "role/other", json!({"role_id": "other"})).await;
    assert_eq!(login(&method, "other", "s").await.unwrap_err(), invalid());
}

#[tokio::test]
async fn a_new_role_id_replaces_the_old() {
    let method = with_role(json!({})).await;
    assign(&method, json!({"secret_id": "s"})).await;
    post(&method, "role/web", json!({"role_id": "new"})).await;
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), invalid());
    assert_eq!(login(&method, "new", "s").await.unwrap().alias, "new");
}

#[tokio::test]
async fn a_secret_id_ends_by_the_clock() {
    let method = with_role(json!({})).await;
    assign(&method, json!({"secret_id": "s", "ttl": 60})).await;
    method.clock.advance(Duration::from_millis(59_999));
    login(&method, "rid", "s").await.unwrap();
    method.clock.advance(Duration::from_millis(1));
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), invalid());
    let lookup = post(&method, "role/web/secret-id/lookup", json!({"secret_id": "s"})).await;
    assert_eq!(lookup, Value::Null);
}

#[tokio::test]
async fn only_counted_uses_are_written() {
    let method = with_role(json!({})).await;
    assign(&method, json!({"secret_id": "free"})).await;
    assign(&method, json!({"secret_id": "counted", "num_uses": 2, "ttl": 60})).await;
    method.clock.advance(Duration::from_secs(5));
    for secret_id in ["free", "counted"] {
        login(&method, "rid", secret_id).await.unwrap();
    }
    let known = |secret_id| post(&method, "role/web/secret-id/lookup", json!({"secret_id": secret_id}));
    let (free, counted) = (known("free").await, known("counted").await);
    assert_eq!(free["last_updated_time"], free["creation_time"]);
    assert_eq!(counted["last_updated_time"], json!("2023-11-14T22:13:25Z"));
    assert_eq!(counted["secret_id_num_uses"], json!(1));
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 2);
    login(&method, "rid", "counted").await.unwrap();
    assert_eq!(login(&method, "rid", "counted").await.unwrap_err(), invalid());
    assert_eq!(keys(&method, "role/web/secret-id").await.len(), 1);
}

#[tokio::test]
async fn logins_come_from_where_role_and_secret_id_allow() {
    let mut method = with_role(json!({})).await;
    assign(&method, json!({"secret_id": "s", "cidr_list": "10.0.0.0/8", "num_uses": 1})).await;
    let on_secret_id = "source address \"127.0.0.1\" unauthorized through CIDR restrictions on the secret ID";
    assert_eq!(login(&method, "rid", "s").await.unwrap_err(), bad(on_secret_id));
    post(&method, "role/web", json!({"secret_id_bound_cidrs": "10.0.0.0/8"})).await;
    assign(&method, json!({"secret_id": "t"})).await;
    let on_role = "source address \"127.0.0.1\" unauthorized by CIDR restrictions on the role";
    assert_eq!(login(&method, "rid", "t").await.unwrap_err(), bad(on_role));
    method.remote = None;
    for secret_id in ["s", "t"] {
        assert_eq!(
            login(&method, "rid", secret_id).await.unwrap_err(),
            bad("failed to get connection information")
        );
    }
    // Refused logins took no use.
    method.remote = Some("::ffff:10.9.9.9".parse::<IpAddr>().unwrap());
    login(&method, "rid", "s").await.unwrap();
    login(&method, "rid", "t").await.unwrap();
}

#[tokio::test]
async fn a_role_that_was_narrowed_binds_older_secret_ids() {
    let mut method =
        with_role(json!({"secret_id_bound_cidrs": "10.0.0.0/8", "token_bound_cidrs": "10.0.0.0/8"})).await;
    method.remote = Some(IpAddr::from([10, 1, 1, 1]));
    assign(&method, json!({"secret_id": "s", "cidr_list": "10.0.0.0/8"})).await;
    assign(&method, json!({"secret_id": "t", "token_bound_cidrs": "10.0.0.0/8"})).await;
    login(&method, "rid", "s").await.unwrap();
    login(&method, "rid", "t").await.unwrap();
    post(
        &method,
        "role/web",
        json!({"secret_id_bound_cidrs": "10.1.0.0/16", "token_bound_cidrs": "10.1.0.0/16"}),
    )
    .await;
    let narrowed = "failed to verify subset relationship between CIDR blocks on the role [\"10.1.0.0/16\"] and CIDR \
                    blocks on the secret ID [\"10.0.0.0/8\"]";
    for secret_id in ["s", "t"] {
        assert_eq!(login(&method, "rid", secret_id).await.unwrap_err(), bad(narrowed));
    }
}

#[tokio::test]
async fn without_bound_secret_ids_the_address_alone_counts() {
    let mut method =
        with_role(json!({"bind_secret_id": false, "secret_id_bound_cidrs": "127.0.0.0/8"})).await;
    let grant = login(&method, "rid", "").await.unwrap();
    assert_eq!(grant.metadata, BTreeMap::from([("role_name".to_owned(), "web".to_owned())]));
    login(&method, "rid", "ignored").await.unwrap();
    method.remote = Some(IpAddr::from([10, 0, 0, 1]));
    let refusal = login(&method, "rid", "").await.unwrap_err();
    assert_eq!(refusal, bad("source address \"10.0.0.1\" unauthorized by CIDR restrictions on the role"));
}

/// The number of logins out of `attempts` at once that succeed with a secret id of `uses` uses.
async fn logins_at_once(uses: u32, attempts: usize) -> usize {
    let method = Arc::new(with_role(json!({})).await);
    assign(&method, json!({"secret_id": "s", "num_uses": uses})).await;
    let tasks: Vec<_> = (0..attempts)
        .map(|_| {
            let method = method.clone();
            tokio::spawn(async move { login(&method, "rid", "s").await })
        })
        .collect();
    let mut granted = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(grant) => granted.push(grant),
            Err(refusal) => assert_eq!(refusal, invalid()),
        }
    }
    granted.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logins_at_once_take_no_use_twice() {
    assert_eq!(logins_at_once(5, 40).await, 5);
    assert_eq!(logins_at_once(1, 16).await, 1);
    assert_eq!(logins_at_once(0, 16).await, 16);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_id_serves_its_number_of_uses(uses in 1u32..12, wrong in prop::collection::vec(any::<bool>(), 0..24)) {
        runtime().block_on(async {
            let method = with_role(json!({})).await;
            assign(&method, json!({"secret_id": "s", "num_uses": uses})).await;
            let mut wrong = wrong.into_iter();
            for _ in 0..uses {
                // Failed attempts in between take nothing.
                if wrong.next() == Some(true) {
                    assert_eq!(login(&method, "rid", "t").await.unwrap_err(), invalid());
                }
                assert!(login(&method, "rid", "s").await.is_ok());
            }
            assert_eq!(login(&method, "rid", "s").await.unwrap_err(), invalid());
        });
    }

    #[test]
    fn no_login_panics_and_none_is_granted(role_id in "\\PC*", secret_id in "\\PC*") {
        runtime().block_on(async {
            let method = with_role(json!({})).await;
            assign(&method, json!({"secret_id": "s"})).await;
            assert!(login(&method, &role_id, &secret_id).await.is_err());
        });
    }
}
