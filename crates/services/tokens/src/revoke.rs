//! Revocation of tokens: the token at once, its children, leases and cubbyhole in bounded steps.
//!
//! A token's own records are removed in the transaction that revokes it. Its children, leases and cubbyhole are removed
//! with it as far as one transaction's [`STEP`] reaches; the rest is noted, and housekeeping removes it. A note is
//! always for a token that is gone already, so nothing can be added to what is still to be removed.

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::EngineError;
use strongroom_expiry::{EXPIRY, End, EntityKey, LEASES, OWNED_LEASES, end_lease};

use crate::create::lease_id;
use crate::tables::{ACCESSORS, CHILDREN, ENTITY_TOKENS, ORPHANING, REVOKING, TOKENS, WRAPPED};
use crate::{TokenId, TokenStore};

/// The number of dependents of tokens that a request removes in one transaction: children, leases, cubbyhole entries.
pub const STEP: usize = 256;
/// The same for housekeeping, which has the time that requests have not: everybody else's commits wait while one is applied.
pub const BACKGROUND_STEP: usize = 64;
/// Tokens of a deleted namespace or entity that are revoked in one transaction.
const TOKENS_AT_ONCE: usize = 16;

impl TokenStore {
    /// Revokes a token and everything under it.
    pub async fn revoke_token(&self, txn: &Txn, id: &TokenId) -> Result<(), EngineError> {
        let mut budget = STEP;
        self.revoke_tree(txn, id, &mut budget).await
    }

    /// Revokes one step's worth of a namespace's tokens; answers whether there was any.
    pub async fn revoke_some_of(&self, txn: &Txn, namespace: NamespaceId) -> Result<bool, EngineError> {
        let tokens = TOKENS.keys(txn, &namespace, None, TOKENS_AT_ONCE).await?;
        let mut budget = BACKGROUND_STEP;
        for (namespace, key) in &tokens {
            self.revoke_tree(txn, &TokenId { namespace: *namespace, key: *key }, &mut budget).await?;
        }
        Ok(!tokens.is_empty())
    }

    /// The tokens of an entity in storage, after `after`.
    pub async fn tokens_of_entity(
        &self,
        reads: &impl Reads,
        (home, entity): (NamespaceId, EntityKey),
        after: Option<&TokenId>,
        limit: usize,
    ) -> Result<Vec<TokenId>, BarrierError> {
        let prefix = (home, &entity);
        let keys = match after {
            Some(after) => ENTITY_TOKENS.keys_after(reads, &prefix, &(home, entity, after), limit).await?,
            None => ENTITY_TOKENS.keys(reads, &prefix, None, limit).await?,
        };
        Ok(keys.into_iter().map(|(_, _, id)| id).collect())
    }

    /// Revokes one step's worth of an entity's tokens; answers whether there was any. One whose own records are gone leaves no
    /// more than its place here.
    pub async fn revoke_some_of_entity(
        &self,
        txn: &Txn,
        (home, entity): (NamespaceId, EntityKey),
    ) -> Result<bool, EngineError> {
        let tokens = self.tokens_of_entity(txn, (home, entity), None, TOKENS_AT_ONCE).await?;
        let mut budget = BACKGROUND_STEP;
        for id in &tokens {
            ENTITY_TOKENS.delete(txn, &(home, entity, id));
            self.revoke_tree(txn, id, &mut budget).await?;
        }
        Ok(!tokens.is_empty())
    }

    /// As [`TokenStore::revoke_token`], taking from `budget` what is removed; with nothing left, only the token itself goes.
    pub async fn revoke_tree(&self, txn: &Txn, id: &TokenId, budget: &mut usize) -> Result<(), EngineError> {
        let mut waiting = vec![*id];
        while let Some(next) = waiting.pop() {
            self.forget_token(txn, &next).await?;
            self.strip_token(txn, &next, budget, &mut waiting).await?;
        }
        Ok(())
    }

    /// Revokes a token and leaves its children as orphans. Batch tokens that it made end with it all the same: they
    /// carry their parent within themselves.
    pub async fn revoke_orphaning(&self, txn: &Txn, id: &TokenId) -> Result<(), EngineError> {
        self.forget_token(txn, id).await?;
        self.orphan_children(txn, id).await
    }

