//! `renew`, `renew-self`, `renew-accessor`.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{
    Caller, Clock, Engine, EngineError, Extension, Input, Mount, Secret, TokenKind, bad_request,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_pipeline::{RequestError, ServerPart, ServerReply};
use strongroom_tokens::{TokenId, TokenStore};

use crate::issued_identity;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("renew", |r| r.update("Renew a token.", renew))
        .route("renew-self", |r| r.update("Renew the calling token.", renew_self))
        .route("renew-accessor", |r| r.update("Renew a token by its accessor.", renew_accessor))
}

#[derive(Deserialize, JsonSchema)]
struct RenewInput {
    /// The desired increment in seconds to the token expiration.
    increment: Option<Ttl>,
    /// Token to renew.
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct RenewSelfInput {
    /// The desired increment in seconds to the token expiration.
    increment: Option<Ttl>,
    /// Means nothing here: it is the calling token that is renewed.
    #[allow(dead_code, reason = "documented by the API, and without effect")]
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct RenewAccessorInput {
    /// Accessor of the token to renew.
    accessor: Option<Text>,
    /// The desired increment in seconds to the token expiration.
    increment: Option<Ttl>,
}

async fn renew(
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<RenewInput>,
    txn: Txn,
    clock: Clock,
) -> Result<ServerReply, EngineError> {
    let token = input.token.map(|token| token.0).filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or_else(|| bad_request("missing token ID"))?);
    let found = tokens.principal_in(txn.peek(), mount.namespace, token.expose(), clock.now()).await?;
    let found = found.ok_or_else(|| bad_request("token not found"))?;
    extend((&tokens, &identity), &txn, &found.id, found.entry.kind, token, input.increment).await
}

async fn renew_self(
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    Input(input): Input<RenewSelfInput>,
    caller: Caller,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let token = (*caller.token).clone();
    extend((&tokens, &identity), &txn, &TokenId::from(&caller), caller.kind, token, input.increment).await
}

async fn renew_accessor(
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<RenewAccessorInput>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request(RequestError::list(&["missing accessor"])))?;
    let key = tokens.token_of_accessor(&txn, mount.namespace, &accessor).await?;
    let key = key.ok_or_else(|| bad_request(RequestError::list(&["invalid accessor"])))?;
    extend((&tokens, &identity), &txn, &key, TokenKind::Service, Secret::default(), input.increment).await
}

async fn extend(
    (tokens, identity): (&TokenStore, &Identity),
    txn: &Txn,
    key: &TokenId,
    kind: TokenKind,
    token: Secret<String>,
    increment: Option<Ttl>,
) -> Result<ServerReply, EngineError> {
    if kind == TokenKind::Batch {
        return Err(bad_request("batch tokens cannot be renewed"));
    }
    let increment: Option<Duration> = increment.map(|increment| increment.0);
    let kept = tokens.entry(txn, key).await?;
    let entity = kept.and_then(|entry| entry.entity()).map(|(home, id)| (home, IdentityId::of_bytes(id)));
    if let Some((home, id)) = entity {
        identity.require_enabled(home, id).await?;
    }
    let mut renewed = tokens.renew_token(txn, key, increment).await?;
    renewed.token = token;
    if let Some(entity) = entity {
        let groups = renewed.groups.take();
        let changed = match groups {
            Some(groups) => identity.renew_groups(txn, entity, renewed.entry.mount, &groups).await?,
            None => false,
        };
        renewed.identity =
            issued_identity(identity, txn, (entity, changed, false), renewed.entry.namespace).await?;
    }
    let part = ServerPart { auth: Some(renewed.auth_member()?), ..ServerPart::default() };
    Ok(ServerReply::of(part).warned(renewed.warnings.clone()))
}
