//! A server in process for tests: one, or whole cores over one store; a clock to step; systems outside that fail in every way.
//!
//! [`Server`] is one server, for the tests of its parts. [`cluster::Cluster`] is some nodes that share a store, or have raft's on
//! disks of their own, settle who leads, crash, stand still and come back, all by a seed; [`outside`] is an engine that uses every
//! seam of the frame for a fake system, which is slow, refuses, lies, forgets and does things late; [`lending`] is a smaller one
//! for what becomes of leases; [`simulation`] is what happens to a cluster, and what must be true whatever does. A cluster is
//! asked through its API alone, as clients ask it.
//!
//! Time is stepped and nothing leaves the process. How far a seed repeats a run says [`simulation`].
//!
//! The tests of a part of the server that want a whole one are in the `tests/` of its crate, since a crate's unit tests are
//! of another build of it than the one in here.

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
pub mod lending;
mod log_lines;
pub mod outside;
mod records;
mod request;
pub mod seals;
mod seeded;
pub mod server;
pub mod simulation;

pub use log_lines::LogLines;
pub use records::Records;
pub use request::{Request, Response};
pub use seeded::Seeded;
pub use server::{Server, Setup};
pub use strongroom_initialization::InitRequest;
pub use strongroom_pipeline::{Settings, Verb};
