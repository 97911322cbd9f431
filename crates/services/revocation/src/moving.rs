//! Ends what a mount has granted that moves to another namespace: its leases, and the tokens of an auth method.
//!
//! A lease names the path and the namespace that it came from, and what revokes it rests on the mount's own entries. So all
//! of them are revoked before an entry is copied. Where one cannot be, the mount does not move.

use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::EngineError;
use strongroom_expiry::{NEVER, REVOCATIONS};
use strongroom_mounts::{MountMove, MoveStage};

use crate::Revocation;

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drained {
    /// The move goes on there.
    To(MoveStage),
    /// Leases are still being revoked.
    Waits,
    /// The external system has refused to revoke leases, which are not tried again of themselves.
    Stuck,
}

impl Revocation {
    /// Ends one step's worth of what a mount has granted that is being moved. None is granted behind the walk: what grants
    /// reads the mount's entry.
    pub async fn drain_for_move(&self, txn: &Txn, moving: &MountMove) -> Result<Drained, EngineError> {
        if let MoveStage::Ending(after) = &moving.stage {
            let range: (NamespaceId, &str) = (moving.namespace, &moving.path);
            let after = self.end_leases(txn, moving.id, range, after).await?;
            return Ok(Drained::To(after.map_or(MoveStage::Revoking, MoveStage::Ending)));
        }
        let queued = REVOCATIONS.keys(txn.peek(), &(moving.id, &()), None, 1).await?;
        Ok(match queued.first() {
            None => Drained::To(MoveStage::Copying(None)),
            Some((_, (NEVER, _))) => Drained::Stuck,
            Some(_) => Drained::Waits,
        })
    }

    /// The last error of revoking leases of a mount whose external system is not reached.
    pub fn error_of_revoking(&self, moving: &MountMove) -> Option<String> {
        self.revoker.pause_of(moving.id).map(|(_, _, error)| error)
    }
}
