//! A server in process for tests: whole cores over one store, a clock to step, and a system outside that fails in every way.
//!
//! [`cluster::Cluster`] is some nodes that share a store, or have raft's on disks of their own, settle who leads, crash, stand
//! still and come back, all by a seed; [`outside`] is an engine that uses every seam of the frame for a fake system, which is
//! slow, refuses, lies, forgets and does things late; [`simulation`] is what happens to them, and what must be true whatever
//! does. The server is asked through its API alone, as clients ask it.
//!
//! Time is stepped and nothing leaves the process. How far a seed repeats a run says [`simulation`].

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail loudly"
)]

pub mod cluster;
pub mod outside;
mod seeded;
pub mod simulation;

pub use seeded::Seeded;
