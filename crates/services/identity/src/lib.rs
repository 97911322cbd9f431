//! Identity: entities, the aliases by which auth mounts know them, groups of both, and the policies that follow.
//!
//! A person or machine that logs in by several methods is one entity, with an alias for each mount. Its tokens have, beside
//! their own policies, those of the entity and of every group that it is in, as they are now and not as they were at login.
//! Entities, aliases, groups and memberships are rows ([`tables`]), so each costs what it is and a change costs what it
//! changes. [`Effective`] is what a request needs of all this, kept in memory on every node ([`effective`]).
//!
//! This crate knows no tokens and no leases: the revocation service ends those of an entity that is deleted. It does not
//! decide who may do what: the pipeline asks policies, with the names that come from here. When storage fails, a lookup fails,
//! and the request with it: a token is never taken for one without an entity.

mod across;
mod aliases;
mod clearing;
mod effective;
mod entities;
mod group_aliases;
mod groups;
mod id;
mod listing;
mod login;
mod members;
mod merge;
mod names;
mod scim;
mod tables;

use std::sync::Arc;

use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::Environment;
use strongroom_mounts::Mounts;

pub use across::GroupPolicyMode;
pub use aliases::{Alias, AliasChange, AliasPlace, FoundAlias, GroupAlias};
pub use effective::Effective;
pub use entities::{Entity, EntityChange};
pub use group_aliases::FoundGroupAlias;
pub use groups::{Group, GroupChange, GroupKind};
pub use id::IdentityId;
pub use login::{LoggedIn, Login};
pub use members::{MAX_CHANGES, Placed};
pub use merge::Merge;
pub use names::fold;
pub use scim::{Managed, ScimClient, ScimClientChange, ScimResource};

/// The identities of a server.
pub struct Identity {
    barrier: Arc<Barrier>,
    environment: Environment,
    mounts: Arc<Mounts>,
    cached: effective::Cached,
}

impl Identity {
    /// Those in storage behind `barrier`, with aliases at the auth mounts of `mounts`.
    pub fn new(barrier: Arc<Barrier>, environment: Environment, mounts: Arc<Mounts>) -> Self {
        Self { barrier, environment, mounts, cached: effective::Cached::new() }
    }
}

/// The table in which it is noted which SCIM clients are being deleted.
pub const SCIM_WORK: TableId = tables::DELETED_SCIM_CLIENTS.id();

/// The tables in which it is noted what is still to be done.
pub const WORK: [TableId; 2] = [tables::DELETED_ENTITIES.id(), tables::DISABLED_MOUNT_ALIASES.id()];

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    tables::TABLES
}
