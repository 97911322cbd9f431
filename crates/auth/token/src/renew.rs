//! `renew`, `renew-self`, `renew-accessor`: where the auth method that granted the token asks outside, in steps.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{
    Caller, Clock, Engine, EngineError, Extension, Input, Mount, Question, Secret, TokenKind,
    View as MountView, bad_request,
};
use strongroom_pipeline::{RequestError, ServerPart, ServerReply};
use strongroom_tokens::{RenewalAnswer, RenewalQuestion, TokenId, TokenStore};

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
    mount: Arc<Mount>,
    Input(input): Input<RenewInput>,
    view: View,
    clock: Clock,
) -> Result<Question<Asks, Answered>, EngineError> {
    let token = input.token.map(|token| token.0).filter(|token| !token.is_empty());
    let token = Secret::new(token.ok_or_else(|| bad_request("missing token ID"))?);
    let found = tokens.principal_in(&view, mount.namespace, token.expose(), clock.now()).await?;
    let found = found.ok_or_else(|| bad_request("token not found"))?;
    question(&tokens, &view, found.id, found.entry.kind, token, input.increment).await
}

async fn of_caller(
    _own: MountView,
    Extension(tokens): Extension<TokenStore>,
    Input(input): Input<RenewSelfInput>,
    caller: Caller,
    view: View,
) -> Result<Question<Asks, Answered>, EngineError> {
    let token = (*caller.token).clone();
    question(&tokens, &view, TokenId::from(&caller), caller.kind, token, input.increment).await
}

async fn of_accessor(
    _own: MountView,
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(input): Input<RenewAccessorInput>,
    view: View,
) -> Result<Question<Asks, Answered>, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request(RequestError::list(&["missing accessor"])))?;
    let id = tokens.token_of_accessor(&view, mount.namespace, &accessor).await?;
    let id = id.ok_or_else(|| bad_request(RequestError::list(&["invalid accessor"])))?;
    question(&tokens, &view, id, TokenKind::Service, Secret::default(), input.increment).await
}

async fn question(
    tokens: &TokenStore,
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
    Ok(match tokens.renewal_question(view, &id, renewed.increment).await? {
        Question::Ask(asked) => Question::Ask(Asks(renewed, asked)),
        Question::Known(answer) => Question::Known(Answered(renewed, answer)),
    })
}

async fn ask(
    Asks(renewed, asked): Asks,
    Extension(tokens): Extension<TokenStore>,
) -> Result<Answered, EngineError> {
    tokens.ask_for_renewal(asked).await.map(|answer| Answered(renewed, answer))
}

async fn extend(
    answered: Arc<Answered>,
    Extension(tokens): Extension<TokenStore>,
    txn: Txn,
) -> Result<ServerReply, EngineError> {
    let Answered(Renewed { id, token, increment }, answer) = &*answered;
    let mut renewed = tokens.renew_token(&txn, id, *increment, answer).await?;
    renewed.token = token.clone();
    let part = ServerPart { auth: Some(renewed.auth_member()?), ..ServerPart::default() };
    Ok(ServerReply::of(part).warned(renewed.warnings.clone()))
}
