//! Proof that key holders agree: an operation goes ahead once enough of them have brought their key parts.
//!
//! The proof is the same as that of unsealing: the parts open the root key as storage has it wrapped, and it is the one in
//! use. Nothing is kept here; whoever asks keeps the parts, as long as more are needed.

use strongroom_barrier::BarrierError;
use strongroom_seal::{KeyPart, Offer, Quorum, RootKey, UnsealAttempt, Unsealing};

use crate::rekey::NewWrapping;
use crate::unseal::InteractiveSource;
use crate::{KEYRING, SealState, UnsealError};

/// The key holders of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolders {
    /// The key parts that there are, and how many are needed.
    pub quorum: Quorum,
    /// True where the parts are for recovery, beside seals that unseal by themselves.
    pub for_recovery: bool,
}

/// The worth of the key parts that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// More are needed.
    Progress,
    /// They are enough.
    Proven,
    /// The last of them cannot be a part of this key.
    Unfit(String),
    /// They were enough, and open nothing, or another key.
    Wrong(String),
}

/// Vault's words for key parts that open nothing.
const UNAUTHENTIC: &str = "cipher: message authentication failed";

/// Gives `parts` to an attempt that nothing was given to.
async fn conduct(
    mut attempt: Box<dyn UnsealAttempt>,
    parts: &[KeyPart],
    root_key: &RootKey,
) -> Result<Proof, UnsealError> {
    for part in parts {
        match attempt.offer(part.clone()).await? {
            Offer::Progress => {}
            Offer::RootKey(found) if found == *root_key => return Ok(Proof::Proven),
            Offer::RootKey(_) => return Ok(Proof::Wrong(UNAUTHENTIC.to_owned())),
            Offer::Unfit(reason) => return Ok(Proof::Unfit(reason)),
            Offer::Wrong(reason) => return Ok(Proof::Wrong(reason)),
        }
    }
    Ok(Proof::Progress)
}

impl SealState {
    async fn held_by_people(&self) -> Result<InteractiveSource, UnsealError> {
        let record = self.record().await?.ok_or(UnsealError::NotInitialized)?;
        let source = self.interactive_source(&record.sources()).await?;
        source.ok_or_else(|| UnsealError::NoKeyParts(self.kind().to_owned()))
    }

    /// The key holders of this cluster.
    ///
    /// # Errors
    ///
    /// [`UnsealError::NoKeyParts`] where nobody holds any.
    pub async fn key_holders(&self) -> Result<KeyHolders, UnsealError> {
        let source = self.held_by_people().await?;
        let Unsealing::Interactive(seal) = source.seal.unsealing() else {
            return Err(UnsealError::NoKeyParts(source.seal.kind().to_owned()));
        };
        Ok(KeyHolders { quorum: seal.quorum(&source.wrapped.parameters)?, for_recovery: source.is_recovery })
    }

    /// The worth of these key parts, of which no two are the same.
    ///
    /// # Errors
    ///
    /// [`UnsealError`] where nothing can be said of them.
    pub async fn prove(&self, parts: &[KeyPart]) -> Result<Proof, UnsealError> {
        let root_key = self.current_root_key().await?;
        let attempt = self.begin(self.held_by_people().await?)?;
        conduct(attempt.conducted, parts, &root_key).await
    }

    /// The worth of these key parts as parts of a key that is not in use yet.
    ///
    /// # Errors
    ///
    /// As [`SealState::prove`].
    pub async fn prove_new(&self, new: &NewWrapping, parts: &[KeyPart]) -> Result<Proof, UnsealError> {
        let source = new.held_by_people(&self.seals)?;
        let attempt = self.begin(source)?;
        conduct(attempt.conducted, parts, &new.root_key).await
    }

    /// The root key in use. Where another node has changed it, this one goes on with the new one.
    pub(crate) async fn current_root_key(&self) -> Result<RootKey, BarrierError> {
        let held = self.root_key()?;
        let Some(wrapped) = self.barrier.bootstrap(KEYRING).await? else { return Ok(held) };
        let Some((root_key, _)) = self.root_key_of(&held, &wrapped).await? else { return Ok(held) };
        let mut keys = self.keys();
        // Not where the server was sealed meanwhile.
        if root_key != held && keys.root_key.as_ref() == Some(&held) {
            keys.root_key = Some(root_key.clone());
        }
        Ok(root_key)
    }
}
