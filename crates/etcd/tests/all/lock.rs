//! The lock: its owner, and who writes.

use std::time::Duration;

use strongroom_leased_db::{ApplyError, Claim, Database};

use crate::server::{Server, until};
use crate::{batch, granted, node};

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn one_owns_the_lock_and_the_others_hear_who() {
    let server = Server::shared();
    let (one, other) = (server.open("lock").await, server.open("lock").await);
    assert_eq!(other.holder().await.unwrap(), None);
    let fence = granted(&one, &node(1), 300, false).await;
    assert_eq!((fence, one.head().await.unwrap().fence), (1, 1));
    assert_eq!(other.claim(&node(2), LONG, false).await.unwrap(), Claim::Held(node(1)));
    assert_eq!(other.holder().await.unwrap(), Some(node(1)));
    assert!(one.renew(fence, LONG).await.unwrap());
    let again = granted(&one, &node(1), 300, false).await;
    assert_eq!(again, 2, "every grant has a number of its own");
    assert!(!one.renew(fence, LONG).await.unwrap());
    assert!(one.renew(again, LONG).await.unwrap());

    one.release(fence).await.unwrap();
    assert_eq!(other.holder().await.unwrap(), Some(node(1)), "an old number gives nothing back");
    one.release(again).await.unwrap();
    assert_eq!(other.holder().await.unwrap(), None);
    assert!(!one.renew(again, LONG).await.unwrap());
    assert_eq!(granted(&other, &node(2), 300, false).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lock_writes_no_more() {
    let server = Server::shared();
    let (one, other) = (server.open("fence").await, server.open("fence").await);
    let old = granted(&one, &node(1), 300, false).await;
    one.apply(&batch(old, 0, &[("a", "1")])).await.unwrap();
    let new = granted(&other, &node(2), 300, true).await;
    assert!(new > old);
    assert!(matches!(one.apply(&batch(old, 1, &[("a", "2")])).await, Err(ApplyError::Overtaken)));
    other.apply(&batch(new, 1, &[("a", "3")])).await.unwrap();
    assert!(matches!(one.apply(&batch(old, 2, &[("a", "2")])).await, Err(ApplyError::Overtaken)));
    assert!(!one.renew(old, LONG).await.unwrap());
    one.release(old).await.unwrap();
    assert_eq!(one.holder().await.unwrap(), Some(node(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_renewed_is_free_in_time_and_not_before() {
    let server = Server::shared();
    let (one, other) = (server.open("expiry").await, server.open("expiry").await);
    let span = Duration::from_secs(3);
    let began = tokio::time::Instant::now();
    let fence = granted(&one, &node(1), 3, false).await;
    let mut renewed = began;
    while began.elapsed() < Duration::from_secs(5) {
        let asked = tokio::time::Instant::now();
        // On a machine that stands still for seconds it is lost, as it should be, and the rest says nothing.
        if !one.renew(fence, span).await.unwrap() {
            assert!(renewed.elapsed() >= span);
            return;
        }
        renewed = asked;
        let claim = other.claim(&node(2), span, false).await.unwrap();
        assert!(claim == Claim::Held(node(1)) || renewed.elapsed() >= span);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until("the lock is free", async || {
        matches!(other.claim(&node(2), span, false).await.unwrap(), Claim::Granted(_))
    })
    .await;
    assert!(renewed.elapsed() >= span, "{:?}", renewed.elapsed());
    assert!(!one.renew(fence, span).await.unwrap());
}

/// Etcd keeps a lease for as long as it was made for, whatever is asked for later.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_kept_for_longer_where_that_is_asked_for() {
    let server = Server::shared();
    let (one, other) = (server.open("longer").await, server.open("longer").await);
    let fence = granted(&one, &node(1), 10, false).await;
    assert!(one.renew(fence, LONG).await.unwrap());
    tokio::time::sleep(Duration::from_secs(13)).await;
    assert_eq!(other.claim(&node(2), LONG, false).await.unwrap(), Claim::Held(node(1)));
    assert!(one.renew(fence, LONG).await.unwrap());
}

/// The one that writes all the time does not hold up the one that takes the lock by force.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_taken_by_force_from_one_that_writes_all_the_time() {
    let server = Server::shared();
    let (one, other) = (server.open("force").await, server.open("force").await);
    let fence = granted(&one, &node(1), 300, false).await;
    let writer = tokio::spawn(async move {
        let mut at = 0;
        loop {
            match one.apply(&batch(fence, at, &[("a", "1")])).await {
                Ok(()) => at += 1,
                Err(error) => return (at, error),
            }
        }
    });
    until("some is written", async || other.head().await.unwrap().index > 5).await;
    let new = granted(&other, &node(2), 300, true).await;
    let (written, error) = writer.await.unwrap();
    assert!(matches!(error, ApplyError::Overtaken), "{error:?}");
    let head = other.head().await.unwrap();
    assert_eq!((head.index, head.fence), (written, new));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_claim_at_once_one_is_granted() {
    let server = Server::shared();
    let path = "crowd";
    server.open(path).await;
    let claims = (1..=12).map(|number| {
        let options = server.options(path);
        tokio::spawn(async move {
            let etcd = strongroom_etcd::Etcd::open(options).await.unwrap();
            etcd.claim(&node(number), LONG, false).await.unwrap()
        })
    });
    let mut granted = 0;
    for claim in claims.collect::<Vec<_>>() {
        granted += usize::from(matches!(claim.await.unwrap(), Claim::Granted(_)));
    }
    assert_eq!(granted, 1);
    assert_eq!(server.open(path).await.head().await.unwrap().fence, 1);
}
