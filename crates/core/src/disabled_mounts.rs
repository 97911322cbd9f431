//! What a disabled mount leaves behind: its leases and tokens, ended in bounded steps, and its entries, removed when all of
//! its leases have been revoked.
//!
//! A disabled mount is draining: it takes no requests and its path is free for another at once, but it is still known by
//! its number, so that what stands outside for its leases can be ended. Where the outside cannot be reached it stays for
//! as long as that lasts, and delays no other.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{MountId, MountPlace, NamespaceId, Stored, Txn};
use strongroom_engine_api::EngineError;

use crate::Core;
use crate::leases::{End, STEP as LEASE_STEP};
use crate::mounts::MountEntry;
use crate::tables::{DISABLED_MOUNTS, LEASES};
use crate::tokens::STEP as TREE_STEP;

/// Entries removed in one transaction.
const STEP: usize = 500;

/// A mount that is gone, with what its handle is made of.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DisabledMount {
    /// The namespace it was in.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub(crate) namespace: NamespaceId,
    /// Its path, with which its leases begin.
    #[serde(rename = "p")]
    pub(crate) path: String,
    /// Its entry as it was.
    #[serde(rename = "e")]
    pub(crate) entry: MountEntry,
    /// The last lease id under its path that was dealt with; `None` once all are.
    #[serde(rename = "a")]
    after: Option<String>,
}

impl Stored for DisabledMount {}

impl DisabledMount {
    pub(crate) fn new(namespace: NamespaceId, path: &str, entry: MountEntry) -> Self {
        Self { namespace, path: path.to_owned(), entry, after: Some(path.to_owned()) }
    }
}

impl Core {
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
    /// new mount at the same path have another number and stay. None is added behind the walk: whoever grants one reads
    /// the mount's entry.
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
