//! The server's answers to requests of engines ([`System`](strongroom_engine_api::System)): made from services below
//! the mounts, since mounts lend it to their engines.

use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_barrier::Barrier;
use strongroom_engine_api::{Cluster, EngineError, NamespaceId, Secret, SystemPort, WrappedResponses};
use strongroom_passwords::Passwords;
use strongroom_seal_state::SealState;
use strongroom_storage::Leadership;
use strongroom_wrapping::Wrapping;

use crate::Envelope;

/// The server as its engines see it.
pub(crate) struct ServerAsSeen {
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
