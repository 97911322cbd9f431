//! A store in PostgreSQL, or in a database that speaks its protocol and language, that several nodes share.
//!
//! [`Postgresql`] is the [`Database`](strongroom_leased_db::Database) of it: three tables ([`statements`]), a pool of
//! connections for snapshots ([`pool`]), and one connection each for changes and for the lock, so that no reader keeps
//! them waiting ([`lane`]). Statements are sent with their values' types and without being prepared, one round trip each.

mod connection;
mod database;
mod failure;
mod lane;
mod options;
mod pool;
mod schema;
mod snapshot;
mod statements;
mod target;
mod tls;
mod value;

pub use database::Postgresql;
pub use options::{OpenError, Options};
