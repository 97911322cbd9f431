//! The records of a lease.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{MountId, NamespaceId, Stored};
use strongroom_engine_api::{Moment, Payload};
use strongroom_stdx::uuid_bytes;

use crate::{EntityKey, TokenId, TokenKey};

/// A lease as an answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLease {
    /// Its id.
    pub id: String,
    /// The TTL from now.
    pub ttl: Duration,
    /// True if it may be renewed.
    pub renewable: bool,
}

/// One lease as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lease {
    /// The token that this lease is: its life is the token's, and nothing else is kept here.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The token that owns it; `None` for a token's own lease.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<LeaseOwner>,
    /// The entity of that token.
    #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
    pub entity_id: String,
    /// The namespace of that entity where it is another than the lease's.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub entity_home: Option<NamespaceId>,
    /// The number of the mount that granted it.
    #[serde(rename = "m", default)]
    pub mount: MountId,
    /// Its kind among its engine's; empty: it is for nothing in an external system.
    #[serde(rename = "k", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The time at which it was granted.
    #[serde(rename = "c", default)]
    pub issued: Moment,
    /// The time of its last renewal.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Moment>,
    /// The time at which it expires.
    #[serde(rename = "e", default)]
    pub expires: Moment,
    /// The TTL given when it was granted, which is also that of a renewal that requests none.
    #[serde(rename = "d", default, skip_serializing_if = "Duration::is_zero")]
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    #[serde(rename = "x", default, skip_serializing_if = "Duration::is_zero")]
    pub max_ttl: Duration,
    /// True if it may be renewed.
    #[serde(rename = "n", default)]
    pub renewable: bool,
    /// The state: in force, or being revoked.
    #[serde(rename = "s", default, skip_serializing_if = "LeaseState::is_active")]
    pub state: LeaseState,
    /// The data that the engine needs again.
    #[serde(rename = "z", default, skip_serializing_if = "Payload::is_empty")]
    pub payload: Payload,
}

/// The token with which a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseOwner {
    /// A service token.
    #[serde(rename = "t")]
    Token(TokenId),
    /// A batch token, which is not in storage: the lease is held through its parent, and never outlives its end.
    #[serde(rename = "b")]
    Batch {
        /// The token that made it; `None` for an orphan.
        #[serde(rename = "p")]
        parent: Option<TokenId>,
        /// Its end.
        #[serde(rename = "e")]
        end: Option<Moment>,
    },
}

impl LeaseOwner {
    /// The token in storage whose end is the lease's.
    pub const fn holder(self) -> Option<TokenId> {
        match self {
            Self::Token(id) => Some(id),
            Self::Batch { parent, .. } => parent,
        }
    }

    /// The end that no renewal goes beyond.
    pub const fn end(self) -> Option<Moment> {
        match self {
            Self::Token(_) => None,
            Self::Batch { end, .. } => end,
        }
    }
}

/// The state of a lease: `Intended → Active → Revoking → gone | Irrevocable`. A lease of no kind is gone at once, and
/// an intent whose act fails is revoking without ever having been active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseState {
    /// In force.
    #[default]
    #[serde(rename = "a")]
    Active,
    /// An intent: what it is to stand for is being made outside, by this deadline.
    #[serde(rename = "n")]
    Intended(Moment),
    /// It has ended, and is to be revoked in the external system, too.
    #[serde(rename = "r")]
    Revoking(Revoking),
    /// The outside has refused too often: left to an operator.
    #[serde(rename = "i")]
    Irrevocable(Revoking),
}

/// The attempts at revoking a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoking {
    /// Attempts that failed.
    #[serde(rename = "a", default)]
    pub attempts: u32,
    /// Those of them that the outside refused.
    #[serde(rename = "r", default)]
    pub refusals: u32,
    /// The time of the next attempt; the beginning of time where an operator asks for it.
    #[serde(rename = "n", default)]
    pub next: Moment,
    /// The error of the last attempt.
    #[serde(rename = "e", default)]
    pub error: String,
    /// True if the next attempt is the last, whatever comes of it.
    #[serde(rename = "f", default)]
    pub forced: bool,
    /// The moment before which something that an act has sent can still arrive: a success before it is followed by one more
    /// attempt then.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Moment>,
}

