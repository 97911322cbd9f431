//! Operations that reach outside: asking there before a write, and acting there behind an intent.
//!
//! Both run in the request's own task, so a client that goes away cuts nothing. What goes outside runs once: what is decided
//! again (a conflict, a token looked at anew) is what comes before it and after it.
//!
//! An act's way: *plan* and intent are committed with the token's use; the act runs, with a deadline; its outcome is committed
//! with the lease, or with what a settlement concludes. Whatever goes wrong after the first commit leaves the intent to the
//! revoker, and the client is told what happened. The second commit is tried until it holds, or this node no longer decides.

use std::sync::{Arc, PoisonError};

use strongroom_barrier::{BarrierError, Txn};
use strongroom_engine_api::{
    ActError, ActOutcome, Asking, Call, Carried, Endpoint, EngineError, Found, Issuing, Json, Payload,
    Planned, Prepared, Reply, Settling, Work, format_duration,
};
use strongroom_expiry::ACT_TIMEOUT;
use strongroom_leases::{Intended, Undo};
use strongroom_stdx::caught;
use strongroom_storage::CommitError;

use super::authorize::Authorized;
use super::execute::{Done, LAST_USE, passing, refused_by};
use super::inline::NO_LEASES;
use super::{Pipeline, RequestError};
use crate::server_reply::ServerPart;

/// Commits tried for an outcome before it is left to the revoker.
const MAX_CONFLICTS: usize = 256;

/// An operation that acts outside, with its route.
pub(super) struct Acting<'a> {
    at: (&'a Found, &'a Endpoint),
    steps: Steps<'a>,
}

enum Steps<'a> {
    Issue(&'a Issuing),
    Settle(&'a Settling),
}

/// The result of an act.
enum Outcome {
    /// A secret, whose lease keeps this payload in place of what was planned.
    Issued { data: Json, payload: Option<Payload>, warnings: Vec<String> },
    /// The value from which a settlement concludes.
    Settled(Carried),
}

impl Outcome {
    const fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Issued { payload, .. } => payload.as_ref(),
            Self::Settled(_) => None,
        }
    }
}

/// The steps of an operation, where it acts outside.
pub(super) const fn acting<'a>(at: (&'a Found, &'a Endpoint)) -> Option<Acting<'a>> {
    let steps = match &at.1.work {
        Work::Issue(issuing) => Steps::Issue(issuing),
        Work::Settle(settling) => Steps::Settle(settling),
        Work::Handler(_) | Work::Ask(_) => return None,
    };
    Some(Acting { at, steps })
}

impl Steps<'_> {
    fn kind(&self) -> &str {
        match self {
            Self::Issue(issuing) => issuing.kind(),
            Self::Settle(settling) => settling.kind(),
        }
    }

    async fn plan(&self, call: &Arc<Call>) -> Result<Planned, EngineError> {
        match self {
            Self::Issue(issuing) => issuing.plan(call).await,
            Self::Settle(settling) => settling.plan(call).await,
        }
    }
}

impl Pipeline {
    /// Asks outside; the reply where that was done before, and its answer is at hand.
    pub(super) async fn ask_outside(
        &self,
        asking: &Asking,
        call: &Arc<Call>,
        answer: &mut Option<Carried>,
    ) -> Result<Option<Reply>, EngineError> {
        if let Some(answer) = answer {
            return asking.conclude(answer, call).await.map(Some);
        }
        let question = match asking.prepare(call).await? {
            Prepared::Ask(question) => question,
            Prepared::Known(known) => return asking.conclude(&known, call).await.map(Some),
        };
        let until = self.services.environment.clock.now().after(ACT_TIMEOUT);
        *answer = Some(tokio::select! {
            asked = caught(asking.ask(question, call, until)) => asked??,
            () = self.services.environment.clock.sleep(ACT_TIMEOUT) => return Err(no_answer()),
        });
        Ok(None)
    }