    /// Goes on with a revocation that was too large for one transaction; answers whether there was one.
    pub async fn continue_revocations(&self, txn: &Txn) -> Result<bool, EngineError> {
        if let Some(id) = ORPHANING.keys(txn, &(), None, 1).await?.first() {
            ORPHANING.delete(txn, id);
            self.orphan_children(txn, id).await?;
        } else if let Some(id) = REVOKING.keys(txn, &(), None, 1).await?.first() {
            REVOKING.delete(txn, id);
            let mut budget = BACKGROUND_STEP;
            self.revoke_tree(txn, id, &mut budget).await?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// True if housekeeping has still to finish revocations of tokens.
    pub async fn has_revocations(&self, txn: &Txn) -> Result<bool, EngineError> {
        let orphaning = ORPHANING.keys(txn.peek(), &(), None, 1).await?;
        Ok(!orphaning.is_empty() || !REVOKING.keys(txn.peek(), &(), None, 1).await?.is_empty())
    }

    /// Removes the token's own records; from here on it is unknown.
    async fn forget_token(&self, txn: &Txn, id: &TokenId) -> Result<(), EngineError> {
        let Some(entry) = TOKENS.get(txn, &id.at()).await? else { return Ok(()) };
        TOKENS.delete(txn, &id.at());
        ACCESSORS.delete(txn, &(id.namespace, &self.accessor_key(&entry.accessor)?));
        if let Some(parent) = entry.parent {
            CHILDREN.delete(txn, &(parent.namespace, parent.key, id));
        }
        if let Some(end) = entry.expires {
            EXPIRY.delete(txn, &(end.as_secs(), &id.key));
            LEASES.delete(txn, &(id.namespace, &lease_id(&entry, id)));
        }
        if let Some((home, entity)) = entry.entity() {
            ENTITY_TOKENS.delete(txn, &(home, entity, id));
        }
        WRAPPED.delete(txn, &id.at());
        Ok(())
    }

    /// Removes what hangs on a token that is gone, within `budget`; children are added to those `waiting` for the
    /// same. Notes the token when that was not all.
    async fn strip_token(
        &self,
        txn: &Txn,
        id: &TokenId,
        budget: &mut usize,
        waiting: &mut Vec<TokenId>,
    ) -> Result<(), EngineError> {
        let limit = *budget;
        for (namespace, key, child) in CHILDREN.keys(txn, &id.at(), None, limit).await? {
            CHILDREN.delete(txn, &(namespace, key, &child));
            waiting.push(child);
            *budget = budget.saturating_sub(1);
        }
        for ((namespace, key, lease_id), owned) in OWNED_LEASES.scan(txn, &id.at(), None, *budget).await? {
            if let Some(lease) = LEASES.get(txn, &(owned.namespace, &lease_id)).await? {
                let now = self.environment.clock.now();
                end_lease(txn, owned.namespace, &lease_id, &lease, End::Due, now)?;
            }
            OWNED_LEASES.delete(txn, &(namespace, key, &lease_id));
            *budget = budget.saturating_sub(1);
        }
        let removed = self.remove_kept_by_token(txn, id, *budget).await?;
        *budget = budget.saturating_sub(removed);
        if *budget == 0 {
            REVOKING.put(txn, id, ())?;
        }
        Ok(())
    }

    /// Makes one step's worth of a gone token's children orphans, then strips it of the rest.
    async fn orphan_children(&self, txn: &Txn, id: &TokenId) -> Result<(), EngineError> {
        let children = CHILDREN.keys(txn, &id.at(), None, STEP).await?;
        for (namespace, key, child) in &children {
            CHILDREN.delete(txn, &(*namespace, *key, child));
            if let Some(entry) = TOKENS.get(txn, &child.at()).await? {
                let mut orphan = (*entry).clone();
                orphan.parent = None;
                TOKENS.put(txn, &child.at(), orphan)?;
            }
        }
        if children.len() == STEP {
            ORPHANING.put(txn, id, ())?;
            return Ok(());
        }
        let mut budget = STEP;
        self.strip_token(txn, id, &mut budget, &mut Vec::new()).await
    }

    /// Removes up to `limit` entries that engines keep for the token (its cubbyhole); answers how many.
    async fn remove_kept_by_token(
        &self,
        txn: &Txn,
        id: &TokenId,
        limit: usize,
    ) -> Result<usize, EngineError> {
        let router = self.mounts.router().await?;
        let mut removed: usize = 0;
        for (mounted, table) in router.kept_by_token(id.namespace) {
            let left = limit.saturating_sub(removed);
            let place = mounted.mount.place();
            removed = removed.saturating_add(txn.delete_of_table(place, table, &id.key, left).await?);
        }
        Ok(removed)
    }
}
