//! Hearing of commits: which state in memory they outdate.

use std::sync::{Arc, Weak};

use strongroom_barrier::KeyPlace;
use strongroom_storage::{Index, Observer};

use crate::Core;

/// Tells the core's derived state which commits outdate it.
pub(crate) struct CoreObserver {
    core: Weak<Core>,
}

impl CoreObserver {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::downgrade(core) }
    }
}

impl Observer for CoreObserver {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let Some(core) = self.core.upgrade() else { return };
        for key in keys {
            let Some(place) = KeyPlace::of(key) else { continue };
            core.wake_jobs(place, key);
            if core.revocation.observe(place) {
                // On another node, the next term takes all jobs up.
                if core.node.is_active() {
                    core.jobs.wake_all();
                }
                core.wake_revoker();
            }
            core.mounts.observe(place, key, index);
            core.policies.observe(place, index);
            core.audit_devices.observe(place, index);
        }
    }

    fn replaced(&self, index: Index) {
        self.outdated(index);
        if let Some(core) = self.core.upgrade() {
            core.replaced.notify_one();
        }
    }

    fn outdated(&self, index: Index) {
        let Some(core) = self.core.upgrade() else { return };
        core.mounts.outdate(index);
        core.policies.outdate(index);
        core.audit_devices.outdate(index);
        // On another node, the next term takes all jobs up.
        if core.node.is_active() {
            core.jobs.wake_all();
        }
        core.wake_revoker();
    }
}
