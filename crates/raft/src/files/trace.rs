//! Records what is done to the files below a directory, and knows what a crash may leave of it.
//!
//! What a power cut leaves: of a file, what was synced, and any of the 512-byte sectors written since; of a
//! directory, what was synced, and of the names changed since the first so many, as file systems with a journal keep
//! them; a file's content and its name are independent of each other. What a killed process leaves: everything, as
//! yet unsynced.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "compiled into tests alone, which fail loudly"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

const SECTOR: u64 = 512;

/// Numbers for choices that are the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One step. Paths are relative to the directory that is traced.
#[derive(Clone, Debug)]
enum Op {
    Make(PathBuf),
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncNames(PathBuf),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

type Names = BTreeMap<PathBuf, Node>;

/// A file: what is durable of it, and what has been done to it since.
#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Op>,
}

/// A file system with what it has not made durable yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    names: Names,
    /// Changes of names, by directory.
    pending: BTreeMap<PathBuf, Vec<Op>>,
    files: Vec<Content>,
}

/// The part of what was not synced that a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Names,
    Contents,
    Everything,
    Something,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

fn rename_in(names: &mut Names, op: &Op) {
    match op {
        Op::Make(path) => drop(names.insert(path.clone(), Node::Directory)),
        Op::Create(path, file) => drop(names.insert(path.clone(), Node::File(*file))),
        Op::Rename(from, to) => {
            let node = names.remove(from).unwrap();
            names.insert(to.clone(), node);
        }
        Op::Remove(path) => drop(names.remove(path).unwrap()),
        _ => unreachable!(),
    }
}

fn write_in(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).unwrap();
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Does to a file's content what was asked for; of a write only the sectors that `keeps` wants.
fn change(content: &mut Vec<u8>, op: &Op, mut keeps: impl FnMut() -> bool) {
    match op {
        Op::SetLen(_, len) => {
            if keeps() {
                content.resize(usize::try_from(*len).unwrap(), 0);
            }
        }
        Op::Write(_, offset, bytes) => {
            let mut done = 0;
            while done < bytes.len() {
                let at = offset + u64::try_from(done).unwrap();
                let to_border = usize::try_from(SECTOR - at % SECTOR).unwrap();
                let piece = &bytes[done..bytes.len().min(done + to_border)];
                if keeps() {
                    write_in(content, at, piece);
                }
                done += piece.len();
            }
        }
        _ => unreachable!(),
    }
}

