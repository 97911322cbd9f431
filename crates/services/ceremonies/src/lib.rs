//! Ceremonies of key holders: operations that go ahead once enough of them have brought their key parts. Source: Vault's API
//! pages `sys/rekey`, `sys/rekey-recovery-key` and `sys/generate-root`.
//!
//! One of each kind is under way at a time. Its progress is in the memory of the node that leads, never in storage: key parts
//! are not written down. It ends with the node's leadership, and when the server is sealed.
//!
//! A request changes the progress only once it is committed ([`Step`]): one whose transaction has to be decided again finds
//! the ceremony as it was. Key parts that open nothing end what was collected, not the ceremony.

mod backups;
mod rekey;
mod root_token;
mod slot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_barrier::{BarrierError, CoreLocal, Table, TableId, tables};
use strongroom_engine_api::{EngineError, Environment, Lifetimes, bad_request};
use strongroom_pgp::PgpError;
use strongroom_seal_state::{InitError, RekeyTarget, SealError, SealState, UnsealError};
use strongroom_storage::Leadership;
use strongroom_tokens::TokenStore;

pub use backups::KeyBackup;
pub use rekey::{NewParts, RekeyAnswer, RekeyPlan, RekeyStatus, VerifyStatus};
pub use root_token::{OTP_LENGTH, RootTokenStatus, TokenSecrecy, decoded};

use rekey::Rekey;
use root_token::RootToken;
use slot::{Slot, Term};

tables! {
    /// Copies of encrypted key parts, by what they are parts of.
    pub KEY_BACKUPS: Table<CoreLocal, str, KeyBackup> = 60;
}

/// An answer, and what is to be done once the request is committed.
pub struct Step<A> {
    /// The answer.
    pub answer: A,
    /// The change to the ceremony. Until it is run or dropped, others wait.
    pub change: Box<dyn FnOnce() + Send + Sync>,
}

/// The ceremonies of a server.
pub struct Ceremonies {
    seal_state: Arc<SealState>,
    tokens: Arc<TokenStore>,
    leadership: Leadership,
    environment: Environment,
    /// The lifetimes of the server.
    lifetimes: Lifetimes,
    root_token: Slot<RootToken>,
    rekey: Slot<Rekey>,
    recovery_rekey: Slot<Rekey>,
    /// The number of times that the server was sealed.
    sealed: AtomicU64,
}

impl Ceremonies {
    /// None under way.
    pub fn new(
        seal_state: Arc<SealState>,
        tokens: Arc<TokenStore>,
        leadership: Leadership,
        environment: Environment,
        lifetimes: Lifetimes,
    ) -> Self {
        let (root_token, rekey, recovery_rekey) = (Slot::default(), Slot::default(), Slot::default());
        let sealed = AtomicU64::default();
        Self {
            seal_state,
            tokens,
            leadership,
            environment,
            lifetimes,
            root_token,
            rekey,
            recovery_rekey,
            sealed,
        }
    }

    /// Forgets all that was collected: the server is sealed.
    pub fn clear(&self) {
        self.sealed.fetch_add(1, Ordering::SeqCst);
        self.root_token.clear();
        self.rekey.clear();
        self.recovery_rekey.clear();
    }

    fn rekey_slot(&self, target: RekeyTarget) -> &Slot<Rekey> {
        match target {
            RekeyTarget::Barrier => &self.rekey,
            RekeyTarget::Recovery => &self.recovery_rekey,
        }
    }

    /// The term in which this node leads and is unsealed: a ceremony of another term is over.
    fn term(&self) -> Result<Term, EngineError> {
        let lost = || EngineError::Status(503, "this node does not lead".to_owned());
        let led = self.leadership.term().ok_or_else(lost)?;
        Ok(Term { led, sealed: self.sealed.load(Ordering::SeqCst) })
    }

    fn nonce(&self) -> Result<String, EngineError> {
        Ok(self.environment.entropy.uuid()?)
    }

    /// The key parts that a ceremony takes.
    async fn required(&self) -> Result<u8, EngineError> {
        Ok(self.seal_state.key_holders().await.map_err(refused)?.quorum.required)
    }
}

/// The error of a seal as clients see it.
fn refused(error: UnsealError) -> EngineError {
    match error {
        UnsealError::Barrier(error) => error.into(),
        UnsealError::Seal(SealError::Unavailable(_)) => EngineError::Status(503, error.to_string()),
        UnsealError::Seal(_) => EngineError::Status(500, error.to_string()),
        other => bad_request(other.to_string()),
    }
}

/// The error of wrapping a root key anew as clients see it.
fn not_wrapped(error: InitError) -> EngineError {
    match error {
        InitError::Engine(error) => error,
        InitError::Configuration(text) => bad_request(format!("invalid rekey seal configuration: {text}")),
        InitError::Seal(SealError::Unavailable(_)) => EngineError::Status(503, error.to_string()),
        InitError::Seal(_) | InitError::AlreadyInitialized => EngineError::Status(500, error.to_string()),
    }
}

/// The error of encrypting to a holder's key as clients see it.
fn not_encrypted(error: PgpError) -> EngineError {
    match error {
        PgpError::Failed(_) => EngineError::Internal(error.to_string()),
        other => bad_request(other.to_string()),
    }
}

/// A conflict that asks the client to begin again, since another ceremony has changed the key meanwhile.
fn overtaken(error: BarrierError) -> EngineError {
    match error {
        BarrierError::Conflict => {
            bad_request("the root key was changed meanwhile; cancel the operation and start again")
        }
        other => other.into(),
    }
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
