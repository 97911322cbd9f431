//! What a deleted namespace leaves behind: its tokens, then all else, in bounded steps.

use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::EngineError;

use crate::Core;
use crate::tokens::{STEP, TOKENS, TokenId};

impl Core {
    /// Removes one step's worth of what deleted namespaces held; answers whether there is more.
    pub(crate) async fn clear_deleted_namespaces(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some((id, path)) = self.mounts.first_deleted(&txn).await? else { return Ok(false) };
        if !self.clear_tokens(&txn, id).await? && !self.mounts.clear_namespace(&txn, id).await? {
            tracing::info!(namespace = path, "what a deleted namespace held is gone");
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Revokes one step's worth of a namespace's tokens; answers whether there was any.
    async fn clear_tokens(&self, txn: &Txn, id: NamespaceId) -> Result<bool, EngineError> {
        let tokens = TOKENS.keys(txn, &id, None, STEP).await?;
        let mut budget = STEP;
        for (namespace, key) in &tokens {
            self.revoke_tree(txn, &TokenId { namespace: *namespace, key: *key }, &mut budget).await?;
        }
        Ok(!tokens.is_empty())
    }
}
