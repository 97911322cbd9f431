//! Encryption to the PGP keys of people: key parts and root tokens reach their holders without anyone on the way reading
//! them. Source: RFC 9580, RFC 4880; Vault's documentation, "Using PGP, `GnuPG`, and Keybase".
//!
//! The packets and the cryptography are the library's (`pgp`). It leaves open which of a key's subkeys is to be encrypted to,
//! which [`PgpKey::parse`] decides: one that its owner has bound to the key for encryption, and that has neither ended nor been
//! revoked. A key without one is refused before anything is made.
//!
//! Nothing is decrypted or signed here, and nobody's key is vouched for: the one who gives a key answers for whose it is.

mod recipients;

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{Deserializable as _, MessageBuilder, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{EncryptionKey, KeyDetails as _};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use strongroom_stdx::{Entropy, Moment, to_hex};
use zeroize::Zeroizing;

pub use recipients::Recipients;

/// Bytes of a key at most: large ones carry pictures and the signatures of many others.
const MAX_KEY_BYTES: usize = 1 << 20;

/// The reasons why a key cannot be encrypted to.
#[derive(Debug, thiserror::Error)]
pub enum PgpError {
    /// The text is not base64.
    #[error("error decoding given PGP key: {0}")]
    Encoding(#[from] base64::DecodeError),
    /// The bytes are not a public key.
    #[error("error parsing given PGP key: {0}")]
    Malformed(String),
    /// Nothing of the key is for encryption now.
    #[error("PGP key {fingerprint} cannot be used: {reason}")]
    Unusable {
        /// The key's fingerprint.
        fingerprint: String,
        /// The reason.
        reason: &'static str,
    },
    /// There are more or fewer keys than parts.
    #[error("count mismatch between number of provided PGP keys and number of shares")]
    Count,
    /// The library refused to encrypt.
    #[error("error encrypting to PGP key {0}")]
    Failed(String),
}

/// A public key, and the part of it that is encrypted to.
#[derive(Clone, Debug)]
pub struct PgpKey {
    key: SignedPublicKey,
    /// The place of the subkey; `None` where it is the primary key.
    subkey: Option<usize>,
}

impl PgpKey {
    /// The key in `text`: its binary form in base64, as usable at `now`.
    ///
    /// # Errors
    ///
    /// [`PgpError`], for the one who gave the key.
    pub fn parse(text: &str, now: Moment) -> Result<Self, PgpError> {
        if text.len() / 4 > MAX_KEY_BYTES / 3 {
            return Err(PgpError::Malformed(format!("it is larger than {MAX_KEY_BYTES} bytes")));
        }
        let bytes = STANDARD.decode(text.trim())?;
        let mut keys =
            SignedPublicKey::from_bytes_many(Cursor::new(bytes)).map_err(|error| malformed(&error))?;
        let key = keys.next().ok_or_else(|| PgpError::Malformed("there is none".to_owned()))?;
        let key = key.map_err(|error| malformed(&error))?;
        let subkey = for_encryption(&key, now)
            .map_err(|reason| PgpError::Unusable { fingerprint: fingerprint(&key), reason })?;
        Ok(Self { key, subkey })
    }

    /// The fingerprint of the primary key, hexadecimal.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }

    /// `plain` as a message that only the owner of the key can read.
    ///
    /// # Errors
    ///
    /// [`PgpError::Failed`].
    pub fn encrypt(&self, entropy: &Entropy, plain: &[u8]) -> Result<Vec<u8>, PgpError> {
        let subkey = self.subkey.and_then(|at| self.key.public_subkeys.get(at));
        let made = match subkey {
            Some(subkey) => encrypted(entropy, subkey, plain),
            None => encrypted(entropy, &self.key.primary_key, plain),
        };
        made.ok_or_else(|| PgpError::Failed(self.fingerprint()))
    }
}

fn malformed(error: &pgp::errors::Error) -> PgpError {
    PgpError::Malformed(error.to_string())
}

fn fingerprint(key: &SignedPublicKey) -> String {
    to_hex(key.primary_key.fingerprint().as_bytes())
}

/// A message in the form that every program reads (`SEIPD` version 1).
fn encrypted(entropy: &Entropy, key: &impl EncryptionKey, plain: &[u8]) -> Option<Vec<u8>> {
    let seed = Zeroizing::new(entropy.bytes::<32>().ok()?);
    let mut random = StdRng::from_seed(*seed);
    let mut message =
        MessageBuilder::from_bytes("", plain.to_vec()).seipd_v1(&mut random, SymmetricKeyAlgorithm::AES256);
    message.encrypt_to_key(&mut random, key).ok()?;
    message.to_vec(&mut random).ok()
}

/// The subkey to encrypt to, the newest of those that can be; `None` where it is the primary key.
fn for_encryption(key: &SignedPublicKey, now: Moment) -> Result<Option<usize>, &'static str> {
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err("it has been revoked");
    }
    let own = own_signature(key).ok_or("its owner has signed none of its identities")?;
    let created = primary.created_at().as_secs();
    if has_ended(own, created, now) {
        return Err("it has expired");
    }
    let usable = key.public_subkeys.iter().enumerate();
    let usable = usable.filter(|(_, subkey)| is_for_encryption(subkey, primary, now));
    let newest = usable.max_by_key(|(_, subkey)| subkey.key.created_at().as_secs());
    if let Some((at, _)) = newest {
        return Ok(Some(at));
    }
    if primary.algorithm().can_encrypt() && permits_encryption(own) {
        return Ok(None);
    }
    Err("it has no valid encryption key")
}

/// The newest of the primary key's signatures over itself or over its identities.
fn own_signature(key: &SignedPublicKey) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter().filter(|own| own.verify_key(primary).is_ok());
    let of_users = key.details.users.iter().filter_map(|user| {
        let valid = |own: &&Signature| {
            let tag = pgp::types::Tag::UserId;
            own.verify_certification(primary, tag, &user.id).is_ok()
        };
        let newest = user.signatures.iter().filter(valid).max_by_key(|own| created_at(own))?;
        (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
    });
    direct.chain(of_users).max_by_key(|own| created_at(own))
}

fn created_at(signature: &Signature) -> u32 {
    signature.created().map_or(0, pgp::types::Timestamp::as_secs)
}

fn has_ended(signature: &Signature, created: u32, now: Moment) -> bool {
    let lifetime = signature.key_expiration_time().map_or(0, pgp::types::Duration::as_secs);
    let end = u64::from(created).saturating_add(u64::from(lifetime));
    lifetime > 0 && now.as_secs() >= end
}

/// True for a subkey that the key's owner has bound to it for encryption, and that is in force.
fn is_for_encryption(subkey: &SignedPublicSubKey, primary: &pgp::packet::PublicKey, now: Moment) -> bool {
    if !subkey.key.algorithm().can_encrypt() {
        return false;
    }
    let valid = |own: &&Signature| own.verify_subkey_binding(primary, &subkey.key).is_ok();
    let valid: Vec<&Signature> = subkey.signatures.iter().filter(valid).collect();
    if valid.iter().any(|own| own.typ() == Some(SignatureType::SubkeyRevocation)) {
        return false;
    }
    let newest = valid.into_iter().max_by_key(|own| created_at(own));
    newest
        .is_some_and(|own| permits_encryption(own) && !has_ended(own, subkey.key.created_at().as_secs(), now))
}

fn permits_encryption(signature: &Signature) -> bool {
    let flags = signature.key_flags();
    flags.encrypt_comms() || flags.encrypt_storage()
}

#[cfg(test)]
mod tests;
