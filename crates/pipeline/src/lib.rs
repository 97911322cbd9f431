//! The way of a request, one explicit function over types, a stage a file:
//!
//! ```text
//! Inbound ─► locate (namespace) ─► resolve (mount, route) ─► authenticate (token) ─► authorize (policies) ─► Audited ─► handler
//!         ─► register (token, lease, wrapping) ─► commit ─► audit the answer ─► Answer
//! ```
//!
//! A handler runs only with an [`audit::Audited`] in hand, which only the audit stage makes. All that a request writes is
//! one transaction; when something it read has changed before it commits, it is decided again from the start.

mod acting;
mod answer;
mod audit;
mod authenticate;
mod authorize;
mod envelope;
mod execute;
mod freshness;
mod help;
mod inbound;
mod parameters;
mod refused;
mod resolve;
mod server_reply;
mod services;
mod settings;
mod standby;
mod system;

use std::sync::Arc;

use strongroom_barrier::{BarrierError, Txn};
use strongroom_engine_api::{Backend, Carried, Class, EngineError, Extensions, Operation};

pub use answer::{Answer, AnswerContent};
pub use envelope::Envelope;
pub use inbound::{Asked, Inbound};
pub use parameters::ParametersOf;
pub use refused::Refused;
pub use resolve::PolicyPath;
pub use server_reply::{Ending, ServerPart, ServerReply};
pub use services::Services;
pub use settings::{DEFAULT_LEASE_TTL, Settings, Started};

use audit::Audited;
use freshness::NewestIndex;
use help::help_of;
use resolve::Resolved;
use tokio::sync::Semaphore;

/// Requests in tasks of their own at once; more are answered 503. One whose client has gone still counts.
const MAX_TASKS: usize = 8192;
/// Attempts at a request whose ground keeps moving before it is given up.
const MOST_ATTEMPTS: usize = 256;

/// What is asked, once it is known what exists.
pub(crate) struct Decided<'a> {
    pub(crate) resolved: &'a Resolved,
    pub(crate) operation: Operation,
    pub(crate) caller: Option<authenticate::Authenticated>,
}

/// How far a request has come, for the attempts after the first.
#[derive(Default)]
pub(crate) struct Progress {
    /// The proof that it is on record.
    audited: Option<Audited>,
    /// The answer from outside: it is asked for once, however often the rest is decided again.
    answer: Option<Carried>,
}

/// Where an attempt runs, and so whether it may write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the request's own task, which ends when its client goes away: it may read.
    Request,
    /// In a task of its own, which its client only waits for: nothing cuts between commit and response record.
    Task,
}

/// The way of requests through a server's services.
pub struct Pipeline {
    services: Services,
    /// What parts of the server can draw.
    extensions: Extensions,
    newest_index: NewestIndex,
    /// Room for requests that run in tasks of their own.
    tasks: Arc<Semaphore>,
}

impl Pipeline {
    /// Through `services`; `extensions` are what parts of the server can draw of them.
    pub fn new(services: Services, extensions: Extensions) -> Self {
        let (newest_index, tasks) = (NewestIndex::default(), Arc::new(Semaphore::new(MAX_TASKS)));
        Self { services, extensions, newest_index, tasks }
    }

    /// Answers a request. What writes runs in a task of its own; dropping the future leaves that task alone.
    pub async fn handle(self: &Arc<Self>, inbound: Inbound) -> Answer {
        let inbound = match self.locate(inbound).await {
            Ok(inbound) => Arc::new(inbound),
            Err((inbound, refused)) => return answered(&inbound, Err(refused)),
        };
        let mut progress = Progress::default();
        if inbound.reads() {
            let term = self.services.node.leading();
            match self.serve(&inbound, &mut progress, Place::Request).await {
                Err(Refused::NeedsTask) => {}
                // What was read while another node may have been elected may be old.
                Ok(answer) if self.services.node.leading() != term && !self.is_always_answered(&inbound) => {
                    drop(answer);
                    let refused = Refused::status(503, "the active node has changed; try again");
                    return Answer::refusal(&inbound, &refused);
                }
                outcome => return answered(&inbound, outcome),
            }
        }
        self.handle_in_task(inbound, progress).await
    }

    async fn handle_in_task(self: &Arc<Self>, inbound: Arc<Inbound>, mut progress: Progress) -> Answer {
        let Ok(room) = self.tasks.clone().try_acquire_owned() else {
            let refused = Refused::status(503, "too many requests are under way; try again");
            return Answer::refusal(&inbound, &refused);
        };
        let (pipeline, request) = (self.clone(), inbound.clone());
        let task = tokio::spawn(async move {
            let outcome = pipeline.serve(&request, &mut progress, Place::Task).await;
            drop(room);
            answered(&request, outcome)
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(request_id = &*inbound.id, %error, "request failed");
                Answer::refusal(&inbound, &Refused::status(500, "internal error"))
            }
        }
    }

