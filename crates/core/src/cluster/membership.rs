//! What the active node does for its cluster: the authority and the certificates.

use strongroom_barrier::{Scope, Stored, Txn};
use strongroom_cluster::{Authority, AuthorityError, IdentityError, RENEW_AFTER};
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
    /// The cluster's authority; the active node makes it where there is none, others wait for it.
    pub(super) async fn authority(&self, cluster_id: &str) -> Result<Option<Authority>, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?).scoped(Scope::core());
        match AUTHORITY.get(&txn, "").await? {
            Some(kept) => Ok(Some(kept.0.clone())),
            None if self.is_active() => self.new_authority(cluster_id, txn).await.map(Some),
            None => Ok(None),
        }
    }

    async fn new_authority(&self, cluster_id: &str, txn: Txn) -> Result<Authority, EngineError> {
        let now = self.environment.clock.now().as_secs();
        let made = Authority::generate(cluster_id, now).map_err(|error| unsigned(&error))?;
        AUTHORITY.put(&txn, "", KeptAuthority(made.clone()))?;
        txn.commit().await?;
        Ok(made)
    }

    /// Lets this node, which has just been unsealed, take part: it may lead, and shows its peers who it is. One that was
    /// away for longer than its certificate holds has the authority in its own data, and makes itself another.
    pub(crate) async fn enter_cluster(&self) -> Result<(), EngineError> {
        self.set_eligible(true);
        self.settle_authority().await?;
        self.renew_certificate().await
    }

    /// Makes this node's certificate anew where that is due, which every unsealed node can for itself. Connections that
    /// there are finish what is under way. Does nothing while sealed, and where another authority is trusted than the
    /// one in storage.
    ///
    /// # Errors
    ///
    /// [`EngineError`] where storage or the cryptographic library fails, or the certificate cannot be kept.
    pub async fn renew_certificate(&self) -> Result<(), EngineError> {
        let Some(node) = self.cluster().filter(|_| !self.barrier.is_sealed()) else { return Ok(()) };
        let now = self.environment.clock.now();
        if node.state().certified.is_some_and(|at| now.since(at) < RENEW_AFTER) {
            return Ok(());
        }
        let view = self.barrier.pinned_view().await?;
        let Some(kept) = AUTHORITY.get(&view.scoped(Scope::core()), "").await? else { return Ok(()) };
        let trusted = node.identity.authority().map_err(|error| unidentified(&error))?;
        if trusted.as_deref() == Some(kept.0.certificate()) {
            self.certify(node, &kept.0)?;
        }
        Ok(())
    }

    /// Has the authority sign a certificate for this node, which shows it from now on.
    fn certify(&self, node: &ClusterNode, authority: &Authority) -> Result<(), EngineError> {
        let (cluster, number) = (node.store.cluster_id(), node.store.raft_id());
        let key = node.identity.public_key().map_err(|error| unidentified(&error))?;
        let now = self.environment.clock.now();
        let certificate =
            authority.sign(&key, &cluster, number, now.as_secs()).map_err(|error| unsigned(&error))?;
        node.take_certificates(&certificate, authority.certificate())?;
        node.state().certified = Some(now);
        tracing::debug!("this node's certificate for the cluster port was made anew");
        Ok(())
    }

    /// Sees to it that the active node's certificate is of the cluster's authority. A snapshot of another cluster
    /// brings that one's: a node that is alone makes a new authority then, since two clusters should not trust each
    /// other. Does nothing while sealed.
    pub(crate) async fn settle_authority(&self) -> Result<(), EngineError> {
        let Some(node) = self.cluster().filter(|node| node.store.is_leader()) else { return Ok(()) };
        if self.barrier.is_sealed() {
            return Ok(());
        }
        let cluster = node.store.cluster_id();
        let Some(mut authority) = self.authority(&cluster).await? else { return Ok(()) };
        let trusted = node.identity.authority().map_err(|error| unidentified(&error))?;
        let is_same = trusted.as_deref() == Some(authority.certificate());
        if is_same && node.network.credentials().is_some() {
            return Ok(());
        }
        if trusted.is_some() && !is_same {
            if node.store.members().len() > 1 {
                tracing::error!("the authority in storage is not the one that this cluster's nodes trust");
                return Ok(());
            }
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?).scoped(Scope::core());
            authority = self.new_authority(&cluster, txn).await?;
        }
        self.certify(node, &authority)
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
