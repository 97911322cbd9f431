//! Initialising, unsealing, sealing, rotating. Source: Vault's API pages `sys/init`, `sys/unseal`, `sys/seal`,
//! `sys/rotate`.
//!
//! The way of the keys: shares → unseal key → root key → keyring → entries. The root key is kept sealed under the
//! unseal key, the keyring under the root key, so that shares can be made anew without touching the rest.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    BarrierError, Keyring, KeyringError, MOST_OPERATIONS, NamespaceId, SEAL_CONFIG, TermInfo, unwrap_key,
    wrap_key,
};
use strongroom_engine_api::{EngineError, Lifetimes, Moment, Secret, bad_request};
use strongroom_policy::ROOT_POLICY_NAME;
use strongroom_seal::{CombineError, Offer, RandomError, Share, ShareCollector, SplitError, combine, split};
use strongroom_storage::MIGRATING;
use zeroize::Zeroizing;

use crate::Core;
use crate::cluster::NewestIndex;
use crate::mounts::NewMount;
use crate::policies::write_builtin;
use crate::tokens::{NewToken, TokenEntry};

pub(crate) const ROOT_KEY: &str = "root-key";
pub(crate) const KEYRING: &str = "keyring";
const ROTATION: &str = "rotation";

/// Counted encryptions are written back when they have grown by this much.
const COUNT_STEP: u64 = 100_000;

/// What is needed to know before there are keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SealConfig {
    shares: u8,
    threshold: u8,
    cluster_name: String,
    cluster_id: String,
    /// The HMAC key under which tokens are kept is sealed with the root key.
    token_salt: Vec<u8>,
}

/// Automatic rotation of the barrier's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationConfig {
    /// Whether it takes place.
    pub enabled: bool,
    /// Entries sealed with one key at most.
    pub max_operations: u64,
    /// Time between rotations; zero: by operations only.
    pub interval: Duration,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self { enabled: true, max_operations: MOST_OPERATIONS, interval: Duration::ZERO }
    }
}

/// The cluster, while unsealed.
pub struct Standing {
    /// Its name.
    pub cluster_name: String,
    /// Its id.
    pub cluster_id: String,
    /// Since when this node serves.
    pub active_since: Moment,
    pub(crate) newest_index: NewestIndex,
}

/// What `sys/key-status` answers.
pub type KeyStatus = TermInfo;

/// The unsealing that is under way, and what is known of the seal.
#[derive(Default)]
pub(crate) struct Keeper {
    collector: Option<ShareCollector>,
    pub(crate) root_key: Option<Zeroizing<[u8; 32]>>,
    pub(crate) counted: u64,
}

/// What initialising made; shown once.
pub struct Initialized {
    /// The shares of the unseal key.
    pub shares: Vec<Secret<Vec<u8>>>,
    /// The root token.
    pub root_token: Secret<String>,
}

/// Why initialising was refused.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It has been done before.
    #[error("Vault is already initialized")]
    AlreadyInitialized,
    /// The numbers of shares do not go together.
    #[error("invalid seal configuration: {0}")]
    Configuration(String),
    /// Keys or storage failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why a share was not taken, or did not unseal.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// There is nothing to unseal yet.
    #[error("Vault is not initialized")]
    NotInitialized,
    /// The shares do not make this barrier's key; they must all be given again.
    #[error("failed to decrypt keys from storage: {0}")]
    WrongKey(String),
    /// The share cannot be one of this barrier's.
    #[error("{0}")]
    InvalidShare(String),
    /// Storage failed.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// What `sys/seal-status` answers.
#[derive(Clone, Debug)]
pub struct SealStatus {
    /// Whether there are keys in storage.
    pub initialized: bool,
    /// Whether there are none in memory.
    pub sealed: bool,
    /// Shares needed.
    pub threshold: u8,
    /// Shares there are.
    pub shares: u8,
    /// Shares given so far.
    pub progress: usize,
    /// Tells one attempt from the next.
    pub nonce: String,
    /// The cluster's name, while unsealed.
    pub cluster_name: String,
    /// The cluster's id, while unsealed.
    pub cluster_id: String,
}

