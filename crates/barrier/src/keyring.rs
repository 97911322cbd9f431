//! The barrier's keys: one AES-256-GCM key a term, the newest seals, all open.
//!
//! Nonces are random, so a key may seal no more than 2^32 entries (NIST SP 800-38D, 8.3); Vault rotates at 90 % of
//! that, and so do we.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use strongroom_stdx::{Entropy, EntropyError, Moment, Secret};
use zeroize::Zeroizing;

use crate::BarrierError;

/// The number of a key: 1 is the first.
pub type Term = u32;

/// Entries a key may seal before it is rotated: Vault's `max_operations` ceiling.
pub const MAX_ENCRYPTIONS: u64 = 3_865_470_566;

const FORM: u8 = 1;
const HEADER: usize = 1 + 4 + NONCE_LEN;
const TAG: usize = 16;

/// Errors of making or using keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A sealed text does not open: altered, or for another place.
    #[error("sealed data does not open")]
    Unopenable,
    /// A text was sealed with a key that this ring does not have.
    #[error("sealed data does not open: there is no key of term {0}")]
    UnknownTerm(Term),
    /// The library refused a key or an operation.
    #[error("cryptographic operation failed")]
    Crypto,
    /// There are no more term numbers.
    #[error("the keyring is full")]
    Full,
}

/// The keys of storage, which another node may have made newer than those in memory.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Puts the keyring of storage in place ([`Barrier::replace_keys`](crate::Barrier::replace_keys)), if it is newer.
    async fn look_for_newer(&self) -> Result<(), BarrierError>;
}

/// The age of a term's key, and the number of entries it has sealed.
#[derive(Clone, Copy, Debug)]
pub struct TermInfo {
    /// The key's number.
    pub term: Term,
    /// The time of its creation.
    pub created: Moment,
    /// Entries sealed with it so far.
    pub encryptions: u64,
}

/// One key of the ring, as kept (sealed) in storage.
#[derive(Clone, Serialize, Deserialize)]
struct KeptKey {
    term: Term,
    created: Moment,
    encryptions: u64,
    key: Secret<[u8; 32]>,
}

struct LiveKey {
    kept: KeptKey,
    cipher: LessSafeKey,
    sealed: AtomicU64,
}

/// All keys, the newest of them active.
pub struct Keyring {
    keys: BTreeMap<Term, LiveKey>,
    active: Term,
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, KeyringError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(|_unspecified| KeyringError::Crypto)?;
    Ok(LessSafeKey::new(unbound))
}

impl LiveKey {
    fn new(kept: KeptKey) -> Result<Self, KeyringError> {
        let cipher = cipher(kept.key.expose())?;
        Ok(Self { sealed: AtomicU64::new(kept.encryptions), kept, cipher })
    }

    fn kept_now(&self) -> KeptKey {
        KeptKey { encryptions: self.sealed.load(Ordering::Relaxed), ..self.kept.clone() }
    }
}

impl Keyring {
    /// A ring with a first key.
    pub fn generate(entropy: &Entropy, now: Moment) -> Result<Self, KeyringError> {
        let first = KeptKey { term: 1, created: now, encryptions: 0, key: Secret::new(entropy.bytes()?) };
        Ok(Self { active: 1, keys: BTreeMap::from([(1, LiveKey::new(first)?)]) })
    }

    /// This ring and a new active key.
    pub fn rotated(&self, entropy: &Entropy, now: Moment) -> Result<Self, KeyringError> {
        let term = self.active.checked_add(1).ok_or(KeyringError::Full)?;
        let next = KeptKey { term, created: now, encryptions: 0, key: Secret::new(entropy.bytes()?) };
        let mut keys = BTreeMap::from([(term, LiveKey::new(next)?)]);
        for (term, key) in &self.keys {
            keys.insert(*term, LiveKey::new(key.kept_now())?);
        }
        Ok(Self { keys, active: term })
    }

    /// The active key's number, age and use.
    pub fn active(&self) -> TermInfo {
        let key = self.keys.get(&self.active);
        TermInfo {
            term: self.active,
            created: key.map_or_else(Moment::default, |key| key.kept.created),
            encryptions: key.map_or(0, |key| key.sealed.load(Ordering::Relaxed)),
        }
    }

