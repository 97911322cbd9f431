//! The connections that are accepted at a time: as many as leave file descriptors for storage.
//!
//! Each connection takes a descriptor, and so do log files, audit files, peers and outgoing connections. A client that opens many
//! connections must not take those away. Connections beyond the limit wait in the system's queue until another ends.
//! There is one limit for all listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Descriptors that are left alone, at least and at most; in between, a quarter of all.
const RESERVE: std::ops::RangeInclusive<u64> = 64..=2048;
/// Connections at least, however few descriptors there are.
const MIN_CONNECTIONS: u64 = 16;
/// Connections where the system sets no limit, or one beyond all sense.
const MAX_CONNECTIONS: u64 = 1 << 20;

/// Raises the limit of descriptors to the most that this process may have. The default of most systems, 1024, is low for
/// the sake of programs that this is none of.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "could not raise the file descriptor limit");
    }
}

/// The connections that so many descriptors allow.
fn connections_of(descriptors: Option<u64>) -> usize {
    let descriptors = descriptors.unwrap_or(u64::MAX);
    let reserve = (descriptors / 4).clamp(*RESERVE.start(), *RESERVE.end());
    let connections = descriptors.saturating_sub(reserve).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS);
    usize::try_from(connections).unwrap_or(usize::MAX)
}

/// Room for connections, shared by all listeners.
#[derive(Clone)]
pub(crate) struct Admission {
    room: Arc<Semaphore>,
    told: Arc<AtomicBool>,
}

/// A connection's place; it is free again when this is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

impl Admission {
    /// As this process's limit of descriptors allows.
    pub(crate) fn of_process() -> Self {
        Self::of(connections_of(getrlimit(Resource::Nofile).current))
    }

    fn of(connections: usize) -> Self {
        let room = Semaphore::new(connections.min(Semaphore::MAX_PERMITS));
        Self { room: Arc::new(room), told: Arc::default() }
    }

    /// Waits for a place. Nothing is accepted before, so that what waits takes no descriptor.
    pub(crate) async fn place(&self) -> Place {
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            self.told.store(false, Ordering::Relaxed);
            return place;
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("connection limit reached: new connections wait");
        }
        loop {
            if let Ok(place) = self.room.clone().acquire_owned().await {
                return place;
            }
            // The semaphore is never closed.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn descriptors_are_left_for_storage() {
        for (descriptors, connections) in [
            (Some(20), 16),
            (Some(256), 192),
            (Some(1024), 768),
            (Some(65_536), 63_488),
            (Some(u64::MAX), 1 << 20),
            (None, 1 << 20),
        ] {
            assert_eq!(connections_of(descriptors), connections, "{descriptors:?}");
        }
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let admission = Admission::of(2);
        let first = admission.place().await;
        let _second = admission.place().await;
        let third = tokio::time::timeout(Duration::ZERO, admission.place()).await;
        assert!(third.is_err(), "there is no third place");
        drop(first);
        let _third = admission.place().await;
    }
}
