//! The free space of the file system, and what to do when there is none.
//!
//! A disk that fills up must not stop the node: writes are refused while there is less than a reserve, and what was
//! accepted before is finished within it, waiting for room if it must. The same goes for file descriptors and memory,
//! which run out and come back as well.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use strongroom_stdx::{Clock, Moment};

/// The time for which an answer of the file system is believed.
const PROBE_LIFETIME: Duration = Duration::from_millis(100);
/// The pause before a write that found no room is tried again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: u64,
    pub(crate) total: u64,
}

/// Asks a file system for its room.
pub(crate) type Probe = Arc<dyn Fn() -> io::Result<Room> + Send + Sync>;

/// Asks the file system that holds `path`.
pub(crate) fn probe_of(path: &Path) -> Probe {
    let path = path.to_owned();
    Arc::new(move || {
        let found = rustix::fs::statvfs(&path)?;
        Ok(Room {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    })
}

/// The room that is left, asked for no more often than [`PROBE_LIFETIME`] allows.
pub(crate) struct Space {
    probe: Probe,
    clock: Clock,
    reserve: u64,
    last: Mutex<Option<(Moment, bool)>>,
}

impl Space {
    /// `reserve`: bytes that new writes must leave alone, or `None` for a choice by the size of the file system.
    pub(crate) fn new(
        probe: Probe,
        clock: Clock,
        reserve: Option<u64>,
        segment_size: u64,
    ) -> io::Result<Self> {
        let total = probe()?.total;
        let reserve = reserve.unwrap_or_else(|| segment_size.saturating_mul(2).min(total / 8));
        Ok(Self { probe, clock, reserve, last: Mutex::new(None) })
    }

    /// True if new writes may be accepted. A file system that does not answer is not believed to be full.
    pub(crate) fn is_there(&self) -> bool {
        let now = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, there)) = *last
            && now >= at
            && now.since(at) < PROBE_LIFETIME
        {
            return there;
        }
        let there = (self.probe)().map_or(true, |room| room.free >= self.reserve);
        let before = last.replace((now, there)).map(|(_, before)| before);
        // Who logs may wait for whoever reads the log, and others wait here for the lock.
        drop(last);
        if before.unwrap_or(true) && !there {
            tracing::error!(
                reserve = self.reserve,
                "out of space: writes fail, and another node takes over leadership"
            );
        } else if before == Some(false) && there {
            tracing::info!("space available again: writes are accepted");
        }
        there
    }
}

/// True if an operation failed for lack of what may be given back: space, file descriptors, memory.
pub(crate) fn is_short(error: &io::Error) -> bool {
    let no_descriptors = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory
    ) || no_descriptors.contains(&error.raw_os_error())
}

/// Repeats a small piece of work until there is what it takes, or `stop` says that it is not needed any more.
pub(crate) fn until_room<T>(stop: &AtomicBool, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match write() {
            Err(error) if is_short(&error) && !stop.load(Ordering::Relaxed) => {
                std::thread::sleep(RETRY_AFTER);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn answers_are_believed_for_a_while_only() {
        let free = Arc::new(AtomicU64::new(100));
        let clock = Clock::stepped(Moment::from_secs(1));
        let probe: Probe = {
            let free = free.clone();
            Arc::new(move || Ok(Room { free: free.load(Ordering::SeqCst), total: 1000 }))
        };
        let space = Space::new(probe, clock.clone(), Some(50), 0).unwrap();
        assert!(space.is_there());
        free.store(49, Ordering::SeqCst);
        assert!(space.is_there(), "still believed");
        clock.advance(PROBE_LIFETIME);
        assert!(!space.is_there());
        free.store(50, Ordering::SeqCst);
        clock.advance(PROBE_LIFETIME);
        assert!(space.is_there());
    }

    #[test]
    fn what_may_come_back_is_told_from_what_will_not() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE, Errno::NOMEM] {
            assert!(is_short(&errno.into()), "{errno}");
        }
        for errno in [Errno::IO, Errno::ROFS, Errno::ACCESS, Errno::NOENT] {
            assert!(!is_short(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn the_file_system_answers() {
        let room = probe_of(Path::new("/"))().unwrap();
        assert!(room.total >= room.free && room.total > 0);
    }
}
