//! The token auth method, `auth/token`: tokens made from tokens, looked up, renewed and revoked. Source: Vault's API
//! page "Token auth method" and its documentation page "Tokens".

mod accessors;
mod create;
mod lookup;
mod policies;
mod renew;
mod revoke;
mod roles;

use std::sync::Arc;

use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{Call, Engine, EngineError, Extension, Mount, Reply};
use strongroom_identity::{Identity, LoggedIn, Placed};
use strongroom_tokens::{IssuedIdentity, Tidy, TokenStore};

/// The engine that every server mounts at `auth/token/`.
pub fn engine() -> Engine {
    let engine = Engine::system("token", "Makes tokens from tokens, looks them up, renews and revokes them.")
        .docs_page("tokens.md");
    [accessors::routes, create::routes, lookup::routes, renew::routes, revoke::routes, roles::routes, routes]
        .into_iter()
        .fold(engine, |engine, part| part(engine))
}

fn routes(engine: Engine) -> Engine {
    engine.route("tidy", |r| r.update("Look for token records that lead nowhere, and remove them.", tidy))
}

async fn tidy(
    Extension(tokens): Extension<TokenStore>,
    mount: Arc<Mount>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let started = tokens.start_tidying_in(&txn, mount.namespace, Tidy::Tokens).await?;
    Ok(Reply::status(202).warned(if started {
        "Tidy operation successfully started. Any information from the operation will be printed to the server logs."
    } else {
        "Tidy operation already in progress."
    }))
}

/// The rights that a token made or renewed has by its entity, as the transaction has them where it has `changed` them.
async fn issued_identity(
    identity: &Identity,
    txn: &Txn,
    ((home, entity), changed, is_new): (Placed, bool, bool),
    namespace: NamespaceId,
) -> Result<IssuedIdentity, EngineError> {
    let rights = identity.rights_of(txn, home, LoggedIn { entity, is_new, changed }).await?;
    Ok(IssuedIdentity {
        policies: rights.policies_of(namespace).to_vec(),
        elsewhere: identity.policies_elsewhere(&rights, namespace).await?,
        is_new,
    })
}

/// The lease path of what is made at `path` below the mount.
fn full_path(call: &Arc<Call>, path: &str) -> String {
    format!("auth/{}{path}", call.mount.path)
}
