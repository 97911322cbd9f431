//! Looking at leases.

use std::sync::Arc;

use strongroom_barrier::{BarrierError, NamespaceId, Reads};
use strongroom_engine_api::Moment;
use strongroom_expiry::{IRREVOCABLE, LEASES, Lease, LeaseState};

use crate::Leases;

/// The facts shown of a lease, whether it is a secret's or a token's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The time at which it was granted.
    pub issued: Moment,
    /// The time of its last renewal.
    pub renewed: Option<Moment>,
    /// The time at which it expires; `None`: never.
    pub expires: Option<Moment>,
    /// True if it may be renewed.
    pub renewable: bool,
    /// Its state.
    pub state: LeaseState,
}

/// A lease that the outside refused to revoke.
#[derive(Clone, Debug)]
pub struct IrrevocableLease {
    /// Its id.
    pub id: String,
    /// Its record.
    pub lease: Arc<Lease>,
}

impl Leases {
    /// The facts of a lease.
    pub async fn lease_facts(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<Option<LeaseFacts>, BarrierError> {
        let Some(lease) = LEASES.get(reads, &(namespace, id)).await? else { return Ok(None) };
        let Some(token) = lease.token else {
            return Ok(Some(LeaseFacts {
                issued: lease.issued,
                renewed: lease.renewed,
                expires: Some(lease.expires),
                renewable: lease.renewable && lease.state.is_active(),
                state: lease.state.clone(),
            }));
        };
        Ok(self.tokens.entry(reads, &token).await?.map(|token| LeaseFacts {
            issued: token.created,
            renewed: token.renewed,
            expires: token.expires,
            renewable: token.renewable,
            state: LeaseState::Active,
        }))
    }

    /// Leases that the outside refused to revoke, by id, after the id `after`.
    pub async fn irrevocable_leases(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IrrevocableLease>, BarrierError> {
        let ids = match after {
            Some(after) => IRREVOCABLE.keys_after(reads, &namespace, &(namespace, after), limit).await?,
            None => IRREVOCABLE.keys(reads, &namespace, None, limit).await?,
        };
        let mut leases = Vec::new();
        for (_, id) in ids {
            if let Some(lease) = LEASES.get(reads, &(namespace, &id)).await? {
                leases.push(IrrevocableLease { id, lease });
            }
        }
        Ok(leases)
    }

    /// The names directly under `folder` (empty, or ending in a slash) among the lease ids, deeper ones once as
    /// `name/`: those after `after`, at most `limit`, in order.
    pub async fn lease_children(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        folder: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        LEASES.children(reads, &(namespace, folder), after, limit).await
    }
}
