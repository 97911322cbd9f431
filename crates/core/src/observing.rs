//! Hearing of commits: which state in memory they outdate.

use std::sync::{Arc, Weak};

use crate::Background;
use strongroom_barrier::KeyPlace;
use strongroom_storage::{Index, Observer};

/// Tells the background's derived state which commits outdate it.
pub(crate) struct CommitObserver {
    background: Weak<Background>,
}

impl CommitObserver {
    pub(crate) fn new(background: &Arc<Background>) -> Self {
        Self { background: Arc::downgrade(background) }
    }
}

impl Observer for CommitObserver {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let Some(background) = self.background.upgrade() else { return };
        for key in keys {
            let Some(place) = KeyPlace::of(key) else { continue };
            background.wake_jobs(place, key);
            if background.services.revocation.observe(place) {
                // On another node, the next term takes all jobs up.
                if background.services.node.is_active() {
                    background.services.jobs.wake_all();
                }
                background.wake_revoker();
            }
            background.services.mounts.observe(place, key, index);
            background.services.policies.observe(place, index);
            background.services.audit_devices.observe(place, index);
        }
    }

    fn replaced(&self, index: Index) {
        self.outdated(index);
        if let Some(background) = self.background.upgrade() {
            background.replaced.notify_one();
        }
    }

    fn outdated(&self, index: Index) {
        let Some(background) = self.background.upgrade() else { return };
        background.services.mounts.outdate(index);
        background.services.policies.outdate(index);
        background.services.audit_devices.outdate(index);
        // On another node, the next term takes all jobs up.
        if background.services.node.is_active() {
            background.services.jobs.wake_all();
        }
        background.wake_revoker();
    }
}
