//! Leases in a whole server: granting, renewing and listing them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail loudly"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{BarrierError, NamespaceId};
use strongroom_engine_api::{EngineError, LeaseGrant, Moment, TokenKind};
use strongroom_leases::Granted;
use strongroom_testkit::lending::{self, Lending, LendingServer, Mood, User};
use strongroom_testkit::{Server, Settings, Setup};
use strongroom_tokens::TokenEntry;

const ROOT: NamespaceId = NamespaceId::ROOT;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn listing_passes_over_folders() {
    let server = Server::new().await;
    let owner = server.child(None).await;
    for _ in 0..300 {
        server.lease(owner, "a/creds/web").await;
    }
    server.lease(owner, "a/other").await;
    server.lease(owner, "b/creds/web").await;
    let view = server.services().barrier.pinned_view().await.unwrap();
    let list = async |folder, after, limit| {
        server.services().leases.lease_children(&view, ROOT, folder, after, limit).await.unwrap()
    };
    assert_eq!(list("", None, 10).await, ["a/", "auth/", "b/"]);
    assert_eq!(list("", Some("a/"), 1).await, ["auth/"]);
    assert_eq!(list("a/", None, 10).await, ["creds/", "other/"]);
    assert_eq!(list("a/creds/web/", None, 1000).await.len(), 300);
    assert_eq!(list("a/creds/web/", None, 7).await.len(), 7);
    assert_eq!(list("a/cre/", None, 10).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_grant_on_its_way_does_not_outlive_its_mount() {
    let server = LendingServer::new().await;
    let mounted = server.mounted("db/").await;
    let owner = server.principal(&server.root).await;
    let txn = server.txn().await;
    let grant = LeaseGrant::of_kind("creds", &User { name: "late".to_owned() }).unwrap();
    server.services().leases.make_lease(&txn, &mounted, "db/creds/web", &owner, grant).await.unwrap();
    server.disable("db/").await;
    assert!(txn.commit().await.is_err(), "it is decided anew, and finds no mount");
}

#[tokio::test]
async fn leases_of_batch_tokens_end_with_the_parent_or_the_tokens_end() {
    let server = LendingServer::new().await;
    let parent = server.root_token(None, TokenKind::Service).await;
    let held = server.root_token(Some(server.token_id(&parent)), TokenKind::Batch).await;
    let orphan = server.root_token(None, TokenKind::Batch).await;
    let of_held = server.lend(&held, "db/").await;
    server.clock.advance(90 * MINUTE);
    let of_orphan = server.lend(&orphan, "db/").await;
    let end = server.principal(&orphan).await.entry.expires.unwrap();
    assert_eq!(server.lease(&of_orphan).await.unwrap().expires, end, "30 minutes, not the hour of the grant");
    let txn = server.txn().await;
    let (renewed, _) = server.renew(&txn, &of_orphan, Some(10 * HOUR)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(renewed.ttl, 30 * MINUTE, "no renewal goes beyond it");
    assert_eq!(server.outside.until(&format!("db/{}", "user-2")), end);
    server.settle().await;
    assert!(server.lease(&of_held).await.is_none(), "it was over after an hour");
    let of_held = server.lend(&held, "db/").await;
    server.check(true).await;
    server.revoke_token(&server.token_id(&parent)).await;
    server.settle().await;
    assert!(server.lease(&of_held).await.is_none(), "it ended with the parent");
    assert!(server.lease(&of_orphan).await.is_some());
    server.pass(30 * MINUTE, 30 * MINUTE).await;
    server.check(true).await;
    assert!(server.outside.users().is_empty());
}

#[tokio::test]
async fn the_engine_has_a_say_in_renewals() {
    let server = LendingServer::new().await;
    let id = server.lend(&server.root, "db/").await;
    let renew = async |increment: Duration| {
        let txn = server.txn().await;
        let held = server.renew(&txn, &id, Some(increment)).await.map(|(held, _)| held.ttl);
        txn.commit().await.unwrap();
        held.map_err(|error| error.to_string())
    };
    let end = || server.outside.until("db/user-1");
    assert_eq!(renew(3 * HOUR).await, Ok(HOUR), "it grants an hour at most");
    assert_eq!(end(), server.clock.now().after(HOUR));
    server.clock.advance(30 * MINUTE);
    assert_eq!(renew(MINUTE).await, Ok(MINUTE), "what is asked for");
    assert_eq!(renew(HOUR).await, Ok(HOUR));
    server.outside.set("db/", Mood::Refusing);
    assert_eq!(renew(HOUR).await, Err("the user is locked outside".to_owned()));
    server.outside.set("db/", Mood::Fine);
    for _ in 0..5 {
        server.clock.advance(50 * MINUTE);
        renew(HOUR).await.unwrap();
    }
    let lease = server.lease(&id).await.unwrap();
    assert_eq!(lease.expires, lease.issued.after(5 * HOUR), "the engine's maximum");
    server.outside.set("db/", Mood::Down);
    server.revoke(&id).await;
    server.settle().await;
    assert_eq!(renew(HOUR).await, Err("lease expired".to_owned()), "what is being revoked is not renewed");
    assert!(end() > Moment::default());
}

/// A lease of the mount `db/` for nothing outside, held by the root token.
async fn grant(server: &Server, path: &str, grant: LeaseGrant) -> Result<Granted, EngineError> {
    let (owner, mounted) = (server.principal(&server.root).await, server.mounted("db/").await);
    let txn = server.txn().await;
    let made = server.services().leases.make_lease(&txn, &mounted, path, &owner, grant).await?;
    txn.commit().await?;
    Ok(made)
}

/// With a mount `db/`, where leases live for an hour and at most ten.
async fn server() -> Server {
    let settings = Settings { default_lease_ttl: HOUR, max_lease_ttl: HOUR * 10, ..Settings::default() };
    let outside = Arc::new(Lending::default());
    let server = Setup::default().with(move || lending::engine(&outside)).settings(settings).start().await;
    server.enable("db/", lending::KIND).await;
    server
}

#[tokio::test]
async fn a_lease_lives_as_its_grant_and_its_mount_say() {
    let server = server().await;
    for (ttl, max_ttl, granted, is_capped) in [
        (Duration::ZERO, Duration::ZERO, HOUR, false),
        (HOUR * 3, Duration::ZERO, HOUR * 3, false),
        (HOUR * 30, Duration::ZERO, HOUR * 10, true),
        (HOUR * 3, HOUR * 2, HOUR * 2, true),
        (HOUR * 30, HOUR * 20, HOUR * 10, true),
    ] {
        let (held, warning) =
            grant(&server, "db/creds/web", LeaseGrant { ttl, max_ttl, ..LeaseGrant::default() })
                .await
                .unwrap();
        assert_eq!((held.ttl, warning.is_some()), (granted, is_capped), "{ttl:?} {max_ttl:?}");
        assert!(held.id.starts_with("db/creds/web/") && held.id.len() == "db/creds/web/".len() + 24);
        let facts = server.services().leases.lease_facts(&server.view().await, ROOT, &held.id).await.unwrap();
        let facts = facts.unwrap();
        assert_eq!(
            (facts.issued, facts.expires),
            (server.clock.now(), Some(server.clock.now().after(granted)))
        );
        assert!(!facts.renewable && facts.renewed.is_none() && facts.state.is_active());
    }
    let hint = LeaseGrant { ttl: HOUR * 30, hint_only: true, ..LeaseGrant::default() };
    let before = server.records().await;
    let (held, warning) = grant(&server, "db/creds/web", hint).await.unwrap();
    assert_eq!((held.id.as_str(), held.ttl, held.renewable), ("", HOUR * 10, false));
    assert!(warning.unwrap().contains("exceeded the effective max_ttl"));
    assert_eq!(server.records().await, before, "when to read again is no lease");
}

#[tokio::test]
async fn renewals_count_from_now_and_end_at_the_maximum() {
    let server = server().await;
    let granted = LeaseGrant { ttl: HOUR, max_ttl: HOUR * 3, renewable: true, ..LeaseGrant::default() };
    let (held, _) = grant(&server, "db/creds/web", granted).await.unwrap();
    let issued = server.clock.now();
    let renew = async |increment: Option<Duration>| {
        let txn = server.txn().await;
        let (renewed, warning) =
            server.renew(&txn, &held.id, increment).await.map_err(|error| error.to_string())?;
        txn.commit().await.unwrap();
        Ok::<_, String>((renewed.ttl, warning.is_some()))
    };
    server.clock.advance(HOUR / 2);
    assert_eq!(renew(None).await, Ok((HOUR, false)), "without a wish, what it was granted for");
    assert_eq!(renew(Some(Duration::ZERO)).await, Ok((HOUR, false)));
    assert_eq!(renew(Some(HOUR / 4)).await, Ok((HOUR / 4, false)), "a renewal can shorten");
    assert_eq!(renew(Some(HOUR * 8)).await, Ok((HOUR * 5 / 2, true)), "what is left of three hours");
    let facts = server.services().leases.lease_facts(&server.view().await, ROOT, &held.id).await.unwrap();
    let facts = facts.unwrap();
    assert_eq!((facts.expires, facts.renewed), (Some(issued.after(HOUR * 3)), Some(issued.after(HOUR / 2))));
    assert_eq!(
        server.records().await.ends,
        BTreeSet::from([(issued.after(HOUR * 3).as_secs(), held.id.clone())])
    );
    server.clock.advance(HOUR * 2);
    assert_eq!(renew(Some(HOUR)).await, Ok((HOUR / 2, true)));
    server.clock.advance(HOUR / 2);
    assert_eq!(renew(None).await, Err("lease expired".to_owned()), "over, though nobody has ended it yet");
}

#[tokio::test]
async fn what_cannot_be_renewed_is_refused_in_vaults_words() {
    let server = server().await;
    let (fixed, _) = grant(&server, "db/creds/web", LeaseGrant::default()).await.unwrap();
    let (_, token) = server.token(TokenEntry::default()).await;
    let of_token = format!("auth/token/create/h{:032x}", u128::from_be_bytes(token.key));
    for (id, text) in [
        (fixed.id.as_str(), "lease is not renewable"),
        (of_token.as_str(), "tokens cannot be renewed through this endpoint"),
        ("db/creds/web/none", "lease not found"),
        ("", "lease not found"),
    ] {
        let txn = server.txn().await;
        let refused = server.renew(&txn, id, None).await.err().unwrap();
        assert_eq!(refused.to_string(), text, "{id}");
        assert!(txn.is_empty());
    }
    let renewable = LeaseGrant { renewable: true, ..LeaseGrant::default() };
    let (held, _) = grant(&server, "db/creds/web", renewable).await.unwrap();
    server.disable("db/").await;
    let refused = server.renew(&server.txn().await, &held.id, None).await.err().unwrap();
    assert_eq!(refused.to_string(), "lease expired", "its mount is on its way out");
}

#[tokio::test]
async fn a_grant_needs_its_token_and_a_kind_of_its_engine() {
    let server = server().await;
    let other = LeaseGrant { kind: "other".into(), ..LeaseGrant::default() };
    let refused = grant(&server, "db/creds/web", other).await.err().unwrap();
    assert!(matches!(refused, EngineError::Internal(_)), "{refused}");
    let (token, id) = server.token(TokenEntry::default()).await;
    let owner = server.principal(&token).await;
    server.revoke_token(&id).await;
    let (txn, mounted) = (server.txn().await, server.mounted("db/").await);
    let leases = &server.services().leases;
    let refused = leases.make_lease(&txn, &mounted, "db/creds/web", &owner, LeaseGrant::default()).await;
    assert!(matches!(refused.err().unwrap(), EngineError::Denied(_)), "a lease would outlive its token");
    // The token goes while the grant is on its way: one of the two is decided anew.
    let (token, id) = server.token(TokenEntry::default()).await;
    let (owner, txn) = (server.principal(&token).await, server.txn().await);
    leases.make_lease(&txn, &mounted, "db/creds/web", &owner, LeaseGrant::default()).await.unwrap();
    server.revoke_token(&id).await;
    assert!(matches!(txn.commit().await, Err(BarrierError::Conflict)));
    assert!(server.records().await.leases.is_empty());
}

#[tokio::test]
async fn pages_of_a_list_are_the_list() {
    let server = server().await;
    let mut made = BTreeSet::new();
    for path in ["db/creds/web", "db/creds/web/blue", "db/creds/x", "db/creds", "db/static/a", "db/z"] {
        for _ in 0..3 {
            made.insert(grant(&server, path, LeaseGrant::default()).await.unwrap().0.id);
        }
    }
    let view = server.view().await;
    for folder in ["", "db/", "db/creds/", "db/creds/web/", "db/creds/web/blue/", "none/"] {
        let under = made.iter().filter_map(|id| id.strip_prefix(folder));
        let names =
            under.map(|rest| rest.split_once('/').map_or(rest.to_owned(), |(name, _)| format!("{name}/")));
        let mut expected: BTreeSet<String> = names.collect();
        expected.retain(|name| !name.is_empty());
        for limit in [1, 2, 5, 100] {
            let (mut listed, mut after) = (Vec::new(), None::<String>);
            loop {
                let leases = &server.services().leases;
                let page = leases.lease_children(&view, ROOT, folder, after.as_deref(), limit).await.unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.clone());
                listed.extend(page);
            }
            assert_eq!(listed, expected.iter().cloned().collect::<Vec<_>>(), "{folder} by {limit}");
        }
    }
}

#[tokio::test]
async fn irrevocable_leases_are_listed_by_id_and_not_all_at_once() {
    let server = LendingServer::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.lend(&server.root, "db/").await);
    }
    server.outside.set("db/", Mood::Refusing);
    for id in &ids {
        server.revoke(id).await;
    }
    server.pass(HOUR, MINUTE).await;
    let kept = server.lend(&server.root, "db/").await;
    ids.sort();
    let listed = async |limit: usize| {
        let leases = &server.services().leases;
        let found = leases.irrevocable_leases(&server.view().await, ROOT, None, limit).await.unwrap();
        found.into_iter().map(|found| found.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(2).await, ids[..2]);
    assert_eq!(listed(10).await, ids);
    let facts = async |id: &str| {
        server.services().leases.lease_facts(&server.view().await, ROOT, id).await.unwrap().unwrap()
    };
    let given_up = facts(&ids[0]).await;
    assert_eq!((given_up.state.name(), given_up.renewable), ("irrevocable", false));
    assert_eq!(given_up.state.revoking().unwrap().refusals, 6);
    assert!(facts(&kept).await.renewable);
}
