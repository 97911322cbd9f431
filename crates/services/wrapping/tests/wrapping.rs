//! Response wrapping in a whole server.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{Secret, TokenKind};
use strongroom_testkit::{Request, Server, Verb};
use strongroom_tokens::TokenEntry;
use strongroom_wrapping::WrapGrant;

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrapped_answer_is_handed_out_once() {
    let server = Arc::new(Server::new().await);
    let txn = server.txn().await;
    let envelope = json!({"data": {"a": 1}}).to_string();
    let grant = server
        .services()
        .wrapping
        .wrap(&txn, NamespaceId::ROOT, Secret::new(envelope), "secret/x", HOUR, "")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(server.records().await.of_tokens.wrapped.len(), 1);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, token) = (server.clone(), grant.token.clone());
            tokio::spawn(async move {
                let txn = server.txn().await;
                server.services().wrapping.unwrap(&txn, &token).await.is_ok() && txn.commit().await.is_ok()
            })
        })
        .collect();
    let mut unwrapped = 0;
    for task in tasks {
        unwrapped += usize::from(task.await.unwrap());
    }
    assert_eq!(unwrapped, 1);
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

/// A wrapped answer of `secret/x`, and its token.
async fn wrap(server: &Server, namespace: NamespaceId, ttl: Duration) -> WrapGrant {
    let txn = server.txn().await;
    let envelope = Secret::new(json!({"data": {"a": 1}}).to_string());
    let wrapping = &server.services().wrapping;
    let grant = wrapping.wrap(&txn, namespace, envelope, "secret/x", ttl, "an-accessor").await.unwrap();
    txn.commit().await.unwrap();
    grant
}

/// Takes what is wrapped; the refusal where there is nothing.
async fn unwrap(server: &Server, token: &str) -> Result<String, String> {
    let txn = server.txn().await;
    let wrapped = server.services().wrapping.unwrap(&txn, token).await.map_err(|error| error.to_string())?;
    txn.commit().await.unwrap();
    Ok(wrapped.envelope.expose().clone())
}

const REFUSED: &str = "wrapping token is not valid or does not exist";

#[tokio::test]
async fn a_wrapping_token_is_good_for_one_use_and_for_nothing_else() {
    let server = Server::new().await;
    let grant = wrap(&server, NamespaceId::ROOT, HOUR).await;
    assert_eq!(
        (grant.ttl, grant.creation_path.as_str(), grant.wrapped_accessor.as_str()),
        (3600, "secret/x", "an-accessor")
    );
    assert_eq!(grant.creation_time, "2023-11-14T22:13:20Z");
    let entry = server.principal(&grant.token).await.entry;
    assert_eq!((entry.policies.as_slice(), entry.num_uses), (&["response-wrapping".to_owned()][..], 1));
    assert!(!entry.renewable && entry.is_orphan());
    assert_eq!(entry.expires, Some(server.clock.now().after(HOUR)));
    for _ in 0..2 {
        let found = server.services().wrapping.wrapped(&server.view().await, &grant.token).await.unwrap();
        assert_eq!(found.unwrap().1.creation_path, "secret/x", "a look takes no use");
    }
    let text = unwrap(&server, &grant.token).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"data": {"a": 1}}));
    assert_eq!(unwrap(&server, &grant.token).await, Err(REFUSED.to_owned()));
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]), "nothing of it is left");
}

