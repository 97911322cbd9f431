//! The targets, each with the inputs it starts from.

mod audit;
mod client;
mod command;
mod config;
mod duration;
mod hcl;
mod keyring;
mod pattern;
mod policy;
mod raft;
mod seal;
mod server;
mod shamir;
mod storage;
mod wire;

use crate::Target;

/// Every target there is.
pub const TARGETS: &[Target] = &[
    hcl::PARSE,
    hcl::FORMAT,
    config::PARSE,
    policy::PARSE,
    policy::AUTHORIZE,
    wire::LENIENT,
    wire::JSON,
    duration::DURATION,
    duration::TIME,
    shamir::COMBINE,
    seal::RECORD,
    keyring::OPEN,
    keyring::UNWRAP,
    storage::RANGE,
    raft::LOG,
    pattern::CAPTURES,
    audit::RECORD,
    client::REPLY,
    client::SETTINGS,
    command::ARGUMENTS,
    command::COMPLETION,
    server::REQUESTS,
    server::TAMPERED,
];

/// An input's text; what is not UTF-8 is replaced.
fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}

/// An input in parts that a zero byte divides: the first `N`, empty where there are fewer.
fn parts<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut split = input.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| split.next().unwrap_or_default())
}
