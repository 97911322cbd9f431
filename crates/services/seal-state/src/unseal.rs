//! Unsealing and sealing.
//!
//! Two ways lead to the root key: key parts that people bring, which the seal's attempt collects, and seals that unwrap
//! by themselves. Either ends in the same steps: finish joining a cluster, open the keyring, put the keys in place.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_barrier::{BOOTSTRAP_RECORD, BarrierError, Keyring, KeyringError, unwrap_key};
use strongroom_engine_api::Moment;
use strongroom_seal::{
    KeyPart, Offer, Progress, RootKey, RootKeySource, Seal, SealError, UnsealAttempt, Unsealing, Wrapped,
};

use crate::{KEYRING, Keys, SealState, TOKEN_SALT, Turn, UnsealedCluster};

/// The reasons why a key part was not taken, or did not unseal.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is nothing to unseal yet.
    #[error("Vault is not initialized")]
    NotInitialized,
    /// The key parts do not make this cluster's key; they must all be given again.
    #[error("failed to decrypt keys from storage: {0}")]
    WrongKey(String),
    /// The key part cannot be one of this cluster's.
    #[error("{0}")]
    InvalidKeyPart(String),
    /// No seal takes key parts.
    #[error("this server unseals by itself with seal type {0}, and has no recovery keys")]
    NoKeyParts(String),
    /// No seal in storage is configured.
    #[error("{0}")]
    NoSeal(String),
    /// A seal failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Storage failed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// A way to the root key that people open.
pub(crate) struct InteractiveSource {
    pub(crate) seal: Arc<dyn Seal>,
    pub(crate) wrapped: Wrapped,
    pub(crate) is_recovery: bool,
}

/// An attempt at unsealing, and what it attempts to open.
pub(crate) struct Attempt {
    of: Wrapped,
    pub(crate) conducted: Box<dyn UnsealAttempt>,
}

impl Attempt {
    pub(crate) fn progress(&self) -> Progress {
        self.conducted.progress()
    }
}

/// Between two attempts at unsealing by itself.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The state of unsealing by itself.
#[derive(Default)]
pub(crate) struct ByItself {
    /// The server was sealed by a request, or by a failure that needs an operator: it stays so until it is unsealed
    /// with key parts or started again.
    pub(crate) held: bool,
    not_before: Moment,
}

pub(crate) fn absent(name: &str) -> BarrierError {
    BarrierError::Malformed(name.to_owned(), "absent".to_owned())
}

impl SealState {
    /// The seal that people open: one of the cluster's, or the one for recovery.
    pub(crate) async fn interactive_source(
        &self,
        sources: &[RootKeySource],
    ) -> Result<Option<InteractiveSource>, BarrierError> {
        for source in sources {
            let Some(found) = self.seals.find(&source.id, &source.kind) else { continue };
            if matches!(found.seal.unsealing(), Unsealing::Interactive(_)) {
                let seal = found.seal.clone();
                return Ok(Some(InteractiveSource { seal, wrapped: source.wrapped(), is_recovery: false }));
            }
        }
        let recovery = self.record().await?.and_then(|record| record.recovery);
        let (Some(entry), Some(seal)) = (recovery, self.seals.recovery()) else { return Ok(None) };
        if entry.kind != seal.kind() {
            return Ok(None);
        }
        let wrapped = Wrapped { parameters: entry.parameters, blob: entry.blob };
        Ok(Some(InteractiveSource { seal: seal.clone(), wrapped, is_recovery: true }))
    }

