//! Tokens in a whole server: trees, ends, uses, and records that lead nowhere.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use strongroom_barrier::{BarrierError, MountLocal, NamespaceId, Table, tables};
use strongroom_engine_api::{Lifetimes, Secret, TokenKind};
use strongroom_expiry::{LEASES, TokenId, TokenKey};
use strongroom_storage::CommitError;
use strongroom_testkit::cluster::{Cluster, Faults, Image};
use strongroom_testkit::server::LIFETIMES;
use strongroom_testkit::{Server, Verb};
use strongroom_tokens::testing::lose_entry;
use strongroom_tokens::{NewToken, RenewalAnswer, Tidy, TokenEntry, TokenRole, Wrapped};

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
    let error = server
        .services()
        .tokens
        .renew_token(&txn, &key, None, &RenewalAnswer::default())
        .await
        .err()
        .unwrap();
    assert_eq!(error.to_string(), "original token role \"web\" could not be found, not renewing");
    let role = TokenRole { period: HOUR * 3, ..TokenRole::default() };
    server.services().tokens.put_token_role(&txn, ROOT, "web", role).unwrap();
    assert_eq!(
        server
            .services()
            .tokens
            .renew_token(&txn, &key, Some(HOUR), &RenewalAnswer::default())
            .await
            .unwrap()
            .ttl,
        HOUR * 3
    );
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

/// A copy of storage tells who has what, but is good for nothing.
#[tokio::test]
async fn keys_in_storage_contain_no_token_and_no_accessor() {
    let server = Server::new().await;
    let mut told = Vec::new();
    for id in [None, Some("chosen-by-an-operator".to_owned())] {
        let entry = TokenEntry { path: "auth/token/create".to_owned(), ..TokenEntry::default() };
        let (token, _) = server.make_token(NewToken { entry, id, ..NewToken::default() }).await;
        told.push(server.principal(&token).await.entry.accessor.clone());
        told.push(token);
    }
    told.push(server.root.clone());
    for (key, value) in server.stored().await {
        for secret in &told {
            let contains = |bytes: &[u8]| bytes.windows(secret.len()).any(|found| found == secret.as_bytes());
            assert!(!contains(&key) && !contains(&value), "{secret} at {}", String::from_utf8_lossy(&key));
        }
    }
}

#[tokio::test]
async fn a_token_is_found_by_its_text_while_it_is_in_force() {
    let server = Server::new().await;
    let (token, id) = server.token(TokenEntry::default()).await;
    let tokens = &server.services().tokens;
    let found = async |text: &str| {
        let found = tokens.principal(&server.view().await, text, server.clock.now()).await.unwrap();
        found.map(|found| found.id)
    };
    assert_eq!(found(&token).await, Some(id));
    for other in
        ["", "hvs.", "hvs.unknown", "hvb.", "hvb.AAAA", "hvb.!!", token.get(..token.len() - 1).unwrap()]
    {
        assert_eq!(found(other).await, None, "{other:?}");
    }
    server.clock.advance(Duration::from_nanos(3_599_999_999_999));
    assert_eq!(found(&token).await, Some(id));
    server.clock.advance(Duration::from_nanos(1));
    assert_eq!(found(&token).await, None, "it is over, to the nanosecond");
    let view = server.view().await;
    assert!(tokens.token_at(&view, &id).await.unwrap().is_none());
    assert!(tokens.entry(&view, &id).await.unwrap().is_some(), "nobody has ended it yet");
}

