//! The state after a crash at every step that the log and the files beside it take: all that was acknowledged, nothing
//! that was never written, and something to go on with.
//!
//! A failure names its seed; `STRONGROOM_CRASH_SEED` runs the same again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use strongroom_stdx::Entropy;
use strongroom_storage::{Commit, Write};
use tempfile::TempDir;

use super::sync_directory;
use super::trace::{Dice, Disk, Left, Trace};
use crate::Options;
use crate::directory::Directory;
use crate::log::Log;
use crate::types::{Command, Entry, LeaderId, LogId, Vote};

const SEGMENT: u64 = 4096;
/// The largest entry: two of them fit into a file of the log, so that no step fills more than one.
const MAX_BYTES: u64 = 1200;

/// The content of a log.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    entries: Vec<Entry>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl Held {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn term(&self) -> u64 {
        self.vote
            .map_or(1, |vote| vote.leader_id().term)
            .max(self.last().map_or(1, |last| last.leader_id.term))
    }
}

/// The request to a log.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote),
    Committed(LogId),
}

impl Step {
    /// The possible contents of the log while the step is under way, and at last when it is done.
    fn stages(&self, before: &Held) -> Vec<Held> {
        let mut held = before.clone();
        match self {
            Self::Append(entries) => {
                let added = entries.iter().map(|entry| {
                    held.entries.push(entry.clone());
                    held.clone()
                });
                return added.collect();
            }
            Self::Truncate(after) => {
                held.entries.retain(|entry| after.is_some_and(|after| entry.log_id.index <= after.index));
            }
            Self::Purge(upto) => {
                held.entries.retain(|entry| entry.log_id.index > upto.index);
                held.purged = Some(*upto);
            }
            Self::Vote(vote) => held.vote = Some(*vote),
            Self::Committed(_) => {}
        }
        vec![held]
    }
}

/// A step that was taken, and between which numbers of steps of the trace.
struct Taken {
    begun: usize,
    ended: usize,
    before: Held,
    stages: Vec<Held>,
}

/// The history of a log while it was traced.
struct Run {
    trace: Arc<Trace>,
    /// The possible contents before the log has been opened.
    before: Vec<Held>,
    /// After how many steps of the trace it was open, and what it held.
    opened: (usize, Held),
    taken: Vec<Taken>,
    /// The entries that were ever said to be committed.
    committed: Vec<LogId>,
}

fn options(root: &Path) -> Options {
    let mut options = Options::new(root);
    options.segment_size = SEGMENT;
    options.log_cache_size = 0;
    options
}

/// Opens the files in the order in which the store does, without the table.
fn open(root: &Path) -> (Directory, Log) {
    let options = options(root);
    let directory = Directory::open(&options).unwrap();
    let log = Log::open(&root.join("log"), &options).unwrap();
    sync_directory(root).unwrap();
    log.prepare_next();
    (directory, log)
}

async fn held_by(log: &Log) -> Held {
    let mut log = log.clone();
    let entries = log.try_get_log_entries(..).await.unwrap();
    let vote = log.read_vote().await.unwrap();
    Held { entries, purged: log.purged(), vote }
}

fn entry(log_id: LogId, size: u64) -> Entry {
    let fill = u8::try_from(log_id.index % 251).unwrap();
    let value = Bytes::from(vec![fill; usize::try_from(size).unwrap()]);
    let write = Write { key: Bytes::from_static(b"key"), value: Some(value) };
    let commits = vec![Commit { writes: vec![write], ..Commit::default() }];
    Entry { log_id, payload: EntryPayload::Normal(Command::Batch(commits.into())) }
}

fn some_entries(held: &Held, term: u64, dice: &mut Dice) -> Vec<Entry> {
    let (mut entries, mut room) = (Vec::new(), MAX_BYTES);
    for index in held.next_index()..held.next_index() + 1 + dice.below(3) {
        let size = dice.below(room);
        room -= size;
        let log_id = LogId { leader_id: LeaderId { term, node_id: 1 }, index };
        entries.push(entry(log_id, size));
        if room < 100 {
            break;
        }
    }
    entries
}

