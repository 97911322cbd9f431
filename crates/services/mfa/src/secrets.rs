//! TOTP keys of entities: making them, and judging passcodes.
//!
//! A key is shown once, as it is made. A passcode is good once: the newest time step of which one was used is written in the
//! transaction that makes the token, so no node takes it again, nor an older one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, Secret, bad_request};
use strongroom_identity::{IdentityId, Placed};

use crate::Mfa;
use crate::attempts::{Attempt, Rule};
use crate::methods::{FoundMethod, no_method};
use crate::pending::PendingLogin;
use crate::qr;
use crate::tables::{TOTP_SECRETS, USED_STEPS};
use crate::totp::TotpSettings;

/// The key of an entity for a method.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TotpSecret {
    /// The key.
    #[serde(rename = "k")]
    key: Secret<Vec<u8>>,
    /// The method's settings as they were when the key was made, which its authenticator has.
    #[serde(rename = "s")]
    settings: TotpSettings,
    /// The time it was made.
    #[serde(rename = "c")]
    created: Moment,
}

/// The newest time step of which a passcode was used.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct UsedStep {
    #[serde(rename = "n")]
    step: u64,
}

impl Stored for TotpSecret {}
impl Stored for UsedStep {}

/// A key that was just made, in the forms that authenticators read.
pub struct MadeKey {
    /// The `otpauth` URL.
    pub url: Secret<String>,
    /// The QR code of it, a PNG image; `None` where the method makes none.
    pub barcode: Option<Secret<Vec<u8>>>,
}

/// The judgment of a passcode.
pub(crate) enum Judgment {
    /// It is good; the attempt ends once the token is committed.
    Good(Attempt),
    /// It is not, for this reason.
    Bad(String),
}

/// The key of a row of an entity and a method.
struct Row {
    namespace: NamespaceId,
    entity: [u8; 16],
    method: [u8; 16],
}

impl Row {
    const fn new((namespace, entity): Placed, method: IdentityId) -> Self {
        Self { namespace, entity: entity.bytes(), method: method.bytes() }
    }

    const fn at(&self) -> (NamespaceId, [u8; 16], &[u8; 16]) {
        (self.namespace, self.entity, &self.method)
    }
}

impl Mfa {
    /// True if an entity has a key for a method.
    pub async fn has_key(
        &self,
        reads: &impl Reads,
        entity: Placed,
        method: IdentityId,
    ) -> Result<bool, EngineError> {
        Ok(TOTP_SECRETS.get(reads, &Row::new(entity, method).at()).await?.is_some())
    }

    /// Makes the key of an entity for a method; `None` where it has one.
    ///
    /// # Errors
    ///
    /// 400 where the method is of another kind, or of a namespace that is not around the entity's.
    pub async fn make_key(
        &self,
        txn: &Txn,
        entity: Placed,
        found: &FoundMethod,
    ) -> Result<Option<MadeKey>, EngineError> {
        let settings = found.totp()?;
        if self.method(txn, entity.0, found.id).await?.is_none() {
            return Err(bad_request("the entity is not in the method's namespace, nor in one inside it"));
        }
        let row = Row::new(entity, found.id);
        if TOTP_SECRETS.get(txn, &row.at()).await?.is_some() {
            return Ok(None);
        }
        let (secret, made) = self.draw_key(entity.1, settings)?;
        TOTP_SECRETS.put(txn, &row.at(), secret)?;
        USED_STEPS.delete(txn, &row.at());
        told(txn, entity.1, found.id, "made a TOTP key");
        Ok(Some(made))
    }

    fn draw_key(
        &self,
        entity: IdentityId,
        settings: &TotpSettings,
    ) -> Result<(TotpSecret, MadeKey), EngineError> {
        let mut key = vec![0; settings.key_size];
        self.environment.entropy.fill(&mut key)?;
        let key = Secret::new(key);
        let url = settings.url(key.expose(), &entity.to_string());
        let barcode = match settings.qr_size {
            0 => None,
            size => Some(qr::png(url.expose(), size)?),
        };
        let (created, settings) = (self.environment.clock.now(), settings.clone());
        Ok((TotpSecret { key, settings, created }, MadeKey { url, barcode }))
    }

    /// Makes a key for somebody whose login waits and who has none for this method; `None` where there is one. It is kept once a
    /// passcode of it has concluded the login, so that a code that nobody has scanned locks nobody out.
    ///
    /// # Errors
    ///
    /// 403 where the login is not there, and 400 where the method does not let its users enroll.
    pub async fn enroll(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        request_id: &str,
        method: &str,
    ) -> Result<Option<MadeKey>, EngineError> {
        let unknown = || EngineError::Denied("invalid request ID".to_owned());
        let mut claimed = self.claim(request_id, namespace).await.ok_or_else(unknown)?;
        let login = claimed.login().ok_or_else(unknown)?;
        let id = IdentityId::parse(method).filter(|id| login.offered.contains(id));
        let id = id.ok_or_else(|| no_method(method))?;
        let home = login.mount.0;
        let found = self.method(txn, home, id).await?.ok_or_else(|| no_method(method))?;
        if !found.method.allows_self_enrollment() {
            return Err(bad_request(format!("self-enrollment is not enabled for MFA method {method:?}")));
        }
        let resolved = self.identity.resolve(txn, home, login.entity).await?;
        let Some((entity, _)) = resolved.filter(|(_, entity)| !entity.disabled) else {
            return Err(unknown());
        };
        if self.has_key(txn, (home, entity), id).await? {
            return Ok(None);
        }
        let (secret, made) = self.draw_key(entity, found.totp()?)?;
        claimed.enroll(id, secret);
        Ok(Some(made))
    }

