//! Waiting for the outcome of revocations, for clients that ask for it (`sync`).
//!
//! Only the client waits here; the revoker does the work, so a client that disconnects in between changes nothing.

use std::time::Duration;

use strongroom_barrier::{BarrierError, MountId, NamespaceId};
use strongroom_engine_api::{EngineError, Moment, bad_request};
use strongroom_expiry::{LEASES, Lease};

use crate::Revocation;

/// The longest time for which an answer waits for revocations.
const SYNC_TIMEOUT: Duration = Duration::from_secs(90);

impl Revocation {
    /// Revokes the lease with this id, and answers when it is gone.
    ///
    /// # Errors
    ///
    /// The external system's error. The lease is tried again nevertheless.
    pub async fn revoke_lease_now(&self, namespace: NamespaceId, id: &str) -> Result<(), EngineError> {
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            self.revoke_lease_id(&txn, namespace, id).await?;
            match txn.commit().await {
                Ok(_) => break,
                Err(BarrierError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
        self.finish_revocations().await?;
        let until = self.environment.clock.now().after(SYNC_TIMEOUT);
        self.await_end(namespace, id, until, &mut None).await
    }

    /// Returns when the lease `id` and all under `folder` that had ended are gone.
    pub(super) async fn await_prefix(
        &self,
        namespace: NamespaceId,
        id: &str,
        folder: &str,
    ) -> Result<(), EngineError> {
        let until = self.environment.clock.now().after(SYNC_TIMEOUT);
        let mut probed = None;
        self.await_end(namespace, id, until, &mut probed).await?;
        let mut after = folder.to_owned();
        loop {
            let view = self.barrier.pinned_view().await?;
            let range = (namespace, folder);
            let found = LEASES.keys_after(&view, &range, &(namespace, after.as_str()), 1).await?;
            let Some((_, next)) = found.into_iter().next() else { return Ok(()) };
            self.await_end(namespace, &next, until, &mut probed).await?;
            after = next;
        }
    }

    /// Returns when a lease is gone or has not ended at all. `probed` is the mount whose outside was last asked to be
    /// tried at once.
    async fn await_end(
        &self,
        namespace: NamespaceId,
        id: &str,
        until: Moment,
        probed: &mut Option<MountId>,
    ) -> Result<(), EngineError> {
        loop {
            let ended = self.revoker.ended.notified();
            tokio::pin!(ended);
            // Registered before storage is read, or an end in between would be missed.
            ended.as_mut().enable();
            let view = self.barrier.pinned_view().await?;
            let Some(lease) = LEASES.get(&view, &(namespace, id)).await? else { return Ok(()) };
            let Some(revoking) = lease.state.revoking() else { return Ok(()) };
            if revoking.attempts > 0 {
                return Err(bad_request(format!("failed to revoke {id:?}: {}", revoking.error)));
            }
            if revoking.next > Moment::default() {
                self.check_reachable(id, &lease, probed)?;
            }
            let left = until.since(self.environment.clock.now());
            if left.is_zero() {
                let text = format!("{id:?} is not revoked yet; its revocation goes on");
                return Err(EngineError::Status(504, text));
            }
            tokio::select! {
                () = ended => {}
                () = self.environment.clock.sleep(left) => {}
            }
        }
    }

    /// Has the outside of the lease's mount tried at once, where it is left alone; where it has been, says why it still is.
    fn check_reachable(
        &self,
        id: &str,
        lease: &Lease,
        probed: &mut Option<MountId>,
    ) -> Result<(), EngineError> {
        let now = self.environment.clock.now();
        let Some(error) = self.revoker.paused_for(lease.mount, now) else { return Ok(()) };
        if *probed == Some(lease.mount) {
            return Err(bad_request(format!("failed to revoke {id:?}: {error}")));
        }
        *probed = Some(lease.mount);
        self.revoker.end_pause(lease.mount);
        Ok(())
    }
}
