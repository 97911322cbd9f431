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
mod draining;
mod ending;
mod entities;
mod moving;
mod outcome;
mod revoker;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use strongroom_barrier::{Barrier, CoreLocal, KeyPlace, Table, TableId, tables};
use strongroom_engine_api::Environment;
use strongroom_expiry::{EntityKey, TokenKey};
use strongroom_mounts::{DISABLED_MOUNTS, Mounts};
use strongroom_storage::Leadership;
use strongroom_tokens::TokenStore;

use disabled_mounts::Clearing;
pub use draining::{DrainingMount, Stage};
use ending::PrefixRevocation;
pub use entities::HeldByEntity;
pub use moving::Drained;
use revoker::Revoker;
use walk::Walk;

tables! {
    /// Revocations under a prefix of lease ids that are under way, by the number of the namespace and the prefix.
    pub(crate) PREFIX_REVOCATIONS: Table<CoreLocal, (u64, &str), PrefixRevocation> = 35;
    /// Entities whose tokens and leases are being ended, by the number of their namespace.
    pub(crate) ENTITY_REVOCATIONS: Table<CoreLocal, (u64, &EntityKey), ()> = 25;
}

/// Revokes tokens and leases.
pub struct Revocation {
    barrier: Arc<Barrier>,
    environment: Environment,
    mounts: Arc<Mounts>,
    tokens: Arc<TokenStore>,
    leadership: Leadership,
    revoker: Revoker,
    /// The last entry by time that a walk through what is due has ended, while it is under way.
    expired: Walk<(u64, TokenKey)>,
    clearing: Clearing,
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
        Self {
            barrier,
            environment,
            mounts,
            tokens,
            leadership,
            revoker: Revoker::default(),
            expired: Walk::default(),
            clearing: Clearing::default(),
        }
    }

    /// Hears of a commit to a queue, or to the configuration of a mount; answers whether the revoker has something to do.
    pub fn observe(&self, place: KeyPlace, key: &[u8]) -> bool {
        if place.is_of(DISABLED_MOUNTS.id()) {
            self.clearing.observe(place, key);
        }
        self.revoker.observe(place, key)
    }

    /// Has all that is derived from storage read anew: commits may have been missed.
    pub fn outdate(&self) {
        self.clearing.forget();
        self.revoker.forget_queues();
    }
}

/// The tables in which it is noted what is still to be done.
pub const WORK: [TableId; 2] = [PREFIX_REVOCATIONS.id(), ENTITY_REVOCATIONS.id()];

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
