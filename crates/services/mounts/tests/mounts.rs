//! Mounts in a whole server: the table of them, the router, calls that no client made, and those that are disabled.

#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use strongroom_barrier::{BarrierError, MountId, NamespaceId};
use strongroom_engine_api::{Engine, EngineError, LeaseInHand, Moment, Payload, Renewal};
use strongroom_mounts::{DISABLED_MOUNTS, Errand, MountTuning, NewMount};
use strongroom_testkit::{Server, Settings, Setup};

const ROOT: NamespaceId = NamespaceId::ROOT;
const HOUR: Duration = Duration::from_hours(1);

async fn nothing() -> Result<(), EngineError> {
    Ok(())
}

/// With a secrets engine `plain` and an auth method `door`; leases live for an hour and at most ten.
async fn server() -> Server {
    let settings =
        Settings { default_lease_ttl: HOUR, max_lease_ttl: Duration::from_hours(10), ..Settings::default() };
    let plain = || Engine::new("plain", "Does nothing.").route("x", |r| r.read("Read", nothing));
    let door = || Engine::auth("door", "Lets nobody in.").route("x", |r| r.read("Read", nothing));
    Setup::default().with(plain).with(door).settings(settings).start().await
}

async fn add(server: &Server, path: &str, new: NewMount) -> Result<MountId, String> {
    let txn = server.txn().await;
    let added = server.services().mounts.add_mount(&txn, ROOT, path, new).await;
    let added = added.map_err(|error| error.to_string())?;
    txn.commit().await.unwrap();
    Ok(added.id)
}

fn plain() -> NewMount {
    NewMount { kind: "plain".to_owned(), ..NewMount::default() }
}

#[tokio::test]
async fn paths_that_could_not_be_told_apart_are_refused() {
    let server = server().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    add(&server, "a/b/", plain()).await.unwrap();
    add(&server, "auth/a/", NewMount { kind: "door".to_owned(), ..NewMount::default() }).await.unwrap();
    for (path, other) in [
        ("a/b/", "a/b/"),
        ("a/", "a/b/"),
        ("a/b/c/", "a/b/"),
        ("sys/", "sys/"),
        ("sys/x/", "sys/"),
        ("auth/token/x/", "token/"),
        ("cubbyhole/", "cubbyhole/"),
        ("auth/a/", "a/"),
        ("team/", "team/"),
        ("team/x/", "team/"),
    ] {
        let kind = if path.starts_with("auth/") { "door" } else { "plain" };
        let refused = add(&server, path, NewMount { kind: kind.to_owned(), ..NewMount::default() }).await;
        assert_eq!(refused, Err(format!("path is already in use at {other}")), "{path}");
    }
    for path in ["a/bc/", "ab/", "sysx/", "teamx/", "b/team/"] {
        add(&server, path, plain()).await.expect(path);
    }
    let long = format!("{}/", "x".repeat(512));
    assert_eq!(add(&server, &long, plain()).await, Err("path is longer than 512 bytes".to_owned()));
    add(&server, long.get(1..).unwrap(), plain()).await.unwrap();
    for (path, kind) in [("c/", "unknown"), ("c/", "door"), ("auth/c/", "plain")] {
        let refused = add(&server, path, NewMount { kind: kind.to_owned(), ..NewMount::default() }).await;
        assert_eq!(refused, Err(format!("plugin not found in the catalog: {kind}")));
    }
}

/// Two who take the same path at once are both told by the transaction, not by the look before it.
#[tokio::test]
async fn a_path_is_taken_once() {
    let server = server().await;
    let mounts = &server.services().mounts;
    let (one, other) = (server.txn().await, server.txn().await);
    mounts.add_mount(&one, ROOT, "a/", plain()).await.unwrap();
    mounts.add_mount(&other, ROOT, "a/b/", plain()).await.unwrap();
    one.commit().await.unwrap();
    assert!(matches!(other.commit().await, Err(BarrierError::Conflict)));
}

#[tokio::test]
async fn a_number_and_an_accessor_are_never_given_out_twice() {
    let server = server().await;
    let (mut ids, mut accessors) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..5 {
        let id = add(&server, "a/", plain()).await.unwrap();
        let handle = server.mounted("a/").await;
        assert_eq!(handle.mount.id, id);
        assert!(ids.insert(id) && accessors.insert(handle.entry.accessor.clone()));
        assert!(handle.entry.accessor.starts_with("plain_"));
        server.disable("a/").await;
    }
    assert!(ids.iter().all(|id| id.get() >= 16), "those below are the built-in mounts'");
}

