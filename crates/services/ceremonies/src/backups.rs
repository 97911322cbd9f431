//! Copies of encrypted key parts, for holders who did not receive theirs: kept on request, until they are deleted. Source:
//! Vault's API page `sys/rekey`, "Read backup key".
//!
//! They are the messages that the rekey told, which their holders alone can read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Reads, Stored, Txn};
use strongroom_engine_api::EngineError;
use strongroom_pgp::Recipients;
use strongroom_seal::KeyPart;
use strongroom_seal_state::RekeyTarget;

use crate::{Ceremonies, KEY_BACKUPS};

/// Encrypted key parts, of one rekey.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBackup {
    /// The name of the rekey.
    pub nonce: String,
    /// The messages, by the fingerprints of the keys that they are encrypted to.
    pub messages: BTreeMap<String, Vec<Vec<u8>>>,
}

impl Stored for KeyBackup {}

impl KeyBackup {
    /// The messages `parts` to these recipients, in their order.
    pub(crate) fn new(nonce: &str, recipients: &Recipients, parts: &[KeyPart]) -> Self {
        let mut messages: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for (fingerprint, part) in recipients.fingerprints().into_iter().zip(parts) {
            messages.entry(fingerprint).or_default().push(part.expose().clone());
        }
        Self { nonce: nonce.to_owned(), messages }
    }
}

pub(crate) const fn name(target: RekeyTarget) -> &'static str {
    match target {
        RekeyTarget::Barrier => "unseal",
        RekeyTarget::Recovery => "recovery",
    }
}

impl Ceremonies {
    /// The copy of the newest encrypted parts; `None` where none is kept. `reads` must be of the server's scope.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub async fn key_backup(
        &self,
        reads: &impl Reads,
        target: RekeyTarget,
    ) -> Result<Option<KeyBackup>, BarrierError> {
        Ok(KEY_BACKUPS.get(reads, name(target)).await?.map(|backup| (*backup).clone()))
    }

    /// Deletes the copy.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    pub fn delete_key_backup(&self, txn: &Txn, target: RekeyTarget) -> Result<(), EngineError> {
        KEY_BACKUPS.delete(txn, name(target));
        Ok(())
    }
}
