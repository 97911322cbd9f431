//! Many leases at once in a whole server.

use std::collections::BTreeSet;
use std::time::Duration;

use strongroom_engine_api::{LeaseGrant, TokenKind};
use strongroom_testkit::lending::{LendingServer, User};

const SECOND: Duration = Duration::from_secs(1);

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
    let server = LendingServer::new().await;
    let token = server.root_token(None, TokenKind::Service).await;
    let owner = server.principal(&token).await;
    let mounted = server.mounted("db/").await;
    for _ in 0..leases / 500 {
        let txn = server.txn().await;
        for _ in 0..500 {
            let name = server.outside.make("db/", server.clock.now());
            let grant = LeaseGrant::of_kind("creds", &User { name }).unwrap();
            server.services().leases.make_lease(&txn, &mounted, "db/creds/web", &owner, grant).await.unwrap();
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
    server.revoke_token(&server.token_id(&token)).await;
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
