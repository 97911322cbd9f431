//! Disabled mounts that are draining, for operators: what is left of each, why, and having it tried anew.
//!
//! The state is read from what the jobs go by; none of it is recorded for this. A mount in a namespace that is deleted is among
//! them: nobody can ask about its leases by their paths any more.

use strongroom_barrier::{BarrierError, MountId, NamespaceId, View};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_expiry::{End, LEASES, NEVER, REVOCATIONS, end_lease};
use strongroom_mounts::{DISABLED_MOUNTS, DisabledMount};

use crate::Revocation;
use crate::ending::STEP;

/// The most leases of a mount that are counted.
const MAX_COUNTED: usize = 1000;

/// The work that is left for a disabled mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its leases and tokens are ended.
    EndingLeases,
    /// Its leases are revoked in the external system.
    RevokingLeases,
    /// Its data is removed.
    RemovingData,
}

/// A disabled mount of which something is left.
#[derive(Clone, Debug)]
pub struct DrainingMount {
    /// The number of its namespace.
    pub namespace: NamespaceId,
    /// The path of that namespace; `None` where it is deleted.
    pub namespace_path: Option<String>,
    /// The path it had, which another may have by now.
    pub path: String,
    /// The type of its engine.
    pub kind: String,
    /// Its accessor.
    pub accessor: String,
    /// The work that is left.
    pub stage: Stage,
    /// Leases that are not yet revoked, irrevocable ones among them; no more than a thousand are counted.
    pub leases: usize,
    /// Leases that the outside has refused to revoke and that are not tried again of themselves.
    pub irrevocable: usize,
    /// Attempts in a row that failed: at the mount where its outside is not reached, else at the lease that is first.
    pub attempts: u32,
    /// The time of the next attempt after one that failed.
    pub next_attempt: Option<Moment>,
    /// The error of the last attempt.
    pub last_error: Option<String>,
}

impl Revocation {
    /// Disabled mounts of which something is left, in the order in which they were made: `limit` at most, of those after the one with
    /// the accessor `after`.
    pub async fn draining_mounts(
        &self,
        view: &View,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<DrainingMount>, EngineError> {
        let mut draining = Vec::new();
        let mut passed = after.is_none();
        for (id, disabled) in DISABLED_MOUNTS.scan(view, &(), None, usize::MAX).await? {
            if draining.len() >= limit {
                break;
            }
            if passed {
                draining.push(self.state_of(view, id, &disabled).await?);
            }
            passed = passed || after == Some(disabled.entry.accessor.as_str());
        }
        Ok(draining)
    }

    /// The disabled mount with this accessor, if something of it is left.
    pub async fn draining_mount(
        &self,
        view: &View,
        accessor: &str,
    ) -> Result<Option<DrainingMount>, EngineError> {
        match self.find_draining(view, accessor).await? {
            Some((id, disabled)) => self.state_of(view, id, &disabled).await.map(Some),
            None => Ok(None),
        }
    }

    /// Has all leases of a disabled mount that have ended tried at once, irrevocable ones too; with `forced`, one that fails is
    /// dropped. In as many transactions as it takes. Answers whether there is such a mount.
    pub async fn retry_draining(&self, accessor: &str, forced: bool) -> Result<bool, EngineError> {
        let view = self.barrier.pinned_view().await?;
        let Some((mount, _)) = self.find_draining(&view, accessor).await? else { return Ok(false) };
        let mut after = (0, [0; 16]);
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            let place = (after.0, &after.1);
            let found =
                REVOCATIONS.scan_after(txn.peek(), &(mount, &()), Some(&(mount, &place)), STEP).await?;
            for (_, queued) in &found {
                let (namespace, id) = (queued.namespace, queued.lease.as_str());
                let Some(lease) = LEASES.get(&txn, &(namespace, id)).await? else { continue };
                let is_forced = lease.state.revoking().is_none_or(|revoking| revoking.forced);
                let end = if forced { End::Forced } else { End::Asked };
                if !(is_forced && lease.state.queued_at() == Some(strongroom_expiry::URGENT)) {
                    end_lease(&txn, namespace, id, &lease, end, self.environment.clock.now())?;
                }
            }
            match txn.commit().await {
                Ok(_) => {}
                Err(BarrierError::Conflict) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            match found.last() {
                Some(((_, place), _)) if found.len() == STEP => after = *place,
                _ => break,
            }
        }
        self.revoker.end_pause(mount);
        Ok(true)
    }

    async fn find_draining(
        &self,
        view: &View,
        accessor: &str,
    ) -> Result<Option<(MountId, std::sync::Arc<DisabledMount>)>, BarrierError> {
        let disabled = DISABLED_MOUNTS.scan(view, &(), None, usize::MAX).await?;
        Ok(disabled.into_iter().find(|(_, disabled)| disabled.entry.accessor == accessor))
    }

    async fn state_of(
        &self,
        view: &View,
        id: MountId,
        disabled: &DisabledMount,
    ) -> Result<DrainingMount, EngineError> {
        let namespace = disabled.namespace;
        let queued = REVOCATIONS.scan(view, &(id, &()), None, 1).await?;
        let mut leases = REVOCATIONS.keys(view, &(id, &()), None, MAX_COUNTED).await?.len();
        let mut stage = if leases == 0 { Stage::RemovingData } else { Stage::RevokingLeases };
        if let Some(after) = &disabled.after {
            stage = Stage::EndingLeases;
            leases = leases.saturating_add(self.still_to_end(view, id, disabled, after).await?);
        }
        let irrevocable = REVOCATIONS.keys(view, &(id, &NEVER), None, MAX_COUNTED).await?.len();
        let (mut attempts, mut next_attempt, mut last_error) = (0, None, None);
        if let Some((_, first)) = queued.first()
            && let Some(lease) = LEASES.get(view, &(first.namespace, first.lease.as_str())).await?
            && let Some(revoking) = lease.state.revoking()
        {
            attempts = revoking.attempts;
            next_attempt = Some(revoking.next).filter(|_| attempts > 0 && irrevocable < leases);
            last_error = Some(revoking.error.clone()).filter(|error| !error.is_empty());
        }
        if let Some((failures, until, error)) = self.revoker.pause_of(id) {
            (attempts, next_attempt, last_error) = (failures, Some(until), Some(error));
        }
        let router = self.mounts.router().await?;
        Ok(DrainingMount {
            namespace,
            namespace_path: router.namespace(namespace).map(|namespace| namespace.path.clone()),
            path: disabled.path.clone(),
            kind: disabled.entry.kind.clone(),
            accessor: disabled.entry.accessor.clone(),
            stage,
            leases: leases.min(MAX_COUNTED),
            irrevocable,
            attempts,
            next_attempt,
            last_error,
        })
    }

    /// Leases of a mount that are not yet ended: those of others at the same path, behind which the walk goes on, are not its own.
    async fn still_to_end(
        &self,
        view: &View,
        id: MountId,
        disabled: &DisabledMount,
        after: &str,
    ) -> Result<usize, BarrierError> {
        let (namespace, range) = (disabled.namespace, (disabled.namespace, disabled.path.as_str()));
        let found = LEASES.scan_after(view, &range, Some(&(namespace, after)), MAX_COUNTED).await?;
        Ok(found.iter().filter(|(_, lease)| lease.mount == id && !lease.state.has_ended()).count())
    }
}
