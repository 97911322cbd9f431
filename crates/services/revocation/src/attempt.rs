//! One attempt at revoking a lease: the engine's handler, and what becomes of the lease by its outcome.

use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::{BarrierError, MountId, NamespaceId, Txn};
use strongroom_engine_api::{EngineError, LeaseInHand, Moment, RevokeError, format_duration};
use strongroom_expiry::{
    LEASES, Lease, LeaseState, QueuedLease, REVOCATIONS, Revoking, change_lease, due_key, forget_lease,
    move_lease,
};
use strongroom_mounts::{Errand, MountHandle};
use strongroom_stdx::{Entropy, caught};

use crate::Revocation;

/// The longest that one attempt takes; then the outside counts as not reached.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// Refusals by the outside before a lease is left to an operator (Vault's number).
pub(super) const MAX_REFUSALS: u32 = 6;
/// The wait after a first attempt that failed; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(10);
/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);
/// The longest error that is kept with a lease, in characters.
const MAX_ERROR: usize = 512;

/// The outcome of an attempt, as far as it matters to the mount's other leases.
pub(super) enum Attempted {
    /// The outside answered.
    Answered,
    /// There was nothing to ask it.
    NotAsked,
    /// The outside was not reached.
    Unreachable(String),
}

impl Revocation {
    /// Tries once to revoke a lease of its mount's queue, and records what came of it.
    pub(super) async fn revoke_queued_lease(
        self: &Arc<Self>,
        mounted: Option<&MountHandle>,
        mount: MountId,
        second: u64,
        queued: &QueuedLease,
    ) -> Result<Attempted, EngineError> {
        if !self.leadership.is_active() {
            return Err(BarrierError::Sealed.into());
        }
        let (namespace, id) = (queued.namespace, queued.lease.as_str());
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let found = LEASES.get(txn.peek(), &(namespace, id)).await?;
        let is_here = |lease: &Lease| lease.mount == mount && lease.state.queued_at() == Some(second);
        let Some(lease) = found.filter(|lease| is_here(lease)) else {
            // It was moved or dropped meanwhile; an entry that leads nowhere goes.
            self.drop_stray(mount, second, queued).await?;
            return Ok(Attempted::NotAsked);
        };
        let forced = lease.state.revoking().is_some_and(|revoking| revoking.forced);
        if forced && self.revoker.paused_for(mount, self.environment.clock.now()).is_some() {
            tracing::warn!(lease_id = id, "lease force-revoked while its external system is unreachable");
            self.forget(namespace, id).await?;
            return Ok(Attempted::NotAsked);
        }
        let again = lease.state.revoking().and_then(|revoking| revoking.again);
        let again = again.filter(|again| *again > self.environment.clock.now());
        let outcome = self.run_hook(mounted, &txn, id, &lease).await;
        match outcome {
            Ok(()) => {
                self.end_with(txn, namespace, id, again).await?;
                Ok(Attempted::Answered)
            }
            // What cannot be read will not be read the next time, and must not stand before all others.
            Err(RevokeError::Barrier(error @ (BarrierError::Malformed(..) | BarrierError::Tampered(_)))) => {
                self.note_failure(namespace, id, &lease, &tidied(&error.to_string()), true).await?;
                Ok(Attempted::Answered)
            }
            Err(RevokeError::Barrier(error)) => Err(error.into()),
            Err(RevokeError::Unreachable(error)) => {
                let error = tidied(&error);
                self.note_failure(namespace, id, &lease, &error, false).await?;
                Ok(Attempted::Unreachable(error))
            }
            Err(RevokeError::Refused(error)) => {
                self.note_failure(namespace, id, &lease, &tidied(&error), true).await?;
                Ok(Attempted::Answered)
            }
        }
    }

    /// Runs the handler of a lease's kind. A panic is a refusal; what takes too long was not reached.
    async fn run_hook(
        self: &Arc<Self>,
        mounted: Option<&MountHandle>,
        txn: &Txn,
        id: &str,
        lease: &Lease,
    ) -> Result<(), RevokeError> {
        let found = mounted.and_then(|mounted| Some((mounted, mounted.engine.lease_kind(&lease.kind)?)));
        let Some((mounted, kind)) = found else {
            return Err(RevokeError::Refused(format!(
                "no engine of this program has leases of kind {:?}",
                lease.kind
            )));
        };
        let payload = lease.payload.clone();
        let now = self.environment.clock.now();
        let is_last =
            lease.state.revoking().and_then(|revoking| revoking.again).is_none_or(|again| again <= now);
        let in_hand =
            LeaseInHand { id: id.to_owned(), until: lease.expires, increment: None, is_last, payload };
        let call = mounted.internal_call(txn, &self.environment, Errand::Lease(in_hand));
        let until = now.after(ATTEMPT_TIMEOUT);
        tokio::select! {
            outcome = caught(async { kind.run_revoke(&call, until).await }) => outcome.unwrap_or_else(|panicked| {
                Err(RevokeError::Refused(format!("the engine's handler {panicked}")))
            }),
            () = self.environment.clock.sleep(ATTEMPT_TIMEOUT) => {
                let within = format_duration(ATTEMPT_TIMEOUT);
                Err(RevokeError::Unreachable(format!("no answer within {within}")))
            }
        }
    }

