//! Named keys: what signs now, what will sign next, and what is verified still.
//!
//! The next key is made and published at the rotation before the one that it signs from, so that verifiers that keep a key set
//! for a while know it by then. At a rotation, the key that has signed leaves its public half behind, for the verification TTL.
//! The key `default` is there in every namespace from the start, and has private keys from its first use on.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, Secret, bad_request};
use strongroom_stdx::{uuid_bytes, uuid_text};

use crate::Oidc;
use crate::algorithm::{Algorithm, KeyMaterial};
use crate::tables::{KEYS, KEYS_DUE, PUBLIC_KEYS};

/// The id of a key, a UUID.
pub type Kid = [u8; 16];

/// The key that every namespace has.
pub const DEFAULT_KEY: &str = "default";

/// Vault's rotation period and verification TTL where nothing is said.
const DEFAULT_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// The shortest rotation period.
const MIN_PERIOD: Duration = Duration::from_secs(60);
/// Rotation periods that a verification TTL may reach over.
const MAX_PERIODS: u32 = 10;
/// Keys of a name that are verified still. Rotations in time leave [`MAX_PERIODS`]; more come of rotating by hand.
const MAX_RETIRED: usize = 100;

/// The text of a key's id.
pub fn kid_text(kid: Kid) -> String {
    uuid_text(kid)
}

/// A private key as kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrivateKey {
    /// Its id.
    pub kid: Kid,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The key as PKCS#8.
    pub private: Secret<Vec<u8>>,
}

/// A named key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NamedKey {
    /// Its number, never used twice: under it stands what is due.
    pub(crate) id: Kid,
    /// The algorithm of what is made from here on.
    pub algorithm: Algorithm,
    /// The interval between rotations.
    pub rotation_period: Duration,
    /// The time for which a key is verified after it has last signed.
    pub verification_ttl: Duration,
    /// The clients and roles that may sign with it; `*` for all.
    pub allowed_client_ids: Vec<String>,
    /// The key that signs; `None` before the first use of the default key.
    pub signing: Option<PrivateKey>,
    /// The key that signs from the next rotation on.
    pub next: Option<PrivateKey>,
    /// Keys that have signed, and the ends of their verification.
    pub(crate) retired: Vec<(Kid, Moment)>,
    /// The time of the next rotation.
    pub next_rotation: Moment,
    /// The second under which it is listed as due.
    pub(crate) due: Option<u64>,
}

/// A public key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublicKey {
    /// The named key that it is of.
    pub name: String,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The key, as its algorithm has it.
    pub public: Vec<u8>,
    /// The time at which it ceases to sign, while it does.
    pub rotates: Option<Moment>,
    /// The end of its verification, once it has ceased to sign.
    pub expires: Option<Moment>,
}

/// The named key that something is due for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OfKey {
    namespace: NamespaceId,
    name: String,
}

impl Stored for NamedKey {}
impl Stored for PublicKey {}
impl Stored for OfKey {}

impl PublicKey {
    /// True if signatures of it are good at this moment.
    pub fn is_good(&self, now: Moment) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl NamedKey {
    /// The one that every namespace has.
    fn built_in() -> Self {
        Self {
            rotation_period: DEFAULT_PERIOD,
            verification_ttl: DEFAULT_PERIOD,
            allowed_client_ids: vec!["*".to_owned()],
            ..Self::default()
        }
    }

    /// True if a client or role of this client ID may sign with it.
    pub fn allows(&self, client_id: &str) -> bool {
        self.allowed_client_ids.iter().any(|allowed| allowed == "*" || allowed == client_id)
    }

    fn first_due(&self) -> Option<Moment> {
        let rotation = self.signing.as_ref().map(|_| self.next_rotation);
        rotation.into_iter().chain(self.retired.iter().map(|(_, expires)| *expires)).min()
    }
}

/// The changes to a named key; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// The algorithm of what is made from now on.
    pub algorithm: Option<Algorithm>,
    /// The interval between rotations.
    pub rotation_period: Option<Duration>,
    /// The time for which a key is verified after it has last signed.
    pub verification_ttl: Option<Duration>,
    /// The clients and roles that may sign with it.
    pub allowed_client_ids: Option<Vec<String>>,
}

impl KeyChange {
    /// The key with these changes, checked.
    fn apply(self, kept: Option<&NamedKey>) -> Result<NamedKey, EngineError> {
        let base = NamedKey { allowed_client_ids: Vec::new(), ..NamedKey::built_in() };
        let mut key = kept.cloned().unwrap_or(base);
        key.algorithm = self.algorithm.unwrap_or(key.algorithm);
        key.rotation_period = self.rotation_period.unwrap_or(key.rotation_period);
        key.verification_ttl = self.verification_ttl.unwrap_or(key.verification_ttl);
        key.allowed_client_ids = self.allowed_client_ids.unwrap_or(key.allowed_client_ids);
        if key.rotation_period < MIN_PERIOD {
            return Err(bad_request("rotation_period must be at least one minute"));
        }
        if key.verification_ttl > key.rotation_period.saturating_mul(MAX_PERIODS) {
            return Err(bad_request("verification_ttl cannot be longer than 10x rotation_period"));
        }
        Ok(key)
    }
}

