//! Prepares the next log file before the present one is full, on a thread of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use strongroom_stdx::Entropy;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::segment::Segment;
use crate::files;
use crate::space::{RETRY_AFTER, is_short};

/// The name of the file that is being prepared.
pub(crate) const NEXT: &str = "next";
/// The name of a file that is kept to be used again.
pub(crate) const SPARE: &str = "spare";

enum State {
    /// To be prepared: the file of this number.
    Wanted(u64),
    Ready(Segment),
    /// There was no room for the file of this number, or no descriptor.
    Full(u64),
    Failed(io::ErrorKind, String),
    Idle,
}

struct Shared {
    directory: PathBuf,
    size: u64,
    entropy: Entropy,
    state: Mutex<State>,
    changed: Condvar,
    /// Told, too, when the state changes: for those who wait in async code.
    settled: Notify,
    stop: AtomicBool,
}

/// Prepares log files ahead of need.
pub(crate) struct NextSegment {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl NextSegment {
    /// Starts the thread.
    pub(crate) fn start(directory: &Path, size: u64, entropy: Entropy) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            size,
            entropy,
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            settled: Notify::new(),
            stop: AtomicBool::new(false),
        });
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("raft-log-next".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for a file; answered by [`NextSegment::take`].
    pub(crate) fn want(&self, number: u64) {
        self.shared.set(State::Wanted(number));
    }

    /// True if a file is ready to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.shared.lock(), State::Ready(_))
    }

    /// True if there was no room for the file; tries again in the background if so.
    pub(crate) fn is_full(&self) -> bool {
        let mut state = self.shared.lock();
        let State::Full(number) = *state else { return false };
        *state = State::Wanted(number);
        self.shared.changed.notify_all();
        true
    }

    /// True if the file could not be made for another reason than room; [`NextSegment::take`] will tell.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.shared.lock(), State::Failed(..))
    }

    /// Resolves when a file has become ready, or could not be made.
    pub(crate) fn settled(&self) -> Notified<'_> {
        self.shared.settled.notified()
    }

    /// Wakes who waits in [`NextSegment::settled`].
    pub(crate) fn wake(&self) {
        self.shared.settled.notify_waiters();
    }

    /// Waits for the file that was asked for, for as long as there is no room for it.
    pub(crate) fn take(&self) -> io::Result<Segment> {
        let mut state = self.shared.lock();
        loop {
            if self.shared.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("the log is closed"));
            }
            match std::mem::replace(&mut *state, State::Idle) {
                State::Ready(segment) => return Ok(segment),
                State::Failed(kind, reason) => return Err(io::Error::new(kind, reason)),
                State::Idle => return Err(io::Error::other("no log file was asked for")),
                State::Full(number) => {
                    let waited = self.shared.changed.wait_timeout(state, RETRY_AFTER);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    *state = State::Wanted(number);
                    self.shared.changed.notify_all();
                }
                wanted @ State::Wanted(_) => {
                    *state = wanted;
                    state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Ends the thread and those that wait for it.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let guard = self.shared.lock();
        self.shared.changed.notify_all();
        drop(guard);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for NextSegment {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
        self.settled.notify_waiters();
    }

    fn run(&self) {
        let mut told = false;
        loop {
            let mut state = self.lock();
            let number = loop {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                match *state {
                    State::Wanted(number) => break number,
                    _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            let made = self.make(number);
            match &made {
                Err(error) if is_short(error) && !told => {
                    tracing::error!(%error, "the next log file cannot be created: out of space; writes wait or fail");
                    told = true;
                }
                Ok(_) => told = false,
                Err(_) => {}
            }
            self.set(match made {
                Ok(segment) => State::Ready(segment),
                Err(error) if is_short(&error) => State::Full(number),
                Err(error) => State::Failed(error.kind(), error.to_string()),
            });
        }
    }

    fn make(&self, number: u64) -> io::Result<Segment> {
        prepare(&self.directory, number, self.size, &self.entropy)
    }
}

/// Prepares a log file under a passing name, out of the spare one where there is one.
pub(crate) fn prepare(directory: &Path, number: u64, size: u64, entropy: &Entropy) -> io::Result<Segment> {
    let salt = u64::from_le_bytes(entropy.bytes().map_err(io::Error::other)?);
    let spare = directory.join(SPARE);
    let found = std::fs::metadata(&spare).ok();
    let usable = found.as_ref().is_some_and(|found| found.len() == size);
    if found.is_some() && !usable {
        files::remove_file(&spare)?;
    }
    Segment::prepare(&directory.join(NEXT), number, size, salt, usable.then_some(spare.as_path()))
}