    /// Runs an operation behind an intent.
    pub(super) async fn act_outside(
        self: &Arc<Self>,
        txn: &Txn,
        authorized: &Authorized<'_>,
        acting: &Acting<'_>,
    ) -> Result<Done, RequestError> {
        let call = self.call_of(txn, authorized, acting.at.0);
        let (intended, planned) = match self.plan_act(txn, authorized, acting, &call).await {
            Ok(planned) => planned,
            Err(refused) if refused.is_not_final() => return Err(refused),
            Err(refused) => {
                self.count_use(txn, authorized.caller.as_ref()).await?;
                return Err(refused);
            }
        };
        txn.clone().commit().await.map_err(|error| unknown(error, NOT_BEGUN))?;
        let done = match self.run_act(authorized, acting, &intended, planned).await {
            Ok(outcome) => self.conclude_act(authorized, acting, &intended, &call, outcome).await,
            Err(error) => {
                let undo = Undo::of(&error);
                self.services.leases.undo_intended(&intended, None, undo).await;
                Err(refused_by(authorized, acting.at.0, error.into_inner()))
            }
        };
        // What was committed is committed: nothing of it runs again.
        done.map_err(
            |refused| if refused.is_not_final() { RequestError::status(503, CHANGING) } else { refused },
        )
    }

    /// Plans the act, and writes its intent and the token's use.
    async fn plan_act(
        &self,
        txn: &Txn,
        authorized: &Authorized<'_>,
        acting: &Acting<'_>,
        call: &Arc<Call>,
    ) -> Result<(Intended, Planned), RequestError> {
        let owner = match (&acting.steps, &authorized.caller) {
            (Steps::Settle(_), _) => None,
            (Steps::Issue(_), None) => {
                return Err(EngineError::Internal("a lease without a token to own it".to_owned()).into());
            }
            (Steps::Issue(_), Some(caller)) if caller.ephemeral => {
                return Err(RequestError::status(400, NO_LEASES));
            }
            (Steps::Issue(_), Some(caller)) if caller.is_at_last_use() => {
                return Err(RequestError::status(400, LAST_USE));
            }
            (Steps::Issue(_), Some(caller)) => Some(&caller.principal),
        };
        let planned = acting.steps.plan(call).await;
        let planned = planned.map_err(|error| refused_by(authorized, acting.at.0, error))?;
        let (mounted, kind) = (&authorized.at.mounted, acting.steps.kind());
        if let Some(caller) = &authorized.caller {
            self.hold_entity(txn, caller).await?;
        }
        let intended = self
            .services
            .leases
            .intend(txn, mounted, &authorized.resolved.to.path, owner, kind, &planned)
            .await?;
        if let Some(caller) = authorized.caller.as_ref().filter(|caller| caller.is_limited()) {
            self.services.tokens.use_token(txn, caller.id()).await?;
        }
        Ok((intended, planned))
    }

    /// Runs the act, once, within its deadline. A panic is an outcome of which nothing is known.
    async fn run_act(
        self: &Arc<Self>,
        authorized: &Authorized<'_>,
        acting: &Acting<'_>,
        intended: &Intended,
        planned: Planned,
    ) -> Result<Outcome, ActError> {
        let facts = self.services.leases.intent_facts(intended);
        // What the act reads is what is there now; nothing that it might write is committed.
        let txn = self.services.barrier.transaction(self.services.barrier.view());
        let call = self.call_of(&txn, authorized, acting.at.0);
        let act = async {
            match acting.steps {
                Steps::Issue(issuing) => {
                    let ActOutcome { data, payload, warnings } =
                        issuing.act(planned.carried, facts, &call).await?;
                    Ok(Outcome::Issued { data, payload, warnings })
                }
                Steps::Settle(settling) => {
                    settling.act(planned.carried, facts, &call).await.map(Outcome::Settled)
                }
            }
        };
        tokio::select! {
            outcome = caught(act) => {
                outcome.unwrap_or_else(|panicked| Err(ActError::Unanswered(panicked.into())))
            }
            () = self.services.environment.clock.sleep(ACT_TIMEOUT) => Err(ActError::Unanswered(no_answer())),
        }
    }

