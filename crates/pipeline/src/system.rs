//! The server's answers to requests of engines ([`System`](strongroom_engine_api::System)): made from services below
//! the mounts, since mounts lend it to their engines.

use std::sync::Arc;

use futures::future::BoxFuture;
use strongroom_engine_api::{Cluster, EngineError, NamespaceId, Secret, SystemPort};
use strongroom_passwords::Passwords;
use strongroom_seal_state::SealState;
use strongroom_storage::Leadership;

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
