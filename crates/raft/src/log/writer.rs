//! The thread that writes the log: one frame and one sync for all entries that wait.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::Shared;
use super::head::paths;
use super::index::{Held, Place};
use super::next::SPARE;
use super::record::{put_entry, put_void_from};
use super::segment::{FRAME_HEADER, Segment};
use crate::codec::put_bytes;
use crate::files;
use crate::space::until_room;
use crate::types::{Entry, LogId, Types, Vote};

/// Entries are gathered into one frame up to about this many bytes.
const GATHER: usize = 4 << 20;

/// Reports the outcome to the caller.
pub(crate) type Done = oneshot::Sender<io::Result<()>>;

/// A job of the thread; jobs are done in order.
pub(crate) enum Job {
    Append(Vec<Entry>, usize, IOFlushed<Types>),
    Vote(Vote, Done),
    /// Void the entries after this position.
    Truncate(Option<LogId>, Done),
    Purge(LogId, Done),
    DropSpare(Done),
    Stop,
}

pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) directory: PathBuf,
    pub(crate) current: Segment,
    pub(crate) jobs: Receiver<Job>,
    /// The frame that is being put together, its header's room included.
    pub(crate) frame: Vec<u8>,
    /// The entries in it.
    pub(crate) places: Vec<Place>,
}

impl Writer {
    /// Works until told to stop, or until no caller is left.
    pub(crate) fn run(mut self) {
        let mut next = self.jobs.recv().ok();
        while let Some(job) = next.take() {
            match job {
                Job::Append(entries, size, flushed) => next = self.append(&entries, size, flushed),
                Job::Vote(vote, done) => self.answer(done, |writer| writer.save_vote(vote)),
                Job::Truncate(after, done) => self.answer(done, |writer| writer.truncate(after)),
                Job::Purge(upto, done) => self.answer(done, |writer| writer.purge(upto)),
                Job::DropSpare(done) => self.answer(done, |writer| writer.drop_spare()),
                Job::Stop => return,
            }
            next = next.or_else(|| self.jobs.recv().ok());
        }
    }

    fn answer(&mut self, done: Done, work: impl FnOnce(&mut Self) -> io::Result<()>) {
        let result = work(self);
        let _ = done.send(result);
    }

    /// Writes these entries and those that wait behind them. Returns the first job that is not an append.
    fn append(&mut self, entries: &[Entry], mut size: usize, flushed: IOFlushed<Types>) -> Option<Job> {
        let mut waiting = vec![flushed];
        let mut result = self.put_all(entries);
        let next = loop {
            if size >= GATHER || result.is_err() {
                break None;
            }
            match self.jobs.try_recv() {
                Ok(Job::Append(entries, more, flushed)) => {
                    size = size.saturating_add(more);
                    waiting.push(flushed);
                    result = self.put_all(&entries);
                }
                Ok(other) => break Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break None,
            }
        };
        let result = result.and_then(|()| self.write_frame());
        if result.is_err() {
            self.frame.truncate(FRAME_HEADER);
            self.places.clear();
        }
        // The newest first: it covers the others, so that they need not be told apart.
        for flushed in waiting.into_iter().rev() {
            flushed.io_completed(result.as_ref().copied().map_err(copy_error));
        }
        next
    }

    fn put_all(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut record = Vec::new();
        for entry in entries {
            record.clear();
            put_entry(&mut record, entry)?;
            self.put(&record, Some(entry.log_id))?;
        }
        Ok(())
    }

    /// Adds a record to the frame; writes the frame first where there would not be room for both.
    fn put(&mut self, record: &[u8], log_id: Option<LogId>) -> io::Result<()> {
        // The length before the record takes at most ten bytes.
        let needed = record.len().saturating_add(10);
        if !self.fits(needed) {
            self.write_frame()?;
            if !self.fits(needed) {
                self.rotate()?;
            }
        }
        let at = self.frame.len().saturating_sub(FRAME_HEADER);
        put_bytes(&mut self.frame, record);
        if let Some(log_id) = log_id {
            let place =
                Place { log_id, segment: self.current.number, frame: self.current.position, record: at };
            self.places.push(place);
        }
        Ok(())
    }

