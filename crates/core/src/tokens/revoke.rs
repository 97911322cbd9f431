//! Taking tokens away: the token at once, what hangs on it in bounded steps.

use strongroom_barrier::{Scope, Txn};
use strongroom_engine_api::EngineError;

use super::{TokenKey, create::lease_id};
use crate::Core;
use crate::tables::{ACCESSORS, CHILDREN, EXPIRY, LEASES, OWNED_LEASES, REVOKING, TOKENS, WRAPPED};

/// Records that one transaction removes on behalf of a revocation. What is beyond is noted and done by housekeeping.
const STEP: usize = 256;

impl Core {
    /// Revokes a token and everything under it. Small trees go in this transaction; of large ones the token itself
    /// does, and a note makes housekeeping follow the rest down.
    pub async fn revoke_token(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let txn = txn.scoped(Scope::core());
        let mut left = STEP;
        let mut waiting = vec![*key];
        while let Some(next) = waiting.pop() {
            self.forget_token(&txn, &next).await?;
            if left == 0 {
                REVOKING.put(&txn, &next, ())?;
                continue;
            }
            let children = CHILDREN.keys(&txn, &next, None, left.saturating_add(1)).await?;
            let leases = OWNED_LEASES.keys(&txn, &next, None, left.saturating_add(1)).await?;
            let whole = children.len().saturating_add(leases.len()) <= left;
            for (_, child) in children.iter().take(left) {
                CHILDREN.delete(&txn, &(next, child));
                waiting.push(*child);
                left = left.saturating_sub(1);
            }
            for (_, id) in leases.iter().take(left) {
                if let Some(lease) = LEASES.get(&txn, &(crate::ROOT_NAMESPACE, id)).await? {
                    self.revoke_lease(&txn, id, &lease, false).await?;
                }
                OWNED_LEASES.delete(&txn, &(next, id));
                left = left.saturating_sub(1);
            }
            if !whole {
                REVOKING.put(&txn, &next, ())?;
            } else if next != *key {
                REVOKING.delete(&txn, &next);
            }
        }
        Ok(())
    }

    /// Revokes a token and leaves its children as orphans.
    pub async fn revoke_orphaning(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let txn = txn.scoped(Scope::core());
        let children = CHILDREN.keys(&txn, key, None, usize::MAX).await?;
        for (_, child) in children {
            CHILDREN.delete(&txn, &(*key, &child));
            if let Some(entry) = TOKENS.get(&txn, &child).await? {
                let mut orphan = (*entry).clone();
                orphan.parent = None;
                TOKENS.put(&txn, &child, orphan)?;
            }
        }
        self.revoke_token(&txn, key).await
    }

    /// Goes on with a revocation that was too large for one transaction; answers whether there was one.
    pub async fn continue_revocations(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some(key) = REVOKING.keys(&txn, &(), None, 1).await?.into_iter().next() else { return Ok(false) };
        REVOKING.delete(&txn, &key);
        self.revoke_token(&txn, &key).await?;
        txn.commit().await?;
        Ok(true)
    }

    /// Removes the token's own records; whoever presents it from here on is a stranger.
    async fn forget_token(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let Some(entry) = TOKENS.get(txn, key).await? else { return Ok(()) };
        TOKENS.delete(txn, key);
        ACCESSORS.delete(txn, &entry.accessor);
        if let Some(parent) = entry.parent {
            CHILDREN.delete(txn, &(parent, key));
        }
        if let Some(end) = entry.expires {
            EXPIRY.delete(txn, &(end.as_secs(), key));
            LEASES.delete(txn, &(entry.namespace, &lease_id(&entry, key)));
        }
        WRAPPED.delete(txn, key);
        self.forget_cubbyhole(txn, key).await
    }

    /// What the token kept in its cubbyhole goes with it; more than one step's worth is left to housekeeping.
    async fn forget_cubbyhole(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let Some(mount) = self.router().await?.at(crate::ROOT_NAMESPACE, "cubbyhole/").cloned() else {
            return Ok(());
        };
        let hole = txn.scoped(Scope::mount(mount.mount.number).part(&[1]).part(key));
        if hole.delete_some(STEP).await? == STEP {
            REVOKING.put(txn, key, ())?;
        }
        Ok(())
    }
}
