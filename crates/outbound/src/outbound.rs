//! The way out: what all connections share, and what one caller may do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_outbound_api::Timeouts;
use strongroom_stdx::Clock;

use crate::pool::Pool;
use crate::{AddressPolicy, OwnAddresses, Proxies, Resolver, SystemResolver, Tls};

/// The settings that all connections of an [`Outbound`] have in common.
#[derive(Clone)]
pub struct Settings {
    /// The resolver of names.
    pub resolver: Arc<dyn Resolver>,
    /// The clock of time-outs.
    pub clock: Clock,
    /// Through which proxies requests go.
    pub proxies: Proxies,
    /// The rules of which addresses may be connected to.
    pub policy: AddressPolicy,
    /// The trust anchors and the client certificate.
    pub tls: Tls,
    /// The time limit of each step.
    pub timeouts: Timeouts,
    /// Connections to one server that are kept for the next request.
    pub max_idle: usize,
    /// True if HTTP/2 is offered to servers.
    pub http2: bool,
    /// A Unix socket to which all connections go, whatever their host.
    pub unix_socket: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            clock: Clock::system(),
            proxies: Proxies::none(),
            policy: AddressPolicy::default(),
            tls: Tls::default(),
            timeouts: Timeouts::default(),
            max_idle: 16,
            http2: true,
            unix_socket: None,
        }
    }
}

/// The way out, with the rules of one caller. Cheap to clone; clones share connections, however their rules differ.
#[derive(Clone)]
pub struct Outbound {
    pub(crate) network: Arc<Network>,
    pub(crate) policy: AddressPolicy,
    pub(crate) tls: Tls,
    pub(crate) timeouts: Timeouts,
}

pub(crate) struct Network {
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) clock: Clock,
    pub(crate) proxies: Proxies,
    pub(crate) own: OwnAddresses,
    pub(crate) pool: Arc<Pool>,
    pub(crate) http2: bool,
    pub(crate) unix_socket: Option<PathBuf>,
    #[cfg(any(test, feature = "double"))]
    pub(crate) double: Option<Arc<crate::double::State>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Outbound {
    /// A way out without connections yet.
    pub fn new(settings: Settings) -> Self {
        let Settings { resolver, clock, proxies, policy, tls, timeouts, max_idle, http2, unix_socket } =
            settings;
        let network = Network {
            resolver,
            pool: Arc::new(Pool::new(max_idle, clock.clone())),
            clock,
            proxies,
            own: OwnAddresses::default(),
            http2,
            unix_socket,
            #[cfg(any(test, feature = "double"))]
            double: None,
        };
        Self { network: Arc::new(network), policy, tls, timeouts }
    }

    /// The same with narrower rules for addresses: what was forbidden stays so.
    #[must_use]
    pub fn narrowed(&self, policy: &AddressPolicy) -> Self {
        Self { policy: policy.clone().within(&self.policy), ..self.clone() }
    }

    /// The same with other rules for addresses in place of those it had.
    #[must_use]
    pub fn with_policy(&self, policy: AddressPolicy) -> Self {
        Self { policy, ..self.clone() }
    }

    /// The same with another trust and identity.
    #[must_use]
    pub fn with_tls(&self, tls: Tls) -> Self {
        Self { tls, ..self.clone() }
    }

    /// The same with other time-outs.
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self.clone() }
    }

    /// The addresses of this cluster, to which no connection goes unless its range is allowed.
    pub fn own_addresses(&self) -> &OwnAddresses {
        &self.network.own
    }

    /// Ends the connections that wait for a request.
    pub fn close_idle(&self) {
        self.network.pool.clear();
    }
}

impl Network {
    /// Waits for `limit` at most; `None` where it has passed.
    pub(crate) async fn within<T>(
        &self,
        limit: Option<Duration>,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let Some(limit) = limit else { return Some(future.await) };
        tokio::select! {
            biased;
            done = future => Some(done),
            () = self.clock.sleep(limit) => None,
        }
    }
}
