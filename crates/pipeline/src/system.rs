//! The server's answers to requests of engines ([`System`](strongroom_engine_api::System)): made from services below
//! the mounts, since mounts lend it to their engines. Identity stands above the mounts, and is told of here once it is made
//! ([`Above`]).

use std::sync::{Arc, OnceLock, Weak};

use futures::future::BoxFuture;
use strongroom_barrier::Barrier;
use strongroom_engine_api::{
    Cluster, EngineError, Entity, IdentityToken, IdentityTokenRequest, Mount, NamespaceId, NoIdentityToken,
    Secret, SystemPort, WrappedResponses,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_oidc::{Oidc, Workload};
use strongroom_passwords::Passwords;
use strongroom_seal_state::SealState;
use strongroom_storage::Leadership;
use strongroom_wrapping::Wrapping;

use crate::Envelope;

/// The services above the mounts that engines ask. The mounts lend what holds this, so it does not keep them alive.
#[derive(Default)]
pub(crate) struct Above(OnceLock<(Weak<Identity>, Weak<Oidc>)>);

impl Above {
    /// Says which they are, once.
    pub(crate) fn are(&self, identity: &Arc<Identity>, oidc: &Arc<Oidc>) {
        // A second time would be another server's.
        let _is_first = self.0.set((Arc::downgrade(identity), Arc::downgrade(oidc)));
    }

    fn get(&self) -> Result<(Arc<Identity>, Arc<Oidc>), EngineError> {
        let found = self.0.get().and_then(|(identity, oidc)| Some((identity.upgrade()?, oidc.upgrade()?)));
        found.ok_or_else(|| EngineError::Status(503, "the server is stopping".to_owned()))
    }
}

/// The server as its engines see it.
pub(crate) struct ServerAsSeen {
    pub(crate) above: Arc<Above>,
    /// The version of the server, which is that of the engines in it.
    pub(crate) version: String,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) seal_state: Arc<SealState>,
    pub(crate) leadership: Leadership,
}

impl SystemPort for ServerAsSeen {
    fn password<'a>(
        &'a self,
        namespace: NamespaceId,
        policy: &'a str,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>> {
        Box::pin(self.passwords.generate_now(namespace, policy))
    }

    fn cluster(&self) -> Option<Cluster> {
        let unsealed = self.seal_state.unsealed()?;
        Some(Cluster { name: unsealed.cluster_name.clone(), id: unsealed.cluster_id.clone() })
    }

    fn is_active(&self) -> bool {
        self.leadership.is_active()
    }

    fn entity<'a>(
        &'a self,
        namespace: NamespaceId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Entity>, EngineError>> {
        Box::pin(async move {
            let (identity, _) = self.above.get()?;
            let Some(id) = IdentityId::parse(id) else { return Ok(None) };
            let found = identity.effective(namespace, id).await?;
            Ok(found.map(|found| Entity {
                id: found.id.to_string(),
                name: found.entity.name.clone(),
                metadata: found.entity.metadata.clone(),
                groups: found.groups.values().map(|(_, group)| group.name.clone()).collect(),
            }))
        })
    }

    fn identity_token<'a>(
        &'a self,
        mount: &'a Mount,
        request: &'a IdentityTokenRequest,
    ) -> BoxFuture<'a, Result<IdentityToken, NoIdentityToken>> {
        Box::pin(async move { Ok(self.token_of(mount, request).await?) })
    }
}

impl ServerAsSeen {
    async fn token_of(
        &self,
        mount: &Mount,
        request: &IdentityTokenRequest,
    ) -> Result<IdentityToken, EngineError> {
        let (identity, oidc) = self.above.get()?;
        let mounted = identity.mount_of(mount.namespace, &mount.accessor).await?;
        let mounted =
            mounted.ok_or_else(|| EngineError::Status(503, "the mount is being disabled".to_owned()))?;
        let of = Workload {
            namespace: mount.namespace,
            namespace_id: &identity.short_id(mount.namespace).await?,
            namespace_path: &mount.namespace_path,
            class: if mounted.path.starts_with("auth/") { "auth" } else { "secret" },
            accessor: &mount.accessor,
            path: &mount.path,
            plugin: &mount.kind,
            version: &format!("v{}+builtin.strongroom", self.version),
            local: mount.local,
        };
        let (token, ttl) = oidc.plugin_token(&of, &request.audience, (&request.key, request.ttl)).await?;
        Ok(IdentityToken { token: Secret::new(token), ttl })
    }
}

/// The wrapped responses, as the engine at `cubbyhole/` sees them.
pub(crate) struct WrappedAsSeen {
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) wrapping: Arc<Wrapping>,
}

impl WrappedResponses for WrappedAsSeen {
    fn held_by<'a>(
        &'a self,
        token: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Option<Secret<String>>, EngineError>> {
        Box::pin(async move {
            let view = self.barrier.pinned_view().await?;
            let Some((_, wrapped)) = self.wrapping.wrapped(&view, token.expose()).await? else {
                return Ok(None);
            };
            let response = Envelope::from_kept(wrapped.envelope.expose())?.render("")?;
            Ok(Some(Secret::new(response)))
        })
    }
}
