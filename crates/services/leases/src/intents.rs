//! Intents: records of what an act is about to make in an external system, committed before anything is sent.
//!
//! An intent is a lease that is not in force yet ([`LeaseState::Intended`]): it is recorded under its id, its owner and
//! its mount from the first commit on, so every operation that ends leases ends intents by the same step. Its act runs
//! once, in this process. When the act is over, its task makes the intent the lease, or hands it to the revoker. An
//! intent whose act runs nowhere (its process died, its node no longer decides) is found by a job of the active node,
//! handed to the revoker at once, and tried once more after the longest time for which something that was sent can
//! still arrive.
//!
//! It does not act by itself, and it does not know what the outside is. When storage does not answer, intents stay as they
//! are, and the job comes back to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Granted, Leases, NewLease};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Txn};
use strongroom_engine_api::{ActError, EngineError, InForce, IntentFacts, Moment, Payload, Planned};
use strongroom_expiry::{
    ACT_TIMEOUT, ENTITY_LEASES, INTENTS, LEASES, Lease, LeaseOwner, LeaseState, OWNED_LEASES, QueuedLease,
    change_lease, due_key, end_intended, forget_lease, latest_arrival,
};
use strongroom_mounts::MountHandle;
use strongroom_tokens::Principal;

/// Intents looked at in one transaction.
const STEP: usize = 128;
/// Acts of one mount at once; more are answered 503.
const MAX_ACTS_OF_MOUNT: usize = 512;

/// The acts that run in this process.
#[derive(Default)]
pub(crate) struct Acts(Mutex<Running>);

#[derive(Default)]
struct Running {
    ids: HashSet<(NamespaceId, Arc<str>)>,
    of_mount: HashMap<MountId, usize>,
}

impl Acts {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an act, from before its intent is committed until its task is done with it; `None` where there are too many.
    fn begin(self: &Arc<Self>, namespace: NamespaceId, id: &Arc<str>, mount: MountId) -> Option<RunningAct> {
        let mut running = self.running();
        let count = running.of_mount.entry(mount).or_default();
        if *count >= MAX_ACTS_OF_MOUNT {
            return None;
        }
        *count = count.saturating_add(1);
        running.ids.insert((namespace, id.clone()));
        Some(RunningAct { acts: self.clone(), at: (namespace, id.clone()), mount })
    }

    fn runs(&self, namespace: NamespaceId, id: &str) -> bool {
        self.running().ids.contains(&(namespace, Arc::from(id)))
    }
}

/// An act that counts as running.
struct RunningAct {
    acts: Arc<Acts>,
    at: (NamespaceId, Arc<str>),
    mount: MountId,
}

impl Drop for RunningAct {
    fn drop(&mut self) {
        let mut running = self.acts.running();
        running.ids.remove(&self.at);
        let left = running.of_mount.get(&self.mount).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            running.of_mount.remove(&self.mount);
        } else {
            running.of_mount.insert(self.mount, left);
        }
    }
}

/// An intent of this process, which no other task changes while it is held.
pub struct Intended {
    namespace: NamespaceId,
    id: Arc<str>,
    /// The entry with which it was committed.
    lease: Lease,
    deadline: Moment,
    term: Option<u64>,
    _running: RunningAct,
}

/// The handling of an intent whose act did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Nothing was sent.
    Nothing,
    /// The act is over, and the outside has answered.
    Once,
    /// Something may still arrive.
    Again,
}

impl Undo {
    /// The handling that an act's error calls for.
    pub const fn of(error: &ActError) -> Self {
        match error {
            ActError::NotSent(_) => Self::Nothing,
            ActError::Refused(_) => Self::Once,
            ActError::Unanswered(_) => Self::Again,
        }
    }
}

impl Leases {
    /// True if there is any lease or intent whose id begins with `folder`. What comes there before `reads` is committed is a conflict.
    pub async fn has_any(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        folder: &str,
    ) -> Result<bool, BarrierError> {
        Ok(!LEASES.keys(reads, &(namespace, folder), None, 1).await?.is_empty())
    }

    /// Writes an intent within `txn`. The mount, and the token that holds the lease, must still be there when it commits.
    /// Without an owner it is a settlement's, which no token ends.
    pub async fn intend(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        path: &str,
        owner: Option<&Principal>,
        kind: &str,
        planned: &Planned,
    ) -> Result<Intended, EngineError> {
        if kind.is_empty() {
            return Err(EngineError::Internal("an act without a kind of lease".to_owned()));
        }
        let new = NewLease { mounted, path, owner, kind };
        let (id, lease) = self.new_lease(txn, &new).await?;
        let deadline = self.environment.clock.now().after(ACT_TIMEOUT);
        let lease = Lease {
            expires: deadline,
            ttl: planned.ttl,
            max_ttl: planned.max_ttl,
            renewable: planned.renewable,
            payload: planned.payload.clone(),
            state: LeaseState::Intended(deadline),
            ..lease
        };
        let (namespace, id) = (mounted.mount.namespace, Arc::<str>::from(id));
        let running = self.acts.begin(namespace, &id, mounted.mount.id).ok_or_else(|| {
            let text = "too many requests of this mount are under way; try again";
            EngineError::Status(503, text.to_owned())
        })?;
        let queued = QueuedLease { namespace, lease: id.to_string() };
        INTENTS.put(txn, &(mounted.mount.id, &due_key(&id)), queued)?;
        if let Some(token) = lease.owner.and_then(LeaseOwner::holder) {
            OWNED_LEASES.put(txn, &(token.namespace, token.key, &*id), namespace.into())?;
        }
        if let Some((home, entity)) = lease.listed_entity(namespace) {
            ENTITY_LEASES.put(txn, &(home, entity, &*id), namespace.into())?;
        }
        LEASES.put(txn, &(namespace, &*id), lease.clone())?;
        Ok(Intended { namespace, id, lease, deadline, term: self.leadership.term(), _running: running })
    }

