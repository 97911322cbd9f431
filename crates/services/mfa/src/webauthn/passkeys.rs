//! Passkeys of entities: registering, listing and deleting them, and judging what they sign.
//!
//! A passkey is registered by its owner soon after a login, or by somebody whose policies let them do so for others. The counter and
//! the time of its last use are written in the transaction that makes the token, so no node takes a counter again.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request, same_bytes};
use strongroom_identity::{IdentityId, Placed};

use super::ceremony::{self, Flaw, Known, PublicKey};
use super::challenges::Registration;
use super::messages::{CreationOptions, Made, RequestOptions, Signed};
use super::{PAUSE_SECS, WebauthnSettings};
use crate::Mfa;
use crate::attempts::Rule;
use crate::methods::{FoundMethod, no_method};
use crate::pending::PendingLogin;
use crate::secrets::Judgment;
use crate::tables::{IdBytes, PASSKEY_USES, PASSKEYS};

/// Passkeys of an entity for a method: a login looks at them.
const MAX_PASSKEYS: usize = 16;
/// Bytes of a passkey's name.
const MAX_NAME: usize = 128;
/// Bytes of a browser's answer as a passkey is made.
const MAX_MADE: usize = 64 * 1024;

/// A passkey as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Passkey {
    /// Its id as browsers know it.
    #[serde(rename = "i")]
    pub(crate) credential_id: Vec<u8>,
    /// The public key.
    #[serde(rename = "k")]
    key: PublicKey,
    /// The id of the user that its authenticator keeps: the entity that it was registered for.
    #[serde(rename = "h")]
    handle: IdBytes,
    /// The name that its owner gave it.
    #[serde(rename = "n", default, skip_serializing_if = "String::is_empty")]
    name: String,
    /// The time of its registration.
    #[serde(rename = "c")]
    created: Moment,
    /// The counter as it was registered.
    #[serde(rename = "s")]
    counter: u32,
    /// Ways to its authenticator.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) transports: Vec<String>,
    /// The model of its authenticator, as that says.
    #[serde(rename = "a")]
    aaguid: [u8; 16],
    /// The format of its attestation.
    #[serde(rename = "f")]
    format: String,
    /// True if it can be on several devices.
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    backup_eligible: bool,
    /// True if it was on several as it was registered.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    backed_up: bool,
}

/// The last use of a passkey.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PasskeyUse {
    /// The counter.
    #[serde(rename = "s")]
    counter: u32,
    /// The time.
    #[serde(rename = "u")]
    at: Moment,
    /// True if it was on several devices.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    backed_up: bool,
}

impl Stored for Passkey {}
impl Stored for PasskeyUse {}

/// The one who registers a passkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisteredBy {
    /// The entity itself.
    Owner,
    /// Somebody else, for it.
    Admin,
}

/// A passkey as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasskeyView {
    /// Its id here.
    pub id: IdentityId,
    /// Its name.
    pub name: String,
    /// The name of its algorithm.
    pub algorithm: &'static str,
    /// The time of its registration.
    pub created: Moment,
    /// The time of its last use.
    pub used: Option<Moment>,
    /// The counter of its last use.
    pub counter: u32,
    /// The model of its authenticator.
    pub aaguid: [u8; 16],
    /// The format of its attestation.
    pub format: String,
    /// Ways to its authenticator.
    pub transports: Vec<String>,
    /// True if it can be on several devices.
    pub backup_eligible: bool,
    /// True if it is on several.
    pub backed_up: bool,
}

/// A passkey that was found, and its last use.
struct Found {
    id: IdentityId,
    passkey: Arc<Passkey>,
    used: Option<Arc<PasskeyUse>>,
}

impl Found {
    fn counter(&self) -> u32 {
        self.used.as_deref().map_or(self.passkey.counter, |used| used.counter)
    }
}

/// The key of the rows of a passkey.
struct Row {
    namespace: NamespaceId,
    entity: IdBytes,
    method: IdBytes,
    passkey: IdBytes,
}

impl Row {
    const fn new((namespace, entity): Placed, method: IdentityId, passkey: IdentityId) -> Self {
        Self { namespace, entity: entity.bytes(), method: method.bytes(), passkey: passkey.bytes() }
    }

    const fn rest(&self) -> (IdBytes, &IdBytes) {
        (self.method, &self.passkey)
    }
}

