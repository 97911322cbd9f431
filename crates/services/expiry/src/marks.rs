//! Ending a lease, by marking it: nothing outside is asked here, so it costs the same whatever state the outside is in.
//!
//! A lease for nothing in an external system is gone at once. Any other goes to the queue of its mount, in order of its
//! next attempt, where the revoker finds it.

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{Barrier, BarrierError, NamespaceId, Txn};
use strongroom_engine_api::{EngineError, Moment};

use crate::{
    ENTITY_LEASES, EXPIRY, INTENTS, IRREVOCABLE, LEASES, Lease, LeaseOwner, LeaseState, NEVER, OWNED_LEASES,
    QueuedLease, REVOCATIONS, Revoking, due_key,
};

/// The longest life of an act; then its outcome is unknown.
pub const ACT_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time for which something that an act has sent can still arrive when the act is over.
const LATE: Duration = Duration::from_secs(60);
/// Commits tried for one outcome before it is left to the next attempt.
const MAX_CONFLICTS: usize = 64;

/// The reason why a lease ends, which determines how it is to be revoked in the external system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its time, its token or its mount is over.
    Due,
    /// An operator asks for this very lease: it is tried at once, whatever its mount's others wait for.
    Asked,
    /// An operator wants it gone: it is tried once at most, and then it is.
    Forced,
}

/// The moment from which on nothing can arrive any more of an act that runs now at the latest, in whole seconds: queues are
/// in seconds. It does not rest on another node's clock.
pub fn latest_arrival(now: Moment) -> Moment {
    Moment::from_secs(now.after(ACT_TIMEOUT).after(LATE).as_secs().saturating_add(1))
}

/// Ends a secret's lease: one for nothing in an external system is gone, any other is to be revoked.
pub fn end_lease(
    txn: &Txn,
    namespace: NamespaceId,
    id: &str,
    lease: &Lease,
    end: End,
    now: Moment,
) -> Result<(), BarrierError> {
    if lease.kind.is_empty() {
        forget_lease(txn, namespace, id, lease);
        return Ok(());
    }
    // One that is to be gone stays so, whatever else ends it.
    let forced = end == End::Forced || lease.state.revoking().is_some_and(|revoking| revoking.forced);
    let (next, again) = match &lease.state {
        // Nothing is revoked that its act may be about to make; the act looks for this mark when it is over.
        LeaseState::Intended(deadline) => {
            ((*deadline).min(now.after(ACT_TIMEOUT)), Some(latest_arrival(now)))
        }
        state => {
            let next = if end == End::Due && !forced { now } else { Moment::default() };
            (next, state.revoking().and_then(|revoking| revoking.again))
        }
    };
    let state = LeaseState::Revoking(Revoking { next, forced, again, ..Revoking::default() });
    move_lease(txn, namespace, id, lease, state)
}

/// Hands an intent to the revoker once its act is over, marked already or not; `again`: the moment from which on nothing that it
/// sent can still arrive.
pub fn end_intended(
    txn: &Txn,
    (namespace, id): (NamespaceId, &str),
    lease: &Lease,
    now: Moment,
    again: Option<Moment>,
) -> Result<(), BarrierError> {
    let forced = lease.state.revoking().is_some_and(|revoking| revoking.forced);
    let state = LeaseState::Revoking(Revoking { next: now, forced, again, ..Revoking::default() });
    move_lease(txn, namespace, id, lease, state)
}

/// Puts a lease that has ended into a state, and to the place in its mount's queue that is the state's.
pub fn move_lease(
    txn: &Txn,
    namespace: NamespaceId,
    id: &str,
    lease: &Lease,
    state: LeaseState,
) -> Result<(), BarrierError> {
    unlist(txn, namespace, id, lease);
    if let Some(second) = state.queued_at() {
        let queued = QueuedLease { namespace, lease: id.to_owned() };
        REVOCATIONS.put(txn, &(lease.mount, &(second, &due_key(id))), queued)?;
        if second == NEVER {
            IRREVOCABLE.put(txn, &(namespace, id), ())?;
        }
    }
    LEASES.put(txn, &(namespace, id), Lease { state, ..lease.clone() })
}

/// Removes the records of a secret's lease.
pub fn forget_lease(txn: &Txn, namespace: NamespaceId, id: &str, lease: &Lease) {
    unlist(txn, namespace, id, lease);
    LEASES.delete(txn, &(namespace, id));
}

/// Removes what leads to a lease: its end and its owner while it is in force, its place in the queue later.
fn unlist(txn: &Txn, namespace: NamespaceId, id: &str, lease: &Lease) {
    let key = due_key(id);
    match lease.state.queued_at() {
        None => {
            match lease.state {
                LeaseState::Intended(_) => INTENTS.delete(txn, &(lease.mount, &key)),
                _ => EXPIRY.delete(txn, &(lease.expires.as_secs(), &key)),
            }
            if let Some(holder) = lease.owner.and_then(LeaseOwner::holder) {
                OWNED_LEASES.delete(txn, &(holder.namespace, holder.key, id));
            }
            if let Some((home, entity)) = lease.listed_entity(namespace) {
                ENTITY_LEASES.delete(txn, &(home, entity, id));
            }
        }
        Some(second) => {
            REVOCATIONS.delete(txn, &(lease.mount, &(second, &key)));
            if second == NEVER {
                IRREVOCABLE.delete(txn, &(namespace, id));
            }
        }
    }
}

/// Changes a lease that is there, in a transaction of its own.
pub async fn change_lease(
    barrier: &Arc<Barrier>,
    namespace: NamespaceId,
    id: &str,
    change: impl Fn(&Txn, &Lease) -> Result<(), BarrierError>,
) -> Result<(), EngineError> {
    for _ in 0..MAX_CONFLICTS {
        let txn = barrier.transaction(barrier.pinned_view().await?);
        let Some(lease) = LEASES.get(&txn, &(namespace, id)).await? else { return Ok(()) };
        change(&txn, &lease)?;
        match txn.commit().await {
            Err(BarrierError::Conflict) => tokio::task::yield_now().await,
            outcome => return Ok(outcome.map(|_| ())?),
        }
    }
    Err(BarrierError::Conflict.into())
}
