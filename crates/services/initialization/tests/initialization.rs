//! Initialization in a whole server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail loudly")]

use strongroom_barrier::BOOTSTRAP_RECORD;
use strongroom_seal::{EARLIER_ENTRY, SealError};
use strongroom_seal_state::{InitError, InitRequest, SealStatus};
use strongroom_storage::{Commit, Write};
use strongroom_testkit::seals::{Service, fake};
use strongroom_testkit::server::{shares, with_recovery};
use strongroom_testkit::{Server, Setup};

async fn status(server: &Server) -> SealStatus {
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
    let status = status(&rig).await;
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
