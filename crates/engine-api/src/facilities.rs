//! The facilities that a server lends to the engines of all its mounts: made once, and shared by all calls, so that a request
//! costs one reference count for all of them.
//!
//! Engines reach them through what they draw ([`Cached`](crate::Cached), [`Outbound`](crate::Outbound),
//! [`System`](crate::System)) and not from a call, since what may be drawn is a matter of the step that draws.

use std::fmt;
use std::sync::Arc;

use strongroom_cached::Kept;
use strongroom_outbound_api::{NoWayOut, WayOut};

use crate::system::{NoSystem, SystemPort};

/// The facilities that a server lends to its engines.
pub struct Facilities {
    kept: Arc<Kept>,
    way_out: Arc<dyn WayOut>,
    system: Arc<dyn SystemPort>,
}

impl Facilities {
    /// Those of a server.
    pub fn new(kept: Arc<Kept>, way_out: Arc<dyn WayOut>, system: Arc<dyn SystemPort>) -> Self {
        Self { kept, way_out, system }
    }

    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    pub(crate) fn way_out(&self) -> &Arc<dyn WayOut> {
        &self.way_out
    }

    pub(crate) fn system(&self) -> &Arc<dyn SystemPort> {
        &self.system
    }
}

impl Default for Facilities {
    /// Those of no server: nothing is reached outside, and nothing is known of a cluster.
    fn default() -> Self {
        Self::new(Arc::default(), Arc::new(NoWayOut), Arc::new(NoSystem))
    }
}

impl fmt::Debug for Facilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Facilities")
    }
}
