//! Tokens: what is kept of them, and how they are made, found, renewed and revoked.

use strongroom_barrier::{CoreLocal, CoreSpace, NamespaceId, Table, tables};

mod batch;
mod create;
mod entry;
mod id;
mod lookup;
mod revoke;
mod roles;
#[cfg(test)]
mod tests;
mod tidy;

pub use create::{Made, NewToken, with_default};
pub use entry::TokenEntry;
pub(crate) use id::AccessorKey;
pub use id::{TokenId, TokenKey};
pub(crate) use lookup::AccessorEntry;
pub use lookup::Principal;
pub(crate) use revoke::STEP;
pub use roles::{OlderNames, RoleTokenType, TokenRole};
pub use tidy::Tidy;
pub(crate) use tidy::TidyProgress;

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
    /// Walks of `tidy` under way.
    pub(crate) TIDYING: Table<CoreLocal, u64, TidyProgress> = 23;
}
