//! `oidc/.well-known`: what verifiers of identity tokens need, and `oidc/plugins/.well-known` for those of mounts. Source: OIDC Discovery, section 4; RFC 7517.
//!
//! Anyone may read it, and any node answers.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_barrier::View;
use strongroom_engine_api::{Engine, EngineError, Extension, Mount, Reply, Route};
use strongroom_oidc::{Algorithm, KeySet, Oidc};

use super::{DISCOVERY_AGE, document, issuer};

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("oidc/.well-known/openid-configuration", |r| {
            open(r).read("Read what there is to know about identity tokens.", configuration)
        })
        .route("oidc/.well-known/keys", |r| open(r).read("Read the public keys of identity tokens.", keys))
        .route("oidc/plugins/.well-known/openid-configuration", |r| {
            open(r).read("Read what there is to know about identity tokens of mounts.", plugin_configuration)
        })
        .route("oidc/plugins/.well-known/keys", |r| {
            open(r).read("Read the public keys of identity tokens of mounts.", keys)
        })
}

/// The route, for anyone, saying how long its answers may be kept.
pub(super) fn open(route: Route) -> Route {
    route.open().owns(&["Cache-Control"])
}

/// The names of all algorithms.
pub(super) fn algorithms() -> Vec<Value> {
    Algorithm::ALL.map(|algorithm| Value::from(algorithm.name())).to_vec()
}

/// The answer of a key set.
pub(super) fn key_set(keys: KeySet) -> Reply {
    let age = format!("max-age={}", keys.max_age);
    document(200, &keys.document()).header("Cache-Control", age)
}

async fn configuration(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    view: View,
) -> Result<Reply, EngineError> {
    let issuer = issuer(&oidc, &view, &mount).await?;
    let told = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/keys"),
        "authorization_endpoint": "",
        "token_endpoint": "",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms(),
    });
    Ok(document(200, &told).header("Cache-Control", DISCOVERY_AGE))
}

async fn plugin_configuration(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    view: View,
) -> Result<Reply, EngineError> {
    let issuer = oidc.plugin_issuer(&view, mount.namespace, &mount.namespace_path).await?;
    let told = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms(),
    });
    Ok(document(200, &told).header("Cache-Control", DISCOVERY_AGE))
}

async fn keys(Extension(oidc): Extension<Oidc>, mount: Arc<Mount>, view: View) -> Result<Reply, EngineError> {
    Ok(key_set(oidc.key_set(&view, mount.namespace, |_| true).await?))
}
