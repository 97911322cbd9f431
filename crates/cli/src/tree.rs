//! The table of all commands.

use crate::command::{Command, Outside};
use crate::commands::{
    audit, auth, completion, kv, lease, logical, login, monitor, namespace, operator, path_help,
};
use crate::commands::{plugin, policy, print, secrets, status, token, version};

/// The program itself.
pub(crate) static ROOT: Command = Command::group(
    "",
    "An open secrets manager",
    "",
    &[
        &audit::AUDIT,
        &auth::AUTH,
        &completion::COMPLETION,
        &logical::DELETE,
        &kv::KV,
        &lease::LEASE,
        &logical::LIST,
        &login::LOGIN,
        &monitor::MONITOR,
        &namespace::NAMESPACE,
        &operator::OPERATOR,
        &logical::PATCH,
        &path_help::PATH_HELP,
        &plugin::PLUGIN,
        &policy::POLICY,
        &print::PRINT,
        &logical::READ,
        &logical::SCAN,
        &secrets::SECRETS,
        &SERVER,
        &status::STATUS,
        &token::TOKEN,
        &logical::UNWRAP,
        &version::VERSION,
        &version::HISTORY,
        &logical::WRITE,
    ],
);

static SERVER: Command = Command::outside("server", "Start a server", Outside::Server);
