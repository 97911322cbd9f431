//! The file under the table, which waits for room instead of failing.
//!
//! The table cannot be used any more once a write to its file has failed. A full disk passes; so the thread that
//! merges into the table waits in the write until there is room again. Readers never wait here.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use redb::StorageBackend;

use crate::files::File;
use crate::space::{RETRY_AFTER, is_short};

/// The thread that waits for space, and whether it should still wait.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    waiter: Mutex<Option<ThreadId>>,
    stop: AtomicBool,
}

impl Patience {
    /// From now on the calling thread waits where there is no room.
    pub(crate) fn wait_here(&self) {
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current().id());
    }

    /// Ends all waiting.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// No waiting at all.
    pub(crate) fn none() -> Self {
        Self { stop: AtomicBool::new(true), ..Self::default() }
    }

    fn is_wanted(&self) -> bool {
        let waiter = *self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
        waiter == Some(std::thread::current().id()) && !self.stop.load(Ordering::Relaxed)
    }

    fn until_room<T>(&self, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        Self::wait_while(|| self.is_wanted(), write)
    }

    /// Opens a file once there is a descriptor for it. Whoever opens one waits: nothing goes on without it.
    pub(crate) fn until_descriptor<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        Self::wait_while(|| !self.stop.load(Ordering::Relaxed), open)
    }

    fn wait_while<T>(is_wanted: impl Fn() -> bool, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut told = false;
        loop {
            match write() {
                Err(error) if is_short(&error) && is_wanted() => {
                    if !told {
                        tracing::error!(%error, "out of space: the table cannot be written yet");
                        told = true;
                    }
                    std::thread::sleep(RETRY_AFTER);
                }
                done => return done,
            }
        }
    }
}

/// Bytes that may be written before the disk is made to take them. A large flush at once would hold up the log's
/// small syncs behind it.
const FLUSH_EVERY: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Backend {
    file: File,
    patience: Arc<Patience>,
    unflushed: AtomicU64,
}

impl Backend {
    pub(crate) fn open(path: &Path, patience: Arc<Patience>) -> io::Result<Self> {
        let file = patience.until_descriptor(|| File::open(path))?;
        Ok(Self { file, patience, unflushed: AtomicU64::new(0) })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.patience.until_room(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unflushed.store(0, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.patience.until_room(|| self.file.write_all_at(data, offset))?;
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let unflushed = self.unflushed.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        if unflushed >= FLUSH_EVERY { self.sync_data() } else { Ok(()) }
    }
}
