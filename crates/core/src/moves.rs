//! Moves of mounts to other namespaces: the job that takes their steps (`services/mounts/src/moving.rs` has the storage side).
//!
//! It stands here because a move is about mounts, leases and identities, which do not know each other. One that waits for an
//! external system delays no other. Where a step can never succeed, the move is given up, and the mount answers where it was;
//! where storage refuses even that, it is tried again until it does.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strongroom_barrier::{BarrierError, Txn};
use strongroom_engine_api::EngineError;
use strongroom_mounts::{MountMove, MoveStage};
use strongroom_revocation::Drained;
use strongroom_storage::{CommitError, StoreError};

use crate::Background;

/// The time for which the old place of a mount keeps its entries: requests that were on their way there read them.
const GRACE: Duration = Duration::from_mins(1);
/// The time for which it is known why a move has failed: longer than its status is.
const REMEMBERED: Duration = Duration::from_hours(25);

const STUCK: &str = "leases are irrevocable; sys/leases lists them with type=irrevocable";

/// The moves that are to be given up, and why, until storage takes note of it. What was found in one term of leadership says
/// nothing in the next.
#[derive(Default)]
pub(crate) struct FailedMoves(Mutex<BTreeMap<String, (Option<u64>, String)>>);

impl FailedMoves {
    fn note(&self, id: &str, term: Option<u64>, reason: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), (term, reason));
    }

    fn reason(&self, id: &str, term: Option<u64>) -> Option<String> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(id).filter(|(of, _)| *of == term).map(|(_, reason)| reason.clone())
    }

    fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Background {
    /// Does one step of each move of a mount to another namespace; answers whether there is more to do now.
    ///
    /// # Errors
    ///
    /// The first failure of a move, where no other goes on.
    pub async fn continue_moves(&self) -> Result<bool, EngineError> {
        let ids = self.services.mounts.moves(&self.services.barrier.pinned_view().await?).await?;
        let (mut more, mut failed) = (false, None);
        for id in ids {
            match self.continue_move(&id).await {
                Ok(went_on) => more |= went_on,
                Err(EngineError::Barrier(BarrierError::Conflict)) => more = true,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.filter(|_| !more).map_or(Ok(more), Err)
    }

    async fn continue_move(&self, id: &str) -> Result<bool, EngineError> {
        let services = &self.services;
        let txn = services.barrier.transaction(services.barrier.pinned_view().await?);
        let Some(moving) = services.mounts.mount_move(&txn, id).await? else { return Ok(false) };
        let outcome =
            match self.failed_moves.reason(id, services.node.leading()).filter(|_| moving.is_under_way()) {
                Some(reason) => services.mounts.give_up_move(&txn, id, &moving, &reason).await.map(|()| true),
                None => return self.step_or_give_up(txn, id, &moving).await,
            };
        outcome?;
        txn.commit().await?;
        self.failed_moves.forget(id);
        Ok(true)
    }

    async fn step_or_give_up(&self, txn: Txn, id: &str, moving: &MountMove) -> Result<bool, EngineError> {
        let outcome = async {
            let went_on = self.step_of_move(&txn, id, moving).await?;
            if went_on {
                txn.commit().await?;
            }
            Ok(went_on)
        };
        match outcome.await {
            Err(EngineError::Barrier(error)) if moving.is_under_way() && is_final(&error) => {
                // In a transaction of its own, and by the next step: nothing of this one is there.
                self.failed_moves.note(id, self.services.node.leading(), error.to_string());
                Ok(!is_full(&error))
            }
            outcome => outcome,
        }
    }

    /// Decides one step of a move; answers whether there is anything to commit.
    async fn step_of_move(&self, txn: &Txn, id: &str, moving: &MountMove) -> Result<bool, EngineError> {
        let (mounts, now) = (&self.services.mounts, self.services.environment.clock.now());
        let after = match &moving.stage {
            MoveStage::Clearing(from) if *from > now => return Ok(false),
            MoveStage::Clearing(_) | MoveStage::Undoing(_) => {
                mounts.clear_move(txn, id, moving, now).await?;
                return Ok(true);
            }
            MoveStage::Failed(_, at) => {
                let is_old = now.since(*at) >= REMEMBERED;
                if is_old {
                    mounts.forget_move(txn, id);
                }
                return Ok(is_old);
            }
            MoveStage::Ending(_) | MoveStage::Revoking => None,
            MoveStage::Copying(after) => Some(after.as_deref()),
        };
        if let Some(reason) = mounts.obstacle_to(txn, moving).await? {
            mounts.give_up_move(txn, id, moving, &reason).await?;
            return Ok(true);
        }
        let Some(after) = after else { return self.drain(txn, id, moving).await };
        if mounts.copy_step(txn, id, moving, after).await? {
            return Ok(true);
        }
        let identity = &self.services.identity;
        // Rows of an earlier stay there would go as if they were of this one.
        if identity.is_forgetting_mount(txn, moving.to_namespace, &moving.accessor).await? {
            return Ok(false);
        }
        if moving.is_of_auth() {
            identity.forget_mount(txn, moving.namespace, &moving.accessor).await?;
        }
        mounts.finish_move(txn, id, moving, now.after(GRACE)).await?;
        Ok(true)
    }

    async fn drain(&self, txn: &Txn, id: &str, moving: &MountMove) -> Result<bool, EngineError> {
        let mounts = &self.services.mounts;
        match self.services.revocation.drain_for_move(txn, moving).await? {
            Drained::To(stage) => mounts.note_move(txn, id, moving, stage)?,
            Drained::Stuck => mounts.give_up_move(txn, id, moving, STUCK).await?,
            Drained::Waits => return Ok(false),
        }
        Ok(true)
    }
}

/// True if a step would fail so again.
const fn is_final(error: &BarrierError) -> bool {
    matches!(
        error,
        BarrierError::Tampered(_)
            | BarrierError::Malformed(..)
            | BarrierError::Store(StoreError::Corrupt(_))
            | BarrierError::Commit(CommitError::NoSpace | CommitError::TooLarge { .. })
    )
}

const fn is_full(error: &BarrierError) -> bool {
    matches!(error, BarrierError::Commit(CommitError::NoSpace))
}
