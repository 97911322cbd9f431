//! The place that a walk through a table has come to, where what was dealt with is deleted behind it.
//!
//! Storage keeps deletions in memory for a while, and whoever reads from the beginning passes all of them: a walk in steps that
//! began there each time would cost the square of what it deletes. It is no more than a place to go on from. It is not stored, and
//! nothing depends on it: a walk that has come to its end begins anew, and finds what was added behind it.

use std::sync::{Mutex, PoisonError};

/// The last key that was dealt with; `None`: the next step begins at the beginning.
pub(crate) struct Walk<K>(Mutex<Option<K>>);

impl<K> Default for Walk<K> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<K: Clone> Walk<K> {
    pub(crate) fn get(&self) -> Option<K> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, last: Option<K>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }
}
