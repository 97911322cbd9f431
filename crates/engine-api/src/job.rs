//! Work that an engine does in the background, mount by mount.
//!
//! A job decides from its mount's storage what there is to do, does a bounded step of it in one transaction and says
//! whether there is more. It runs on the active node only, on one mount at a time, and is run again after a failure,
//! ever later; a mount whose job fails delays no other mount.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_barrier::TableId;
use strongroom_stdx::Moment;

use crate::steps::{Once, RunHook};
use crate::{Call, EngineError, Hook, Name};

/// The times at which a job runs. Every job also runs when a node becomes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Once in this time.
    Every(Duration),
    /// Runs when the second is over with which the first key of a table begins.
    Due(TableId),
    /// After commits that touch a table.
    OnCommit(TableId),
}

/// A job of an engine.
#[derive(Clone)]
pub struct Job {
    name: Name,
    schedule: Schedule,
    run: RunHook<bool, EngineError>,
}

impl Job {
    /// Work of this name. The handler does one bounded step and answers whether there is more to do at once.
    pub fn new<A>(
        name: impl Into<Name>,
        schedule: Schedule,
        handler: impl Hook<A, bool, EngineError>,
    ) -> Self {
        Self { name: name.into(), schedule, run: handler.run() }
    }

    /// Its name among the engine's jobs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The times at which it runs.
    pub const fn schedule(&self) -> Schedule {
        self.schedule
    }

    /// Does one bounded step, which is given up `until` then; answers whether there is more to do at once.
    pub async fn run(&self, call: &Arc<Call>, until: Moment) -> Result<bool, EngineError> {
        (self.run)(call, &Once::before(until)).await
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.name)
    }
}
