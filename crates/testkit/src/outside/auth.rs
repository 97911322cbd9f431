//! The auth method of the system outside: logins by one-time codes, and renewals for which it is asked what an account may.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    AuthGrant, Engine, EngineError, Extension, Input, Path, Renewal, Txn, View, bad_request,
};

use super::engine::{RUNS, Runs, TABLES, unreachable};
use super::reach::Way;
use super::system::{Message, System, Told};
use crate::cluster::Gate;

/// The name of the account, in what is kept with a grant.
const NAME: &str = "name";

/// The auth method, of a node behind `gate`.
pub fn auth(system: &System, gate: &Gate) -> Engine {
    let way = Arc::new(Way::Simulated(system.clone(), gate.clone()));
    Engine::auth("outside-code", "Logins by one-time codes of a system outside.")
        .extension(way)
        .tables(TABLES)
        .ask_on_renew(prepare_renewal, ask_account, conclude_renewal)
        .route("login/{name}", |r| {
            r.login(|call| call.params.first().cloned()).ask(
                "Log in with a one-time code.",
                prepare_login,
                ask_code,
                conclude_login,
            )
        })
}

#[derive(Deserialize, JsonSchema)]
struct LoginInput {
    /// The one-time code.
    code: Text,
    /// The name of the token's entity; without it there is none.
    alias: Option<Text>,
}

/// The question of a login.
struct Question {
    code: String,
    runs: u64,
}

/// A login that the system has confirmed.
struct Confirmed {
    runs: u64,
}

async fn prepare_login(view: View, Input(input): Input<LoginInput>) -> Result<Question, EngineError> {
    let runs = RUNS.get(&view, "logins").await?.map_or(0, |runs| runs.0);
    Ok(Question { code: input.code.0, runs })
}

async fn ask_code(question: Question, Extension(way): Extension<Way>) -> Result<Confirmed, EngineError> {
    let connection = way.connect("").await.map_err(|_failure| unreachable())?;
    match connection.send(Message::Code(question.code)).await {
        Ok(Told::Done(_)) => Ok(Confirmed { runs: question.runs }),
        Ok(Told::Refused) => Err(EngineError::Credentials("the code is not good".to_owned())),
        Ok(Told::Allowed { .. }) | Err(_) => Err(unreachable()),
    }
}

async fn conclude_login(
    confirmed: Arc<Confirmed>,
    Path(name): Path<String>,
    Input(input): Input<LoginInput>,
    txn: Txn,
) -> Result<AuthGrant, EngineError> {
    count(&txn, "logins", confirmed.runs).await?;
    let internal = BTreeMap::from([(NAME.to_owned(), name.clone())]);
    let alias = input.alias.map(|alias| alias.0).unwrap_or_default();
    Ok(AuthGrant { display_name: name, alias, renewable: true, internal, ..AuthGrant::default() })
}

/// What was read for a question may be older than what is there now, never newer.
async fn count(txn: &Txn, what: &str, read_before: u64) -> Result<(), EngineError> {
    let runs = RUNS.get(txn, what).await?.map_or(0, |runs| runs.0);
    if runs < read_before {
        return Err(EngineError::Internal(format!("{what} went backwards")));
    }
    Ok(RUNS.put(txn, what, Runs(runs + 1))?)
}

/// The question of a renewal.
struct Account {
    name: String,
    runs: u64,
}

/// What the system says of an account.
struct Allowed {
    /// The policies of the groups that it is in.
    policies: Vec<String>,
    /// The TTL that it may have; zero: the mount's.
    ttl: Duration,
    runs: u64,
}

async fn prepare_renewal(view: View, renewal: Renewal) -> Result<Account, EngineError> {
    let missing = || EngineError::Internal("the token does not say whose it is".to_owned());
    let name = renewal.internal.get(NAME).cloned().ok_or_else(missing)?;
    let runs = RUNS.get(&view, "renewals").await?.map_or(0, |runs| runs.0);
    Ok(Account { name, runs })
}

async fn ask_account(account: Account, Extension(way): Extension<Way>) -> Result<Allowed, EngineError> {
    let connection = way.connect("").await.map_err(|_failure| unreachable())?;
    match connection.send(Message::Account(account.name)).await {
        Ok(Told::Allowed { group, minutes }) => Ok(Allowed {
            policies: group.into_iter().collect(),
            ttl: Duration::from_mins(minutes),
            runs: account.runs,
        }),
        Ok(Told::Done(_)) => Err(EngineError::Internal("an answer to another question".to_owned())),
        Ok(Told::Refused) => Err(bad_request("the account is blocked")),
        Err(_) => Err(unreachable()),
    }
}

async fn conclude_renewal(
    allowed: Arc<Allowed>,
    renewal: Renewal,
    txn: Txn,
) -> Result<AuthGrant, EngineError> {
    let named: Vec<&String> = renewal.policies.iter().filter(|name| *name != "default").collect();
    if named != allowed.policies.iter().collect::<Vec<_>>() {
        return Err(bad_request("policies have changed, not renewing"));
    }
    count(&txn, "renewals", allowed.runs).await?;
    let ttl = allowed.ttl;
    Ok(AuthGrant { ttl, renewable: true, internal: renewal.internal, ..AuthGrant::default() })
}
