//! Requests that are answered whether sealed or not, before tokens and audit: `sys/seal-status`, `sys/health` and their
//! kind.
//!
//! While sealed there are no mounts, no namespaces and no audit devices: such an operation is given a substitute for
//! the system engine's mount, and what it writes is not committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use strongroom_barrier::{MountId, NamespaceId};
use strongroom_engine_api::{Call, Content, Extensions, Found, Lifetimes, Mount, RawTail, ServerTxn};

use super::{Answer, Pipeline, RequestError, Resolved};
use crate::{Envelope, extensions_for};

impl Pipeline {
    /// Answers a request for `found`.
    pub(super) async fn serve_always(
        self: &Arc<Self>,
        resolved: &Resolved,
        found: &Found,
    ) -> Result<Answer, RequestError> {
        let (inbound, to) = (&resolved.inbound, &resolved.to);
        let Some(endpoint) = found.endpoint_of(inbound.asked.operations()) else {
            return Err(to.no_route());
        };
        let rest = to.path.strip_prefix("sys/").unwrap_or_default();
        let txn = self.services.barrier.transaction(self.services.barrier.view());
        let mount = Arc::new(self.standing_in());
        let operation = inbound.asked.nominal();
        let request =
            inbound.for_engine(rest.into(), RawTail::default(), operation, None, std::iter::empty());
        let call = Arc::new(Call {
            request: Arc::new(request),
            params: found.params.clone(),
            txn: txn.mount(mount.place()),
            mount,
            server: ServerTxn::of(txn),
            facilities: self.services.facilities.clone(),
            environment: self.services.environment.clone(),
            extensions: self.system_extensions(),
            renewal: None,
            lease: None,
            warnings: Mutex::default(),
        });
        let reply = endpoint.run(&call).await?;
        Ok(match reply.content {
            Content::Raw(raw) => Answer::raw(raw, reply.status),
            Content::Upgrade(upgrade) => Answer::upgrade(upgrade),
            Content::Envelope(members) => {
                let envelope =
                    Envelope { data: members.data, warnings: members.warnings, ..Envelope::default() };
                Answer::envelope(&envelope, &inbound.id, reply.status)?
            }
        })
    }

    fn system_extensions(&self) -> Extensions {
        let engine = self.system_engine();
        engine.map_or_else(Extensions::default, |engine| extensions_for(&self.extensions, &*engine))
    }

    /// The mount of the system engine, as far as its handlers look at it.
    fn standing_in(&self) -> Mount {
        Mount {
            id: MountId::NONE,
            path: "sys/".to_owned(),
            accessor: String::new(),
            kind: "system".to_owned(),
            options: BTreeMap::new(),
            lifetimes: Lifetimes {
                default: self.services.settings.default_lease_ttl,
                max: self.services.settings.max_lease_ttl,
            },
            namespace: NamespaceId::ROOT,
            namespace_path: String::new(),
            local: false,
        }
    }
}
