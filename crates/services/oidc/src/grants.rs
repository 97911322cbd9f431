//! Grants: kept from the authorization code until what was given for it has ended.
//!
//! A code is used in the transaction that gives its tokens, so of two that use it at once one finds it used. A code that is
//! shown a second time has leaked, and makes void what it gave: the access token is good for as long as its grant is.

use std::sync::Arc;

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::EngineError;

use crate::Oidc;
use crate::keys::second_after;
use crate::records::{Grant, GrantState, Hash, OfGrant};
use crate::tables::{GRANTS, GRANTS_DUE};

/// Grants that a job's step removes.
const STEP: usize = 64;

impl Grant {
    /// The second from which it is of no use.
    pub const fn until(&self) -> u64 {
        match self.state {
            GrantState::Code => second_after(self.code_expires),
            GrantState::Used { until } | GrantState::Revoked { until } => until,
        }
    }
}

impl Oidc {
    /// The grant of a code.
    pub async fn grant(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        hash: &Hash,
    ) -> Result<Option<Arc<Grant>>, BarrierError> {
        GRANTS.get(reads, &(namespace, hash)).await
    }

    /// Writes a new grant.
    pub fn keep_grant(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        hash: &Hash,
        grant: Grant,
    ) -> Result<(), BarrierError> {
        GRANTS_DUE.put(txn, &(grant.until(), hash), OfGrant { namespace })?;
        GRANTS.put(txn, &(namespace, hash), grant)
    }

    /// Writes the use of a grant.
    pub fn note_use(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        hash: &Hash,
        grant: &Grant,
        state: GrantState,
    ) -> Result<(), BarrierError> {
        GRANTS_DUE.delete(txn, &(grant.until(), hash));
        self.keep_grant(txn, namespace, hash, Grant { state, ..grant.clone() })
    }

    /// Removes grants that are of no use any more; answers whether there may be more.
    pub(crate) async fn clear_grants(&self) -> Result<bool, EngineError> {
        let now = self.environment.clock.now().as_secs();
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let found = GRANTS_DUE.scan(txn.peek(), &(), None, STEP).await?;
        let due: Vec<_> = found.into_iter().filter(|((second, _), _)| *second <= now).collect();
        for ((second, hash), of) in &due {
            GRANTS_DUE.delete(&txn, &(*second, hash));
            // One whose use has moved its end is listed there.
            let grant = GRANTS.get(&txn, &(of.namespace, hash)).await?;
            if grant.is_some_and(|grant| grant.until() <= now) {
                GRANTS.delete(&txn, &(of.namespace, hash));
            }
        }
        let more = due.len() == STEP;
        if !due.is_empty() {
            txn.commit().await?;
        }
        Ok(more)
    }
}
