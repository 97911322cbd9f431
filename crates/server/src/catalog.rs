//! Every engine and every kind of seal there is. Adding one is a line here.

use std::sync::Arc;

use strongroom_core::Catalog;
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;

/// The engines of this program.
pub(crate) fn catalog() -> Catalog {
    Catalog::new()
        .with(strongroom_sys::engine())
        .with(strongroom_token::engine())
        .with(strongroom_cubbyhole::engine())
        .with_variants(vec![strongroom_kv::v1(), strongroom_kv::v2()], |options| {
            usize::from(options.get("version").map(String::as_str) == Some("2"))
        })
        .with(strongroom_approle::engine())
        .with(strongroom_userpass::engine())
}

/// The kinds of seal that a `seal` stanza may name.
pub(crate) const SEALS: [&str; 1] = [strongroom_seal_shamir::KIND];

/// The seals of this program: Shamir's, with or without a stanza.
pub(crate) fn seals() -> Seals {
    Seals::one(Arc::new(ShamirSeal))
}
