//! The cubbyhole secrets engine: each service token's own place for secrets, which no other token can reach and which
//! ends with the token. Source: Vault's documentation, "Cubbyhole secrets engine" and its API page.
//!
//! It does not remove anything by itself: its table is declared as kept by token ([`Engine::kept_by_token`]), and the
//! server removes a token's entries with the token.

mod list;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_engine_api::{
    Body, Caller, Engine, EngineError, HeldResponse, Json, LocalTable, Path, Reply, Secret, Stored,
    TokenKind, Txn, View, bad_request, tables,
};

/// A secret in a cubbyhole: its members as JSON text.
#[derive(Serialize, Deserialize)]
struct Entry {
    data: Secret<String>,
}

impl Stored for Entry {}

tables! {
    /// Secrets by the token's number and path.
    ENTRIES: LocalTable<([u8; 16], &str), Entry> = 1;
}

/// The engine, which is part of the server and mounted once, at `cubbyhole/`.
pub fn engine() -> Engine {
    Engine::system(
        "cubbyhole",
        "Keeps secrets for one token: each token reads and writes its own values only, and they are removed when \
         the token is revoked or expires.",
    )
    .keeps_trailing_slash()
    .docs_page("cubbyhole.md")
    .tables(TABLES)
    .kept_by_token(ENTRIES.id())
    .route("{path..}", |route| {
        route
            .read("Retrieve the secret at the specified location.", read)
            .upsert("Store a secret at the specified location.", exists, write)
            .delete("Delete the secret at the specified location.", delete)
            .list("List the names at the specified location; prefixes end in a slash.", list::list)
            .scan("List the paths of all secrets below the specified location.", list::scan)
    })
}

/// The number that the caller's entries lie under. Batch tokens have none of their own.
fn own(caller: &Caller) -> Result<[u8; 16], EngineError> {
    match caller.kind {
        TokenKind::Service => Ok(caller.token_key),
        TokenKind::Batch => {
            Err(bad_request("cubbyhole operations are only supported by 'service' type tokens"))
        }
    }
}

async fn exists(Path(path): Path<String>, caller: Caller, txn: Txn) -> Result<bool, EngineError> {
    Ok(ENTRIES.get(&txn, &(own(&caller)?, path.as_str())).await?.is_some())
}

/// The name under which a wrapping token reads the response that it holds.
const RESPONSE: &str = "response";

async fn read(
    Path(path): Path<String>,
    caller: Caller,
    held: HeldResponse,
    view: View,
) -> Result<Reply, EngineError> {
    if path == RESPONSE
        && let Some(response) = held.get().await?
    {
        return Reply::data(&BTreeMap::from([(RESPONSE, response.expose())]));
    }
    let entry = ENTRIES.get(&view, &(own(&caller)?, path.as_str())).await?.ok_or(EngineError::NotFound)?;
    Ok(Reply::json(Json::checked(entry.data.expose().clone())?))
}

async fn write(
    Path(path): Path<String>,
    Body(members): Body,
    caller: Caller,
    txn: Txn,
) -> Result<(), EngineError> {
    let own = own(&caller)?;
    if path.is_empty() {
        return Err(bad_request("missing path"));
    }
    if path.ends_with('/') {
        return Err(bad_request("cannot write to a path ending in '/'"));
    }
    if members.is_empty() {
        return Err(bad_request("missing data fields"));
    }
    let data = Secret::new(serde_json::to_string(&members)?);
    ENTRIES.put(&txn, &(own, path.as_str()), Entry { data })?;
    Ok(())
}

async fn delete(Path(path): Path<String>, caller: Caller, txn: Txn) -> Result<(), EngineError> {
    ENTRIES.delete(&txn, &(own(&caller)?, path.as_str()));
    Ok(())
}

#[cfg(test)]
mod tests;
