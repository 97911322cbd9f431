//! Initialization of a new cluster: its keys, its root token and its first entries.
//!
//! [`SealState`] makes the keys, and knows nothing of policies and tokens: this crate puts both into one commit. A step
//! that fails leaves storage as it was. What is encrypted to the PGP keys of its receivers is so before the commit: a key that
//! cannot be encrypted to must not cost the cluster its keys.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use strongroom_barrier::{Barrier, BarrierError, NamespaceId};
use strongroom_engine_api::{EngineError, Lifetimes, Secret};
use strongroom_pgp::{PgpError, PgpKey, Recipients};
use strongroom_policies::write_builtin;
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_seal_state::{InitError, KeyPart, KeyPartsWanted, NewKeys, SealState};
use strongroom_stdx::Entropy;
use strongroom_tokens::{NewToken, TokenEntry, TokenStore};

/// The wishes for a new cluster.
#[derive(Default)]
pub struct InitRequest {
    /// The key parts to make: of the unseal key, or for recovery where the seals need no key parts.
    pub key_parts: KeyPartsWanted,
    /// The holders that the key parts are encrypted to.
    pub recipients: Recipients,
    /// The root token; made up where there is none.
    pub root_token: Option<String>,
    /// The key that the root token is encrypted to.
    pub root_token_key: Option<PgpKey>,
}

impl InitRequest {
    /// A cluster with `total` key parts of which `required` unseal it.
    pub fn key_parts(total: u8, required: u8) -> Self {
        Self { key_parts: KeyPartsWanted::new(total, required), ..Self::default() }
    }
}

/// The secrets that initializing made; shown once.
pub struct Initialized {
    /// The key parts, as they are handed out.
    pub key_parts: Vec<KeyPart>,
    /// True where the key parts are for recovery, beside seals that unseal by themselves.
    pub for_recovery: bool,
    /// The root token, or its message in base64.
    pub root_token: Secret<String>,
}

/// Initializes a new cluster.
pub struct Initialization {
    barrier: Arc<Barrier>,
    seal_state: Arc<SealState>,
    tokens: Arc<TokenStore>,
    /// The cluster's name; made up where empty.
    cluster_name: String,
    /// The lifetimes of the server.
    lifetimes: Lifetimes,
    entropy: Entropy,
}

impl Initialization {
    /// In the storage behind `barrier`, which has none.
    pub const fn new(
        barrier: Arc<Barrier>,
        seal_state: Arc<SealState>,
        tokens: Arc<TokenStore>,
        cluster_name: String,
        lifetimes: Lifetimes,
        entropy: Entropy,
    ) -> Self {
        Self { barrier, seal_state, tokens, cluster_name, lifetimes, entropy }
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
            let for_recovery = keys.record.recovery.is_some();
            let key_parts = keys.key_parts.clone();
            let key_parts = request.recipients.hand_out(&self.entropy, key_parts).map_err(not_encrypted)?;
            let root_token = self.write_first(&keys, request.root_token, request.root_token_key).await?;
            Ok(Initialized { key_parts, for_recovery, root_token })
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
        root_token_key: Option<PgpKey>,
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
        let told = match root_token_key {
            Some(key) => {
                let message = key.encrypt(&self.entropy, made.token.expose().as_bytes());
                Secret::new(STANDARD.encode(message.map_err(not_encrypted)?))
            }
            None => made.token,
        };
        txn.commit().await?;
        Ok(told)
    }
}

fn not_encrypted(error: PgpError) -> InitError {
    match error {
        PgpError::Failed(_) => EngineError::Internal(error.to_string()).into(),
        other => InitError::Configuration(other.to_string()),
    }
}
