//! Seals of another kind than key shares, and several of them, in a whole server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::BOOTSTRAP_RECORD;
use strongroom_seal::{BootstrapRecord, ConfiguredSeal, SealError, Seals};
use strongroom_seal_shamir::ShamirSeal;
use strongroom_seal_state::{SealStatus, UnsealError};
use strongroom_storage::{Commit, Write};
use strongroom_testkit::seals::{FakeSeal, Service, fake};
use strongroom_testkit::server::{shares, with_recovery};
use strongroom_testkit::{InitRequest, Server, Setup};

async fn status_of(server: &Server) -> SealStatus {
    server.services().seal_state.status().await.unwrap()
}

async fn record(server: &Server) -> BootstrapRecord {
    server.services().seal_state.record().await.unwrap().unwrap()
}

async fn put(server: &Server, name: &str, value: &[u8]) {
    let key = strongroom_barrier::bootstrap_key(name).into();
    let write = Write { key, value: Some(value.to_vec().into()) };
    server.store.commit(Commit { writes: vec![write], ..Commit::default() }).await.unwrap();
}

#[tokio::test]
async fn a_seal_that_needs_nobody_unseals_by_itself() {
    let service = Service::new(1);
    let rig = Setup::default().seals(with_recovery(vec![fake("kms", 1, &service)])).blank();
    assert!(!rig.services().seal_state.unseal_by_itself().await.unwrap(), "there is nothing to unseal yet");
    let made = rig.services().initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    assert!(made.for_recovery);
    assert_eq!(made.key_parts.len(), 3);
    let record = record(&rig).await;
    assert_eq!(
        (record.generation, record.seals[0].id.as_str(), record.seals[0].kind.as_str()),
        (1, "kms", "fake")
    );
    assert_eq!(record.seals[0].parameters["key_id"], 1);
    assert_eq!(record.recovery.unwrap().kind, "shamir");
    let status = status_of(&rig).await;
    assert!(status.initialized && status.sealed && status.recovery);
    assert_eq!((status.kind.as_str(), status.quorum.required, status.quorum.total), ("fake", 2, 3));

    assert!(rig.services().seal_state.unseal_by_itself().await.unwrap());
    assert!(!status_of(&rig).await.sealed);
    assert!(rig.services().mounts.router().await.is_ok(), "entries open");
    assert!(!rig.services().seal_state.unseal_by_itself().await.unwrap(), "it is unsealed");
}

#[tokio::test]
async fn an_outage_of_the_service_is_waited_out_and_sealing_on_purpose_lasts() {
    let service = Service::new(1);
    let rig = Setup::default().seals(with_recovery(vec![fake("kms", 1, &service)])).blank();
    rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    service.fails(SealError::Unavailable("no route to host".to_owned()));
    let asked = service.asked();
    let told = rig.services().seal_state.unseal_if_due().await.unwrap_err();
    assert!(matches!(told, UnsealError::Seal(SealError::Unavailable(_))), "{told}");
    rig.services().seal_state.unseal_if_due().await.unwrap();
    assert_eq!(service.asked(), asked + 1, "not again at once");
    service.serves();
    rig.clock.advance(Duration::from_secs(5));
    rig.services().seal_state.unseal_if_due().await.unwrap();
    assert!(!status_of(&rig).await.sealed);

    rig.services().seal_state.seal().await;
    rig.clock.advance(Duration::from_secs(3600));
    rig.services().seal_state.unseal_if_due().await.unwrap();
    assert!(status_of(&rig).await.sealed, "who sealed it unseals it");
    let restarted = rig.restarted_with(with_recovery(vec![fake("kms", 1, &service)]));
    restarted.services().seal_state.unseal_if_due().await.unwrap();
    assert!(!status_of(&restarted).await.sealed);
}

#[tokio::test]
async fn recovery_keys_recover_where_the_service_is_gone() {
    let service = Service::new(1);
    let rig = Setup::default().seals(with_recovery(vec![fake("kms", 1, &service)])).blank();
    let made = rig.services().initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    service.fails(SealError::Refused("the key was deleted".to_owned()));
    let told = rig.services().seal_state.unseal_by_itself().await.unwrap_err();
    assert!(matches!(told, UnsealError::Seal(SealError::Refused(_))), "{told}");
    for part in &made.key_parts[..2] {
        assert!(status_of(&rig).await.sealed);
        rig.services().seal_state.offer_key_part(part.expose().clone()).await.unwrap();
    }
    assert!(!status_of(&rig).await.sealed);
}

#[tokio::test]
async fn without_recovery_key_parts_are_refused_with_a_reason() {
    let service = Service::new(1);
    let rig = Setup::default().seals(Seals::one(Arc::new(FakeSeal(service)))).blank();
    let made = rig.services().initialization.initialize(InitRequest::default()).await.unwrap();
    assert!(made.key_parts.is_empty() && !made.for_recovery);
    let told = rig.services().seal_state.offer_key_part(vec![1; 32]).await.unwrap_err();
    assert_eq!(
        told.to_string(),
        "this server unseals by itself with seal type fake, and has no recovery keys"
    );
}