impl Disk {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Make(path) | Op::Remove(path) => {
                self.pending.entry(parent(path)).or_default().push(op.clone());
            }
            Op::Create(path, file) => {
                assert_eq!(*file, self.files.len());
                self.files.push(Content::default());
                self.pending.entry(parent(path)).or_default().push(op.clone());
            }
            Op::Rename(from, to) => {
                assert_eq!(parent(from), parent(to), "no file changes its directory");
                self.pending.entry(parent(from)).or_default().push(op.clone());
            }
            Op::SyncNames(directory) => {
                for op in self.pending.remove(directory).unwrap_or_default() {
                    rename_in(&mut self.names, &op);
                }
            }
            Op::Write(file, ..) | Op::SetLen(file, _) => self.files[*file].pending.push(op.clone()),
            Op::Sync(file) => {
                let content = &mut self.files[*file];
                for op in content.pending.drain(..) {
                    change(&mut content.durable, &op, || true);
                }
            }
        }
    }

    /// The files after a power cut, after which nothing is pending.
    pub(crate) fn cut(&self, left: Left, dice: &mut Dice) -> Self {
        let mut names = self.names.clone();
        for ops in self.pending.values() {
            let all = ops.len();
            let kept = match left {
                Left::Nothing | Left::Contents => 0,
                Left::Names | Left::Everything => all,
                Left::Something => usize::try_from(dice.below(u64::try_from(all).unwrap() + 1)).unwrap(),
            };
            ops.iter().take(kept).for_each(|op| rename_in(&mut names, op));
        }
        // What is in a directory that is not there is not there.
        let made: Vec<PathBuf> = names
            .iter()
            .filter(|(_, node)| **node == Node::Directory)
            .map(|(path, _)| path.clone())
            .collect();
        names.retain(|path, _| parent(path) == Path::new("") || made.contains(&parent(path)));
        let files = self.files.iter().map(|file| {
            let mut durable = file.durable.clone();
            // From the first so many of what was written, to each sector for itself.
            let odds = 1 + dice.below(4);
            let whole = dice.below(u64::try_from(file.pending.len()).unwrap() + 1);
            for (nth, op) in (0..).zip(&file.pending) {
                change(&mut durable, op, || match left {
                    Left::Nothing | Left::Names => false,
                    Left::Contents | Left::Everything => true,
                    Left::Something => match odds {
                        1 => nth < whole || (nth == whole && dice.one_in(2)),
                        odds => !dice.one_in(odds),
                    },
                });
            }
            Content { durable, pending: Vec::new() }
        });
        Self { names, pending: BTreeMap::new(), files: files.collect() }
    }

    /// As a process sees it: everything that was done, as if it had all been synced. Files without a name are gone.
    pub(crate) fn seen(&self) -> Self {
        let mut seen = self.clone();
        seen.sync_all();
        let named: Vec<usize> = seen
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Directory => None,
            })
            .collect();
        for (number, file) in seen.files.iter_mut().enumerate() {
            if !named.contains(&number) {
                file.durable = Vec::new();
            }
        }
        seen
    }

    /// Bytes that are durable of each file.
    #[cfg(test)]
    pub(crate) fn files(&self) -> Vec<usize> {
        self.files.iter().map(|file| file.durable.len()).collect()
    }

    fn sync_all(&mut self) {
        let unsynced: Vec<PathBuf> = self.pending.keys().cloned().collect();
        for directory in unsynced {
            self.apply(&Op::SyncNames(directory));
        }
        (0..self.files.len()).for_each(|file| self.apply(&Op::Sync(file)));
    }

    /// Writes what a process sees into an empty directory.
    pub(crate) fn write_out(&self, root: &Path) {
        let mut seen = self.clone();
        seen.sync_all();
        for (path, node) in &seen.names {
            match node {
                Node::Directory => fs::create_dir(root.join(path)).unwrap(),
                Node::File(file) => fs::write(root.join(path), &seen.files[*file].durable).unwrap(),
            }
        }
    }
}

/// The changes below a directory, as long as this is held.
pub(crate) struct Trace {
    root: PathBuf,
    inner: Mutex<Inner>,
    released: Condvar,
}

struct Inner {
    /// The disk at the start; where it is followed, now.
    start: Disk,
    /// All steps since; none where the disk is followed.
    ops: Vec<Op>,
    follows: bool,
    /// The present files.
    names: Names,
    files: usize,
    /// The thread that prepares files waits.
    held: bool,
    /// There is no room for the files that it makes.
    full: bool,
}

/// A file below the directory.
#[derive(Clone)]
pub(crate) struct Traced {
    trace: Arc<Trace>,
    file: usize,
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "file {}", self.file)
    }
}

static TRACES: Mutex<Vec<Weak<Trace>>> = Mutex::new(Vec::new());

fn trace_of(path: &Path) -> Option<(Arc<Trace>, PathBuf)> {
    let mut traces = TRACES.lock().unwrap_or_else(PoisonError::into_inner);
    traces.retain(|trace| trace.strong_count() > 0);
    traces.iter().filter_map(Weak::upgrade).find_map(|trace| {
        let below = path.strip_prefix(&trace.root).ok()?.to_owned();
        Some((trace, below))
    })
}