impl From<BarrierError> for InitError {
    fn from(error: BarrierError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<KeyringError> for InitError {
    fn from(error: KeyringError) -> Self {
        Self::Engine(BarrierError::from(error).into())
    }
}

impl Core {
    /// What is known of the seal, also of that of a cluster that this node is joining.
    pub(crate) async fn seal_config(&self) -> Result<Option<SealConfig>, BarrierError> {
        let Some(bytes) = self.barrier.bootstrap(SEAL_CONFIG).await? else {
            return Ok(self.config_to_join());
        };
        let malformed =
            |error: serde_json::Error| BarrierError::Malformed(SEAL_CONFIG.to_owned(), error.to_string());
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    /// Whether there are keys in storage.
    pub async fn is_initialized(&self) -> Result<bool, BarrierError> {
        Ok(self.barrier.bootstrap(SEAL_CONFIG).await?.is_some() || self.config_to_join().is_some())
    }

    /// Where sealing stands.
    pub async fn seal_status(&self) -> Result<SealStatus, BarrierError> {
        let config = self.seal_config().await?;
        let keeper = self.keeper.lock().await;
        let sealed = self.barrier.is_sealed();
        let collector = keeper.collector.as_ref().filter(|_| sealed);
        let known = config.as_ref().filter(|_| !sealed);
        Ok(SealStatus {
            initialized: config.is_some(),
            sealed,
            threshold: config.as_ref().map_or(0, |config| config.threshold),
            shares: config.as_ref().map_or(0, |config| config.shares),
            progress: collector.map_or(0, ShareCollector::progress),
            nonce: collector
                .filter(|shares| shares.progress() > 0)
                .map_or("", |shares| shares.nonce())
                .to_owned(),
            cluster_name: known.map_or_else(String::new, |config| config.cluster_name.clone()),
            cluster_id: known.map_or_else(String::new, |config| config.cluster_id.clone()),
        })
    }

    /// Makes keys, the first mounts, the built-in policies and a root token. Leaves the barrier sealed.
    pub async fn initialize(
        self: &Arc<Self>,
        shares: u8,
        threshold: u8,
        root_token: Option<String>,
    ) -> Result<Initialized, InitError> {
        let _one_at_a_time = self.keeper.lock().await;
        if self.is_initialized().await? {
            return Err(InitError::AlreadyInitialized);
        }
        if self.is_being_migrated_to().await? {
            return Err(InitError::Configuration(
                "a migration to this storage has not been finished; finish it with \"operator migrate\", or take it back \
                 with its flag -reset"
                    .to_owned(),
            ));
        }
        self.barrier.store().begin().await.map_err(BarrierError::from)?;
        let entropy = &self.environment.entropy;
        let entropy_failed = |error: strongroom_stdx::EntropyError| InitError::Engine(error.into());
        let unseal_key = Zeroizing::new(entropy.bytes::<32>().map_err(entropy_failed)?);
        let root_key = Zeroizing::new(entropy.bytes::<32>().map_err(entropy_failed)?);
        let salt = Zeroizing::new(entropy.bytes::<32>().map_err(entropy_failed)?);
        let parts = self.split_key(&unseal_key, shares, threshold)?;
        let config = SealConfig {
            shares,
            threshold,
            cluster_name: match self.settings.cluster_name.as_str() {
                "" => format!(
                    "vault-cluster-{:08x}",
                    u32::from_be_bytes(entropy.bytes().map_err(entropy_failed)?)
                ),
                name => name.to_owned(),
            },
            cluster_id: entropy.uuid().map_err(entropy_failed)?,
            token_salt: wrap_key(entropy, &root_key, b"token-salt", &*salt)?,
        };
        let keyring = Keyring::generate(entropy, self.environment.clock.now())?;
        let wrapped_keyring = keyring.wrap(entropy, &root_key)?;
        self.barrier.unseal(keyring);
        self.token_salt.store(Some(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*salt))));
        let written = self.write_first(&config, &unseal_key, &root_key, wrapped_keyring, root_token).await;
        self.forget_keys();
        Ok(Initialized { shares: parts, root_token: written? })
    }

    async fn is_being_migrated_to(&self) -> Result<bool, BarrierError> {
        let snapshot = self.barrier.store().snapshot().await?;
        Ok(snapshot.get(MIGRATING).await?.is_some())
    }

    fn split_key(
        &self,
        key: &[u8; 32],
        shares: u8,
        threshold: u8,
    ) -> Result<Vec<Secret<Vec<u8>>>, InitError> {
        let entropy = &self.environment.entropy;
        let mut random = |out: &mut [u8]| entropy.fill(out).map_err(|_error| RandomError);
        let parts = split(key, shares, threshold, &mut random);
        let refused = |error: SplitError| InitError::Configuration(error.to_string());
        Ok(parts.map_err(refused)?.iter().map(|share| Secret::new(share.as_bytes().to_vec())).collect())
    }

    /// Everything a new cluster begins with, in one commit.
    async fn write_first(
        self: &Arc<Self>,
        config: &SealConfig,
        unseal_key: &[u8; 32],
        root_key: &[u8; 32],
        wrapped_keyring: Vec<u8>,
        root_token: Option<String>,
    ) -> Result<Secret<String>, InitError> {
        let entropy = &self.environment.entropy;
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let config = serde_json::to_vec(config).map_err(EngineError::from)?;
        txn.put_bootstrap(SEAL_CONFIG, config);
        txn.put_bootstrap(ROOT_KEY, wrap_key(entropy, unseal_key, b"root-key", root_key)?);
        txn.put_bootstrap(KEYRING, wrapped_keyring);
        write_builtin(&txn, NamespaceId::ROOT)?;
        for (path, kind, description) in [
            ("sys/", "system", "system endpoints used for control, policy and debugging"),
            ("cubbyhole/", "cubbyhole", "per-token private secret storage"),
            ("auth/token/", "token", "token based credentials"),
        ] {
            let mount = NewMount {
                kind: kind.to_owned(),
                description: description.to_owned(),
                local: kind == "cubbyhole",
                seal_wrap: kind == "system",
                ..NewMount::default()
            };
            self.add_mount(&txn, path, mount).await?;
        }
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

    /// Takes one share; with enough of them, unseals.
    pub async fn offer_share(self: &Arc<Self>, share: Vec<u8>) -> Result<(), UnsealError> {
        let share = Zeroizing::new(share);
        let Some(config) = self.seal_config().await? else { return Err(UnsealError::NotInitialized) };
        let mut keeper = self.keeper.lock().await;
        if !self.barrier.is_sealed() {
            return Ok(());
        }
        let expected = if config.shares == 1 { 32 } else { 33 };
        if share.len() != expected {
            let text = format!("key is shorter than minimum {expected} bytes");
            let text = if share.len() < expected {
                text
            } else {
                format!("key is longer than maximum {expected} bytes")
            };
            return Err(UnsealError::InvalidShare(text));
        }
        if keeper.collector.is_none() {
            let nonce =
                self.environment.entropy.uuid().map_err(KeyringError::from).map_err(BarrierError::from)?;
            keeper.collector = Some(ShareCollector::new(config.threshold, nonce));
        }
        let Some(collector) = keeper.collector.as_mut() else { return Ok(()) };
        let wrong = |error: CombineError| UnsealError::WrongKey(error.to_string());
        match collector.offer(Share::new(share)) {
            Ok(Offer::Progress | Offer::Duplicate) => Ok(()),
            Ok(Offer::Ready(candidate)) => {
                keeper.collector = None;
                self.unseal_with(&mut keeper, &config, &candidate).await
            }
            Err(error) => {
                keeper.collector = None;
                Err(wrong(error))
            }
        }
    }

    /// Forgets the shares given so far.
    pub async fn reset_unseal(&self) {
        self.keeper.lock().await.collector = None;
    }

    async fn unseal_with(
        self: &Arc<Self>,
        keeper: &mut Keeper,
        config: &SealConfig,
        candidate: &[u8],
    ) -> Result<(), UnsealError> {
        let wrong =
            |_: KeyringError| UnsealError::WrongKey("cipher: message authentication failed".to_owned());
        let absent =
            |name: &str| UnsealError::Barrier(BarrierError::Malformed(name.to_owned(), "absent".to_owned()));
        let unseal_key: &[u8; 32] = candidate.try_into().map_err(|_error| wrong(KeyringError::Unopenable))?;
        let wrapped = match self.barrier.bootstrap(ROOT_KEY).await? {
            None => self.root_key_to_join(),
            wrapped => wrapped,
        };
        let wrapped = wrapped.ok_or_else(|| absent(ROOT_KEY))?;
        let opened = unwrap_key(unseal_key, b"root-key", &wrapped).map_err(wrong)?;
        let mut root_key = Zeroizing::new([0; 32]);
        if opened.len() != root_key.len() {
            return Err(absent(ROOT_KEY));
        }
        root_key.copy_from_slice(&opened);
        self.finish_joining(&root_key).await?;
        let wrapped = self.barrier.bootstrap(KEYRING).await?.ok_or_else(|| absent(KEYRING))?;
        let keyring = Keyring::unwrap(&root_key, &wrapped).map_err(BarrierError::from)?;
        let salt = unwrap_key(&root_key, b"token-salt", &config.token_salt).map_err(BarrierError::from)?;
        keeper.counted = keyring.active().encryptions;
        keeper.root_key = Some(root_key);
        self.barrier.unseal(keyring);
        self.token_salt.store(Some(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &salt))));
        self.standing.store(Some(Arc::new(Standing {
            cluster_name: config.cluster_name.clone(),
            cluster_id: config.cluster_id.clone(),
            active_since: self.environment.clock.now(),
            newest_index: NewestIndex::default(),
        })));
        tracing::info!("vault is unsealed");
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
        let mut keeper = self.keeper.lock().await;
        keeper.collector = None;
        keeper.root_key = None;
        self.forget_keys();
        tracing::info!("vault is sealed");
    }

