//! Admission: the second stage. It knows the destination of a request, and nothing of its caller.
//!
//! A request that may write goes on in a task of its own before anything of it has run, and one for a namespace that is no
//! longer there, or is locked, goes no further. Limits on how much may be asked of a namespace, a mount or a path belong here.

use std::sync::Arc;

use strongroom_barrier::Txn;

use super::{Pipeline, Place, RequestError, Resolved};

/// A request that is let in. Only [`Pipeline::admit`] makes one.
pub(crate) struct Admitted<'a>(&'a Arc<Resolved>);

impl<'a> Admitted<'a> {
    /// The request, and where it leads.
    pub(super) const fn resolved(&self) -> &'a Arc<Resolved> {
        self.0
    }
}

impl Pipeline {
    /// Lets a request in whose namespace is there in `txn`'s view, which then conflicts with the end of the namespace.
    pub(super) async fn admit<'a>(
        &self,
        resolved: &'a Arc<Resolved>,
        txn: &Txn,
        place: Place,
    ) -> Result<Admitted<'a>, RequestError> {
        // Its handler is run once, where nothing can cut it off.
        if place == Place::Request && (resolved.inbound.wraps() || resolved.to.may_write()) {
            return Err(RequestError::NeedsTask);
        }
        if !self.services.mounts.hold_namespace(txn, &resolved.to.place).await? {
            return Err(RequestError::status(404, "the namespace was deleted"));
        }
        if let Some(path) = self.services.mounts.locked_by(&resolved.to.place)
            && !resolved.to.answers_while_locked()
        {
            let path = path.trim_end_matches('/');
            let text = format!(
                "API access to this namespace has been locked by an administrator - {path:?} must be unlocked to gain access."
            );
            return Err(RequestError::status(503, text));
        }
        Ok(Admitted(resolved))
    }
}
