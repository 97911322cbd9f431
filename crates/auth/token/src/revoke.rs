//! `revoke`, `revoke-self`, `revoke-accessor`, `revoke-orphan`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Caller, Clock, Engine, EngineError, Extension, Input, Mount, Reply, TokenKind, bad_request,
};
use strongroom_pipeline::RequestError;
use strongroom_tokens::{TokenId, TokenStore};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("revoke", |r| r.update("Revoke a token and all tokens made from it.", revoke))
        .route("revoke-self", |r| {
            r.update("Revoke the calling token and all tokens made from it.", revoke_self)
        })
        .route("revoke-accessor", |r| {
            r.update("Revoke a token by its accessor, and all tokens made from it.", revoke_accessor)
        })
        .route("revoke-orphan", |r| {
            r.sudo().update("Revoke a token; the tokens made from it stay as orphans.", revoke_orphan)
        })
}

#[derive(Deserialize, JsonSchema)]
struct RevokeInput {
    /// Token to revoke.
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct RevokeAccessorInput {
    /// Accessor of the token to revoke.
    accessor: Option<Text>,
}

impl RevokeInput {
    /// The key of the token that is meant; `None` where there is no such token.
    async fn key(
        self,
        tokens: &TokenStore,
        txn: &Txn,
        mount: &Mount,
        clock: &Clock,
    ) -> Result<Option<TokenId>, EngineError> {
        let token = self.token.map(|token| token.0).filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| bad_request("missing token ID"))?;
        match tokens.principal_in(txn.peek(), mount.namespace, &token, clock.now()).await? {
            Some(found) if found.entry.kind == TokenKind::Batch => {
                Err(bad_request("batch tokens cannot be revoked"))
            }
            found => Ok(found.map(|found| found.id)),
        }
    }
}

async fn revoke(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
    clock: Clock,
) -> Result<(), EngineError> {
    match input.key(&tokens, &txn, &mount, &clock).await? {
        Some(key) => tokens.revoke_token(&txn, &key).await,
        None => Ok(()),
    }
}

async fn revoke_self(
    Extension(tokens): Extension<TokenStore>,
    caller: Caller,
    txn: Txn,
) -> Result<(), EngineError> {
    if caller.kind == TokenKind::Batch {
        return Err(bad_request("batch tokens cannot be revoked"));
    }
    tokens.revoke_token(&txn, &TokenId::from(&caller)).await
}

async fn revoke_accessor(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeAccessorInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request(RequestError::list(&["missing accessor"])))?;
    let Some(key) = tokens.token_of_accessor(&txn, mount.namespace, &accessor).await? else {
        return Ok(Reply::default().warned("No token found with this accessor"));
    };
    tokens.revoke_token(&txn, &key).await?;
    Ok(Reply::default())
}

async fn revoke_orphan(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    Input(input): Input<RevokeInput>,
    txn: Txn,
    clock: Clock,
) -> Result<(), EngineError> {
    let key = input
        .key(&tokens, &txn, &mount, &clock)
        .await?
        .ok_or_else(|| bad_request("token to revoke not found"))?;
    tokens.revoke_orphaning(&txn, &key).await
}