impl LeaseState {
    /// True if it is in force.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// True if it is neither in force nor about to be.
    pub const fn has_ended(&self) -> bool {
        matches!(self, Self::Revoking(_) | Self::Irrevocable(_))
    }

    /// Vault's word, or one like it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Intended(_) => "intended",
            Self::Revoking(_) => "revoking",
            Self::Irrevocable(_) => "irrevocable",
        }
    }

    /// The attempts at revoking it.
    pub const fn revoking(&self) -> Option<&Revoking> {
        match self {
            Self::Active | Self::Intended(_) => None,
            Self::Revoking(revoking) | Self::Irrevocable(revoking) => Some(revoking),
        }
    }

    /// The second of its key in its mount's queue.
    pub fn queued_at(&self) -> Option<u64> {
        match self {
            Self::Active | Self::Intended(_) => None,
            Self::Revoking(revoking) => Some(revoking.next.as_secs()),
            Self::Irrevocable(_) => Some(NEVER),
        }
    }
}

/// The place in a queue of what an operator asks for: it is tried whatever its mount's other leases wait for.
pub const URGENT: u64 = 0;
/// The place in a queue of what is not tried again of itself.
pub const NEVER: u64 = u64::MAX;

/// A lease in the queue of its mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueuedLease {
    /// The namespace of the lease.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// The lease.
    #[serde(rename = "l")]
    pub lease: String,
}

impl Stored for QueuedLease {}

impl Stored for Lease {}

impl Lease {
    /// The entity under which a lease of `namespace` is listed: that of a batch token, which no token in storage leads to.
    pub fn listed_entity(&self, namespace: NamespaceId) -> Option<(NamespaceId, EntityKey)> {
        self.entity(namespace).filter(|_| matches!(self.owner, Some(LeaseOwner::Batch { .. })))
    }

    /// The entity of the token that holds it, where `namespace` is the lease's.
    pub fn entity(&self, namespace: NamespaceId) -> Option<(NamespaceId, EntityKey)> {
        Some((self.entity_home.unwrap_or(namespace), uuid_bytes(&self.entity_id)?))
    }

    /// The listing of a token among the leases: the token has all the facts.
    pub fn of_token(id: TokenId, mount: MountId) -> Self {
        Self { token: Some(id), mount, ..Self::default() }
    }
}

/// An entry of the index of ends. It names namespace and mount, so that what is due can be dealt with by mount without
/// opening the lease.
#[derive(Clone, Serialize, Deserialize)]
pub struct ExpiryEntry {
    /// The namespace of the token or lease.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// The mount that granted it.
    #[serde(rename = "m", default, skip_serializing_if = "MountId::is_none")]
    pub mount: MountId,
    /// The lease; `None` for the token under the index entry's key.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

impl Stored for ExpiryEntry {}

impl ExpiryEntry {
    /// The end of a token.
    pub fn of_token(id: TokenId, mount: MountId) -> Self {
        Self { namespace: id.namespace, mount, lease: None }
    }

    /// The end of a lease.
    pub fn of_lease(namespace: NamespaceId, id: &str, lease: &Lease) -> Self {
        Self { namespace, mount: lease.mount, lease: Some(id.to_owned()) }
    }
}

/// A lease among those that a token owns.
#[derive(Clone, Serialize, Deserialize)]
pub struct OwnedLease {
    /// The namespace of the lease, which may lie below its token's.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
}

impl Stored for OwnedLease {}

impl From<NamespaceId> for OwnedLease {
    fn from(namespace: NamespaceId) -> Self {
        Self { namespace }
    }
}

/// The expiry index key of a lease: its id hashed to the width of a token's key.
pub fn due_key(id: &str) -> TokenKey {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let mut key = TokenKey::default();
    for (to, from) in key.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    key
}
