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
    flat::engine().keeps_trailing_slash().tables(tables::TABLES).check_options(check_options)
}

/// KV version 2, for mounts whose option `version` is `2`.
pub fn v2() -> Engine {
    versioned::engine().keeps_trailing_slash().tables(tables::TABLES).check_options(check_options)
}

/// What both engines are called, as a type.
const KIND: &str = "kv";

fn check_options(options: &BTreeMap<String, String>) -> Result<(), String> {
    match options.get("version").map(String::as_str) {
        None | Some("" | "1" | "2") => Ok(()),
        Some(other) => {
            Err(format!("unsupported KV version {other:?}: the option \"version\" is \"1\" or \"2\""))
        }
    }
}

#[cfg(test)]
mod tests;
