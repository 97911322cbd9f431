//! Removes what is left of a disabled mount: its leases and tokens, ended in bounded steps, and its entries, removed
//! when all of its leases have been revoked. While its external system cannot be reached it stays, and delays no other
//! mount.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_barrier::{KeyPlace, MountId, MountPlace, NamespaceId, Txn};
use strongroom_engine_api::EngineError;
use strongroom_expiry::{End, LEASES};
use strongroom_mounts::{DISABLED_MOUNTS, DisabledMount};
use strongroom_tokens::BACKGROUND_STEP;

use crate::Revocation;
use crate::ending::STEP as LEASE_STEP;

/// Entries removed in one transaction: few, as with leases, though a deletion costs less than the end of a token.
const STEP: usize = 128;

/// Disabled mounts for which there may be something to do. A mount whose leases are being revoked is not among them: looking at all of
/// those for each step would cost the square of their number.
#[derive(Default)]
pub(crate) struct Clearing(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// The term of leadership in which all were looked at; in another, another node may have left something undone.
    term: Option<u64>,
    mounts: BTreeSet<MountId>,
}

impl Clearing {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of a commit to the record of a disabled mount.
    pub(crate) fn observe(&self, place: KeyPlace, key: &[u8]) {
        if let Some(mount) = place.within_table(key).first_chunk::<4>() {
            self.add(MountId::new(u32::from_be_bytes(*mount)));
        }
    }

    /// Has a mount looked at.
    pub(crate) fn add(&self, mount: MountId) {
        self.known().mounts.insert(mount);
    }

    /// Has all mounts looked at.
    pub(crate) fn forget(&self) {
        self.known().term = None;
    }
}

impl Revocation {
    /// Does one step of what is left to do for disabled mounts; answers whether there is more. One whose leases are not
    /// all revoked is passed over, until they are.
    pub async fn clear_disabled_mounts(&self) -> Result<bool, EngineError> {
        while let Some(mount) = self.next_to_clear().await? {
            match self.clear_disabled_mount(mount).await {
                Ok(false) => {}
                outcome => {
                    self.clearing.add(mount);
                    return outcome;
                }
            }
        }
        Ok(false)
    }

    /// Takes a mount out of those to be looked at. What happens to it from here on has it looked at again.
    async fn next_to_clear(&self) -> Result<Option<MountId>, EngineError> {
        let Some(term) = self.leadership.term() else { return Ok(None) };
        if self.clearing.known().term != Some(term) {
            // Noted before they are read, so that commits which are missed meanwhile are made up for.
            self.clearing.known().term = Some(term);
            let all = async {
                let view = self.barrier.pinned_view().await?;
                DISABLED_MOUNTS.keys(&view, &(), None, usize::MAX).await
            };
            let all = all.await.inspect_err(|_error| self.clearing.forget())?;
            self.clearing.known().mounts.extend(all);
        }
        Ok(self.clearing.known().mounts.pop_first())
    }

    /// Does one step for a disabled mount; answers whether there was anything to do.
    async fn clear_disabled_mount(&self, id: MountId) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some(disabled) = DISABLED_MOUNTS.get(txn.peek(), &id).await? else { return Ok(false) };
        if let Some(after) = &disabled.after {
            let after = self.end_leases(&txn, id, (disabled.namespace, &disabled.path), after).await?;
            DISABLED_MOUNTS.put(&txn, &id, DisabledMount { after, ..(*disabled).clone() })?;
        } else if self.has_queued(txn.peek(), id).await? {
            return Ok(false);
        } else {
            let place = MountPlace { namespace: disabled.namespace, mount: id, local: disabled.entry.local };
            if txn.delete_of_mount(place, STEP).await? == 0 {
                DISABLED_MOUNTS.delete(&txn, &id);
            }
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Ends one step's worth of the mount's leases, the tokens it granted among them; answers where to go on. Leases of a
    /// new mount at the same path have another number and stay. None is added behind the walk: a transaction that
    /// grants one reads the mount's entry.
    pub(crate) async fn end_leases(
        &self,
        txn: &Txn,
        id: MountId,
        range: (NamespaceId, &str),
        after: &str,
    ) -> Result<Option<String>, EngineError> {
        let namespace = range.0;
        let ids = LEASES.keys_after(txn.peek(), &range, &(namespace, after), LEASE_STEP).await?;
        // The tokens' children and leases count together: a transaction has its limits.
        let mut budget = BACKGROUND_STEP;
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
