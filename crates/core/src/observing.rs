//! Hearing of commits: which state in memory they outdate.

use std::sync::{Arc, Weak};

use strongroom_storage::{Index, Observer};

use crate::Core;
use crate::tables::prefix_of;

/// Tells the core's derived state what has changed.
pub(crate) struct CoreObserver {
    core: Weak<Core>,
    mounts: Vec<u8>,
    policies: Vec<u8>,
    devices: Vec<u8>,
    headers: Vec<u8>,
}

impl CoreObserver {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::downgrade(core),
            mounts: prefix_of(1),
            policies: prefix_of(2),
            devices: prefix_of(3),
            headers: prefix_of(4),
        }
    }
}

impl Observer for CoreObserver {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let Some(core) = self.core.upgrade() else { return };
        for key in keys {
            if key.starts_with(&self.mounts) {
                core.router.outdate(index);
            } else if key.starts_with(&self.policies) {
                core.policies.outdate(index);
            } else if key.starts_with(&self.devices) || key.starts_with(&self.headers) {
                core.auditing.outdate(index);
            }
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
        core.router.outdate(index);
        core.policies.outdate(index);
        core.auditing.outdate(index);
    }
}
