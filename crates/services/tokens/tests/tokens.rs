//! Tokens in a whole server: trees, ends, uses, and records that lead nowhere.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use strongroom_barrier::{MountLocal, NamespaceId, Table, tables};
use strongroom_engine_api::TokenKind;
use strongroom_expiry::{LEASES, TokenId, TokenKey};
use strongroom_testkit::Server;
use strongroom_testkit::server::LIFETIMES;
use strongroom_tokens::testing::lose_entry;
use strongroom_tokens::{NewToken, Tidy, TokenEntry, TokenRole};

const ROOT: NamespaceId = NamespaceId::ROOT;
const HOUR: Duration = Duration::from_hours(1);

tables! {
    /// The layout of the cubbyhole engine: entries by token and path.
    HOLE: Table<MountLocal, (TokenKey, &str), String> = 1;
}

async fn hide(server: &Server, id: TokenId, names: usize) {
    let txn = server.txn().await;
    let hole = txn.mount(server.mounted("cubbyhole/").await.mount.place());
    for name in 0..names {
        HOLE.put(&hole, &(id.key, format!("{name}").as_str()), "hidden".to_owned()).unwrap();
    }
    txn.commit().await.unwrap();
}

async fn hidden(server: &Server) -> BTreeSet<TokenId> {
    let view = server.view().await.mount(server.mounted("cubbyhole/").await.mount.place());
    let found = HOLE.keys(&view, &(), None, usize::MAX).await.unwrap();
    found.into_iter().map(|(key, _)| TokenId { key, ..TokenId::default() }).collect()
}

