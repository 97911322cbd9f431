//! Moves of mounts to other namespaces.
//!
//! A mount's namespace is in the keys of all its entries, so such a move copies them. While it is under way, the mount stays at
//! its path and answers nothing; the path it moves to is not taken. Once its leases are revoked and its entries copied, one
//! commit has it serve at its new path, under a new number. What goes wrong before that commit has it serve where it was.
//!
//! Each step is a transaction that also writes the place reached, so a crash costs the step that it cuts short. The steps
//! are taken by a job that also knows leases and identities (`core/src/moves.rs`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, MountPlace, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request};

use crate::changes;
use crate::mounts::{BUILT_IN, MountEntry, MountHandle};
use crate::namespaces::Namespace;
use crate::router::MAX_MOUNT_PATH;
use crate::{MOUNT_MOVES, MOUNTS, Mounts};

/// Entries copied or removed in one transaction: a commit is applied as a whole, and everybody else's commits wait meanwhile.
const STEP: usize = 64;
/// Bytes copied in one transaction, but for the last of its entries.
const MAX_BYTES: usize = 1 << 20;

/// A move of a mount to another namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountMove {
    /// The namespace that it leaves.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// Its path there.
    #[serde(rename = "p")]
    pub path: String,
    /// Its number there.
    #[serde(rename = "i")]
    pub id: MountId,
    /// The namespace that it moves to.
    #[serde(rename = "ts", default, skip_serializing_if = "NamespaceId::is_root")]
    pub to_namespace: NamespaceId,
    /// Its path there.
    #[serde(rename = "tp")]
    pub to_path: String,
    /// Its number there.
    #[serde(rename = "ti")]
    pub to_id: MountId,
    /// Its accessor, which it keeps.
    #[serde(rename = "a")]
    pub accessor: String,
    /// The place reached.
    #[serde(rename = "g")]
    pub stage: MoveStage,
}

impl Stored for MountMove {}

/// The place that a move has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStage {
    /// Leases and tokens of the mount are ended; the id of the last that was dealt with.
    Ending(String),
    /// Leases of the mount are revoked in the external system.
    Revoking,
    /// Its entries are copied; the key of the last one.
    Copying(Option<Vec<u8>>),
    /// It is there; from this moment on, its entries at the old place are removed.
    Clearing(Moment),
    /// The move has failed, for this reason; entries that were copied are removed.
    Undoing(String),
    /// The move has failed at this moment, for this reason, and nothing is left of it.
    Failed(String, Moment),
}

impl MountMove {
    /// True while the mount answers nothing.
    pub const fn is_under_way(&self) -> bool {
        matches!(self.stage, MoveStage::Ending(_) | MoveStage::Revoking | MoveStage::Copying(_))
    }

    /// True if it is of an auth method.
    pub fn is_of_auth(&self) -> bool {
        self.path.starts_with("auth/")
    }

    const fn place(&self) -> MountPlace {
        MountPlace { namespace: self.namespace, mount: self.id, local: false }
    }

    const fn target(&self) -> MountPlace {
        MountPlace { namespace: self.to_namespace, mount: self.to_id, local: false }
    }
}

/// The refusal of requests to a mount that is being moved.
pub fn being_moved(path: &str) -> EngineError {
    EngineError::Status(503, format!("the mount at {path:?} is being moved to another namespace"))
}

