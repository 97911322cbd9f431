//! The engine `outside`: every seam of the frame, for the fake system.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{
    ActError, Binary, Cached, Clock, Data, Engine, EngineError, Entropy, Event, Input, Intent, Issued,
    LeaseTerms, Leased, Mount, Path, Peer, Plan, Reply, RevokeError, Schedule, Stored, Table, Txn, View,
    bad_request, tables,
};
use strongroom_outbound::Outbound;

use super::accounts::{self, Account};
use super::pool::{Pool, Setting, read_setting, write_setting};
use super::reach::{Connection, Way};
use super::system::{Failure, Message, System, Told};
use crate::cluster::Gate;

tables! {
    /// The password that is in force, as far as is known; there is one.
    PASSWORD: Table<str, Password> = 1;
    /// What clients write, and read again.
    NOTES: Table<str, Note> = 2;
    /// Runs of the job, logins, and renewals.
    pub(super) RUNS: Table<str, Runs> = 3;
    /// What pools are made from.
    pub(super) SETTINGS: Table<str, Setting> = 4;
    /// Accounts whose passwords a job rotates.
    pub(super) ACCOUNTS: Table<str, Account> = 5;
}

/// The setting from which the pool of a mount is made.
pub(super) const POOL: &str = "pool";
/// The event of a note that was written.
pub const NOTE_WRITTEN: &str = "outside/note-write";

/// The password of the system.
#[derive(Clone, Serialize, Deserialize)]
struct Password(String);

impl Stored for Password {}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Note {
    /// The number that was written.
    value: u64,
}

impl Stored for Note {}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Runs(pub(super) u64);

impl Stored for Runs {}

/// A user that is to be made.
#[derive(Clone, Serialize, Deserialize)]
struct NewUser {
    role: String,
    /// The number that the system gave it; zero: none is known.
    number: u64,
}

impl Stored for NewUser {}

/// A password that is to be changed: either may hold.
#[derive(Clone, Serialize, Deserialize)]
struct Change {
    from: String,
    to: String,
}

impl Stored for Change {}

/// The engine, of a node behind `gate`.
pub fn engine(system: &System, gate: &Gate) -> Engine {
    through(Way::Simulated(system.clone(), gate.clone()))
}

/// The engine for the server that each mount's setting names as its `url`.
pub fn engine_over(outbound: &Outbound) -> Engine {
    through(Way::real(outbound))
}

fn through(way: Way) -> Engine {
    let engine = Engine::new("outside", "Users of a system outside.")
        .extension(Arc::new(way))
        .tables(TABLES)
        .lease("user", |lease| lease.revoke(drop_user).renew(extend_user))
        .settlement("password", settle_password)
        .job("count", Schedule::Every(Duration::from_mins(1)), count_runs)
        .route("creds/{name}", |r| {
            r.issue("user", "Make a user.", plan_user, make_user).delete("Make a mistake.", mistake)
        })
        .route("settings/{name}", |r| {
            r.read("Read a setting, and what follows from it.", read_setting)
                .update("Raise a setting by one.", write_setting)
        })
        .route("rotate", |r| {
            r.settle("password", "Change the password.", plan_change, change_password, note_password)
                .read("Read the password.", read_password)
        })
        .route("notes/{name}", |r| r.read("Read a note.", read_note).update("Write a note.", write_note))
        .route("echo", |r| r.owns(&["Retry-After"]).update("Answer bytes.", echo))
        .route("peer", |r| r.read("Say who is connected.", peer_of));
    accounts::routes(engine)
}

pub(super) async fn connect(pool: &Pool) -> Result<Connection, ActError> {
    pool.connect().await.map_err(|_failure| ActError::NotSent(unreachable()))
}

pub(super) fn unreachable() -> EngineError {
    EngineError::Status(502, "the system cannot be reached".to_owned())
}

pub(super) fn acted(told: &Result<Told, Failure>) -> Result<u64, ActError> {
    match told {
        Ok(Told::Done(number)) => Ok(*number),
        Ok(Told::Refused) => Err(ActError::Refused(bad_request("the system refuses"))),
        Err(Failure::NotSent) => Err(ActError::NotSent(unreachable())),
        Ok(Told::Allowed { .. }) | Err(Failure::NoAnswer) => Err(ActError::Unanswered(unreachable())),
    }
}

async fn plan_user(Path(role): Path<String>, txn: Txn) -> Result<Plan<NewUser>, EngineError> {
    // Planning reads and writes, so that it conflicts like any write.
    let runs = RUNS.get(&txn, "plans").await?.map_or(0, |runs| runs.0);
    RUNS.put(&txn, "plans", Runs(runs + 1))?;
    let ttl = if role == "short" { Duration::from_secs(90) } else { Duration::from_hours(1) };
    Ok(Plan { ttl, ..Plan::new(NewUser { role, number: 0 }) })
}

#[derive(Serialize, JsonSchema)]
struct Credential {
    /// The user's name.
    username: String,
    /// The number that the system gave it.
    number: u64,
    /// The setting of the pool through which it was made.
    setting: u64,
}

async fn make_user(
    user: Intent<NewUser>,
    pools: Cached<Pool>,
    clock: Clock,
) -> Result<Issued<Credential>, ActError> {
    let pool = pools.get(POOL).await.map_err(ActError::NotSent)?;
    let connection = connect(&pool).await?;
    user.check()?;
    let until = clock.now().after(Duration::from_hours(1));
    let number = acted(&connection.send(Message::Create(user.id().to_owned(), until)).await)?;
    let kept = NewUser { number, ..user.payload.clone() };
    let credential = Credential { username: user.id().to_owned(), number, setting: pool.setting };
    Ok(Issued::new(credential).keeping(&kept)?)
}

