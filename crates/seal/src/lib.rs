//! Seals: ways of keeping a cluster's root key from anybody who has only its storage.
//!
//! The root key opens the keyring, and the keyring every entry. Storage has the root key only as one or several seals
//! have wrapped it. The traits here are all that the server knows of a seal, so that people who hold key parts, a cloud's
//! key service, a hardware module or another cluster can each stand in that place. Every kind is a crate of its own in
//! `crates/seals/`.
//!
//! A seal unseals in one of two ways, which [`Unsealing`] tells apart: an [`AutoSeal`] asks something outside and needs
//! nobody; an [`InteractiveSeal`] conducts an [`UnsealAttempt`], to which people bring key parts one after the other.
//!
//! Deliberately not here: where the record of the seals is stored, who may unseal, and what a server does once it has its
//! root key. A seal that fails says how ([`SealError`]): what is unavailable is worth another try, what is refused is not.

mod configured;
mod record;

use async_trait::async_trait;
use serde_json::{Map, Value};
use strongroom_stdx::{Entropy, Secret};

pub use configured::{ConfiguredSeal, Seals};
pub use record::{
    BootstrapRecord, EARLIER_ENTRY, RecordError, RecoveryEntry, RootKeyEntry, RootKeySource, SealEntry,
};

/// The key under which a cluster's keyring is kept.
pub type RootKey = Secret<[u8; 32]>;

/// One holder's part of a key, as it was handed out.
pub type KeyPart = Secret<Vec<u8>>;

/// A seal's public parameters, kept and shown in clear: the name of a key, the number of key parts. Never a credential.
pub type Parameters = Map<String, Value>;

/// The reasons why a seal did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Nothing could be learned from what the seal stands on: it does not answer, or not in time. Worth another try.
    #[error("the seal is not available: {0}")]
    Unavailable(String),
    /// The seal answered, and the answer is no: a wrong key, a permission that lacks. The same try fails again.
    #[error("the seal refuses: {0}")]
    Refused(String),
    /// The parameters or the wrapped key in storage make no sense to a seal of this kind.
    #[error("the record of the seal is malformed: {0}")]
    Malformed(String),
    /// The wishes for a new seal do not go together.
    #[error("{0}")]
    Configuration(String),
}

/// A root key in the form in which a seal lets it be stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wrapped {
    /// The seal's public parameters.
    pub parameters: Parameters,
    /// The wrapped key. Opaque to all but the seal.
    pub blob: Vec<u8>,
}

/// The key parts that a new seal is asked for, as a client wrote the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPartsWanted {
    /// Key parts to hand out.
    pub total: i64,
    /// Key parts that are needed together.
    pub required: i64,
    /// Key parts that the server is to keep by itself. Seals that keep none take 0, 1 and `total` for "as usual".
    pub stored: i64,
}

impl KeyPartsWanted {
    /// `total` key parts of which `required` are needed.
    pub fn new(total: u8, required: u8) -> Self {
        Self { total: total.into(), required: required.into(), stored: 0 }
    }
}

/// The number of key parts that there are, and how many are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// Key parts that there are.
    pub total: u8,
    /// Key parts that are needed together.
    pub required: u8,
}

/// The state of an attempt at unsealing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Key parts that were given and count.
    pub given: usize,
    /// The attempt's name, which tells it from the next one.
    pub nonce: String,
}

/// The outcome of offering a key part.
#[derive(Debug)]
pub enum Offer {
    /// Taken, or known already; more are needed.
    Progress,
    /// These parts were enough.
    RootKey(RootKey),
    /// This cannot be a part of the seal's key. The attempt continues without it.
    Unfit(String),
    /// The parts were enough, and open nothing. The attempt starts again from the beginning.
    Wrong(String),
}

/// A way of keeping the root key.
#[async_trait]
pub trait Seal: Send + Sync + 'static {
    /// The name of the kind, as in a `seal` stanza and in `sys/seal-status`.
    fn kind(&self) -> &'static str;

    /// The way in which the seal opens.
    fn unsealing(&self) -> Unsealing<'_>;

    /// Asks what the seal stands on whether it would wrap and unwrap now.
    ///
    /// # Errors
    ///
    /// [`SealError::Unavailable`] and [`SealError::Refused`].
    async fn health(&self) -> Result<(), SealError>;

    /// The challenge for a node that wants to join and has proved nothing yet: enough for a holder of this seal to come to
    /// the root key, and of no use to anybody else. The node proves itself with the root key. A seal whose wrapped key as
    /// it is stored is not fit to be shown shows another wrapping.
    fn join_challenge(&self, stored: &Wrapped) -> Wrapped {
        stored.clone()
    }
}

/// The two ways in which a seal opens.
pub enum Unsealing<'a> {
    /// By itself, at the start.
    Auto(&'a dyn AutoSeal),
    /// By people who bring key parts.
    Interactive(&'a dyn InteractiveSeal),
}

/// A seal that unwraps by itself.
#[async_trait]
pub trait AutoSeal: Send + Sync {
    /// Wraps a root key.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    async fn wrap(&self, root_key: &RootKey) -> Result<Wrapped, SealError>;

    /// Unwraps what [`AutoSeal::wrap`] made.
    ///
    /// # Errors
    ///
    /// [`SealError`].
    async fn unwrap(&self, wrapped: &Wrapped) -> Result<RootKey, SealError>;
}

/// A seal that people open with key parts.
#[async_trait]
pub trait InteractiveSeal: Send + Sync {
    /// Wraps a root key under a new key, and hands out that key's parts.
    ///
    /// # Errors
    ///
    /// [`SealError::Configuration`] where the numbers of parts do not go together; the others as they come.
    async fn wrap(
        &self,
        root_key: &RootKey,
        wanted: KeyPartsWanted,
        entropy: &Entropy,
    ) -> Result<(Wrapped, Vec<KeyPart>), SealError>;

    /// The number of key parts of a seal with these parameters.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`].
    fn quorum(&self, parameters: &Parameters) -> Result<Quorum, SealError>;

    /// Begins an attempt at unwrapping, named `nonce`.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`].
    fn attempt(&self, wrapped: &Wrapped, nonce: String) -> Result<Box<dyn UnsealAttempt>, SealError>;
}

/// An attempt at unwrapping that collects key parts.
#[async_trait]
pub trait UnsealAttempt: Send {
    /// The state of the attempt.
    fn progress(&self) -> Progress;

    /// Takes one key part.
    ///
    /// # Errors
    ///
    /// [`SealError`] where nothing can be said of the part; it does not count then.
    async fn offer(&mut self, part: KeyPart) -> Result<Offer, SealError>;
}

/// The root key in these bytes; `None` where they are of another length.
pub fn root_key(bytes: &[u8]) -> Option<RootKey> {
    <[u8; 32]>::try_from(bytes).ok().map(RootKey::new)
}