impl Mfa {
    /// The passkeys of an entity for a method.
    async fn found_passkeys(
        &self,
        reads: &impl Reads,
        (namespace, entity): Placed,
        method: IdentityId,
    ) -> Result<Vec<Found>, EngineError> {
        let of_method = (namespace, entity.bytes(), &method.bytes());
        let mut all = Vec::new();
        for ((_, _, (_, id)), passkey) in PASSKEYS.scan(reads, &of_method, None, usize::MAX).await? {
            let row = Row::new((namespace, entity), method, IdentityId::of_bytes(id));
            let used = PASSKEY_USES.get(reads, &(row.namespace, row.entity, &row.rest())).await?;
            all.push(Found { id: IdentityId::of_bytes(id), passkey, used });
        }
        Ok(all)
    }

    /// The passkeys of an entity for a `webauthn` method.
    ///
    /// # Errors
    ///
    /// 400 for a method of another kind.
    pub async fn passkeys(
        &self,
        reads: &impl Reads,
        entity: Placed,
        found: &FoundMethod,
    ) -> Result<Vec<PasskeyView>, EngineError> {
        found.webauthn()?;
        let view = |found: Found| PasskeyView {
            id: found.id,
            counter: found.counter(),
            used: found.used.as_deref().map(|used| used.at),
            backed_up: found.used.as_deref().map_or(found.passkey.backed_up, |used| used.backed_up),
            name: found.passkey.name.clone(),
            algorithm: found.passkey.key.algorithm().name(),
            created: found.passkey.created,
            aaguid: found.passkey.aaguid,
            format: found.passkey.format.clone(),
            transports: found.passkey.transports.clone(),
            backup_eligible: found.passkey.backup_eligible,
        };
        Ok(self.found_passkeys(reads, entity, found.id).await?.into_iter().map(view).collect())
    }

