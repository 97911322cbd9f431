//! Unsealing and sealing as events: the services that depend on the keys are notified, in order.
//!
//! The state of the seal is below everything that keeps something in memory for as long as there are keys, and below
//! the node that takes part in its cluster while unsealed. So these subscribe ([`SealListener`]), and the code that
//! seals the server does not need to know them. A failure before the keys are in place leaves the server sealed; a
//! later failure is handled by the listener.
//!
//! Keys that another node has made, or that another state brings with it, are taken over here, too. A standby looks for a
//! newer keyring now and then, since the active one rotates keys; a restored state brings its own. A node whose root key
//! does not open what it finds seals itself: it must not serve from keys that are no longer true, and cannot go on without
//! the new ones.

use std::sync::{Arc, PoisonError, Weak};

use async_trait::async_trait;
use strongroom_barrier::BarrierError;
use strongroom_seal::{KeyPart, RootKey};

use crate::{SealState, Turn, UnsealError};

/// Told when the keys come and go.
#[async_trait]
pub trait SealListener: Send + Sync + 'static {
    /// The root key is known, and nothing has been opened with it. Runs while no other task changes keys.
    ///
    /// # Errors
    ///
    /// [`BarrierError`], which leaves the server sealed.
    async fn unsealing(&self, _root_key: &RootKey) -> Result<(), BarrierError> {
        Ok(())
    }

    /// The keys are in place. Runs while no other task changes keys.
    async fn unsealed(&self) {}

    /// The keys are about to go; what is under way may still use them.
    async fn sealing(&self) {}

    /// The keys are gone: what was opened with them is to be dropped.
    fn sealed(&self) {}
}

impl SealState {
    /// Notifies `listener` from now on, until it is dropped.
    pub fn subscribe(&self, listener: &Arc<dyn SealListener>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Arc::downgrade(listener));
    }

    fn listeners(&self) -> Vec<Arc<dyn SealListener>> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops all keys, what was collected of them, and what others have opened with them.
    pub async fn forget_keys(&self, turn: &Turn) {
        self.drop_keys(turn).await;
        for listener in self.listeners() {
            listener.sealed();
        }
    }

    /// Takes one key part; with enough of them, unseals.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub async fn offer_key_part(&self, part: Vec<u8>) -> Result<(), UnsealError> {
        let turn = self.turn().await;
        match self.offer(&turn, KeyPart::new(part)).await? {
            Some(root_key) => self.unseal_with(&turn, root_key).await,
            None => Ok(()),
        }
    }

    /// Unseals with the automatic seals; false where there is none, nothing to unseal, or nothing sealed.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub async fn unseal_by_itself(&self) -> Result<bool, UnsealError> {
        let turn = self.turn().await;
        if !self.barrier.is_sealed() {
            return Ok(false);
        }
        match self.unwrap_by_itself(&turn).await? {
            Some(root_key) => self.unseal_with(&turn, root_key).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Unseals with the automatic seals, when the next attempt is due.
    pub async fn unseal_if_due(&self) -> Result<(), UnsealError> {
        if self.is_due_by_itself() {
            self.unseal_by_itself().await?;
        }
        Ok(())
    }

    async fn unseal_with(&self, turn: &Turn, root_key: RootKey) -> Result<(), UnsealError> {
        let listeners = self.listeners();
        for listener in &listeners {
            listener.unsealing(&root_key).await?;
        }
        self.unseal(turn, root_key).await?;
        for listener in &listeners {
            listener.unsealed().await;
        }
        Ok(())
    }

    /// Drops keys and opened entries. Requests under way fail at their next look into storage.
    pub async fn seal(&self) {
        for listener in self.listeners() {
            listener.sealing().await;
        }
        let turn = self.turn().await;
        self.by_itself().held = true;
        self.forget_keys(&turn).await;
        tracing::info!("vault is sealed");
    }

    /// Goes on with the keys that storage has. A node whose root key does not open them seals itself: they are another
    /// state's, whose own unseal key is needed. Does nothing while sealed.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where they cannot be read.
    pub async fn renew_keyring(&self) -> Result<(), BarrierError> {
        if self.take_over_keyring().await? {
            return Ok(());
        }
        tracing::error!(
            "sealing: storage has been replaced by one with other keys, which its own unseal keys open"
        );
        self.seal().await;
        Ok(())
    }
}
