//! The engines, auth methods and seals that this program is made of: the one list of them.
//!
//! The server, the fuzz targets and the benchmarks build the same catalogue, so that what is added here is served, attacked and
//! measured without another line. It knows of each no more than that it is there; what the server has to know of an engine
//! stands on the engine ([`Facts`](strongroom_engine_api::Facts)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use strongroom_engine_api::{Alias, Backend, Name, Reading};
use strongroom_mounts::{Catalog, NewMount};
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;

/// The engines of this program, a line each. `cargo xtask new-engine` adds one at the end.
pub fn catalog() -> Catalog {
    engines(Catalog::new().with(strongroom_sys::engine_with(types)))
}

fn engines(catalog: Catalog) -> Catalog {
    catalog
        .with(strongroom_token::engine())
        .with(strongroom_cubbyhole::engine())
        .with(strongroom_identity_engine::engine())
        .with(strongroom_kv::v1())
        .with(strongroom_kv::v2())
        .with(strongroom_approle::engine())
        .with(strongroom_userpass::engine())
}

/// The types that a name of a type stands for: itself, the type that it is another name of, and that type's names for the same
/// option.
fn types(name: &str) -> Reading {
    static ALIASES: LazyLock<Vec<(Name, Alias)>> = LazyLock::new(|| {
        let engines = engines(Catalog::new());
        let of = |engine: &Arc<dyn Backend>| {
            let facts = engine.facts();
            facts.aliases.iter().map(|alias| (facts.kind.clone(), alias.clone())).collect::<Vec<_>>()
        };
        engines.engines().flat_map(of).collect()
    });
    let mut types = BTreeSet::from([name.to_owned()]);
    if let Some((kind, meant)) = ALIASES.iter().find(|(_, alias)| alias.name == name) {
        types.insert(kind.to_string());
        let same = ALIASES.iter().filter(|(other, alias)| other == kind && alias.option == meant.option);
        types.extend(same.map(|(_, alias)| alias.name.to_string()));
    }
    Reading::Items(types.into_iter().collect())
}

/// Auth methods of Vault's that lock users out and that this program does not have: a configuration may set their lockout,
/// without effect.
pub const LOCKING_ELSEWHERE: [&str; 1] = ["ldap"];

/// The secrets engine that a development server mounts at `secret/`, in the version that its flags ask for.
pub fn development_mount(first_version: bool) -> NewMount {
    let version = if first_version { "1" } else { "2" };
    NewMount {
        kind: "kv".to_owned(),
        description: "key/value secret storage".to_owned(),
        options: BTreeMap::from([("version".to_owned(), version.to_owned())]),
        ..NewMount::default()
    }
}

/// The kinds of seal that a `seal` stanza may name.
pub const SEALS: [&str; 1] = [strongroom_seal_shamir::KIND];

/// The seals of this program: Shamir's, with or without a stanza.
pub fn seals() -> Seals {
    Seals::one(Arc::new(ShamirSeal))
}

#[cfg(test)]
mod formats_tests;
#[cfg(test)]
mod tests;
