//! The write-ahead log: what the consensus core has accepted, before it is applied.
//!
//! Entries are appended to files of a fixed size ([`segment`]), gathered into frames that are synced one by one
//! ([`writer`]); the next file is prepared ahead ([`next`]). Nothing written is ever changed: entries that another
//! leader's replace are voided by a later record, and files whose entries are all covered by a checkpoint are given
//! up whole.

mod head;
mod index;
mod next;
mod record;
mod recover;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, entry::RaftEntry};
use tokio::sync::{Notify, oneshot};

use self::head::{Committed, paths};
use self::index::{Held, Index, read_all};
use self::next::{NextSegment, prepare};
use self::record::weight;
use self::segment::{FRAME_HEADER, HEADER, Segment};
use self::writer::{Done, Job, Writer};
use crate::files::make_private;
use crate::options::{OpenError, Options};
use crate::types::{Entry, LogId, Types, Vote};
use crate::watched;

/// Entries read from the log at a time, where the reader does not say.
const READ_AT_ONCE: usize = 64;
/// Entries read at a time for a message to a peer, and bytes after which it takes no more.
const READ_STEP: usize = 8;
const MESSAGE: usize = 1 << 20;
/// Bytes after which the log is said to have grown.
const TELL_EVERY: u64 = 256 << 10;
/// Bytes of a record beside its payload, at most, with its share of a frame.
const RECORD_OVERHEAD: u64 = 64;

/// The state that the writing thread and everybody else share.
pub(crate) struct Shared {
    /// Held for each append, and never while anything is freed, sorted or logged that grows.
    index: watched::Mutex<Index>,
    committed: Mutex<Committed>,
    next: NextSegment,
    keep_in_memory: usize,
    segment_size: u64,
    /// Bytes left in the file that is being filled.
    remaining: AtomicU64,
    /// Bytes written since the store was opened.
    written: AtomicU64,
    grown: Notify,
    stop: AtomicBool,
}

impl Shared {
    fn index(&self) -> watched::Guard<'_, Index> {
        self.index.lock()
    }

    fn note_written(&self, bytes: u64, remaining: u64) {
        self.remaining.store(remaining, Ordering::Release);
        let before = self.written.fetch_add(bytes, Ordering::AcqRel);
        if before / TELL_EVERY != before.saturating_add(bytes) / TELL_EVERY {
            self.grown.notify_one();
        }
    }

    fn read(&self, range: impl RangeBounds<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        let found = self.index().find(&range, limit)?;
        read_all(found)
    }
}

