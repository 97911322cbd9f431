//! Clearing what is over: expired secret ids, and those of deleted roles. Each step is bounded, and what it costs
//! depends on what is over, not on how many secret ids there are.

use strongroom_engine_api::{Clock, EngineError, Moment, Reply, Txn};

use crate::store::{EXPIRY, LEAVINGS, RoleNumber, SECRET_IDS};

/// The most secret ids that one step clears.
const BATCH: usize = 500;

/// One step; whether there is more to do at once.
pub(crate) async fn maintain(clock: Clock, txn: Txn) -> Result<bool, EngineError> {
    let more_expired = clear_expired(&txn, clock.now()).await?;
    let more_left = clear_leavings(&txn).await?;
    Ok(more_expired || more_left)
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
    let due = EXPIRY.keys(txn.view(), &(), None, BATCH).await?;
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

/// Goes on with one deleted role; whether there was one.
async fn clear_leavings(txn: &Txn) -> Result<bool, EngineError> {
    let Some(number) = LEAVINGS.keys(txn.view(), &(), None, 1).await?.pop() else { return Ok(false) };
    if !clear_role(txn, &number).await? {
        LEAVINGS.delete(txn, &number);
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
