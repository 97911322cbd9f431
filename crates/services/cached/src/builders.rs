//! Builds in progress: one at a time for each key, even when the values are removed in between.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Id;

type Turns = HashMap<Id, Arc<tokio::sync::Mutex<()>>>;

#[derive(Default)]
pub(crate) struct Builders(Mutex<Turns>);

/// A place in the queue of those who would build a value. The last that leaves takes the queue away.
pub(crate) struct Turn<'a> {
    builders: &'a Builders,
    id: Id,
    queue: Arc<tokio::sync::Mutex<()>>,
}

impl Builders {
    pub(crate) fn turn(&self, id: &Id) -> Turn<'_> {
        let queue = self.turns().entry(id.clone()).or_default().clone();
        Turn { builders: self, id: id.clone(), queue }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of values that are being built or waited for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.turns().len()
    }
}

impl Deref for Turn<'_> {
    type Target = tokio::sync::Mutex<()>;

    fn deref(&self) -> &Self::Target {
        &self.queue
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.builders.turns();
        // This turn's and the map's own.
        if Arc::strong_count(&self.queue) <= 2 {
            turns.remove(&self.id);
        }
    }
}
