//! What a disabled mount leaves behind: its entries, leases and tokens, removed in bounded steps.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{MountId, MountPlace, NamespaceId, Stored, Txn};
use strongroom_engine_api::EngineError;

use crate::Core;
use crate::leases::STEP as LEASE_STEP;
use crate::tables::{DISABLED_MOUNTS, LEASES};
use crate::tokens::STEP as TREE_STEP;

/// Entries removed in one transaction.
const STEP: usize = 500;

/// A mount that is gone.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DisabledMount {
    /// The namespace it was in.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub(crate) namespace: NamespaceId,
    /// Its path, with which its leases begin.
    #[serde(rename = "p")]
    pub(crate) path: String,
    /// Whether all its tables were local to the cluster.
    #[serde(rename = "l", default)]
    pub(crate) local: bool,
}

impl Stored for DisabledMount {}

impl Core {
    /// Removes one step's worth of what disabled mounts left; answers whether there is more.
    pub async fn clear_disabled_mounts(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some((id, disabled)) = DISABLED_MOUNTS.scan(&txn, &(), None, 1).await?.into_iter().next() else {
            return Ok(false);
        };
        let removed = self.clear_mount(&txn, id, &disabled).await?;
        if removed == 0 {
            DISABLED_MOUNTS.delete(&txn, &id);
        }
        txn.commit().await?;
        Ok(true)
    }

    async fn clear_mount(
        &self,
        txn: &Txn,
        id: MountId,
        disabled: &DisabledMount,
    ) -> Result<usize, EngineError> {
        let removed = self.clear_leases(txn, id, disabled).await?;
        if removed > 0 {
            return Ok(removed);
        }
        let place = MountPlace { namespace: disabled.namespace, mount: id, local: disabled.local };
        Ok(txn.delete_of_mount(place, STEP).await?)
    }

    /// Ends the mount's leases, the tokens it granted among them. Leases of a new mount at the same path have another
    /// number and stay, so pages of those are passed over.
    async fn clear_leases(
        &self,
        txn: &Txn,
        id: MountId,
        disabled: &DisabledMount,
    ) -> Result<usize, EngineError> {
        let namespace = disabled.namespace;
        let range = (namespace, disabled.path.as_str());
        let mut ids = LEASES.keys(txn.peek(), &range, None, LEASE_STEP).await?;
        let mut removed: usize = 0;
        // The tokens' children and leases count together: a transaction has its limits.
        let mut budget = TREE_STEP;
        while let Some((_, last)) = ids.last().cloned() {
            for (_, lease_id) in &ids {
                let lease = LEASES.get(txn, &(namespace, lease_id)).await?;
                if let Some(lease) = lease.filter(|lease| lease.mount == id) {
                    self.revoke_lease_within(txn, namespace, lease_id, &lease, true, &mut budget).await?;
                    removed = removed.saturating_add(1);
                }
            }
            if removed > 0 || ids.len() < LEASE_STEP {
                break;
            }
            ids = LEASES.keys_after(txn.peek(), &range, &(namespace, last.as_str()), LEASE_STEP).await?;
        }
        Ok(removed)
    }
}