impl Oidc {
    /// The named key, as kept or built in.
    pub async fn key(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Arc<NamedKey>>, BarrierError> {
        let kept = KEYS.get(reads, &(namespace, name)).await?;
        Ok(kept.or_else(|| (name == DEFAULT_KEY).then(|| Arc::new(NamedKey::built_in()))))
    }

    /// The private keys that must be made for a named key that is to sign with this algorithm.
    pub async fn missing_keys(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
        algorithm: Option<Algorithm>,
    ) -> Result<(Algorithm, usize), BarrierError> {
        let kept = self.key(reads, namespace, name).await?;
        let current = kept.as_ref().map(|key| key.algorithm).unwrap_or_default();
        let wanted = algorithm.unwrap_or(current);
        let has = kept.is_some_and(|key| key.signing.is_some()) && wanted == current;
        Ok((wanted, if has { 0 } else { 2 }))
    }

    /// Makes so many private keys, aside from requests.
    pub async fn make_keys(
        &self,
        algorithm: Algorithm,
        number: usize,
    ) -> Result<Vec<KeyMaterial>, EngineError> {
        if number == 0 {
            return Ok(Vec::new());
        }
        self.generator.make(algorithm, number).await
    }

    /// Writes a named key, with the private keys that [`Oidc::missing_keys`] has asked for.
    pub async fn write_key(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        change: KeyChange,
        made: &[KeyMaterial],
    ) -> Result<(), EngineError> {
        let now = self.environment.clock.now();
        let kept = self.key(txn, namespace, name).await?;
        let former = kept.as_ref().map(|key| key.algorithm);
        let mut key = change.apply(kept.as_deref())?;
        if former != Some(key.algorithm) || key.signing.is_none() {
            let ttl = key.verification_ttl;
            self.retire(txn, namespace, &mut key, ttl).await?;
            key.signing = Some(self.publish(txn, namespace, name, &key, made.first())?);
            key.next = Some(self.publish(txn, namespace, name, &key, made.get(1))?);
            key.next_rotation = now.after(key.rotation_period);
        }
        key.next_rotation = key.next_rotation.min(now.after(key.rotation_period));
        self.put(txn, namespace, name, key).await
    }

    /// Gives the key `default` its private keys, where it has none; any other has.
    pub async fn begin_using(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        made: &[KeyMaterial],
    ) -> Result<(), EngineError> {
        match self.key(txn, namespace, name).await? {
            Some(key) if key.signing.is_none() => {
                self.write_key(txn, namespace, name, KeyChange::default(), made).await
            }
            _ => Ok(()),
        }
    }

    /// Has the next key sign from now on, by request. The last one is verified for `verification_ttl`, where one is given in
    /// place of the key's own. Without a key of that name, `false`.
    pub async fn rotate_key(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        verification_ttl: Option<Duration>,
        made: &[KeyMaterial],
    ) -> Result<bool, EngineError> {
        let Some(kept) = self.key(txn, namespace, name).await? else { return Ok(false) };
        if kept.retired.len() >= MAX_RETIRED {
            return Err(bad_request("too many keys of this name are still verified; wait until some expire"));
        }
        self.rotate(txn, (namespace, name), (*kept).clone(), verification_ttl, made).await?;
        Ok(true)
    }

    async fn rotate(
        &self,
        txn: &Txn,
        (namespace, name): (NamespaceId, &str),
        mut key: NamedKey,
        verification_ttl: Option<Duration>,
        made: &[KeyMaterial],
    ) -> Result<(), EngineError> {
        let ttl = verification_ttl.unwrap_or(key.verification_ttl);
        let next = key.next.take();
        // The first use of the default key.
        let spare = made.get(usize::from(next.is_none()));
        self.retire(txn, namespace, &mut key, ttl).await?;
        key.signing = match next {
            Some(next) => Some(next),
            None => Some(self.publish(txn, namespace, name, &key, made.first())?),
        };
        key.next = Some(self.publish(txn, namespace, name, &key, spare)?);
        key.next_rotation = self.environment.clock.now().after(key.rotation_period);
        self.put(txn, namespace, name, key).await
    }

    /// Deletes a named key with its public keys: what it has signed is not verified any more.
    pub async fn delete_key(&self, txn: &Txn, namespace: NamespaceId, name: &str) -> Result<(), EngineError> {
        let Some(key) = KEYS.get(txn, &(namespace, name)).await? else { return Ok(()) };
        let private = key.signing.iter().chain(&key.next).map(|key| key.kid);
        for kid in private.chain(key.retired.iter().map(|(kid, _)| *kid)) {
            PUBLIC_KEYS.delete(txn, &(namespace, &kid));
        }
        if let Some(second) = key.due {
            KEYS_DUE.delete(txn, &(second, &key.id));
        }
        KEYS.delete(txn, &(namespace, name));
        Ok(())
    }

    /// Takes what signs, and what would sign next, out of use. What has signed is verified for `ttl`.
    async fn retire(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        key: &mut NamedKey,
        ttl: Duration,
    ) -> Result<(), EngineError> {
        if let Some(next) = key.next.take() {
            PUBLIC_KEYS.delete(txn, &(namespace, &next.kid));
        }
        let Some(signing) = key.signing.take() else { return Ok(()) };
        let at = (namespace, &signing.kid);
        let expires = self.environment.clock.now().after(ttl);
        if ttl.is_zero() {
            PUBLIC_KEYS.delete(txn, &at);
        } else if let Some(public) = PUBLIC_KEYS.get(txn, &at).await? {
            let retired = PublicKey { rotates: None, expires: Some(expires), ..(*public).clone() };
            PUBLIC_KEYS.put(txn, &at, retired)?;
            key.retired.push((signing.kid, expires));
        }
        Ok(())
    }

    /// Writes the public half of a key that was made, and answers the private one.
    fn publish(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        key: &NamedKey,
        made: Option<&KeyMaterial>,
    ) -> Result<PrivateKey, EngineError> {
        // It was decided on an older state that no key is missing, or of which algorithm.
        let changed = || EngineError::Status(503, "the key has changed; send the request again".to_owned());
        let made = made.filter(|made| made.algorithm == key.algorithm).ok_or_else(changed)?;
        let kid = self.draw_kid()?;
        let public = PublicKey {
            name: name.to_owned(),
            algorithm: made.algorithm,
            public: made.public.clone(),
            rotates: None,
            expires: None,
        };
        PUBLIC_KEYS.put(txn, &(namespace, &kid), public)?;
        Ok(PrivateKey { kid, algorithm: made.algorithm, private: made.private.clone() })
    }

    fn draw_kid(&self) -> Result<Kid, EngineError> {
        let text = self.environment.entropy.uuid()?;
        uuid_bytes(&text).ok_or_else(|| EngineError::Internal("a UUID without its form".to_owned()))
    }

    /// Writes a named key, when something is due for it, and until when its key signs.
    async fn put(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        mut key: NamedKey,
    ) -> Result<(), EngineError> {
        match key.due.take() {
            Some(second) => KEYS_DUE.delete(txn, &(second, &key.id)),
            None => key.id = self.draw_kid()?,
        }
        if let Some(signing) = &key.signing
            && let Some(public) = PUBLIC_KEYS.get(txn, &(namespace, &signing.kid)).await?
        {
            let public = PublicKey { rotates: Some(key.next_rotation), ..(*public).clone() };
            PUBLIC_KEYS.put(txn, &(namespace, &signing.kid), public)?;
        }
        key.due = key.first_due().map(second_after);
        if let Some(second) = key.due {
            KEYS_DUE.put(txn, &(second, &key.id), OfKey { namespace, name: name.to_owned() })?;
        }
        KEYS.put(txn, &(namespace, name), key)?;
        Ok(())
    }

    /// Does what is due for one named key, on the active node: rotates it, and forgets public keys whose time is over. Answers
    /// whether there is more.
    pub async fn rotate_due(&self) -> Result<bool, EngineError> {
        let now = self.environment.clock.now();
        let view = self.barrier.pinned_view().await?;
        let first = KEYS_DUE.scan(&view, &(), None, 1).await?.into_iter().next();
        let Some(((second, id), of)) = first.filter(|((second, _), _)| *second <= now.as_secs()) else {
            return self.clear_grants().await;
        };
        let kept = KEYS.get(&view, &(of.namespace, of.name.as_str())).await?.filter(|key| key.id == id);
        let rotating = kept.filter(|key| key.next_rotation <= now && key.signing.is_some());
        let made = match rotating {
            Some(key) => self.make_keys(key.algorithm, 1).await?,
            None => Vec::new(),
        };
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        self.settle_due(&txn, (second, id), &of, &made).await?;
        txn.commit().await?;
        Ok(true)
    }

    async fn settle_due(
        &self,
        txn: &Txn,
        (second, id): (u64, Kid),
        of: &OfKey,
        made: &[KeyMaterial],
    ) -> Result<(), EngineError> {
        let (namespace, name, now) = (of.namespace, of.name.as_str(), self.environment.clock.now());
        let kept = KEYS.get(txn, &(namespace, name)).await?;
        let Some(kept) = kept.filter(|key| key.id == id && key.due == Some(second)) else {
            // Of a namespace that is gone, say.
            KEYS_DUE.delete(txn, &(second, &id));
            return Ok(());
        };
        let mut key = (*kept).clone();
        for (kid, _) in key.retired.iter().filter(|(_, expires)| *expires <= now) {
            PUBLIC_KEYS.delete(txn, &(namespace, kid));
        }
        key.retired.retain(|(_, expires)| *expires > now);
        if key.next_rotation <= now && !made.is_empty() {
            return self.rotate(txn, (namespace, name), key, None, made).await;
        }
        self.put(txn, namespace, name, key).await
    }
}

/// The second at which a moment has come.
pub(crate) const fn second_after(moment: Moment) -> u64 {
    moment.as_nanos().div_ceil(1_000_000_000)
}
