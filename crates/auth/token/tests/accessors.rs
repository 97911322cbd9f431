//! Tokens by their accessors, many at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_pipeline::Verb;
use strongroom_testkit::{Request, Response, Server};
use strongroom_tokens::{NewToken, TokenEntry};

const ACCESSORS: &str = "auth/token/accessors";
const REVOKE: &str = "auth/token/revoke-accessors";

async fn list(server: &Server, filters: Value) -> Response {
    server.ask(Request::new(&server.root, Verb::List, ACCESSORS, filters)).await
}

fn keys(told: &Response) -> BTreeSet<String> {
    let keys = told.data()["keys"].as_array().unwrap();
    keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

/// Makes a token; its text and its accessor.
async fn make(server: &Server, input: Value) -> (String, String) {
    let made = server.write("auth/token/create", input).await;
    (made.token(), made.auth()["accessor"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_list_is_narrowed_by_what_tokens_are() {
    let server = Server::new().await;
    server.policy("dev", "path \"sys/mounts\" { capabilities = [\"read\"] }").await;
    let (_, job) = make(&server, json!({"policies": "dev", "display_name": "job-1", "ttl": "1h"})).await;
    let (_, other) =
        make(&server, json!({"policies": "default", "display_name": "job-2", "ttl": "2h"})).await;
    server
        .write("auth/token/roles/web", json!({"allowed_policies": "dev", "allowed_entity_aliases": "al*"}))
        .await;
    let made = server.write("auth/token/create/web", json!({"entity_alias": "alice", "ttl": "2h"})).await;
    let (of_role, entity) = (made.auth()["accessor"].clone(), made.auth()["entity_id"].clone());
    let of_role = of_role.as_str().unwrap();
    for (filters, expected) in [
        (json!({"policy": "DEV"}), vec![job.as_str(), of_role]),
        (json!({"display_name": "token-job-*"}), vec![&job, &other]),
        (json!({"display_name": "token-job-*", "policy": "dev"}), vec![&job]),
        (json!({"path": "auth/token/create/*"}), vec![of_role]),
        (json!({"path": "auth/token/create"}), vec![&job, &other]),
        (json!({"role_name": "web"}), vec![of_role]),
        (json!({"entity_id": entity}), vec![of_role]),
    ] {
        let told = list(&server, filters.clone()).await;
        let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(keys(&told), expected, "{filters}");
        assert_eq!(told.data()["next"], Value::Null);
    }
    assert_eq!(keys(&list(&server, json!({"policy": ""})).await).len(), 4, "root's among them");
    assert_eq!(list(&server, json!({"policy": "none"})).await.status, 404);
    // Pages go on after the last accessor.
    let first = keys(&list(&server, json!({"policy": "dev", "limit": 1})).await);
    let after = first.first().unwrap();
    let second = keys(&list(&server, json!({"policy": "dev", "limit": 1, "after": after})).await);
    assert_eq!(first.len() + second.len(), 2);
    assert_eq!(&first | &second, [job.clone(), of_role.to_owned()].into());
    server.clock.advance(Duration::from_hours(1));
    assert_eq!(
        keys(&list(&server, json!({"policy": "dev"})).await),
        [of_role.to_owned()].into(),
        "one has expired"
    );
}

#[tokio::test]
async fn a_list_with_filters_looks_at_a_bounded_number_of_tokens() {
    let server = Server::new().await;
    let (services, lifetimes) = (server.services(), server.services().mounts.lifetimes());
    for _ in 0..21 {
        let txn = server.txn().await;
        for _ in 0..500 {
            let entry = TokenEntry { path: "auth/many/login".to_owned(), ..TokenEntry::default() };
            let new = NewToken { entry, ttl: Duration::from_hours(1), ..NewToken::default() };
            services.tokens.make_token(&txn, lifetimes, new).await.unwrap();
        }
        txn.commit().await.unwrap();
    }
    let told = list(&server, json!({"path": "auth/nowhere/*"})).await;
    assert_eq!(told.data()["keys"], json!([]));
    let next = told.data()["next"].as_str().unwrap().to_owned();
    assert_eq!(list(&server, json!({"path": "auth/nowhere/*", "after": next})).await.status, 404);
    let told = list(&server, json!({"path": "auth/many/*"})).await;
    let rest = list(&server, json!({"path": "auth/many/*", "after": told.data()["next"]})).await;
    assert_eq!(keys(&told).len() + keys(&rest).len(), 21 * 500);
    assert!(keys(&told).is_disjoint(&keys(&rest)));
}

#[tokio::test]
async fn tokens_are_revoked_by_many_accessors_with_a_result_for_each() {
    let server = Server::new().await;
    let (parent, of_parent) = make(&server, json!({"policies": "root"})).await;
    let made = server.post(&parent, "auth/token/create", json!({"policies": "default"})).await;
    let (child, of_child) = (made.token(), made.auth()["accessor"].as_str().unwrap().to_owned());
    let (other, of_other) = make(&server, json!({"policies": "default"})).await;
    let (stays, _) = make(&server, json!({"policies": "default"})).await;
    let told =
        server.write(REVOKE, json!({"accessors": [of_parent, "nope", of_child, of_other, of_other]})).await;
    let result = |accessor: &str, status: &str| json!({"accessor": accessor, "status": status});
    let expected = json!({
        "revoked": 3,
        "results": [
            result(&of_parent, "revoked"), result("nope", "not found"), result(&of_child, "revoked"),
            result(&of_other, "revoked"), result(&of_other, "revoked"),
        ],
    });
    assert_eq!(told.data(), &expected);
    for (token, status) in [(&parent, 403), (&child, 403), (&other, 403), (&stays, 200)] {
        assert_eq!(server.get(token, "auth/token/lookup-self").await.status, status);
    }
    let again = server.write(REVOKE, json!({"accessors": format!("{of_parent},{of_other}")})).await;
    assert_eq!(again.data()["revoked"], 0);
    for (input, text) in [
        (json!({}), "missing accessors"),
        (json!({"accessors": [""]}), "missing accessors"),
        (json!({"accessors": vec!["a"; 1001]}), "more than 1000 tokens cannot be revoked at once"),
    ] {
        assert_eq!(server.write(REVOKE, input).await.refusal(), (400, text));
    }
    assert_eq!(server.post(&stays, REVOKE, json!({"accessors": ["a"]})).await.status, 403);
}

#[tokio::test]
async fn accessors_of_another_namespace_are_unknown() {
    let server = Server::new().await;
    server.write("sys/namespaces/a", json!({})).await;
    let create = Request::new(&server.root, Verb::Write, "auth/token/create", json!({"policies": "default"}));
    let made = server.ask(create.within("a")).await;
    let accessor = made.auth()["accessor"].clone();
    let input = json!({"accessors": [accessor]});
    let told = server.write(REVOKE, input.clone()).await;
    assert_eq!(told.data()["results"][0]["status"], "not found");
    let told = server.ask(Request::new(&server.root, Verb::Write, REVOKE, input).within("a")).await;
    assert_eq!(told.data()["results"][0]["status"], "revoked", "{}", told.body);
}
