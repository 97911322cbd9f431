//! `oidc/provider/:name/userinfo`: the claims about the entity that an access token stands for. Source: OIDC Core, section
//! 5.3; RFC 6750.
//!
//! An access token has no policy, so the route is open to any caller, and the handler takes nothing but an access token of
//! this provider whose grant is good. It reads on the active node, so that a grant that was just revoked is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use strongroom_barrier::Txn;
use strongroom_engine_api::{Clock, Engine, EngineError, Extension, Mount, Path, Reply, Request};
use strongroom_identity::Identity;
use strongroom_oidc::{Grant, GrantState, Hash, Oidc};
use strongroom_tokens::{TokenEntry, TokenStore};

use super::assignments::is_assigned;
use super::clients::by_id;
use super::document;
use super::exchange::{OF_CLIENT, OF_GRANT, OF_PROVIDER};
use super::failing::Failure;
use super::providers::{allows, provider};
use super::scopes;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/provider/{name}/userinfo", |r| {
        r.open()
            .owns(&["Pragma", "WWW-Authenticate"])
            .read("Read the claims that an access token gives.", userinfo)
            .update("Read the claims that an access token gives.", userinfo)
    })
}

/// The services that it takes.
type Services = (Extension<Oidc>, (Extension<Identity>, Extension<TokenStore>));

async fn userinfo(
    (Extension(oidc), (Extension(identity), Extension(tokens))): Services,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    request: Arc<Request>,
    clock: Clock,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let invalid = || Failure::bearer(401, "invalid_token", "access token is invalid or expired");
    let denied = |text: &str| Failure::bearer(403, "access_denied", text);
    let (namespace, now) = (mount.namespace, clock.now());
    let caller = request.caller().ok_or_else(invalid)?;
    let token = tokens.principal(txn.peek(), caller.token.expose(), now).await?.ok_or_else(invalid)?;
    let entry = &token.entry;
    if entry.namespace != namespace || entry.internal.get(OF_PROVIDER) != Some(&name) {
        return Err(invalid().into());
    }
    let grant = good_grant(&oidc, &txn, &mount, entry).await?.ok_or_else(invalid)?;
    let provider = provider(&txn, namespace, &name).await?.ok_or_else(invalid)?;
    let client_id = entry.internal.get(OF_CLIENT).map(String::as_str).unwrap_or_default();
    let client = by_id(&txn, namespace, client_id).await?;
    let client = client.ok_or_else(|| denied("client not found"))?;
    if !allows(&provider, client_id) {
        return Err(denied("client is not authorized to use the provider").into());
    }
    let entity = identity.effective(grant.entity_namespace, grant.entity).await?;
    let entity = entity.filter(|entity| !entity.entity.disabled);
    let entity = entity.ok_or_else(|| denied("identity entity must be associated with the request"))?;
    if !is_assigned(&txn, namespace, &client, &entity).await? {
        return Err(denied("identity entity not authorized by client assignment").into());
    }
    let claims = scopes::claims(&txn, namespace, &grant.scopes, &entity, now).await?;
    let conflict = || Failure::bearer(400, "invalid_request", "the scopes have conflicting claims");
    let mut claims = claims.ok_or_else(conflict)?;
    claims.insert("sub".to_owned(), entity.id.to_string().into());
    Ok(document(200, &Value::Object(claims)))
}

/// The grant that an access token was given for, while it is good.
async fn good_grant(
    oidc: &Oidc,
    txn: &Txn,
    mount: &Mount,
    entry: &TokenEntry,
) -> Result<Option<Arc<Grant>>, EngineError> {
    let hash = entry.internal.get(OF_GRANT).and_then(|hash| URL_SAFE_NO_PAD.decode(hash).ok());
    let Some(hash) = hash.and_then(|hash| Hash::try_from(hash).ok()) else { return Ok(None) };
    let grant = oidc.grant(txn, mount.namespace, &hash).await?;
    Ok(grant.filter(|grant| matches!(grant.state, GrantState::Used { .. })))
}
