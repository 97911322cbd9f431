//! The work of the active node for its cluster: the authority and the certificates.

use strongroom_barrier::Stored;
use strongroom_cluster::{Authority, AuthorityError, IdentityError, RENEW_AFTER};
use strongroom_engine_api::EngineError;
use strongroom_raft::Sender;

use super::ClusterNode;
use crate::AUTHORITY;
use crate::Node;

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

impl Node {
    /// The version of the program on a member: empty where it has not told this node.
    pub fn version_of(&self, node: &ClusterNode, raft_id: u64) -> String {
        match node.network.version_of(raft_id) {
            _ if raft_id == node.store.raft_id() => self.version.clone(),
            told => told.as_deref().unwrap_or_default().to_owned(),
        }
    }

    /// The cluster's authority. The active node makes it where there is none, and its successor once it is old; others
    /// take it as it is.
    pub async fn authority(&self, cluster_id: &str) -> Result<Option<Authority>, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let kept = AUTHORITY.get(&txn, "").await?.map(|kept| kept.0.clone());
        if !self.is_active() {
            return Ok(kept);
        }
        let now = self.environment.clock.now().as_secs();
        let made = match kept {
            Some(kept) if !kept.is_old(now) => return Ok(Some(kept)),
            Some(old) => old.successor(cluster_id, now),
            None => Authority::generate(cluster_id, now),
        };
        let made = made.map_err(|error| unsigned(&error))?;
        AUTHORITY.put(&txn, "", KeptAuthority(made.clone()))?;
        txn.commit().await?;
        tracing::info!("cluster CA rotated");
        Ok(Some(made))
    }

    /// Puts an authority in the place of the one in storage.
    async fn keep_authority(&self, authority: &Authority) -> Result<(), EngineError> {
        let txn = self.barrier.transaction(self.barrier.view());
        AUTHORITY.put(&txn, "", KeptAuthority(authority.clone()))?;
        txn.commit().await?;
        Ok(())
    }

    /// Puts this cluster's own authority back, where a restored state has brought the one of its time or of another
    /// cluster: the nodes would not trust that for long. While sealed there is no way to, nor need: other keys come with
    /// another cluster's state only, which a node takes that is alone.
    pub async fn put_authority_back(&self, own: Option<Authority>) -> Result<(), EngineError> {
        match own.filter(|_| !self.barrier.is_sealed()) {
            Some(own) => self.keep_authority(&own).await,
            None => Ok(()),
        }
    }

    /// Lets this node, which has just been unsealed, take part: it may lead, and shows its peers who it is. One that was
    /// away for longer than its certificate holds has the authority in its own data, and makes itself another.
    pub(crate) async fn enter_cluster(&self) -> Result<(), EngineError> {
        self.set_eligible(true);
        self.settle_authority().await?;
        self.renew_certificate().await
    }

    /// Renews this node's certificate where that is due, which every unsealed node can do itself. Existing connections
    /// finish what is under way. Does nothing while sealed, and where the authority in storage is not of those that this
    /// node trusts.
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
        let Some(authority) = self.authority(&node.store.cluster_id()).await? else { return Ok(()) };
        let trusted = node.identity.trusted().map_err(|error| unidentified(&error))?;
        if trusted.is_some_and(|trusted| authority.continues(&trusted)) {
            self.certify(node, &authority)?;
        }
        Ok(())
    }

    /// Has the authority sign a certificate for this node, which shows it from now on.
    fn certify(&self, node: &ClusterNode, authority: &Authority) -> Result<(), EngineError> {
        let (cluster, number) = (node.store.cluster_id(), node.store.raft_id());
        let key = node.identity.public_key().map_err(|error| unidentified(&error))?;
        let now = self.environment.clock.now();
        let sender = Sender { raft_id: number, seen: node.store.introduction().seen };
        let certificate =
            authority.sign(&key, &cluster, &sender, now.as_secs()).map_err(|error| unsigned(&error))?;
        node.take_certificates(&certificate, &authority.trusted())?;
        node.state().certified = Some(now);
        tracing::debug!("renewed this node's certificate for the cluster port");
        Ok(())
    }

    /// Sees to it that the active node's certificate is of the cluster's authority. A snapshot of another cluster
    /// brings that one's: a node that is alone makes a new authority then, since two clusters should not trust each
    /// other. Does nothing while sealed.
    pub async fn settle_authority(&self) -> Result<(), EngineError> {
        let Some(node) = self.cluster().filter(|node| node.store.is_leader()) else { return Ok(()) };
        if self.barrier.is_sealed() {
            return Ok(());
        }
        let cluster = node.store.cluster_id();
        let Some(mut authority) = self.authority(&cluster).await? else { return Ok(()) };
        let trusted = node.identity.trusted().map_err(|error| unidentified(&error))?;
        let is_trusted = trusted.as_deref().is_some_and(|trusted| authority.continues(trusted));
        if is_trusted && node.network.credentials().is_some() {
            return Ok(());
        }
        if trusted.is_some() && !is_trusted {
            if node.store.members().len() > 1 {
                tracing::error!("the authority in storage is not the one that this cluster's nodes trust");
                return Ok(());
            }
            let now = self.environment.clock.now().as_secs();
            authority = Authority::generate(&cluster, now).map_err(|error| unsigned(&error))?;
            self.keep_authority(&authority).await?;
        }
        self.certify(node, &authority)
    }
}

impl ClusterNode {
    /// Keeps certificates and shows them from now on.
    pub(super) fn take_certificates(&self, certificate: &str, trusted: &str) -> Result<(), EngineError> {
        let kept = self
            .identity
            .keep_certificates(certificate, trusted)
            .and_then(|()| self.identity.credentials(&self.store.cluster_id(), self.store.raft_id()));
        if let Some(credentials) = kept.map_err(|error| unidentified(&error))? {
            self.network.set_credentials(credentials);
        }
        Ok(())
    }
}
