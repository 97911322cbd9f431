//! The commands, a file a group.

pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod completion;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod logical;
pub(crate) mod login;
pub(crate) mod monitor;
pub(crate) mod mounts;
pub(crate) mod namespace;
pub(crate) mod operator;
pub(crate) mod path_help;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod print;
pub(crate) mod secrets;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod version;
