//! Replacing key parts: those that unseal, with a new root key, or those for recovery.
//!
//! Where it is asked for, the new parts are in force only once enough of them were brought back (`require_verification`):
//! whoever lost one between its making and a safe place has lost nothing then. Where PGP keys are given, each part is encrypted to
//! its holder's, and what is brought back is the part, decrypted.

use std::sync::Arc;

use strongroom_barrier::Txn;
use strongroom_engine_api::{EngineError, bad_request};
use strongroom_pgp::Recipients;
use strongroom_seal::KeyPart;
use strongroom_seal_state::{KeyPartsWanted, NewWrapping, Proof, RekeyTarget};

use crate::backups::{KeyBackup, name};
use crate::slot::{Held, Running, Words, judged, with_one_more};
use crate::{Ceremonies, KEY_BACKUPS, Step, not_encrypted, not_wrapped, overtaken, refused};

const WORDS: Words = Words { none: "no rekey in progress", name: "rekey", failed: "rekey failed" };

const VERIFYING: Words =
    Words { none: "no rekey in progress", name: "verify", failed: "rekey verification failed" };

/// The key parts to be.
#[derive(Clone, Debug, Default)]
pub struct RekeyPlan {
    /// Their number.
    pub wanted: KeyPartsWanted,
    /// True if they are to be brought back before they are in force.
    pub verified: bool,
    /// The holders that they are encrypted to.
    pub recipients: Arc<Recipients>,
    /// True if a copy of the encrypted parts is kept.
    pub backup: bool,
}

/// A rekey under way.
pub(crate) struct Rekey {
    plan: RekeyPlan,
    made: Option<Made>,
}

/// New key parts that are not in force yet.
struct Made {
    new: Arc<NewWrapping>,
    /// The name of the verification.
    nonce: String,
    /// New parts that were brought back.
    parts: Vec<KeyPart>,
}

/// The state of a rekey.
#[derive(Debug, Default)]
pub struct RekeyStatus {
    /// True if one is under way.
    pub started: bool,
    /// Its name.
    pub nonce: String,
    /// New key parts that are needed, and that there will be.
    pub threshold: i64,
    /// See `threshold`.
    pub shares: i64,
    /// Key parts brought so far.
    pub progress: usize,
    /// Key parts that are needed.
    pub required: u8,
    /// True if the new parts are to be brought back.
    pub verification_required: bool,
    /// The name of the verification under way.
    pub verification_nonce: String,
    /// The fingerprints of the keys that the new parts are encrypted to.
    pub fingerprints: Vec<String>,
    /// True if a copy of the encrypted parts is kept.
    pub backup: bool,
}

/// New key parts, told once.
pub struct NewParts {
    /// The name of the rekey.
    pub nonce: String,
    /// The parts.
    pub parts: Vec<KeyPart>,
    /// True if they are not in force yet.
    pub verification_required: bool,
    /// The name of the verification.
    pub verification_nonce: String,
    /// The fingerprints of the keys that the parts are encrypted to.
    pub fingerprints: Vec<String>,
    /// True if a copy of the encrypted parts is kept.
    pub backup: bool,
}

/// The answer to a key part.
pub enum RekeyAnswer {
    /// More are needed.
    Progress(RekeyStatus),
    /// They were enough.
    Complete(NewParts),
}

/// The state of a verification.
#[derive(Debug, Default)]
pub struct VerifyStatus {
    /// True if one is under way.
    pub started: bool,
    /// Its name.
    pub nonce: String,
    /// New key parts that are needed, and that there are.
    pub threshold: i64,
    /// See `threshold`.
    pub shares: i64,
    /// New key parts brought back so far.
    pub progress: usize,
    /// True if the new parts are in force now.
    pub complete: bool,
}

fn status_of(running: Option<&Running<Rekey>>, required: u8) -> RekeyStatus {
    let Some(running) = running else { return RekeyStatus { required, ..RekeyStatus::default() } };
    let RekeyPlan { wanted, verified, recipients, backup } = &running.plan.plan;
    RekeyStatus {
        started: true,
        nonce: running.nonce.clone(),
        threshold: wanted.required,
        shares: wanted.total,
        progress: running.parts.len(),
        required,
        verification_required: *verified,
        fingerprints: recipients.fingerprints(),
        backup: *backup,
        verification_nonce: running.plan.made.as_ref().map(|made| made.nonce.clone()).unwrap_or_default(),
    }
}

