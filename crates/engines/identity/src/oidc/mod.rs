//! Identity tokens, and the OIDC provider: the endpoints under `identity/oidc/`. Source: Vault's API pages "Identity tokens" and
//! "OIDC provider", OIDC Core and Discovery, RFC 6749, 6750, 7636 and 8252.
//!
//! What is kept, and the keys, are in the service `strongroom-oidc`. Here inputs are read and checked, claims are put together
//! and answers shaped. The endpoints of the protocol answer in its forms, errors too ([`failing`]); those of operators in
//! Vault's. When a check cannot be made, because storage fails, nothing is given.

mod assignments;
mod authorize;
mod claims;
mod clients;
mod config;
mod exchange;
mod failing;
mod keys;
mod providers;
mod published;
mod redirect;
mod roles;
mod scopes;
mod tokens;
mod userinfo;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use strongroom_barrier::Reads;
use strongroom_engine_api::{Caller, Engine, EngineError, Mount, Paging, Reply};
use strongroom_identity::{Effective, Identity, IdentityId};
use strongroom_oidc::Oidc;

/// The type of documents.
const JSON: &str = "application/json";
/// The time for which a discovery document may be kept.
const DISCOVERY_AGE: &str = "max-age=3600";

pub(crate) fn routes(engine: Engine) -> Engine {
    let areas: [fn(Engine) -> Engine; 12] = [
        config::routes,
        keys::routes,
        roles::routes,
        tokens::routes,
        published::routes,
        assignments::routes,
        scopes::routes,
        clients::routes,
        providers::routes,
        authorize::routes,
        exchange::routes,
        userinfo::routes,
    ];
    areas.into_iter().fold(engine, |engine, area| area(engine))
}

/// The entity of a caller; `None` where it has none, or that is disabled or gone.
async fn entity_of(identity: &Identity, caller: &Caller) -> Result<Option<Arc<Effective>>, EngineError> {
    let Some(id) = IdentityId::parse(&caller.entity_id) else { return Ok(None) };
    let found = identity.effective(caller.entity_namespace, id).await?;
    Ok(found.filter(|found| !found.entity.disabled))
}

/// The issuer of identity tokens.
async fn issuer(oidc: &Oidc, reads: &impl Reads, mount: &Mount) -> Result<String, EngineError> {
    let config = strongroom_oidc::CONFIGS.get(reads, &mount.namespace).await?;
    let configured = config.map(|config| config.issuer.clone()).unwrap_or_default();
    Ok(format!("{}/v1/{}{}oidc", address(oidc, configured)?, mount.namespace_path, mount.path))
}

/// Scheme, host and port: as configured, else the cluster's. Never those of a request, which are its sender's choice.
fn address(oidc: &Oidc, configured: String) -> Result<String, EngineError> {
    if configured.is_empty() { oidc.address() } else { Ok(configured) }
}

/// True if a text is an address of scheme, host and port alone.
fn is_address(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else {
        return false;
    };
    let is_written = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    // The colons of an IPv6 address are in brackets.
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or_default(),
        None => {
            authority.split_at_checked(authority.find(':').unwrap_or(authority.len())).unwrap_or_default()
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port_is_good = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    !host.is_empty() && authority.chars().all(is_written) && port_is_good
}

/// A document that is sent without an envelope.
fn document(status: u16, body: &Value) -> Reply {
    Reply::raw(status, JSON, body.to_string())
}

/// The texts without repetitions, in their order.
fn each_once(texts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

/// The page of a list in order of its names.
fn page(names: BTreeSet<String>, paging: &Paging) -> Vec<String> {
    let after = paging.after.as_deref();
    let names = names.into_iter().filter(|name| after.is_none_or(|after| name.as_str() > after));
    names.take(paging.limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_path() {
        for good in ["https://a.b:8200", "http://127.0.0.1", "https://[::1]:1", "https://[::1]", "https://x"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "https://",
            "ftp://a",
            "https://a/",
            "https://a/b",
            "https://a?x",
            "https://a#x",
            "https://u@a",
            "https://a:x",
            "https://a:",
            "https://a:99999",
            "https://a b",
            "//a",
            "https://:80",
            "https://a:1:2",
            "https://[::1",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
