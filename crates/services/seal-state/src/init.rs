//! Initializing: the keys of a new cluster, and all that it begins with.

use strongroom_barrier::{BOOTSTRAP_RECORD, BarrierError, Keyring, KeyringError, Txn, wrap_key};
use strongroom_engine_api::EngineError;
use strongroom_seal::{
    BootstrapRecord, ConfiguredSeal, KeyPart, KeyPartsWanted, RecoveryEntry, RootKey, RootKeyEntry,
    SealEntry, SealError, Unsealing,
};
use strongroom_storage::MIGRATING;
use zeroize::Zeroizing;

use crate::rekey::Wrappings;
use crate::{KEYRING, SealState, TOKEN_SALT, Turn, of_record};

/// The reasons why initializing was refused.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It has been done before.
    #[error("Vault is already initialized")]
    AlreadyInitialized,
    /// The wishes do not go together.
    #[error("invalid seal configuration: {0}")]
    Configuration(String),
    /// A seal failed.
    #[error(transparent)]
    Seal(SealError),
    /// Keys or storage failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<BarrierError> for InitError {
    fn from(error: BarrierError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<KeyringError> for InitError {
    fn from(error: KeyringError) -> Self {
        BarrierError::from(error).into()
    }
}

impl From<strongroom_stdx::EntropyError> for InitError {
    fn from(error: strongroom_stdx::EntropyError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<SealError> for InitError {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Configuration(text) => Self::Configuration(text),
            other => Self::Seal(other),
        }
    }
}

/// A cluster's keys, of which nothing is stored yet.
pub struct NewKeys {
    /// The bootstrap record.
    pub record: BootstrapRecord,
    /// The keyring, wrapped by the root key.
    pub wrapped_keyring: Vec<u8>,
    /// The key parts, for those who keep them.
    pub key_parts: Vec<KeyPart>,
}

impl NewKeys {
    /// Writes the bootstrap entries.
    pub fn write(&self, txn: &Txn) -> Result<(), BarrierError> {
        txn.put_bootstrap(BOOTSTRAP_RECORD, self.record.encode().map_err(|error| of_record(&error))?);
        txn.put_bootstrap(KEYRING, self.wrapped_keyring.clone());
        Ok(())
    }
}

impl SealState {
    /// Refuses storage that is in use.
    pub async fn check_new(&self) -> Result<(), InitError> {
        if self.is_initialized().await? {
            return Err(InitError::AlreadyInitialized);
        }
        let snapshot = self.barrier.store().snapshot().await.map_err(BarrierError::from)?;
        if snapshot.get(MIGRATING).await.map_err(BarrierError::from)?.is_some() {
            return Err(InitError::Configuration(
                "a migration to this storage has not been finished; finish it with \"operator migrate\", or take it back \
                 with its flag -reset"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Makes a cluster's keys, has every seal wrap the root key, and puts them in place, so that the first entries can be
    /// written.
    pub async fn create(
        &self,
        _turn: &Turn,
        wanted: KeyPartsWanted,
        cluster_name: &str,
    ) -> Result<NewKeys, InitError> {
        let entropy = &self.environment.entropy;
        let root_key = RootKey::new(entropy.bytes()?);
        let salt = Zeroizing::new(entropy.bytes::<32>()?);
        let cluster_name = match cluster_name {
            "" => format!("vault-cluster-{:08x}", u32::from_be_bytes(entropy.bytes()?)),
            name => name.to_owned(),
        };
        let wrapped_salt = wrap_key(entropy, root_key.expose(), TOKEN_SALT, &*salt)?;
        let mut record = BootstrapRecord::new(cluster_name, entropy.uuid()?, wrapped_salt);
        let (wrapped, key_parts) = self.wrap_root_key(&root_key, wanted).await?;
        (record.seals, record.root_key, record.recovery) =
            (wrapped.seals, wrapped.root_key, wrapped.recovery);
        let keyring = Keyring::generate(entropy, self.environment.clock.now())?;
        let wrapped_keyring = keyring.wrap(entropy, root_key.expose())?;
        self.barrier.unseal(keyring);
        self.set_token_salt(&*salt);
        Ok(NewKeys { record, wrapped_keyring, key_parts })
    }

    /// Has every seal wrap the root key. All must: a seal that is only said to be one would be missed when it is needed.
    pub(crate) async fn wrap_root_key(
        &self,
        root_key: &RootKey,
        wanted: KeyPartsWanted,
    ) -> Result<(Wrappings, Vec<KeyPart>), InitError> {
        let entropy = &self.environment.entropy;
        let (mut made, mut key_parts) = (Wrappings::default(), Vec::new());
        for ConfiguredSeal { id, priority, disabled, seal } in self.seals.enabled() {
            seal.health().await?;
            let wrapped = match seal.unsealing() {
                Unsealing::Auto(seal) => seal.wrap(root_key).await?,
                Unsealing::Interactive(seal) => {
                    let (wrapped, parts) = seal.wrap(root_key, wanted, entropy).await?;
                    key_parts = parts;
                    wrapped
                }
            };
            made.root_key.push(RootKeyEntry { seal: id.clone(), blob: wrapped.blob });
            made.seals.push(SealEntry {
                id: id.clone(),
                kind: seal.kind().to_owned(),
                priority: *priority,
                disabled: *disabled,
                parameters: wrapped.parameters,
            });
        }
        if self.unseals_by_itself()
            && let Some((recovery, parts)) = self.wrap_for_recovery(root_key, wanted).await?
        {
            (made.recovery, key_parts) = (Some(recovery), parts);
        }
        Ok((made, key_parts))
    }

    /// Has the seal for recovery wrap the root key; `None` where there is none.
    pub(crate) async fn wrap_for_recovery(
        &self,
        root_key: &RootKey,
        wanted: KeyPartsWanted,
    ) -> Result<Option<(RecoveryEntry, Vec<KeyPart>)>, InitError> {
        let Some(recovery) = self.seals.recovery() else { return Ok(None) };
        let Unsealing::Interactive(seal) = recovery.unsealing() else { return Ok(None) };
        let (wrapped, parts) = seal.wrap(root_key, wanted, &self.environment.entropy).await?;
        let kind = recovery.kind().to_owned();
        Ok(Some((RecoveryEntry { kind, parameters: wrapped.parameters, blob: wrapped.blob }, parts)))
    }
}
