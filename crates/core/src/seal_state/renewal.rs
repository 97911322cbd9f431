//! Taking over keys that another node has made, or that another state brings with it.
//!
//! A standby looks for a newer keyring now and then, since the active one rotates keys; a restored state brings its own.
//! A node whose root key does not open what it finds seals itself: it must not serve from keys that are no longer true,
//! and cannot go on without the new ones.

use strongroom_barrier::BarrierError;

use crate::Core;

impl Core {
    /// Goes on with the keys that storage has. A node whose root key does not open them seals itself: they are another
    /// state's, whose own unseal key is needed. Does nothing while sealed.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where they cannot be read.
    pub(crate) async fn renew_keyring(&self) -> Result<(), BarrierError> {
        if self.seal_state.take_over_keyring().await? {
            return Ok(());
        }
        tracing::error!(
            "sealing: storage has been replaced by one with other keys, which its own unseal keys open"
        );
        self.seal().await;
        Ok(())
    }
}
