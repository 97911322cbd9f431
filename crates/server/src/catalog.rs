//! Every engine there is. Adding one is a line here.

use strongroom_core::Catalog;

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
