//! The tables of tokens.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};

use crate::lookup::AccessorEntry;
use crate::tidy::TidyProgress;
use crate::wrapped::Wrapped;
use strongroom_expiry::EntityKey;

use crate::{AccessorKey, TokenEntry, TokenId, TokenKey, TokenRole};

tables! {
    /// Service tokens.
    pub(crate) TOKENS: Table<CoreLocal, (NamespaceId, &TokenKey), TokenEntry> = 16;
    /// Tokens by their accessor's HMAC: an accessor revokes its token, so storage does not show it.
    pub(crate) ACCESSORS: Table<CoreLocal, (NamespaceId, &AccessorKey), AccessorEntry> = 17;
    /// The children of a token.
    pub(crate) CHILDREN: Table<CoreLocal, (NamespaceId, TokenKey, &TokenId), ()> = 18;
    /// Token roles by namespace and name.
    pub(crate) TOKEN_ROLES: Table<CoreSpace, (NamespaceId, &str), TokenRole> = 20;
    /// Tokens that are gone and whose children and leases are still to be revoked.
    pub(crate) REVOKING: Table<CoreLocal, TokenId, ()> = 21;
    /// Tokens that are gone and whose children are still to be made orphans.
    pub(crate) ORPHANING: Table<CoreLocal, TokenId, ()> = 22;
    /// The tokens of an entity, by the entity's namespace.
    pub(crate) ENTITY_TOKENS: Table<CoreLocal, (NamespaceId, EntityKey, &TokenId), ()> = 24;
    /// Walks of `tidy` under way.
    pub(crate) TIDYING: Table<CoreLocal, u64, TidyProgress> = 23;
    /// Wrapped responses by the wrapping token.
    pub(crate) WRAPPED: Table<CoreLocal, (NamespaceId, &TokenKey), Wrapped> = 34;
}
