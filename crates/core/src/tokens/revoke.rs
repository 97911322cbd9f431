//! Taking tokens away: the token at once, what hangs on it in bounded steps.
//!
//! A token's own records go in the transaction of whoever revokes it. Its children, leases and cubbyhole go with it
//! as far as one transaction's [`STEP`] reaches; what is beyond is noted, and housekeeping follows it down. A note
//! always stands for a token that is gone already, so nothing can be added to what is still to be removed.

use strongroom_barrier::{Scope, Table, Txn};
use strongroom_engine_api::EngineError;

use super::{TokenKey, create::lease_id};
use crate::Core;
use crate::leases::end_secret_lease;
use crate::tables::{ACCESSORS, CHILDREN, EXPIRY, LEASES, OWNED_LEASES, REVOKING, TOKENS, WRAPPED};

/// Tokens that are gone and whose children are still to be made orphans.
const ORPHANING: Table<TokenKey, ()> = Table::new(22);

/// What hangs on tokens and is removed in one transaction: children, leases, cubbyhole entries.
pub(crate) const STEP: usize = 256;

impl Core {
    /// Revokes a token and everything under it.
    pub async fn revoke_token(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let mut budget = STEP;
        self.revoke_tree(txn, key, &mut budget).await
    }

    /// As [`Core::revoke_token`], taking from `budget` what is removed; with nothing left, only the token itself goes.
    pub(crate) async fn revoke_tree(
        &self,
        txn: &Txn,
        key: &TokenKey,
        budget: &mut usize,
    ) -> Result<(), EngineError> {
        let txn = txn.scoped(Scope::core());
        let mut waiting = vec![*key];
        while let Some(next) = waiting.pop() {
            self.forget_token(&txn, &next).await?;
            self.strip_token(&txn, &next, budget, &mut waiting).await?;
        }
        Ok(())
    }

    /// Revokes a token and leaves its children as orphans. Batch tokens that it made end with it all the same: they
    /// carry their parent within themselves.
    pub async fn revoke_orphaning(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let txn = txn.scoped(Scope::core());
        self.forget_token(&txn, key).await?;
        self.orphan_children(&txn, key).await
    }

    /// Goes on with a revocation that was too large for one transaction; answers whether there was one.
    pub async fn continue_revocations(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        if let Some(key) = ORPHANING.keys(&txn, &(), None, 1).await?.first() {
            ORPHANING.delete(&txn, key);
            self.orphan_children(&txn, key).await?;
        } else if let Some(key) = REVOKING.keys(&txn, &(), None, 1).await?.first() {
            REVOKING.delete(&txn, key);
            self.revoke_token(&txn, key).await?;
        } else if !self.continue_prefixes(&txn).await? && !self.continue_tidying(&txn).await? {
            return Ok(false);
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Whether revocations of tokens are noted that housekeeping has still to finish.
    pub(crate) async fn has_revocations(&self, txn: &Txn) -> Result<bool, EngineError> {
        let orphaning = ORPHANING.keys(txn.view(), &(), None, 1).await?;
        Ok(!orphaning.is_empty() || !REVOKING.keys(txn.view(), &(), None, 1).await?.is_empty())
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
        Ok(())
    }

    /// Removes what hangs on a token that is gone, within `budget`; children are added to those `waiting` for the
    /// same. Notes the token when that was not all.
    async fn strip_token(
        &self,
        txn: &Txn,
        key: &TokenKey,
        budget: &mut usize,
        waiting: &mut Vec<TokenKey>,
    ) -> Result<(), EngineError> {
        let limit = *budget;
        for (_, child) in CHILDREN.keys(txn, key, None, limit).await? {
            CHILDREN.delete(txn, &(*key, &child));
            waiting.push(child);
            *budget = budget.saturating_sub(1);
        }
        for (_, id) in OWNED_LEASES.keys(txn, key, None, *budget).await? {
            if let Some(lease) = LEASES.get(txn, &(crate::ROOT_NAMESPACE, &id)).await? {
                end_secret_lease(txn, &id, &lease);
            }
            OWNED_LEASES.delete(txn, &(*key, &id));
            *budget = budget.saturating_sub(1);
        }
        let removed = self.empty_cubbyhole(txn, key, *budget).await?;
        *budget = budget.saturating_sub(removed);
        if *budget == 0 {
            REVOKING.put(txn, key, ())?;
        }
        Ok(())
    }

    /// Makes one step's worth of a gone token's children orphans, then strips it of the rest.
    async fn orphan_children(&self, txn: &Txn, key: &TokenKey) -> Result<(), EngineError> {
        let children = CHILDREN.keys(txn, key, None, STEP).await?;
        for (_, child) in &children {
            CHILDREN.delete(txn, &(*key, child));
            if let Some(entry) = TOKENS.get(txn, child).await? {
                let mut orphan = (*entry).clone();
                orphan.parent = None;
                TOKENS.put(txn, child, orphan)?;
            }
        }
        if children.len() == STEP {
            ORPHANING.put(txn, key, ())?;
            return Ok(());
        }
        let mut budget = STEP;
        self.strip_token(txn, key, &mut budget, &mut Vec::new()).await
    }

    /// Removes up to `limit` entries of the token's cubbyhole; answers how many.
    async fn empty_cubbyhole(&self, txn: &Txn, key: &TokenKey, limit: usize) -> Result<usize, EngineError> {
        let router = self.router().await?;
        let Some(mounted) = router.at(crate::ROOT_NAMESPACE, "cubbyhole/").filter(|_| limit > 0) else {
            return Ok(0);
        };
        let hole = txn.scoped(Scope::mount(mounted.mount.number).part(&[1]).part(key));
        Ok(hole.delete_some(limit).await?)
    }
}
