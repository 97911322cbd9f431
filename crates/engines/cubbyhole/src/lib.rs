//! The cubbyhole secrets engine: each service token's own place for secrets, which no other token can reach and which
//! ends with the token. Source: Vault's documentation, "Cubbyhole secrets engine" and its API page.
//!
//! Whoever ends tokens calls [`purge`] within the engine's mount scope until nothing is left.

mod list;

use serde::{Deserialize, Serialize};
use strongroom_engine_api::{
    Body, Caller, Engine, EngineError, Json, Path, Reply, Secret, Stored, Table, TokenKind, Txn, View,
    bad_request,
};

/// A secret in a cubbyhole: its members as JSON text.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    data: Secret<String>,
}

impl Stored for Entry {}

/// What a cubbyhole's entries are found by: the token's number, then the path.
pub type Key<'a> = ([u8; 16], &'a str);

/// Secrets by token and path, within the scope of the engine's mount.
pub const fn entries<'a>() -> Table<Key<'a>, Entry> {
    Table::new(1)
}

/// The engine, which is part of the server and mounted once, at `cubbyhole/`.
pub fn engine() -> Engine {
    Engine::system(
        "cubbyhole",
        "Keeps secrets for one token: each token reads and writes its own values only, and they are removed when \
         the token is revoked or expires.",
    )
    .route("{path..}", |route| {
        route
            .read("Retrieve the secret at the specified location.", read)
            .upsert("Store a secret at the specified location.", exists, write)
            .delete("Delete the secret at the specified location.", delete)
            .list("List the names at the specified location; folders end in a slash.", list::list)
            .scan("List the paths of all secrets below the specified location.", list::scan)
    })
}

/// Removes up to `limit` entries of an ended token's cubbyhole. Answers whether there may be more.
pub async fn purge(txn: &Txn, token_key: [u8; 16], limit: usize) -> Result<bool, EngineError> {
    let found = entries().keys(txn, &token_key, None, limit).await?;
    for (token, path) in &found {
        entries().delete(txn, &(*token, path.as_str()));
    }
    Ok(found.len() == limit)
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
    Ok(entries().get(&txn, &(own(&caller)?, path.as_str())).await?.is_some())
}

async fn read(Path(path): Path<String>, caller: Caller, view: View) -> Result<Reply, EngineError> {
    let entry = entries().get(&view, &(own(&caller)?, path.as_str())).await?.ok_or(EngineError::NotFound)?;
    Ok(Reply { data: Some(Json::checked(entry.data.expose().clone())?), ..Reply::default() })
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
    entries().put(&txn, &(own, path.as_str()), Entry { data })?;
    Ok(())
}

async fn delete(Path(path): Path<String>, caller: Caller, txn: Txn) -> Result<(), EngineError> {
    entries().delete(&txn, &(own(&caller)?, path.as_str()));
    Ok(())
}

#[cfg(test)]
mod tests;
