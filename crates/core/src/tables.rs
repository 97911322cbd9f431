//! The registry of the server's own tables. Numbers are for ever: `tests/formats/tables.txt` keeps them.
//!
//! Tables are by namespace wherever an entry belongs to one, so that a namespace is a range of keys. Indexes of work to be
//! done (by time, by token) are those of the server as a whole, since one walk must see them all; their values, or the
//! end of their keys, name the namespace.

use strongroom_barrier::{CoreLocal, CoreSpace, MountId, NamespaceId, Stored, Table, tables};

use crate::auditing::{AuditEntry, AuditedHeader};
use crate::cluster::{AutopilotConfig, KeptAuthority};
use crate::disabled_mounts::DisabledMount;
use crate::leases::{ExpiryEntry, Lease, OwnedLease, PrefixRevocation, QueuedLease};
use crate::mounts::MountEntry;
use crate::namespaces::{DeletedNamespace, NamespaceEntry};
use crate::policies::{PasswordPolicyEntry, PolicyEntry};
use crate::seal_state::RotationConfig;
use crate::snapshots::{AutoSnapshots, AutoStatus};
use crate::tokens::{AccessorEntry, AccessorKey, TidyProgress, TokenEntry, TokenId, TokenKey, TokenRole};
use crate::wrapping::Wrapped;

tables! {
    /// Mounts by namespace and path (`secret/`, `auth/approle/`).
    pub(crate) MOUNTS: Table<CoreSpace, (NamespaceId, &str), MountEntry> = 1;
    /// Policies by namespace and name.
    pub(crate) POLICIES: Table<CoreSpace, (NamespaceId, &str), PolicyEntry> = 2;
    /// Audit devices by namespace and path.
    pub(crate) AUDIT_DEVICES: Table<CoreSpace, (NamespaceId, &str), AuditEntry> = 3;
    /// Request headers that audit records show, by lower-case name.
    pub(crate) AUDITED_HEADERS: Table<CoreSpace, str, AuditedHeader> = 4;
    /// Single numbers by name: the next mount's, and the like.
    pub(crate) NUMBERS: Table<CoreSpace, str, Number> = 5;
    /// Disabled mounts whose entries and leases are still to be removed.
    pub(crate) DISABLED_MOUNTS: Table<CoreLocal, MountId, DisabledMount> = 6;
    /// Password policies by namespace and name.
    pub(crate) PASSWORD_POLICIES: Table<CoreSpace, (NamespaceId, &str), PasswordPolicyEntry> = 7;
    /// The authority of the cluster's certificates; there is one.
    pub(crate) AUTHORITY: Table<CoreLocal, str, KeptAuthority> = 9;
    /// The configuration of autopilot; there is one.
    pub(crate) AUTOPILOT: Table<CoreLocal, str, AutopilotConfig> = 10;
    /// Automated snapshots by name.
    pub(crate) AUTO_SNAPSHOTS: Table<CoreLocal, str, AutoSnapshots> = 11;
    /// The outcome of automated snapshots, by name.
    pub(crate) AUTO_STATUS: Table<CoreLocal, str, AutoStatus> = 12;
    /// The configuration of the rotation of the barrier's key; there is one.
    pub(crate) ROTATION: Table<CoreSpace, str, RotationConfig> = 13;
    /// Namespaces by the one they are in and their name there.
    pub(crate) NAMESPACES: Table<CoreSpace, (NamespaceId, &str), NamespaceEntry> = 14;
    /// Deleted namespaces whose entries are still to be removed, by number.
    pub(crate) DELETED_NAMESPACES: Table<CoreLocal, u64, DeletedNamespace> = 15;
    /// Service tokens.
    pub(crate) TOKENS: Table<CoreLocal, (NamespaceId, &TokenKey), TokenEntry> = 16;
    /// Tokens by their accessor's HMAC: an accessor revokes its token, so storage does not show it.
    pub(crate) ACCESSORS: Table<CoreLocal, (NamespaceId, &AccessorKey), AccessorEntry> = 17;
    /// The children of a token.
    pub(crate) CHILDREN: Table<CoreLocal, (NamespaceId, TokenKey, &TokenId), ()> = 18;
    /// The leases that a token owns.
    pub(crate) OWNED_LEASES: Table<CoreLocal, (NamespaceId, TokenKey, &str), OwnedLease> = 19;
    /// Token roles by namespace and name.
    pub(crate) TOKEN_ROLES: Table<CoreSpace, (NamespaceId, &str), TokenRole> = 20;
    /// Tokens that are gone and whose children and leases are still to be revoked.
    pub(crate) REVOKING: Table<CoreLocal, TokenId, ()> = 21;
    /// Tokens that are gone and whose children are still to be made orphans.
    pub(crate) ORPHANING: Table<CoreLocal, TokenId, ()> = 22;
    /// Walks of `tidy` under way.
    pub(crate) TIDYING: Table<CoreLocal, u64, TidyProgress> = 23;
    /// Leases by namespace and lease id; a token's lease refers to the token.
    pub(crate) LEASES: Table<CoreLocal, (NamespaceId, &str), Lease> = 32;
    /// The index of tokens and leases by the second of their end.
    pub(crate) EXPIRY: Table<CoreLocal, (u64, &TokenKey), ExpiryEntry> = 33;
    /// Wrapped responses by the wrapping token.
    pub(crate) WRAPPED: Table<CoreLocal, (NamespaceId, &TokenKey), Wrapped> = 34;
    /// Revocations under a prefix of lease ids that are under way, by the number of the namespace and the prefix.
    pub(crate) PREFIX_REVOCATIONS: Table<CoreLocal, (u64, &str), PrefixRevocation> = 35;
    /// Leases that the outside refused to revoke, by namespace and lease id.
    pub(crate) IRREVOCABLE: Table<CoreLocal, (NamespaceId, &str), ()> = 36;
    /// Leases that have ended and stand for something outside: by mount, and the second of the next attempt.
    pub(crate) REVOCATIONS: Table<CoreLocal, (MountId, &(u64, &TokenKey)), QueuedLease> = 37;
    /// Leases that are not in force yet, because an act outside is under way for them, by mount.
    pub(crate) INTENTS: Table<CoreLocal, (MountId, &TokenKey), QueuedLease> = 38;
}

/// One number.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Number(pub(crate) u64);

impl Stored for Number {}
