//! Acts on external systems, each backed by an intent, so that what an act makes is never lost and never made twice.
//!
//! Before anything is sent, the server commits an *intent*: a lease that is not in force yet, with what the engine would
//! need to end what the act may make. The act then runs once. When it has succeeded, the intent becomes the lease, or for a
//! settlement is gone with what the conclusion writes; whatever else happens (an error, a crash, another leader, a token
//! revoked meanwhile) leaves the intent to the revoker, which runs the kind's hook. The hook runs again after the longest time for
//! which something that was sent can still arrive.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::{BarrierError, Stored};
use strongroom_stdx::{EntropyError, Moment};
use strongroom_wire::Json;

use crate::route::Run;
use crate::steps::{Once, RunConclusion, conclusion, first_step};
use crate::{Call, Carried, EngineError, Handler, IntoReply, Name, OnceStep, Payload, Reply, WriteStep};

/// The outcome of an act that did not succeed, by what may stand outside.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Nothing was sent: the intent is removed, and no hook is run.
    #[error("{0}")]
    NotSent(EngineError),
    /// The outside has answered that it did not do it. What it may have done of it is ended by the kind's hook.
    #[error("{0}")]
    Refused(EngineError),
    /// There was no answer: it may have been done, or will be. Errors of which nothing is known count as this one.
    #[error("{0}")]
    Unanswered(EngineError),
}

impl ActError {
    /// The error for the client.
    pub fn into_inner(self) -> EngineError {
        match self {
            Self::NotSent(error) | Self::Refused(error) | Self::Unanswered(error) => error,
        }
    }
}

impl From<EngineError> for ActError {
    fn from(error: EngineError) -> Self {
        Self::Unanswered(error)
    }
}

impl From<BarrierError> for ActError {
    fn from(error: BarrierError) -> Self {
        Self::Unanswered(error.into())
    }
}

impl From<EntropyError> for ActError {
    fn from(error: EntropyError) -> Self {
        Self::Unanswered(error.into())
    }
}

/// A check that the node still decides, as the server hands it to an act.
#[derive(Clone)]
pub struct InForce(Arc<dyn Fn() -> bool + Send + Sync>);

impl InForce {
    /// A check.
    pub fn new(check: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    fn holds(&self) -> bool {
        (self.0)()
    }
}

/// The facts of an intent that is committed.
#[derive(Clone)]
pub struct IntentFacts {
    /// The id that the lease has or would have. A mark made of it lets the outside list what belongs to whom.
    pub id: String,
    /// The moment at which the act is given up.
    pub deadline: Moment,
    /// Holds for as long as this node is the active one and there is time for the act.
    pub in_force: InForce,
}

/// The intent that an act runs for.
pub struct Intent<T> {
    /// The payload of the plan.
    pub payload: T,
    facts: IntentFacts,
}

impl<T> Intent<T> {
    /// The id that the lease has or would have: never used again, so that what is made outside can carry a mark.
    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// The moment at which the act is given up, whatever it has done.
    pub const fn deadline(&self) -> Moment {
        self.facts.deadline
    }

    /// Makes sure that the node still decides and that there is time. An act calls it last before it sends what cannot be
    /// taken back: it may have stood still while another node undid its intent.
    pub fn check(&self) -> Result<(), ActError> {
        if self.facts.in_force.holds() {
            return Ok(());
        }
        let text = "the active node has changed, or the time for it is over; try again";
        Err(ActError::NotSent(EngineError::Status(503, text.to_owned())))
    }
}

/// The plan of an act: a description of what it is to make, and the lifetimes of its lease.
pub struct Plan<T> {
    /// The data that the kind's hooks need to end it: kept with the intent and the lease, so it holds names and no
    /// secret.
    pub payload: T,
    /// The TTL of its lease until renewed; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// True if the lease may be renewed.
    pub renewable: bool,
}

impl<T> Plan<T> {
    /// A plan with a renewable lease of the mount's lifetimes.
    pub const fn new(payload: T) -> Self {
        Self { payload, ttl: Duration::ZERO, max_ttl: Duration::ZERO, renewable: true }
    }
}

/// The result of an act.
pub struct Issued<S> {
    /// The `data` of the answer.
    pub secret: S,
    /// The payload of the lease in place of the plan's, where the external system chose names of its own.
    pub payload: Option<Payload>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

impl<S> Issued<S> {
    /// The plan's payload unchanged, and the secret.
    pub const fn new(secret: S) -> Self {
        Self { secret, payload: None, warnings: Vec::new() }
    }