fn draw(held: &Held, committed: Option<LogId>, dice: &mut Dice) -> Step {
    let term = held.term();
    let choose = |entries: &[Entry], dice: &mut Dice| {
        let count = u64::try_from(entries.len()).unwrap();
        (count > 0).then(|| entries[usize::try_from(dice.below(count)).unwrap()].log_id)
    };
    let open: Vec<Entry> = held
        .entries
        .iter()
        .filter(|entry| committed.is_none_or(|committed| entry.log_id.index > committed.index))
        .cloned()
        .collect();
    match dice.below(12) {
        0 => Step::Vote(Vote::new(term + dice.below(2), 1 + dice.below(3))),
        1 => choose(&open, dice).map_or_else(
            || Step::Append(some_entries(held, term, dice)),
            |after| Step::Truncate(Some(after)),
        ),
        2 if open.len() < held.entries.len() => {
            let decided = &held.entries[..held.entries.len() - open.len()];
            choose(decided, dice).map(Step::Purge).unwrap()
        }
        3 | 4 if !held.entries.is_empty() => choose(&open, dice)
            .or(committed)
            .map_or_else(|| Step::Committed(held.last().unwrap()), Step::Committed),
        _ => Step::Append(some_entries(held, term, dice)),
    }
}

async fn take(log: &mut Log, step: &Step) {
    match step.clone() {
        Step::Append(entries) => log.blocking_append(entries).await.unwrap(),
        Step::Truncate(after) => log.truncate_after(after).await.unwrap(),
        Step::Purge(upto) => log.purge(upto).await.unwrap(),
        Step::Vote(vote) => log.save_vote(&vote).await.unwrap(),
        Step::Committed(id) => log.save_committed(Some(id)).await.unwrap(),
    }
}

impl Run {
    /// Opens what the disk holds, and works with it.
    async fn of(
        disk: &Disk,
        before: Vec<Held>,
        committed: Vec<LogId>,
        steps: usize,
        dice: &mut Dice,
    ) -> Self {
        let root = temporary();
        disk.write_out(root.path());
        let trace = Trace::begin(root.path(), disk.clone());
        let (directory, mut log) = open(root.path());
        log.next_is_ready();
        let mut held = held_by(&log).await;
        let opened = (trace.len(), held.clone());
        let mut run = Self { trace, before, opened, taken: Vec::new(), committed };
        let mut committed = log.committed();
        for _ in 0..steps {
            run.trace.hold(true);
            let full = dice.one_in(6);
            run.trace.fill(full);
            let step = draw(&held, committed, dice);
            run.step(&mut log, &mut held, &mut committed, step).await;
            if let Some(last) = held.last().filter(|_| full) {
                // As maintenance does it for want of room.
                run.step(&mut log, &mut held, &mut committed, Step::Committed(last)).await;
                run.step(&mut log, &mut held, &mut committed, Step::Purge(last)).await;
            }
            run.trace.hold(false);
            run.trace.fill(root.path().join("log/spare").exists());
            log.next_is_ready();
        }
        log.close();
        drop(directory);
        run
    }

    async fn step(&mut self, log: &mut Log, held: &mut Held, committed: &mut Option<LogId>, step: Step) {
        if let Step::Committed(id) | Step::Purge(id) = step {
            *committed = (*committed).max(Some(id));
            self.committed.push(id);
        }
        let begun = self.trace.len();
        take(log, &step).await;
        let ended = self.trace.len();
        let stages = step.stages(held);
        let before = std::mem::replace(held, stages.last().unwrap().clone());
        assert_eq!(held_by(log).await, *held, "after {step:?}");
        self.taken.push(Taken { begun, ended, before, stages });
    }

    /// The possible contents after a crash behind so many steps of the trace.
    fn allowed(&self, count: usize) -> Vec<Held> {
        let (opened, held) = &self.opened;
        match self.taken.iter().rfind(|taken| taken.begun <= count) {
            Some(taken) if taken.ended <= count => vec![taken.stages.last().unwrap().clone()],
            Some(taken) => [std::slice::from_ref(&taken.before), taken.stages.as_slice()].concat(),
            None if *opened <= count => vec![held.clone()],
            None => [self.before.as_slice(), std::slice::from_ref(held)].concat(),
        }
    }

    /// Opens what a crash has left, and continues with it.
    async fn check(&self, disk: &Disk, count: usize, what: &str) {
        let root = temporary();
        disk.write_out(root.path());
        // Nobody looks at it, but it spares the device.
        let _trace = Trace::begin(root.path(), disk.clone());
        let when = || format!("{what} after step {count}, {}", self.trace.step(count));
        let (directory, mut log) = open(root.path());
        let mut found = held_by(&log).await;
        assert!(self.allowed(count).contains(&found), "{}: {}", when(), self.differs(count, &found));
        if let Some(committed) = log.committed() {
            assert!(self.committed.contains(&committed), "{}: {committed} was never committed", when());
            assert!(Some(committed) <= found.last(), "{}: {committed} is committed and gone", when());
        }
        let term = found.term() + 1;
        let next = LogId { leader_id: LeaderId { term, node_id: 2 }, index: found.next_index() };
        found.vote = Some(Vote::new(term, 2));
        found.entries.push(entry(next, 700));
        take(&mut log, &Step::Vote(Vote::new(term, 2))).await;
        take(&mut log, &Step::Append(vec![entry(next, 700)])).await;
        log.close();
        drop(directory);
        let (_directory, log) = open(root.path());
        assert_eq!(held_by(&log).await, found, "{}: going on", when());
        log.close();
    }

