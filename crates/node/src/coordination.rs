//! The leadership of this node, and the way to the active node, whatever storage settles it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use strongroom_cluster::{EphemeralCredentials, Network};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_raft::Peer;
use strongroom_storage::{Active, Coordinator, SteppedDown};

use crate::Node;

/// The means by which this node and others settle which is active.
pub struct Coordination {
    coordinator: Arc<dyn Coordinator>,
    /// The way to the active node; `None` where there is no other.
    network: Option<Arc<Network>>,
    /// Since when this node leads, as far as it has noticed.
    leading: Mutex<Option<(u64, Moment)>>,
    /// The identity that it shows the others, where storage has no directory to keep it in.
    ephemeral: tokio::sync::Mutex<EphemeralCredentials>,
}

impl Coordination {
    /// By this coordinator; `network` leads to the other nodes, if there are to be any.
    pub fn new(coordinator: Arc<dyn Coordinator>, network: Option<Arc<Network>>) -> Self {
        Self { coordinator, network, leading: Mutex::default(), ephemeral: tokio::sync::Mutex::default() }
    }

    /// The active node, as far as known; may be this node.
    pub fn active(&self) -> Option<Active> {
        self.coordinator.active()
    }

    /// True if other nodes may stand in for this one.
    pub const fn has_others(&self) -> bool {
        self.network.is_some()
    }
}

impl Node {
    /// Makes this node one of several. Once.
    pub fn set_coordination(&self, coordination: Coordination) {
        self.leadership.settle_by(coordination.coordinator.clone());
        let _ = self.coordination.set(coordination);
    }

    /// The means by which it is settled which node is active; `None` where there is only this node.
    pub fn coordination(&self) -> Option<&Coordination> {
        self.coordination.get()
    }

    /// True if it is this node that decides: it leads, or there are no others.
    pub fn is_active(&self) -> bool {
        self.leadership.is_active()
    }

    /// The term in which this node decides, 0 where there are no others; `None` for a node that does not.
    pub fn leading(&self) -> Option<u64> {
        self.leadership.term()
    }

    /// True if another node decides, and this one answers what it can and forwards the rest.
    pub fn is_standby(&self) -> bool {
        !self.is_active() && !self.barrier.is_sealed()
    }

    /// For how long this node has been without a leader or a majority: where that is longer than an election takes, or
    /// has been so since it was started.
    pub fn without_quorum(&self) -> Option<Duration> {
        self.leadership.without_quorum()
    }

    /// The way to the active node; `None` while there is none, or it is this one.
    pub fn way_to_active(&self) -> Option<(Peer, &Network)> {
        let coordination = self.coordination()?;
        let active = coordination.active()?;
        if active.number == coordination.coordinator.number() {
            return None;
        }
        let Active { number, node_id, cluster_address, .. } = active;
        Some((Peer { raft_id: number, node_id, cluster_address }, coordination.network.as_deref()?))
    }

    /// Since when this node is the active one, as of now.
    pub fn active_since(&self) -> Option<Moment> {
        let cluster = self.seal_state.unsealed()?;
        let Some(coordination) = self.coordination() else { return Some(cluster.active_since) };
        let mut leading = coordination.leading.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(term) = coordination.coordinator.leading() else {
            *leading = None;
            return None;
        };
        match *leading {
            Some((of, since)) if of == term => Some(since),
            before => {
                let first = before.is_none() && term <= 1;
                let since = if first { cluster.active_since } else { self.environment.clock.now() };
                *leading = Some((term, since));
                Some(since)
            }
        }
    }

    /// Steps down, if another node can take over. If none can, this one stays active.
    pub async fn step_down(&self) -> SteppedDown {
        match self.coordination() {
            Some(coordination) => coordination.coordinator.step_down().await,
            None => SteppedDown::Nothing,
        }
    }

    /// True if this node may lead: it does not while it is sealed.
    pub fn set_eligible(&self, eligible: bool) {
        if let Some(coordination) = self.coordination() {
            coordination.coordinator.set_eligible(eligible);
        }
    }

    /// Makes sure that this node has a certificate for the others, where none is kept in a data directory: an unsealed
    /// node can read the cluster's authority, and signs its own. The active node makes the authority where there is
    /// none.
    pub async fn settle_passing_identity(&self) -> Result<(), EngineError> {
        let Some(coordination) = self.coordination() else { return Ok(()) };
        let Some(network) = coordination.network.as_ref().filter(|_| self.cluster().is_none()) else {
            return Ok(());
        };
        let mut ephemeral = coordination.ephemeral.lock().await;
        let clock = &self.environment.clock;
        if !ephemeral.is_due(clock.now().as_secs()) {
            return Ok(());
        }
        let (cluster_id, number) = (coordination.coordinator.cluster_id(), coordination.coordinator.number());
        let Some(authority) = self.authority(&cluster_id).await? else { return Ok(()) };
        let signed = ephemeral.sign(&authority, &cluster_id, number, clock);
        network.set_credentials(signed.map_err(|error| super::membership::unidentified(&error))?);
        Ok(())
    }
}