    /// The same, with what the lease is to keep.
    pub fn keeping<T: Stored>(self, payload: &T) -> Result<Self, EngineError> {
        Ok(Self { payload: Some(Payload::of(payload)?), ..self })
    }
}

/// A plan with its types erased.
pub struct Planned {
    /// The payload of the intent.
    pub payload: Payload,
    /// The TTL of a lease; zero: the mount's default.
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    pub max_ttl: Duration,
    /// True if a lease may be renewed.
    pub renewable: bool,
    /// The payload as the act takes it.
    pub carried: Carried,
}

impl Planned {
    pub(crate) fn of<T: Stored + Send + Sync + 'static>(plan: Plan<T>) -> Result<Self, EngineError> {
        Ok(Self {
            payload: Payload::of(&plan.payload)?,
            ttl: plan.ttl,
            max_ttl: plan.max_ttl,
            renewable: plan.renewable,
            carried: Carried::new(plan.payload),
        })
    }
}

/// The result of an act, as JSON.
pub struct ActOutcome {
    /// The `data` of the answer.
    pub data: Json,
    /// The payload of the lease in place of the plan's.
    pub payload: Option<Payload>,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// An act with its types erased.
pub(crate) type RunAct<O> = Arc<
    dyn Fn(Carried, IntentFacts, &Arc<Call>) -> futures::future::BoxFuture<'static, Result<O, ActError>>
        + Send
        + Sync,
>;

/// An act without its types: it takes the payload of the plan, and `finish` makes its outcome of what it answers. A payload of
/// another plan is one for which nothing is sent.
pub(crate) fn run_act<T, B, R, H, O>(act: H, finish: fn(R) -> Result<O, ActError>) -> RunAct<O>
where
    H: OnceStep<Intent<T>, B, R, ActError>,
    T: Send + Sync + 'static,
    R: Send + 'static,
    O: Send + 'static,
{
    Arc::new(move |carried, facts, call| {
        let payload = match carried.take() {
            Ok(payload) => payload,
            Err(error) => return Box::pin(std::future::ready(Err(ActError::NotSent(error)))),
        };
        let once = Once::before(facts.deadline);
        let answered = act.run(Intent { payload, facts }, call, &once);
        Box::pin(async move { finish(answered.await?) })
    })
}

/// The steps of an operation that makes something outside which a lease ends.
#[derive(Clone)]
pub struct Issuing {
    kind: Name,
    plan: Run<Planned>,
    act: RunAct<ActOutcome>,
}

impl Issuing {
    pub(crate) fn new<A, B, T, S, P, H>(kind: Name, plan: P, act: H) -> Self
    where
        P: Handler<A, Plan<T>>,
        H: OnceStep<Intent<T>, B, Issued<S>, ActError>,
        T: Stored + Send + Sync + 'static,
        S: Serialize + JsonSchema + Send + 'static,
    {
        let act = run_act(act, |issued: Issued<S>| {
            let Issued { secret, payload, warnings } = issued;
            Ok(ActOutcome { data: Json::of(&secret).map_err(EngineError::from)?, payload, warnings })
        });
        Self { kind, plan: first_step(plan, Planned::of), act }
    }

    /// The kind of its leases.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Says what is to be made; may run again.
    pub async fn plan(&self, call: &Arc<Call>) -> Result<Planned, EngineError> {
        (self.plan)(call).await
    }

    /// Makes it, once.
    pub async fn act(
        &self,
        planned: Carried,
        intent: IntentFacts,
        call: &Arc<Call>,
    ) -> Result<ActOutcome, ActError> {
        (self.act)(planned, intent, call).await
    }
}

/// The steps of an operation that changes something outside of which it must be known how it stands.
#[derive(Clone)]
pub struct Settling {
    kind: Name,
    plan: Run<Planned>,
    act: RunAct<Carried>,
    conclude: RunConclusion,
}

impl Settling {
    pub(crate) fn new<A, B, C, T, R, O, P, H, K>(kind: Name, plan: P, act: H, conclude: K) -> Self
    where
        P: Handler<A, T>,
        H: OnceStep<Intent<T>, B, R, ActError>,
        K: WriteStep<Arc<R>, C, O, EngineError>,
        T: Stored + Send + Sync + 'static,
        R: Send + Sync + 'static,
        O: IntoReply + Send + 'static,
    {
        let act = run_act(act, |done| Ok(Carried::new(done)));
        let plan = first_step(plan, |payload| Planned::of(Plan::new(payload)));
        Self { kind, plan, act, conclude: conclusion(conclude, O::into_reply) }
    }

    /// The kind of its intents.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Says what is to be changed, with every value that may hold afterwards; may run again.
    pub async fn plan(&self, call: &Arc<Call>) -> Result<Planned, EngineError> {
        (self.plan)(call).await
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

    /// Writes how it stands now, and answers the request; may run again.
    pub async fn conclude(&self, done: &Carried, call: &Arc<Call>) -> Result<Reply, EngineError> {
        (self.conclude)(done, call).await
    }
}