    fn differs(&self, count: usize, found: &Held) -> String {
        let short = |held: &Held| {
            let ids: Vec<String> = held.entries.iter().map(|entry| entry.log_id.to_string()).collect();
            format!("{ids:?} purged {:?} vote {:?}", held.purged, held.vote)
        };
        let allowed: Vec<String> = self.allowed(count).iter().map(short).collect();
        format!("found {}, allowed {allowed:#?}", short(found))
    }

    /// Crashes behind every step of the trace, in several ways.
    async fn crash_everywhere(&self, ways: u64, dice: &mut Dice) {
        for (count, disk) in self.trace.disks().iter().enumerate() {
            for left in [Left::Nothing, Left::Names, Left::Contents, Left::Everything] {
                self.check(&disk.cut(left, dice), count, &format!("{left:?} left")).await;
            }
            for _ in 0..ways {
                self.check(&disk.cut(Left::Something, dice), count, "something left").await;
            }
            self.check(disk, count, "killed").await;
        }
    }
}

fn temporary() -> TempDir {
    // In memory where there is such a place: what a crash leaves is decided here, not by a device.
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn seed() -> u64 {
    // As it was when this was compiled; cargo compiles it anew when it has changed.
    let given = option_env!("STRONGROOM_CRASH_SEED").map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| u64::from_le_bytes(Entropy::system().bytes().unwrap()) % 1_000_000);
    println!("STRONGROOM_CRASH_SEED={seed}");
    seed
}

async fn fresh(steps: usize, dice: &mut Dice) -> Run {
    Run::of(&Disk::default(), vec![Held::default()], Vec::new(), steps, dice).await
}

#[tokio::test]
async fn a_power_cut_at_any_step_takes_nothing_that_was_acknowledged() {
    let mut dice = Dice::new(seed());
    let run = fresh(40, &mut dice).await;
    run.crash_everywhere(2, &mut dice).await;
}

/// Killed or cut off at some step, opened again, and cut off once more.
#[tokio::test]
async fn what_was_found_after_a_crash_survives_the_next() {
    let mut dice = Dice::new(seed());
    for _ in 0..2 {
        let first = fresh(25, &mut dice).await;
        let disks = first.trace.disks();
        for _ in 0..4 {
            let count = usize::try_from(dice.below(u64::try_from(disks.len()).unwrap())).unwrap();
            let killed = dice.one_in(2);
            let disk =
                if killed { disks[count].clone() } else { disks[count].cut(Left::Something, &mut dice) };
            let before = first.allowed(count);
            let second = Run::of(&disk, before, first.committed.clone(), 3, &mut dice).await;
            assert!(first.allowed(count).contains(&second.opened.1));
            second.crash_everywhere(1, &mut dice).await;
        }
    }
}

/// The file that says whose a directory is.
#[test]
fn an_identity_is_there_as_a_whole_or_not_at_all() {
    let mut dice = Dice::new(seed());
    let root = temporary();
    let trace = Trace::begin(root.path(), Disk::default());
    let options = options(root.path());
    let mut directory = Directory::open(&options).unwrap();
    let (made, first) = (trace.len(), directory.identity.clone());
    directory.adopt("another", &crate::Introduction::default()).unwrap();
    let (adopted, second) = (trace.len(), directory.identity.clone());
    for (count, disk) in trace.disks().iter().enumerate() {
        for nth in 0..20 {
            let corners = [Left::Nothing, Left::Names, Left::Contents, Left::Everything];
            let left = corners.get(nth).copied().unwrap_or(Left::Something);
            let root = temporary();
            disk.cut(left, &mut dice).write_out(root.path());
            let opened = Directory::open(&super::crashes::options(root.path()));
            let found =
                opened.unwrap_or_else(|error| panic!("{left:?} after {count}: {error}")).identity.clone();
            let expected = match count {
                _ if count >= adopted => found == second,
                _ if count >= made => found == first || found == second,
                // One of its own, if the one that was about to be made is not there.
                _ => true,
            };
            assert!(expected, "{left:?} after {count}, {}: {found:?}", trace.step(count));
        }
    }
}
