//! Observes commits, and drops the state in memory that they outdate.

use std::sync::{Arc, Weak};

use crate::Background;
use strongroom_barrier::{KeyPlace, MountId, NamespaceId};
use strongroom_mounts::{DELETED_NAMESPACES, DISABLED_MOUNTS};
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

impl Background {
    /// Lets go of what was derived from what a commit has touched.
    fn let_go(&self, place: KeyPlace, key: &[u8]) {
        if place.mount != MountId::NONE {
            self.services.kept.touched(place.namespace, place.mount, place.table);
        } else if place.is_of(DISABLED_MOUNTS.id()) {
            if let Some(mount) = place.within_table(key).first_chunk::<4>() {
                self.services.kept.unmounted(MountId::new(u32::from_be_bytes(*mount)));
            }
        } else if place.is_of(DELETED_NAMESPACES.id()) {
            let number = place.within_table(key).first_chunk::<8>().map(|number| u64::from_be_bytes(*number));
            if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
                self.services.kept.namespace_gone(NamespaceId::new(number));
            }
        }
    }
}

impl Observer for CommitObserver {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let Some(background) = self.background.upgrade() else { return };
        for key in keys {
            let Some(place) = KeyPlace::of(key) else { continue };
            background.wake_jobs(place, key);
            background.let_go(place, key);
            if background.services.revocation.observe(place, key) {
                background.wake_revoker();
            }
            background.services.mounts.observe(place, key, index);
            background.services.policies.observe(place, index);
            background.services.identity.observe(place, key, index);
            background.services.mfa.observe(place, index);
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
        background.services.kept.touched_all();
        background.services.revocation.outdate();
        background.services.mounts.outdate(index);
        background.services.policies.outdate(index);
        background.services.identity.outdate(index);
        background.services.mfa.outdate(index);
        background.services.audit_devices.outdate(index);
        // On another node, the next term takes all jobs up.
        if background.services.node.is_active() {
            background.services.jobs.wake_all();
        }
        background.wake_revoker();
    }
}
