//! Mounts and namespaces, from their creation until nothing of them is left.
//!
//! [`Mounts`] keeps the mount table and the namespaces, and has the [`Router`] that requests look them up in. A mount
//! that is disabled, and a namespace that is deleted, leave a note: what they held is removed in bounded steps by the
//! revocation service, since this one does not know tokens and leases.
//!
//! When storage fails, a lookup fails: a router that is known to be outdated does not answer.

mod call;
mod catalog;
mod changes;
mod disabled_mounts;
mod locks;
mod mounts;
mod moving;
mod namespaces;
mod router;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    Barrier, CoreLocal, CoreSpace, KeyPlace, MountId, NamespaceId, Stored, Table, TableId, tables,
};
use strongroom_engine_api::{Entropy, Facilities, Lifetimes};
use strongroom_seal_state::SealState;
use strongroom_storage::Index;

pub use call::Errand;
pub use catalog::Catalog;
pub use disabled_mounts::DisabledMount;
pub use locks::Unlocking;
pub use mounts::{ListingVisibility, MountEntry, MountHandle, MountTuning, NewMount};
pub use moving::{MountMove, MoveStage, being_moved};
pub use namespaces::{Namespace, named_by, suffix};
pub use router::{JobChanges, Router};

use namespaces::{DeletedNamespace, NamespaceEntry};

tables! {
    /// Mounts by namespace and path (`secret/`, `auth/approle/`).
    pub(crate) MOUNTS: Table<CoreSpace, (NamespaceId, &str), MountEntry> = 1;
    /// Single numbers by name: the next mount's, and the like.
    pub(crate) NUMBERS: Table<CoreSpace, str, Number> = 5;
    /// Namespaces by the one they are in and their name there.
    pub(crate) NAMESPACES: Table<CoreSpace, (NamespaceId, &str), NamespaceEntry> = 14;
    /// Deleted namespaces whose entries are still to be removed, by number.
    pub DELETED_NAMESPACES: Table<CoreLocal, u64, DeletedNamespace> = 15;
    /// Disabled mounts whose entries and leases are still to be removed.
    pub DISABLED_MOUNTS: Table<CoreLocal, MountId, DisabledMount> = 6;
    /// Moves of mounts to other namespaces that something is left of, by the id that their status is asked by.
    pub MOUNT_MOVES: Table<CoreLocal, str, MountMove> = 90;
}

/// One number.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Number(pub(crate) u64);

impl Stored for Number {}

/// The mounts and namespaces of a server.
pub struct Mounts {
    barrier: Arc<Barrier>,
    entropy: Entropy,
    seal_state: Arc<SealState>,
    catalog: Arc<Catalog>,
    lifetimes: Lifetimes,
    router: Arc<Router>,
}

impl Mounts {
    /// Those in storage behind `barrier`, of engines of `catalog`. `lifetimes` are the server's own.
    pub fn new(
        barrier: Arc<Barrier>,
        entropy: Entropy,
        seal_state: Arc<SealState>,
        catalog: Arc<Catalog>,
        facilities: Arc<Facilities>,
        lifetimes: Lifetimes,
    ) -> Self {
        let router = Arc::new(Router::new(catalog.clone(), facilities, lifetimes));
        Self { barrier, entropy, seal_state, catalog, lifetimes, router }
    }

    /// True if no mount and no namespace has changed since `generation` was the router's.
    pub fn is_current(&self, generation: u64) -> bool {
        self.router.is_at(generation)
    }

    /// The engines there are.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The lifetimes of what is granted where no mount says otherwise.
    pub const fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.router.clear();
    }

    /// Commit `index` touched an entry of the server's own.
    pub fn observe(&self, place: KeyPlace, key: &[u8], index: Index) {
        if place.is_of(MOUNTS.id()) {
            self.router.outdate_mount(place.namespace, place.within_table(key), index);
        } else if place.is_of(NAMESPACES.id()) {
            self.router.outdate_namespace(place.namespace, place.within_table(key), index);
        }
    }

    /// Commit `index` may have changed anything.
    pub fn outdate(&self, index: Index) {
        self.router.outdate_all(index);
    }
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