/// The keys of the subtree of `top`.
fn subtree(tokens: &BTreeMap<TokenId, Option<TokenId>>, top: TokenId) -> BTreeSet<TokenId> {
    let mut within = BTreeSet::from([top]);
    loop {
        let more: Vec<TokenId> = tokens
            .iter()
            .filter(|(key, parent)| {
                parent.is_some_and(|parent| within.contains(&parent)) && !within.contains(*key)
            })
            .map(|(key, _)| *key)
            .collect();
        if more.is_empty() {
            return within;
        }
        within.extend(more);
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_subtree_goes(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        leases in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        top in any::<prop::sample::Index>(),
        orphaning in any::<bool>(),
    ) {
        run(async move {
            let server = Server::new().await;
            let mut keys: Vec<TokenId> = Vec::new();
            let mut tokens = BTreeMap::new();
            for parent in parents {
                // One in the range stands for no parent at all.
                let parent = keys.get(parent.index(keys.len().saturating_add(1))).copied();
                let key = server.child(parent).await;
                keys.push(key);
                tokens.insert(key, parent);
            }
            let mut owned = Vec::new();
            for owner in leases {
                let owner = *owner.get(&keys);
                owned.push((owner, server.lease(owner, "loans/creds/x").await));
            }
            assert_eq!(server.records().await, server.expected(&tokens, &owned));
            let top = *top.get(&keys);
            let gone = if orphaning {
                let txn = server.txn().await;
                server.services().tokens.revoke_orphaning(&txn, &top).await.unwrap();
                txn.commit().await.unwrap();
                for parent in tokens.values_mut().filter(|parent| **parent == Some(top)) {
                    *parent = None;
                }
                BTreeSet::from([top])
            } else {
                server.revoke_token(&top).await;
                subtree(&tokens, top)
            };
            server.end_noted().await;
            tokens.retain(|key, _| !gone.contains(key));
            owned.retain(|(owner, _)| !gone.contains(owner));
            assert_eq!(server.records().await, server.expected(&tokens, &owned));
        });
    }
}

#[tokio::test]
async fn a_large_tree_goes_in_steps() {
    let server = Server::new().await;
    let top = server.child(None).await;
    let stays = server.child(None).await;
    let mut tokens = BTreeMap::from([(stays, None)]);
    for _ in 0..300 {
        let child = server.child(Some(top)).await;
        server.child(Some(child)).await;
    }
    hide(&server, top, 300).await;
    hide(&server, stays, 1).await;
    tokens.insert(server.child(Some(stays)).await, Some(stays));
    server.revoke_token(&top).await;
    let records = server.records().await;
    assert!(!records.tokens().contains(&top), "the token itself goes at once");
    assert!(!records.of_tokens.unfinished.is_empty(), "what is left is noted");
    assert!(server.end_noted().await > 1);
    assert_eq!(server.records().await, server.expected(&tokens, &[]));
    assert_eq!(hidden(&server).await, BTreeSet::from([stays]), "cubbyholes go with their tokens");
}

#[tokio::test]
async fn many_children_become_orphans_in_steps() {
    let server = Server::new().await;
    let top = server.child(None).await;
    let mut tokens = BTreeMap::new();
    for _ in 0..600 {
        tokens.insert(server.child(Some(top)).await, None);
    }
    let txn = server.txn().await;
    server.services().tokens.revoke_orphaning(&txn, &top).await.unwrap();
    txn.commit().await.unwrap();
    assert!(server.end_noted().await > 1);
    assert_eq!(server.records().await, server.expected(&tokens, &[]));
}

#[tokio::test]
async fn a_renewal_follows_the_role() {
    let server = Server::new().await;
    let entry = TokenEntry { role: "web".to_owned(), ..TokenEntry::default() };
    let (_, key) = server.token(entry).await;
    let txn = server.txn().await;
    let error = server.services().tokens.renew_token(&txn, &key, None).await.err().unwrap();
    assert_eq!(error.to_string(), "original token role \"web\" could not be found, not renewing");
    let role = TokenRole { period: HOUR * 3, ..TokenRole::default() };
    server.services().tokens.put_token_role(&txn, ROOT, "web", role).unwrap();
    assert_eq!(server.services().tokens.renew_token(&txn, &key, Some(HOUR)).await.unwrap().ttl, HOUR * 3);
}

#[tokio::test]
async fn batch_tokens_end_with_their_parent() {
    let server = Server::new().await;
    let parent = server.child(None).await;
    let txn = server.txn().await;
    let entry = TokenEntry { parent: Some(parent), kind: TokenKind::Batch, ..TokenEntry::default() };
    let made = server
        .services()
        .tokens
        .make_token(&txn, LIFETIMES, NewToken { entry, ..NewToken::default() })
        .await
        .unwrap();
    assert!(txn.is_empty(), "nothing is written for a batch token");
    let found = async || {
        let view = server.services().barrier.pinned_view().await.unwrap();
        server
            .services()
            .tokens
            .principal(&view, made.token.expose(), server.clock.now())
            .await
            .unwrap()
            .is_some()
    };
    assert!(found().await);
    server.revoke_token(&parent).await;
    assert!(!found().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uses_are_never_exceeded() {
    let server = Arc::new(Server::new().await);
    let entry = TokenEntry { num_uses: 7, policies: vec!["default".to_owned()], ..TokenEntry::default() };
    let (token, key) = server.token(entry).await;
    let tasks: Vec<_> = (0..24)
        .map(|at| {
            let (server, token) = (server.clone(), token.clone());
            // Some of them are refused by policy: that takes a use, too.
            let path = if at % 4 == 0 { "auth/token/forbidden" } else { "auth/token/lookup-self" };
            tokio::spawn(async move { server.get(&token, path).await.status })
        })
        .collect();
    let mut good = 0;
    for task in tasks {
        good += usize::from(task.await.unwrap() == 200);
    }
    assert!(good <= 7, "{good} requests were served");
    assert!(!server.records().await.tokens().contains(&key), "the last use revokes the token");
    let (token, _) = server
        .token(TokenEntry { num_uses: 3, policies: vec!["default".to_owned()], ..TokenEntry::default() })
        .await;
    let statuses = [(); 5].map(|()| server.get(&token, "auth/token/lookup-self"));
    let mut told = Vec::new();
    for status in statuses {
        told.push(status.await.status);
    }
    assert_eq!(told, [200, 200, 200, 403, 403]);
}

#[tokio::test]
async fn tidying_removes_what_leads_nowhere() {
    let server = Server::new().await;
    let stays = server.child(None).await;
    let left_over = server.child(Some(stays)).await;
    let lost = server.child(Some(left_over)).await;
    let lease = server.lease(left_over, "loans/creds/x").await;
    let kept = server.lease(stays, "loans/creds/x").await;
    // Storage that was damaged: only the token's entry is gone.
    let txn = server.txn().await;
    lose_entry(&txn, &left_over);
    LEASES.delete(&txn, &(ROOT, &lease));
    txn.commit().await.unwrap();
    let txn = server.txn().await;
    assert!(server.services().tokens.start_tidying(&txn, Tidy::Tokens).await.unwrap());
    assert!(!server.services().tokens.start_tidying(&txn, Tidy::Tokens).await.unwrap(), "it is under way");
    assert!(server.services().tokens.start_tidying(&txn, Tidy::Leases).await.unwrap());
    txn.commit().await.unwrap();
    assert!(server.end_noted().await > 2);
    server.clock.advance(Duration::ZERO);
    let records = server.records().await;
    assert!(!records.tokens().contains(&lost), "a tree without its top goes");
    let mut expected = server.expected(&BTreeMap::from([(stays, None)]), &[(stays, kept)]);
    // The expiry index is tidied when its time comes.
    expected.ends = records.ends.clone();
    assert_eq!(records, expected);
    server.clock.advance(HOUR);
    server.end_noted().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}