#[tokio::test]
async fn a_disabled_mount_takes_no_grants_and_is_known_until_it_is_empty() {
    let server = server().await;
    let id = add(&server, "a/", plain()).await.unwrap();
    let (handle, mounts) = (server.mounted("a/").await, &server.services().mounts);
    let late = server.txn().await;
    mounts.require_mount(&late, &handle).await.unwrap();
    // A transaction that changes nothing rests on nothing: a grant writes.
    server.services().policies.write_policy(&late, ROOT, "a-grant", "").unwrap();
    server.disable("a/").await;
    assert!(matches!(late.commit().await, Err(BarrierError::Conflict)), "a grant on its way is decided anew");
    let txn = server.txn().await;
    assert!(matches!(mounts.require_mount(&txn, &handle).await, Err(EngineError::NotFound)));
    let disabled = DISABLED_MOUNTS.get(&txn, &id).await.unwrap().unwrap();
    assert_eq!(
        (disabled.path.as_str(), disabled.after.as_deref(), &disabled.entry),
        ("a/", Some("a/"), &handle.entry)
    );
    let router = mounts.router().await.unwrap();
    assert!(router.at(ROOT, "a/").is_none() && router.by_id(ROOT, id).is_none());
    let origin = mounts.origin_of_lease(&txn, ROOT, id).await.unwrap();
    assert_eq!(
        origin,
        Some(("a/".to_owned(), handle.entry.accessor.clone())),
        "its leases still come from somewhere"
    );
    let next = add(&server, "a/", plain()).await.unwrap();
    assert_ne!(next, id);
    let txn = server.txn().await;
    assert!(mounts.require_mount(&txn, &handle).await.is_err(), "the next one at its path is another");
    server.settle().await;
    assert_eq!(server.draining().await, 0);
    assert_eq!(mounts.origin_of_lease(&server.view().await, ROOT, id).await.unwrap(), None);
    assert_eq!(server.mounted("a/").await.mount.id, next);
    assert!(mounts.remove_mount(&server.txn().await, ROOT, "b/").await.unwrap().is_none());
}

