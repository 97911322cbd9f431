//! New key parts, and a new root key. Source: Vault's API pages `sys/rekey` and `sys/rekey-recovery-key`.
//!
//! New parts of the unseal key come with a new root key, so that whoever had enough of the old parts and an old copy of
//! storage cannot open a later one. The entries stay as they are: the root key wraps the keyring, and the keyring opens the
//! entries. New parts for recovery wrap the root key in use.
//!
//! The other nodes hold the old root key in memory. One that finds a keyring that its root key does not open looks for the
//! successor, which storage has, wrapped by the key before it, for as long as [`HANDOVER`]: long enough for every node that
//! runs, and short, because until then the old key leads to the new one. A node that comes later seals itself, and is
//! unsealed with the new parts.
//!
//! All that changes is one commit. A failure before it leaves the old parts in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BOOTSTRAP_RECORD, BarrierError, Keyring, KeyringError, Txn, unwrap_key, wrap_key};
use strongroom_engine_api::Moment;
use strongroom_seal::{
    BootstrapRecord, KeyPart, KeyPartsWanted, RecoveryEntry, RootKey, RootKeyEntry, SealEntry, Seals,
    Unsealing, Wrapped,
};

use crate::init::InitError;
use crate::unseal::{InteractiveSource, absent};
use crate::{KEYRING, SealState, TOKEN_SALT, Turn, UnsealError, of_record};

/// The time for which storage leads from one root key to the next.
pub const HANDOVER: Duration = Duration::from_hours(1);

/// The name of the entry with root keys, each wrapped by the one before it.
const SUCCESSORS: &str = "root-key-successors";

/// The purpose that a root key is wrapped for by the one before it.
const SUCCESSION: &[u8] = b"root-key-successor";

/// The key parts that are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RekeyTarget {
    /// Those that unseal.
    Barrier,
    /// Those for recovery, beside seals that unseal by themselves.
    Recovery,
}

/// A root key as new seals have wrapped it, of which nothing is stored yet.
pub struct NewWrapping {
    pub(crate) root_key: RootKey,
    wrapped: Wrappings,
    target: RekeyTarget,
}

/// A root key as each seal has wrapped it.
#[derive(Default)]
pub(crate) struct Wrappings {
    pub(crate) seals: Vec<SealEntry>,
    pub(crate) root_key: Vec<RootKeyEntry>,
    pub(crate) recovery: Option<RecoveryEntry>,
}

/// A root key that has taken the place of another.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Successor {
    /// Seconds since 1970.
    since: u64,
    /// The root key, wrapped by the one before it.
    blob: Vec<u8>,
}

fn successors(bytes: Option<Vec<u8>>) -> Result<Vec<Successor>, BarrierError> {
    let malformed =
        |error: serde_json::Error| BarrierError::Malformed(SUCCESSORS.to_owned(), error.to_string());
    bytes.map_or_else(|| Ok(Vec::new()), |bytes| serde_json::from_slice(&bytes).map_err(malformed))
}

fn encoded(successors: &[Successor]) -> Result<Vec<u8>, BarrierError> {
    serde_json::to_vec(successors)
        .map_err(|error| BarrierError::Malformed(SUCCESSORS.to_owned(), error.to_string()))
}

impl Successor {
    fn is_over(&self, now: Moment) -> bool {
        now.since(Moment::from_secs(self.since)) >= HANDOVER
    }
}

impl NewWrapping {
    /// The seal of the new key parts.
    pub(crate) fn held_by_people(&self, seals: &Seals) -> Result<InteractiveSource, UnsealError> {
        let nobody = || UnsealError::NoKeyParts(seals.kind().to_owned());
        if self.target == RekeyTarget::Recovery {
            let (seal, entry) = seals.recovery().zip(self.wrapped.recovery.as_ref()).ok_or_else(nobody)?;
            let wrapped = Wrapped { parameters: entry.parameters.clone(), blob: entry.blob.clone() };
            return Ok(InteractiveSource { seal: seal.clone(), wrapped, is_recovery: true });
        }
        let interactive =
            seals.enabled().find(|seal| matches!(seal.seal.unsealing(), Unsealing::Interactive(_)));
        let found = interactive.ok_or_else(nobody)?;
        let entry = self.wrapped.seals.iter().find(|entry| entry.id == found.id).ok_or_else(nobody)?;
        let key = self.wrapped.root_key.iter().find(|entry| entry.seal == found.id).ok_or_else(nobody)?;
        let wrapped = Wrapped { parameters: entry.parameters.clone(), blob: key.blob.clone() };
        Ok(InteractiveSource { seal: found.seal.clone(), wrapped, is_recovery: false })
    }
}