impl Mounts {
    /// Begins to move a mount to another namespace, under an id that its status is asked by: it answers nothing from here on.
    ///
    /// # Errors
    ///
    /// 400 where there is no such mount, where it is built in, local or being moved, and where the target is taken.
    pub async fn begin_move(
        &self,
        txn: &Txn,
        id: &str,
        (namespace, from): (NamespaceId, &str),
        (to_namespace, to): (NamespaceId, &str),
    ) -> Result<(), EngineError> {
        let found = MOUNTS.get(txn, &(namespace, from)).await?;
        let found = found.filter(|_| BUILT_IN.iter().all(|built_in| built_in.path != from));
        let Some(entry) = found else {
            return Err(bad_request(format!("no matching mount at {from:?}")));
        };
        if entry.moving {
            return Err(bad_request(format!("the mount at {from:?} is being moved already")));
        }
        if entry.local {
            return Err(bad_request(format!("cannot move local mount {from:?} to another namespace")));
        }
        if to.len() > MAX_MOUNT_PATH {
            return Err(bad_request(format!("path is longer than {MAX_MOUNT_PATH} bytes")));
        }
        if let Some(other) = self.taken_by(txn, to_namespace, to).await? {
            return Err(bad_request(format!("path already in use at {other:?}")));
        }
        let moving = MountMove {
            namespace,
            path: from.to_owned(),
            id: entry.id,
            to_namespace,
            to_path: to.to_owned(),
            to_id: self.next_mount_id(txn).await?,
            accessor: entry.accessor.clone(),
            stage: MoveStage::Ending(from.to_owned()),
        };
        MOUNTS.put(txn, &(namespace, from), MountEntry { moving: true, ..(*entry).clone() })?;
        Ok(MOUNT_MOVES.put(txn, id, moving)?)
    }

    /// The ids of all moves that something is left of.
    pub async fn moves(&self, reads: &impl Reads) -> Result<Vec<String>, BarrierError> {
        MOUNT_MOVES.keys(reads, "", None, usize::MAX).await
    }

    /// The move with this id; none where it has succeeded and nothing is left of it.
    pub async fn mount_move(
        &self,
        reads: &impl Reads,
        id: &str,
    ) -> Result<Option<Arc<MountMove>>, BarrierError> {
        MOUNT_MOVES.get(reads, id).await
    }

    /// Notes the place that a move has reached.
    pub fn note_move(
        &self,
        txn: &Txn,
        id: &str,
        moving: &MountMove,
        stage: MoveStage,
    ) -> Result<(), BarrierError> {
        MOUNT_MOVES.put(txn, id, MountMove { stage, ..moving.clone() })
    }

    /// The reason why a move that is under way cannot be finished; `txn` rests on there being none.
    pub async fn obstacle_to(&self, txn: &Txn, moving: &MountMove) -> Result<Option<String>, EngineError> {
        if !self.has_namespace(txn, moving.namespace).await? {
            return Ok(Some("the namespace of the mount was deleted".to_owned()));
        }
        if self.entry_moving(txn, moving).await?.is_none() {
            return Ok(Some("the mount was disabled".to_owned()));
        }
        if !self.has_namespace(txn, moving.to_namespace).await? {
            return Ok(Some("the namespace that it was to move to was deleted".to_owned()));
        }
        let taken = self.taken_by(txn, moving.to_namespace, &moving.to_path).await?;
        Ok(taken.map(|other| format!("path already in use at {other:?}")))
    }

    async fn has_namespace(&self, txn: &Txn, id: NamespaceId) -> Result<bool, BarrierError> {
        let Some(namespace) = self.router().await?.namespace(id) else { return Ok(false) };
        self.hold_namespace(txn, &namespace).await
    }

    /// The mount's own entry at the place that it leaves.
    async fn entry_moving(
        &self,
        txn: &Txn,
        moving: &MountMove,
    ) -> Result<Option<Arc<MountEntry>>, BarrierError> {
        let found = MOUNTS.get(txn, &(moving.namespace, moving.path.as_str())).await?;
        Ok(found.filter(|entry| entry.id == moving.id && entry.moving))
    }

    /// Copies one step's worth of the mount's entries after the key `after`; answers whether there were any.
    pub async fn copy_step(
        &self,
        txn: &Txn,
        id: &str,
        moving: &MountMove,
        after: Option<&[u8]>,
    ) -> Result<bool, BarrierError> {
        let places = (moving.place(), moving.target());
        let last = txn.copy_of_mount(places, after, (STEP, MAX_BYTES)).await?;
        let went_on = last.is_some();
        if went_on {
            self.note_move(txn, id, moving, MoveStage::Copying(last))?;
        }
        Ok(went_on)
    }

