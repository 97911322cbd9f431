//! Rotation of the keys that new entries are encrypted with, on request and automatic.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Keyring, MAX_ENCRYPTIONS, Reads, Stored, TermInfo, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::ROTATION;
use crate::{KEYRING, Keys, SealState, Turn};

/// The name of the only entry of its table.
const CONFIG: &str = "config";

/// Counted encryptions are written back when they have grown by this much.
const COUNT_STEP: u64 = 100_000;

/// The fewest entries between rotations that may be asked for, and the shortest time.
const MIN_OPERATIONS: u64 = 1_000_000;
const MIN_INTERVAL: Duration = Duration::from_hours(24);

/// The active key, as `sys/key-status` answers.
pub type KeyStatus = TermInfo;

/// Automatic rotation of the barrier's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationConfig {
    /// True where it takes place.
    pub enabled: bool,
    /// Entries sealed with one key at most.
    pub max_operations: u64,
    /// Time between rotations; zero: by operations only.
    pub interval: Duration,
}

impl Stored for RotationConfig {}

impl Default for RotationConfig {
    fn default() -> Self {
        Self { enabled: true, max_operations: MAX_ENCRYPTIONS, interval: Duration::ZERO }
    }
}

impl SealState {
    /// Makes a new key for what is written from now on. The new ring is durable before the first entry is sealed
    /// with it.
    ///
    /// # Errors
    ///
    /// [`EngineError`] while sealed and where storage does not take it; the old key stays in use then.
    pub async fn rotate(&self) -> Result<(), EngineError> {
        let turn = self.turn().await;
        let now = self.environment.clock.now();
        let next = self.barrier.keyring()?.rotated(&self.environment.entropy, now);
        let next = next.map_err(BarrierError::from)?;
        self.store_keyring(&turn, &next).await?;
        self.keys().counted = 0;
        tracing::info!(term = next.active().term, "barrier key rotated");
        self.barrier.unseal(next);
        Ok(())
    }

    async fn store_keyring(&self, _turn: &Turn, keyring: &Keyring) -> Result<(), EngineError> {
        let txn = self.barrier.transaction(self.barrier.view());
        // Another node may have changed it before this one came to lead.
        let root_key = self.current_root_key().await?;
        let wrapped = keyring.wrap(&self.environment.entropy, root_key.expose());
        txn.put_bootstrap(KEYRING, wrapped.map_err(BarrierError::from)?);
        txn.commit().await?;
        Ok(())
    }

    /// The configuration of automatic rotation. `reads` must be of the core's scope.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub async fn rotation_config(&self, reads: &impl Reads) -> Result<RotationConfig, BarrierError> {
        Ok(ROTATION.get(reads, CONFIG).await?.map(|config| *config).unwrap_or_default())
    }

    /// Sets when the key is rotated by itself.
    ///
    /// # Errors
    ///
    /// 400 for values out of range.
    pub fn set_rotation_config(&self, txn: &Txn, config: RotationConfig) -> Result<(), EngineError> {
        if !(MIN_OPERATIONS..=MAX_ENCRYPTIONS).contains(&config.max_operations) {
            return Err(bad_request(format!(
                "max_operations must be between {MIN_OPERATIONS} and {MAX_ENCRYPTIONS}"
            )));
        }
        if !config.interval.is_zero() && config.interval < MIN_INTERVAL {
            return Err(bad_request("interval must be at least 24h"));
        }
        Ok(ROTATION.put(txn, CONFIG, config)?)
    }

    /// Rotates when the key is used up or old; otherwise writes back how often it was used, now and then.
    ///
    /// # Errors
    ///
    /// As [`SealState::rotate`].
    pub async fn rotate_if_due(&self) -> Result<(), EngineError> {
        let active = self.key_status()?;
        let config = self.rotation_config(&self.barrier.view()).await?;
        let age = self.environment.clock.now().since(active.created);
        let old = !config.interval.is_zero() && age >= config.interval;
        if config.enabled && (old || active.encryptions >= config.max_operations) {
            return self.rotate().await;
        }
        let turn = self.turn().await;
        self.current_root_key().await?;
        if active.encryptions.saturating_sub(self.keys().counted) >= COUNT_STEP {
            self.store_keyring(&turn, &*self.barrier.keyring()?).await?;
            self.keys().counted = active.encryptions;
        }
        Ok(self.forget_successors(&turn).await?)
    }

    /// True for a keyring of the root key in use.
    pub fn opens(&self, wrapped: &[u8]) -> bool {
        self.root_key().is_ok_and(|root_key| Keyring::unwrap(root_key.expose(), wrapped).is_ok())
    }

    /// Puts the keyring of storage in place; false where this node's root key does not open it. While sealed, and where
    /// storage has none, nothing is done.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where it cannot be read.
    pub(crate) async fn take_over_keyring(&self) -> Result<bool, BarrierError> {
        let _turn = self.turn().await;
        let Ok(root_key) = self.root_key() else { return Ok(true) };
        let Some(wrapped) = self.barrier.bootstrap(KEYRING).await? else { return Ok(true) };
        let Some((root_key, keyring)) = self.root_key_of(&root_key, &wrapped).await? else {
            return Ok(false);
        };
        *self.keys() = Keys { counted: keyring.active().encryptions, root_key: Some(root_key) };
        self.barrier.unseal(keyring);
        Ok(true)
    }
}
