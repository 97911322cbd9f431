//! What initialising, unsealing and sealing mean for everything that stands on the keys.
//!
//! The keys are the seal's affair ([`SealState`](crate::SealState)), and nothing below knows of anything above: here, one
//! after the other, the node joins its cluster, the keys are put in place, and what is derived from storage is dropped when
//! they go. A step that fails leaves the server sealed.
//!
//! Keys that another node has made, or that another state brings with it, are taken over here, too. A standby looks for a
//! newer keyring now and then, since the active one rotates keys; a restored state brings its own. A node whose root key
//! does not open what it finds seals itself: it must not serve from keys that are no longer true, and cannot go on without
//! the new ones.

use std::sync::Arc;

use strongroom_barrier::{BarrierError, NamespaceId};
use strongroom_engine_api::{Lifetimes, Secret};
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_seal::{KeyPart, RootKey};
use strongroom_seal_state::{InitError, InitRequest, Initialized, NewKeys, Turn, UnsealError};

use crate::tokens::{NewToken, TokenEntry};
use crate::{Core, write_builtin};

impl Core {
    /// Makes keys, the first mounts, the built-in policies and a root token. Leaves the barrier sealed.
    ///
    /// # Errors
    ///
    /// [`InitError`]; storage is as it was then.
    pub async fn initialize(self: &Arc<Self>, request: InitRequest) -> Result<Initialized, InitError> {
        let state = &*self.seal_state;
        let turn = state.turn().await;
        state.check_new().await?;
        self.barrier.store().begin().await.map_err(BarrierError::from)?;
        let written = async {
            let keys = state.create(&turn, request.key_parts, &self.settings.cluster_name).await?;
            let root_token = self.write_first(&keys, request.root_token).await?;
            let NewKeys { key_parts, record, .. } = keys;
            Ok(Initialized { key_parts, for_recovery: record.recovery.is_some(), root_token })
        }
        .await;
        self.forget_keys(&turn).await;
        written
    }

    /// Everything a new cluster begins with, in one commit.
    async fn write_first(
        self: &Arc<Self>,
        keys: &NewKeys,
        root_token: Option<String>,
    ) -> Result<Secret<String>, InitError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        keys.write(&txn)?;
        write_builtin(&txn, NamespaceId::ROOT)?;
        let entry = TokenEntry {
            policies: vec![ROOT_POLICY_NAME.to_owned()],
            path: "auth/token/root".to_owned(),
            display_name: "root".to_owned(),
            ..TokenEntry::default()
        };
        let lifetimes =
            Lifetimes { default: self.settings.default_lease_ttl, max: self.settings.max_lease_ttl };
        let new = NewToken { entry, id: root_token, without_end: true, ..NewToken::default() };
        let made = self.make_token(&txn, lifetimes, new).await?;
        txn.commit().await?;
        Ok(made.token)
    }

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
        self.seal_state.hold();
        self.forget_keys(&turn).await;
        tracing::info!("vault is sealed");
    }

    async fn forget_keys(&self, turn: &Turn<'_>) {
        self.seal_state.forget_keys(turn).await;
        self.mounts.clear();
        self.policies.clear();
        self.audit_devices.clear();
        self.lockouts.clear();
    }

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

#[cfg(test)]
mod tests;
