//! A store in a database that several nodes share: one of them owns the lock and writes, the others wait for it.
//!
//! A backend implements [`Database`]; what follows from it is here, once: commits of concurrent requests that share a
//! transaction of the database, decided in order; the lock, its renewal, and the fence that keeps a node out that has
//! lost it; who is told what.

mod database;

pub use database::{ApplyError, Batch, Claim, Database, Fence, Head, Holder, Limits};
