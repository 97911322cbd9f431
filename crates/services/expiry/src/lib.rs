//! Expiry: the records of leases, and the index of tokens and leases by the second of their end.
//!
//! All is in storage in order of time, so nothing is loaded at unseal and ending is a scan. The crates of tokens and
//! leases depend on this one: both are listed here, and either ends the other by a mark. This crate knows no engine,
//! and of a token only its id.

mod id;
mod lease;
mod marks;
#[cfg(test)]
mod tests;
mod ttl;

use strongroom_barrier::{CoreLocal, MountId, NamespaceId, Table, TableId, tables};

pub use id::{AccessorKey, EntityKey, TokenId, TokenKey};
pub use lease::{
    ExpiryEntry, HeldLease, Lease, LeaseOwner, LeaseState, NEVER, OwnedLease, QueuedLease, Revoking, URGENT,
    due_key,
};
pub use marks::{
    ACT_TIMEOUT, End, change_lease, end_intended, end_lease, forget_lease, latest_arrival, move_lease,
};
pub use ttl::{Granted as GrantedTtl, capped, lease_ttl, nonzero_min};

tables! {
    /// The leases that a token owns.
    pub OWNED_LEASES: Table<CoreLocal, (NamespaceId, TokenKey, &str), OwnedLease> = 19;
    /// The leases of batch tokens of an entity: nothing else tells of them when the entity is deleted.
    pub ENTITY_LEASES: Table<CoreLocal, (NamespaceId, EntityKey, &str), OwnedLease> = 39;
    /// Leases by namespace and lease id; a token's lease refers to the token.
    pub LEASES: Table<CoreLocal, (NamespaceId, &str), Lease> = 32;
    /// The index of tokens and leases by the second of their end.
    pub EXPIRY: Table<CoreLocal, (u64, &TokenKey), ExpiryEntry> = 33;
    /// Leases that the outside refused to revoke, by namespace and lease id.
    pub IRREVOCABLE: Table<CoreLocal, (NamespaceId, &str), ()> = 36;
    /// Leases that have ended and stand for something outside: by mount, and the second of the next attempt.
    pub REVOCATIONS: Table<CoreLocal, (MountId, &(u64, &TokenKey)), QueuedLease> = 37;
    /// Leases that are not in force yet, because an act outside is under way for them, by mount.
    pub INTENTS: Table<CoreLocal, (MountId, &TokenKey), QueuedLease> = 38;
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
