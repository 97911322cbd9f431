//! Leases: granting, renewing and listing them, and intents, which are leases that are not in force yet.
//!
//! The records are those of `strongroom-expiry`. A grant rests on the mount and on the token that holds the lease: both
//! must be there when it commits. Leases are ended by `strongroom-revocation`.

mod intents;
mod listing;
mod renewal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{Barrier, BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::{EngineError, Environment, LeaseGrant, Moment, TokenKind};
use strongroom_expiry::{
    ENTITY_LEASES, EXPIRY, ExpiryEntry, HeldLease, INTENTS, LEASES, Lease, LeaseOwner, LeaseState,
    OWNED_LEASES, due_key, lease_ttl, nonzero_min,
};
use strongroom_mounts::{MountHandle, Mounts, suffix};
use strongroom_storage::Leadership;
use strongroom_tokens::{Principal, TokenStore};

pub use intents::{Intended, Undo};
pub use listing::{IrrevocableLease, LeaseFacts};
pub use renewal::Renewing;

use intents::Acts;

const LEASE_ID_LEN: usize = 24;

/// The leases of a server.
pub struct Leases {
    barrier: Arc<Barrier>,
    environment: Environment,
    mounts: Arc<Mounts>,
    tokens: Arc<TokenStore>,
    leadership: Leadership,
    acts: Arc<Acts>,
}

/// The owner that a token is.
fn owner_of(principal: &Principal) -> LeaseOwner {
    let Principal { id, entry } = principal;
    match entry.kind {
        TokenKind::Service => LeaseOwner::Token(*id),
        TokenKind::Batch => LeaseOwner::Batch { parent: entry.parent, end: entry.expires },
    }
}

/// A lease that is about to be made.
pub(crate) struct NewLease<'a> {
    /// The mount that grants it.
    pub(crate) mounted: &'a MountHandle,
    /// The path of the request.
    pub(crate) path: &'a str,
    /// The token that holds it; `None` for a lease that ends with no token.
    pub(crate) owner: Option<&'a Principal>,
    /// Its kind among its engine's.
    pub(crate) kind: &'a str,
}

/// A lease as just granted or renewed, and what the client should know about it (a capped TTL).
pub type Granted = (HeldLease, Option<String>);