impl SealState {
    /// Makes what is to take the place of the key parts in use, and those parts. Nothing changes yet.
    ///
    /// # Errors
    ///
    /// [`InitError::Configuration`] where the wishes do not go together, or where there are no such parts.
    pub async fn new_wrapping(
        &self,
        target: RekeyTarget,
        wanted: KeyPartsWanted,
    ) -> Result<(NewWrapping, Vec<KeyPart>), InitError> {
        let record = self.record().await?.ok_or_else(|| absent(BOOTSTRAP_RECORD))?;
        let refused = |text: &str| InitError::Configuration(text.to_owned());
        match target {
            RekeyTarget::Recovery => {
                let root_key = self.current_root_key().await?;
                if record.recovery.is_none() {
                    return Err(refused("recovery rekeying not supported"));
                }
                let (recovery, parts) = self
                    .wrap_for_recovery(&root_key, wanted)
                    .await?
                    .ok_or_else(|| refused("recovery rekeying not supported"))?;
                let wrapped = Wrappings { recovery: Some(recovery), ..Wrappings::default() };
                Ok((NewWrapping { root_key, wrapped, target }, parts))
            }
            RekeyTarget::Barrier if record.recovery.is_some() => {
                // The parts for recovery would open the old root key, and nothing.
                Err(refused(
                    "seals that unseal by themselves have no unseal keys to rekey; see sys/rekey-recovery-key",
                ))
            }
            RekeyTarget::Barrier => {
                let root_key = RootKey::new(self.environment.entropy.bytes()?);
                let (wrapped, parts) = self.wrap_root_key(&root_key, wanted).await?;
                Ok((NewWrapping { root_key, wrapped, target }, parts))
            }
        }
    }

    /// Puts the new wrapping in the place of the one in use, within `txn`.
    ///
    /// # Errors
    ///
    /// [`BarrierError`]; [`BarrierError::Conflict`] where the root key was changed since the wrapping was made.
    pub async fn write_wrapping(
        &self,
        _turn: &Turn,
        txn: &Txn,
        new: &NewWrapping,
    ) -> Result<(), BarrierError> {
        let bytes = txn.bootstrap(BOOTSTRAP_RECORD).await?.ok_or_else(|| absent(BOOTSTRAP_RECORD))?;
        let mut record = BootstrapRecord::decode(&bytes).map_err(|error| of_record(&error))?;
        let (held, keyring) = self.keys_to_change(txn, &self.barrier.keyring()?).await?;
        record.generation = record.generation.saturating_add(1);
        match new.target {
            RekeyTarget::Recovery if held != new.root_key => return Err(BarrierError::Conflict),
            RekeyTarget::Recovery => record.recovery.clone_from(&new.wrapped.recovery),
            RekeyTarget::Barrier => {
                let entropy = &self.environment.entropy;
                let salt = unwrap_key(held.expose(), TOKEN_SALT, &record.token_salt)?;
                record.token_salt = wrap_key(entropy, new.root_key.expose(), TOKEN_SALT, &salt)?;
                record.seals.clone_from(&new.wrapped.seals);
                record.root_key.clone_from(&new.wrapped.root_key);
                txn.put_bootstrap(KEYRING, keyring.wrap(entropy, new.root_key.expose())?);
                let now = self.environment.clock.now();
                let mut all = successors(txn.bootstrap(SUCCESSORS).await?)?;
                all.retain(|successor| !successor.is_over(now));
                let blob = wrap_key(entropy, held.expose(), SUCCESSION, new.root_key.expose())?;
                all.push(Successor { since: now.as_secs(), blob });
                txn.put_bootstrap(SUCCESSORS, encoded(&all)?);
            }
        }
        txn.put_bootstrap(BOOTSTRAP_RECORD, record.encode().map_err(|error| of_record(&error))?);
        Ok(())
    }

    /// Goes on with the new root key, which is committed.
    pub fn adopt_wrapping(&self, _turn: &Turn, new: &NewWrapping) {
        self.keys().root_key = Some(new.root_key.clone());
        tracing::info!(target = ?new.target, "the key parts were replaced");
    }

    /// The root key that opens this keyring, and the keyring: `held`, or what followed it. `None` where neither does.
    pub(crate) async fn root_key_of(
        &self,
        held: &RootKey,
        wrapped: &[u8],
    ) -> Result<Option<(RootKey, Keyring)>, BarrierError> {
        let mut root_key = held.clone();
        let mut rest = None;
        loop {
            match Keyring::unwrap(root_key.expose(), wrapped) {
                Ok(keyring) => return Ok(Some((root_key, keyring))),
                Err(KeyringError::Unopenable) => {}
                Err(error) => return Err(error.into()),
            }
            if rest.is_none() {
                rest = Some(successors(self.barrier.bootstrap(SUCCESSORS).await?)?);
            }
            let found = rest.iter_mut().flatten().find_map(|successor| {
                let opened = unwrap_key(root_key.expose(), SUCCESSION, &successor.blob).ok()?;
                successor.blob.clear();
                strongroom_seal::root_key(&opened)
            });
            let Some(next) = found else { return Ok(None) };
            root_key = next;
        }
    }

    /// Has storage forget successors whose time is over.
    pub(crate) async fn forget_successors(&self, _turn: &Turn) -> Result<(), BarrierError> {
        let now = self.environment.clock.now();
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let mut all = successors(txn.bootstrap(SUCCESSORS).await?)?;
        let before = all.len();
        all.retain(|successor| !successor.is_over(now));
        if all.len() < before {
            txn.put_bootstrap(SUCCESSORS, encoded(&all)?);
            txn.commit().await?;
        }
        Ok(())
    }
}
