//! Leases that stand for something outside, in a whole core over a store that outlives it.

mod outside;

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_engine_api::{LeaseGrant, Moment, TokenKind};

use outside::{Mood, ROOT, Server, User};
use strongroom_expiry::LeaseState;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn what_stands_outside_ends_with_its_lease_whatever_ends_that() {
    for way in ["id", "token", "tree", "prefix", "prefix-now", "force", "expiry", "token-expiry", "disable"] {
        let server = Server::new().await;
        let top = server.token(None, TokenKind::Service).await;
        let child =
            server.token(Some(server.core.services.tokens.token_id(&top).unwrap()), TokenKind::Service).await;
        let ids = [server.lend(&child, "db/").await, server.lend(&child, "db/").await];
        let stays = server.lend(&server.root, "other/").await;
        server.check(true).await;
        match way {
            "id" => {
                for id in &ids {
                    server.revoke(id).await;
                }
            }
            "token" => server.revoke_token(&child).await,
            "tree" => server.revoke_token(&top).await,
            "prefix" => {
                let txn = server.txn().await;
                server.core.services.revocation.revoke_prefix(&txn, ROOT, "db/creds", false).await.unwrap();
                txn.commit().await.unwrap();
            }
            "prefix-now" | "force" => {
                let core = server.core.clone();
                let forced = way == "force";
                let asked = tokio::spawn(async move {
                    core.services.revocation.revoke_prefix_now(ROOT, "db", forced).await
                });
                while !asked.is_finished() {
                    server.core.background.run_jobs_once(false).await.unwrap();
                    tokio::task::yield_now().await;
                }
                asked.await.unwrap().unwrap();
                assert_eq!(server.outside.users().len(), 1, "it is done when it answers");
            }
            "expiry" => {
                server.pass(59 * MINUTE, 59 * MINUTE).await;
                assert_eq!(server.outside.users().len(), 3);
                server.write(&server.root, "other/creds/web").await;
                server.clock.advance(MINUTE);
            }
            "token-expiry" => {
                server.outside.set("db/", Mood::Down);
                server.pass(2 * HOUR, 10 * MINUTE).await;
                server.outside.set("db/", Mood::Fine);
                server.clock.advance(HOUR);
            }
            _ => server.disable("db/").await,
        }
        assert!(!server.outside.users().is_empty(), "{way}: marking asks nobody");
        server.check(false).await;
        server.settle().await;
        server.check(true).await;
        for id in &ids {
            assert!(server.lease(id).await.is_none(), "{way}");
        }
        let ended = way.contains("expiry");
        assert_eq!(server.lease(&stays).await.is_none(), ended, "{way}");
        assert_eq!(server.draining().await, 0);
    }
}