    /// Removes a lease together with what its handler wrote, or has it tried `again` then. Where that conflicts with what the
    /// handler read, the handler runs again.
    async fn end_with(
        &self,
        txn: Txn,
        namespace: NamespaceId,
        id: &str,
        again: Option<Moment>,
    ) -> Result<(), EngineError> {
        if txn.is_empty() {
            return change_lease(&self.barrier, namespace, id, |txn, lease| {
                end_or_again(txn, namespace, id, lease, again)
            })
            .await;
        }
        if let Some(lease) = LEASES.get(&txn, &(namespace, id)).await? {
            end_or_again(&txn, namespace, id, &lease, again)?;
        }
        match txn.commit().await {
            Ok(_) | Err(BarrierError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a lease that has been revoked, or need not be.
    async fn forget(&self, namespace: NamespaceId, id: &str) -> Result<(), EngineError> {
        change_lease(&self.barrier, namespace, id, |txn, lease| {
            forget_lease(txn, namespace, id, lease);
            Ok(())
        })
        .await
    }

    /// Has a lease wait for its next attempt, or leaves it to an operator. One that an operator has moved meanwhile stays
    /// where it is.
    async fn note_failure(
        &self,
        namespace: NamespaceId,
        id: &str,
        tried: &Lease,
        error: &str,
        refused: bool,
    ) -> Result<(), EngineError> {
        let before = tried.state.revoking().cloned().unwrap_or_default();
        if before.forced {
            tracing::warn!(lease_id = id, error, "lease force-revoked after a failed revocation");
            return self.forget(namespace, id).await;
        }
        let attempts = before.attempts.saturating_add(1);
        let refusals = before.refusals.saturating_add(u32::from(refused));
        let wait = backoff(&self.environment.entropy, attempts);
        let next = self.environment.clock.now().after(wait);
        let error_text = error.to_owned();
        let after =
            Revoking { attempts, refusals, next, error: error_text, forced: false, again: before.again };
        let state = if refused && refusals >= MAX_REFUSALS {
            tracing::error!(lease_id = id, attempts, error, "lease could not be revoked and is irrevocable");
            LeaseState::Irrevocable(after)
        } else {
            tracing::warn!(lease_id = id, attempts, error, "lease revocation failed; it is tried again");
            LeaseState::Revoking(after)
        };
        change_lease(&self.barrier, namespace, id, |txn, lease| {
            if lease.state == tried.state {
                move_lease(txn, namespace, id, lease, state.clone())?;
            }
            Ok(())
        })
        .await
    }

    async fn drop_stray(&self, mount: MountId, second: u64, queued: &QueuedLease) -> Result<(), EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let lease = LEASES.get(&txn, &(queued.namespace, queued.lease.as_str())).await?;
        if lease.is_some_and(|lease| lease.mount == mount && lease.state.queued_at() == Some(second)) {
            return Ok(());
        }
        REVOCATIONS.delete(&txn, &(mount, &(second, &due_key(&queued.lease))));
        match txn.commit().await {
            Ok(_) | Err(BarrierError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Removes a lease that has been revoked, unless something can still arrive outside until `again`.
fn end_or_again(
    txn: &Txn,
    namespace: NamespaceId,
    id: &str,
    lease: &Lease,
    again: Option<Moment>,
) -> Result<(), BarrierError> {
    let Some(again) = again else {
        forget_lease(txn, namespace, id, lease);
        return Ok(());
    };
    let forced = lease.state.revoking().is_some_and(|revoking| revoking.forced);
    let state =
        LeaseState::Revoking(Revoking { next: again, again: Some(again), forced, ..Revoking::default() });
    move_lease(txn, namespace, id, lease, state)
}

/// The wait after so many failures in a row: twice the last one and up to a quarter more, so that what failed together
/// does not come back together.
pub(super) fn backoff(entropy: &Entropy, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let wait = BACKOFF.saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX));
    let share = entropy.bytes::<2>().map_or(0, u16::from_be_bytes);
    let jitter = wait.min(MAX_BACKOFF).mul_f64(f64::from(share) / f64::from(u16::MAX) / 4.0);
    if wait >= MAX_BACKOFF { MAX_BACKOFF.saturating_sub(jitter) } else { wait.saturating_add(jitter) }
}

/// An error's text as lists and logs can show it: one line, and not without end.
pub(super) fn tidied(error: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    error.chars().map(plain).take(MAX_ERROR).collect()
}