impl Leases {
    /// Those in storage behind `barrier`, granted by mounts and held by tokens.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        mounts: Arc<Mounts>,
        tokens: Arc<TokenStore>,
        leadership: Leadership,
    ) -> Self {
        Self { barrier, environment, mounts, tokens, leadership, acts: Arc::default() }
    }

    /// Makes the lease for a secret within `txn`. The mount and the token that holds the lease must still be there when
    /// it commits.
    pub async fn make_lease(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        path: &str,
        owner: &Principal,
        grant: LeaseGrant,
    ) -> Result<Granted, EngineError> {
        let (lifetimes, namespace) = (mounted.mount.lifetimes, mounted.mount.namespace);
        let (now, holder) = (self.environment.clock.now(), owner_of(owner));
        let wanted = if grant.ttl.is_zero() { lifetimes.default } else { grant.ttl };
        let max = nonzero_min(grant.max_ttl, lifetimes.max);
        if grant.hint_only {
            let told = lease_ttl(now, wanted, max, now);
            return Ok((HeldLease { id: String::new(), ttl: told.ttl, renewable: false }, told.warning));
        }
        let granted = lease_ttl(now, wanted, within_owner(now, max, now, holder), now);
        let ttl = granted.ttl;
        let new = NewLease { mounted, path, owner: Some(owner), kind: &grant.kind };
        let (id, lease) = self.new_lease(txn, &new).await?;
        let lease = Lease {
            expires: now.after(ttl),
            ttl,
            max_ttl: grant.max_ttl,
            renewable: grant.renewable,
            payload: grant.payload,
            ..lease
        };
        let entry = ExpiryEntry::of_lease(namespace, &id, &lease);
        EXPIRY.put(txn, &(lease.expires.as_secs(), &due_key(&id)), entry)?;
        if let Some(token) = holder.holder() {
            OWNED_LEASES.put(txn, &(token.namespace, token.key, &id), namespace.into())?;
        }
        if let Some((home, entity)) = lease.listed_entity(namespace) {
            ENTITY_LEASES.put(txn, &(home, entity, &id), namespace.into())?;
        }
        LEASES.put(txn, &(namespace, &id), lease)?;
        Ok((HeldLease { id, ttl, renewable: grant.renewable }, granted.warning))
    }

    /// The id and the facts of a lease that is granted now, without its terms. The mount, and the token that holds the lease,
    /// must still be there when `txn` commits.
    pub(crate) async fn new_lease(
        &self,
        txn: &Txn,
        new: &NewLease<'_>,
    ) -> Result<(String, Lease), EngineError> {
        let NewLease { mounted, path, owner, kind } = new;
        if !kind.is_empty() && mounted.engine.lease_kind(kind).is_none() {
            return Err(EngineError::Internal(format!("the engine has no leases of kind {kind:?}")));
        }
        let holder = owner.map(owner_of);
        if let Some(token) = holder.and_then(LeaseOwner::holder)
            && self.tokens.entry(txn, &token).await?.is_none()
        {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
        self.mounts.require_mount(txn, mounted).await?;
        let end = suffix(mounted.mount.namespace);
        let id = format!("{path}/{}{end}", self.environment.entropy.base62(LEASE_ID_LEN)?);
        let lease = Lease {
            owner: holder,
            entity_id: owner.map_or_else(String::new, |owner| owner.entry.entity_id.clone()),
            entity_home: owner
                .filter(|owner| !owner.entry.entity_id.is_empty())
                .map(|owner| owner.entry.entity_home())
                .filter(|home| *home != mounted.mount.namespace),
            mount: mounted.mount.id,
            kind: (*kind).to_owned(),
            issued: self.environment.clock.now(),
            ..Lease::default()
        };
        Ok((id, lease))
    }

    /// Puts an intent into force within `txn`: its life begins now.
    pub(crate) fn activate(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        (namespace, id): (NamespaceId, &str),
        intended: Lease,
    ) -> Result<Granted, EngineError> {
        let (now, lifetimes) = (self.environment.clock.now(), mounted.mount.lifetimes);
        let wanted = if intended.ttl.is_zero() { lifetimes.default } else { intended.ttl };
        let max = nonzero_min(intended.max_ttl, lifetimes.max);
        let max = intended.owner.map_or(max, |owner| within_owner(now, max, now, owner));
        let granted = lease_ttl(now, wanted, max, now);
        let lease = Lease {
            issued: now,
            expires: now.after(granted.ttl),
            ttl: granted.ttl,
            state: LeaseState::Active,
            ..intended
        };
        INTENTS.delete(txn, &(lease.mount, &due_key(id)));
        let entry = ExpiryEntry::of_lease(namespace, id, &lease);
        EXPIRY.put(txn, &(lease.expires.as_secs(), &due_key(id)), entry)?;
        let held = HeldLease { id: id.to_owned(), ttl: granted.ttl, renewable: lease.renewable };
        LEASES.put(txn, &(namespace, id), lease)?;
        Ok((held, granted.warning))
    }

    /// The lease with this id.
    pub async fn lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<Option<Arc<Lease>>, BarrierError> {
        LEASES.get(reads, &(namespace, id)).await
    }
}

/// The most that a lease can live since it was issued, where its owner's end is one that nothing moves.
fn within_owner(issued: Moment, max: Duration, now: Moment, owner: LeaseOwner) -> Duration {
    match owner.end() {
        // In force a moment ago: one that ends now leaves no time.
        Some(end) if end > now => max.min(end.since(issued)),
        Some(_) => Duration::ZERO,
        None => max,
    }
}
