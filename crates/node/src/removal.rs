//! The behavior of a node that was removed from its cluster: it says so, and serves no longer.

use strongroom_raft::Role;
use strongroom_storage::ELECTION;

use crate::Node;

impl Node {
    /// True if this node was taken out of its cluster. It is known a few seconds after the node was last heard.
    pub fn is_removed(&self) -> bool {
        self.cluster().is_some_and(|node| node.store.was_removed())
    }

    /// Watches whether this node hears nobody, sealed or not, and then asks the others whether it still belongs to
    /// them. One that does not is sealed: what it has is old, and never gets newer. It knows that after a restart, too.
    pub async fn watch_removal(&self) {
        let Some(node) = self.cluster() else { return };
        let removed = match node.store.role() {
            Role::Leads | Role::Follows => false,
            Role::CutOff { since } | Role::Unsure { since } | Role::Unheard { since } if since < ELECTION => {
                return;
            }
            // Whom this node knows may all be gone later; what they said stays true until somebody is heard.
            Role::CutOff { .. } | Role::Unsure { .. } | Role::Unheard { .. } => {
                self.is_removed() || node.store.ask_whether_removed().await
            }
        };
        let before = self.is_removed();
        if let Err(error) = node.store.keep_removed(removed) {
            tracing::error!(%error, "could not record whether this node was removed");
        }
        if removed && !before {
            tracing::error!(
                "this node was removed from its cluster; to join again it needs an empty data directory"
            );
        }
        if removed && !self.barrier.is_sealed() {
            self.seal_state.seal().await;
        }
    }
}
