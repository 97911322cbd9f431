//! Housekeeping: removes expired secret ids, and those of deleted roles. Each step is bounded, and its cost depends on what is
//! to be removed, not on how many secret ids there are.

use strongroom_engine_api::{Clock, EngineError, Moment, Reply, Txn};

use crate::store::{DELETED_ROLES, EXPIRY, RoleNumber, SECRET_IDS};

/// The most secret ids that one step clears.
const BATCH: usize = 500;

/// Clears secret ids whose second is over; answers whether there may be more.
pub(crate) async fn expire(clock: Clock, txn: Txn) -> Result<bool, EngineError> {
    clear_expired(&txn, clock.now()).await
}

/// Does the first step at once; housekeeping does the others. Nothing but expired entries can be left over here:
/// a secret id, its accessor and its expiry are written and deleted together.
pub(crate) async fn tidy(clock: Clock, txn: Txn) -> Result<Reply, EngineError> {
    clear_expired(&txn, clock.now()).await?;
    Ok(Reply::status(202).warned(
        "Tidy operation successfully started. Any information from the operation will be printed to Vault's server \
         logs.",
    ))
}

async fn clear_expired(txn: &Txn, now: Moment) -> Result<bool, EngineError> {
    // Read beside the transaction: a secret id that is made meanwhile is no reason to begin again.
    let due = EXPIRY.keys(&txn.peek(), &(), None, BATCH).await?;
    let due: Vec<_> = due.into_iter().take_while(|(second, _)| *second < now.as_secs()).collect();
    for (second, key) in &due {
        match SECRET_IDS.get(txn, key).await? {
            Some(secret) if secret.has_expired(now) => secret.remove(txn, key),
            // Destroyed and assigned anew since the index was read.
            _ => EXPIRY.delete(txn, &(*second, key)),
        }
    }
    Ok(due.len() == BATCH)
}

/// Continues with one deleted role; answers whether there was one.
pub(crate) async fn clear_deleted(txn: Txn) -> Result<bool, EngineError> {
    let Some(number) = DELETED_ROLES.keys(&txn.peek(), &(), None, 1).await?.pop() else { return Ok(false) };
    if !clear_role(&txn, &number).await? {
        DELETED_ROLES.delete(&txn, &number);
    }
    Ok(true)
}

/// Clears secret ids of a role that is deleted in this transaction or was before; whether there may be more.
pub(crate) async fn clear_role(txn: &Txn, number: &RoleNumber) -> Result<bool, EngineError> {
    // Read within the transaction: where all is found, a secret id that is made meanwhile must be noticed.
    let found = SECRET_IDS.scan(txn, number, None, BATCH).await?;
    for (key, secret) in &found {
        secret.remove(txn, key);
    }
    Ok(found.len() == BATCH)
}
