//! The way of a request, one explicit function over types, a stage a file:
//!
//! ```text
//! Inbound ─► resolve (mount, route) ─► authenticate (token) ─► authorize (policies) ─► Audited ─► handler
//!         ─► register (token, lease, wrapping) ─► commit ─► audit the answer ─► Answer
//! ```
//!
//! A handler runs only with an [`audit::Audited`] in hand, which only the audit stage makes. All that a request writes is
//! one transaction; when something it read has changed before it commits, it is decided again from the start.

mod answer;
mod audit;
mod authenticate;
mod authorize;
mod execute;
mod help;
mod inbound;
mod refused;
mod resolve;
mod standby;

use std::sync::Arc;

use strongroom_barrier::{BarrierError, Txn};
use strongroom_engine_api::{EngineError, Operation};

pub use answer::Answer;
pub use inbound::{Asked, Inbound};
pub use refused::Refused;

use crate::Core;
use audit::Audited;
use help::help_of;
use resolve::Resolved;

/// Attempts at a request whose ground keeps moving before it is given up.
const MOST_ATTEMPTS: usize = 256;

/// What is asked, once it is known what exists.
pub(crate) struct Decided<'a> {
    pub(crate) resolved: &'a Resolved,
    pub(crate) operation: Operation,
    pub(crate) caller: Option<authenticate::Authenticated>,
}

impl Core {
    /// Answers a request.
    pub async fn handle(self: &Arc<Self>, inbound: Inbound) -> Answer {
        let inbound = Arc::new(inbound);
        let term = self.leading();
        match self.serve(&inbound).await {
            // What was read while another node may have been elected may be old.
            Ok(answer) if inbound.reads() && self.leading() != term => {
                drop(answer);
                Answer::refusal(&inbound, &Refused::status(503, "the active node has changed; try again"))
            }
            Ok(answer) => answer,
            Err(refused) => {
                refused.log(&inbound);
                Answer::refusal(&inbound, &refused)
            }
        }
    }

    async fn serve(self: &Arc<Self>, inbound: &Arc<Inbound>) -> Result<Answer, Refused> {
        inbound.check()?;
        if inbound.path.starts_with("sys/")
            && let Some(answer) = Box::pin(self.serve_sealed(inbound)).await?
        {
            return Ok(answer);
        }
        if self.barrier.is_sealed() {
            return Err(Refused::sealed());
        }
        let mut audited = None;
        for attempt in 0..MOST_ATTEMPTS {
            let view = if attempt == 0 { self.barrier.view() } else { self.barrier.pinned_view().await? };
            let txn = self.barrier.transaction(view);
            match self.attempt(inbound, &txn, &mut audited).await {
                Err(Refused::Engine(EngineError::Barrier(BarrierError::Conflict))) => {
                    tokio::task::yield_now().await;
                }
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
        audited: &mut Option<Audited>,
    ) -> Result<Answer, Refused> {
        let authenticated = self.authenticate(inbound, txn).await;
        let resolved = self.resolve(inbound).await;
        let (resolved, caller) = match (resolved, authenticated) {
            (Ok(resolved), Ok(caller)) => (resolved, caller),
            // Open routes need no token, so a token that is not good is no obstacle.
            (Ok(resolved), Err(_)) if resolved.is_open() => (resolved, None),
            (_, Err(refused)) if refused.needs_active() && self.is_standby() => return Err(refused),
            (resolved, Err(refused)) => {
                let resolved = resolved.ok();
                return Box::pin(self.audit_refusal(inbound, resolved.as_ref(), None, refused, audited))
                    .await;
            }
            (Err(refused), Ok(caller)) => {
                let caller = caller.as_ref();
                let refused = Box::pin(self.authorize_nowhere(inbound, txn, caller, refused)).await;
                return Box::pin(self.audit_refusal(inbound, None, caller, refused, audited)).await;
            }
        };
        let decided = match self.authorize(inbound, txn, &resolved, caller).await {
            Ok(decided) => decided,
            Err((refused, _)) if refused.is_conflict() => return Err(refused),
            Err((refused, caller)) => {
                let caller = caller.as_ref();
                self.count_use(txn, caller).await?;
                return Box::pin(self.audit_refusal(inbound, Some(&resolved), caller, refused, audited))
                    .await;
            }
        };
        let proof = match audited.take() {
            Some(proof) => proof,
            None => {
                self.audit_request(
                    inbound,
                    Some(&resolved),
                    decided.caller.as_ref(),
                    Some(decided.operation),
                    "",
                )
                .await?
            }
        };
        let outcome = self.execute(inbound, txn, &decided, &proof).await;
        match outcome {
            Err(refused) if refused.is_conflict() => {
                *audited = Some(proof);
                Err(refused)
            }
            outcome => self.audit_answer(inbound, &decided, proof, outcome).await,
        }
    }
}
