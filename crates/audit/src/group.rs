//! Group writes: lines from many requests are appended together.
//!
//! A request that finds nobody writing writes at once, on its own thread: an idle device costs one `write`. A request that
//! arrives meanwhile leaves its line and waits; the writer then writes all waiting lines in one go. So a device never has a
//! queue of threads blocked on it, and the busier it is, the more lines share a `write`.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// The time that a line waits for a sink that may block, as a pipe does whose reader has stopped. Beyond it the sink counts as
/// stalled and refuses lines, until it takes what was left to it.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Batches that a request writes for others before a thread of its own takes over, so that no request is held up
/// for long by being the one that writes.
const ROUNDS: usize = 8;

/// The target that lines are appended to.
pub(crate) trait Sink: Send + 'static {
    /// Appends whole lines.
    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite>;

    /// True if [`Sink::append`] may take long, as a pipe does whose reader is slow, so that it must not be called
    /// on a thread that serves requests.
    fn may_block(&self) -> bool;
}

/// An append that failed part of the way.
#[derive(Debug)]
pub(crate) struct PartialWrite {
    /// Bytes written nevertheless.
    pub(crate) written: usize,
    /// The error.
    pub(crate) source: io::Error,
}

/// A line's outcome. One cause can fail many lines.
pub(crate) type Appended = Result<(), Arc<io::Error>>;

/// A sink that many requests append to.
pub(crate) struct GroupWriter<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    queue: Mutex<Queue>,
    sink: Mutex<S>,
    /// The sink is one that may block.
    may_block: AtomicBool,
    /// It has blocked for too long, and still does.
    stalled: AtomicBool,
}

#[derive(Default)]
struct Queue {
    /// Somebody is writing, and will look at the queue before leaving.
    writing: bool,
    batch: Batch,
}

#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    /// For each line where it ends, and who waits for it.
    waiting: Vec<(usize, oneshot::Sender<Appended>)>,
}

enum Turn {
    Write,
    Wait(oneshot::Receiver<Appended>),
}

impl<S: Sink> GroupWriter<S> {
    pub(crate) fn new(sink: S) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                may_block: AtomicBool::new(sink.may_block()),
                stalled: AtomicBool::new(false),
                sink: Mutex::new(sink),
            }),
        }
    }

    /// Appends one line.
    pub(crate) async fn append(&self, line: &[u8]) -> Appended {
        if self.shared.stalled.load(Ordering::Relaxed) {
            return Err(stalled());
        }
        match self.turn(line) {
            Turn::Write => {
                let appended = self.shared.append_one(line);
                self.write_for_others();
                appended
            }
            // A sender is dropped unsent only when the runtime shuts down.
            Turn::Wait(mut outcome) => {
                let interrupted = |_| Err(Arc::new(io::ErrorKind::Interrupted.into()));
                if !self.shared.may_block.load(Ordering::Relaxed) {
                    return outcome.await.unwrap_or_else(interrupted);
                }
                match tokio::time::timeout(STALL_TIMEOUT, &mut outcome).await {
                    Ok(outcome) => outcome.unwrap_or_else(interrupted),
                    Err(_elapsed) => {
                        self.shared.stalled.store(true, Ordering::Relaxed);
                        // It may have taken the line at this very moment.
                        outcome.try_recv().unwrap_or_else(|_| Err(stalled()))
                    }
                }
            }
        }
    }

    /// Runs `change` on the sink, between appends, on a thread that may wait for it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.shared);
        Ok(tokio::task::spawn_blocking(move || change(&mut lock(&shared.sink))).await?)
    }

    fn turn(&self, line: &[u8]) -> Turn {
        let mut queue = lock(&self.shared.queue);
        let idle = !std::mem::replace(&mut queue.writing, true);
        if idle && self.shared.writes_at_once() {
            return Turn::Write;
        }
        let (sender, receiver) = oneshot::channel();
        queue.batch.lines.extend_from_slice(line);
        let end = queue.batch.lines.len();
        queue.batch.waiting.push((end, sender));
        drop(queue);
        if idle {
            self.write_on_a_thread();
        }
        Turn::Wait(receiver)
    }

    fn write_for_others(&self) {
        for _ in 0..ROUNDS {
            if !self.shared.append_batch() {
                return;
            }
        }
        self.write_on_a_thread();
    }

    fn write_on_a_thread(&self) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || while shared.append_batch() {});
    }
}

impl<S: Sink> Shared<S> {
    /// True if the sink can be written to on this thread. It cannot while it is being changed.
    fn writes_at_once(&self) -> bool {
        self.sink.try_lock().is_ok_and(|sink| !sink.may_block())
    }

    fn append_one(&self, line: &[u8]) -> Appended {
        lock(&self.sink).append(line).map_err(|partial| Arc::new(partial.source))
    }

    /// Appends the lines left so far. If there are none, writing ends and this returns false.
    fn append_batch(&self) -> bool {
        let batch = {
            let mut queue = lock(&self.queue);
            if queue.batch.waiting.is_empty() {
                queue.writing = false;
                return false;
            }
            std::mem::take(&mut queue.batch)
        };
        let appended = {
            let mut sink = lock(&self.sink);
            self.may_block.store(sink.may_block(), Ordering::Relaxed);
            sink.append(&batch.lines)
        };
        self.stalled.store(false, Ordering::Relaxed);
        let (written, failure) = match appended {
            Ok(()) => (batch.lines.len(), None),
            Err(partial) => (partial.written, Some(Arc::new(partial.source))),
        };
        for (end, waiter) in batch.waiting {
            let outcome = match &failure {
                Some(source) if end > written => Err(Arc::clone(source)),
                _ => Ok(()),
            };
            // Nobody waits any more if the request was abandoned; its line stands all the same.
            drop(waiter.send(outcome));
        }
        true
    }
}

fn stalled() -> Arc<io::Error> {
    Arc::new(io::Error::new(io::ErrorKind::TimedOut, "it takes no lines at present"))
}

/// No code panics while it holds one of these locks, and what they guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "tests/group.rs"]
mod tests;