#[tokio::test]
async fn the_first_of_several_seals_that_answers_is_enough() {
    let (near, far) = (Service::new(1), Service::new(2));
    let both = || with_recovery(vec![fake("far", 2, &far), fake("near", 1, &near)]);
    let rig = Setup::default().seals(both()).blank();
    rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    let record = record(&rig).await;
    let order: Vec<(&str, u32)> = record.seals.iter().map(|seal| (seal.id.as_str(), seal.priority)).collect();
    assert_eq!(order, [("near", 1), ("far", 2)]);
    assert_eq!(record.root_key.len(), 2);

    let asked = (near.asked(), far.asked());
    assert!(rig.services().seal_state.unseal_by_itself().await.unwrap());
    assert_eq!((near.asked(), far.asked()), (asked.0 + 1, asked.1), "the first is asked, and no other");

    near.fails(SealError::Unavailable("timed out".to_owned()));
    let restarted = rig.restarted_with(both());
    assert!(restarted.services().seal_state.unseal_by_itself().await.unwrap());
    // One that the configuration has disabled is not asked, and the other is enough.
    near.serves();
    let disabled = ConfiguredSeal { disabled: true, ..fake("near", 1, &near) };
    let restarted = rig.restarted_with(with_recovery(vec![disabled, fake("far", 2, &far)]));
    let asked = near.asked();
    assert!(restarted.services().seal_state.unseal_by_itself().await.unwrap());
    assert_eq!(near.asked(), asked);
}

#[tokio::test]
async fn seals_that_do_not_go_together_are_refused() {
    let service = Service::new(1);
    let shamir = |id: &str| ConfiguredSeal {
        id: id.to_owned(),
        priority: 1,
        disabled: false,
        seal: Arc::new(ShamirSeal),
    };
    for (seals, text) in [
        (vec![fake("a", 1, &service), fake("a", 2, &service)], "two seals have the same name"),
        (vec![shamir("a"), shamir("b")], "only one seal can be unsealed with key parts"),
        (vec![ConfiguredSeal { disabled: true, ..shamir("a") }], "no seal is enabled"),
    ] {
        assert_eq!(Seals::several(seals).err().unwrap().to_string(), text);
    }
}

/// Key parts and a service, either of which unseals.
#[tokio::test]
async fn people_and_a_service_can_each_unseal() {
    let service = Service::new(1);
    let people = ConfiguredSeal { priority: 2, ..shares().enabled().next().unwrap().clone() };
    let both = || with_recovery(vec![fake("kms", 1, &service), people.clone()]);
    let rig = Setup::default().seals(both()).blank();
    let made = rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    assert!(!made.for_recovery && record(&rig).await.recovery.is_none());
    assert!(rig.services().seal_state.unseal_by_itself().await.unwrap());
    service.fails(SealError::Unavailable("gone".to_owned()));
    let restarted = rig.restarted_with(both());
    assert!(restarted.services().seal_state.unseal_by_itself().await.is_err());
    restarted.services().seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
    assert!(!status_of(&restarted).await.sealed);
}

#[tokio::test]
async fn a_node_that_joins_opens_the_challenge_of_the_seal() {
    let service = Service::new(1);
    let seals = || with_recovery(vec![fake("kms", 1, &service)]);
    let active = Setup::default().seals(seals()).blank();
    active.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    active.services().seal_state.unseal_by_itself().await.unwrap();
    let shown = active.services().seal_state.join_challenges().await.unwrap();
    assert_ne!(
        shown[0].challenge,
        record(&active).await.root_key[0].blob,
        "the seal has a challenge of its own"
    );

    let joining = Setup::default().seals(seals()).blank();
    let others = Setup::default().seals(shares()).blank();
    let told = others.services().seal_state.begin_joining(shown.clone()).unwrap_err();
    assert!(told.contains("is sealed by \"kms\" of type \"fake\""), "{told}");
    assert!(!status_of(&others).await.initialized);
    joining.services().seal_state.begin_joining(shown).unwrap();
    assert!(status_of(&joining).await.initialized);
    let turn = joining.services().seal_state.turn().await;
    let found = joining.services().seal_state.unwrap_by_itself(&turn).await.unwrap().unwrap();
    assert_eq!(found, active.services().seal_state.root_key().unwrap());
}

#[tokio::test]
async fn storage_that_the_configuration_has_no_seal_for_is_named() {
    let service = Service::new(1);
    let rig = Setup::default().seals(with_recovery(vec![fake("kms", 1, &service)])).blank();
    rig.services().seal_state.check_storage().await.unwrap();
    rig.services().initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    rig.services().seal_state.check_storage().await.unwrap();
    let others = rig.restarted_with(shares());
    let text = "the cluster is sealed by \"kms\" of type \"fake\", and the configuration has no such seal";
    assert_eq!(others.services().seal_state.check_storage().await.unwrap_err(), text);
    let told = others.services().seal_state.offer_key_part(vec![1; 33]).await.unwrap_err();
    assert_eq!(told.to_string(), text);
    assert_eq!(status_of(&others).await.kind, "fake", "what storage says counts");
}

#[tokio::test]
async fn key_parts_given_for_one_wrapped_key_do_not_count_for_another() {
    let rig = Setup::default().seals(shares()).blank();
    let made = rig.services().initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    let offer = async |rig: &Server, part: usize| {
        rig.services().seal_state.offer_key_part(made.key_parts[part].expose().clone()).await.unwrap();
        status_of(rig).await.progress
    };
    let first = offer(&rig, 0).await;
    assert_eq!((first.given, first.nonce.is_empty()), (1, false));
    let kept = rig.services().barrier.bootstrap(BOOTSTRAP_RECORD).await.unwrap().unwrap();
    let mut record = record(&rig).await;
    record.generation = 2;
    record.root_key[0].blob[20] ^= 1;
    put(&rig, BOOTSTRAP_RECORD, &record.encode().unwrap()).await;
    let second = offer(&rig, 1).await;
    assert_eq!(second.given, 1, "a new attempt");
    assert_ne!(second.nonce, first.nonce);
    put(&rig, BOOTSTRAP_RECORD, &kept).await;
    assert_eq!(offer(&rig, 1).await.given, 1);
    offer(&rig, 2).await;
    assert!(!status_of(&rig).await.sealed);
}