#[tokio::test]
async fn what_is_gone_outside_by_itself_counts_as_revoked() {
    let server = Server::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.forget();
    server.revoke(&id).await;
    server.settle().await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn an_outage_of_hours_delays_only_its_own_mount_and_loses_nothing() {
    let server = Server::new().await;
    let token = server.token(None, TokenKind::Service).await;
    for _ in 0..100 {
        server.lend(&token, "db/").await;
    }
    server.outside.set("db/", Mood::Down);
    server.revoke_token(&token).await;
    server.settle().await;
    server.check(false).await;
    for _ in 0..30 {
        server.pass(10 * MINUTE, 5 * MINUTE).await;
        let id = server.lend(&server.root, "other/").await;
        server.revoke(&id).await;
        server.settle().await;
        assert!(server.lease(&id).await.is_none());
    }
    server.check(false).await;
    assert_eq!(server.outside.users().len(), 100, "no lease is given up for want of a connection");
    let calls = server.outside.calls("db/");
    assert!((10..40).contains(&calls), "{calls} calls to an outside that is down for five hours");
    server.outside.set("db/", Mood::Fine);
    server.pass(HOUR, MINUTE).await;
    server.check(true).await;
    assert!(server.outside.users().is_empty());
    assert!(server.outside.most_at_once() <= 8);
}

#[tokio::test]
async fn want_of_a_connection_makes_no_lease_irrevocable() {
    let server = Server::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Down);
    server.revoke(&id).await;
    server.pass(24 * HOUR, 10 * MINUTE).await;
    let state = server.lease(&id).await.unwrap().state;
    let LeaseState::Revoking(revoking) = state else { panic!("{state:?}") };
    assert!(revoking.attempts > 12, "{}", revoking.attempts);
    assert!(revoking.next.since(server.clock.now()) <= HOUR);
    server.outside.set("db/", Mood::Fine);
    server.pass(HOUR, HOUR).await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn a_refusal_is_tried_six_times_and_then_left_to_an_operator() {
    let server = Server::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Refusing);
    server.revoke(&id).await;
    server.settle().await;
    let state = server.lease(&id).await.unwrap().state;
    let LeaseState::Revoking(revoking) = state else { panic!("{state:?}") };
    assert_eq!((revoking.attempts, revoking.error.as_str()), (1, "no such privilege"));
    let wait = revoking.next.since(server.clock.now());
    assert!((10..13).contains(&wait.as_secs()), "{wait:?}");
    server.pass(HOUR, MINUTE).await;
    let state = server.lease(&id).await.unwrap().state;
    assert!(matches!(&state, LeaseState::Irrevocable(revoking) if revoking.attempts == 6), "{state:?}");
    server.check(false).await;
    server.pass(5 * HOUR, HOUR).await;
    assert_eq!(server.outside.calls("db/"), 6, "nobody tries again by itself");
    let view = server.core.services.barrier.pinned_view().await.unwrap();
    let listed = server.core.services.leases.irrevocable_leases(&view, ROOT, 10).await.unwrap();
    assert_eq!(listed.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    // By an operator, and refused again; then by a change of the mount's configuration.
    server.revoke(&id).await;
    server.settle().await;
    assert_eq!(server.outside.calls("db/"), 7);
    server.pass(HOUR, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    server.settle().await;
    server.outside.set("db/", Mood::Fine);
    assert_eq!(server.write(&server.root, "other/config").await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_some(), "that was another mount");
    assert_eq!(server.write(&server.root, "db/config").await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn writes_to_a_mount_have_its_irrevocable_leases_tried_again_but_not_for_each() {
    let server = Server::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Refusing);
    server.revoke(&id).await;
    server.pass(HOUR, MINUTE).await;
    assert_eq!(server.outside.calls("db/"), 6);
    for _ in 0..60 {
        assert_eq!(server.write(&server.root, "db/config").await.status, 204);
        server.pass(MINUTE, MINUTE).await;
    }
    let calls = server.outside.calls("db/") - 6;
    assert!((6..=24).contains(&calls), "six every 15 minutes: {calls}");
    // What is written soon after a retry is not lost: it is tried when the time has come.
    server.pass(HOUR, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    assert_eq!(server.write(&server.root, "db/config").await.status, 204);
    server.pass(10 * MINUTE, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    server.outside.set("db/", Mood::Fine);
    assert_eq!(server.write(&server.root, "db/config").await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_some(), "it was tried just now");
    server.pass(10 * MINUTE, MINUTE).await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn a_panic_is_a_refusal_and_a_silence_an_outage() {
    let server = Server::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Panicking);
    server.revoke(&id).await;
    server.settle().await;
    let state = server.lease(&id).await.unwrap().state;
    assert!(matches!(&state, LeaseState::Revoking(revoking) if revoking.refusals == 1), "{state:?}");
    server.outside.set("db/", Mood::Hanging);
    server.clock.advance(MINUTE);
    let (core, other) = (server.core.clone(), server.lend(&server.root, "other/").await);
    let running = tokio::spawn(async move { core.background.run_jobs_once(false).await });
    yields().await;
    // Another mount's leases are revoked while this one's attempt hangs.
    server.revoke(&other).await;
    yields().await;
    assert!(server.lease(&other).await.is_none());
    assert!(!running.is_finished());
    server.clock.advance(MINUTE);
    yields().await;
    running.await.unwrap().unwrap();
    let state = server.lease(&id).await.unwrap().state;
    let LeaseState::Revoking(revoking) = state else { panic!("{state:?}") };
    assert_eq!(
        (revoking.attempts, revoking.refusals, revoking.error.as_str()),
        (2, 1, "no answer within 1m0s")
    );
}

/// Lets everything happen that can happen now.
async fn yields() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_crash_at_any_point_forgets_nothing() {
    for point in ["marked", "under way", "sealed", "ended outside"] {
        let mut server = Server::new().await;
        let token = server.token(None, TokenKind::Service).await;
        for _ in 0..20 {
            server.lend(&token, "db/").await;
        }
        server.revoke_token(&token).await;
        match point {
            "marked" => {}
            "under way" => {
                server.outside.set("db/", Mood::Slow(MINUTE / 2));
                let core = server.core.clone();
                let running = tokio::spawn(async move { core.background.run_jobs_once(false).await });
                yields().await;
                assert!(server.outside.calls("db/") >= 8);
                running.abort();
                yields().await;
                server.outside.set("db/", Mood::Fine);
            }
            "sealed" => {
                server.core.services.seal_state.seal().await;
                server.unseal().await;
            }
            _ => server.outside.forget(),
        }
        server.check(false).await;
        server.restart().await;
        server.check(false).await;
        server.settle().await;
        server.check(true).await;
        assert!(server.outside.users().is_empty(), "{point}");
    }
}

#[tokio::test]
async fn a_disabled_mount_drains_while_its_path_is_another_mounts() {
    let mut server = Server::new().await;
    server.write(&server.root, "db/config").await;
    let old = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Down);
    server.disable("db/").await;
    assert_eq!(server.write(&server.root, "db/creds/web").await.status, 404, "it takes no requests");
    server.settle().await;
    server.enable("db/").await;
    let new = server.lend(&server.root, "db/").await;
    assert_eq!(server.draining().await, 1);
    assert!(matches!(server.lease(&old).await.unwrap().state, LeaseState::Revoking(_)));
    server.disable("other/").await;
    server.settle().await;
    assert_eq!(server.draining().await, 1, "one that drains does not keep another from going");
    server.restart().await;
    server.outside.set("db/", Mood::Fine);
    server.pass(MINUTE, MINUTE).await;
    assert!(server.lease(&old).await.is_none());
    assert!(server.lease(&new).await.unwrap().state.is_active());
    assert_eq!(server.draining().await, 0);
    server.check(true).await;
}

#[tokio::test]
async fn a_grant_on_its_way_does_not_outlive_its_mount() {
    let server = Server::new().await;
    let mounted = server.core.services.mounts.router().await.unwrap().at(ROOT, "db/").unwrap().clone();
    let owner = server.principal(&server.root).await;
    let txn = server.txn().await;
    let grant = LeaseGrant::of_kind("creds", &User { name: "late".to_owned() }).unwrap();
    server.core.services.leases.make_lease(&txn, &mounted, "db/creds/web", &owner, grant).await.unwrap();
    server.disable("db/").await;
    assert!(txn.commit().await.is_err(), "it is decided anew, and finds no mount");
}

/// Asks for a revocation that is waited for, with the jobs running meanwhile.
async fn waited(
    server: &Server,
    asked: impl Future<Output = Result<(), strongroom_engine_api::EngineError>> + Send + 'static,
) -> Result<(), String> {
    let asked = tokio::spawn(asked);
    while !asked.is_finished() {
        server.core.background.run_jobs_once(false).await.unwrap();
        tokio::task::yield_now().await;
    }
    asked.await.unwrap().map_err(|error| error.to_string())
}

#[tokio::test]
async fn whoever_waits_is_told_what_the_outside_says() {
    let server = Server::new().await;
    let now = |id: &str| {
        let (core, id) = (server.core.clone(), id.to_owned());
        async move { core.services.revocation.revoke_lease_now(ROOT, &id).await }
    };
    let prefix = |forced: bool| {
        let core = server.core.clone();
        async move { core.services.revocation.revoke_prefix_now(ROOT, "db/creds", forced).await }
    };
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Down);
    for _ in 0..3 {
        let told = waited(&server, now(&id)).await.unwrap_err();
        assert_eq!(told, format!("failed to revoke {id:?}: no route to host"));
    }
    let calls = server.outside.calls("db/");
    let told = waited(&server, prefix(false)).await.unwrap_err();
    assert!(told.contains("no route to host"), "{told}");
    assert_eq!(server.outside.calls("db/"), calls + 1, "it was tried for it");
    server.check(false).await;
    server.outside.set("db/", Mood::Fine);
    waited(&server, now(&id)).await.unwrap();
    server.check(true).await;
    for mood in [Mood::Down, Mood::Refusing] {
        let ids = [server.lend(&server.root, "db/").await, server.lend(&server.root, "db/").await];
        server.outside.set("db/", mood);
        waited(&server, prefix(true)).await.unwrap();
        for id in &ids {
            assert!(server.lease(id).await.is_none(), "forced: gone whatever the outside says");
        }
        assert_eq!(server.outside.users().len(), 2, "and left outside");
        server.outside.forget();
        server.outside.set("db/", Mood::Fine);
    }
}

#[tokio::test]
async fn leases_of_batch_tokens_end_with_the_parent_or_the_tokens_end() {
    let server = Server::new().await;
    let parent = server.token(None, TokenKind::Service).await;
    let held =
        server.token(Some(server.core.services.tokens.token_id(&parent).unwrap()), TokenKind::Batch).await;
    let orphan = server.token(None, TokenKind::Batch).await;
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
    server.revoke_token(&parent).await;
    server.settle().await;
    assert!(server.lease(&of_held).await.is_none(), "it ended with the parent");
    assert!(server.lease(&of_orphan).await.is_some());
    server.pass(30 * MINUTE, 30 * MINUTE).await;
    server.check(true).await;
    assert!(server.outside.users().is_empty());
}

#[tokio::test]
async fn the_engine_has_a_say_in_renewals() {
    let server = Server::new().await;
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

/// The middle one of some durations, and the one that 99 in 100 do not exceed.
fn tail(mut took: Vec<Duration>) -> [Duration; 2] {
    took.sort_unstable();
    [2, 100].map(|part| took.iter().rev().nth(took.len().div_euclid(part)).copied().unwrap_or_default())
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "it measures what it prints")]
async fn twenty_thousand_leases_go_while_another_mounts_requests_go_on() {
    // 100,000 on demand: STRONGROOM_LEASES. How long requests take meanwhile is printed and not asserted.
    let leases = std::env::var("STRONGROOM_LEASES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let server = Server::new().await;
    let token = server.token(None, TokenKind::Service).await;
    let owner = server.principal(&token).await;
    let mounted = server.core.services.mounts.router().await.unwrap().at(ROOT, "db/").unwrap().clone();
    for _ in 0..leases / 500 {
        let txn = server.txn().await;
        for _ in 0..500 {
            let name = server.outside.make("db/", server.clock.now());
            let grant = LeaseGrant::of_kind("creds", &User { name }).unwrap();
            server
                .core
                .services
                .leases
                .make_lease(&txn, &mounted, "db/creds/web", &owner, grant)
                .await
                .unwrap();
        }
        txn.commit().await.unwrap();
    }
    assert_eq!(server.outside.users().len(), leases);
    let timed = async || {
        let began = std::time::Instant::now();
        let id = server.lend(&server.root, "other/").await;
        (id, began.elapsed())
    };
    let mut quiet = Vec::new();
    for _ in 0..500 {
        let (id, took) = timed().await;
        server.revoke(&id).await;
        quiet.push(took);
    }
    server.settle().await;
    server.revoke_token(&token).await;
    let core = server.core.clone();
    let running = tokio::spawn(async move {
        while core.background.run_jobs_once(false).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let (mut lent, mut busy) = (BTreeSet::new(), Vec::new());
    while server.outside.users().iter().any(|user| user.starts_with("db/")) {
        let (id, took) = timed().await;
        lent.insert(id);
        busy.push(took);
        let id = server.lend(&server.root, "other/").await;
        server.revoke(&id).await;
        tokio::task::yield_now().await;
    }
    running.abort();
    println!("{leases} leases; p50 and p99 of a lease: {:?} before, {:?} meanwhile", tail(quiet), tail(busy));
    server.settle().await;
    server.check(true).await;
    assert!(!lent.is_empty());
    assert_eq!(server.outside.users().len(), lent.len());
    assert!(server.outside.most_at_once() <= 16, "eight a mount");
    server.pass(SECOND, SECOND).await;
}