    async fn serve(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
        progress: &mut Progress,
        place: Place,
    ) -> Result<Answer, Refused> {
        inbound.check()?;
        if inbound.path.starts_with("sys/")
            && let Some(answer) = Box::pin(self.serve_sealed(inbound)).await?
        {
            return Ok(answer);
        }
        if self.services.barrier.is_sealed() {
            return Err(Refused::sealed());
        }
        for attempt in 0..MOST_ATTEMPTS {
            let view = if attempt == 0 {
                self.services.barrier.view()
            } else {
                self.services.barrier.pinned_view().await?
            };
            let txn = self.services.barrier.transaction(view);
            match self.attempt(inbound, &txn, progress, place).await {
                Err(Refused::Engine(EngineError::Barrier(BarrierError::Conflict))) => {
                    tokio::task::yield_now().await;
                }
                // Time has passed: who asks, and what is there, is looked at anew.
                Err(Refused::Asked) => {}
                outcome => return outcome,
            }
        }
        Err(Refused::status(503, "too many concurrent changes to the same data; try again"))
    }

    /// One attempt at deciding, doing and committing.
    async fn attempt(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
        txn: &Txn,
        progress: &mut Progress,
        place: Place,
    ) -> Result<Answer, Refused> {
        let authenticated = self.authenticate(inbound, txn).await;
        let is_limited = matches!(&authenticated, Ok(Some(caller)) if caller.is_limited());
        if place == Place::Request && (is_limited || inbound.wraps()) {
            return Err(Refused::NeedsTask);
        }
        let resolved = self.resolve(inbound).await;
        // Its handler is run once, where nothing can cut it off.
        let may_write = matches!(&resolved, Ok(resolved) if !resolved.mode().only_reads());
        if place == Place::Request && may_write {
            return Err(Refused::NeedsTask);
        }
        if !self.services.mounts.hold_namespace(txn, &inbound.place).await? {
            return Err(Refused::status(404, "the namespace was deleted"));
        }
        let (resolved, caller) = match (resolved, authenticated) {
            (Ok(resolved), Ok(caller)) => (resolved, caller),
            // Open routes need no token, so a token that is not good is no obstacle.
            (Ok(resolved), Err(_)) if resolved.is_open() => (resolved, None),
            (_, Err(refused)) if refused.needs_active() && self.services.node.is_standby() => {
                return Err(refused);
            }
            (resolved, Err(refused)) => {
                let (resolved, audited) = (resolved.ok(), &mut progress.audited);
                return Box::pin(self.audit_refusal(inbound, resolved.as_ref(), None, refused, audited))
                    .await;
            }
            (Err(refused), Ok(caller)) => {
                let (caller, audited) = (caller.as_ref(), &mut progress.audited);
                let refused = Box::pin(self.authorize_nowhere(inbound, txn, caller, refused)).await;
                return Box::pin(self.audit_refusal(inbound, None, caller, refused, audited)).await;
            }
        };
        match self.authorize(inbound, txn, &resolved, caller).await {
            Ok(decided) => self.carry_out(inbound, txn, &decided, progress, place).await,
            Err(refused) => {
                let (refused, caller) = *refused;
                if refused.is_conflict() {
                    return Err(refused);
                }
                let (caller, audited) = (caller.as_ref(), &mut progress.audited);
                self.count_use(txn, caller).await?;
                Box::pin(self.audit_refusal(inbound, Some(&resolved), caller, refused, audited)).await
            }
        }
    }

    /// Does what was decided, with the request on record before and the answer after.
    async fn carry_out(
        self: &Arc<Self>,
        inbound: &Arc<Inbound>,
        txn: &Txn,
        decided: &Decided<'_>,
        progress: &mut Progress,
        place: Place,
    ) -> Result<Answer, Refused> {
        let proof = if let Some(proof) = progress.audited.take() {
            proof
        } else {
            let (caller, operation) = (decided.caller.as_ref(), Some(decided.operation));
            self.audit_request(inbound, Some(decided.resolved), caller, operation, "").await?
        };
        let answer = &mut progress.answer;
        let outcome = self.execute(inbound, txn, decided, &proof, answer, place).await;
        match outcome {
            Err(refused) if refused.is_not_final() => {
                progress.audited = Some(proof);
                Err(refused)
            }
            outcome => self.audit_answer(inbound, decided, proof, outcome).await,
        }
    }
}

/// The answer to a request, with what the log is told of a refusal.
fn answered(inbound: &Inbound, outcome: Result<Answer, Refused>) -> Answer {
    outcome.unwrap_or_else(|refused| {
        refused.log(inbound);
        Answer::refusal(inbound, &refused)
    })
}

/// What an engine's handlers draw with `Extension`: its own, or for parts of the server the services.
pub fn extensions_for(services: &Extensions, engine: &dyn Backend) -> Extensions {
    if engine.class() == Class::System { services.clone() } else { engine.extensions() }
}
