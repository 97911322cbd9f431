//! A server in process for tests: whole cores over one store, a clock to step, and a system outside that fails in every way.
//!
//! [`cluster::Cluster`] is some nodes that share a store, settle who leads, crash, stand still and come back, all by a seed;
//! [`outside`] is an engine that uses every seam of the frame for a fake system, which is slow, refuses, lies, forgets and
//! does things late. The server is asked through its API alone, as clients ask it.
//!
//! Time is stepped and nothing leaves the process. Two runs of one seed take the same decisions; the order in which the
//! runtime's own `select!` looks at what is ready is its own, so a seed repeats a failure mostly, not surely.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "tests fail loudly"
)]

pub mod cluster;
pub mod outside;
mod seeded;

pub use seeded::Seeded;
