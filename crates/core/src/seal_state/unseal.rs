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

use super::{KEYRING, Keys, SealState, TOKEN_SALT, Turn, UnsealedCluster};
use crate::Core;
use crate::cluster::NewestIndex;

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
pub(super) struct InteractiveSource {
    pub(super) seal: Arc<dyn Seal>,
    pub(super) wrapped: Wrapped,
    pub(super) is_recovery: bool,
}

/// An attempt at unsealing, and what it attempts to open.
pub(super) struct Attempt {
    of: Wrapped,
    conducted: Box<dyn UnsealAttempt>,
}

impl Attempt {
    pub(super) fn progress(&self) -> Progress {
        self.conducted.progress()
    }
}

/// Between two attempts at unsealing by itself.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The state of unsealing by itself.
#[derive(Default)]
pub(super) struct ByItself {
    /// Somebody sealed the server, or something that an operator is to look at: it stays so until it is unsealed with key
    /// parts or started again.
    held: bool,
    not_before: Moment,
}

fn absent(name: &str) -> BarrierError {
    BarrierError::Malformed(name.to_owned(), "absent".to_owned())
}

impl SealState {
    /// The seal that people open: one of the cluster's, or the one for recovery.
    pub(super) async fn interactive_source(
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
    pub(super) async fn offer(
        &self,
        _turn: &Turn<'_>,
        part: KeyPart,
    ) -> Result<Option<RootKey>, UnsealError> {
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

    fn begin(&self, source: InteractiveSource) -> Result<Attempt, UnsealError> {
        let Unsealing::Interactive(seal) = source.seal.unsealing() else {
            return Err(UnsealError::NoKeyParts(source.seal.kind().to_owned()));
        };
        let nonce =
            self.environment.entropy.uuid().map_err(KeyringError::from).map_err(BarrierError::from)?;
        let conducted = seal.attempt(&source.wrapped, nonce)?;
        Ok(Attempt { of: source.wrapped, conducted })
    }

    /// Forgets the key parts given so far.
    pub async fn reset_unseal(&self) {
        let _turn = self.turn().await;
        *self.attempt.lock().await = None;
    }

    /// The root key from the first seal that unwraps by itself and does; `None` where none is of that kind.
    ///
    /// # Errors
    ///
    /// The last one's error, where all failed.
    pub(super) async fn unwrap_by_itself(&self, _turn: &Turn<'_>) -> Result<Option<RootKey>, UnsealError> {
        let Some(sources) = self.sources().await? else { return Ok(None) };
        let mut outcome = Ok(None);
        for source in sources {
            let Some(found) = self.seals.find(&source.id, &source.kind) else { continue };
            let Unsealing::Auto(seal) = found.seal.unsealing() else { continue };
            match seal.unwrap(&source.wrapped()).await {
                Ok(root_key) => return Ok(Some(root_key)),
                Err(error) => {
                    tracing::warn!(%error, seal = source.id, "a seal did not unwrap the root key");
                    outcome = Err(error.into());
                }
            }
        }
        outcome
    }

    fn by_itself(&self) -> MutexGuard<'_, ByItself> {
        self.by_itself.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True where the seals that need nobody are to be asked now; asked in vain, they are not asked again for a while.
    fn is_due_by_itself(&self) -> bool {
        let now = self.environment.clock.now();
        let mut state = self.by_itself();
        let due = self.seals.has_auto() && self.barrier.is_sealed() && !state.held && now >= state.not_before;
        if due {
            state.not_before = now.after(RETRY_INTERVAL);
        }
        due
    }

    /// Opens storage with the root key and puts all keys in place.
    pub(super) async fn unseal(&self, _turn: &Turn<'_>, root_key: RootKey) -> Result<(), BarrierError> {
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
            newest_index: NewestIndex::default(),
        })));
        tracing::info!(generation = record.generation, "vault is unsealed");
        Ok(())
    }
}

impl Core {
    /// Takes one key part; with enough of them, unseals.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub async fn offer_key_part(self: &Arc<Self>, part: Vec<u8>) -> Result<(), UnsealError> {
        let turn = self.seal_state.turn().await;
        match self.seal_state.offer(&turn, KeyPart::new(part)).await? {
            Some(root_key) => self.unseal_with(&turn, root_key).await,
            None => Ok(()),
        }
    }

    /// Unseals with the seals that need nobody; false where there is none, nothing to unseal, or nothing sealed.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub async fn unseal_by_itself(self: &Arc<Self>) -> Result<bool, UnsealError> {
        let turn = self.seal_state.turn().await;
        if !self.barrier.is_sealed() {
            return Ok(false);
        }
        match self.seal_state.unwrap_by_itself(&turn).await? {
            Some(root_key) => self.unseal_with(&turn, root_key).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Unseals with the seals that need nobody, where it is time to try.
    pub(crate) async fn unseal_if_due(self: &Arc<Self>) -> Result<(), UnsealError> {
        if self.seal_state.is_due_by_itself() {
            self.unseal_by_itself().await?;
        }
        Ok(())
    }

    async fn unseal_with(self: &Arc<Self>, turn: &Turn<'_>, root_key: RootKey) -> Result<(), UnsealError> {
        self.finish_joining(&root_key).await?;
        self.seal_state.unseal(turn, root_key).await?;
        if let Err(error) = self.enter_cluster().await {
            tracing::error!(%error, "this node cannot show its peers who it is");
        }
        Ok(())
    }

    /// Drops keys and opened entries. Requests under way fail at their next look into storage.
    pub async fn seal(&self) {
        if self.cluster().is_some() {
            // In a shared database, giving up the lock is all there is to it.
            self.step_down().await;
        }
        self.set_eligible(false);
        let turn = self.seal_state.turn().await;
        self.seal_state.by_itself().held = true;
        self.forget_keys(&turn).await;
        tracing::info!("vault is sealed");
    }

    pub(super) async fn forget_keys(&self, turn: &Turn<'_>) {
        self.seal_state.forget_keys(turn).await;
        self.router.clear();
        self.policies.clear();
        self.auditing.clear();
        self.lockouts.clear();
        self.kept.sealed();
    }
}
