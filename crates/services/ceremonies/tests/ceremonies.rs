//! Ceremonies of key holders: a request changes one only when it is committed, and each is of one term between two seals.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]

use std::sync::Arc;

use strongroom_ceremonies::{RekeyAnswer, RekeyPlan, Step, TokenSecrecy, decoded};
use strongroom_engine_api::Moment;
use strongroom_pgp::Recipients;
use strongroom_seal_state::{KeyPart, KeyPartsWanted, RekeyTarget};
use strongroom_testkit::seals::{Service, fake};
use strongroom_testkit::server::{shares, with_recovery};
use strongroom_testkit::{Server, Setup};

/// The public key of somebody who keeps parts.
const HOLDER: &str = include_str!("../../../pgp/testdata/endless.b64");

const BARRIER: RekeyTarget = RekeyTarget::Barrier;

async fn with_parts(parts: u8, required: u8) -> Server {
    let server = Setup::default().sealed(parts, required).await;
    server.unseal().await;
    server
}

fn part(server: &Server, number: usize) -> KeyPart {
    KeyPart::new(server.key_parts.get(number).unwrap().clone())
}

/// Has the change of a step made, as a commit does.
fn made<A>(step: Step<A>) -> A {
    (step.change)();
    step.answer
}

#[tokio::test]
async fn a_step_whose_request_does_not_commit_changes_nothing() {
    let server = with_parts(2, 2).await;
    let ceremonies = &server.services().ceremonies;
    drop(ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.unwrap());
    assert!(!ceremonies.root_token_status().await.unwrap().started);
    let nonce = made(ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.unwrap()).nonce;
    let txn = server.txn().await;
    for _ in 0..2 {
        let step = ceremonies.offer_for_root_token(&txn, &nonce, part(&server, 0)).await.unwrap();
        assert_eq!(step.answer.progress, 1, "as if it were the first");
    }
    assert_eq!(ceremonies.root_token_status().await.unwrap().progress, 0);
    made(ceremonies.offer_for_root_token(&txn, &nonce, part(&server, 0)).await.unwrap());
    // The token of one that is decided again is another.
    let first = ceremonies.offer_for_root_token(&server.txn().await, &nonce, part(&server, 1)).await.unwrap();
    assert!(first.answer.complete);
    drop(first);
    let txn = server.txn().await;
    let second = ceremonies.offer_for_root_token(&txn, &nonce, part(&server, 1)).await.unwrap();
    txn.commit().await.unwrap();
    assert!(made(second).complete);
    assert!(!ceremonies.root_token_status().await.unwrap().started);
}

