//! Removes what is left of a deleted namespace: its tokens, then all else, in bounded steps.

use strongroom_engine_api::EngineError;

use crate::Revocation;

impl Revocation {
    /// Removes one step's worth of what deleted namespaces held; answers whether there is more.
    pub async fn clear_deleted_namespaces(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let Some((id, path)) = self.mounts.first_deleted(&txn).await? else { return Ok(false) };
        if !self.tokens.revoke_some_of(&txn, id).await? && !self.mounts.clear_namespace(&txn, id).await? {
            tracing::info!(namespace = path, "data of a deleted namespace removed");
        }
        txn.commit().await?;
        Ok(true)
    }
}