/// The log, as the consensus core and the rest of the store use it.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    directory: Arc<Path>,
    /// The number of the file after the one that was current when the log was opened.
    after_current: u64,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// There is no room for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Log {
    /// Opens the log in `directory`, made where there is none.
    pub(crate) fn open(directory: &Path, options: &Options) -> Result<Self, OpenError> {
        let io = || OpenError::io(directory);
        make_private(directory).map_err(io())?;
        let (_, committed_path) = paths(directory);
        let recovered = recover::recover(directory)?;
        let mut index = recovered.index;
        let current = match recovered.last {
            Some(segment) => segment,
            None => Self::first_segment(directory, &mut index, options).map_err(io())?,
        };
        let next =
            NextSegment::start(directory, options.segment_size, options.entropy.clone()).map_err(io())?;
        let after_current = current.number.saturating_add(1);
        let shared = Arc::new(Shared {
            index: watched::Mutex::new(index),
            committed: Mutex::new(Committed::open(&committed_path)?),
            next,
            keep_in_memory: options.log_cache_size,
            segment_size: options.segment_size,
            remaining: AtomicU64::new(current.remaining()),
            written: AtomicU64::new(0),
            grown: Notify::new(),
            stop: AtomicBool::new(false),
        });
        let (jobs, receiver) = mpsc::channel();
        let writer = Writer {
            shared: shared.clone(),
            directory: directory.to_owned(),
            current,
            jobs: receiver,
            frame: vec![0; FRAME_HEADER],
            places: Vec::new(),
        };
        let thread =
            std::thread::Builder::new().name("raft-log".into()).spawn(move || writer.run()).map_err(io())?;
        let directory = Arc::from(directory);
        Ok(Self { shared, jobs, directory, after_current, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    fn first_segment(directory: &Path, index: &mut Index, options: &Options) -> io::Result<Segment> {
        let mut segment = prepare(directory, 1, options.segment_size, &options.entropy)?;
        segment.take_place(directory, &AtomicBool::new(true))?;
        index.files.insert(1, Held { reading: segment.reading.clone(), newest: None });
        Ok(segment)
    }

    /// The last entry, or where the log was purged when there is none.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.index().last()
    }

    /// The position up to which the log has been deleted.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.shared.index().head.purged
    }

    /// Bytes of all files of the log.
    pub(crate) fn size(&self) -> u64 {
        let files = u64::try_from(self.shared.index().files.len()).unwrap_or(u64::MAX);
        files.saturating_mul(self.shared.segment_size)
    }

    /// The last entry that was saved as committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.shared.committed.lock().unwrap_or_else(PoisonError::into_inner).get()
    }

    /// Bytes written since the log was opened.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// Resolves when the log has grown by a good piece since the last time.
    pub(crate) async fn grown(&self) {
        self.shared.grown.notified().await;
    }

    /// Resolves when `bytes` of payload can be written without asking the file system for room, together with the
    /// `under_way` bytes that were promised room before and may not be written yet.
    pub(crate) async fn reserve(&self, bytes: u64, under_way: &AtomicU64) -> Result<(), NoRoom> {
        loop {
            let settled = self.shared.next.settled();
            tokio::pin!(settled);
            // Registered before the state is looked at, or a change in between would be missed.
            settled.as_mut().enable();
            let needed = bytes.saturating_add(RECORD_OVERHEAD);
            let needed = needed.saturating_add(under_way.load(Ordering::Acquire));
            let a_file = self.shared.segment_size.saturating_sub(HEADER);
            if needed <= self.shared.remaining.load(Ordering::Acquire)
                || (needed <= a_file && self.shared.next.is_ready())
            {
                return Ok(());
            }
            if self.shared.next.is_full() {
                return Err(NoRoom);
            }
            if self.shared.next.has_failed() {
                // Whoever writes will hear why.
                return Ok(());
            }
            settled.await;
        }
    }

    /// Tells who waits in [`Log::reserve`] that less is under way.
    pub(crate) fn released(&self) {
        self.shared.next.wake();
    }

    /// Deletes the file that is kept to be used again.
    pub(crate) async fn drop_spare(&self) {
        if let Err(error) = self.ask(Job::DropSpare).await {
            tracing::debug!(%error, "the spare log file was not removed");
        }
    }

    /// Has the next file prepared. Until then a log that was there is only read, so that a directory that is refused
    /// stays as it is.
    pub(crate) fn prepare_next(&self) {
        recover::keep_unused(&self.directory);
        self.shared.next.want(self.after_current);
    }

    /// Returns when the next file is prepared.
    #[cfg(test)]
    pub(crate) fn next_is_ready(&self) {
        while !self.shared.next.is_ready() {
            // Where there was no room, it is looked for again.
            self.shared.next.is_full();
            assert!(!self.shared.next.has_failed(), "{:?}", self.shared.next.take().err());
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }

    /// Ends waiting for room: what waits fails.
    pub(crate) fn wait_no_longer(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Finishes what was handed over and closes the files. Blocks.
    pub(crate) fn close(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.jobs.send(Job::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Ends a wait for room, too, which nothing would end otherwise.
        self.shared.next.stop();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    async fn ask(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let closed = || io::Error::other("the log is closed");
        self.jobs.send(job(done)).map_err(|_gone| closed())?;
        answer.await.map_err(|_gone| closed())?
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.shared.read(range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (mut entries, mut bytes) = (Vec::new(), 0usize);
        while entries.len() < READ_AT_ONCE && bytes < MESSAGE {
            let next = start.saturating_add(u64::try_from(entries.len()).unwrap_or(u64::MAX));
            let read = self.shared.read(next..end, READ_STEP)?;
            if read.is_empty() {
                break;
            }
            bytes = read.iter().map(weight).fold(bytes, usize::saturating_add);
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let found = self.shared.index().find(&range, usize::MAX);
        // Read in steps, so that a long range is never in memory as a whole.
        let steps = found.map(|mut found| {
            let mut steps = Vec::new();
            while found.len() > READ_AT_ONCE {
                let rest = found.split_off(READ_AT_ONCE);
                steps.push(std::mem::replace(&mut found, rest));
            }
            steps.push(found);
            steps
        });
        let entries = match steps {
            Ok(steps) => Ok(steps.into_iter().flat_map(|step| match read_all(step) {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })),
            Err(error) => Err(error),
        };
        match entries {
            Ok(entries) => futures::future::Either::Left(futures::stream::iter(entries)),
            Err(error) => futures::future::Either::Right(futures::stream::iter([Err(error)])),
        }
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.index().head.vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let index = self.shared.index();
        Ok(LogState { last_purged_log_id: index.head.purged, last_log_id: index.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.ask(|done| Job::Vote(*vote, done)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(id) = committed else { return Ok(()) };
        self.shared.committed.lock().unwrap_or_else(PoisonError::into_inner).set(id)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        // Of what was committed, a peer may have lost the end in a power cut: it is sent again by the others.
        let last = self.last();
        Ok(self
            .committed()
            .and_then(|id| if Some(id.index) > last.map(|last| last.index) { last } else { Some(id) }))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut size = 0usize;
        {
            let mut index = self.shared.index();
            for entry in &entries {
                if index.last().is_some_and(|last| last.index.checked_add(1) != Some(entry.index())) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "a gap in the log"));
                }
                let weight = weight(entry);
                size = size.saturating_add(weight);
                index.push(entry.clone(), weight);
            }
        }
        let job = Job::Append(entries, size, callback);
        self.jobs.send(job).map_err(|_gone| io::Error::other("the log is closed"))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.ask(|done| Job::Truncate(last_log_id, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.ask(|done| Job::Purge(log_id, done)).await
    }
}
