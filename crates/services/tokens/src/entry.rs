//! The stored entry of a token.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::TokenId;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{MountId, NamespaceId, Stored};
use strongroom_engine_api::{Moment, TokenKind, TokenSettings};
use strongroom_expiry::EntityKey;
use strongroom_stdx::uuid_bytes;

/// One token. Members are left out where they are at their default, because there may be millions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEntry {
    /// The accessor; empty for batch tokens.
    #[serde(rename = "a", default, skip_serializing_if = "String::is_empty")]
    pub accessor: String,
    /// The token that made it; `None` for orphans.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TokenId>,
    /// Its policies, sorted.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The path that issued it (`auth/approle/login`).
    #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Its display name.
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// The metadata set at its creation.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The time of its creation.
    #[serde(rename = "c", default)]
    pub created: Moment,
    /// The time of its last renewal.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Moment>,
    /// The time at which it expires; `None`: never (root tokens without a TTL).
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// The TTL at its creation.
    #[serde(rename = "t", default, skip_serializing_if = "Duration::is_zero")]
    pub creation_ttl: Duration,
    /// The most it can live, as its role said; zero: the mount's.
    #[serde(rename = "x", default, skip_serializing_if = "Duration::is_zero")]
    pub max_ttl: Duration,
    /// A hard end after creation; zero: none.
    #[serde(rename = "h", default, skip_serializing_if = "Duration::is_zero")]
    pub explicit_max_ttl: Duration,
    /// Renewable without limit in steps of this; zero: not periodic.
    #[serde(rename = "r", default, skip_serializing_if = "Duration::is_zero")]
    pub period: Duration,
    /// The period that was asked for when it was made with a role. The role's may change; the lesser counts.
    #[serde(rename = "j", default, skip_serializing_if = "Duration::is_zero")]
    pub asked_period: Duration,
    /// Uses left; zero: without limit.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub num_uses: u32,
    /// True if it may be renewed.
    #[serde(rename = "n", default, skip_serializing_if = "is_false")]
    pub renewable: bool,
    /// The token role it was made with.
    #[serde(rename = "k", default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Addresses it may be used from; empty: any.
    #[serde(rename = "b", default, skip_serializing_if = "Vec::is_empty")]
    pub bound_cidrs: Vec<IpNet>,
    /// Made without the `default` policy.
    #[serde(rename = "f", default, skip_serializing_if = "is_false")]
    pub no_default_policy: bool,
    /// Service or batch.
    #[serde(rename = "y", default, skip_serializing_if = "is_service")]
    pub kind: TokenKind,
    /// The identity entity.
    #[serde(rename = "i", default, skip_serializing_if = "String::is_empty")]
    pub entity_id: String,
    /// The namespace of that entity where it is another than the token's.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub entity_namespace: Option<NamespaceId>,
    /// The namespace it belongs to.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// The number of the auth mount that granted it.
    #[serde(rename = "q", default, skip_serializing_if = "MountId::is_none")]
    pub mount: MountId,
    /// The data that the auth method needs again at renewal.
    #[serde(rename = "z", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub internal: BTreeMap<String, String>,
}

impl Stored for TokenEntry {}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_service(kind: &TokenKind) -> bool {
    *kind == TokenKind::Service
}

impl TokenEntry {
    /// True if it holds the `root` policy.
    pub fn is_root(&self) -> bool {
        self.policies.iter().any(|policy| policy == strongroom_policy::ROOT_POLICY_NAME)
    }

    /// The namespace of its entity.
    pub fn entity_home(&self) -> NamespaceId {
        self.entity_namespace.unwrap_or(self.namespace)
    }

    /// Its entity, where it has one. An id that none can have is none's: nothing is found under it.
    pub fn entity(&self) -> Option<(NamespaceId, EntityKey)> {
        if self.entity_id.is_empty() {
            return None;
        }
        Some((self.entity_home(), uuid_bytes(&self.entity_id).unwrap_or_default()))
    }

    /// True if it has no parent.
    pub const fn is_orphan(&self) -> bool {
        self.parent.is_none()
    }

    /// True if it has expired.
    pub fn has_expired(&self, now: Moment) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// The TTL that is left; zero for one without an expiry.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.expires.map_or(Duration::ZERO, |end| end.since(now))
    }

    /// True if it may be used from `address`. An unknown address is outside every block.
    pub fn may_come_from(&self, address: Option<std::net::IpAddr>) -> bool {
        TokenSettings::is_within(&self.bound_cidrs, address)
    }
}
