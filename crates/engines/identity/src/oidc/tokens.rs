//! `oidc/token`, `oidc/introspect`: identity tokens, given and looked at.
//!
//! Nothing is written for a token, so any node gives one, and any node tells whether one is good: by its signature, its times, and
//! its entity as it is now.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_barrier::View;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Caller, Clock, Data, Engine, EngineError, Extension, Input, Mount, Path, Reply, bad_request,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_oidc::{Absent, Oidc, Parts, ROLES, Template};

use super::claims::Base;
use super::{document, entity_of, issuer};

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("oidc/token/{name}", |r| r.read("Get an identity token of a role.", token))
        .route("oidc/introspect", |r| r.update("Tell whether an identity token is good.", introspect))
}

/// An identity token.
#[derive(Serialize, JsonSchema)]
struct TokenView {
    /// Its audience.
    client_id: String,
    /// The token.
    token: String,
    /// Seconds that it lives.
    ttl: u64,
}

async fn token(
    (Extension(oidc), Extension(identity)): (Extension<Oidc>, Extension<Identity>),
    mount: Arc<Mount>,
    Path(name): Path<String>,
    caller: Caller,
    clock: Clock,
    view: View,
) -> Result<Data<TokenView>, EngineError> {
    let role = ROLES.get(&view, &(mount.namespace, name.as_str())).await?;
    let role = role.ok_or_else(|| bad_request(format!("role {name:?} not found")))?;
    let key = oidc.key(&view, mount.namespace, &role.key).await?;
    let key = key.ok_or_else(|| bad_request(format!("key {:?} not found", role.key)))?;
    if !key.allows(&role.client_id) {
        return Err(bad_request(format!(
            "the key {:?} does not list the client ID of the role {name:?} as an allowed client ID",
            role.key
        )));
    }
    let entity = entity_of(&identity, &caller).await?;
    let entity = entity.ok_or_else(|| bad_request("no entity associated with the request's token"))?;
    let now = clock.now();
    let templated = Template::parse(&role.template)?.claims(&entity, now, Absent::Empty)?;
    let base = Base {
        issuer: &issuer(&oidc, &view, &mount).await?,
        subject: &entity,
        audience: &role.client_id,
        issued: now,
        ttl: role.ttl,
        namespace: &identity.short_id(mount.namespace).await?,
    };
    let token = oidc.sign(&key, &base.with(templated))?;
    Ok(Data(TokenView { client_id: role.client_id.clone(), token, ttl: role.ttl.as_secs() }))
}

#[derive(Deserialize, JsonSchema)]
struct IntrospectInput {
    /// Optional `client_id` to verify
    client_id: Option<Text>,
    /// Token to verify
    token: Option<Text>,
}

async fn introspect(
    (Extension(oidc), Extension(identity)): (Extension<Oidc>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<IntrospectInput>,
    clock: Clock,
    view: View,
) -> Result<Reply, EngineError> {
    let token = input.token.map(|token| token.0).unwrap_or_default();
    let client_id = input.client_id.map(|id| id.0).filter(|id| !id.is_empty());
    let inactive = |why: &str| Ok(document(200, &json!({ "active": false, "error": why })));
    let Some(parts) = Parts::of(&token) else { return inactive("error parsing token") };
    if !oidc.is_signed(&view, mount.namespace, &parts).await? {
        return inactive("unable to validate the token signature");
    }
    let claim = |name: &str| parts.claims.get(name);
    let second = |name: &str| claim(name).and_then(Value::as_u64);
    if claim("iss").and_then(Value::as_str) != Some(issuer(&oidc, &view, &mount).await?.as_str()) {
        return inactive("error validating claims: invalid issuer claim (iss)");
    }
    let now = clock.now().as_secs();
    if second("exp").is_none_or(|end| end <= now) {
        return inactive("error validating claims: token is expired (exp)");
    }
    if second("nbf").is_some_and(|begin| begin > now) {
        return inactive("error validating claims: token not valid yet (nbf)");
    }
    if client_id.is_some_and(|id| claim("aud").and_then(Value::as_str) != Some(id.as_str())) {
        return inactive("error validating claims: invalid audience claim (aud)");
    }
    if !is_entity(&identity, &mount, &parts).await? {
        return inactive("entity was not found");
    }
    Ok(document(200, &json!({ "active": true })))
}

/// True if the subject of a token is an entity of its namespace, or of one around it, that is enabled and was not revoked since.
async fn is_entity(identity: &Identity, mount: &Mount, token: &Parts<'_>) -> Result<bool, EngineError> {
    let subject = token.claims.get("sub").and_then(Value::as_str).and_then(IdentityId::parse);
    let Some(id) = subject else { return Ok(false) };
    let issued = token.claims.get("iat").and_then(Value::as_u64).unwrap_or_default();
    for namespace in identity.namespaces_around(mount.namespace).await? {
        if let Some(found) = identity.effective(namespace, id).await? {
            let is_revoked = found.entity.revoked.is_some_and(|revoked| issued <= revoked.as_secs());
            return Ok(!found.entity.disabled && !is_revoked);
        }
    }
    Ok(false)
}