impl Trace {
    /// Records what is done below `root`, which holds what the disk does.
    pub(crate) fn begin(root: &Path, start: Disk) -> Arc<Self> {
        let mut names = start.names.clone();
        start.pending.values().flatten().for_each(|op| rename_in(&mut names, op));
        let files = start.files.len();
        let inner = Inner { start, ops: Vec::new(), follows: false, names, files, held: false, full: false };
        let trace =
            Arc::new(Self { root: root.to_owned(), inner: Mutex::new(inner), released: Condvar::new() });
        TRACES.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&trace));
        trace
    }

    /// The same without remembering each step: only the disk as it is now can be asked for.
    pub(crate) fn follow(root: &Path, start: Disk) -> Arc<Self> {
        let trace = Self::begin(root, start);
        trace.inner().follows = true;
        trace
    }

    /// The disk as it is now, where it is followed.
    pub(crate) fn disk(&self) -> Disk {
        self.inner().start.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if there is room for the files that are prepared.
    #[cfg(test)]
    pub(crate) fn fill(&self, full: bool) {
        self.inner().full = full;
    }

    fn note(&self, op: impl FnOnce(&mut Inner) -> Option<Op>) {
        let mut inner = self.inner();
        if prepares_files() {
            inner =
                self.released.wait_while(inner, |inner| inner.held).unwrap_or_else(PoisonError::into_inner);
        }
        match op(&mut inner) {
            Some(op) if inner.follows => inner.start.apply(&op),
            Some(op) => inner.ops.push(op),
            None => {}
        }
    }

    /// Makes the thread that prepares files wait, or lets it continue, so that the same work leaves the same trace.
    #[cfg(test)]
    pub(crate) fn hold(&self, held: bool) {
        self.inner().held = held;
        self.released.notify_all();
    }

    /// The number of steps that have been done.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.inner().ops.len()
    }

    /// The last of the first so many steps.
    #[cfg(test)]
    pub(crate) fn step(&self, count: usize) -> String {
        match count.checked_sub(1).and_then(|last| self.inner().ops.get(last).cloned()) {
            Some(Op::Write(file, offset, bytes)) => {
                format!("{} bytes at {offset} of file {file}", bytes.len())
            }
            op => format!("{op:?}"),
        }
    }

    /// The disk after each number of steps, from none on.
    #[cfg(test)]
    pub(crate) fn disks(&self) -> Vec<Disk> {
        let inner = self.inner();
        let mut disk = inner.start.clone();
        let mut disks = vec![disk.clone()];
        for op in &inner.ops {
            disk.apply(op);
            disks.push(disk.clone());
        }
        disks
    }
}

fn prepares_files() -> bool {
    std::thread::current().name() == Some("raft-log-next")
}

/// A file is opened, and made where it is not there.
pub(super) fn opened(path: &Path) -> io::Result<Option<Traced>> {
    let Some((trace, path)) = trace_of(path) else { return Ok(None) };
    let mut file = usize::MAX;
    trace.note(|inner| match inner.names.get(&path) {
        Some(Node::Directory) => panic!("{} is a directory", path.display()),
        Some(Node::File(known)) => {
            file = *known;
            None
        }
        None if inner.full && prepares_files() => None,
        None => {
            file = inner.files;
            inner.files += 1;
            inner.names.insert(path.clone(), Node::File(file));
            Some(Op::Create(path, file))
        }
    });
    if file == usize::MAX {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(Some(Traced { trace, file }))
}

fn note_names(path: &Path, op: impl FnOnce(PathBuf) -> Op) {
    let Some((trace, path)) = trace_of(path) else { return };
    trace.note(|inner| {
        let op = op(path);
        if matches!(&op, Op::Make(path) if path == Path::new("") || inner.names.contains_key(path)) {
            return None;
        }
        rename_in(&mut inner.names, &op);
        Some(op)
    });
}

/// A name is about to be changed.
pub(super) fn begins(path: &Path) {
    if let Some((trace, _)) = trace_of(path) {
        trace.note(|_| None);
    }
}

pub(super) fn made(path: &Path) {
    note_names(path, Op::Make);
}

pub(super) fn removed(path: &Path) {
    note_names(path, Op::Remove);
}

pub(super) fn renamed(from: &Path, to: &Path) {
    let Some((_, to)) = trace_of(to) else { return };
    note_names(from, |from| Op::Rename(from, to));
}

pub(super) fn wrote(file: Option<&Traced>, offset: u64, bytes: &[u8]) {
    if let Some(Traced { trace, file }) = file {
        trace.note(|_| Some(Op::Write(*file, offset, bytes.to_vec())));
    }
}

pub(super) fn set_len(file: Option<&Traced>, len: u64) {
    if let Some(Traced { trace, file }) = file {
        trace.note(|_| Some(Op::SetLen(*file, len)));
    }
}

/// True if the file is traced: then there is no real power cut, and the device need not be asked.
pub(super) fn synced(file: Option<&Traced>) -> bool {
    if let Some(Traced { trace, file }) = file {
        trace.note(|_| Some(Op::Sync(*file)));
    }
    file.is_some()
}

pub(super) fn synced_directory(path: &Path) -> bool {
    let Some((trace, path)) = trace_of(path) else { return false };
    trace.note(|_| Some(Op::SyncNames(path)));
    true
}
