//! The observers, and the order in which they are told of indexes.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use strongroom_storage::{Index, Observer};
use tokio::sync::watch;

/// The observers, and the newest index that they know of.
pub(crate) struct Notifications {
    observers: RwLock<Vec<Arc<dyn Observer>>>,
    /// Held while observers are told, so that they hear in order.
    order: Mutex<()>,
    told: watch::Sender<Index>,
}

impl Notifications {
    pub(crate) fn new(index: Index) -> Self {
        Self { observers: RwLock::default(), order: Mutex::default(), told: watch::Sender::new(index) }
    }

    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        self.observers.write().unwrap_or_else(PoisonError::into_inner).push(observer);
    }

    /// The newest index that all observers know of.
    pub(crate) fn told(&self) -> Index {
        *self.told.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Index> {
        self.told.subscribe()
    }

    /// This node has written `keys` at `index`.
    pub(crate) fn applied(&self, index: Index, keys: &[&[u8]]) {
        self.tell(index, |observer| observer.applied(index, keys));
    }

    /// The database is at `index`, and who wrote what since the last one told is not known.
    pub(crate) fn outdated(&self, index: Index) {
        if index > self.told() {
            self.tell(index, |observer| observer.outdated(index));
        }
    }

    fn tell(&self, index: Index, what: impl Fn(&dyn Observer)) {
        let _in_order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        for observer in self.observers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            what(observer.as_ref());
        }
        self.told.send_if_modified(|told| {
            let newer = index > *told;
            *told = index.max(*told);
            newer
        });
    }
}