    /// Has the mount, whose entries are copied, serve at its new path. What is at the old place stays until `clear_from`: a
    /// request that was on its way before finds all of it, or nothing.
    pub async fn finish_move(
        &self,
        txn: &Txn,
        id: &str,
        moving: &MountMove,
        clear_from: Moment,
    ) -> Result<(), EngineError> {
        let entry = self.entry_moving(txn, moving).await?.ok_or(EngineError::NotFound)?;
        MOUNTS.delete(txn, &(moving.namespace, moving.path.as_str()));
        let there = MountEntry { id: moving.to_id, moving: false, ..(*entry).clone() };
        MOUNTS.put(txn, &(moving.to_namespace, moving.to_path.as_str()), there)?;
        self.note_move(txn, id, moving, MoveStage::Clearing(clear_from))?;
        let (from, to) = self.names_of(moving);
        changes::moved(txn, String::new(), &from, &to);
        Ok(())
    }

    /// Both paths from the root namespace on, for the log.
    fn names_of(&self, moving: &MountMove) -> (String, String) {
        let name = |namespace, path: &str| {
            self.full_path(namespace, path).unwrap_or_else(|| format!("(deleted)/{path}"))
        };
        (name(moving.namespace, &moving.path), name(moving.to_namespace, &moving.to_path))
    }

    /// Gives a move up that is under way: the mount answers where it was.
    pub async fn give_up_move(
        &self,
        txn: &Txn,
        id: &str,
        moving: &MountMove,
        reason: &str,
    ) -> Result<(), BarrierError> {
        if let Some(entry) = self.entry_moving(txn, moving).await? {
            let entry = MountEntry { moving: false, ..(*entry).clone() };
            MOUNTS.put(txn, &(moving.namespace, moving.path.as_str()), entry)?;
        }
        self.note_move(txn, id, moving, MoveStage::Undoing(reason.to_owned()))?;
        let ((from, to), error) = (self.names_of(moving), reason.to_owned());
        txn.on_commit(move || tracing::warn!(from, to, error, "a mount could not be moved"));
        Ok(())
    }

    /// Removes one step's worth of what a move that is over has left: at the old place, or copies at the new one.
    pub async fn clear_move(
        &self,
        txn: &Txn,
        id: &str,
        moving: &MountMove,
        now: Moment,
    ) -> Result<(), BarrierError> {
        let (place, reason) = match &moving.stage {
            MoveStage::Undoing(reason) => (moving.target(), Some(reason)),
            MoveStage::Clearing(_) => (moving.place(), None),
            _ => return Ok(()),
        };
        if txn.delete_of_mount(place, STEP).await? > 0 {
            return Ok(());
        }
        if let Some(reason) = reason {
            return self.note_move(txn, id, moving, MoveStage::Failed(reason.clone(), now));
        }
        MOUNT_MOVES.delete(txn, id);
        Ok(())
    }

    /// Forgets a move that has failed.
    pub fn forget_move(&self, txn: &Txn, id: &str) {
        MOUNT_MOVES.delete(txn, id);
    }

    /// Rests what `txn` will commit on a mount being where a request was told that it is. Otherwise it would be written behind
    /// the end of the mount, or behind the copy of its entries.
    ///
    /// # Errors
    ///
    /// [`BarrierError::Conflict`] where it is not: the request is to be resolved again.
    pub async fn hold_mount(&self, txn: &Txn, mounted: &MountHandle) -> Result<(), EngineError> {
        match self.require_mount(txn, mounted).await {
            Err(EngineError::NotFound | EngineError::Status(..)) => Err(BarrierError::Conflict.into()),
            outcome => outcome,
        }
    }

    /// The namespace that a path leads into from `start` on, and the rest of the path. `txn` rests on its being there.
    ///
    /// # Errors
    ///
    /// 400 where the namespace is gone, 503 where it is locked.
    pub async fn descend_to<'p>(
        &self,
        txn: &Txn,
        start: NamespaceId,
        path: &'p str,
    ) -> Result<(Arc<Namespace>, &'p str), EngineError> {
        let gone = || bad_request(format!("the namespace of {path:?} does not exist"));
        let router = self.router().await?;
        let (namespace, rest) = router.descend(start, path).ok_or_else(gone)?;
        if !self.hold_namespace(txn, &namespace).await? {
            return Err(gone());
        }
        match self.locked_by(&namespace) {
            Some(locked) => Err(EngineError::Status(503, format!("the namespace {locked:?} is locked"))),
            None => Ok((namespace, rest)),
        }
    }
}
