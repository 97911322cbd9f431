//! Renewing leases: what the lease and its mount allow, what the engine says, and what is then written.
//!
//! The engine is asked between a look at the lease and the write, once and in no transaction, so that a conflict asks nothing
//! again and a system outside that does not answer holds no transaction open. The lease may have ended meanwhile: the write
//! looks at it anew, and refuses.

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{NamespaceId, Reads, Txn};
use strongroom_engine_api::{EngineError, LeaseInHand, LeaseTerms, Lifetimes, Moment, bad_request};
use strongroom_expiry::{
    ACT_TIMEOUT, EXPIRY, EntityKey, ExpiryEntry, GrantedTtl, HeldLease, LEASES, Lease, due_key, lease_ttl,
    nonzero_min,
};
use strongroom_mounts::{Errand, MountHandle};

use crate::{Granted, Leases, within_owner};

/// A lease that is being renewed.
pub struct Renewing {
    namespace: NamespaceId,
    id: String,
    increment: Option<Duration>,
    granted: GrantedTtl,
    mounted: Arc<MountHandle>,
    lease: Arc<Lease>,
    /// The terms of the engine's answer.
    terms: Option<LeaseTerms>,
}

impl Renewing {
    /// The entity of the token that holds the lease.
    pub fn entity(&self) -> Option<(NamespaceId, EntityKey)> {
        self.lease.entity(self.namespace)
    }
}

impl Leases {
    /// A lease that a client would renew, in its current state: an error where it cannot be renewed at all.
    pub async fn renewable_lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<Renewing, EngineError> {
        let now = self.environment.clock.now();
        let Some(lease) = LEASES.get(reads, &(namespace, id)).await? else {
            return Err(bad_request("lease not found"));
        };
        if lease.token.is_some() {
            return Err(bad_request("tokens cannot be renewed through this endpoint"));
        }
        if lease.expires <= now || !lease.state.is_active() {
            return Err(bad_request("lease expired"));
        }
        if !lease.renewable {
            return Err(bad_request("lease is not renewable"));
        }
        let router = self.mounts.router().await?;
        let Some(mounted) = router.by_id(namespace, lease.mount) else {
            // Its mount is disabled, and it is about to be revoked.
            return Err(bad_request("lease expired"));
        };
        let increment = increment.filter(|increment| !increment.is_zero());
        let wanted = increment.unwrap_or(lease.ttl);
        let granted = renewal(&lease, wanted, mounted.mount.lifetimes, now)?;
        let mounted = mounted.clone();
        Ok(Renewing { namespace, id: id.to_owned(), increment, granted, mounted, lease, terms: None })
    }

    /// Has the engine say what it grants, where its leases are of a kind with a say in it. Runs once, in no transaction.
    pub async fn ask_engine(&self, mut renewing: Renewing) -> Result<Renewing, EngineError> {
        let mounted = renewing.mounted.clone();
        let kind = mounted.engine.lease_kind(&renewing.lease.kind);
        let Some(kind) = kind.filter(|kind| kind.has_say_in_renewals()) else { return Ok(renewing) };
        let now = self.environment.clock.now();
        let in_hand = LeaseInHand {
            id: renewing.id.clone(),
            until: now.after(renewing.granted.ttl),
            increment: renewing.increment,
            is_last: true,
            payload: renewing.lease.payload.clone(),
        };
        let txn = self.barrier.transaction(self.barrier.view());
        let call = mounted.internal_call(&txn, &self.environment, Errand::Lease(in_hand));
        renewing.terms = kind.run_renew(&call, now.after(ACT_TIMEOUT)).await.transpose()?;
        Ok(renewing)
    }

    /// Renews a lease within `txn`, within its own and its mount's maximum since it was granted, and as its engine said.
    pub async fn renew_lease(&self, txn: &Txn, asked: &Renewing) -> Result<Granted, EngineError> {
        let (namespace, id) = (asked.namespace, asked.id.as_str());
        // It may have ended since, or been renewed by another.
        let Renewing { lease, mounted, mut granted, .. } =
            self.renewable_lease(txn, namespace, id, asked.increment).await?;
        let now = self.environment.clock.now();
        let mut renewed = (*lease).clone();
        if let Some(terms) = asked.terms {
            let wanted = if terms.ttl.is_zero() { granted.ttl } else { terms.ttl.min(granted.ttl) };
            renewed.max_ttl = if terms.max_ttl.is_zero() { renewed.max_ttl } else { terms.max_ttl };
            let warning = granted.warning;
            granted = renewal(&renewed, wanted, mounted.mount.lifetimes, now)?;
            granted.warning = granted.warning.or(warning);
        }
        renewed.expires = now.after(granted.ttl);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(lease.expires.as_secs(), &due_key(id)));
        let entry = ExpiryEntry::of_lease(namespace, id, &renewed);
        EXPIRY.put(txn, &(renewed.expires.as_secs(), &due_key(id)), entry)?;
        LEASES.put(txn, &(namespace, id), renewed)?;
        Ok((HeldLease { id: id.to_owned(), ttl: granted.ttl, renewable: true }, granted.warning))
    }
}

/// The life of a lease that is renewed now; an error where nothing of it is left.
pub(crate) fn renewal(
    lease: &Lease,
    wanted: Duration,
    lifetimes: Lifetimes,
    now: Moment,
) -> Result<GrantedTtl, EngineError> {
    let max = nonzero_min(lease.max_ttl, lifetimes.max);
    let max = lease.owner.map_or(max, |owner| within_owner(lease.issued, max, now, owner));
    let granted = lease_ttl(lease.issued, wanted, max, now);
    if granted.ttl.is_zero() {
        return Err(bad_request("past the max TTL, cannot renew"));
    }
    Ok(granted)
}
