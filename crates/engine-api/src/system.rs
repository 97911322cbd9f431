//! The port from an engine to its server: requests for data that is not its own mount's.
//!
//! A password by one of the policies of the mount's namespace, the cluster that it runs in, entities, and tokens by which the mount
//! proves to third parties who it is (workload identity federation). What is known of the mount itself is drawn as
//! [`Arc<Mount>`](crate::Mount). There is no way to other mounts, tokens, leases or keys, and nothing here changes what is a
//! mount's: the first identity token signed with the namespace's built-in key makes that key.
//!
//! An answer is of what is committed at the time, not of the request's own transaction.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_barrier::NamespaceId;
use strongroom_stdx::Secret;

use crate::{ActError, Call, EngineError, Extract, Facilities, Mount, bad_request};

/// The server, as a handler or a step asks it.
#[derive(Clone)]
pub struct System {
    facilities: Arc<Facilities>,
    mount: Arc<Mount>,
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

/// An identity token as a mount asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityTokenRequest {
    /// The third party that is to take it.
    pub audience: String,
    /// The time that it is to live; zero: an hour.
    pub ttl: Duration,
    /// The named key of the namespace that signs it; empty: `default`.
    pub key: String,
}

/// A token by which a mount proves who it is.
pub struct IdentityToken {
    /// The token, a JWT.
    pub token: Secret<String>,
    /// The time that it lives, which may be shorter than was asked.
    pub ttl: Duration,
}

/// An identity token that could not be had. Nothing was sent anywhere.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NoIdentityToken(#[from] pub EngineError);

impl From<NoIdentityToken> for EngineError {
    fn from(error: NoIdentityToken) -> Self {
        error.0
    }
}

impl From<NoIdentityToken> for ActError {
    fn from(error: NoIdentityToken) -> Self {
        Self::NotSent(error.0)
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

    /// A token of a mount, signed by the server. A server without identity signs none.
    fn identity_token<'a>(
        &'a self,
        _mount: &'a Mount,
        _request: &'a IdentityTokenRequest,
    ) -> BoxFuture<'a, Result<IdentityToken, NoIdentityToken>> {
        let refused = NoIdentityToken(bad_request("identity tokens are not available"));
        Box::pin(std::future::ready(Err(refused)))
    }
}

impl System {
    /// A password by a policy of the mount's namespace (`sys/policies/password/…`). It is new with each call, so a plan that runs
    /// again has another.
    pub async fn generate_password(&self, policy: &str) -> Result<Secret<String>, EngineError> {
        if policy.is_empty() {
            return Err(bad_request("missing password policy name"));
        }
        let made = self.facilities.system().password(self.mount.namespace, policy).await?;
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
        self.facilities.system().entity(self.mount.namespace, id).await
    }

    /// A token by which the mount proves to a third party who it is (workload identity federation): its subject is
    /// `plugin-identity:NAMESPACE:CLASS:ACCESSOR`, its issuer publishes the keys below `identity/oidc/plugins`.
    ///
    /// # Errors
    ///
    /// The key is not there or does not allow the audience, or its first use is on a standby.
    pub async fn identity_token(
        &self,
        request: &IdentityTokenRequest,
    ) -> Result<IdentityToken, NoIdentityToken> {
        self.facilities.system().identity_token(&self.mount, request).await
    }
}

impl Extract for System {
    fn extract(call: &Arc<Call>) -> Result<Self, EngineError> {
        Ok(Self { facilities: call.facilities.clone(), mount: call.mount.clone() })
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
