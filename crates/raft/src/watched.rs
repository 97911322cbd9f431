//! A lock that tests can ask what was done under it.
//!
//! The holder of the state's lock, or the log's, holds up every write of the node. In a test binary such a lock counts what the
//! allocator was asked for and what was logged while it was held, so that a test can show that none of it grows with what is
//! stored. Outside tests this is a mutex and nothing more. A thread that panics while it holds the lock does not stop the others.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, MutexGuard, PoisonError};

#[cfg(test)]
pub(crate) use self::tally::Tally;

/// A mutex under which little is to be done.
#[derive(Default)]
pub(crate) struct Mutex<T> {
    inner: std::sync::Mutex<T>,
    #[cfg(test)]
    worst: std::sync::Mutex<Tally>,
}

/// The mutex while it is held.
pub(crate) struct Guard<'m, T> {
    inner: MutexGuard<'m, T>,
    #[cfg(test)]
    watch: tally::Watch<'m>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            inner: std::sync::Mutex::new(value),
            #[cfg(test)]
            worst: std::sync::Mutex::default(),
        }
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard {
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
            #[cfg(test)]
            watch: tally::Watch::begin(&self.worst),
        }
    }

    /// The most of each that was done while the lock was held once, since the last call.
    #[cfg(test)]
    pub(crate) fn take_worst(&self) -> Tally {
        std::mem::take(&mut *self.worst.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Guard<'_, T> {
    /// Releases the lock until it is notified.
    pub(crate) fn wait(self, news: &Condvar) -> Self {
        #[cfg(test)]
        let worst = self.watch.end();
        Self {
            inner: news.wait(self.inner).unwrap_or_else(PoisonError::into_inner),
            #[cfg(test)]
            watch: tally::Watch::begin(worst),
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(test)]
mod tally {
    use std::cell::Cell;
    use std::sync::{Mutex, Once, PoisonError};

    use strongroom_zeroizing_alloc::{Counting, Counts, counts};
    use tracing::level_filters::LevelFilter;
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    /// The operations done while a lock was held.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Tally {
        pub(crate) counts: Counts,
        /// Messages logged.
        pub(crate) logged: usize,
    }

    thread_local! {
        static LOGGED: Cell<usize> = const { Cell::new(0) };
    }

    fn so_far() -> Tally {
        Tally { counts: counts(), logged: LOGGED.get() }
    }

    /// Ends with the guard, after the lock is free again: its fields are dropped in order.
    pub(super) struct Watch<'m> {
        worst: &'m Mutex<Tally>,
        before: Tally,
    }

    impl<'m> Watch<'m> {
        pub(super) fn begin(worst: &'m Mutex<Tally>) -> Self {
            static LISTEN: Once = Once::new();
            LISTEN.call_once(|| {
                tracing::subscriber::set_global_default(Listener).expect("nobody else listens");
            });
            Self { worst, before: so_far() }
        }

        /// Adds what was done to the record.
        pub(super) fn end(self) -> &'m Mutex<Tally> {
            self.worst
        }
    }

    impl Drop for Watch<'_> {
        fn drop(&mut self) {
            let (now, then) = (so_far(), self.before);
            let mut worst = self.worst.lock().unwrap_or_else(PoisonError::into_inner);
            let Counts { allocations, allocated, frees, freed } = worst.counts;
            worst.counts = Counts {
                allocations: allocations.max(now.counts.allocations - then.counts.allocations),
                allocated: allocated.max(now.counts.allocated - then.counts.allocated),
                frees: frees.max(now.counts.frees - then.counts.frees),
                freed: freed.max(now.counts.freed - then.counts.freed),
            };
            worst.logged = worst.logged.max(now.logged - then.logged);
        }
    }

    /// Counts what is logged, by thread.
    struct Listener;

    impl Subscriber for Listener {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_event()
        }

        fn max_level_hint(&self) -> Option<LevelFilter> {
            Some(LevelFilter::DEBUG)
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, _: &Event<'_>) {
            LOGGED.set(LOGGED.get() + 1);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
}
