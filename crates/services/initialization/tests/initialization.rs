//! Initialization in a whole server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail loudly")]

use serde_json::{Value, json};
use strongroom_barrier::BOOTSTRAP_RECORD;
use strongroom_initialization::InitRequest;
use strongroom_seal::{EARLIER_ENTRY, SealError};
use strongroom_seal_state::{InitError, SealStatus};
use strongroom_storage::{Commit, Write};
use strongroom_testkit::seals::{Service, fake};
use strongroom_testkit::server::{shares, with_recovery};
use strongroom_testkit::{Server, Settings, Setup};

async fn status_of(server: &Server) -> SealStatus {
    server.services().seal_state.status().await.unwrap()
}

async fn put(server: &Server, name: &str, value: &[u8]) {
    let key = strongroom_barrier::bootstrap_key(name).into();
    let write = Write { key, value: Some(value.to_vec().into()) };
    server.store.commit(Commit { writes: vec![write], ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn a_seal_that_does_not_answer_is_none_to_begin_with() {
    let (near, far) = (Service::new(1), Service::new(2));
    far.fails(SealError::Unavailable("no route to host".to_owned()));
    let rig =
        Setup::default().seals(with_recovery(vec![fake("near", 1, &near), fake("far", 2, &far)])).blank();
    let told = rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
    assert!(matches!(told, InitError::Seal(SealError::Unavailable(_))), "{told}");
    let status = status_of(&rig).await;
    assert!(!status.initialized && status.sealed);
    far.serves();
    rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
}

#[tokio::test]
async fn storage_of_another_version_is_refused_and_left_alone() {
    for (name, value, text) in [
        (EARLIER_ENTRY, "{\"shares\":1,\"threshold\":1}", "written by an earlier version of Strongroom"),
        (
            BOOTSTRAP_RECORD,
            "{\"version\":2}",
            "bootstrap record is of version 2, and this one reads version 1",
        ),
        (BOOTSTRAP_RECORD, "[]", "the bootstrap record is malformed"),
    ] {
        let rig = Setup::default().seals(shares()).blank();
        put(&rig, name, value.as_bytes()).await;
        let state = &rig.services().seal_state;
        let told = state.check_storage().await.unwrap_err();
        assert!(told.contains(text), "{told}");
        assert!(state.status().await.unwrap_err().to_string().contains(text));
        let told =
            rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
        assert!(told.to_string().contains(text), "nothing is put over it: {told}");
        assert!(
            rig.services()
                .seal_state
                .offer_key_part(vec![1; 32])
                .await
                .unwrap_err()
                .to_string()
                .contains(text)
        );
        let kept = rig.services().barrier.bootstrap(name).await.unwrap();
        assert_eq!(kept.as_deref(), Some(value.as_bytes()));
    }
}

#[tokio::test]
async fn a_new_cluster_begins_with_a_root_token_and_the_built_in_policies() {
    let mut server = Setup::default().blank();
    server.initialize(3, 2).await;
    let first = status_of(&server).await;
    assert!(first.initialized && first.sealed, "it is left sealed");
    assert_eq!(server.key_parts.len(), 3);
    server.key_parts.truncate(2);
    server.unseal().await;
    let root = server.read("auth/token/lookup-self").await;
    let data = root.data();
    assert_eq!((&data["policies"], &data["display_name"]), (&json!(["root"]), &json!("root")));
    assert_eq!(
        (&data["path"], &data["orphan"], &data["num_uses"]),
        (&json!("auth/token/root"), &json!(true), &json!(0))
    );
    assert_eq!((&data["ttl"], &data["expire_time"]), (&json!(0), &Value::Null), "it has no end");
    assert!(server.root.starts_with("hvs."));
    let policies = server.list("sys/policies/acl").await;
    assert_eq!(policies.data()["keys"], json!(["default", "root"]));
    let default = server.read("sys/policies/acl/default").await;
    assert!(default.text("/data/policy").contains("auth/token/lookup-self"));
    let mounts = server.read("sys/mounts").await;
    let mut mounts: Vec<&String> = mounts.data().as_object().unwrap().keys().collect();
    mounts.sort();
    assert_eq!(mounts, ["cubbyhole/", "identity/", "sys/"], "nothing else is mounted");
}

#[tokio::test]
async fn a_root_token_can_be_chosen_and_a_cluster_named() {
    let settings = Settings { cluster_name: "nightly".to_owned(), ..Settings::default() };
    let mut server = Setup::default().settings(settings).blank();
    let request = InitRequest { root_token: Some("a-root-token".to_owned()), ..InitRequest::key_parts(1, 1) };
    let made = server.services().initialization.initialize(request).await.unwrap();
    assert_eq!(made.root_token.expose(), "a-root-token");
    assert!(!made.for_recovery);
    server.key_parts = vec![made.key_parts[0].expose().clone()];
    server.unseal().await;
    assert_eq!(server.get("a-root-token", "auth/token/lookup-self").await.status, 200);
    assert_eq!(status_of(&server).await.cluster_name, "nightly");
}

#[tokio::test]
async fn what_is_there_is_not_initialized_again() {
    let server = Setup::default().sealed(1, 1).await;
    let before = server.stored().await;
    let refused =
        server.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
    assert_eq!(refused.to_string(), "Vault is already initialized");
    assert_eq!(server.stored().await, before);
    server.unseal().await;
    let refused =
        server.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
    assert!(matches!(refused, InitError::AlreadyInitialized));
    assert_eq!(server.read("auth/token/lookup-self").await.status, 200, "and a server at work goes on");
}

#[tokio::test]
async fn one_of_two_at_once_initializes() {
    let server = Setup::default().blank();
    let initialize = || server.services().initialization.initialize(InitRequest::key_parts(1, 1));
    let (one, other) = tokio::join!(initialize(), initialize());
    assert_ne!(one.is_ok(), other.is_ok());
    let made = one.or(other).unwrap();
    server.services().seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
    assert_eq!(server.get(made.root_token.expose(), "auth/token/lookup-self").await.status, 200);
}

#[tokio::test]
async fn wishes_that_do_not_go_together_leave_storage_empty() {
    let server = Setup::default().blank();
    for (total, required, text) in [
        (0, 0, "shares must be at least one"),
        (2, 3, "threshold cannot be larger than shares"),
        (3, 1, "threshold must be greater than one for multiple shares"),
    ] {
        let request = InitRequest::key_parts(total, required);
        let refused = server.services().initialization.initialize(request).await.err().unwrap();
        assert_eq!(refused.to_string(), format!("invalid seal configuration: {text}"));
        assert_eq!(server.stored().await, []);
        assert!(server.services().barrier.is_sealed() && !status_of(&server).await.initialized);
    }
    server.services().initialization.initialize(InitRequest::key_parts(3, 3)).await.unwrap();
}
