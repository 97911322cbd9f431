//! Work that an engine does in the background, mount by mount.
//!
//! A job decides from its mount's storage what there is to do, does a bounded step of it in one transaction and says
//! whether there is more. It runs on the active node only, on one mount at a time, and is run again after a failure,
//! ever later; a mount whose job fails delays no other mount.
//!
//! A job that changes something outside of which it must be known how it stands (it rotates the password of an account) does so
//! by [`Acts`]: each act has an intent, as one that a request asks for ([`Route::settle`](crate::Route::settle)). Whatever
//! interrupts it between the act and the commit leaves the intent to the settlement of its kind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_barrier::{Stored, TableId};
use strongroom_stdx::Moment;

use crate::act::{Planned, RunAct, run_act};
use crate::route::Run;
use crate::steps::{Once, RunConclusion, RunHook, conclusion};
use crate::{
    ActError, Call, Carried, EngineError, Hook, Intent, IntentFacts, Name, OnceStep, Plan, ReadStep, View,
    WriteStep,
};

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
    work: Work,
}

/// The way a job works.
#[derive(Clone)]
enum Work {
    /// In one transaction a step.
    Step(RunHook<bool, EngineError>),
    /// By acts outside.
    Acts(Acts),
}

impl Job {
    /// Work of this name. The handler does one bounded step and answers whether there is more to do at once.
    pub fn new<A>(
        name: impl Into<Name>,
        schedule: Schedule,
        handler: impl Hook<A, bool, EngineError>,
    ) -> Self {
        Self { name: name.into(), schedule, work: Work::Step(handler.run()) }
    }

    /// Acts outside, under this name.
    pub fn acting(name: impl Into<Name>, schedule: Schedule, acts: Acts) -> Self {
        Self { name: name.into(), schedule, work: Work::Acts(acts) }
    }

    /// Its acts, where it is a job that acts outside.
    pub const fn acts(&self) -> Option<&Acts> {
        match &self.work {
            Work::Acts(acts) => Some(acts),
            Work::Step(_) => None,
        }
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
        match &self.work {
            Work::Step(run) => run(call, &Once::before(until)).await,
            Work::Acts(_) => Err(EngineError::Internal("a job that acts outside has no steps".to_owned())),
        }
    }
}

/// The plan of an act for one subject; `None`: there is nothing to do for it any more.
type RunPlan =
    Arc<dyn Fn(String, &Arc<Call>) -> BoxFuture<'static, Result<Option<Planned>, EngineError>> + Send + Sync>;

/// The acts of a job: for each subject that is due, a change outside behind an intent of its own.
#[derive(Clone)]
pub struct Acts {
    kind: Name,
    due: Run<Vec<String>>,
    plan: RunPlan,
    act: RunAct<Carried>,
    conclude: RunConclusion<()>,
}

impl Acts {
    /// Acts whose outcome the settlement of `kind` ([`Engine::settlement`](crate::Engine::settlement)) finds out where it is not
    /// known.
    ///
    /// `due` names the subjects that are due: roles, accounts. There are as many acts in a run as it names, so it names no more
    /// than a run is to take, and those first that have waited longest. `plan` says what is to be changed for one, every value
    /// that may hold afterwards included; what it writes is committed with the intent. `act` changes it, once; `conclude` writes the outcome.
    ///
    /// A subject whose last act is not settled is left alone until it is: two acts for one subject are never under way at once.
    /// After an act that was refused the next subject has its turn; after one that was not answered, or could not be sent, the job is
    /// tried again later.
    pub fn settled_by<A, B, C, D, T, R, L, P, H, K>(
        kind: impl Into<Name>,
        due: L,
        plan: P,
        act: H,
        conclude: K,
    ) -> Self
    where
        L: ReadStep<View, A, Vec<String>, EngineError>,
        P: WriteStep<String, B, Option<T>, EngineError>,
        H: OnceStep<Intent<T>, C, R, ActError>,
        K: WriteStep<Arc<R>, D, (), EngineError>,
        T: Stored + Send + Sync + 'static,
        R: Send + Sync + 'static,
    {
        Self {
            kind: kind.into(),
            due: Arc::new(move |call: &Arc<Call>| due.run(call.txn.peek(), call)),
            plan: Arc::new(move |subject, call| {
                let planned = plan.run(subject, call);
                Box::pin(
                    async move { planned.await?.map(|payload| Planned::of(Plan::new(payload))).transpose() },
                )
            }),
            act: run_act(act, |done| Ok(Carried::new(done))),
            conclude: conclusion(conclude, Ok),
        }
    }

    /// The kind of its intents.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Names the subjects that are due.
    pub async fn due(&self, call: &Arc<Call>) -> Result<Vec<String>, EngineError> {
        (self.due)(call).await
    }

    /// Says what is to be changed for a subject; may run again.
    pub async fn plan(&self, subject: String, call: &Arc<Call>) -> Result<Option<Planned>, EngineError> {
        (self.plan)(subject, call).await
    }

    /// Changes it, once.
    pub async fn act(
        &self,
        planned: Carried,
        intent: IntentFacts,
        call: &Arc<Call>,
    ) -> Result<Carried, ActError> {
        (self.act)(planned, intent, call).await
    }

    /// Writes how it stands now; may run again.
    pub async fn conclude(&self, done: &Carried, call: &Arc<Call>) -> Result<(), EngineError> {
        (self.conclude)(done, call).await
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.name)
    }
}
