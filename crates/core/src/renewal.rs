//! Taking over keys that another node has made, or that another state brings with it.

use strongroom_barrier::{BarrierError, Keyring, KeyringError};

use crate::Core;
use crate::keeper::KEYRING;

impl Core {
    /// Goes on with the keys that storage has. A node whose root key does not open them seals itself: they are another
    /// state's, whose own unseal key is needed. Does nothing while sealed.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where they cannot be read.
    pub(crate) async fn renew_keyring(&self) -> Result<(), BarrierError> {
        if self.take_over_keyring().await? {
            return Ok(());
        }
        tracing::error!(
            "sealing: storage has been replaced by one with other keys, which its own unseal keys open"
        );
        self.seal().await;
        Ok(())
    }

    /// False where storage has keys that this node cannot open.
    async fn take_over_keyring(&self) -> Result<bool, BarrierError> {
        let mut keeper = self.keeper.lock().await;
        let Some(root_key) = keeper.root_key.as_ref() else { return Ok(true) };
        let Some(wrapped) = self.barrier.bootstrap(KEYRING).await? else { return Ok(true) };
        match Keyring::unwrap(root_key, &wrapped) {
            Ok(keyring) => {
                keeper.counted = keyring.active().encryptions;
                self.barrier.unseal(keyring);
                Ok(true)
            }
            Err(KeyringError::Unopenable) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