#[tokio::test]
async fn what_is_wrapped_ends_with_its_time() {
    let server = Server::new().await;
    let grant = wrap(&server, NamespaceId::ROOT, HOUR).await;
    server.clock.advance(Duration::from_secs(3599));
    assert!(server.services().wrapping.wrapped(&server.view().await, &grant.token).await.unwrap().is_some());
    server.clock.advance(Duration::from_secs(1));
    assert!(server.services().wrapping.wrapped(&server.view().await, &grant.token).await.unwrap().is_none());
    assert_eq!(unwrap(&server, &grant.token).await, Err(REFUSED.to_owned()));
    assert_eq!(server.records().await.of_tokens.wrapped.len(), 1, "it is not handed out, and still there");
    server.end_noted().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

#[tokio::test]
async fn a_wrapping_token_lives_no_longer_than_any_other() {
    let server = Server::new().await;
    let grant = wrap(&server, NamespaceId::ROOT, HOUR * 10_000).await;
    assert_eq!(grant.ttl, (HOUR * 768).as_secs());
    assert_eq!(
        server.principal(&grant.token).await.entry.expires,
        Some(server.clock.now().after(HOUR * 768))
    );
}

#[tokio::test]
async fn rewrapping_moves_what_is_wrapped_under_another_token() {
    let server = Server::new().await;
    let first = wrap(&server, NamespaceId::ROOT, HOUR).await;
    server.clock.advance(HOUR / 2);
    let txn = server.txn().await;
    let second = server.services().wrapping.rewrap(&txn, &first.token).await.unwrap();
    txn.commit().await.unwrap();
    assert_ne!(second.token, first.token);
    assert_eq!(
        (second.ttl, second.creation_path.as_str(), second.wrapped_accessor.as_str()),
        (3600, "secret/x", "an-accessor")
    );
    assert_eq!(unwrap(&server, &first.token).await, Err(REFUSED.to_owned()));
    server.clock.advance(HOUR / 2);
    unwrap(&server, &second.token).await.expect("it lives as long again");
    let txn = server.txn().await;
    let refused = server.services().wrapping.rewrap(&txn, &second.token).await.unwrap_err();
    assert_eq!(refused.to_string(), REFUSED);
}

#[tokio::test]
async fn another_kind_of_token_is_refused_and_stays() {
    let server = Server::new().await;
    let (token, _) = server.token(TokenEntry::default()).await;
    for other in [token.as_str(), server.root.as_str(), "hvs.unknown", ""] {
        assert_eq!(unwrap(&server, other).await, Err(REFUSED.to_owned()), "{other}");
    }
    server.principal(&token).await;
    server.principal(&server.root).await;
}

#[tokio::test]
async fn a_wrapping_token_belongs_to_the_namespace_of_its_answer() {
    let server = Server::new().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let router = server.services().mounts.router().await.unwrap();
    let team = router.child(NamespaceId::ROOT, "team").unwrap();
    let grant = wrap(&server, team.id, HOUR).await;
    assert!(grant.token.ends_with(&format!(".{}", team.short_id)), "{}", grant.token);
    assert!(grant.accessor.ends_with(&format!(".{}", team.short_id)));
    assert_eq!(server.token_id(&grant.token).namespace, team.id);
    let txn = server.txn().await;
    let again = server.services().wrapping.rewrap(&txn, &grant.token).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(server.token_id(&again.token).namespace, team.id, "and stays there");
    unwrap(&server, &again.token).await.unwrap();
}

/// As clients did before `sys/wrapping/unwrap`.
#[tokio::test]
async fn a_wrapping_token_reads_what_it_holds_from_its_cubbyhole() {
    const RESPONSE: &str = "cubbyhole/response";
    let server = Server::new().await;
    let asked = Request::new(&server.root, Verb::Write, "sys/wrapping/wrap", json!({"a": 1})).wrapped(HOUR);
    let token = server.ask(asked).await.text("/wrap_info/token");
    let told = server.get(&token, RESPONSE).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let whole: Value = serde_json::from_str(&told.text("/data/response")).unwrap();
    assert_eq!(whole.get("data"), Some(&json!({"a": 1})));
    for (name, value) in [("wrap_info", json!(null)), ("auth", json!(null)), ("lease_id", json!(""))] {
        assert_eq!(whole.get(name), Some(&value), "{name}");
    }
    assert_eq!(server.get(&token, RESPONSE).await.status, 403, "once");
    unwrap(&server, &token).await.unwrap_err();
    // For any other token it is a name like another.
    let own = server.root_token(None, TokenKind::Service).await;
    assert_eq!(server.get(&own, RESPONSE).await.status, 404);
    assert_eq!(server.post(&own, RESPONSE, json!({"a": "b"})).await.status, 204);
    assert_eq!(server.get(&own, RESPONSE).await.data(), &json!({"a": "b"}));
}