    /// Commits what an act has brought about. Where that does not come about, it is left to the revoker.
    async fn conclude_act(
        self: &Arc<Self>,
        authorized: &Authorized<'_>,
        acting: &Acting<'_>,
        intended: &Intended,
        planning: &Call,
        outcome: Outcome,
    ) -> Result<Done, RequestError> {
        let planning = std::mem::take(&mut *planning.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        let mut refused = RequestError::status(503, CHANGING);
        for _ in 0..MAX_CONFLICTS {
            let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
            let call = self.call_of(&txn, authorized, acting.at.0);
            call.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&planning);
            let concluded = self.conclude_once((authorized, acting), intended, &txn, &call, &outcome);
            match Box::pin(concluded).await {
                Ok(Some(mut done)) => match txn.commit().await {
                    Ok(index) => {
                        done.headers.extend(self.index_header(index));
                        return Ok(done);
                    }
                    Err(BarrierError::Conflict) => tokio::task::yield_now().await,
                    // It is not known whether it was committed; the job does, or another node.
                    Err(error) => return Err(unknown(error, UNKNOWN)),
                },
                Ok(None) => match txn.commit().await {
                    Ok(_) => return Err(self.ended_meanwhile(intended)),
                    Err(BarrierError::Conflict) => tokio::task::yield_now().await,
                    Err(error) => return Err(unknown(error, CHANGED)),
                },
                Err(error) if error.is_conflict() => tokio::task::yield_now().await,
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        self.services.leases.undo_intended(intended, outcome.payload(), Undo::Once).await;
        Err(refused)
    }

    /// The refusal of an act whose intent has ended meanwhile. Where this node has led all the time, somebody has taken from the
    /// client what it asked for: its token, or the lease. Otherwise another node has given up an act that it knew nothing of, and
    /// the client may as well ask again.
    fn ended_meanwhile(&self, intended: &Intended) -> RequestError {
        if self.services.leases.is_of_this_term(intended) {
            RequestError::status(403, "permission denied")
        } else {
            RequestError::status(503, CHANGED)
        }
    }

    /// Writes the outcome of an act within `txn`; `None` where its intent has been ended meanwhile, and what was made is to be
    /// ended as well.
    async fn conclude_once(
        self: &Arc<Self>,
        (authorized, acting): (&Authorized<'_>, &Acting<'_>),
        intended: &Intended,
        txn: &Txn,
        call: &Arc<Call>,
        outcome: &Outcome,
    ) -> Result<Option<Done>, RequestError> {
        let (reply, lent) = match (outcome, &acting.steps) {
            (Outcome::Issued { data, payload, warnings }, _) => {
                let mounted = &authorized.at.mounted;
                let granted =
                    self.services.leases.grant_intended(txn, mounted, intended, payload.as_ref()).await?;
                let Some((held, warning)) = granted else { return Ok(None) };
                let id = held.id.clone();
                let reply =
                    warnings.iter().cloned().chain(warning).fold(Reply::json(data.clone()), Reply::warned);
                (reply.by_server(ServerPart { lease: Some(held), ..ServerPart::default() }), Some(id))
            }
            (Outcome::Settled(done), Steps::Settle(settling)) => {
                if !self.services.leases.settle_intended(txn, intended).await? {
                    return Err(RequestError::status(503, "it was settled meanwhile; read how it stands"));
                }
                let reply = settling.conclude(done, call).await;
                (reply.map_err(|error| refused_by(authorized, acting.at.0, error))?, None)
            }
            (Outcome::Settled(_), Steps::Issue(_)) => return Ok(None),
        };
        let reply = passing(authorized, acting.at, call, reply);
        let mut done = self.register(txn, authorized, reply).await?;
        done.lent = lent.or(done.lent);
        Ok(Some(done))
    }
}

/// The refusal of what was done outside and could not be recorded: it is undone.
const CHANGING: &str = "the data kept changing, and what was made outside is undone; try again";

/// The refusal of what another node has undone, or will.
const CHANGED: &str = "the active node has changed, and what was made outside is undone; try again";
/// The refusal of an act of whose intent it is not known whether it is there.
const NOT_BEGUN: &str = "the active node has changed before anything was done outside; try again";
/// The refusal of an act that has succeeded, when it is not known whether that is recorded: if not, it is undone.
const UNKNOWN: &str =
    "the active node has changed, and it is not known whether what was done outside lasts; try again";

/// The refusal of an act whose commit has failed. One of unknown outcome is safe to ask for again: what its client does not get is
/// undone, or ends with its lease.
fn unknown(error: BarrierError, text: &str) -> RequestError {
    match error {
        BarrierError::Commit(CommitError::Uncertain(why)) => {
            tracing::warn!(error = why, "outcome of a commit for an external operation is unknown");
            RequestError::status(503, text)
        }
        other => other.into(),
    }
}

fn no_answer() -> EngineError {
    EngineError::Status(504, format!("no answer within {}", format_duration(ACT_TIMEOUT)))
}
