//! The port from an engine to its server: requests for data that is not its own mount's.
//!
//! A password by one of the policies of the mount's namespace, the cluster that it runs in, and, once there is identity, entities
//! and tokens that prove the server's identity to third parties. What is known of the mount itself is drawn as
//! [`Arc<Mount>`](crate::Mount). There is no way to other mounts, tokens, leases or keys, and nothing here changes
//! anything.
//!
//! An answer is of what is committed at the time, not of the request's own transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_barrier::NamespaceId;
use strongroom_stdx::Secret;

use crate::{Call, EngineError, Extract, Facilities, bad_request};

/// The server, as a handler or a step asks it.
#[derive(Clone)]
pub struct System {
    facilities: Arc<Facilities>,
    namespace: NamespaceId,
}

/// The cluster that a server belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its id, a UUID.
    pub id: String,
}

/// A person or machine that logs in, by any auth method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// Its id, as [`Caller::entity_id`](crate::Caller) has it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The metadata set at its creation.
    pub metadata: BTreeMap<String, String>,
    /// The names of the groups that it is in.
    pub groups: Vec<String>,
}

/// There are no identity tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identity tokens are not available")]
pub struct NoIdentityTokens;

impl From<NoIdentityTokens> for EngineError {
    fn from(error: NoIdentityTokens) -> Self {
        bad_request(error.to_string())
    }
}

/// The requests of engines that a server answers.
pub trait SystemPort: Send + Sync + 'static {
    /// A password by a policy of a namespace; `None` where it has no such policy.
    fn password<'a>(
        &'a self,
        namespace: NamespaceId,
        policy: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>>;

    /// The cluster; `None` while sealed.
    fn cluster(&self) -> Option<Cluster>;

    /// True if this node is the active one.
    fn is_active(&self) -> bool;

    /// An entity of a namespace. A server without identity has none.
    fn entity<'a>(
        &'a self,
        _namespace: NamespaceId,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Entity>, EngineError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// A token for `audience`, signed by the server. A server without identity signs none.
    fn identity_token<'a>(
        &'a self,
        _namespace: NamespaceId,
        _audience: &'a str,
        _ttl: Duration,
    ) -> BoxFuture<'a, Result<Secret<String>, NoIdentityTokens>> {
        Box::pin(std::future::ready(Err(NoIdentityTokens)))
    }
}

impl System {
    /// A password by a policy of the mount's namespace (`sys/policies/password/…`). It is new with each call, so a plan that runs
    /// again has another.
    pub async fn generate_password(&self, policy: &str) -> Result<Secret<String>, EngineError> {
        if policy.is_empty() {
            return Err(bad_request("missing password policy name"));
        }
        let made = self.facilities.system().password(self.namespace, policy).await?;
        made.ok_or_else(|| bad_request("no password policy found"))
    }

    /// The cluster that the server belongs to: what it makes outside can name it.
    pub fn cluster(&self) -> Option<Cluster> {
        self.facilities.system().cluster()
    }

    /// True if this node is the active one. A read can run on one that is not.
    pub fn is_active(&self) -> bool {
        self.facilities.system().is_active()
    }

    /// An entity of the mount's namespace; `None` where there is none with this id, as on every server without identity.
    pub async fn entity(&self, id: &str) -> Result<Option<Entity>, EngineError> {
        self.facilities.system().entity(self.namespace, id).await
    }

    /// A token by which the server proves to `audience` who it is (workload identity federation).
    pub async fn identity_token(
        &self,
        audience: &str,
        ttl: Duration,
    ) -> Result<Secret<String>, NoIdentityTokens> {
        self.facilities.system().identity_token(self.namespace, audience, ttl).await
    }
}

impl Extract for System {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self { facilities: call.facilities.clone(), namespace: call.mount.namespace })
    }
}

/// No server: an engine that is tested alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSystem;

impl SystemPort for NoSystem {
    fn password<'a>(
        &'a self,
        _namespace: NamespaceId,
        _policy: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn cluster(&self) -> Option<Cluster> {
        None
    }

    fn is_active(&self) -> bool {
        true
    }
}