    /// Takes one key part. With enough of them, the root key.
    pub(crate) async fn offer(&self, _turn: &Turn, part: KeyPart) -> Result<Option<RootKey>, UnsealError> {
        let Some(sources) = self.sources().await? else { return Err(UnsealError::NotInitialized) };
        if !self.barrier.is_sealed() {
            return Ok(None);
        }
        let Some(source) = self.interactive_source(&sources).await? else {
            self.check_seals(&sources).map_err(UnsealError::NoSeal)?;
            return Err(UnsealError::NoKeyParts(self.seals.kind().to_owned()));
        };
        let mut slot = self.attempt.lock().await;
        // What was collected for another wrapped key is worth nothing: the record may have been replaced.
        let mut attempt = match slot.take().filter(|attempt| attempt.of == source.wrapped) {
            Some(attempt) => attempt,
            None => self.begin(source)?,
        };
        match attempt.conducted.offer(part).await {
            Ok(Offer::RootKey(root_key)) => Ok(Some(root_key)),
            Ok(Offer::Wrong(reason)) => Err(UnsealError::WrongKey(reason)),
            Ok(Offer::Progress) => {
                *slot = Some(attempt);
                Ok(None)
            }
            Ok(Offer::Unfit(reason)) => {
                *slot = Some(attempt);
                Err(UnsealError::InvalidKeyPart(reason))
            }
            Err(error) => {
                *slot = Some(attempt);
                Err(error.into())
            }
        }
    }

    pub(crate) fn begin(&self, source: InteractiveSource) -> Result<Attempt, UnsealError> {
        let Unsealing::Interactive(seal) = source.seal.unsealing() else {
            return Err(UnsealError::NoKeyParts(source.seal.kind().to_owned()));
        };
        let nonce =
            self.environment.entropy.uuid().map_err(KeyringError::from).map_err(BarrierError::from)?;
        let conducted = seal.attempt(&source.wrapped, nonce)?;
        Ok(Attempt { of: source.wrapped, conducted })
    }

    /// Discards the key parts given so far.
    pub async fn reset_unseal(&self) {
        let _turn = self.turn().await;
        *self.attempt.lock().await = None;
    }

    /// The root key from the first seal that unwraps by itself and does; `None` where none is of that kind.
    ///
    /// # Errors
    ///
    /// The last one's error, where all failed.
    pub async fn unwrap_by_itself(&self, _turn: &Turn) -> Result<Option<RootKey>, UnsealError> {
        let Some(sources) = self.sources().await? else { return Ok(None) };
        let mut outcome = Ok(None);
        for source in sources {
            let Some(found) = self.seals.find(&source.id, &source.kind) else { continue };
            let Unsealing::Auto(seal) = found.seal.unsealing() else { continue };
            match seal.unwrap(&source.wrapped()).await {
                Ok(root_key) => return Ok(Some(root_key)),
                Err(error) => {
                    tracing::warn!(%error, seal = source.id, "seal failed to unwrap the root key");
                    outcome = Err(error.into());
                }
            }
        }
        outcome
    }

    pub(crate) fn by_itself(&self) -> MutexGuard<'_, ByItself> {
        self.by_itself.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the automatic seals are to be tried now; after a failure they are not tried again for a while.
    pub(crate) fn is_due_by_itself(&self) -> bool {
        let now = self.environment.clock.now();
        let mut state = self.by_itself();
        let due = self.seals.has_auto() && self.barrier.is_sealed() && !state.held && now >= state.not_before;
        if due {
            state.not_before = now.after(RETRY_INTERVAL);
        }
        due
    }

    /// Opens storage with the root key and puts all keys in place.
    pub(crate) async fn unseal(&self, _turn: &Turn, root_key: RootKey) -> Result<(), BarrierError> {
        let record = self.record().await?.ok_or_else(|| absent(BOOTSTRAP_RECORD))?;
        let wrapped = self.barrier.bootstrap(KEYRING).await?.ok_or_else(|| absent(KEYRING))?;
        let keyring = Keyring::unwrap(root_key.expose(), &wrapped)?;
        let salt = unwrap_key(root_key.expose(), TOKEN_SALT, &record.token_salt)?;
        *self.by_itself() = ByItself::default();
        *self.keys() = Keys { counted: keyring.active().encryptions, root_key: Some(root_key) };
        self.barrier.unseal(keyring);
        self.set_token_salt(&salt);
        self.unsealed.store(Some(Arc::new(UnsealedCluster {
            cluster_name: record.cluster_name,
            cluster_id: record.cluster_id,
            active_since: self.environment.clock.now(),
        })));
        tracing::info!(generation = record.generation, "vault is unsealed");
        Ok(())
    }
}
