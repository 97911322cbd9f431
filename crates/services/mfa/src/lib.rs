//! Second factors of logins (login MFA): methods, login enforcements, the keys and passkeys of entities, and logins that wait. Source: Vault's
//! pages "Login MFA", `identity/mfa` and `sys/mfa/validate`.
//!
//! A login whose first factor is good asks here what else it needs, in the transaction that would make its token
//! ([`Mfa::required`]). It gives that in the same request, or waits ([`Mfa::wait_for`]) and gives it in another. What is given is
//! judged in the transaction that makes the token ([`Mfa::validate`]), so a passcode is used up exactly where there is a token.
//!
//! This crate makes no tokens and knows no auth method. When it cannot find out what is needed, the login fails.

mod attempts;
mod credentials;
mod enforcements;
mod methods;
mod pending;
mod qr;
mod secrets;
mod tables;
mod totp;
mod validation;
mod webauthn;

use std::sync::Arc;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::{EngineError, Environment};
use strongroom_identity::{Identity, IdentityId};
use strongroom_mounts::Mounts;
use strongroom_storage::Leadership;

pub use credentials::Credentials;
pub use enforcements::{Enforcement, EnforcementChange, Requirement};
pub use methods::{FoundMethod, Method, MethodKind};
pub use pending::{Claimed, PendingLogin};
pub use secrets::MadeKey;
pub use totp::{Algorithm, TotpChange, TotpSettings};
pub use validation::{FirstFactor, RequirementView, Satisfied, Waiting};
pub use webauthn::{
    Attestation, CreationOptions, PasskeyAlgorithm, PasskeyView, RegisteredBy, RequestOptions,
    UserVerification, WebauthnChange, WebauthnSettings,
};

/// The second factors of a server.
pub struct Mfa {
    barrier: Arc<Barrier>,
    environment: Environment,
    mounts: Arc<Mounts>,
    identity: Arc<Identity>,
    leadership: Leadership,
    kept: enforcements::Kept,
    attempts: attempts::Attempts,
    pending: pending::PendingLogins,
    registrations: webauthn::Registrations,
}

impl Mfa {
    /// Those in storage behind `barrier`, for the logins of `mounts` and the entities of `identity`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        mounts: Arc<Mounts>,
        identity: Arc<Identity>,
        leadership: Leadership,
    ) -> Self {
        let (attempts, pending) = (attempts::Attempts::default(), pending::PendingLogins::default());
        let kept = enforcements::Kept::new();
        let registrations = webauthn::Registrations::default();
        Self { barrier, environment, mounts, identity, leadership, kept, attempts, pending, registrations }
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.kept.clear();
        self.attempts.clear();
        self.pending.clear();
        self.registrations.clear();
    }

    fn draw_id(&self) -> Result<IdentityId, EngineError> {
        let text = self.environment.entropy.uuid()?;
        IdentityId::parse(&text).ok_or_else(|| EngineError::Internal("a UUID without its form".to_owned()))
    }
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    tables::TABLES
}