    fn forget_keys(&self) {
        self.standing.store(None);
        self.token_salt.store(None);
        self.barrier.seal();
        self.router.clear();
        self.policies.clear();
        self.auditing.clear();
        self.lockouts.clear();
    }

    /// What the cluster is called, while unsealed.
    pub fn standing(&self) -> Option<Arc<Standing>> {
        self.standing.load_full()
    }

    /// The active key's number, age and use.
    pub fn key_status(&self) -> Result<KeyStatus, BarrierError> {
        Ok(self.barrier.keyring()?.active())
    }

    /// Makes a new key for what is written from now on. The new ring is durable before the first entry is sealed
    /// with it.
    pub async fn rotate(&self) -> Result<(), EngineError> {
        let mut keeper = self.keeper.lock().await;
        let root_key = keeper.root_key.as_ref().ok_or(BarrierError::Sealed)?;
        let entropy = &self.environment.entropy;
        let next = self
            .barrier
            .keyring()?
            .rotated(entropy, self.environment.clock.now())
            .map_err(BarrierError::from)?;
        self.keep_keyring(&next, root_key).await?;
        keeper.counted = 0;
        tracing::info!(term = next.active().term, "barrier key rotated");
        self.barrier.unseal(next);
        Ok(())
    }

    async fn keep_keyring(&self, keyring: &Keyring, root_key: &[u8; 32]) -> Result<(), EngineError> {
        let txn = self.barrier.transaction(self.barrier.view());
        let wrapped = keyring.wrap(&self.environment.entropy, root_key).map_err(BarrierError::from)?;
        txn.put_bootstrap(KEYRING, wrapped);
        txn.commit().await?;
        Ok(())
    }

