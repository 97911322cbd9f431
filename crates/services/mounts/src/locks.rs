//! Locks on the API of namespaces: a namespace that is locked, and all inside it, answers nothing until it is unlocked.
//! Source: Vault's documentation, "Namespace lock and unlock".
//!
//! A lock stops requests only. What is in the namespace stays, and its leases end when they are due. Whoever locked it was
//! given a key that unlocks it; storage has the HMAC of that key. Deciding who may unlock without it is the caller's affair.

use strongroom_barrier::Txn;
use strongroom_engine_api::{EngineError, Secret, bad_request};
use strongroom_stdx::same_bytes;

use crate::namespaces::{Namespace, NamespaceEntry, UnlockKey};
use crate::{Mounts, NAMESPACES};

/// Characters of a key that unlocks.
const KEY_LEN: usize = 24;

/// The proof that somebody may unlock a namespace.
#[derive(Clone, Copy)]
pub enum Unlocking<'a> {
    /// The key that locking it answered.
    With(&'a str),
    /// No key is needed.
    Privileged,
}

impl Mounts {
    /// The namespace that has to be unlocked before `namespace` answers: the outermost that is locked, of it and those
    /// around it.
    pub fn locked_by(&self, namespace: &Namespace) -> Option<String> {
        if namespace.is_root() { None } else { self.router.locked_by(namespace.id) }
    }

    /// Locks a namespace; answers the key that unlocks it.
    ///
    /// # Errors
    ///
    /// 400 for the root namespace, and for one that is locked.
    pub fn lock_namespace(&self, txn: &Txn, namespace: &Namespace) -> Result<Secret<String>, EngineError> {
        if namespace.is_root() {
            return Err(bad_request("the root namespace cannot be locked"));
        }
        if namespace.is_locked() {
            return Err(bad_request(format!("namespace {:?} is already locked", namespace.path)));
        }
        let key = Secret::new(self.entropy.base62(KEY_LEN)?);
        let lock = Some(UnlockKey(self.digest(namespace, key.expose())?));
        put_lock(txn, namespace, lock)?;
        Ok(key)
    }

    /// Unlocks a namespace. Namespaces in it that are locked by themselves stay so.
    ///
    /// # Errors
    ///
    /// 400 for one that is not locked, where one around it is, and for another key.
    pub fn unlock_namespace(
        &self,
        txn: &Txn,
        namespace: &Namespace,
        by: Unlocking<'_>,
    ) -> Result<(), EngineError> {
        let path = &namespace.path;
        let Some(UnlockKey(digest)) = namespace.entry().lock else {
            return Err(bad_request(format!("namespace {path:?} is not locked")));
        };
        if let Some(other) = self.locked_by(namespace).filter(|other| other != path) {
            return Err(bad_request(format!("cannot unlock {path:?} while namespace {other:?} is locked")));
        }
        if let Unlocking::With(key) = by
            && !same_bytes(&self.digest(namespace, key)?, &digest)
        {
            return Err(bad_request("incorrect unlock_key"));
        }
        put_lock(txn, namespace, None)
    }

    fn digest(&self, namespace: &Namespace, key: &str) -> Result<[u8; 16], EngineError> {
        Ok(self.seal_state.token_hmac(&["unlock-key ", namespace.uuid(), " ", key])?)
    }
}

fn put_lock(txn: &Txn, namespace: &Namespace, lock: Option<UnlockKey>) -> Result<(), EngineError> {
    let (parent, name) = namespace.parent();
    let entry = NamespaceEntry { lock, ..namespace.entry().clone() };
    NAMESPACES.put(txn, &(*parent, name.as_str()), entry)?;
    let (path, locked) = (namespace.path.clone(), lock.is_some());
    txn.on_commit(move || {
        tracing::info!(namespace = path, locked, "the API of a namespace was locked or unlocked");
    });
    Ok(())
}
