//! The jobs of a node: the server's own, and those that engines declare, mount by mount.
//!
//! The scheduler (`strongroom_jobs`) decides when a job runs; this module names the jobs, gives each run a transaction,
//! and tells the scheduler of commits that make a job due.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_barrier::{BarrierError, KeyPlace, MountId, NamespaceId, TableId};
use strongroom_engine_api::{self as engine, Clock, EngineError, Moment};
use strongroom_identity::IdentityId;
use strongroom_jobs::{Job, JobName, JobStatus, NextDue, Outcome, Schedule, Step, Work};
use strongroom_mounts::{DELETED_NAMESPACES, DISABLED_MOUNTS, Errand, MOUNT_MOVES, MountHandle};
use strongroom_pipeline::extensions_for;

use crate::Background;

/// The longest that a step of a mount's job may take: it holds one of few places.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);
/// Transactions of one run, after which other jobs have their turn.
const MAX_STEPS: usize = 64;
/// The longest rest between two steps of a job.
const MAX_REST: Duration = Duration::from_millis(5);

/// The job that revokes leases outside.
const REVOKER: &str = "lease-revocation";

/// One step of the server's own work; answers whether there is more.
type OwnStep = fn(Arc<Background>) -> BoxFuture<'static, Result<bool, EngineError>>;

/// The jobs that commits to a table make due. The server's own tables are those of no mount.
#[derive(Default)]
pub(crate) struct Wakes(HashMap<(NamespaceId, MountId, u8), Vec<Wake>>);

struct Wake {
    job: JobName,
    /// True if the table's keys begin with the second at which the job is due.
    by_second: bool,
}

impl Wakes {
    fn add(&mut self, mounted: Option<&MountHandle>, table: TableId, job: &JobName, by_second: bool) {
        let wake = Wake { job: job.clone(), by_second };
        self.0.entry(Self::key(mounted, table)).or_default().push(wake);
    }

    /// Tables of the server's own are those of no mount, whatever namespace their entries are of.
    fn key(mounted: Option<&MountHandle>, table: TableId) -> (NamespaceId, MountId, u8) {
        let of = mounted.map(|mounted| (mounted.namespace.id, mounted.mount.id));
        let (namespace, mount) = of.unwrap_or((NamespaceId::ROOT, MountId::NONE));
        (namespace, mount, table.number)
    }

    /// Removes the jobs of a mount.
    fn forget(&mut self, mounted: &MountHandle) {
        for job in mounted.engine.jobs() {
            if let engine::Schedule::OnCommit(table) | engine::Schedule::Due(table) = job.schedule() {
                self.0.remove(&Self::key(Some(mounted), table));
            }
        }
    }
}

