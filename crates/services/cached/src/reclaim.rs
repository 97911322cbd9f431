//! Freeing on a thread of its own: commits and requests do not wait while what was kept is freed and wiped.

use std::any::Any;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

enum Work {
    Free(Box<dyn Any + Send>),
    /// All that came before has been freed once this is dropped.
    Tell(Sender<()>),
}

/// The thread, from the first value on that is let go.
#[derive(Default)]
pub(crate) struct Reclaimer(OnceLock<Option<Sender<Work>>>);

impl Reclaimer {
    /// Frees `gone`; here where there is no thread to be had.
    pub(crate) fn free<T: Send + 'static>(&self, gone: T) {
        if let Some(thread) = self.0.get_or_init(start) {
            drop(thread.send(Work::Free(Box::new(gone))));
        }
    }

    /// Waits until everything that was given before is freed.
    pub(crate) fn finish(&self) {
        let Some(Some(thread)) = self.0.get() else { return };
        let (tell, told) = channel();
        if thread.send(Work::Tell(tell)).is_ok() {
            // Nothing is ever sent: the other end is dropped.
            let _ = told.recv();
        }
    }
}

fn start() -> Option<Sender<Work>> {
    let (sender, receiver) = channel();
    let work = move || {
        for work in receiver {
            match work {
                Work::Free(gone) => drop(gone),
                Work::Tell(done) => drop(done),
            }
        }
    };
    let thread = std::thread::Builder::new().name("cached-reclaim".to_owned()).spawn(work);
    thread.is_ok().then_some(sender)
}
