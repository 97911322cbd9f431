//! The commands, a file a group.

pub mod audit;
pub mod auth;
pub mod completion;
pub mod kv;
pub mod lease;
pub mod logical;
pub mod login;
pub mod monitor;
mod mounts;
pub mod namespace;
pub mod operator;
pub mod path_help;
pub mod plugin;
pub mod policy;
pub mod print;
pub mod secrets;
pub mod status;
pub mod token;
pub mod version;