    fn fits(&self, more: usize) -> bool {
        u64::try_from(self.frame.len().saturating_add(more))
            .is_ok_and(|whole| whole <= self.current.remaining())
    }

    /// Writes and syncs what was put together.
    fn write_frame(&mut self) -> io::Result<()> {
        if self.frame.len() <= FRAME_HEADER {
            return Ok(());
        }
        self.current.append(&mut self.frame)?;
        let written = u64::try_from(self.frame.len()).unwrap_or(u64::MAX);
        self.frame.truncate(FRAME_HEADER);
        let forgotten = {
            let mut index = self.shared.index();
            index.settle(self.places.drain(..), self.shared.keep_in_memory)
        };
        drop(forgotten);
        self.shared.note_written(written, self.current.remaining());
        Ok(())
    }

    /// Continues in the next file.
    fn rotate(&mut self) -> io::Result<()> {
        let mut next = self.shared.next.take()?;
        next.take_place(&self.directory, &self.shared.stop)?;
        self.shared.next.want(next.number.saturating_add(1));
        let held = Held { reading: next.reading.clone(), newest: None };
        self.shared.index().files.insert(next.number, held);
        self.shared.remaining.store(next.remaining(), Ordering::Release);
        self.current = next;
        Ok(())
    }

    fn save_vote(&mut self, vote: Vote) -> io::Result<()> {
        let mut head = self.shared.index().head.clone();
        head.vote = Some(vote);
        let (path, _) = paths(&self.directory);
        until_room(&self.shared.stop, || head.write(&path))?;
        self.shared.index().head = head;
        Ok(())
    }

    fn truncate(&mut self, after: Option<LogId>) -> io::Result<()> {
        let from = after.map_or(0, |after| after.index.saturating_add(1));
        let mut record = Vec::new();
        put_void_from(&mut record, from);
        self.put(&record, None)?;
        self.write_frame()?;
        let void = {
            let mut index = self.shared.index();
            index.void_from(from)
        };
        drop(void);
        Ok(())
    }

    /// Deletes entries, and the files that hold no others.
    fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut head = self.shared.index().head.clone();
        head.purged = Some(upto);
        let (path, _) = paths(&self.directory);
        until_room(&self.shared.stop, || head.write(&path))?;
        let (purged, files): (_, Vec<u64>) = {
            let mut index = self.shared.index();
            let purged = index.purge(upto);
            let older = index.files.range(..self.current.number);
            // From the front only: a file that voids entries of an earlier one must outlive it.
            let older = older.take_while(|(_, held)| held.newest <= Some(upto.index));
            (purged, older.map(|(number, _)| *number).collect())
        };
        drop(purged);
        for number in files {
            let closed = self.shared.index().files.remove(&number);
            drop(closed);
            self.give_up(number)?;
        }
        Ok(())
    }

    /// Removes the file that is kept to be used again, unless it is about to be.
    fn drop_spare(&self) -> io::Result<()> {
        let spare = self.directory.join(SPARE);
        // With the next file there, nobody looks for the spare one before this thread asks for another.
        if self.shared.next.is_ready() && spare.exists() {
            files::remove_file(&spare)?;
        }
        Ok(())
    }

    fn give_up(&self, number: u64) -> io::Result<()> {
        let path = self.directory.join(super::segment::file_name(number));
        let spare = self.directory.join(SPARE);
        let reusable = fs::metadata(&path)?.len() == self.current.size && !spare.exists();
        if reusable { files::rename(&path, &spare) } else { files::remove_file(&path) }
    }
}

/// Errors of the system do not clone; each who waits gets the same kind and text.
fn copy_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
