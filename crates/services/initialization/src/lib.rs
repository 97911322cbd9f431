//! Initialization of a new cluster: its keys, its root token and its first entries.
//!
//! [`SealState`] makes the keys, and knows nothing of policies and tokens: this crate puts both into one commit. A step
//! that fails leaves storage as it was.

use std::sync::Arc;

use strongroom_barrier::{Barrier, BarrierError, NamespaceId};
use strongroom_engine_api::{Lifetimes, Secret};
use strongroom_policies::write_builtin;
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_seal_state::{InitError, InitRequest, Initialized, NewKeys, SealState};
use strongroom_tokens::{NewToken, TokenEntry, TokenStore};

/// Initializes a new cluster.
pub struct Initialization {
    barrier: Arc<Barrier>,
    seal_state: Arc<SealState>,
    tokens: Arc<TokenStore>,
    /// The cluster's name; made up where empty.
    cluster_name: String,
    /// The lifetimes of the server.
    lifetimes: Lifetimes,
}

impl Initialization {
    /// In the storage behind `barrier`, which has none.
    pub const fn new(
        barrier: Arc<Barrier>,
        seal_state: Arc<SealState>,
        tokens: Arc<TokenStore>,
        cluster_name: String,
        lifetimes: Lifetimes,
    ) -> Self {
        Self { barrier, seal_state, tokens, cluster_name, lifetimes }
    }

    /// Makes keys, the first mounts, the built-in policies and a root token. Leaves the barrier sealed.
    ///
    /// # Errors
    ///
    /// [`InitError`]; storage is as it was then.
    pub async fn initialize(&self, request: InitRequest) -> Result<Initialized, InitError> {
        let state = &*self.seal_state;
        let turn = state.turn().await;
        state.check_new().await?;
        self.barrier.store().begin().await.map_err(BarrierError::from)?;
        let written = async {
            let keys = state.create(&turn, request.key_parts, &self.cluster_name).await?;
            let root_token = self.write_first(&keys, request.root_token).await?;
            let NewKeys { key_parts, record, .. } = keys;
            Ok(Initialized { key_parts, for_recovery: record.recovery.is_some(), root_token })
        }
        .await;
        state.forget_keys(&turn).await;
        written
    }

    /// Everything a new cluster begins with, in one commit.
    async fn write_first(
        &self,
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
        let new = NewToken { entry, id: root_token, without_end: true, ..NewToken::default() };
        let made = self.tokens.make_token(&txn, self.lifetimes, new).await?;
        txn.commit().await?;
        Ok(made.token)
    }
}
