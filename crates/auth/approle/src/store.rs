//! The tables of the auth method, and their keys.

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{EngineError, Entropy, LocalTable, Reads, Secret, Stored, Table, Txn, tables};

use crate::role::Role;
use crate::secret_id::SecretId;

/// A role's own number: never used twice, so that a role of the same name made later shares nothing with it.
pub(crate) type RoleNumber = [u8; 16];
/// The keyed hash of a role id or a secret id.
pub(crate) type Tag = [u8; 32];
/// A role's number, then the tag of one of its secret ids.
pub(crate) type SecretKey = [u8; 48];

tables! {
    /// The mount's hashing key.
    KEYS: Table<(), MountKey> = 1;
    /// Roles by name, in lower case.
    pub(crate) ROLES: Table<str, Role> = 2;
    /// Names of roles by the tag of their role id.
    pub(crate) ROLE_IDS: Table<Tag, String> = 3;
    /// Secret ids.
    pub(crate) SECRET_IDS: LocalTable<SecretKey, SecretId> = 4;
    /// Tags of secret ids by their role's number, then their accessor.
    pub(crate) ACCESSORS: LocalTable<(RoleNumber, &str), SecretTag> = 5;
    /// Secret ids that expire, by the second in which they do.
    pub(crate) EXPIRY: LocalTable<(u64, &SecretKey), ()> = 6;
    /// Numbers of deleted roles that have secret ids left to be cleared.
    pub(crate) DELETED_ROLES: LocalTable<RoleNumber, ()> = 7;
}

/// The secret id that an accessor leads to.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SecretTag(pub(crate) Tag);

impl Stored for SecretTag {}

/// The key under which a mount hashes role ids and secret ids: a reader of the storage can neither see them nor try
/// guesses.
#[derive(Serialize, Deserialize)]
pub(crate) struct MountKey(Secret<[u8; 32]>);

impl Stored for MountKey {}

impl MountKey {
    /// The key; `None` as long as the mount never had a role.
    pub(crate) async fn get(txn: &impl Reads) -> Result<Option<std::sync::Arc<Self>>, EngineError> {
        Ok(KEYS.get(txn, &()).await?)
    }

    /// The key, made on first use.
    pub(crate) async fn get_or_make(
        txn: &Txn,
        entropy: &Entropy,
    ) -> Result<std::sync::Arc<Self>, EngineError> {
        if let Some(key) = Self::get(txn).await? {
            return Ok(key);
        }
        KEYS.put(txn, &(), Self(Secret::new(entropy.bytes()?)))?;
        Self::get(txn)
            .await?
            .ok_or_else(|| EngineError::Internal("a key just written is not there".to_owned()))
    }

    /// The tag of a role id.
    pub(crate) fn role_id_tag(&self, role_id: &str) -> Tag {
        self.tag(&[b"role-id\0", role_id.as_bytes()])
    }

    /// The storage key of a secret id of a role.
    pub(crate) fn secret_key(&self, role: &RoleNumber, secret_id: &str) -> SecretKey {
        secret_key(role, &self.tag(&[b"secret-id\0", role, secret_id.as_bytes()]))
    }

    fn tag(&self, parts: &[&[u8]]) -> Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut context = hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// The storage key of the secret id with this tag.
pub(crate) fn secret_key(role: &RoleNumber, tag: &Tag) -> SecretKey {
    let mut key = [0; 48];
    let (number, rest) = key.split_at_mut(role.len());
    number.copy_from_slice(role);
    rest.copy_from_slice(tag);
    key
}

/// The two parts of a secret id's key.
pub(crate) fn split_key(key: &SecretKey) -> (RoleNumber, Tag) {
    let mut parts = (RoleNumber::default(), Tag::default());
    let (number, tag) = key.split_at(parts.0.len());
    parts.0.copy_from_slice(number);
    parts.1.copy_from_slice(tag);
    parts
}