/// The server's own jobs: name, schedule, step.
fn own_jobs() -> [(&'static str, Schedule, OwnStep); 13] {
    let every = |secs| Schedule::Every(Duration::from_secs(secs));
    [
        ("expiration", every(1), |background| {
            Box::pin(async move { background.services.revocation.expire_due().await })
        }),
        ("intents", every(10), |background| {
            Box::pin(async move { background.services.leases.end_forgotten_intents().await })
        }),
        ("revocations", Schedule::OnWake, |background| {
            Box::pin(async move { background.services.revocation.continue_revocations().await })
        }),
        ("disabled-mounts", every(1), |background| {
            Box::pin(async move { background.services.revocation.clear_disabled_mounts().await })
        }),
        ("mount-moves", every(1), |background| Box::pin(async move { background.continue_moves().await })),
        ("identity", Schedule::OnWake, |background| {
            Box::pin(async move { background.services.identity.continue_clearing().await })
        }),
        ("scim", Schedule::OnWake, |background| {
            Box::pin(async move { background.clear_scim_clients().await })
        }),
        ("oidc", every(5), |background| Box::pin(async move { background.services.oidc.rotate_due().await })),
        ("deleted-namespaces", Schedule::OnWake, |background| {
            Box::pin(async move { background.clear_deleted_namespaces().await })
        }),
        ("key-rotation", every(10), |background| {
            Box::pin(async move { done(background.services.seal_state.rotate_if_due().await) })
        }),
        ("autopilot", every(1), |background| {
            Box::pin(async move { done(background.services.node.run_autopilot().await) })
        }),
        ("automated-snapshots", every(1), |background| {
            Box::pin(async move { done(background.services.backup.take_due_snapshots().await) })
        }),
        ("broken-restore", every(60), |background| {
            Box::pin(async move { background.clear_broken_restore().await })
        }),
    ]
}

fn done(outcome: Result<(), EngineError>) -> Result<bool, EngineError> {
    outcome.map(|()| false)
}

impl Background {
    /// The state of every job of this node.
    pub fn job_status(&self) -> Vec<JobStatus> {
        self.services.jobs.status()
    }

    /// Runs the server's own jobs once, and with `engines` those of mounts: for tests that step the clock.
    ///
    /// # Errors
    ///
    /// The first failure of a job.
    pub async fn run_jobs_once(self: &Arc<Self>, engines: bool) -> Result<(), EngineError> {
        self.refresh_jobs().await?;
        let failures = self.services.jobs.run_once(|name| engines || name.owner.is_empty()).await;
        failures.into_iter().next().map_or(Ok(()), |(job, error)| {
            Err(EngineError::Internal(format!("the job {job} failed: {error}")))
        })
    }

    /// Adds the jobs of new mounts, and removes those of mounts that are gone.
    pub(crate) async fn refresh_jobs(self: &Arc<Self>) -> Result<(), BarrierError> {
        let changes = self.services.mounts.router().await?.take_job_changes();
        if !changes.all && changes.gone.is_empty() && changes.new.is_empty() {
            return Ok(());
        }
        let mut jobs = Vec::new();
        // Told of commits before the first run looks at storage, so that none is missed between the two.
        {
            let mut wakes = self.wakes.write().unwrap_or_else(PoisonError::into_inner);
            if changes.all {
                *wakes = Wakes::default();
                jobs.extend(self.own_jobs(&mut wakes));
            }
            for mounted in &changes.gone {
                wakes.forget(mounted);
            }
            for mounted in &changes.new {
                wakes.forget(mounted);
                jobs.extend(mounted.engine.jobs().iter().map(|job| self.mount_job(mounted, job, &mut wakes)));
            }
        }
        if changes.all {
            self.services.jobs.set(jobs);
            return Ok(());
        }
        let names = |mounted: &Arc<MountHandle>| {
            let owner: Arc<str> = mounted.full_path().into();
            let names = mounted.engine.jobs().iter().map(|job| JobName::new(owner.clone(), job.name()));
            names.collect::<Vec<_>>()
        };
        let gone: Vec<JobName> = changes.gone.iter().flat_map(names).collect();
        self.services.jobs.change(&gone, jobs);
        Ok(())
    }

    /// The server's own jobs.
    fn own_jobs(self: &Arc<Self>, wakes: &mut Wakes) -> Vec<Job> {
        let revocations = JobName::new("", "revocations");
        for table in strongroom_tokens::WORK.into_iter().chain(strongroom_revocation::WORK) {
            wakes.add(None, table, &revocations, false);
        }
        for table in strongroom_identity::WORK {
            wakes.add(None, table, &JobName::new("", "identity"), false);
        }
        wakes.add(None, strongroom_identity::SCIM_WORK, &JobName::new("", "scim"), false);
        wakes.add(None, DISABLED_MOUNTS.id(), &JobName::new("", "disabled-mounts"), false);
        wakes.add(None, MOUNT_MOVES.id(), &JobName::new("", "mount-moves"), false);
        wakes.add(None, DELETED_NAMESPACES.id(), &JobName::new("", "deleted-namespaces"), false);
        let mut jobs: Vec<Job> =
            own_jobs().into_iter().map(|(name, schedule, step)| self.own_job(name, schedule, step)).collect();
        jobs.push(self.own_job(REVOKER, Schedule::Due(self.next_revocation_due()), |background| {
            Box::pin(background.services.revocation.clone().revoke_queued())
        }));
        jobs
    }

    fn own_job(self: &Arc<Self>, name: &'static str, schedule: Schedule, step: OwnStep) -> Job {
        let background = Arc::downgrade(self);
        let work: Work = Arc::new(move || {
            let background = background.clone();
            Box::pin(async move { steps(&background, step).await })
        });
        Job { name: JobName::new("", name), schedule, work }
    }

    fn mount_job(self: &Arc<Self>, mounted: &Arc<MountHandle>, job: &engine::Job, wakes: &mut Wakes) -> Job {
        let name = JobName::new(mounted.full_path(), job.name());
        let background = Arc::downgrade(self);
        let schedule = match job.schedule() {
            engine::Schedule::Every(span) => Schedule::Every(span),
            engine::Schedule::OnCommit(table) => {
                wakes.add(Some(mounted), table, &name, false);
                Schedule::OnWake
            }
            engine::Schedule::Due(table) => {
                wakes.add(Some(mounted), table, &name, true);
                Schedule::Due(next_due(background.clone(), mounted.clone(), table))
            }
        };
        let (mounted, job) = (mounted.clone(), job.clone());
        let work: Work = Arc::new(move || {
            let (background, mounted, job) = (background.clone(), mounted.clone(), job.clone());
            Box::pin(async move {
                steps(&background, |background| {
                    let (mounted, job) = (mounted.clone(), job.clone());
                    Box::pin(async move { background.run_mount_job(&mounted, &job).await })
                })
                .await
            })
        });
        Job { name, schedule, work }
    }

    fn next_revocation_due(self: &Arc<Self>) -> NextDue {
        let background = Arc::downgrade(self);
        Arc::new(move || {
            let background = background.clone();
            Box::pin(async move {
                let Some(background) = background.upgrade() else { return Ok(None) };
                background.services.revocation.next_revocation().await.map_err(|error| error.to_string())
            })
        })
    }

    /// Has the queues of leases to be revoked looked at.
    pub(crate) fn wake_revoker(&self) {
        self.services.jobs.wake(&JobName::new("", REVOKER));
    }

    /// Removes one step's worth of what deleted namespaces held and have left in others; answers whether there is more.
    async fn clear_deleted_namespaces(&self) -> Result<bool, EngineError> {
        let services = &self.services;
        let txn = services.barrier.transaction(services.barrier.pinned_view().await?);
        if let Some((id, _)) = services.mounts.first_deleted(&txn).await?
            && services.identity.clear_namespace(&txn, id).await?
        {
            txn.commit().await?;
            return Ok(true);
        }
        services.revocation.clear_deleted_namespaces().await
    }

    /// Deletes one step's worth of the users and groups of deleted SCIM clients, and has their tokens ended; answers whether there
    /// is more.
    async fn clear_scim_clients(&self) -> Result<bool, EngineError> {
        let services = &self.services;
        let txn = services.barrier.transaction(services.barrier.pinned_view().await?);
        let Some((namespace, gone)) = services.identity.continue_scim_deletion(&txn).await? else {
            return Ok(false);
        };
        services.mfa.forget_entities(&txn, namespace, &gone).await?;
        let gone: Vec<_> = gone.into_iter().map(IdentityId::bytes).collect();
        services.revocation.note_entities(&txn, namespace, &gone)?;
        txn.commit().await?;
        Ok(true)
    }

    async fn clear_broken_restore(&self) -> Result<bool, EngineError> {
        if let Some(node) = self.services.node.cluster() {
            node.store.clear_broken_restore().await.map_err(BarrierError::from)?;
        }
        Ok(false)
    }

    async fn run_mount_job(
        self: &Arc<Self>,
        mounted: &MountHandle,
        job: &engine::Job,
    ) -> Result<bool, EngineError> {
        if let Some(acts) = job.acts() {
            return self.run_acts(mounted, job, acts).await;
        }
        let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
        let call = mounted.internal_call_with(
            &txn,
            &self.services.environment,
            Errand::Job,
            extensions_for(&self.extensions, &*mounted.engine),
        );
        let until = self.services.environment.clock.now().after(STEP_TIMEOUT);
        let more = tokio::select! {
            more = job.run(&call, until) => more?,
            () = self.services.environment.clock.sleep(STEP_TIMEOUT) => {
                return Err(EngineError::Internal("a step took too long".to_owned()));
            }
        };
        if !txn.is_empty() {
            self.services.mounts.hold_mount(&txn, mounted).await?;
        }
        txn.commit().await?;
        Ok(more)
    }

    /// Tells the scheduler of a key that a commit has touched.
    pub(crate) fn wake_jobs(&self, place: KeyPlace, key: &[u8]) {
        let wakes = self.wakes.read().unwrap_or_else(PoisonError::into_inner);
        let namespace = if place.mount.is_none() { NamespaceId::ROOT } else { place.namespace };
        let Some(wakes) = wakes.0.get(&(namespace, place.mount, place.table)) else { return };
        for wake in wakes {
            match second_of(place, key).filter(|_| wake.by_second) {
                Some(second) => self.services.jobs.wake_at(&wake.job, end_of(second)),
                None => self.services.jobs.wake(&wake.job),
            }
        }
    }
}

/// The number with which a key begins within its table.
fn second_of(place: KeyPlace, key: &[u8]) -> Option<u64> {
    let head = if place.mount.is_none() { 6 } else { 10 };
    let (second, _) = key.get(head..)?.split_first_chunk::<8>()?;
    Some(u64::from_be_bytes(*second))
}

/// The moment at which a second is over: entries under it are due then, wherever in the second they end.
fn end_of(second: u64) -> Moment {
    Moment::from_secs(second.saturating_add(1))
}

/// Asks a mount's table for the moment of its first entry.
fn next_due(background: Weak<Background>, mounted: Arc<MountHandle>, table: TableId) -> NextDue {
    Arc::new(move || {
        let (background, mounted) = (background.clone(), mounted.clone());
        Box::pin(async move {
            let Some(background) = background.upgrade() else { return Ok(None) };
            let view = background.services.barrier.view();
            let first = view.first_second(mounted.mount.place(), table).await;
            first.map(|second| second.map(end_of)).map_err(|error| error.to_string())
        })
    })
}

/// Repeats `step` while it has more to do, within bounds. A conflict with a client's request is tried again. Nothing is
/// done by a node that is not the active one. After each step it rests for about as long as that took, so that a job with
/// very much to do leaves half of the time to requests.
async fn steps<F>(background: &Weak<Background>, step: F) -> Outcome
where
    F: Fn(Arc<Background>) -> BoxFuture<'static, Result<bool, EngineError>>,
{
    for _ in 0..MAX_STEPS {
        let Some(background) = background.upgrade().filter(|background| {
            background.services.node.is_active() && !background.services.barrier.is_sealed()
        }) else {
            return Ok(Step::Later);
        };
        let clock = background.services.environment.clock.clone();
        let began = clock.now();
        match step(background.clone()).await {
            Ok(true) | Err(EngineError::Barrier(BarrierError::Conflict)) => {
                drop(background);
                rest(&clock, clock.now().since(began)).await;
            }
            Ok(false) => return Ok(Step::Done),
            // The keys went while the step was under way: there is nothing to tell anybody.
            Err(_) if background.services.barrier.is_sealed() => return Ok(Step::Later),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Step::More)
}

/// Leaves the processor to others for a while after a step that took so long.
async fn rest(clock: &Clock, took: Duration) {
    if took.is_zero() {
        tokio::task::yield_now().await;
    } else {
        clock.sleep(took.min(MAX_REST)).await;
    }
}