    /// Seals `plain` for `place`: form, term, nonce, ciphertext, tag. It opens only in the same place.
    pub fn seal(&self, entropy: &Entropy, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, KeyringError> {
        self.seal_under(entropy.bytes()?, place, plain)
    }

    /// The same for many at once: the generator is asked once for all nonces.
    pub(crate) fn seal_all<'a>(
        &self,
        entropy: &Entropy,
        plains: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Vec<Vec<u8>>, KeyringError> {
        let mut nonces = vec![[0; NONCE_LEN]; plains.len()];
        entropy.fill(nonces.as_flattened_mut())?;
        plains.zip(nonces).map(|((place, plain), nonce)| self.seal_under(nonce, place, plain)).collect()
    }

    fn seal_under(
        &self,
        nonce: [u8; NONCE_LEN],
        place: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyringError> {
        let key = self.keys.get(&self.active).ok_or(KeyringError::Crypto)?;
        key.sealed.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::with_capacity(plain.len().saturating_add(HEADER + TAG));
        out.push(FORM);
        out.extend_from_slice(&self.active.to_be_bytes());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let body = out.get_mut(HEADER..).ok_or(KeyringError::Crypto)?;
        let tag = key
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), body)
            .map_err(|_unspecified| KeyringError::Crypto)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }

    /// Opens what [`Keyring::seal`] made for the same place.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let (form, rest) = sealed.split_first().ok_or(KeyringError::Unopenable)?;
        let (term, rest) = rest.split_first_chunk::<4>().ok_or(KeyringError::Unopenable)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(KeyringError::Unopenable)?;
        if *form != FORM {
            return Err(KeyringError::Unopenable);
        }
        let term = Term::from_be_bytes(*term);
        let key = self.keys.get(&term).ok_or(KeyringError::UnknownTerm(term))?;
        let mut plain = Zeroizing::new(body.to_vec());
        let len = key
            .cipher
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut plain)
            .map_err(|_unspecified| KeyringError::Unopenable)?
            .len();
        plain.truncate(len);
        Ok(plain)
    }

    /// The ring as bytes sealed under `root_key`, for the store.
    pub fn wrap(&self, entropy: &Entropy, root_key: &[u8; 32]) -> Result<Vec<u8>, KeyringError> {
        let kept: Vec<KeptKey> = self.keys.values().map(LiveKey::kept_now).collect();
        let plain = Zeroizing::new(rmp_serde::to_vec_named(&kept).map_err(|_encode| KeyringError::Crypto)?);
        wrap_key(entropy, root_key, b"keyring", &plain)
    }

    /// Opens what [`Keyring::wrap`] made.
    pub fn unwrap(root_key: &[u8; 32], wrapped: &[u8]) -> Result<Self, KeyringError> {
        let plain = unwrap_key(root_key, b"keyring", wrapped)?;
        let kept: Vec<KeptKey> = rmp_serde::from_slice(&plain).map_err(|_decode| KeyringError::Unopenable)?;
        let mut keys = BTreeMap::new();
        for key in kept {
            keys.insert(key.term, LiveKey::new(key)?);
        }
        let active = *keys.keys().next_back().ok_or(KeyringError::Unopenable)?;
        Ok(Self { keys, active })
    }
}

/// Seals key material under another key for a named purpose, with a fresh random nonce.
pub fn wrap_key(
    entropy: &Entropy,
    key: &[u8; 32],
    purpose: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, KeyringError> {
    one_key_ring(key)?.seal(entropy, purpose, plain)
}

/// Opens what [`wrap_key`] made with the same key and purpose.
pub fn unwrap_key(
    key: &[u8; 32],
    purpose: &[u8],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    one_key_ring(key)?.open(purpose, wrapped).map_err(|error| match error {
        KeyringError::UnknownTerm(_) => KeyringError::Unopenable,
        other => other,
    })
}

fn one_key_ring(key: &[u8; 32]) -> Result<Keyring, KeyringError> {
    let kept = KeptKey { term: 0, created: Moment::default(), encryptions: 0, key: Secret::new(*key) };
    Ok(Keyring { keys: BTreeMap::from([(0, LiveKey::new(kept)?)]), active: 0 })
}
