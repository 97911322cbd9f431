//! Removes what is left of a disabled mount: its leases and tokens, ended in bounded steps, and its entries, removed
//! when all of its leases have been revoked. While its external system cannot be reached it stays, and delays no other
//! mount.

use strongroom_barrier::{MountId, MountPlace, Txn};
use strongroom_engine_api::EngineError;
use strongroom_expiry::{End, LEASES};
use strongroom_mounts::{DISABLED_MOUNTS, DisabledMount};
use strongroom_tokens::STEP as TREE_STEP;

use crate::Revocation;
use crate::ending::STEP as LEASE_STEP;

/// Entries removed in one transaction.
const STEP: usize = 500;

impl Revocation {
    /// Does one step of what is left to do for disabled mounts; answers whether there is more. One whose leases are not
    /// all revoked is passed over.
    pub async fn clear_disabled_mounts(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        for (id, disabled) in DISABLED_MOUNTS.scan(txn.peek(), &(), None, usize::MAX).await? {
            if let Some(after) = &disabled.after {
                let after = self.end_leases(&txn, id, &disabled, after).await?;
                DISABLED_MOUNTS.put(&txn, &id, DisabledMount { after, ..(*disabled).clone() })?;
            } else if self.has_queued(txn.peek(), id).await? {
                continue;
            } else {
                let place =
                    MountPlace { namespace: disabled.namespace, mount: id, local: disabled.entry.local };
                if txn.delete_of_mount(place, STEP).await? == 0 {
                    DISABLED_MOUNTS.delete(&txn, &id);
                }
            }
            txn.commit().await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Ends one step's worth of the mount's leases, the tokens it granted among them; answers where to go on. Leases of a
    /// new mount at the same path have another number and stay. None is added behind the walk: a transaction that
    /// grants one reads the mount's entry.
    async fn end_leases(
        &self,
        txn: &Txn,
        id: MountId,
        disabled: &DisabledMount,
        after: &str,
    ) -> Result<Option<String>, EngineError> {
        let namespace = disabled.namespace;
        let range = (namespace, disabled.path.as_str());
        let ids = LEASES.keys_after(txn.peek(), &range, &(namespace, after), LEASE_STEP).await?;
        // The tokens' children and leases count together: a transaction has its limits.
        let mut budget = TREE_STEP;
        for (_, lease_id) in &ids {
            let lease = LEASES.get(txn, &(namespace, lease_id)).await?;
            if let Some(lease) = lease.filter(|lease| lease.mount == id && !lease.state.has_ended()) {
                self.revoke_lease(txn, namespace, lease_id, &lease, End::Due, &mut budget).await?;
            }
        }
        let more = ids.len() == LEASE_STEP;
        Ok(ids.into_iter().last().filter(|_| more).map(|(_, last)| last))
    }
}
