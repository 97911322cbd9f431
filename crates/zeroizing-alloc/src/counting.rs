//! An allocator that counts, for tests that show what is freed where.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use crate::Wiping;

/// The requests of a thread to the allocator since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks asked for.
    pub allocations: usize,
    /// Their bytes.
    pub allocated: usize,
    /// Blocks given back.
    pub frees: usize,
    /// Their bytes.
    pub freed: usize,
}

thread_local! {
    // Without a destructor and made at compile time, so that reading it never allocates.
    static COUNTS: Cell<Counts> =
        const { Cell::new(Counts { allocations: 0, allocated: 0, frees: 0, freed: 0 }) };
}

/// The requests of this thread to [`Counting`], where that is the global allocator.
#[must_use]
pub fn counts() -> Counts {
    COUNTS.get()
}

/// [`Wiping`], counting by thread.
pub struct Counting;

// SAFETY: every method hands its arguments on to `Wiping` as they came, under the caller's own guarantees.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        counted(layout);
        // SAFETY: as above.
        unsafe { Wiping.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut counts = COUNTS.get();
        counts.frees = counts.frees.wrapping_add(1);
        counts.freed = counts.freed.wrapping_add(layout.size());
        COUNTS.set(counts);
        // SAFETY: as above.
        unsafe { Wiping.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        counted(layout);
        // SAFETY: as above.
        unsafe { Wiping.alloc_zeroed(layout) }
    }
}

fn counted(layout: Layout) {
    let mut counts = COUNTS.get();
    counts.allocations = counts.allocations.wrapping_add(1);
    counts.allocated = counts.allocated.wrapping_add(layout.size());
    COUNTS.set(counts);
}
