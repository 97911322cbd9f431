//! Rotation of the keys that new entries are encrypted with, on request and automatic.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    BarrierError, KeySource, Keyring, KeyringError, MAX_ENCRYPTIONS, Reads, Stored, Term, TermInfo, Txn,
};
use strongroom_engine_api::{EngineError, Environment, bad_request};
use strongroom_seal::RootKey;

use crate::unseal::absent;
use crate::{KEYRING, Keys, ROTATION, SealState, Turn};

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
        let Environment { clock, entropy } = &self.environment;
        let next = |newest: &Arc<Keyring>| Ok(Arc::new(newest.rotated(entropy, clock.now())?));
        let term = self.store_keyring(&turn, next).await?;
        tracing::info!(term, "barrier key rotated");
        Ok(())
    }

    /// Stores what `change` makes of the keyring, and goes on with it. Answers the active term.
    async fn store_keyring(
        &self,
        _turn: &Turn,
        change: impl FnOnce(&Arc<Keyring>) -> Result<Arc<Keyring>, KeyringError>,
    ) -> Result<Term, BarrierError> {
        let held = self.barrier.keyring()?;
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let (root_key, newest) = self.keys_to_change(&txn, &held).await?;
        let changed = change(&newest)?;
        txn.put_bootstrap(KEYRING, changed.wrap(&self.environment.entropy, root_key.expose())?);
        txn.commit().await?;
        let active = changed.active();
        // Not where another state has taken the place of this one meanwhile.
        if self.barrier.replace_keys(&held, changed) {
            *self.keys() = Keys { counted: active.encryptions, root_key: Some(root_key) };
        }
        Ok(active.term)
    }

    /// The root key and the keyring of storage, as `txn` reads it: another node may have changed either before this one
    /// came to lead, and what is written in their place has to hold every key that they hold.
    pub(crate) async fn keys_to_change(
        &self,
        txn: &Txn,
        held: &Arc<Keyring>,
    ) -> Result<(RootKey, Arc<Keyring>), BarrierError> {
        let wrapped = txn.bootstrap(KEYRING).await?.ok_or_else(|| absent(KEYRING))?;
        let found = self.root_key_of(&self.root_key()?, &wrapped).await?;
        // Another cluster's state is looked at by `renew_keyring`.
        let (root_key, stored) = found.ok_or(BarrierError::Conflict)?;
        match stored.active().term.cmp(&held.active().term) {
            Ordering::Greater => Ok((root_key, Arc::new(stored))),
            // The same keys, and counted on in memory.
            Ordering::Equal => Ok((root_key, held.clone())),
            Ordering::Less => Err(BarrierError::Conflict),
        }
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
            self.store_keyring(&turn, |newest| Ok(newest.clone())).await?;
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

#[async_trait]
impl KeySource for SealState {
    /// Does not wait for its turn: who has it may be the one that reads.
    async fn look_for_newer(&self) -> Result<(), BarrierError> {
        let held = self.barrier.keyring()?;
        let Some(wrapped) = self.barrier.bootstrap(KEYRING).await? else { return Ok(()) };
        let found = self.root_key_of(&self.root_key()?, &wrapped).await?;
        if let Some((_, stored)) = found.filter(|(_, stored)| stored.active().term > held.active().term) {
            self.barrier.replace_keys(&held, Arc::new(stored));
        }
        Ok(())
    }
}
