//! Leases in a whole server: granting, renewing and listing them.

use std::time::Duration;

use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{LeaseGrant, Moment, TokenKind};
use strongroom_testkit::Server;
use strongroom_testkit::lending::{LendingServer, Mood, User};

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
