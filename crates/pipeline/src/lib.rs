//! The stages of a request, one in each file. Each stage is a type that only the one before it leads to, so none can be
//! skipped:
//!
//! ```text
//! Inbound ─► Resolved ─► Admitted ─► Identified ─► Authorized ─► Recorded ─► handler
//!         (namespace,   (may it      (whose        (what the     (the request
//!          mount, route) be here)     token)        policies say) is on record)
//!         ─► register (token, lease, wrapping) ─► commit ─► audit the answer ─► Answer
//! ```
//!
//! The destination of a request is resolved first, since it determines how its body is read, whether it may write, and
//! which node is to answer it. All that a request writes is one transaction; when something it read has changed before
//! it commits, it is decided again from the start. A refusal is recorded like an answer, with as much as was resolved.

mod acting;
mod admit;
mod always;
mod answer;
mod audit;
mod authenticate;
mod authorize;
mod budget;
mod envelope;
mod execute;
mod freshness;
mod help;
mod inbound;
mod inline;
mod login;
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
use strongroom_engine_api::{Backend, Carried, Class, EngineError, Extensions};

pub use answer::{Answer, AnswerContent};
pub use budget::{Budget, Share};
pub use envelope::Envelope;
pub use inbound::{Inbound, Verb};
pub use inline::{Inline, InlineLogin};
pub use parameters::ParametersOf;
pub use refused::RequestError;
pub use resolve::{Destination, PolicyPath, canonical, caseless_part};
pub use server_reply::{AfterCommit, SecondFactor, ServerPart, ServerReply};
pub use services::Services;
pub use settings::{DEFAULT_LEASE_TTL, Settings, Started};

use audit::Audited;
use authorize::RefusedCaller;
use freshness::NewestIndex;
use help::help_of;
use resolve::Resolved;
use tokio::sync::Semaphore;

/// Requests in tasks of their own at once; more are answered 503. One whose client has gone still counts.
const MAX_TASKS: usize = 8192;
/// Attempts at a request whose ground keeps moving before it is given up.
const MAX_ATTEMPTS: usize = 256;

/// The progress of a request, for the attempts after the first.
#[derive(Default)]
pub(crate) struct Progress {
    /// The proof that it is on record.
    audited: Option<Audited>,
    /// The answer from outside: it is asked for once, however often the rest is decided again.
    answer: Option<Carried>,
}

