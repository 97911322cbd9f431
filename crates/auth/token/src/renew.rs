//! `renew`, `renew-self`, `renew-accessor`: where the auth method that granted the token asks outside, in steps.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::{NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{
    Caller, Clock, Engine, EngineError, Extension, Input, Mount, Question, Secret, TokenKind,
    View as MountView, bad_request,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_pipeline::{RequestError, ServerPart, ServerReply};
use strongroom_tokens::{RenewalAnswer, RenewalQuestion, TokenId, TokenStore};

use crate::issued_identity;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("renew", |r| r.ask_if_needed("Renew a token.", of_token, ask, extend))
        .route("renew-self", |r| r.ask_if_needed("Renew the calling token.", of_caller, ask, extend))
        .route("renew-accessor", |r| {
            r.ask_if_needed("Renew a token by its accessor.", of_accessor, ask, extend)
        })
}

/// A token that is to be renewed.
struct Renewed {
    id: TokenId,
    /// Its text, where the client knows it.
    token: Secret<String>,
    increment: Option<Duration>,
}

/// A token, and what its auth method has to ask outside before it is renewed.
struct Asks(Renewed, RenewalQuestion);

/// A token, and the answer.
struct Answered(Renewed, RenewalAnswer);

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

async fn of_token(
    _own: MountView,
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<RenewInput>,
    view: View,
    clock: Clock,
) -> Result<Question<Asks, Answered>, EngineError> {
    let token = input.token.map(|token| token.0).filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or_else(|| bad_request("missing token ID"))?);
    let found = tokens.principal_in(&view, mount.namespace, token.expose(), clock.now()).await?;
    let found = found.ok_or_else(|| bad_request("token not found"))?;
    question((&tokens, &identity), &view, found.id, found.entry.kind, token, input.increment).await
}

async fn of_caller(
    _own: MountView,
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    Input(input): Input<RenewSelfInput>,
    caller: Caller,
    view: View,
) -> Result<Question<Asks, Answered>, EngineError> {
    let token = (*caller.token).clone();
    question((&tokens, &identity), &view, TokenId::from(&caller), caller.kind, token, input.increment).await
}

async fn of_accessor(
    _own: MountView,
    Extension(tokens): Extension<TokenStore>,
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<RenewAccessorInput>,
    view: View,
) -> Result<Question<Asks, Answered>, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request(RequestError::list(&["missing accessor"])))?;
    let id = tokens.token_of_accessor(&view, mount.namespace, &accessor).await?;
    let id = id.ok_or_else(|| bad_request(RequestError::list(&["invalid accessor"])))?;
    question((&tokens, &identity), &view, id, TokenKind::Service, Secret::default(), input.increment).await
}

async fn question(
    (tokens, identity): (&TokenStore, &Identity),
    view: &View,
    id: TokenId,
    kind: TokenKind,
    token: Secret<String>,
    increment: Option<Ttl>,
) -> Result<Question<Asks, Answered>, EngineError> {
    if kind == TokenKind::Batch {
        return Err(bad_request("batch tokens cannot be renewed"));
    }
    let renewed = Renewed { id, token, increment: increment.map(|increment| increment.0) };
    let entity = entity_of(tokens, view, &renewed.id).await?;
    if let Some((home, id)) = entity {
        identity.require_enabled(home, id).await?;
    }
    Ok(match tokens.renewal_question(view, &renewed.id, renewed.increment).await? {
        Question::Ask(asked) => Question::Ask(Asks(renewed, asked)),
        Question::Known(answer) => Question::Known(Answered(renewed, answer)),
    })
}

/// The entity of a token, and its namespace.
async fn entity_of(
    tokens: &TokenStore,
    reads: &impl Reads,
    id: &TokenId,
) -> Result<Option<(NamespaceId, IdentityId)>, EngineError> {
    let kept = tokens.entry(reads, id).await?;
    Ok(kept.and_then(|entry| entry.entity()).map(|(home, id)| (home, IdentityId::of_bytes(id))))
}

async fn ask(
    Asks(renewed, asked): Asks,
    Extension(tokens): Extension<TokenStore>,
) -> Result<Answered, EngineError> {
    tokens.ask_for_renewal(asked).await.map(|answer| Answered(renewed, answer))
}

async fn extend(
    answered: Arc<Answered>,
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let Answered(Renewed { id, token, increment }, answer) = &*answered;
    let entity = entity_of(&tokens, &txn, id).await?;
    if let Some((home, id)) = entity {
        identity.require_enabled(home, id).await?;
    }
    let mut renewed = tokens.renew_token(&txn, id, *increment, answer).await?;
    renewed.token = token.clone();
    if let Some(entity) = entity {
        let changed = match renewed.groups.take() {
            Some(groups) => identity.renew_groups(&txn, entity, renewed.entry.mount, &groups).await?,
            None => false,
        };
        renewed.identity =
            issued_identity(&identity, &txn, (entity, changed, false), renewed.entry.namespace).await?;
    }
    let part = ServerPart { auth: Some(renewed.auth_member()?), ..ServerPart::default() };
    Ok(ServerReply::of(part).warned(renewed.warnings.clone()))
}
