//! Revocation of tokens and leases: by id, prefix and time, with their mount or namespace; and in the external systems
//! that leases are for.
//!
//! This crate depends on those of tokens and leases and walks both, so that neither needs the other. Ending something
//! means marking it, in bounded steps, each a transaction. The [`revoker`], a job of the active node, then revokes in
//! external systems with the handlers of engines; where a system does not answer, it is tried again, and delays its own
//! mount alone.

mod attempt;
mod deleted_namespaces;
mod disabled_mounts;
mod ending;
mod outcome;
mod revoker;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use strongroom_barrier::{Barrier, CoreLocal, KeyPlace, Table, TableId, tables};
use strongroom_engine_api::Environment;
use strongroom_mounts::Mounts;
use strongroom_storage::Leadership;
use strongroom_tokens::TokenStore;

use ending::PrefixRevocation;
use revoker::Revoker;

tables! {
    /// Revocations under a prefix of lease ids that are under way, by the number of the namespace and the prefix.
    pub(crate) PREFIX_REVOCATIONS: Table<CoreLocal, (u64, &str), PrefixRevocation> = 35;
}

/// Revokes tokens and leases.
pub struct Revocation {
    barrier: Arc<Barrier>,
    environment: Environment,
    mounts: Arc<Mounts>,
    tokens: Arc<TokenStore>,
    leadership: Leadership,
    revoker: Revoker,
}

impl Revocation {
    /// Over the tokens and leases in storage behind `barrier`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        mounts: Arc<Mounts>,
        tokens: Arc<TokenStore>,
        leadership: Leadership,
    ) -> Self {
        Self { barrier, environment, mounts, tokens, leadership, revoker: Revoker::default() }
    }

    /// Hears of a commit to a queue, or to the configuration of a mount; answers whether the revoker has something to do.
    pub fn observe(&self, place: KeyPlace) -> bool {
        self.revoker.observe(place)
    }
}

/// The tables in which it is noted what is still to be done.
pub const WORK: [TableId; 1] = [PREFIX_REVOCATIONS.id()];

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