fn verification_of(running: Option<&Running<Rekey>>) -> Result<VerifyStatus, EngineError> {
    let running = running.ok_or_else(|| bad_request(WORDS.none))?;
    let wanted = running.plan.plan.wanted;
    let status = VerifyStatus { threshold: wanted.required, shares: wanted.total, ..VerifyStatus::default() };
    Ok(match &running.plan.made {
        Some(made) => {
            VerifyStatus { started: true, nonce: made.nonce.clone(), progress: made.parts.len(), ..status }
        }
        None => status,
    })
}

/// The verification that `nonce` names.
fn verified<'a>(held: &'a mut Held<Rekey>, nonce: &str) -> Result<&'a mut Made, EngineError> {
    let running = held.as_mut().ok_or_else(|| bad_request(VERIFYING.none))?;
    let made = running.plan.made.as_mut();
    let made = made.ok_or_else(|| bad_request("no rekey verification in progress"))?;
    if made.nonce == nonce {
        return Ok(made);
    }
    Err(bad_request(format!("incorrect nonce supplied; nonce for this verify operation is {:?}", made.nonce)))
}

impl Ceremonies {
    /// The state of a rekey.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub async fn rekey_status(&self, target: RekeyTarget) -> Result<RekeyStatus, EngineError> {
        self.check_target(target).await?;
        let required = self.required().await?;
        Ok(status_of(self.rekey_slot(target).hold(self.term()?).await.as_ref(), required))
    }

    /// Refuses parts for recovery where there are none.
    async fn check_target(&self, target: RekeyTarget) -> Result<(), EngineError> {
        let holders = self.seal_state.key_holders().await.map_err(refused)?;
        if target == RekeyTarget::Recovery && !holders.for_recovery {
            return Err(bad_request("recovery rekeying not supported"));
        }
        Ok(())
    }

    /// Begins a rekey.
    ///
    /// # Errors
    ///
    /// 400 where one is under way, and for numbers that do not go together.
    pub async fn begin_rekey(
        &self,
        target: RekeyTarget,
        plan: RekeyPlan,
    ) -> Result<Step<RekeyStatus>, EngineError> {
        self.check_target(target).await?;
        let required = self.required().await?;
        let term = self.term()?;
        let mut held = self.rekey_slot(target).hold(term).await;
        if held.is_some() {
            return Err(bad_request("rekey already in progress"));
        }
        // The seal itself says whether the numbers go together; what it makes here is not used.
        self.seal_state.new_wrapping(target, plan.wanted).await.map_err(not_wrapped)?;
        let running = Running::new(self.nonce()?, term, Rekey { plan, made: None });
        let answer = status_of(Some(&running), required);
        let change = Box::new(move || {
            let RekeyPlan { wanted, verified, .. } = &running.plan.plan;
            tracing::info!(
                nonce = running.nonce,
                shares = wanted.total,
                threshold = wanted.required,
                validation_required = verified,
                "rekey initialized"
            );
            *held = Some(running);
        });
        Ok(Step { answer, change })
    }

    /// Gives a rekey up. New parts that are not in force yet never will be.
    ///
    /// # Errors
    ///
    /// [`EngineError`] on a node that does not lead; 400 for another `nonce`.
    pub async fn cancel_rekey(
        &self,
        target: RekeyTarget,
        nonce: Option<&str>,
    ) -> Result<Step<()>, EngineError> {
        self.check_target(target).await?;
        let mut held = self.rekey_slot(target).hold(self.term()?).await;
        if let Some(nonce) = nonce {
            held.named(nonce, &WORDS)?;
        }
        Ok(Step { answer: (), change: Box::new(move || *held = None) })
    }

    /// Takes one key part. With enough of them, new parts are made, and put in force within `txn` unless they are to be
    /// brought back first.
    ///
    /// # Errors
    ///
    /// 400 for another `nonce`, for a part that was brought before, and for parts that open nothing.
    pub async fn offer_for_rekey(
        &self,
        txn: &Txn,
        target: RekeyTarget,
        nonce: &str,
        part: KeyPart,
    ) -> Result<Step<RekeyAnswer>, EngineError> {
        self.check_target(target).await?;
        let required = self.required().await?;
        let mut held = self.rekey_slot(target).hold(self.term()?).await;
        let running = held.named(nonce, &WORDS)?;
        if let Some(made) = &running.plan.made {
            return Err(bad_request(format!(
                "rekey operation already finished; verification must be performed; nonce for the verification operation \
                 is {:?}",
                made.nonce
            )));
        }
        let parts = with_one_more(&running.parts, part)?;
        let proof = self.seal_state.prove(&parts).await.map_err(refused)?;
        if !judged(proof, &mut running.parts, &WORDS)? {
            let status = RekeyStatus { progress: parts.len(), ..status_of(Some(running), required) };
            let change = Box::new(move || {
                if let Some(running) = held.as_mut() {
                    running.parts = parts;
                }
            });
            return Ok(Step { answer: RekeyAnswer::Progress(status), change });
        }
        let RekeyPlan { wanted, verified, recipients, backup } = running.plan.plan.clone();
        let (new, new_parts) = self.seal_state.new_wrapping(target, wanted).await.map_err(not_wrapped)?;
        let new_parts = recipients.hand_out(&self.environment.entropy, new_parts).map_err(not_encrypted)?;
        if backup {
            KEY_BACKUPS.put(txn, name(target), KeyBackup::new(&running.nonce, &recipients, &new_parts))?;
        }
        let mut told = NewParts {
            nonce: running.nonce.clone(),
            parts: new_parts,
            verification_required: verified,
            verification_nonce: String::new(),
            fingerprints: recipients.fingerprints(),
            backup,
        };
        if verified {
            told.verification_nonce = self.nonce()?;
            let made = Made { new: Arc::new(new), nonce: told.verification_nonce.clone(), parts: Vec::new() };
            let change = Box::new(move || {
                if let Some(running) = held.as_mut() {
                    running.parts = parts;
                    running.plan.made = Some(made);
                }
            });
            return Ok(Step { answer: RekeyAnswer::Complete(told), change });
        }
        let change = self.in_force(txn, held, Arc::new(new)).await?;
        Ok(Step { answer: RekeyAnswer::Complete(told), change })
    }

    /// Puts new parts in force within `txn`.
    async fn in_force(
        &self,
        txn: &Txn,
        mut held: Held<Rekey>,
        new: Arc<NewWrapping>,
    ) -> Result<Box<dyn FnOnce() + Send + Sync>, EngineError> {
        let turn = self.seal_state.turn().await;
        self.seal_state.write_wrapping(&turn, txn, &new).await.map_err(overtaken)?;
        let seal_state = self.seal_state.clone();
        Ok(Box::new(move || {
            seal_state.adopt_wrapping(&turn, &new);
            *held = None;
        }))
    }

    /// The state of a verification.
    ///
    /// # Errors
    ///
    /// 400 where no rekey is under way.
    pub async fn verify_status(&self, target: RekeyTarget) -> Result<VerifyStatus, EngineError> {
        self.check_target(target).await?;
        verification_of(self.rekey_slot(target).hold(self.term()?).await.as_ref())
    }

    /// Begins the verification anew: forgets the parts that were brought back, under another name.
    ///
    /// # Errors
    ///
    /// 400 where none is under way.
    pub async fn restart_verification(&self, target: RekeyTarget) -> Result<Step<VerifyStatus>, EngineError> {
        self.check_target(target).await?;
        let mut held = self.rekey_slot(target).hold(self.term()?).await;
        let mut answer = verification_of(held.as_ref())?;
        if !answer.started {
            return Err(bad_request("no rekey verification in progress"));
        }
        let nonce = self.nonce()?;
        (answer.progress, answer.nonce) = (0, nonce.clone());
        let change = Box::new(move || {
            if let Some(made) = held.as_mut().and_then(|running| running.plan.made.as_mut()) {
                made.parts.clear();
                made.nonce = nonce;
            }
        });
        Ok(Step { answer, change })
    }

    /// Takes one of the new key parts. With enough of them, they are in force, within `txn`.
    ///
    /// # Errors
    ///
    /// As [`Ceremonies::offer_for_rekey`].
    pub async fn offer_for_verification(
        &self,
        txn: &Txn,
        target: RekeyTarget,
        nonce: &str,
        part: KeyPart,
    ) -> Result<Step<VerifyStatus>, EngineError> {
        self.check_target(target).await?;
        let mut held = self.rekey_slot(target).hold(self.term()?).await;
        let made = verified(&mut held, nonce)?;
        let parts = with_one_more(&made.parts, part)?;
        let new = made.new.clone();
        let proof: Proof = self.seal_state.prove_new(&new, &parts).await.map_err(refused)?;
        let is_enough = judged(proof, &mut made.parts, &VERIFYING)?;
        let mut answer = VerifyStatus { progress: parts.len(), ..verification_of(held.as_ref())? };
        if is_enough {
            answer.complete = true;
            let change = self.in_force(txn, held, new).await?;
            return Ok(Step { answer, change });
        }
        let change = Box::new(move || {
            if let Some(made) = held.as_mut().and_then(|running| running.plan.made.as_mut()) {
                made.parts = parts;
            }
        });
        Ok(Step { answer, change })
    }
}
