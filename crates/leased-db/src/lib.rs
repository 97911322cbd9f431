//! A store in a database that several nodes share: one of them owns the lock and writes, the others wait for it.
//!
//! A backend implements [`Database`]; what follows from it is here, once: commits of concurrent requests that share a
//! transaction of the database, decided in order ([`writer`]); the lock, its renewal, and giving it up ([`lock`]); who
//! is told what ([`notifications`]).
//!
//! Nothing is written by a node whose lock has gone to another: every change of the database rests on the number under
//! which the lock was granted, its fence. Reads count on the lock's time: it is measured from before it was asked for,
//! and cut by a tenth for clocks that do not run alike.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod database;
mod decide;
mod lock;
#[cfg(any(test, feature = "conformance"))]
pub mod memory;
mod notifications;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use database::{ApplyError, Batch, Claim, Database, Fence, Head, Limits};
pub use lock::Timing;
pub use store::{Options, SharedStore};
