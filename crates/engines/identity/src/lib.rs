//! The identity secrets engine, `identity/` in every namespace: entities, aliases and groups over the API. Source: Vault's API
//! pages "Identity: entity", "entity alias", "group", "group alias", "lookup" and "MFA".
//!
//! It reads inputs and shapes answers; what identity is and keeps is in the service `strongroom-identity`, which logins and
//! requests ask too. Second factors are in `strongroom-mfa`, and what signs identity tokens in `strongroom-oidc`.
//! Identity providers keep users and groups through SCIM ([`scim`]).

mod aliases;
mod entities;
mod group_aliases;
mod groups;
mod held;
mod lookup;
mod merge;
mod mfa;
mod oidc;
mod scim;
mod views;

use std::collections::BTreeSet;

use strongroom_engine_api::{Engine, EngineError, Meaning, bad_request};
use strongroom_identity::{IdentityId, fold};

/// The one form of a name, in which policies compare the values of its field: names are the same in any case, and with spaces around
/// them.
const NAME: Meaning = Meaning::Each(|name| Some(fold(name.trim())));

/// The engine that every server mounts at `identity/`.
pub fn engine() -> Engine {
    let engine = Engine::system("identity", "Keeps entities, their aliases, and groups of them.")
        .docs_page("identity.md");
    let areas: [fn(Engine) -> Engine; 10] = [
        entities::routes,
        held::routes,
        merge::routes,
        aliases::routes,
        groups::routes,
        group_aliases::routes,
        lookup::routes,
        mfa::routes,
        oidc::routes,
        scim::routes,
    ];
    areas.into_iter().fold(engine, |engine, area| area(engine))
}

/// The id with this text; `None` where it is empty.
fn optional_id(text: Option<&str>, invalid: &str) -> Result<Option<IdentityId>, EngineError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => Ok(Some(IdentityId::parse(text).ok_or_else(|| bad_request(invalid))?)),
        None => Ok(None),
    }
}

/// The ids with these texts, each once.
fn ids(texts: &[String], invalid: &str) -> Result<BTreeSet<IdentityId>, EngineError> {
    let parse =
        |text: &String| IdentityId::parse(text).ok_or_else(|| bad_request(format!("{invalid} {text:?}")));
    texts.iter().map(parse).collect()
}

/// A name in a path, which policies have seen as it is: with spaces around it, it would be another name to them and the same
/// name here.
fn path_name(name: &str) -> Result<&str, EngineError> {
    if name.trim() != name {
        return Err(bad_request("the name has spaces at its beginning or end"));
    }
    Ok(name)
}
