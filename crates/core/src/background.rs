//! Work that no request asks for: the upkeep of this node, and on the active node the jobs.
//!
//! Upkeep is one look a second at the state of the node itself (its keys, certificate, membership), on every node. All
//! other work is a job ([`crate::jobs`]) with a schedule and a task of its own, and runs on the active node alone: the
//! jobs begin with its term and end with it. A failure here is a line in the log when it begins and one when it is over.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use strongroom_engine_api::Extensions;
use strongroom_pipeline::Services;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::jobs::Wakes;
use crate::moves::FailedMoves;
use crate::observing::CommitObserver;

const KEYS: &str = "the keys in storage could not be taken over";
const UNSEALING: &str = "no seal unwrapped the root key";
const IDENTITY: &str = "this node cannot show the others who it is";
const CERTIFICATE: &str = "this node's certificate for the cluster port was not renewed";
const AUDIT_DEVICES: &str = "declared audit devices are not as configured";
const JOBS: &str = "the mounts could not be read for their background jobs";

/// The time between two looks at the state of the node.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The upkeep of the node, and the jobs of the active one.
pub struct Background {
    pub(crate) services: Services,
    /// The values that the server's own engines can draw.
    pub(crate) extensions: Extensions,
    pub(crate) wakes: RwLock<Wakes>,
    pub(crate) failed_moves: FailedMoves,
    /// Told when another state has taken the place of everything: the keys are to be looked at anew.
    pub(crate) replaced: Arc<Notify>,
}

impl Background {
    /// For `services`; `extensions` are what parts of the server can draw of them.
    pub fn new(services: Services, extensions: Extensions) -> Self {
        let (wakes, failed_moves) = (RwLock::default(), FailedMoves::default());
        Self { services, extensions, wakes, failed_moves, replaced: Arc::default() }
    }

    /// Hears of commits from now on.
    pub fn observe_commits(self: &Arc<Self>) {
        self.services.barrier.store().observe(Arc::new(CommitObserver::new(self)));
    }

    /// Works until the background is dropped. While sealed, looks for the keys only, and whether this node was removed.
    pub async fn run_background(self: Arc<Self>) {
        let clock = self.services.environment.clock.clone();
        let (background, replaced) = (Arc::downgrade(&self), self.replaced.clone());
        drop(self);
        let mut errors = ErrorOnce::default();
        let mut term = Term::default();
        loop {
            let is_replaced = tokio::select! {
                () = clock.sleep(UPKEEP_INTERVAL) => false,
                () = replaced.notified() => true,
            };
            let Some(background) = background.upgrade() else { return };
            if is_replaced || background.services.barrier.is_sealed() {
                // A node that lacks only the keyring has lost it to another state, and looks until it has read it.
                errors.note(KEYS, background.services.seal_state.renew_keyring().await);
            }
            errors.note(UNSEALING, background.services.seal_state.unseal_if_due().await);
            background.services.node.watch_removal().await;
            background.services.node.keep_in_touch().await;
            if background.services.barrier.is_sealed() {
                term.end();
                continue;
            }
            background.services.node.watch_quorum().await;
            errors.note(IDENTITY, background.services.node.settle_passing_identity().await);
            errors.note(CERTIFICATE, background.services.node.renew_certificate().await);
            if !background.services.node.is_active() {
                // Also where a term began and ended between two looks.
                if term.end() || background.services.kept.holds_connections() {
                    background.services.kept.stepped_down();
                    background.services.audit_devices.stepped_down();
                }
                errors.note(KEYS, background.services.seal_state.renew_keyring().await);
                continue;
            }
            errors.note(AUDIT_DEVICES, background.services.audit_devices.settle_declared().await);
            errors.note(JOBS, background.refresh_jobs().await);
            term.begin(&background);
        }
    }
}

/// The term of leadership in which jobs run.
#[derive(Default)]
struct Term(Option<JoinHandle<()>>);

impl Term {
    fn begin(&mut self, background: &Arc<Background>) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            if self.0.is_none() {
                tracing::info!("acquired leadership, enabling active operation");
            }
            let jobs = background.services.jobs.clone();
            self.0 = Some(tokio::spawn(async move { jobs.run().await }));
        }
    }

    /// Ends it; answers whether there was one.
    fn end(&mut self) -> bool {
        let Some(running) = self.0.take() else { return false };
        running.abort();
        tracing::info!("stepping down from active operation to standby");
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
