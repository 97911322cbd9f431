//! The seal status as clients see it.

use strongroom_barrier::BarrierError;
use strongroom_seal::{Progress, Quorum, SealError, Unsealing};

use crate::{KeyStatus, SealState};

/// The facts that `sys/seal-status` answers.
#[derive(Clone, Debug, Default)]
pub struct SealStatus {
    /// The kind of seal.
    pub kind: String,
    /// True where there are keys in storage.
    pub initialized: bool,
    /// True where there are none in memory.
    pub sealed: bool,
    /// The key parts there are, and how many of them are needed. None, where a seal unseals by itself and there is no
    /// recovery.
    pub quorum: Quorum,
    /// True where the key parts are for recovery, beside seals that unseal by themselves.
    pub recovery: bool,
    /// The attempt under way; without a name where there is none.
    pub progress: Progress,
    /// The cluster's name, while unsealed.
    pub cluster_name: String,
    /// The cluster's id, while unsealed.
    pub cluster_id: String,
}

fn malformed(error: &SealError) -> BarrierError {
    BarrierError::Malformed(strongroom_barrier::BOOTSTRAP_RECORD.to_owned(), error.to_string())
}

impl SealState {
    /// True where there are keys in storage, or in that of a cluster that this node is joining.
    ///
    /// # Errors
    ///
    /// [`BarrierError`], also for storage that another version wrote.
    pub async fn is_initialized(&self) -> Result<bool, BarrierError> {
        Ok(self.record().await?.is_some() || self.is_joining())
    }

    /// The state of the seal.
    ///
    /// # Errors
    ///
    /// As [`SealState::is_initialized`].
    pub async fn status(&self) -> Result<SealStatus, BarrierError> {
        let sources = self.sources().await?;
        let sealed = self.barrier.is_sealed();
        let mut status = SealStatus {
            kind: self.seals.kind().to_owned(),
            initialized: sources.is_some(),
            sealed,
            ..SealStatus::default()
        };
        let Some(sources) = sources else { return Ok(status) };
        if let Some(first) = sources.first() {
            status.kind.clone_from(&first.kind);
        }
        if let Some(source) = self.interactive_source(&sources).await? {
            if let Unsealing::Interactive(seal) = source.seal.unsealing() {
                status.quorum = seal.quorum(&source.wrapped.parameters).map_err(|error| malformed(&error))?;
            }
            status.recovery = source.is_recovery;
        }
        if let Some(attempt) = self.attempt.lock().await.as_ref().filter(|_| sealed) {
            let progress = attempt.progress();
            if progress.given > 0 {
                status.progress = progress;
            }
        }
        if let Some(cluster) = self.unsealed().filter(|_| !sealed) {
            status.cluster_name.clone_from(&cluster.cluster_name);
            status.cluster_id.clone_from(&cluster.cluster_id);
        }
        Ok(status)
    }

    /// The kind of the seal that a new cluster would have.
    pub fn kind(&self) -> &'static str {
        self.seals.kind()
    }

    /// True if the seal unseals automatically: the key parts that are made are for recovery.
    pub fn unseals_by_itself(&self) -> bool {
        self.seals.unseal_by_themselves()
    }

    /// The active key's number, age and use.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Sealed`].
    pub fn key_status(&self) -> Result<KeyStatus, BarrierError> {
        Ok(self.barrier.keyring()?.active())
    }
}
