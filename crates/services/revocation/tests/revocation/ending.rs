//! Ending tokens and leases in a whole server: by prefix, by id, by time, with their mount.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use strongroom_barrier::{KeyPlace, MountId, MountLocal, NamespaceId, Table, tables};
use strongroom_expiry::LEASES;
use strongroom_mounts::{DISABLED_MOUNTS, DisabledMount, MountEntry, MountTuning};
use strongroom_storage::{Index, Observer};
use strongroom_testkit::Server;
use strongroom_testkit::lending::{self, LendingServer, Mood};
use strongroom_tokens::{NewToken, RenewalAnswer, TokenEntry};

const ROOT: NamespaceId = NamespaceId::ROOT;
const HOUR: Duration = Duration::from_hours(1);

/// The most keys that one commit has written or deleted.
#[derive(Default)]
struct Largest(AtomicUsize);

impl Observer for Largest {
    fn applied(&self, _index: Index, keys: &[&[u8]]) {
        self.0.fetch_max(keys.len(), Ordering::Relaxed);
    }

    fn replaced(&self, _index: Index) {}
}

/// A database takes so much in one transaction and no more: trees of several tokens are counted together.
#[tokio::test]
async fn the_trees_of_a_mount_that_is_gone_go_in_steps() {
    const GONE: MountId = MountId::new(77);
    let server = Server::new().await;
    for _ in 0..40 {
        let entry = TokenEntry { path: "auth/gone/login".to_owned(), mount: GONE, ..TokenEntry::default() };
        let (_, key) = server.make_token(NewToken { entry, ..NewToken::default() }).await;
        for _ in 0..40 {
            server.child(Some(key)).await;
        }
    }
    let largest = Arc::new(Largest::default());
    server.store.observe(largest.clone());
    let txn = server.txn().await;
    let entry = MountEntry {
        id: GONE,
        uuid: String::new(),
        accessor: String::new(),
        kind: "gone".to_owned(),
        description: String::new(),
        options: BTreeMap::new(),
        tuning: MountTuning::default(),
        local: false,
        seal_wrap: false,
        external_entropy_access: false,
        moving: false,
    };
    let gone = DisabledMount::new(ROOT, "auth/gone/", entry);
    DISABLED_MOUNTS.put(&txn, &GONE, gone).unwrap();
    txn.commit().await.unwrap();
    while server.services().revocation.clear_disabled_mounts().await.unwrap() {}
    server.end_noted().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
    let largest = largest.0.load(Ordering::Relaxed);
    assert!(largest < 700, "{largest} keys in one transaction");
}

/// The number of keys of each commit, in order.
#[derive(Default)]
struct Sizes(Mutex<Vec<usize>>);

impl Observer for Sizes {
    fn applied(&self, _index: Index, keys: &[&[u8]]) {
        self.0.lock().unwrap().push(keys.len());
    }

    fn replaced(&self, _index: Index) {}
}

tables! {
    /// The layout of an engine that this test is in place of.
    WRITTEN: Table<MountLocal, str, String> = 7;
}

/// Commits one key, as a client of another mount would.
async fn write_one(server: &Server) {
    let txn = server.txn().await;
    let other = txn.mount(server.mounted("cubbyhole/").await.mount.place());
    WRITTEN.put(&other, "a", "written".to_owned()).unwrap();
    txn.commit().await.unwrap();
}

/// Everybody's commits wait while one is applied, so that a large revocation is many small ones, with others between any two.
#[tokio::test]
async fn others_commit_between_the_small_steps_of_a_large_revocation() {
    const TOKENS_MADE: usize = 200;
    for way in ["prefix", "expiry", "expiry of leases"] {
        let server = Server::new().await;
        // One that outlives all that it is lent.
        let owner = NewToken { ttl: HOUR * 4, ..NewToken::default() };
        let (_, owner) = server.make_token(owner).await;
        for _ in 0..TOKENS_MADE {
            if way == "expiry of leases" {
                server.lease(owner, "auth/gone/login").await;
                continue;
            }
            let entry = TokenEntry { path: "auth/gone/login".to_owned(), ..TokenEntry::default() };
            server.make_token(NewToken { entry, ..NewToken::default() }).await;
        }
        let sizes = Arc::new(Sizes::default());
        server.store.observe(sizes.clone());
        if way == "prefix" {
            let txn = server.txn().await;
            server.services().revocation.revoke_prefix(&txn, ROOT, "auth/gone", false).await.unwrap();
            txn.commit().await.unwrap();
        } else {
            server.clock.advance(HOUR + Duration::from_secs(1));
        }
        let (core, done) = (server.core.clone(), Arc::new(AtomicUsize::new(0)));
        let finished = done.clone();
        let job = tokio::spawn(async move {
            core.background.run_jobs_once(false).await.unwrap();
            finished.store(1, Ordering::Relaxed);
        });
        let mut written = 0usize;
        while done.load(Ordering::Relaxed) == 0 {
            write_one(&server).await;
            written += 1;
            tokio::task::yield_now().await;
        }
        job.await.unwrap();
        let view = server.services().barrier.pinned_view().await.unwrap();
        assert_eq!(LEASES.keys(&view, &(ROOT, "auth/gone/"), None, 1).await.unwrap(), []);
        let sizes = sizes.0.lock().unwrap().clone();
        let steps: Vec<usize> = sizes.iter().copied().filter(|size| *size > 1).collect();
        assert!(steps.iter().all(|size| *size <= 128), "{way}: {steps:?} keys");
        assert!(steps.len() >= TOKENS_MADE / 16 && written >= steps.len(), "{way}: {sizes:?}");
        // The walk of a prefix notes its place; the note of its end is all that may follow a step at once.
        let together = sizes.windows(2).filter(|pair| pair.iter().all(|size| *size > 1)).count();
        assert!(together <= 1, "{way}: {sizes:?}");
    }
}

