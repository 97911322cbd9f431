//! What the core keeps where. Numbers are for ever.

use strongroom_barrier::{Scope, Stored, Table};

use crate::auditing::{AuditEntry, AuditedHeader};
use crate::cluster::{AutopilotConfig, KeptAuthority};
use crate::leases::{Due, Lease};
use crate::mounts::MountEntry;
use crate::policies::PolicyEntry;
use crate::seal_state::RotationConfig;
use crate::snapshots::{AutoSnapshots, AutoStatus};
use crate::tokens::{TokenEntry, TokenKey, TokenRole};
use crate::wrapping::Wrapped;

/// Mounts by namespace and path (`secret/`, `auth/approle/`).
pub(crate) const MOUNTS: Table<(u64, &str), MountEntry> = Table::new(1);
/// Policies by namespace and name.
pub(crate) const POLICIES: Table<(u64, &str), PolicyEntry> = Table::new(2);
/// Audit devices by path.
pub(crate) const AUDIT_DEVICES: Table<str, AuditEntry> = Table::new(3);
/// Request headers that audit records show, by lower-case name.
pub(crate) const AUDITED_HEADERS: Table<str, AuditedHeader> = Table::new(4);
/// Single values by name: the next mount number, the token salt, and the like.
pub(crate) const NUMBERS: Table<str, Number> = Table::new(5);
/// The authority of the cluster's certificates; there is one.
pub(crate) const AUTHORITY: Table<str, KeptAuthority> = Table::new(9);
/// What autopilot goes by; there is one.
pub(crate) const AUTOPILOT: Table<str, AutopilotConfig> = Table::new(10);
/// When and where snapshots are taken by themselves, by name.
pub(crate) const AUTO_SNAPSHOTS: Table<str, AutoSnapshots> = Table::new(11);
/// What has become of them, by name.
pub(crate) const AUTO_STATUS: Table<str, AutoStatus> = Table::new(12);
/// When the barrier's key is rotated by itself; there is one.
pub(crate) const ROTATION: Table<str, RotationConfig> = Table::new(13);
/// Service tokens by key.
pub(crate) const TOKENS: Table<TokenKey, TokenEntry> = Table::new(16);
/// Tokens by accessor.
pub(crate) const ACCESSORS: Table<str, TokenRef> = Table::new(17);
/// The children of a token.
pub(crate) const CHILDREN: Table<(TokenKey, &TokenKey), ()> = Table::new(18);
/// The leases a token owns.
pub(crate) const OWNED_LEASES: Table<(TokenKey, &str), ()> = Table::new(19);
/// Token roles by namespace and name.
pub(crate) const TOKEN_ROLES: Table<(u64, &str), TokenRole> = Table::new(20);
/// Tokens whose subtree is still to be revoked.
pub(crate) const REVOKING: Table<TokenKey, ()> = Table::new(21);
/// Leases by namespace and lease id; a token's lease refers to the token.
pub(crate) const LEASES: Table<(u64, &str), Lease> = Table::new(32);
/// What ends when: by second, then by what it is.
pub(crate) const EXPIRY: Table<(u64, &TokenKey), Due> = Table::new(33);
/// Wrapped answers by the wrapping token.
pub(crate) const WRAPPED: Table<TokenKey, Wrapped> = Table::new(34);

/// The first bytes of the keys of a core table, as observers see them.
pub(crate) fn prefix_of(number: u8) -> Vec<u8> {
    let mut prefix = Scope::core().as_bytes().to_vec();
    prefix.push(number);
    prefix
}

/// One value.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Number(pub(crate) u64);

impl Stored for Number {}

/// Where an accessor leads.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct TokenRef {
    #[serde(rename = "k")]
    pub(crate) key: TokenKey,
}

impl Stored for TokenRef {}
