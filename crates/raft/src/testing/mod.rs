//! Disks and links that fail, for tests of this crate and of what stands above it: several nodes in one process, over a
//! network that can be cut, on disks whose power can be.
//!
//! Compiled into tests alone (feature `testing`). A directory that nobody watches is treated as in the program itself.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "tests fail loudly"
)]

mod disk;
mod network;

pub use disk::{DiskState, WatchedDisk};
pub use network::{Hub, Wire};
