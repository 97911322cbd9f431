//! Tokens: their entries, and how they are created, looked up, renewed and revoked.
//!
//! [`TokenStore`] knows mounts, whose lifetimes and engines have a say, and the records of leases, which it marks when
//! a token ends: nothing outside is asked here. Only the active node's clock judges whether a token has expired. Work
//! that does not fit in one transaction is noted in tables of its own ([`WORK`]), and a job of the server goes on with
//! it.

mod batch;
mod create;
mod entry;
mod lookup;
mod renew;
mod revoke;
mod roles;
mod root_use;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod tidy;
mod ttl;
mod wrapped;

use std::sync::Arc;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::Environment;
use strongroom_mounts::Mounts;
use strongroom_seal_state::SealState;
use strongroom_storage::Leadership;

pub use create::{IssuedIdentity, IssuedToken, NewToken, with_default};
pub use entry::TokenEntry;
pub use lookup::Principal;
pub use renew::{RenewalAnswer, RenewalQuestion};
pub use revoke::{BACKGROUND_STEP, STEP};
pub use roles::{OlderNames, RoleTokenType, TokenRole};
pub use root_use::{RootTokenCounts, RootUse};
pub use strongroom_expiry::{AccessorKey, EntityKey, TokenId, TokenKey};
pub use tidy::Tidy;
pub use wrapped::Wrapped;

/// The tokens of a server.
pub struct TokenStore {
    barrier: Arc<Barrier>,
    environment: Environment,
    seal_state: Arc<SealState>,
    mounts: Arc<Mounts>,
    leadership: Leadership,
    root_tokens: Arc<root_use::RootTokens>,
}

impl TokenStore {
    /// Those in storage behind `barrier`, found by HMACs under the key that the state of the seal has.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        seal_state: Arc<SealState>,
        mounts: Arc<Mounts>,
        leadership: Leadership,
    ) -> Self {
        Self { barrier, environment, seal_state, mounts, leadership, root_tokens: Arc::default() }
    }
}

/// The tables in which it is noted what is still to be done.
pub const WORK: [TableId; 3] = [tables::REVOKING.id(), tables::ORPHANING.id(), tables::TIDYING.id()];

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    tables::TABLES
}
