//! What is done without being asked: ending what is due, finishing revocations, engines' housekeeping, key rotation,
//! autopilot.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::BarrierError;
use strongroom_engine_api::EngineError;

use crate::Core;

const KEYS: &str = "the keys in storage could not be taken over";
const UNSEALING: &str = "no seal unwrapped the root key";
const IDENTITY: &str = "this node cannot show the others who it is";
const CERTIFICATE: &str = "this node's certificate for the cluster port was not renewed";
const HOUSEKEEPING: &str = "housekeeping failed";

const TICK: Duration = Duration::from_secs(1);
/// Engines are asked for housekeeping once in this many ticks.
const MAINTENANCE_EVERY: u64 = 60;
/// Steps of one kind of work in a row, so that none starves the others.
const MOST_STEPS: usize = 64;

impl Core {
    /// Works until the core is dropped. While sealed, looks for the keys only, and whether this node was removed.
    pub async fn run_steward(self: Arc<Self>) {
        let clock = self.environment.clock.clone();
        let (core, replaced) = (Arc::downgrade(&self), self.replaced.clone());
        drop(self);
        let mut ticks: u64 = 0;
        let mut troubles = Troubles::default();
        loop {
            let is_replaced = tokio::select! {
                () = clock.sleep(TICK) => false,
                () = replaced.notified() => true,
            };
            let Some(core) = core.upgrade() else { return };
            if is_replaced || core.barrier.is_sealed() {
                // A node that lacks only the keyring has lost it to another state, and looks until it has read it.
                troubles.note(KEYS, core.renew_keyring().await);
            }
            troubles.note(UNSEALING, core.unseal_if_due().await);
            core.watch_removal().await;
            if core.barrier.is_sealed() {
                continue;
            }
            core.watch_quorum().await;
            troubles.note(IDENTITY, core.settle_passing_identity().await);
            troubles.note(CERTIFICATE, core.renew_certificate().await);
            if !core.is_active() {
                troubles.note(KEYS, core.renew_keyring().await);
                continue;
            }
            ticks = ticks.wrapping_add(1);
            let done = core.work_once(ticks.is_multiple_of(MAINTENANCE_EVERY)).await;
            if !core.barrier.is_sealed() {
                troubles.note(HOUSEKEEPING, done);
            }
        }
    }

    /// One round of everything that is due now: for the steward, and for tests that step the clock.
    pub async fn work_once(self: &Arc<Self>, with_engines: bool) -> Result<(), EngineError> {
        steps(|| self.expire_due()).await?;
        steps(|| self.continue_revocations()).await?;
        steps(|| self.clear_leavings()).await?;
        self.seal_state.rotate_if_due().await?;
        self.run_autopilot().await?;
        self.take_due_snapshots().await?;
        if with_engines {
            if let Some(node) = self.cluster() {
                node.store.clear_broken_restore().await.map_err(BarrierError::from)?;
            }
            let router = self.router().await?;
            for mounted in router.all().filter(|mounted| mounted.engine.has_maintenance()) {
                steps(|| self.maintain(mounted)).await?;
            }
        }
        Ok(())
    }

    async fn maintain(self: &Arc<Self>, mounted: &crate::Mounted) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let call = self.internal_call(mounted, &txn, None);
        let more = mounted.engine.run_maintenance(&call).await.transpose()?.unwrap_or(false);
        txn.commit().await?;
        Ok(more)
    }
}

/// What has been said to fail, so that an outage is a line in the log however often it is run into.
#[derive(Default)]
struct Troubles(BTreeSet<&'static str>);

impl Troubles {
    fn note<E: Display>(&mut self, what: &'static str, outcome: Result<(), E>) {
        match outcome {
            Ok(()) if self.0.remove(what) => tracing::info!("no longer so: {what}"),
            Ok(()) => {}
            Err(error) if self.0.insert(what) => tracing::error!(%error, "{what}; it is tried again"),
            Err(error) => tracing::debug!(%error, "{what}"),
        }
    }
}

/// Repeats `step` while it has more to do; a conflict with a client's request is simply tried again.
async fn steps<F>(mut step: impl FnMut() -> F) -> Result<(), EngineError>
where
    F: Future<Output = Result<bool, EngineError>>,
{
    for _ in 0..MOST_STEPS {
        match step().await {
            Ok(true) | Err(EngineError::Barrier(BarrierError::Conflict)) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