    /// The facts of an intent for its act.
    pub fn intent_facts(&self, intended: &Intended) -> IntentFacts {
        let (clock, leadership) = (self.environment.clock.clone(), self.leadership.clone());
        let (deadline, term) = (intended.deadline, intended.term);
        let in_force =
            InForce::new(move || clock.now() < deadline && term.is_some() && leadership.term() == term);
        IntentFacts { id: intended.id.to_string(), deadline, in_force }
    }

    /// True if this node has led without a break since the intent was made, so that no other node can have ended it.
    pub fn is_of_this_term(&self, intended: &Intended) -> bool {
        intended.term.is_some() && self.leadership.term() == intended.term
    }

    /// Makes an intent the lease within `txn`, with the payload that its act has chosen. `None`: something has ended it
    /// meanwhile, and what the act made is revoked once `txn` commits.
    pub async fn grant_intended(
        &self,
        txn: &Txn,
        mounted: &MountHandle,
        intended: &Intended,
        payload: Option<&Payload>,
    ) -> Result<Option<Granted>, EngineError> {
        let at = (intended.namespace, &*intended.id);
        let found = LEASES.get(txn, &at).await?;
        let entry = found.as_deref().unwrap_or(&intended.lease);
        let lease =
            Lease { payload: payload.cloned().unwrap_or_else(|| entry.payload.clone()), ..entry.clone() };
        if found.is_some() && matches!(lease.state, LeaseState::Intended(_)) {
            return self.activate(txn, mounted, at, lease).map(Some);
        }
        // Marked by whatever ended it, or undone already by another node: what was made since is to be ended.
        end_intended(txn, at, &lease, self.environment.clock.now(), None)?;
        Ok(None)
    }

    /// Hands an intent to the revoker, in transactions of its own; where nothing was sent it is gone. Where that fails, the
    /// job finds it.
    pub async fn undo_intended(&self, intended: &Intended, payload: Option<&Payload>, undo: Undo) {
        let now = self.environment.clock.now();
        let again = (undo == Undo::Again).then(|| latest_arrival(now));
        let at = (intended.namespace, &*intended.id);
        let undone = change_lease(&self.barrier, at.0, at.1, |txn, entry| {
            if undo == Undo::Nothing {
                forget_lease(txn, at.0, at.1, entry);
                return Ok(());
            }
            let payload = payload.cloned().unwrap_or_else(|| entry.payload.clone());
            end_intended(txn, at, &Lease { payload, ..entry.clone() }, now, again)
        });
        if let Err(error) = undone.await {
            tracing::warn!(lease_id = &*intended.id, %error, "an act's outcome could not be recorded; its intent is left to the revoker");
        }
    }

    /// True if a settlement's intent is still there. It is removed with `txn`, which writes the outcome.
    pub async fn settle_intended(&self, txn: &Txn, intended: &Intended) -> Result<bool, BarrierError> {
        let at = (intended.namespace, &*intended.id);
        let Some(entry) = LEASES.get(txn, &at).await? else { return Ok(false) };
        forget_lease(txn, at.0, at.1, &entry);
        Ok(true)
    }

    /// Hands intents whose act runs nowhere to the revoker, one bounded transaction; answers whether there may be more.
    pub async fn end_forgotten_intents(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let now = self.environment.clock.now();
        let mut ended = 0usize;
        let mut page = INTENTS.scan(txn.peek(), &(), None, STEP).await?;
        while let Some(((mount, key), _)) = page.last() {
            let last = (*mount, *key);
            for (at, queued) in &page {
                let (namespace, id) = (queued.namespace, queued.lease.as_str());
                if self.acts.runs(namespace, id) {
                    continue;
                }
                ended = ended.saturating_add(1);
                match LEASES.get(&txn, &(namespace, id)).await? {
                    Some(lease) if matches!(lease.state, LeaseState::Intended(_)) => {
                        end_intended(&txn, (namespace, id), &lease, now, Some(latest_arrival(now)))?;
                    }
                    _ => INTENTS.delete(&txn, &(at.0, &at.1)),
                }
            }
            if ended >= STEP {
                break;
            }
            page = INTENTS.scan_after(txn.peek(), &(), Some(&(last.0, &last.1)), STEP).await?;
        }
        if !txn.is_empty() {
            txn.commit().await?;
        }
        Ok(ended >= STEP)
    }
}
