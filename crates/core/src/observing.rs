//! Hearing of commits: which state in memory they outdate.

use std::sync::{Arc, Weak};

use strongroom_barrier::{KeyPlace, MountId, NamespaceId, TableId};
use strongroom_storage::{Index, Observer};

use crate::Core;
use crate::tables::{
    AUDIT_DEVICES, AUDITED_HEADERS, DELETED_NAMESPACES, DISABLED_MOUNTS, MOUNTS, NAMESPACES, POLICIES,
};

/// Tells the core's derived state which commits outdate it.
pub(crate) struct CoreObserver {
    core: Weak<Core>,
}

impl CoreObserver {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::downgrade(core) }
    }
}

/// Whether a key is one of a table of the server's own.
fn is_of(place: KeyPlace, table: TableId) -> bool {
    place.space == table.space && place.table == table.number
}

/// The part of a key of the server's own that follows space, namespace and table.
fn within_table(key: &[u8]) -> &[u8] {
    key.get(6..).unwrap_or_default()
}

impl Core {
    /// Lets go of what was derived from what a commit has touched.
    fn let_go(&self, place: KeyPlace, key: &[u8]) {
        if place.mount != MountId::NONE {
            self.kept.touched(place.namespace, place.mount, place.table);
        } else if is_of(place, DISABLED_MOUNTS.id()) {
            if let Some(mount) = within_table(key).first_chunk::<4>() {
                self.kept.unmounted(MountId::new(u32::from_be_bytes(*mount)));
            }
        } else if is_of(place, DELETED_NAMESPACES.id()) {
            let number = within_table(key).first_chunk::<8>().map(|number| u64::from_be_bytes(*number));
            if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
                self.kept.namespace_gone(NamespaceId::new(number));
            }
        }
    }
}

impl Observer for CoreObserver {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        let Some(core) = self.core.upgrade() else { return };
        for key in keys {
            let Some(place) = KeyPlace::of(key) else { continue };
            core.wake_jobs(place, key);
            core.let_go(place, key);
            if core.revoker.observe(place) {
                // On another node, the next term takes all jobs up.
                if core.is_active() {
                    core.jobs.wake_all();
                }
                core.wake_revoker();
            }
            if is_of(place, MOUNTS.id()) {
                core.router.outdate_mount(place.namespace, within_table(key), index);
            } else if is_of(place, NAMESPACES.id()) {
                core.router.outdate_namespace(place.namespace, within_table(key), index);
            } else if is_of(place, POLICIES.id()) {
                core.policies.outdate(index);
            } else if is_of(place, AUDIT_DEVICES.id()) || is_of(place, AUDITED_HEADERS.id()) {
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
        core.kept.touched_all();
        core.router.outdate_all(index);
        core.policies.outdate(index);
        core.auditing.outdate(index);
        // On another node, the next term takes all jobs up.
        if core.is_active() {
            core.jobs.wake_all();
        }
        core.wake_revoker();
    }
}