    /// Deletes the key of an entity for a method; nothing happens where it has none.
    pub fn delete_key(&self, txn: &Txn, entity: Placed, method: IdentityId) {
        let row = Row::new(entity, method);
        TOTP_SECRETS.delete(txn, &row.at());
        USED_STEPS.delete(txn, &row.at());
        told(txn, entity.1, method, "deleted a TOTP key");
    }

    /// Deletes all keys and passkeys of entities that are gone.
    pub async fn forget_entities(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        entities: &[IdentityId],
    ) -> Result<(), EngineError> {
        for entity in entities {
            for method in self.methods_with_keys(txn, (namespace, *entity)).await? {
                self.delete_key(txn, (namespace, *entity), method);
            }
            self.forget_passkeys(txn, (namespace, *entity)).await?;
        }
        Ok(())
    }

    /// The methods for which an entity has a key.
    pub async fn methods_with_keys(
        &self,
        reads: &impl Reads,
        (namespace, entity): Placed,
    ) -> Result<Vec<IdentityId>, EngineError> {
        let found = TOTP_SECRETS.keys(reads, &(namespace, &entity.bytes()), None, usize::MAX).await?;
        Ok(found.into_iter().map(|(_, _, method)| IdentityId::of_bytes(method)).collect())
    }

    /// Moves the keys and passkeys of an entity that is merged to the one that stays, which keeps its own key where `force` says so.
    ///
    /// # Errors
    ///
    /// 400 where both have a key for a method, without `force`.
    pub async fn merge_keys(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        (from, to): (IdentityId, IdentityId),
        force: bool,
    ) -> Result<(), EngineError> {
        for method in self.methods_with_keys(txn, (namespace, from)).await? {
            let (theirs, own) = (Row::new((namespace, from), method), Row::new((namespace, to), method));
            let Some(secret) = TOTP_SECRETS.get(txn, &theirs.at()).await? else { continue };
            if TOTP_SECRETS.get(txn, &own.at()).await?.is_none() {
                TOTP_SECRETS.put(txn, &own.at(), (*secret).clone())?;
                if let Some(used) = USED_STEPS.get(txn, &theirs.at()).await? {
                    USED_STEPS.put(txn, &own.at(), *used)?;
                }
            } else if !force {
                return Err(bad_request(format!(
                    "conflicting MFA secrets for method {method} in entities {from} and {to}; set force to keep those of {to}"
                )));
            }
            self.delete_key(txn, (namespace, from), method);
        }
        self.merge_passkeys(txn, namespace, (from, to)).await
    }

    /// Judges a passcode. A good one is used up with the transaction, which keeps the key too where it is being enrolled.
    pub(crate) async fn judge_passcode(
        &self,
        txn: &Txn,
        entity: Placed,
        (found, method): (&FoundMethod, &TotpSettings),
        given: &str,
        waited: Option<&PendingLogin>,
    ) -> Result<Judgment, EngineError> {
        if given.trim().is_empty() {
            return Ok(Judgment::Bad("MFA credentials not supplied".to_owned()));
        }
        let row = Row::new(entity, found.id);
        let kept = TOTP_SECRETS.get(txn, &row.at()).await?;
        let enrolling = waited.and_then(|login| login.enrolling.get(&found.id));
        let enrolling = enrolling.filter(|_| kept.is_none() && found.method.allows_self_enrollment());
        let Some(secret) = kept.as_deref().or(enrolling) else {
            return Ok(Judgment::Bad(no_secret(entity.1, found)));
        };
        let (now, settings) = (self.environment.clock.now(), &secret.settings);
        let pause = Duration::from_secs(settings.period);
        let rule = Rule { kind: "TOTP", most: method.max_validation_attempts, pause };
        let attempt = match self.attempts.begin((entity, found.id), rule, now) {
            Ok(attempt) => attempt,
            Err(exceeded) => return Ok(Judgment::Bad(exceeded.to_string())),
        };
        let used = USED_STEPS.get(txn, &row.at()).await?.map(|used| used.step);
        let Some(step) = settings.step_of(secret.key.expose(), given, now) else {
            attempt.fail();
            return Ok(Judgment::Bad("failed to validate TOTP passcode".to_owned()));
        };
        if used.is_some_and(|used| step <= used) {
            attempt.fail();
            let period = settings.period;
            return Ok(Judgment::Bad(format!(
                "code already used; new code is available in {period} seconds"
            )));
        }
        USED_STEPS.put(txn, &row.at(), UsedStep { step })?;
        if let Some(secret) = enrolling {
            TOTP_SECRETS.put(txn, &row.at(), secret.clone())?;
            told(txn, entity.1, found.id, "entity has enrolled a TOTP key");
        }
        Ok(Judgment::Good(attempt))
    }
}

/// Tells the log of a change of a key, once it is committed.
fn told(txn: &Txn, entity: IdentityId, method: IdentityId, change: &'static str) {
    txn.on_commit(move || tracing::info!(entity_id = %entity, method_id = %method, "{change}"));
}

fn no_secret(entity: IdentityId, found: &FoundMethod) -> String {
    let id = found.id.to_string();
    let name = if found.method.name.is_empty() { &id } else { &found.method.name };
    format!("MFA secret for method {name:?} not present in entity {:?}", entity.to_string())
}
