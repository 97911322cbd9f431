//! Accounts whose passwords a job rotates.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{
    ActError, Acts, Cached, Data, Engine, EngineError, Entropy, Intent, Leased, Mount, Path, RevokeError,
    Schedule, Stored, Txn, View,
};

use super::engine::{ACCOUNTS, POOL, acted, connect};
use super::pool::Pool;
use super::system::{Message, Told};

/// The time between two rotations.
const INTERVAL: Duration = Duration::from_mins(1);

/// An account whose password the job rotates.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Account {
    /// The name that it has in the system.
    outside: String,
    /// The password in force, as far as is known.
    password: String,
}

impl Stored for Account {}

/// A rotation: either password may hold.
#[derive(Clone, Serialize, Deserialize)]
struct Rotation {
    name: String,
    outside: String,
    from: String,
    to: String,
}

impl Stored for Rotation {}

pub(super) fn routes(engine: Engine) -> Engine {
    let acts = Acts::settled_by("account", due_accounts, plan_rotation, rotate, note_rotation);
    engine
        .settlement("account", settle_rotation)
        .acting_job("rotate-accounts", Schedule::Every(INTERVAL), acts)
        .route("accounts/{name}", |r| {
            r.read("Read an account.", read_account).update("Have an account rotated.", write_account)
        })
}

async fn read_account(Path(name): Path<String>, view: View) -> Result<Option<Data<Account>>, EngineError> {
    Ok(ACCOUNTS.get(&view, &name).await?.map(|account| Data((*account).clone())))
}

async fn write_account(Path(name): Path<String>, mount: Arc<Mount>, txn: Txn) -> Result<(), EngineError> {
    if ACCOUNTS.get(&txn, &name).await?.is_none() {
        let outside = format!("{}/{name}", mount.accessor);
        ACCOUNTS.put(&txn, &name, Account { outside, password: "first".to_owned() })?;
    }
    Ok(())
}

async fn due_accounts(view: View) -> Result<Vec<String>, EngineError> {
    Ok(ACCOUNTS.keys(&view, "", None, 16).await?)
}

async fn plan_rotation(name: String, txn: Txn, entropy: Entropy) -> Result<Option<Rotation>, EngineError> {
    let Some(account) = ACCOUNTS.get(&txn, &name).await? else { return Ok(None) };
    let Account { outside, password } = (*account).clone();
    Ok(Some(Rotation { name, outside, from: password, to: entropy.base62(12)? }))
}

/// A password that holds now.
struct Rotated {
    name: String,
    password: String,
}

async fn rotate(rotation: Intent<Rotation>, pools: Cached<Pool>) -> Result<Rotated, ActError> {
    let pool = pools.get(POOL).await.map_err(ActError::NotSent)?;
    let connection = connect(&pool).await?;
    rotation.check()?;
    let Rotation { name, outside, from, to } = rotation.payload.clone();
    acted(&connection.send(Message::Rotate(outside, from, to.clone())).await)?;
    Ok(Rotated { name, password: to })
}

async fn note_rotation(rotated: Arc<Rotated>, txn: Txn) -> Result<(), EngineError> {
    note(&txn, &rotated.name, &rotated.password).await
}

async fn note(txn: &Txn, name: &str, password: &str) -> Result<(), EngineError> {
    if let Some(account) = ACCOUNTS.get(txn, name).await? {
        let account = Account { password: password.to_owned(), ..(*account).clone() };
        ACCOUNTS.put(txn, name, account)?;
    }
    Ok(())
}

/// Finds out which of the two passwords holds.
async fn settle_rotation(
    rotation: Leased<Rotation>,
    pools: Cached<Pool>,
    txn: Txn,
) -> Result<(), RevokeError> {
    let down = || RevokeError::Unreachable("the system cannot be reached".to_owned());
    let pool = pools.get(POOL).await?;
    let Rotation { name, outside, from, to } = &rotation.payload;
    for password in [to, from] {
        let connection = pool.connect().await.map_err(|_failure| down())?;
        match connection.send(Message::Enter(outside.clone(), password.clone())).await {
            Ok(Told::Done(_)) => return Ok(note(&txn, name, password).await?),
            Ok(Told::Refused) => {}
            Ok(Told::Allowed { .. }) | Err(_) => return Err(down()),
        }
    }
    Err(RevokeError::Refused("neither password is good".to_owned()))
}