async fn drop_user(user: Leased<NewUser>, pools: Cached<Pool>) -> Result<(), RevokeError> {
    let down = || RevokeError::Unreachable("the system cannot be reached".to_owned());
    let connection = pools.get(POOL).await?.connect().await.map_err(|_failure| down())?;
    match connection.send(Message::Drop(user.id)).await {
        Ok(Told::Done(_)) => Ok(()),
        Ok(Told::Refused) => Err(RevokeError::Refused("the system refuses".to_owned())),
        Ok(Told::Allowed { .. }) | Err(_) => Err(down()),
    }
}

async fn extend_user(user: Leased<NewUser>, pools: Cached<Pool>) -> Result<LeaseTerms, EngineError> {
    let connection = pools.get(POOL).await?.connect().await.map_err(|_failure| unreachable())?;
    match connection.send(Message::Extend(user.id, user.until)).await {
        Ok(Told::Done(_)) => Ok(LeaseTerms::default()),
        Ok(Told::Refused) => Err(bad_request("the system refuses")),
        Ok(Told::Allowed { .. }) | Err(_) => Err(unreachable()),
    }
}

async fn mistake() -> Result<(), EngineError> {
    Err(bad_request("nobody deletes a credential by its role"))
}

async fn current_password(view: &View) -> Result<String, EngineError> {
    let known = PASSWORD.get(view, "").await?;
    Ok(known.map_or_else(|| "first".to_owned(), |password| password.0.clone()))
}

async fn plan_change(txn: Txn, entropy: Entropy) -> Result<Change, EngineError> {
    let known = PASSWORD.get(&txn, "").await?;
    let from = known.map_or_else(|| "first".to_owned(), |password| password.0.clone());
    Ok(Change { from, to: entropy.base62(12)? })
}

/// The password that holds now.
struct Holds(String);

async fn change_password(change: Intent<Change>, pools: Cached<Pool>) -> Result<Holds, ActError> {
    let pool = pools.get(POOL).await.map_err(ActError::NotSent)?;
    let connection = connect(&pool).await?;
    change.check()?;
    let Change { from, to } = change.payload.clone();
    acted(&connection.send(Message::Password(from, to)).await)?;
    Ok(Holds(change.payload.to.clone()))
}

async fn note_password(holds: Arc<Holds>, txn: Txn) -> Result<(), EngineError> {
    PASSWORD.put(&txn, "", Password(holds.0.clone()))?;
    Ok(())
}

async fn settle_password(change: Leased<Change>, pools: Cached<Pool>, txn: Txn) -> Result<(), RevokeError> {
    let down = || RevokeError::Unreachable("the system cannot be reached".to_owned());
    let pool = pools.get(POOL).await?;
    // Read in the transaction, so that a change that is noted meanwhile is not overwritten by what was true before it.
    let known = PASSWORD.get(&txn, "").await?;
    let known = known.map_or_else(|| "first".to_owned(), |password| password.0.clone());
    for password in [&change.payload.to, &change.payload.from] {
        let connection = pool.connect().await.map_err(|_failure| down())?;
        match connection.send(Message::Login(password.clone())).await {
            Ok(Told::Done(_)) => {
                PASSWORD.put(&txn, "", Password(password.clone()))?;
                return Ok(());
            }
            Ok(Told::Refused) => {}
            Ok(Told::Allowed { .. }) | Err(_) => return Err(down()),
        }
    }
    if known != change.payload.to && known != change.payload.from {
        // A later change has been noted.
        return Ok(());
    }
    Err(RevokeError::Refused("neither password is good".to_owned()))
}

#[derive(Serialize, JsonSchema)]
struct PasswordView {
    /// The password in force.
    password: String,
}

async fn read_password(view: View) -> Result<Data<PasswordView>, EngineError> {
    Ok(Data(PasswordView { password: current_password(&view).await? }))
}

async fn read_note(Path(name): Path<String>, view: View) -> Result<Option<Data<Note>>, EngineError> {
    Ok(NOTES.get(&view, &name).await?.map(|note| Data((*note).clone())))
}

async fn write_note(
    Path(name): Path<String>,
    Input(note): Input<Note>,
    mount: Arc<Mount>,
    txn: Txn,
    clock: Clock,
) -> Result<(), EngineError> {
    let value = note.value.to_string();
    NOTES.put(&txn, &name, note)?;
    txn.emit(|| {
        Event::new(NOTE_WRITTEN, clock.now(), format!("{}notes/{name}", mount.path)).with("value", value)
    });
    Ok(())
}

async fn count_runs(txn: Txn) -> Result<bool, EngineError> {
    let runs = RUNS.get(&txn, "jobs").await?.map_or(0, |runs| runs.0);
    RUNS.put(&txn, "jobs", Runs(runs + 1))?;
    Ok(false)
}

async fn echo(sent: Binary<1024>) -> Result<Reply, EngineError> {
    Ok(Reply::raw(200, sent.content_type.to_string(), sent.bytes)
        .header("Retry-After", "7")
        .header("X-Other", "1"))
}

#[derive(Serialize, JsonSchema)]
struct PeerView {
    /// The serial of the client's certificate; empty: there is none.
    serial: String,
    /// How many certificates it has shown, those of who signed it among them.
    certificates: usize,
}

async fn peer_of(peer: Peer) -> Result<Data<PeerView>, EngineError> {
    let serial = peer.certificates.serial().unwrap_or_default();
    Ok(Data(PeerView { serial, certificates: peer.certificates.iter().len() }))
}
