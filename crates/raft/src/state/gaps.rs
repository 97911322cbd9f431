//! Ranges of keys that are known to hold nothing but deletions.
//!
//! Deletions stay in memory until a checkpoint, and hide what the table still has. Work in steps that deletes from the front of
//! a range (what is due, a queue, all that a mount had) would pass all that it has deleted at each step: the square of what there
//! is, and a commit that has read such a range is checked under the lock that every apply needs. So a scan that has passed many
//! deletions in a row leaves a note of where they begin and end, and the next one jumps. It is no more than a memory of
//! what storage says: nothing is lost when it is forgotten, and it is not stored.
//!
//! A note says that from an index on no view has an entry there. It stays true until something is written there. So a write looks
//! here, after it can be seen in memory and before a view of its index is made. A scan announces itself before it looks at keys of which it
//! is to leave a note: a write in between shortens the note, and one before is seen by the scan itself, as newer than its view.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use strongroom_storage::{Index, Write};

use crate::watched;

/// Deletions in a row that a scan passes before it looks here, and before it leaves a note.
pub(super) const RUN: usize = 64;
/// Notes at a time. With more, all are forgotten, and each costs one more scan.
const MAX_GAPS: usize = 256;
/// Scans at a time that are to leave a note.
const MAX_LOOKING: usize = 16;

/// A scan that is to leave a note.
struct Looking {
    number: usize,
    from: Vec<u8>,
    /// The lowest key written since from there on.
    written: Option<Vec<u8>>,
}

/// The rest of a gap, which is kept under its beginning.
#[derive(Clone)]
struct Gap {
    /// The first key behind it.
    to: Vec<u8>,
    /// The first index of which it is known.
    since: Index,
}

#[derive(Default)]
struct Known {
    /// By their beginnings; no two overlap or touch.
    gaps: BTreeMap<Vec<u8>, Gap>,
    looking: Vec<Looking>,
    next: usize,
}

/// The notes of a state.
#[derive(Default)]
pub(super) struct Gaps {
    known: watched::Mutex<Known>,
    /// True if a write has to look here.
    watches: AtomicBool,
    /// The number of the memory that is written to. A scan of a view of an earlier one does not see what was written before it
    /// announced itself, and leaves no note.
    memory: AtomicUsize,
    /// Keys that scans have looked at.
    #[cfg(test)]
    pub(super) visited: AtomicUsize,
}

impl Gaps {
    /// Hears of the writes of a commit, which are in memory and not yet in a view.
    pub(super) fn written(&self, writes: &[Write]) {
        if !self.watches.load(Ordering::SeqCst) {
            return;
        }
        let mut known = self.known.lock();
        for write in writes.iter().filter(|write| write.value.is_some()) {
            known.written(&write.key);
        }
        let watches = known.watches();
        self.watches.store(watches, Ordering::SeqCst);
    }

    /// The number of the memory that is written to, which views of it carry.
    pub(super) fn memory(&self) -> usize {
        self.memory.load(Ordering::SeqCst)
    }

    /// Another memory is written to from now on; `keeping`: the state is the same.
    pub(super) fn another_memory(&self, keeping: bool) {
        let mut known = self.known.lock();
        self.memory.fetch_add(1, Ordering::SeqCst);
        if !keeping {
            known.gaps.clear();
            known.looking.clear();
        }
        let watches = known.watches();
        self.watches.store(watches, Ordering::SeqCst);
    }

    /// Forgets all: the deletions are no longer in memory.
    pub(super) fn forget(&self) {
        let mut known = self.known.lock();
        known.gaps.clear();
        let watches = known.watches();
        self.watches.store(watches, Ordering::SeqCst);
    }

    /// The end of the gap in which a key lies, for a view of this index.
    pub(super) fn end_of(&self, key: &[u8], index: Index) -> Option<Vec<u8>> {
        if !self.watches.load(Ordering::SeqCst) {
            return None;
        }
        let known = self.known.lock();
        let (_, gap) = known.around(key)?;
        (gap.since <= index).then(|| gap.to.clone())
    }

    /// Announces a scan that looks at keys from `from` on, of a view of this memory; `None`: it is to leave no note.
    pub(super) fn look(self: &Arc<Self>, from: Vec<u8>, memory: usize, index: Index) -> Option<Look> {
        let mut known = self.known.lock();
        if self.memory() != memory || known.looking.len() >= MAX_LOOKING {
            return None;
        }
        known.next = known.next.wrapping_add(1);
        let number = known.next;
        known.looking.push(Looking { number, from: from.clone(), written: None });
        self.watches.store(true, Ordering::SeqCst);
        Some(Look { gaps: self.clone(), number, from, index })
    }
}

impl Known {
    fn watches(&self) -> bool {
        !self.gaps.is_empty() || !self.looking.is_empty()
    }

    /// The last gap that begins at a key or before it.
    fn before(&self, key: &[u8]) -> Option<(&Vec<u8>, &Gap)> {
        self.gaps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    /// The gap in which a key lies.
    fn around(&self, key: &[u8]) -> Option<(&Vec<u8>, &Gap)> {
        self.before(key).filter(|(_, gap)| key < gap.to.as_slice())
    }

    /// Takes a key out of the gap that it lies in.
    fn written(&mut self, key: &[u8]) {
        for looking in self.looking.iter_mut().filter(|looking| looking.from.as_slice() <= key) {
            if looking.written.as_deref().is_none_or(|lowest| key < lowest) {
                looking.written = Some(key.to_vec());
            }
        }
        let Some((from, gap)) = self.around(key) else { return };
        let (from, Gap { to, since }) = (from.clone(), gap.clone());
        self.gaps.remove(&from);
        let mut behind = key.to_vec();
        behind.push(0);
        if from.as_slice() < key {
            self.gaps.insert(from, Gap { to: key.to_vec(), since });
        }
        if behind < to {
            self.gaps.insert(behind, Gap { to, since });
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.gaps.len() > MAX_GAPS {
            self.gaps.clear();
        }
    }

    /// Adds a gap, as one with those that it touches.
    fn add(&mut self, mut from: Vec<u8>, mut to: Vec<u8>, mut since: Index) {
        if let Some((before, gap)) = self.before(&from).filter(|(_, gap)| gap.to >= from) {
            from.clone_from(before);
            to = to.max(gap.to.clone());
            since = since.max(gap.since);
        }
        loop {
            let within = (Bound::Included(from.as_slice()), Bound::Included(to.as_slice()));
            let Some((next, gap)) = self.gaps.range::<[u8], _>(within).next() else { break };
            let next = next.clone();
            to = to.max(gap.to.clone());
            since = since.max(gap.since);
            self.gaps.remove(&next);
        }
        self.gaps.insert(from, Gap { to, since });
        self.bound();
    }
}

/// A scan under way that is to leave a note.
pub(super) struct Look {
    gaps: Arc<Gaps>,
    number: usize,
    from: Vec<u8>,
    index: Index,
}

impl Look {
    /// Leaves a note: from the beginning of the scan on there is nothing before `to`.
    pub(super) fn found(self, to: &[u8]) {
        let mut known = self.gaps.known.lock();
        let Some(looking) = known.looking.iter().find(|looking| looking.number == self.number) else {
            return;
        };
        let to = looking.written.as_deref().map_or(to, |written| to.min(written)).to_vec();
        if self.from < to {
            known.add(self.from.clone(), to, self.index);
        }
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut known = self.gaps.known.lock();
        known.looking.retain(|looking| looking.number != self.number);
        let watches = known.watches();
        self.gaps.watches.store(watches, Ordering::SeqCst);
    }
}
