//! What a disabled mount leaves behind: its entries, leases and tokens, removed in bounded steps.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{Scope, Stored, Table};
use strongroom_engine_api::EngineError;

use crate::Core;
use crate::leases::STEP as LEASE_STEP;
use crate::tables::LEASES;
use crate::tokens::STEP as TREE_STEP;

/// Disabled mounts by number.
pub(crate) const LEAVINGS: Table<u64, Leaving> = Table::new(6);

/// Entries removed in one transaction.
const STEP: usize = 500;

/// A mount that is gone.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Leaving {
    /// Where it was: its leases begin with it.
    pub(crate) path: String,
}

impl Stored for Leaving {}

impl Core {
    /// Removes one step's worth of what disabled mounts left; answers whether there is more.
    pub async fn clear_leavings(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some((number, leaving)) = LEAVINGS.scan(&txn, &(), None, 1).await?.into_iter().next() else {
            return Ok(false);
        };
        let removed = self.clear_mount(&txn, number, &leaving.path).await?;
        if removed == 0 {
            LEAVINGS.delete(&txn, &number);
        }
        txn.commit().await?;
        Ok(true)
    }

    async fn clear_mount(
        &self,
        txn: &strongroom_barrier::Txn,
        number: u64,
        path: &str,
    ) -> Result<usize, EngineError> {
        let removed = self.clear_leases(txn, number, path).await?;
        if removed > 0 {
            return Ok(removed);
        }
        Ok(txn.scoped(Scope::mount(number)).delete_some(STEP).await?)
    }

    /// Ends the mount's leases, the tokens it granted among them. Leases of a new mount at the same path have another
    /// number and stay, so pages of those are passed over.
    async fn clear_leases(
        &self,
        txn: &strongroom_barrier::Txn,
        number: u64,
        path: &str,
    ) -> Result<usize, EngineError> {
        let range = (crate::ROOT_NAMESPACE, path);
        let mut ids = LEASES.keys(txn.view(), &range, None, LEASE_STEP).await?;
        let mut removed: usize = 0;
        // What hangs on all of these tokens together: a transaction has its limits.
        let mut budget = TREE_STEP;
        while let Some(last) = ids.last().cloned() {
            for (namespace, id) in &ids {
                let lease = LEASES.get(txn, &(*namespace, id.as_str())).await?;
                if let Some(lease) = lease.filter(|lease| lease.mount == number) {
                    self.revoke_lease_within(txn, id, &lease, true, &mut budget).await?;
                    removed = removed.saturating_add(1);
                }
            }
            if removed > 0 || ids.len() < LEASE_STEP {
                break;
            }
            ids = LEASES.keys_after(txn.view(), &range, &(last.0, last.1.as_str()), LEASE_STEP).await?;
        }
        Ok(removed)
    }
}