#[tokio::test]
async fn a_token_is_unknown_in_another_namespace() {
    let server = Server::new().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let router = server.services().mounts.router().await.unwrap();
    let team = router.child(ROOT, "team").unwrap().id;
    let (own, own_id) = server.token(TokenEntry::default()).await;
    let (theirs, their_id) = server.token(TokenEntry { namespace: team, ..TokenEntry::default() }).await;
    assert_eq!((own_id.namespace, their_id.namespace), (ROOT, team));
    let tokens = &server.services().tokens;
    for (token, namespace, is_found) in
        [(&own, ROOT, true), (&own, team, false), (&theirs, ROOT, false), (&theirs, team, true)]
    {
        let found = tokens.principal_in(&server.view().await, namespace, token, server.clock.now()).await;
        assert_eq!(found.unwrap().is_some(), is_found);
    }
    // Its accessor is its namespace's, too.
    let accessor = server.principal(&theirs).await.entry.accessor.clone();
    let view = server.view().await;
    assert_eq!(tokens.token_of_accessor(&view, team, &accessor).await.unwrap(), Some(their_id));
    assert_eq!(tokens.token_of_accessor(&view, ROOT, &accessor).await.unwrap(), None);
    // Without its suffix it is a token of the root namespace, and there is none.
    let (text, _) = theirs.rsplit_once('.').unwrap();
    assert!(tokens.principal(&view, text, server.clock.now()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_chosen_id_is_taken_once_and_names_no_other_namespace() {
    let server = Server::new().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let team = server.services().mounts.router().await.unwrap().child(ROOT, "team").unwrap();
    let make = async |id: &str, entry: TokenEntry| {
        let txn = server.txn().await;
        let new = NewToken { entry, id: Some(id.to_owned()), ..NewToken::default() };
        let made = server.services().tokens.make_token(&txn, LIFETIMES, new).await;
        let token = made.map_err(|error| error.to_string())?.token.expose().clone();
        txn.commit().await.unwrap();
        Ok::<_, String>(token)
    };
    assert_eq!(make("mine", TokenEntry::default()).await, Ok("mine".to_owned()));
    let twice = make("mine", TokenEntry::default()).await;
    assert_eq!(twice, Err("cannot create a token with a duplicate ID".to_owned()));
    let in_team = TokenEntry { namespace: team.id, ..TokenEntry::default() };
    assert_eq!(make("mine", in_team).await, Ok(format!("mine.{}", team.short_id)), "another token");
    let foreign = make(&format!("other.{}", team.short_id), TokenEntry::default()).await;
    assert_eq!(foreign, Err("the token's ID ends like one of another namespace".to_owned()));
}

#[tokio::test]
async fn a_token_without_an_end_is_one_that_was_asked_for() {
    let server = Server::new().await;
    let make = async |new: NewToken, lifetimes: Lifetimes| {
        let txn = server.txn().await;
        server.services().tokens.make_token(&txn, lifetimes, new).await
    };
    let renewable =
        || NewToken { entry: TokenEntry { renewable: true, ..TokenEntry::default() }, ..NewToken::default() };
    let endless = make(NewToken { without_end: true, ..renewable() }, LIFETIMES).await.unwrap();
    assert_eq!((endless.entry.expires, endless.ttl, endless.entry.renewable), (None, Duration::ZERO, false));
    let ends = make(NewToken { without_end: true, ttl: HOUR * 2, ..renewable() }, LIFETIMES).await.unwrap();
    assert_eq!((ends.ttl, ends.entry.renewable), (HOUR * 2, true), "a TTL that is asked for counts");
    let periodic = TokenEntry { period: HOUR * 3, ..TokenEntry::default() };
    let periodic = NewToken { without_end: true, entry: periodic, ..NewToken::default() };
    assert_eq!(make(periodic, LIFETIMES).await.unwrap().ttl, HOUR * 3);
    // Zero means no end: what has no time at all must not become that.
    let nothing = Lifetimes { default: Duration::ZERO, max: Duration::ZERO };
    let refused = make(renewable(), nothing).await.err().unwrap();
    assert_eq!(refused.to_string(), "the token would end as soon as it is made");
}

#[tokio::test]
async fn accessors_are_listed_page_by_page() {
    let server = Server::new().await;
    let mut all = BTreeSet::from([server.principal(&server.root).await.entry.accessor.clone()]);
    for _ in 0..7 {
        let (token, _) = server.token(TokenEntry::default()).await;
        all.insert(server.principal(&token).await.entry.accessor.clone());
    }
    let view = server.view().await;
    for limit in [1, 3, 100] {
        let (mut listed, mut after) = (Vec::new(), None::<String>);
        loop {
            let tokens = &server.services().tokens;
            let page = tokens.accessors(&view, ROOT, after.as_deref(), limit).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            listed.extend(page);
        }
        assert_eq!(listed.len(), all.len(), "none twice");
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    }
}

/// A batch token is its own record: whatever is changed in it makes it worthless, and so does another cluster.
#[tokio::test]
async fn a_batch_token_cannot_be_changed() {
    let server = Server::new().await;
    let batch = || TokenEntry { kind: TokenKind::Batch, num_uses: 0, ..TokenEntry::default() };
    let (token, _) = server.token(batch()).await;
    let found = async |server: &Server, text: &str| {
        let tokens = &server.services().tokens;
        tokens.principal(&server.view().await, text, server.clock.now()).await.unwrap().is_some()
    };
    assert!(found(&server, &token).await);
    for at in ["hvb.".len(), token.len() / 2, token.len() - 2] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(!found(&server, std::str::from_utf8(&changed).unwrap()).await, "at {at}");
    }
    assert!(!found(&Server::new().await, &token).await, "of another cluster");
    server.write("sys/namespaces/team", json!({})).await.data();
    let team = server.services().mounts.router().await.unwrap().child(ROOT, "team").unwrap();
    assert!(!found(&server, &format!("{token}.{}", team.short_id)).await, "of another namespace");
    server.services().seal_state.rotate().await.unwrap();
    assert!(found(&server, &token).await, "it outlives its key's use for new ones");
    server.clock.advance(HOUR);
    assert!(!found(&server, &token).await);
}

#[tokio::test]
async fn what_a_token_holds_ends_with_it() {
    let server = Server::new().await;
    let (_, holder) = server.token(TokenEntry::default()).await;
    let (_, other) = server.token(TokenEntry::default()).await;
    let wrapped = Wrapped {
        envelope: Secret::new("{}".to_owned()),
        creation_path: "secret/x".to_owned(),
        ttl: 60,
        creation_time: String::new(),
        accessor: String::new(),
    };
    let txn = server.txn().await;
    let tokens = &server.services().tokens;
    tokens.hold(&txn, &holder, wrapped).unwrap();
    txn.commit().await.unwrap();
    let held = async |id: &TokenId| tokens.held_by(&server.view().await, id).await.unwrap();
    assert_eq!(held(&holder).await.unwrap().creation_path, "secret/x");
    assert!(held(&other).await.is_none());
    server.revoke_token(&other).await;
    assert!(held(&holder).await.is_some());
    server.revoke_token(&holder).await;
    assert!(held(&holder).await.is_none());
}

/// Only the clock of the active node says that a token is over; a standby's may be ahead.
#[tokio::test]
async fn a_standby_leaves_it_to_the_active_node_that_a_token_is_over() {
    let image = Image::new().await;
    let cluster = Cluster::new(&image, 2, 1, Faults::default()).await;
    let made = cluster.done(Verb::Write, "auth/token/create", json!({ "ttl": "1h" })).await;
    let token = made.text("/auth/client_token");
    let found = async |node: usize| {
        let services = &cluster.node(node).unwrap().services;
        let view = services.barrier.pinned_view().await.unwrap();
        services.tokens.principal(&view, &token, cluster.clock.now()).await
    };
    assert!(found(0).await.unwrap().is_some() && found(1).await.unwrap().is_some());
    cluster.clock.advance(HOUR);
    assert!(found(0).await.unwrap().is_none());
    let forwarded = found(1).await.err().unwrap();
    assert!(matches!(forwarded, BarrierError::Commit(CommitError::NotLeader { .. })), "{forwarded}");
    cluster.close().await;
}

#[tokio::test]
async fn tidying_walks_through_more_than_one_step_takes() {
    let server = Server::new().await;
    let top = server.child(None).await;
    let mut tokens = BTreeMap::from([(top, None)]);
    let mut lost = Vec::new();
    for number in 0..600 {
        let child = server.child(Some(top)).await;
        if number % 100 == 7 {
            lost.push(child);
        } else {
            tokens.insert(child, Some(top));
        }
    }
    let owned = vec![(top, server.lease(top, "loans/creds/x").await)];
    let stray = server.lease(top, "loans/creds/y").await;
    let txn = server.txn().await;
    for id in &lost {
        lose_entry(&txn, id);
    }
    LEASES.delete(&txn, &(ROOT, &stray));
    let tidy = &server.services().tokens;
    assert!(tidy.start_tidying(&txn, Tidy::Tokens).await.unwrap());
    assert!(tidy.start_tidying(&txn, Tidy::Leases).await.unwrap());
    txn.commit().await.unwrap();
    assert!(server.end_noted().await > 6, "600 records of each kind, 256 at a time");
    let (records, mut expected) = (server.records().await, server.expected(&tokens, &owned));
    expected.ends.clone_from(&records.ends);
    assert_eq!(records, expected, "what leads nowhere is gone, and nothing else");
    assert!(!server.services().tokens.continue_tidying(&server.txn().await).await.unwrap(), "it is over");
}
