//! Work that no request asks for: the upkeep of this node, and on the active node the jobs.
//!
//! Upkeep is one look a second at the state of the node itself (its keys, certificate, membership), on every node. All
//! other work is a job ([`crate::jobs`]) with a schedule and a task of its own, and runs on the active node alone: the
//! jobs begin with its term and end with it. A failure here is a line in the log when it begins and one when it is over.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::Core;

const KEYS: &str = "the keys in storage could not be taken over";
const UNSEALING: &str = "no seal unwrapped the root key";
const IDENTITY: &str = "this node cannot show the others who it is";
const CERTIFICATE: &str = "this node's certificate for the cluster port was not renewed";
const JOBS: &str = "the mounts could not be read for their background jobs";

/// The time between two looks at the state of the node.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

impl Core {
    /// Works until the core is dropped. While sealed, looks for the keys only, and whether this node was removed.
    pub async fn run_background(self: Arc<Self>) {
        let clock = self.environment.clock.clone();
        let (core, replaced) = (Arc::downgrade(&self), self.replaced.clone());
        drop(self);
        let mut errors = ErrorOnce::default();
        let mut term = Term::default();
        loop {
            let is_replaced = tokio::select! {
                () = clock.sleep(UPKEEP_INTERVAL) => false,
                () = replaced.notified() => true,
            };
            let Some(core) = core.upgrade() else { return };
            if is_replaced || core.barrier.is_sealed() {
                // A node that lacks only the keyring has lost it to another state, and looks until it has read it.
                errors.note(KEYS, core.renew_keyring().await);
            }
            errors.note(UNSEALING, core.unseal_if_due().await);
            core.watch_removal().await;
            core.keep_in_touch().await;
            if core.barrier.is_sealed() {
                term.end();
                continue;
            }
            core.watch_quorum().await;
            errors.note(IDENTITY, core.settle_passing_identity().await);
            errors.note(CERTIFICATE, core.renew_certificate().await);
            if !core.is_active() {
                if term.end() {
                    core.kept.stepped_down();
                }
                errors.note(KEYS, core.renew_keyring().await);
                continue;
            }
            errors.note(JOBS, core.refresh_jobs().await);
            term.begin(&core);
        }
    }
}

/// The term of leadership in which jobs run.
#[derive(Default)]
struct Term(Option<JoinHandle<()>>);

impl Term {
    fn begin(&mut self, core: &Arc<Core>) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            let jobs = core.jobs.clone();
            self.0 = Some(tokio::spawn(async move { jobs.run().await }));
        }
    }

    /// Ends it; answers whether there was one.
    fn end(&mut self) -> bool {
        let Some(running) = self.0.take() else { return false };
        running.abort();
        true
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        self.end();
    }
}

/// The kinds of failure that have been logged and are not over.
#[derive(Default)]
struct ErrorOnce(BTreeSet<&'static str>);

impl ErrorOnce {
    fn note<E: Display>(&mut self, what: &'static str, outcome: Result<(), E>) {
        match outcome {
            Ok(()) if self.0.remove(what) => tracing::info!("resolved: {what}"),
            Ok(()) => {}
            Err(error) if self.0.insert(what) => tracing::error!(%error, "{what}; it is tried again"),
            Err(error) => tracing::debug!(%error, "{what}"),
        }
    }
}
