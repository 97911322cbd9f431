//! The newest commit that touched each table of each mount, for what is derived from whole tables.
//!
//! Like the slots of the [cache](crate::cache): a mark is chosen by a hash, and each commit leaves its index there before
//! anybody hears of the commit. Two tables with one mark make what is derived from them seem older than it is, which costs
//! a rebuild and no error.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use strongroom_storage::Index;

use crate::space::{KeyPlace, Space};
use crate::{MountId, MountLocal, MountSpace, TableId};

const MARKS: usize = 1 << 12;

pub(crate) struct TableMarks {
    marks: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl TableMarks {
    pub(crate) fn new() -> Self {
        Self { marks: (0..MARKS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    fn mark(&self, mount: MountId, table: u8) -> Option<&AtomicU64> {
        let at = usize::try_from(self.hasher.hash_one((mount, table))).unwrap_or(usize::MAX) % MARKS;
        self.marks.get(at)
    }

    /// Commit `index` wrote or deleted an entry at `key`.
    pub(crate) fn touch(&self, key: &[u8], index: Index) {
        let place =
            KeyPlace::of(key).filter(|place| [MountSpace::BYTE, MountLocal::BYTE].contains(&place.space));
        if let Some(mark) = place.and_then(|place| self.mark(place.mount, place.table)) {
            mark.fetch_max(index, Ordering::SeqCst);
        }
    }

    /// Everything may have changed.
    pub(crate) fn touch_all(&self, index: Index) {
        for mark in &self.marks {
            mark.fetch_max(index, Ordering::SeqCst);
        }
    }

    /// The newest commit that may have touched one of a mount's tables.
    pub(crate) fn newest(&self, mount: MountId, tables: &[TableId]) -> Index {
        // A mark that is not there outdates everything.
        let newest = |table: &TableId| {
            self.mark(mount, table.number).map_or(Index::MAX, |mark| mark.load(Ordering::SeqCst))
        };
        tables.iter().map(newest).max().unwrap_or_default()
    }
}