#[tokio::test]
async fn a_prefix_is_a_folder_and_goes_in_steps() {
    for at_once in [true, false] {
        let server = Server::new().await;
        let owner = server.child(None).await;
        for _ in 0..300 {
            server.lease(owner, "loans/creds/web").await;
        }
        let other = server.lease(owner, "loans/creds/website").await;
        if at_once {
            server.services().revocation.revoke_prefix_now(ROOT, "loans/creds/web", false).await.unwrap();
        } else {
            let txn = server.txn().await;
            assert!(
                server
                    .services()
                    .revocation
                    .revoke_prefix(&txn, ROOT, "loans/creds/web", false)
                    .await
                    .unwrap()
            );
            txn.commit().await.unwrap();
            assert!(server.end_noted().await > 1);
        }
        let tokens = BTreeMap::from([(owner, None)]);
        assert_eq!(server.records().await, server.expected(&tokens, &[(owner, other)]));
    }
}

#[tokio::test]
async fn revoking_a_tokens_lease_revokes_the_token() {
    let server = Server::new().await;
    let parent = server.child(None).await;
    server.child(Some(parent)).await;
    let txn = server.txn().await;
    let id = format!("auth/token/create/h{:032x}", u128::from_be_bytes(parent.key));
    assert!(server.services().revocation.revoke_lease_id(&txn, ROOT, &id).await.unwrap());
    assert!(!server.services().revocation.revoke_lease_id(&txn, ROOT, "auth/token/create/hx").await.unwrap());
    txn.commit().await.unwrap();
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

#[tokio::test]
async fn what_is_due_ends_and_what_was_renewed_does_not() {
    let server = Server::new().await;
    let (_, ends) = server.token(TokenEntry::default()).await;
    let (_, renewed) = server.token(TokenEntry::default()).await;
    let lease = server.lease(renewed, "loans/creds/x").await;
    server.clock.advance(HOUR / 2);
    let txn = server.txn().await;
    server.services().tokens.renew_token(&txn, &renewed, None, &RenewalAnswer::default()).await.unwrap();
    let view = server.renew(&txn, &lease, Some(HOUR)).await.unwrap();
    assert_eq!(view.0.ttl, HOUR);
    txn.commit().await.unwrap();
    server.clock.advance(HOUR / 2);
    server.end_noted().await;
    let records = server.records().await;
    assert!(!records.tokens().contains(&ends));
    assert!(records.tokens().contains(&renewed));
    assert_eq!(records.leases, BTreeSet::from([lease]));
    server.clock.advance(HOUR);
    server.end_noted().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

/// A key of a namespace that is gone is found by nobody, and would stay for ever.
#[tokio::test]
async fn nothing_of_a_deleted_namespace_is_left() {
    let server = LendingServer::new().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let team = server.services().mounts.router().await.unwrap().child(ROOT, "team").unwrap().id;
    let policy = json!({ "policy": "path \"*\" { capabilities = [\"create\", \"update\"] }" });
    for (path, input) in [
        ("team/sys/mounts/db", json!({ "type": lending::KIND })),
        ("team/db/config", json!({})),
        ("team/sys/policies/acl/all", policy),
        ("team/auth/token/roles/web", json!({})),
        ("team/sys/namespaces/inner", json!({})),
    ] {
        let told = server.write(path, input).await;
        assert!(told.status < 300, "{path}: {}", told.body);
    }
    let made = server.write("team/auth/token/create", json!({ "policies": "all", "ttl": "1h" })).await;
    let token = made.token();
    assert_eq!(server.post(&token, "team/cubbyhole/a", json!({ "b": "c" })).await.status, 204);
    server.lend(&server.root, "team/db/").await;
    let kept = server.lend(&server.root, "db/").await;
    let left = async || {
        let of_team = |key: &[u8]| KeyPlace::of(key).is_some_and(|place| place.namespace == team);
        server.stored().await.into_iter().filter(|(key, _)| of_team(key)).count()
    };
    assert!(left().await >= 8, "there is something to remove");
    assert_eq!(server.delete("sys/namespaces/team").await.status, 400, "another is in it");
    assert_eq!(server.delete("team/sys/namespaces/inner").await.status, 204);
    assert_eq!(server.delete("sys/namespaces/team").await.status, 204);
    server.outside.set("db/", Mood::Down);
    server.settle().await;
    assert_eq!(server.outside.users().len(), 2, "what is outside is not given up");
    server.outside.set("db/", Mood::Fine);
    server.pass(HOUR / 6, HOUR / 60).await;
    assert_eq!(left().await, 0);
    assert_eq!(server.draining().await, 0);
    assert_eq!(server.outside.users().len(), 1);
    assert!(server.lease(&kept).await.unwrap().state.is_active(), "the other namespace's stays");
}
