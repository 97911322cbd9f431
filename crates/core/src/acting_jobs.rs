//! Jobs of engines that change something outside, each change behind an intent.
//!
//! An act of a job goes the way of one that a request asks for (`pipeline/src/acting.rs`): plan and intent are committed, the act
//! runs once and with a deadline, its outcome is committed with the intent's end. Nobody waits for it, so what cannot be
//! concluded is simply left: an intent whose act does not run any more is found by the job `intents`, and settled by the hook of its
//! kind. The run of a job ends with the term of leadership, a panic or a crash at any point, which leaves no more than that.
//!
//! The intent of a subject lies under the mount's path, the job's name and the subject. While one lies there, nothing is done for the
//! subject: what its last act has sent may still arrive, and would undo the next.

use std::sync::Arc;

use strongroom_barrier::{BarrierError, Txn};
use strongroom_engine_api::{self as engine, ActError, Acts, Call, Carried, EngineError, Planned};
use strongroom_expiry::ACT_TIMEOUT;
use strongroom_leases::{Intended, Undo};
use strongroom_mounts::{Errand, MountHandle};
use strongroom_pipeline::extensions_for;

use crate::Background;

/// Commits tried for an intent, or for an outcome.
const MAX_CONFLICTS: usize = 256;

/// The acts of a mount's job.
struct ActingJob<'a> {
    mounted: &'a MountHandle,
    name: &'a str,
    acts: &'a Acts,
}

impl Background {
    /// Acts for each subject that is due, one after the other; answers whether there is more to do at once. A refusal is a
    /// failure of its subject alone; without an answer, the outside is left alone until the job is tried again.
    pub(crate) async fn run_acts(
        &self,
        mounted: &MountHandle,
        job: &engine::Job,
        acts: &Acts,
    ) -> Result<bool, EngineError> {
        let job = ActingJob { mounted, name: job.name(), acts };
        let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
        let mut refused = None;
        for subject in acts.due(&self.call_for(&job, &txn)).await? {
            // The next look finds out whether this node is to go on at all.
            if !self.services.node.is_active() {
                return Ok(true);
            }
            match self.act_for(&job, &subject).await {
                Ok(()) => {}
                Err(ActError::Refused(error)) => refused = refused.or(Some(error)),
                Err(error) => return Err(error.into_inner()),
            }
        }
        refused.map_or(Ok(false), Err)
    }

    fn call_for(&self, job: &ActingJob<'_>, txn: &Txn) -> Arc<Call> {
        let extensions = extensions_for(&self.extensions, &*job.mounted.engine);
        job.mounted.internal_call_with(txn, &self.services.environment, Errand::Job, extensions)
    }

    /// One act, from its intent to its outcome.
    async fn act_for(&self, job: &ActingJob<'_>, subject: &str) -> Result<(), ActError> {
        let planned = self.plan_for(job, subject).await.map_err(ActError::NotSent)?;
        let Some((intended, planned)) = planned else { return Ok(()) };
        let leases = &self.services.leases;
        let facts = leases.intent_facts(&intended);
        // What the act reads is what is there now; nothing that it might write is committed.
        let txn = self.services.barrier.transaction(self.services.barrier.view());
        let call = self.call_for(job, &txn);
        let outcome = tokio::select! {
            outcome = job.acts.act(planned.carried, facts, &call) => outcome,
            () = self.services.environment.clock.sleep(ACT_TIMEOUT) => {
                let text = format!("no answer within {}", engine::format_duration(ACT_TIMEOUT));
                Err(ActError::Unanswered(EngineError::Status(504, text)))
            }
        };
        match outcome {
            Ok(done) => self.conclude_for(job, &intended, &done).await,
            Err(error) => {
                leases.undo_intended(&intended, None, Undo::of(&error)).await;
                Err(error)
            }
        }
    }

    /// Commits the intent of an act for a subject; `None` where there is nothing to do, or its last act is not settled yet.
    async fn plan_for(
        &self,
        job: &ActingJob<'_>,
        subject: &str,
    ) -> Result<Option<(Intended, Planned)>, EngineError> {
        let leases = &self.services.leases;
        let path = format!("{}{}/{subject}", job.mounted.mount.path, job.name);
        for _ in 0..MAX_CONFLICTS {
            let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
            if leases.has_any(&txn, job.mounted.mount.namespace, &format!("{path}/")).await? {
                return Ok(None);
            }
            let call = self.call_for(job, &txn);
            let intended = match job.acts.plan(subject.to_owned(), &call).await? {
                Some(planned) => {
                    let kind = job.acts.kind();
                    let intended = leases.intend(&txn, job.mounted, &path, None, kind, &planned).await?;
                    Some((intended, planned))
                }
                None => None,
            };
            match txn.commit().await {
                Ok(_) => return Ok(intended),
                Err(BarrierError::Conflict) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(BarrierError::Conflict.into())
    }

    /// Commits what an act has brought about. Where that does not come about, its settlement finds it out.
    async fn conclude_for(
        &self,
        job: &ActingJob<'_>,
        intended: &Intended,
        done: &Carried,
    ) -> Result<(), ActError> {
        let leases = &self.services.leases;
        let mut refused = EngineError::from(BarrierError::Conflict);
        for _ in 0..MAX_CONFLICTS {
            let txn = self.services.barrier.transaction(self.services.barrier.pinned_view().await?);
            if !leases.settle_intended(&txn, intended).await? {
                // Another node, which knew nothing of the act, has settled it.
                return Ok(());
            }
            match job.acts.conclude(done, &self.call_for(job, &txn)).await {
                Ok(()) => match txn.commit().await {
                    Ok(_) => return Ok(()),
                    Err(BarrierError::Conflict) => tokio::task::yield_now().await,
                    // It is not known whether it was committed; the job of intents does, or another node.
                    Err(error) => return Err(error.into()),
                },
                Err(EngineError::Barrier(BarrierError::Conflict)) => tokio::task::yield_now().await,
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        leases.undo_intended(intended, None, Undo::Once).await;
        Err(ActError::Refused(refused))
    }
}
