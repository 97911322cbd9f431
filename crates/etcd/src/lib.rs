//! A [`Database`](strongroom_leased_db::Database) in etcd, spoken to over the JSON gateway of its version 3 API.
//!
//! Source: <https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>, <https://etcd.io/docs/v3.5/learning/api/>.

mod client;
mod connection;
mod database;
mod endpoint;
mod error;
mod layout;
mod lock;
mod options;
mod pages;
mod snapshot;
mod tls;
mod wire;

pub use database::Etcd;
pub use error::OpenError;
pub use options::{Login, Options, Tls};
