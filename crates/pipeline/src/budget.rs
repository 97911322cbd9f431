//! A budget that many share: bytes of memory, taken and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An amount of which everyone who takes some leaves less to the others.
#[derive(Debug)]
pub struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// Of so much.
    pub fn new(amount: u64) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(amount) })
    }

    /// A share of nothing yet.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), amount: 0 }
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    amount: u64,
}

impl Share {
    /// Takes more; false where there is not as much left, and then nothing is taken.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let left = &self.budget.left;
        let taken = left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more));
        if taken.is_ok() {
            self.amount = self.amount.saturating_add(more);
        }
        taken.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_come_to_more_than_there_is() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow(6) && other.grow(3) && !other.grow(2) && other.grow(1) && !one.grow(1));
        drop(one);
        assert!(other.grow(6) && !other.grow(usize::MAX) && !other.grow(1));
        drop(other);
        assert!(budget.share().grow(10));
    }
}
