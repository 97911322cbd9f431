//! The KV secrets engine: [`v1`] keeps one value a key, [`v2`] keeps versions of it.
//!
//! Both share a mount's storage, so that a mount whose option `version` goes from 1 to 2 goes on serving: the
//! entries of version 1 are seen at once as the first versions of their keys, and are moved while the mount works.
//! Source: Vault's documentation, "KV secrets engine", versions 1 and 2, and the API pages of both.

mod events;
mod flat;
mod paths;
mod secret_json;
mod tables;
mod versioned;

use std::collections::BTreeMap;

use strongroom_engine_api::Engine;

/// KV version 1, for mounts whose option `version` is `1` or absent.
pub fn v1() -> Engine {
    common(flat::engine())
}

/// KV version 2, for mounts whose option `version` is `2`.
pub fn v2() -> Engine {
    common(versioned::engine())
}

/// The type of both engines.
const KIND: &str = "kv";

/// The option of a mount that says which of them serves it.
const VERSION: &str = "version";

type Options = BTreeMap<String, String>;

/// The facts and checks of both.
fn common(engine: Engine) -> Engine {
    engine
        .keeps_trailing_slash()
        .docs_page("kv.md")
        .tables(tables::TABLES)
        .option(
            VERSION,
            "1 keeps one value a key, 2 keeps versions of it; from 1 a mount can go to 2, and not back.",
        )
        .check_options(check_options)
        .check_change(check_change)
}

fn check_options(options: &Options) -> Result<(), String> {
    match options.get(VERSION).map(String::as_str) {
        None | Some("" | "1" | "2") => Ok(()),
        Some(other) => {
            Err(format!("unsupported KV version {other:?}: the option \"version\" is \"1\" or \"2\""))
        }
    }
}

/// A mount of version 2 stays one: what it has kept has no form in version 1.
fn check_change(before: &Options, given: &Options) -> Result<(), String> {
    let Some(version) = given.get(VERSION) else { return Ok(()) };
    let before = before.get(VERSION).map_or("1", String::as_str);
    match (before, version.as_str()) {
        ("2", "1" | "") => Err("cannot downgrade mount from version 2".to_owned()),
        (_, "1" | "2" | "") => Ok(()),
        (_, other) => Err(format!("invalid version provided: {other}")),
    }
}

#[cfg(test)]
mod tests;
