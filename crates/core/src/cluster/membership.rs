//! What the active node does for its cluster: the authority and the certificates.

use strongroom_barrier::{Scope, Stored};
use strongroom_cluster::{Authority, AuthorityError, IdentityError};
use strongroom_engine_api::EngineError;

use super::ClusterNode;
use crate::Core;
use crate::tables::AUTHORITY;

/// The authority as kept.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct KeptAuthority(pub(crate) Authority);

impl Stored for KeptAuthority {}

pub(super) fn unsigned(error: &AuthorityError) -> EngineError {
    EngineError::Internal(error.to_string())
}

pub(super) fn unidentified(error: &IdentityError) -> EngineError {
    EngineError::Internal(error.to_string())
}

impl Core {
    /// The cluster's authority; the active node makes it where there is none.
    pub(super) async fn authority(&self, node: &ClusterNode) -> Result<Authority, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?).scoped(Scope::core());
        if let Some(kept) = AUTHORITY.get(&txn, "").await? {
            return Ok(kept.0.clone());
        }
        let now = self.environment.clock.now().as_secs();
        let made = Authority::generate(&node.store.cluster_id(), now).map_err(|error| unsigned(&error))?;
        AUTHORITY.put(&txn, "", KeptAuthority(made.clone()))?;
        txn.commit().await?;
        Ok(made)
    }

    /// Lets this node, which has just been unsealed, take part: it may lead, and shows its peers who it is.
    pub(crate) async fn enter_cluster(&self) -> Result<(), EngineError> {
        let Some(node) = self.cluster() else { return Ok(()) };
        node.store.set_eligible(true);
        if node.network.credentials().is_some() || !node.store.is_leader() {
            return Ok(());
        }
        let (cluster, number) = (node.store.cluster_id(), node.store.raft_id());
        let authority = self.authority(node).await?;
        let key = node.identity.public_key().map_err(|error| unidentified(&error))?;
        let now = self.environment.clock.now().as_secs();
        let certificate = authority.sign(&key, &cluster, number, now).map_err(|error| unsigned(&error))?;
        node.take_certificates(&certificate, authority.certificate())
    }
}

impl ClusterNode {
    /// Keeps certificates and shows them from now on.
    pub(super) fn take_certificates(&self, certificate: &str, authority: &str) -> Result<(), EngineError> {
        let kept = self
            .identity
            .keep_certificates(certificate, authority)
            .and_then(|()| self.identity.credentials(&self.store.cluster_id(), self.store.raft_id()));
        if let Some(credentials) = kept.map_err(|error| unidentified(&error))? {
            self.network.set_credentials(credentials);
        }
        Ok(())
    }
}