/// The place in which an attempt runs, and so whether it may write.
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
    /// The values that the server's own engines can draw.
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
        let mut inbound = inbound;
        if inbound.inline.is_carried() {
            inbound = match self.with_login_boxed(inbound).await {
                Ok(inbound) => inbound,
                Err(answer) => return answer,
            };
        }
        let resolved = match self.resolve_inbound(inbound).await {
            Ok(resolved) => Arc::new(resolved),
            Err((inbound, refused)) => return answered(&inbound, Err(refused)),
        };
        let mut progress = Progress::default();
        if resolved.inbound.reads() {
            let term = self.services.node.leading();
            match self.serve(&resolved, &mut progress, Place::Request).await {
                Err(RequestError::NeedsTask) => {}
                // What was read while another node may have been elected may be old.
                Ok(answer) if self.services.node.leading() != term && !resolved.to.is_always_answered() => {
                    drop(answer);
                    let refused = RequestError::status(503, "the active node has changed; try again");
                    return Answer::refusal(&resolved.inbound, &refused);
                }
                outcome => return answered(&resolved.inbound, outcome),
            }
        }
        self.handle_in_task(resolved, progress).await
    }

    async fn handle_in_task(self: &Arc<Self>, resolved: Arc<Resolved>, mut progress: Progress) -> Answer {
        let Ok(room) = self.tasks.clone().try_acquire_owned() else {
            let refused = RequestError::status(503, "too many requests are under way; try again");
            return Answer::refusal(&resolved.inbound, &refused);
        };
        let (pipeline, request) = (self.clone(), resolved.clone());
        // On the heap before it becomes a task, which would be moved several times.
        let task = tokio::spawn(Box::pin(async move {
            let outcome = pipeline.serve(&request, &mut progress, Place::Task).await;
            drop(room);
            answered(&request.inbound, outcome)
        }));
        match task.await {
            Ok(answer) => answer,
            Err(error) => {
                let inbound = &resolved.inbound;
                tracing::error!(request_id = &*inbound.id, %error, "request failed");
                Answer::refusal(inbound, &RequestError::status(500, "internal error"))
            }
        }
    }

    async fn serve(
        self: &Arc<Self>,
        resolved: &Arc<Resolved>,
        progress: &mut Progress,
        place: Place,
    ) -> Result<Answer, RequestError> {
        resolved.inbound.check()?;
        if let Some(found) = resolved.to.always() {
            return Box::pin(self.serve_always(resolved, found)).await;
        }
        if self.services.barrier.is_sealed() {
            return Err(RequestError::sealed());
        }
        let mut again = None;
        for attempt in 0..MAX_ATTEMPTS {
            let view = if attempt == 0 {
                self.services.barrier.view()
            } else {
                self.services.barrier.pinned_view().await?
            };
            let txn = self.services.barrier.transaction(view);
            if !self.is_current(&again.as_ref().unwrap_or(resolved).to) {
                again = Some(Box::pin(self.resolve_again(resolved)).await?);
            }
            let resolved = again.as_ref().unwrap_or(resolved);
            match self.attempt(resolved, &txn, progress, place).await {
                Err(RequestError::Engine(EngineError::Barrier(BarrierError::Conflict))) => {
                    tokio::task::yield_now().await;
                }
                // Time has passed: who asks, and what is there, is looked at anew.
                Err(RequestError::Asked) => {}
                outcome => return outcome,
            }
        }
        Err(RequestError::status(503, "too many concurrent changes to the same data; try again"))
    }

    /// One attempt at deciding, doing and committing.
    async fn attempt(
        self: &Arc<Self>,
        resolved: &Arc<Resolved>,
        txn: &Txn,
        progress: &mut Progress,
        place: Place,
    ) -> Result<Answer, RequestError> {
        let admitted = match self.admit(resolved, txn, place).await {
            Ok(admitted) => admitted,
            Err(refused) if refused.is_not_final() => return Err(refused),
            Err(refused) => {
                return Box::pin(self.audit_refusal(resolved, None, refused, &mut progress.audited)).await;
            }
        };
        let identified = match self.identify(admitted, txn).await {
            Ok(identified) => identified,
            Err(refused) if refused.needs_active() && self.services.node.is_standby() => return Err(refused),
            Err(refused) => {
                return Box::pin(self.audit_refusal(resolved, None, refused, &mut progress.audited)).await;
            }
        };
        if place == Place::Request && identified.is_limited() {
            return Err(RequestError::NeedsTask);
        }
        let authorized = match self.authorize(identified, txn).await {
            Ok(authorized) => authorized,
            Err(refused) => return Box::pin(self.refuse(resolved, txn, refused, progress)).await,
        };
        let recorded = self.record(authorized, progress.audited.take()).await?;
        match self.execute(txn, &recorded, &mut progress.answer, place).await {
            Err(refused) if refused.is_not_final() => {
                progress.audited = Some(recorded.into_proof());
                Err(refused)
            }
            outcome => self.audit_answer(recorded, outcome).await,
        }
    }

    /// Refuses what policies do not grant: the token's use counts, and the refusal is on record.
    async fn refuse(
        &self,
        resolved: &Resolved,
        txn: &Txn,
        refused: RefusedCaller,
        progress: &mut Progress,
    ) -> Result<Answer, RequestError> {
        let (refused, caller) = *refused;
        if refused.is_conflict() {
            return Err(refused);
        }
        self.count_use(txn, caller.as_ref()).await?;
        self.audit_refusal(resolved, caller.as_ref(), refused, &mut progress.audited).await
    }
}

/// The answer to a request, with what the log is told of a refusal.
fn answered(inbound: &Inbound, outcome: Result<Answer, RequestError>) -> Answer {
    outcome.unwrap_or_else(|refused| {
        refused.log(inbound);
        Answer::refusal(inbound, &refused)
    })
}

/// The values that an engine's handlers draw with `Extension`: its own, or for the server's own engines the services.
pub fn extensions_for(services: &Extensions, engine: &dyn Backend) -> Extensions {
    if engine.class() == Class::System { services.clone() } else { engine.extensions() }
}