    /// Begins the registration of a passkey: the options for the browser of its owner.
    ///
    /// # Errors
    ///
    /// 400 for a method of another kind, or of a namespace that is not around the entity's, for a name that cannot be, and where the
    /// entity has as many as it may.
    pub async fn begin_registration(
        &self,
        txn: &Txn,
        entity: Placed,
        found: &FoundMethod,
        by: RegisteredBy,
        name: String,
    ) -> Result<CreationOptions, EngineError> {
        let settings = found.webauthn()?;
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let text = format!("passkey_name must have at most {MAX_NAME} bytes and no control characters");
            return Err(bad_request(text));
        }
        let user = self.user_of(txn, entity, found).await?;
        let passkeys = self.found_passkeys(txn, entity, found.id).await?;
        if passkeys.len() >= MAX_PASSKEYS {
            return Err(too_many());
        }
        let challenge = self.environment.entropy.bytes()?;
        let (term, began) = (self.leadership.term(), self.environment.clock.now());
        let handle = entity.1.bytes();
        let known = passkeys.iter().map(|found| &*found.passkey);
        let options = CreationOptions::new(settings, (&handle, &user), &challenge, known);
        if !self.registrations.begin((entity, found.id, by), Registration { challenge, name, term, began }) {
            let text = "too many passkeys are being registered; try again";
            return Err(EngineError::Status(503, text.to_owned()));
        }
        Ok(options)
    }

    /// The name of the entity that a passkey is for, where the method holds for it.
    async fn user_of(&self, txn: &Txn, entity: Placed, found: &FoundMethod) -> Result<String, EngineError> {
        if self.method(txn, entity.0, found.id).await?.is_none() {
            return Err(bad_request("the entity is not in the method's namespace, nor in one inside it"));
        }
        let user = self.identity.entity(txn, entity.0, entity.1).await?;
        Ok(user.ok_or_else(|| bad_request("invalid entity ID"))?.name.clone())
    }

    /// Finishes the registration of a passkey with what the browser has made: its id here.
    ///
    /// # Errors
    ///
    /// 400 where none has begun, and for a passkey that is not as it must be: then another has to begin.
    pub async fn finish_registration(
        &self,
        txn: &Txn,
        entity: Placed,
        found: &FoundMethod,
        by: RegisteredBy,
        made: &str,
    ) -> Result<IdentityId, EngineError> {
        let settings = found.webauthn()?;
        self.user_of(txn, entity, found).await?;
        let (subject, now) = ((entity, found.id, by), self.environment.clock.now());
        let begun = self.registrations.find(&subject, self.leadership.term(), now);
        let begun = begun
            .ok_or_else(|| bad_request("no registration of a passkey has begun in the last 5 minutes"))?;
        let checked = if made.len() > MAX_MADE { Err(Flaw("it is too long")) } else { Made::read(made) };
        let checked = checked.and_then(|made| {
            let registered = ceremony::register(settings, &begun.challenge, &made)?;
            Ok((made, registered))
        });
        let (made, registered) = checked.map_err(|flaw| {
            self.registrations.end(&subject, &begun.challenge);
            bad_request(format!("the passkey cannot be registered: {}", flaw.0))
        })?;
        let passkeys = self.found_passkeys(txn, entity, found.id).await?;
        if passkeys.len() >= MAX_PASSKEYS {
            return Err(too_many());
        }
        if passkeys.iter().any(|known| known.passkey.credential_id == made.credential_id) {
            return Err(bad_request("the passkey is registered already"));
        }
        let id = self.draw_id()?;
        let passkey = Passkey {
            credential_id: made.credential_id,
            key: registered.key,
            handle: entity.1.bytes(),
            name: begun.name,
            created: now,
            counter: registered.counter,
            transports: made.transports,
            aaguid: registered.aaguid,
            format: registered.format,
            backup_eligible: registered.backup_eligible,
            backed_up: registered.backed_up,
        };
        let row = Row::new(entity, found.id, id);
        PASSKEYS.put(txn, &(row.namespace, row.entity, &row.rest()), passkey)?;
        let (registrations, challenge) = (self.registrations.clone(), begun.challenge);
        txn.on_commit(move || registrations.end(&subject, &challenge));
        told(txn, entity.1, found.id, id, "registered a passkey");
        Ok(id)
    }

    /// Deletes a passkey; nothing happens where there is none.
    ///
    /// # Errors
    ///
    /// 400 for a method of another kind.
    pub async fn delete_passkey(
        &self,
        txn: &Txn,
        entity: Placed,
        found: &FoundMethod,
        id: IdentityId,
    ) -> Result<(), EngineError> {
        found.webauthn()?;
        let row = Row::new(entity, found.id, id);
        let at = (row.namespace, row.entity, &row.rest());
        if PASSKEYS.get(txn, &at).await?.is_none() {
            return Ok(());
        }
        PASSKEYS.delete(txn, &at);
        PASSKEY_USES.delete(txn, &at);
        told(txn, entity.1, found.id, id, "deleted a passkey");
        Ok(())
    }

    /// Deletes all passkeys of an entity that is gone.
    pub(crate) async fn forget_passkeys(
        &self,
        txn: &Txn,
        (namespace, entity): Placed,
    ) -> Result<(), EngineError> {
        let of_entity = (namespace, &entity.bytes());
        for (_, _, (method, id)) in PASSKEYS.keys(txn, &of_entity, None, usize::MAX).await? {
            let at = (namespace, entity.bytes(), &(method, &id));
            PASSKEYS.delete(txn, &at);
            PASSKEY_USES.delete(txn, &at);
        }
        Ok(())
    }

    /// Moves the passkeys of an entity that is merged to the one that stays.
    pub(crate) async fn merge_passkeys(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        (from, to): (IdentityId, IdentityId),
    ) -> Result<(), EngineError> {
        let theirs = PASSKEYS.scan(txn, &(namespace, &from.bytes()), None, usize::MAX).await?;
        for ((_, _, (method, id)), passkey) in theirs {
            let rest = (method, &id);
            let (old, new) = ((namespace, from.bytes(), &rest), (namespace, to.bytes(), &rest));
            PASSKEYS.put(txn, &new, (*passkey).clone())?;
            if let Some(used) = PASSKEY_USES.get(txn, &old).await? {
                PASSKEY_USES.put(txn, &new, (*used).clone())?;
            }
            PASSKEYS.delete(txn, &old);
            PASSKEY_USES.delete(txn, &old);
        }
        Ok(())
    }

    /// The challenge of a login that waits, for the passkeys that its user has for a method. It takes the place of one that was
    /// given before.
    ///
    /// # Errors
    ///
    /// 403 where the login is not there, and 400 for a method that it does not need or whose passkeys its user has none of.
    pub async fn challenge(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        request_id: &str,
        method: &str,
    ) -> Result<RequestOptions, EngineError> {
        let unknown = || EngineError::Denied("invalid request ID".to_owned());
        let claimed = self.claim(request_id, namespace).await.ok_or_else(unknown)?;
        let login = claimed.login().ok_or_else(unknown)?;
        let id = IdentityId::parse(method).filter(|id| login.offered.contains(id));
        let id = id.ok_or_else(|| no_method(method))?;
        let home = login.mount.0;
        let found = self.method(txn, home, id).await?.ok_or_else(|| no_method(method))?;
        let settings = found.webauthn()?;
        let resolved = self.identity.resolve(txn, home, login.entity).await?;
        let Some((entity, _)) = resolved.filter(|(_, entity)| !entity.disabled) else {
            return Err(unknown());
        };
        let passkeys = self.found_passkeys(txn, (home, entity), id).await?;
        if passkeys.is_empty() {
            return Err(bad_request(format!("the entity has no passkey for MFA method {method:?}")));
        }
        let challenge = self.environment.entropy.bytes()?;
        let known = passkeys.iter().map(|found| &*found.passkey);
        let options = RequestOptions::new(settings, &challenge, known);
        login.challenges.give(id, challenge);
        Ok(options)
    }

    /// Judges the answer to a challenge. A good one leaves the passkey's counter with the transaction; a bad one has used up its
    /// challenge.
    pub(crate) async fn judge_passkey(
        &self,
        txn: &Txn,
        entity: Placed,
        (found, settings): (&FoundMethod, &WebauthnSettings),
        given: &str,
        waited: Option<&PendingLogin>,
    ) -> Result<Judgment, EngineError> {
        let bad = |text: &str| Ok(Judgment::Bad(text.to_owned()));
        if given.trim().is_empty() {
            return bad("MFA credentials not supplied");
        }
        let Some(login) = waited else {
            return bad(
                "a passkey answers a challenge: log in without X-Vault-MFA, and validate the login that waits",
            );
        };
        let Some(challenge) = login.challenges.given(found.id) else {
            return bad("no challenge is open: get one from sys/mfa/challenge");
        };
        let rule = Rule {
            kind: "WebAuthn",
            most: settings.max_validation_attempts,
            pause: Duration::from_secs(PAUSE_SECS),
        };
        let attempt = match self.attempts.begin((entity, found.id), rule, self.environment.clock.now()) {
            Ok(attempt) => attempt,
            Err(exceeded) => return Ok(Judgment::Bad(exceeded.to_string())),
        };
        match self.check_passkey(txn, entity, (found, settings), given, &challenge).await? {
            Ok(()) => Ok(Judgment::Good(attempt)),
            Err(flaw) => {
                attempt.fail();
                login.challenges.end(found.id);
                Ok(Judgment::Bad(format!("failed to validate the passkey's answer: {}", flaw.0)))
            }
        }
    }

    async fn check_passkey(
        &self,
        txn: &Txn,
        entity: Placed,
        (found, settings): (&FoundMethod, &WebauthnSettings),
        given: &str,
        challenge: &[u8],
    ) -> Result<Result<(), Flaw>, EngineError> {
        let signed = match Signed::read(given) {
            Ok(signed) => signed,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let passkeys = self.found_passkeys(txn, entity, found.id).await?;
        let is_named = |known: &&Found| same_bytes(&known.passkey.credential_id, &signed.credential_id);
        let Some(known) = passkeys.iter().find(is_named) else {
            return Ok(Err(Flaw("it is not a passkey of this user for this method")));
        };
        let passkey = &known.passkey;
        let before = Known {
            key: &passkey.key,
            handle: &passkey.handle,
            counter: known.counter(),
            backup_eligible: passkey.backup_eligible,
        };
        let used = match ceremony::authenticate(settings, challenge, &before, &signed) {
            Ok(used) => used,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let row = Row::new(entity, found.id, known.id);
        let at = self.environment.clock.now();
        let used = PasskeyUse { counter: used.counter, at, backed_up: used.backed_up };
        PASSKEY_USES.put(txn, &(row.namespace, row.entity, &row.rest()), used)?;
        Ok(Ok(()))
    }
}

fn too_many() -> EngineError {
    bad_request(format!("the entity has {MAX_PASSKEYS} passkeys for this method, and cannot have more"))
}

/// Tells the log of a change of a passkey, once it is committed.
fn told(txn: &Txn, entity: IdentityId, method: IdentityId, passkey: IdentityId, change: &'static str) {
    txn.on_commit(move || {
        tracing::info!(entity_id = %entity, method_id = %method, passkey_id = %passkey, "{change}");
    });
}
