//! `kv`: the key-value secrets engine, both versions.

mod data;
mod metadata;
mod mount;
mod versions;

use crate::command::Command;

pub(crate) static KV: Command = Command::group(
    "kv",
    "Interact with Vault's Key-Value storage",
    r"
Reads and writes secrets in the key-value secrets engine. The mount is given with -mount, or as the start of the path.

    $ {p} kv put -mount=secret foo bar=baz
    $ {p} kv get -mount=secret foo
    $ {p} kv get -mount=secret -version=1 foo
    $ {p} kv metadata get -mount=secret foo
",
    &[
        &data::DELETE,
        &versions::DESTROY,
        &versions::ENABLE_VERSIONING,
        &data::GET,
        &data::LIST,
        &metadata::METADATA,
        &data::PATCH,
        &data::PUT,
        &versions::ROLLBACK,
        &data::SCAN,
        &versions::UNDELETE,
    ],
);
