//! The Rust SDK of a Vault-compatible server.
//!
//! A [`Client`] holds a connection pool, a token and the settings of a [`Config`], which is written by hand or read
//! from the documented `VAULT_*` variables ([`Config::from_env`]). Requests are built with [`Request`] and sent with
//! [`Client::send`]; the six logical operations have a method each and answer with a [`Reply`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use strongroom_client::{Client, Config};
//!
//! let client = Client::new(Config::from_env(|name| std::env::var(name).ok())?)?;
//! client.write("cubbyhole/greeting", serde_json::json!({ "text": "hello" })).await?;
//! let reply = client.read("cubbyhole/greeting").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Behavior follows the documentation of Vault's own client: `412` and `5xx` answers (except `501`) are tried again,
//! one redirect is followed and never from HTTPS to HTTP, a `404` of a read is an answer and not an error.

mod address;
mod client;
mod config;
mod connect;
mod env;
mod error;
mod rate;
mod reply;
mod request;
mod response;
mod retry;
mod srv;
mod tls;

pub use address::Address;
pub use client::{Client, Prepared};
pub use config::{Config, Proxy, RateLimit, Tls};
pub use error::{ApiError, ConfigError, Error};
pub use reply::{Auth, Reply, WrapInfo};
pub use request::{Payload, Request};
pub use response::Response;
pub use retry::Retry;

#[cfg(test)]
mod tests;
