//! A global allocator that wipes memory when it is freed.
//!
//! Typed secrets zeroize themselves; what parsers, HTTP buffers and grown vectors leave behind does not. With this
//! allocator nothing that was freed can be found in the process's memory, whoever held it. The cost is a `memset` of
//! what is freed, next to the work that filled it.

#[cfg(feature = "counting")]
mod counting;

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{Ordering, compiler_fence};

use mimalloc::MiMalloc;

#[cfg(feature = "counting")]
pub use counting::{Counting, Counts, counts};

/// mimalloc, wiping what is freed.
pub struct Wiping;

// SAFETY: every method hands its arguments on to mimalloc as they came, under the caller's own guarantees; the bytes
// wiped are those of a live block of `layout.size()` bytes that the caller gives up with the call. `realloc` and
// `alloc_zeroed` are the trait's defaults over these two, so that a block that moves is wiped where it was.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` is valid for writes of `layout.size()` bytes until it is freed below.
        unsafe { std::ptr::write_bytes(block, 0, layout.size()) };
        // The optimizer must not drop the writes for going to memory that is about to be freed.
        compiler_fence(Ordering::SeqCst);
        std::hint::black_box(block);
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }
}