#[tokio::test]
async fn others_wait_until_a_step_is_made_or_dropped() {
    let server = Arc::new(with_parts(1, 1).await);
    let held = server.services().ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.unwrap();
    let other = server.clone();
    let waiting = tokio::spawn(async move {
        other.services().ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.map(made)
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    made(held);
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "root generation already in progress");
}

#[tokio::test]
async fn new_parts_are_in_force_with_the_commit() {
    let server = with_parts(1, 1).await;
    let ceremonies = &server.services().ceremonies;
    let plan = RekeyPlan { wanted: KeyPartsWanted::new(3, 2), ..RekeyPlan::default() };
    let nonce = made(ceremonies.begin_rekey(BARRIER, plan).await.unwrap()).nonce;
    let status = server.services().seal_state.status();
    assert_eq!(status.await.unwrap().quorum.total, 1);
    // Decided twice, committed once.
    drop(ceremonies.offer_for_rekey(&server.txn().await, BARRIER, &nonce, part(&server, 0)).await.unwrap());
    let txn = server.txn().await;
    let step = ceremonies.offer_for_rekey(&txn, BARRIER, &nonce, part(&server, 0)).await.unwrap();
    txn.commit().await.unwrap();
    let RekeyAnswer::Complete(new) = made(step) else { panic!("one part is enough") };
    assert_eq!(server.services().seal_state.status().await.unwrap().quorum.total, 3);
    let later = server.restarted_with(shares());
    for part in new.parts.iter().take(2) {
        later.services().seal_state.offer_key_part(part.expose().clone()).await.unwrap();
    }
    assert!(!later.services().barrier.is_sealed());
}

#[tokio::test]
async fn parts_go_to_their_holders_and_a_copy_is_kept_on_request() {
    let server = with_parts(1, 1).await;
    let ceremonies = &server.services().ceremonies;
    let recipients = Recipients::parse([HOLDER, HOLDER], 2, Moment::from_secs(1_790_000_000)).unwrap();
    let wanted = KeyPartsWanted::new(2, 2);
    let plan = RekeyPlan { wanted, recipients: Arc::new(recipients), backup: true, ..RekeyPlan::default() };
    let begun = made(ceremonies.begin_rekey(BARRIER, plan).await.unwrap());
    let holder = "8a527bf857f110287221067adb62916ca0e6e74c";
    assert_eq!((begun.fingerprints, begun.backup), (vec![holder.to_owned(); 2], true));
    // One that is decided again leaves no copy.
    drop(
        ceremonies
            .offer_for_rekey(&server.txn().await, BARRIER, &begun.nonce, part(&server, 0))
            .await
            .unwrap(),
    );
    let view = server.services().barrier.view();
    assert_eq!(ceremonies.key_backup(&view, BARRIER).await.unwrap(), None);
    let txn = server.txn().await;
    let step = ceremonies.offer_for_rekey(&txn, BARRIER, &begun.nonce, part(&server, 0)).await.unwrap();
    txn.commit().await.unwrap();
    let RekeyAnswer::Complete(new) = made(step) else { panic!("one part is enough") };
    let messages: Vec<Vec<u8>> = new.parts.iter().map(|part| part.expose().clone()).collect();
    // A packet with the session key for the holder comes first, in old or new form.
    assert!(messages.iter().all(|message| matches!(message.first(), Some(0x84..=0x87 | 0xc1))));
    let view = server.services().barrier.view();
    let kept = ceremonies.key_backup(&view, BARRIER).await.unwrap().unwrap();
    assert_eq!((kept.nonce, kept.messages), (new.nonce.clone(), [(holder.to_owned(), messages)].into()));
    assert_eq!(ceremonies.key_backup(&view, RekeyTarget::Recovery).await.unwrap(), None);
    let txn = server.txn().await;
    ceremonies.delete_key_backup(&txn, BARRIER).unwrap();
    txn.commit().await.unwrap();
    assert_eq!(ceremonies.key_backup(&server.services().barrier.view(), BARRIER).await.unwrap(), None);
}

#[tokio::test]
async fn a_seal_ends_every_ceremony() {
    let server = with_parts(1, 1).await;
    let ceremonies = &server.services().ceremonies;
    let plan = RekeyPlan { wanted: KeyPartsWanted::new(1, 1), verified: true, ..RekeyPlan::default() };
    made(ceremonies.begin_rekey(BARRIER, plan).await.unwrap());
    made(ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.unwrap());
    // Also one that a request is just looking at.
    let looked_at = ceremonies.cancel_root_token(None).await.unwrap();
    server.services().seal_state.seal().await;
    drop(looked_at);
    server.unseal().await;
    assert!(!ceremonies.rekey_status(BARRIER).await.unwrap().started);
    assert!(!ceremonies.root_token_status().await.unwrap().started);
}

#[tokio::test]
async fn parts_for_recovery_prove_a_root_token_and_are_replaced() {
    let service = Service::new(1);
    let server = Setup::default().seals(with_recovery(vec![fake("kms", 1, &service)])).sealed(2, 2).await;
    assert!(server.services().seal_state.unseal_by_itself().await.unwrap());
    let ceremonies = &server.services().ceremonies;
    let begun = made(ceremonies.begin_root_token(TokenSecrecy::MadeUpOtp).await.unwrap());
    let txn = server.txn().await;
    made(ceremonies.offer_for_root_token(&txn, &begun.nonce, part(&server, 0)).await.unwrap());
    let done = ceremonies.offer_for_root_token(&txn, &begun.nonce, part(&server, 1)).await.unwrap();
    txn.commit().await.unwrap();
    let token = decoded(&made(done).encoded_token, begun.otp.unwrap().expose()).unwrap();
    assert!(token.expose().starts_with("hvs."));

    let plan = RekeyPlan { wanted: KeyPartsWanted::new(1, 1), verified: true, ..RekeyPlan::default() };
    let refused = ceremonies.begin_rekey(BARRIER, plan.clone()).await.map(made).unwrap_err();
    assert!(refused.to_string().contains("see sys/rekey-recovery-key"), "{refused}");
    let recovery = RekeyTarget::Recovery;
    let nonce = made(ceremonies.begin_rekey(recovery, plan).await.unwrap()).nonce;
    let txn = server.txn().await;
    made(ceremonies.offer_for_rekey(&txn, recovery, &nonce, part(&server, 0)).await.unwrap());
    let step = ceremonies.offer_for_rekey(&txn, recovery, &nonce, part(&server, 1)).await.unwrap();
    let RekeyAnswer::Complete(new) = made(step) else { panic!("two parts are enough") };
    let new_part = KeyPart::new(new.parts.first().unwrap().expose().clone());
    let verified =
        ceremonies.offer_for_verification(&txn, recovery, &new.verification_nonce, new_part).await.unwrap();
    txn.commit().await.unwrap();
    assert!(made(verified).complete);
    assert_eq!(server.services().seal_state.key_holders().await.unwrap().quorum.total, 1);
}
