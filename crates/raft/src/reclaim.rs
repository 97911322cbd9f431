//! The thread that frees what has grown large.
//!
//! Freeing a hundred thousand entries takes tens of milliseconds, all the more because freed memory is wiped. The holder of the
//! last reference would pay for it: a thread that holds the lock every apply needs, or a worker of the runtime with other requests
//! behind it. So the large values of this crate give themselves to this thread when they are dropped. A thread is better than a
//! share of the work with each apply: the memory is free at once, and no apply pays for it. It does not decide when a value may go;
//! that follows from its references. If the thread has ended, a value is freed where it is dropped.

use std::io;
use std::sync::mpsc;

type Garbage = Box<dyn Send>;

/// A handle to the thread, which ends with its last handle.
#[derive(Clone)]
pub(crate) struct Reclaimer(mpsc::Sender<Garbage>);

impl Reclaimer {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, garbage) = mpsc::channel::<Garbage>();
        std::thread::Builder::new()
            .name("raft-reclaim".into())
            .spawn(move || garbage.into_iter().for_each(drop))?;
        Ok(Self(sender))
    }

    /// Frees a value on the thread.
    pub(crate) fn free(&self, garbage: impl Send + 'static) {
        let _ = self.0.send(Box::new(garbage));
    }
}
