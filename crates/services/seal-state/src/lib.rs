//! The state of the seal: initializing, unsealing, sealing, rotating. Source: Vault's API pages `sys/init`, `sys/unseal`,
//! `sys/seal`, `sys/rotate`.
//!
//! The way of the keys: seal → root key → keyring → entries. The seals wrap the root key, the root key wraps the keyring,
//! so that a seal can be exchanged without touching the rest. Each seal knows how to unwrap (`strongroom-seal`); this
//! crate knows which seals there are, the progress of an attempt, and what is done with a root key.
//!
//! [`SealState`] uses storage through the barrier, time and randomness, and nothing of mounts, tokens or the cluster:
//! these subscribe and are told ([`SealListener`]). A step that fails leaves the server sealed, and says why.

mod init;
mod lifecycle;
mod quorum;
mod rekey;
mod rotation;
mod status;
mod unseal;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use strongroom_barrier::{BOOTSTRAP_RECORD, Barrier, BarrierError, CoreSpace, Table, TableId, tables};
use strongroom_engine_api::{Environment, Moment};
use strongroom_seal::{BootstrapRecord, EARLIER_ENTRY, RecordError, RootKey, Seals};

use unseal::{Attempt, ByItself};

pub use init::{InitError, NewKeys};
pub use lifecycle::SealListener;
pub use quorum::{KeyHolders, Proof};
pub use rekey::{HANDOVER, NewWrapping, RekeyTarget};
pub use rotation::{KeyStatus, RotationConfig};
pub use status::SealStatus;
pub use strongroom_seal::{KeyPart, KeyPartsWanted, RootKeySource, SealError};
pub use unseal::UnsealError;

tables! {
    /// The configuration of the rotation of the barrier's key; there is one.
    pub ROTATION: Table<CoreSpace, str, RotationConfig> = 13;
}

/// The name of the entry that the keyring is kept in, wrapped by the root key.
pub const KEYRING: &str = "keyring";

/// The purpose that the HMAC key of tokens is wrapped for.
const TOKEN_SALT: &[u8] = b"token-salt";

/// The cluster, while unsealed.
pub struct UnsealedCluster {
    /// Its name.
    pub cluster_name: String,
    /// Its id.
    pub cluster_id: String,
    /// Since when this node serves.
    pub active_since: Moment,
}

/// The seals, the attempt at unsealing that is under way, and the keys while unsealed.
pub struct SealState {
    barrier: Arc<Barrier>,
    environment: Environment,
    seals: Seals,
    /// Held by the task that changes keys, so that initializing, unsealing, rotating and sealing come one after the
    /// other.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Apart from the turn, so that the status is told while a node waits for its cluster's data.
    attempt: tokio::sync::Mutex<Option<Attempt>>,
    keys: Mutex<Keys>,
    /// The seals of a cluster that this node has asked to join.
    to_join: Mutex<Option<Vec<RootKeySource>>>,
    unsealed: ArcSwapOption<UnsealedCluster>,
    token_salt: ArcSwapOption<hmac::Key>,
    by_itself: Mutex<ByItself>,
    listeners: Mutex<Vec<Weak<dyn SealListener>>>,
}

/// The keys in memory besides the keyring, while unsealed.
#[derive(Default)]
struct Keys {
    root_key: Option<RootKey>,
    /// Encryptions of the active key as they were last written to storage.
    counted: u64,
}

/// Held by the task that changes keys.
pub struct Turn {
    _guard: tokio::sync::OwnedMutexGuard<()>,
}

fn of_record(error: &RecordError) -> BarrierError {
    BarrierError::Malformed(BOOTSTRAP_RECORD.to_owned(), error.to_string())
}