    /// When the key is rotated by itself.
    pub async fn rotation_config(&self) -> Result<RotationConfig, BarrierError> {
        let kept = self.barrier.bootstrap(ROTATION).await?;
        Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// Sets when the key is rotated by itself.
    pub fn set_rotation_config(
        &self,
        txn: &strongroom_barrier::Txn,
        config: RotationConfig,
    ) -> Result<(), EngineError> {
        if config.max_operations < 1_000_000 || config.max_operations > MOST_OPERATIONS {
            return Err(bad_request(format!("max_operations must be between 1000000 and {MOST_OPERATIONS}")));
        }
        if !config.interval.is_zero() && config.interval < Duration::from_secs(24 * 3600) {
            return Err(bad_request("interval must be at least 24h"));
        }
        txn.put_bootstrap(ROTATION, serde_json::to_vec(&config)?);
        Ok(())
    }

    /// Rotates when the key is used up or old; otherwise writes back how often it was used, now and then.
    pub(crate) async fn rotate_if_due(&self) -> Result<(), EngineError> {
        let active = self.key_status()?;
        let config = self.rotation_config().await?;
        let age = self.environment.clock.now().since(active.created);
        let old = !config.interval.is_zero() && age >= config.interval;
        if config.enabled && (old || active.encryptions >= config.max_operations) {
            return self.rotate().await;
        }
        let mut keeper = self.keeper.lock().await;
        if active.encryptions.saturating_sub(keeper.counted) >= COUNT_STEP {
            let root_key = keeper.root_key.as_ref().ok_or(BarrierError::Sealed)?;
            self.keep_keyring(&*self.barrier.keyring()?, root_key).await?;
            keeper.counted = active.encryptions;
        }
        Ok(())
    }

    /// Whether `share` set combines to the unseal key: for operations that ask for a quorum again.
    pub async fn is_unseal_key(&self, shares: &[Share]) -> Result<bool, BarrierError> {
        let Some(wrapped) = self.barrier.bootstrap(ROOT_KEY).await? else { return Ok(false) };
        let combined = match shares {
            [only] => Ok(Zeroizing::new(only.as_bytes().to_vec())),
            several => combine(several),
        };
        let Ok(candidate) = combined else { return Ok(false) };
        let key: Result<&[u8; 32], _> = candidate.as_slice().try_into();
        Ok(key.is_ok_and(|key| unwrap_key(key, b"root-key", &wrapped).is_ok()))
    }
}
