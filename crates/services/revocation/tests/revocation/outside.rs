//! Leases that stand for something outside: whatever ends them, and whatever the outside does about it.

use std::time::Duration;

use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{EngineError, TokenKind};
use strongroom_expiry::LeaseState;
use strongroom_testkit::lending::{self, LendingServer, Mood};

const ROOT: NamespaceId = NamespaceId::ROOT;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn what_stands_outside_ends_with_its_lease_whatever_ends_that() {
    for way in ["id", "token", "tree", "prefix", "prefix-now", "force", "expiry", "token-expiry", "disable"] {
        let server = LendingServer::new().await;
        let top = server.root_token(None, TokenKind::Service).await;
        let child = server.root_token(Some(server.token_id(&top)), TokenKind::Service).await;
        let ids = [server.lend(&child, "db/").await, server.lend(&child, "db/").await];
        let stays = server.lend(&server.root, "other/").await;
        server.check(true).await;
        match way {
            "id" => {
                for id in &ids {
                    server.revoke(id).await;
                }
            }
            "token" => server.revoke_token(&server.token_id(&child)).await,
            "tree" => server.revoke_token(&server.token_id(&top)).await,
            "prefix" => {
                let txn = server.txn().await;
                server.services().revocation.revoke_prefix(&txn, ROOT, "db/creds", false).await.unwrap();
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
                server.lend(&server.root, "other/").await;
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
    let server = LendingServer::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.forget();
    server.revoke(&id).await;
    server.settle().await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn an_outage_of_hours_delays_only_its_own_mount_and_loses_nothing() {
    let server = LendingServer::new().await;
    let token = server.root_token(None, TokenKind::Service).await;
    for _ in 0..100 {
        server.lend(&token, "db/").await;
    }
    server.outside.set("db/", Mood::Down);
    server.revoke_token(&server.token_id(&token)).await;
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
    let server = LendingServer::new().await;
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
    let server = LendingServer::new().await;
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
    let view = server.view().await;
    let listed = server.services().leases.irrevocable_leases(&view, ROOT, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    // By an operator, and refused again; then by a change of the mount's configuration.
    server.revoke(&id).await;
    server.settle().await;
    assert_eq!(server.outside.calls("db/"), 7);
    server.pass(HOUR, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    server.settle().await;
    server.outside.set("db/", Mood::Fine);
    assert_eq!(server.write("other/config", json!({})).await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_some(), "that was another mount");
    assert_eq!(server.write("db/config", json!({})).await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn writes_to_a_mount_have_its_irrevocable_leases_tried_again_but_not_for_each() {
    let server = LendingServer::new().await;
    let id = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Refusing);
    server.revoke(&id).await;
    server.pass(HOUR, MINUTE).await;
    assert_eq!(server.outside.calls("db/"), 6);
    for _ in 0..60 {
        assert_eq!(server.write("db/config", json!({})).await.status, 204);
        server.pass(MINUTE, MINUTE).await;
    }
    let calls = server.outside.calls("db/") - 6;
    assert!((6..=24).contains(&calls), "six every 15 minutes: {calls}");
    // What is written soon after a retry is not lost: it is tried when the time has come.
    server.pass(HOUR, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    assert_eq!(server.write("db/config", json!({})).await.status, 204);
    server.pass(10 * MINUTE, MINUTE).await;
    assert!(matches!(server.lease(&id).await.unwrap().state, LeaseState::Irrevocable(_)));
    server.outside.set("db/", Mood::Fine);
    assert_eq!(server.write("db/config", json!({})).await.status, 204);
    server.settle().await;
    assert!(server.lease(&id).await.is_some(), "it was tried just now");
    server.pass(10 * MINUTE, MINUTE).await;
    assert!(server.lease(&id).await.is_none());
    server.check(true).await;
}

#[tokio::test]
async fn a_panic_is_a_refusal_and_a_silence_an_outage() {
    let server = LendingServer::new().await;
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
        let mut server = LendingServer::new().await;
        let token = server.root_token(None, TokenKind::Service).await;
        for _ in 0..20 {
            server.lend(&token, "db/").await;
        }
        server.revoke_token(&server.token_id(&token)).await;
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
                server.services().seal_state.seal().await;
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
    let mut server = LendingServer::new().await;
    server.write("db/config", json!({})).await;
    let old = server.lend(&server.root, "db/").await;
    server.outside.set("db/", Mood::Down);
    server.disable("db/").await;
    assert_eq!(server.write("db/creds/web", json!({})).await.status, 404, "it takes no requests");
    server.settle().await;
    server.enable("db/", lending::KIND).await;
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

/// Asks for a revocation that is waited for, with the jobs running meanwhile.
async fn waited(
    server: &LendingServer,
    asked: impl Future<Output = Result<(), EngineError>> + Send + 'static,
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
    let server = LendingServer::new().await;
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