impl SealState {
    /// The state of a server that is sealed.
    pub fn new(barrier: Arc<Barrier>, environment: Environment, seals: Seals) -> Arc<Self> {
        let state = Arc::new(Self {
            barrier,
            environment,
            seals,
            turn: Arc::default(),
            attempt: tokio::sync::Mutex::default(),
            keys: Mutex::default(),
            to_join: Mutex::default(),
            unsealed: ArcSwapOption::empty(),
            token_salt: ArcSwapOption::empty(),
            by_itself: Mutex::default(),
            listeners: Mutex::default(),
        });
        let source: Weak<Self> = Arc::downgrade(&state);
        state.barrier.look_for_keys_in(source);
        state
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other task changes keys.
    pub async fn turn(&self) -> Turn {
        Turn { _guard: self.turn.clone().lock_owned().await }
    }

    /// The root key, while unsealed; also where another state has taken the barrier's keyring away.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Sealed`].
    pub fn root_key(&self) -> Result<RootKey, BarrierError> {
        self.keys().root_key.clone().ok_or(BarrierError::Sealed)
    }

    /// The bootstrap record; `None` where storage is empty.
    async fn stored_record(&self) -> Result<Option<BootstrapRecord>, RecordOr> {
        if let Some(bytes) = self.barrier.bootstrap(BOOTSTRAP_RECORD).await? {
            return Ok(Some(BootstrapRecord::decode(&bytes)?));
        }
        match self.barrier.bootstrap(EARLIER_ENTRY).await? {
            Some(_earlier) => Err(RecordError::Earlier.into()),
            None => Ok(None),
        }
    }

    /// The bootstrap record; `None` where storage is empty.
    pub async fn record(&self) -> Result<Option<BootstrapRecord>, BarrierError> {
        self.stored_record().await.map_err(|error| match error {
            RecordOr::Record(error) => of_record(&error),
            RecordOr::Barrier(error) => error,
        })
    }

    /// Looks whether this program can serve from the storage: for the start, where an operator reads the answer.
    ///
    /// # Errors
    ///
    /// The reason, in a sentence.
    pub async fn check_storage(&self) -> Result<(), String> {
        let record = self.stored_record().await.map_err(|error| error.to_string())?;
        let Some(record) = record else { return Ok(()) };
        self.check_seals(&record.sources())
    }

    /// Refuses seals of which the configuration has none.
    fn check_seals(&self, sources: &[RootKeySource]) -> Result<(), String> {
        if sources.iter().any(|source| self.seals.find(&source.id, &source.kind).is_some()) {
            return Ok(());
        }
        let named: Vec<String> =
            sources.iter().map(|source| format!("{:?} of type {:?}", source.id, source.kind)).collect();
        Err(format!("the cluster is sealed by {}, and the configuration has no such seal", named.join(", ")))
    }

    /// The ways to the root key, also to that of a cluster that this node is joining; `None` where there is no cluster.
    async fn sources(&self) -> Result<Option<Vec<RootKeySource>>, BarrierError> {
        match self.record().await? {
            Some(record) => Ok(Some(record.sources())),
            None => Ok(self.to_join().clone()),
        }
    }

    fn to_join(&self) -> MutexGuard<'_, Option<Vec<RootKeySource>>> {
        self.to_join.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes by the seals of a cluster that this node has asked to join, as long as it has no storage of its own.
    ///
    /// # Errors
    ///
    /// A sentence, where this server has none of the cluster's seals.
    pub fn begin_joining(&self, seals: Vec<RootKeySource>) -> Result<(), String> {
        self.check_seals(&seals)?;
        *self.to_join() = Some(seals);
        Ok(())
    }

    /// Goes by storage alone: the cluster's data has arrived.
    pub fn end_joining(&self) {
        *self.to_join() = None;
    }

    /// True where this node has asked a cluster to let it in, and is yet to be unsealed.
    pub fn is_joining(&self) -> bool {
        self.to_join().is_some()
    }

    /// The challenges of the seals, for a node that wants to join.
    ///
    /// # Errors
    ///
    /// [`BarrierError`].
    pub async fn join_challenges(&self) -> Result<Vec<RootKeySource>, BarrierError> {
        let record = self.record().await?.ok_or(BarrierError::Sealed)?;
        Ok(record.join_challenges(&self.seals))
    }

    /// The cluster, while unsealed.
    pub fn unsealed(&self) -> Option<Arc<UnsealedCluster>> {
        self.unsealed.load_full()
    }

    /// The HMAC key under which tokens are kept, while unsealed.
    pub fn token_salt(&self) -> Option<Arc<hmac::Key>> {
        self.token_salt.load_full()
    }

    /// The HMAC of a text that is given in parts, under the key of tokens: a name in storage that tells nothing of it.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Sealed`].
    pub fn token_hmac(&self, parts: &[&str]) -> Result<[u8; 16], BarrierError> {
        let salt = self.token_salt();
        let mut context = hmac::Context::with_key(salt.as_deref().ok_or(BarrierError::Sealed)?);
        for part in parts {
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Ok(key)
    }

    fn set_token_salt(&self, salt: &[u8]) {
        self.token_salt.store(Some(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, salt))));
    }

    /// Drops all keys and what was collected of them.
    async fn drop_keys(&self, _turn: &Turn) {
        *self.attempt.lock().await = None;
        *self.keys() = Keys::default();
        self.unsealed.store(None);
        self.token_salt.store(None);
        self.barrier.seal();
    }
}

/// The reason why there is no record.
#[derive(Debug, thiserror::Error)]
enum RecordOr {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Barrier(#[from] BarrierError),
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