#[tokio::test]
async fn a_mount_that_moves_keeps_what_it_is() {
    let server = server().await;
    add(&server, "a/", plain()).await.unwrap();
    add(&server, "taken/", plain()).await.unwrap();
    let (before, mounts) = (server.mounted("a/").await, &server.services().mounts);
    for (from, to, text) in [
        ("none/", "b/", "no matching mount at \"none/\""),
        ("a/", "taken/x/", "path already in use at \"taken/\""),
        ("a/", "sys/", "path already in use at \"sys/\""),
    ] {
        let refused = mounts.move_mount(&server.txn().await, ROOT, from, to).await.unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
    let txn = server.txn().await;
    mounts.move_mount(&txn, ROOT, "a/", "b/c/").await.unwrap();
    txn.commit().await.unwrap();
    let after = server.mounted("b/c/").await;
    assert_eq!(after.entry, before.entry);
    assert_eq!(after.mount.place(), before.mount.place(), "its entries stay where they are");
    let router = mounts.router().await.unwrap();
    assert!(router.at(ROOT, "a/").is_none());
    assert_eq!(router.by_accessor(ROOT, &before.entry.accessor).unwrap().path, "b/c/");
    assert_eq!(router.by_number(before.mount.id).unwrap().path, "b/c/");
    add(&server, "a/", plain()).await.unwrap();
}

#[tokio::test]
async fn lifetimes_are_the_mounts_where_it_has_some_and_the_servers_elsewhere() {
    let server = server().await;
    for (path, default, max, expected) in [
        ("a/", Duration::ZERO, Duration::ZERO, (HOUR, HOUR * 10)),
        ("b/", HOUR * 2, Duration::ZERO, (HOUR * 2, HOUR * 10)),
        ("c/", Duration::ZERO, HOUR * 20, (HOUR, HOUR * 20)),
        ("d/", Duration::ZERO, HOUR / 2, (HOUR / 2, HOUR / 2)),
        ("e/", HOUR * 5, HOUR * 3, (HOUR * 3, HOUR * 3)),
    ] {
        let tuning = MountTuning { default_lease_ttl: default, max_lease_ttl: max, ..MountTuning::default() };
        add(&server, path, NewMount { tuning, ..plain() }).await.unwrap();
        let lifetimes = server.services().mounts.lifetimes_of(ROOT, &format!("{path}creds/x")).await.unwrap();
        assert_eq!((lifetimes.default, lifetimes.max), expected, "{path}");
    }
    let nowhere = server.services().mounts.lifetimes_of(ROOT, "gone/creds").await.unwrap();
    assert_eq!((nowhere.default, nowhere.max), (HOUR, HOUR * 10));
}

#[tokio::test]
async fn built_in_mounts_are_each_namespaces_own() {
    let server = server().await;
    server.write("sys/namespaces/team", json!({})).await.data();
    let router = server.services().mounts.router().await.unwrap();
    let team = router.child(ROOT, "team").unwrap().id;
    for path in ["sys/", "cubbyhole/", "auth/token/", "identity/"] {
        let (own, theirs) = (router.at(ROOT, path).unwrap(), router.at(team, path).unwrap());
        assert_eq!(own.mount.id, theirs.mount.id, "the number is the same everywhere");
        assert_ne!(own.entry.accessor, theirs.entry.accessor);
        assert_ne!(own.mount.place(), theirs.mount.place());
        for (namespace, handle, other) in [(ROOT, &own, &theirs), (team, &theirs, &own)] {
            let found = router.by_accessor(namespace, &handle.entry.accessor).unwrap();
            assert_eq!((found.namespace.id, found.path.as_str()), (namespace, path));
            assert!(router.by_accessor(namespace, &other.entry.accessor).is_none(), "unknown to the other");
            assert_eq!(router.by_id(namespace, handle.mount.id).unwrap().namespace.id, namespace);
        }
        assert!(router.by_number(own.mount.id).is_none(), "a number alone does not say whose");
    }
    let id = add(&server, "a/", plain()).await.unwrap();
    assert!(router.by_id(team, id).is_none() && router.by_id(ROOT, id).is_none(), "not looked up again yet");
    let router = server.services().mounts.router().await.unwrap();
    assert!(router.by_id(team, id).is_none());
    assert_eq!(router.by_id(ROOT, id).unwrap().path, "a/");
    let paths: Vec<String> = router.in_namespace(ROOT).iter().map(|found| found.path.clone()).collect();
    assert_eq!(paths, ["a/", "auth/token/", "cubbyhole/", "identity/", "sys/"]);
}

#[tokio::test]
async fn a_call_that_no_client_made_says_what_it_is_for() {
    let server = server().await;
    add(&server, "a/", plain()).await.unwrap();
    let (handle, txn) = (server.mounted("a/").await, server.txn().await);
    let environment = &server.services().environment;
    let job = handle.internal_call(&txn, environment, Errand::Job);
    assert!(job.renewal.is_none() && job.lease.is_none());
    assert!(job.request.caller().is_none() && job.request.path.is_empty(), "nobody asks");
    assert_eq!((job.mount.path.as_str(), job.mount.id), ("a/", handle.mount.id));
    let renewal = Renewal {
        internal: BTreeMap::from([("user".to_owned(), "ann".to_owned())]),
        metadata: BTreeMap::new(),
        policies: vec!["dev".to_owned()],
        increment: Some(HOUR),
    };
    let call = handle.internal_call(&txn, environment, Errand::Renewal(renewal));
    let renewal = call.renewal.as_ref().unwrap();
    assert_eq!((renewal.internal.get("user").unwrap().as_str(), renewal.increment), ("ann", Some(HOUR)));
    let lease = LeaseInHand {
        id: "a/creds/1".to_owned(),
        until: Moment::from_secs(7),
        increment: None,
        is_last: true,
        payload: Payload::default(),
    };
    let call = handle.internal_call(&txn, environment, Errand::Lease(lease));
    assert_eq!((call.lease.as_ref().unwrap().id.as_str(), call.renewal.is_none()), ("a/creds/1", true));
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A path of few names, so that paths meet.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "auth"]), 1..4)
        .prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The mount of a path is the one whose own path it begins with, and there is at most one.
    #[test]
    fn a_path_leads_to_the_mount_around_it(
        changes in prop::collection::vec((path(), any::<bool>()), 1..12),
        asked in prop::collection::vec((path(), any::<bool>()), 1..30),
    ) {
        run(async move {
            let server = server().await;
            let mut mounted: BTreeMap<String, MountId> = BTreeMap::new();
            for (path, removes) in changes {
                let path = format!("{path}/");
                if removes && mounted.remove(&path).is_some() {
                    server.disable(&path).await;
                    continue;
                }
                let kind = if path.starts_with("auth/") { "door" } else { "plain" };
                let added = add(&server, &path, NewMount { kind: kind.to_owned(), ..NewMount::default() }).await;
                let built_in = "auth/token/".starts_with(&path);
                let meets = |other: &String| other.starts_with(&path) || path.starts_with(other);
                let is_free = !built_in && !mounted.keys().any(meets);
                assert_eq!(added.is_ok(), is_free, "{path} beside {mounted:?}: {added:?}");
                if let Ok(id) = added {
                    mounted.insert(path, id);
                }
            }
            let router: Arc<_> = server.services().mounts.router().await.unwrap();
            for (path, is_folder) in asked {
                let path = if is_folder { format!("{path}/") } else { path };
                let whole = format!("{}/", path.trim_end_matches('/'));
                let around: Vec<_> = mounted.iter().filter(|(at, _)| whole.starts_with(*at)).collect();
                assert!(around.len() <= 1, "{around:?}");
                let found = router.route(ROOT, &path);
                let expected = around.first().map(|(at, id)| (**id, path.strip_prefix(at.as_str()).unwrap_or("")));
                assert_eq!(found.map(|(handle, rest)| (handle.mount.id, rest)), expected, "{path}");
            }
        });
    }
}
