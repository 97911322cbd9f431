//! Users that a system outside lends, revoked by hooks of leases: how each mount's system behaves is up to the test.
//!
//! [`outside`](crate::outside) is for acts behind intents, whose messages are under way for a while. Here the system does at
//! once what it is asked, in the process, and counts: so a test can say which attempt at revoking a lease went how.
//! [`LendingServer::check`] is the invariant, whatever has happened: what exists outside is a lease.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_engine_api::{
    Clock, Engine, EngineError, Extension, LeaseGrant, LeaseTerms, Leased, Moment, Mount, Path, Reply,
    RevokeError, Stored, Table, Txn, View, bad_request, tables,
};
use strongroom_expiry::{EXPIRY, IRREVOCABLE, LEASES, Lease, OWNED_LEASES, REVOCATIONS};

use crate::server::{Server, Setup};

/// The type of the engine.
pub const KIND: &str = "lending";
const ROOT: NamespaceId = NamespaceId::ROOT;

tables! {
    /// A mount's configuration.
    CONFIG: Table<str, String> = 1;
}

/// The behavior of the external system of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It does what it is asked.
    #[default]
    Fine,
    /// It cannot be reached.
    Down,
    /// It says no.
    Refusing,
    /// It does what it is asked after a while.
    Slow(Duration),
    /// It does not answer.
    Hanging,
    /// The engine's handler panics.
    Panicking,
}

/// The systems outside: users by mount and name, with their ends.
#[derive(Default)]
pub struct Lending {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    users: BTreeMap<(String, String), Moment>,
    moods: BTreeMap<String, Mood>,
    calls: BTreeMap<String, usize>,
    under_way: BTreeSet<String>,
    most_at_once: usize,
    made: usize,
}

impl Lending {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a mount's system behave like this from now on.
    pub fn set(&self, mount: &str, mood: Mood) {
        self.state().moods.insert(mount.to_owned(), mood);
    }

    /// The users there are, each after the path of its mount.
    pub fn users(&self) -> BTreeSet<String> {
        self.state().users.keys().map(|(mount, name)| format!("{mount}{name}")).collect()
    }

    /// The end of a user as its system knows it.
    pub fn until(&self, user: &str) -> Moment {
        let state = self.state();
        let found = state.users.iter().find(|((mount, name), _)| format!("{mount}{name}") == user);
        *found.expect("a user").1
    }

    /// Has every system lose its users by itself.
    pub fn forget(&self) {
        self.state().users.clear();
    }

    /// Revocations that a mount's system was asked for.
    pub fn calls(&self, mount: &str) -> usize {
        self.state().calls.get(mount).copied().unwrap_or_default()
    }

    /// The most revocations that were under way at a time, of all mounts together.
    pub fn most_at_once(&self) -> usize {
        self.state().most_at_once
    }

    /// Makes a user; answers its name.
    pub fn make(&self, mount: &str, until: Moment) -> String {
        let mut state = self.state();
        state.made = state.made.saturating_add(1);
        let name = format!("user-{}", state.made);
        state.users.insert((mount.to_owned(), name.clone()), until);
        name
    }

    fn begin(&self, mount: &str, lease: &str) -> Mood {
        let mut state = self.state();
        let calls = state.calls.entry(mount.to_owned()).or_default();
        *calls = calls.saturating_add(1);
        assert!(state.under_way.insert(lease.to_owned()), "{lease} is revoked twice at a time");
        state.most_at_once = state.most_at_once.max(state.under_way.len());
        state.moods.get(mount).copied().unwrap_or_default()
    }
}

/// Ends a call, also one that is cut off.
struct Call<'a>(&'a Lending, String);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.state().under_way.remove(&self.1);
    }
}

/// The data that is kept with a lease.
#[derive(Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
}

impl Stored for User {}

/// The engine.
pub fn engine(outside: &Arc<Lending>) -> Engine {
    Engine::new(KIND, "Users of a system outside.")
        .extension(outside.clone())
        .lease("creds", |l| l.revoke(drop_user).renew(extend_user))
        .route("creds/{name}", |r| r.update("Make a user", create_user))
        .route("config", |r| r.update("Configure", configure))
        .tables(TABLES)
}

async fn create_user(
    Path(_role): Path<String>,
    Extension(outside): Extension<Lending>,
    mount: Arc<Mount>,
    clock: Clock,
    _txn: Txn,
) -> Result<Reply, EngineError> {
    let name = outside.make(&mount.path, clock.now());
    let grant = LeaseGrant {
        ttl: Duration::from_hours(1),
        ..LeaseGrant::of_kind("creds", &User { name: name.clone() })?
    };
    Ok(Reply::data(&json!({ "user": name }))?.lent(grant))
}

async fn configure(txn: Txn) -> Result<(), EngineError> {
    CONFIG.put(&txn, "url", "db://elsewhere".to_owned())?;
    Ok(())
}

async fn drop_user(
    user: Leased<User>,
    Extension(outside): Extension<Lending>,
    mount: Arc<Mount>,
    view: View,
    clock: Clock,
) -> Result<(), RevokeError> {
    CONFIG.get(&view, "url").await?;
    let mood = outside.begin(&mount.path, &user.id);
    let _call = Call(&outside, user.id.clone());
    match mood {
        Mood::Fine => tokio::task::yield_now().await,
        Mood::Down => return Err(RevokeError::Unreachable("no route\nto host".to_owned())),
        Mood::Refusing => return Err(RevokeError::Refused("no such privilege".to_owned())),
        Mood::Slow(span) => clock.sleep(span).await,
        Mood::Hanging => std::future::pending().await,
        Mood::Panicking => panic!("a mistake in an engine"),
    }
    outside.state().users.remove(&(mount.path.clone(), user.payload.name));
    Ok(())
}

async fn extend_user(
    user: Leased<User>,
    Extension(outside): Extension<Lending>,
    mount: Arc<Mount>,
    clock: Clock,
) -> Result<LeaseTerms, EngineError> {
    let mut state = outside.state();
    if state.moods.get(&mount.path) == Some(&Mood::Refusing) {
        return Err(bad_request("the user is locked outside"));
    }
    // It grants an hour at most.
    let ttl = user.until.since(clock.now()).min(Duration::from_hours(1));
    let key = (mount.path.clone(), user.payload.name);
    state.users.insert(key, clock.now().after(ttl));
    Ok(LeaseTerms { ttl, max_ttl: Duration::from_hours(5) })
}

/// A server with mounts `db/` and `other/` of such an engine.
pub struct LendingServer {
    server: Server,
    /// The systems outside.
    pub outside: Arc<Lending>,
}

impl Deref for LendingServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for LendingServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl LendingServer {
    /// With nothing lent.
    pub async fn new() -> Self {
        let outside = Arc::new(Lending::default());
        let lender = outside.clone();
        let server = Setup::default().with(move || engine(&lender)).start().await;
        server.enable("db/", KIND).await;
        server.enable("other/", KIND).await;
        Self { server, outside }
    }

    /// A lease for a user of a mount; answers its id.
    pub async fn lend(&self, token: &str, mount: &str) -> String {
        let lent = self.post(token, &format!("{mount}creds/web"), json!({})).await;
        assert_eq!(lent.status, 200, "{}", lent.body);
        lent.text("/lease_id")
    }

    /// The record of a lease.
    pub async fn lease(&self, id: &str) -> Option<Lease> {
        let found = self.services().leases.lease(&self.view().await, ROOT, id).await;
        found.expect("read").map(|lease| (*lease).clone())
    }

    /// Checks that what exists outside is a lease, and equal when all is `quiet`; that every lease is where its state says, and
    /// that nothing else is.
    pub async fn check(&self, quiet: bool) {
        let view = self.view().await;
        let all = usize::MAX;
        let mut recorded = BTreeSet::new();
        let (mut ends, mut owned, mut queued, mut irrevocable) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        for ((_, id), lease) in LEASES.scan(&view, &ROOT, None, all).await.expect("read") {
            if lease.token.is_some() {
                continue;
            }
            assert!(!quiet || lease.state.is_active(), "{id} {:?}", lease.state);
            recorded.insert(self.name_of(&lease).await);
            match lease.state.queued_at() {
                None => {
                    ends.push(id.clone());
                    owned.extend(lease.owner.expect("held by a token").holder().map(|_| id));
                }
                Some(second) => {
                    queued.push((lease.mount, second, id.clone()));
                    irrevocable.extend((second == u64::MAX).then_some(id));
                }
            }
        }
        let outside = self.outside.users();
        assert!(outside.is_subset(&recorded), "{outside:?} {recorded:?}");
        assert!(!quiet || outside == recorded, "{outside:?} {recorded:?}");
        let found = EXPIRY.scan(&view, &(), None, all).await.expect("read");
        let found: Vec<String> = found.into_iter().filter_map(|(_, entry)| entry.lease.clone()).collect();
        assert_eq!(sorted(found), sorted(ends));
        let found = OWNED_LEASES.keys(&view, &ROOT, None, all).await.expect("read");
        assert_eq!(sorted(found.into_iter().map(|(_, _, id)| id).collect()), sorted(owned));
        let found = REVOCATIONS.scan(&view, &(), None, all).await.expect("read");
        let found =
            found.into_iter().map(|((mount, (second, _)), entry)| (mount, second, entry.lease.clone()));
        assert_eq!(sorted(found.collect()), sorted(queued));
        let found = IRREVOCABLE.keys(&view, &ROOT, None, all).await.expect("read");
        assert_eq!(sorted(found.into_iter().map(|(_, id)| id).collect()), sorted(irrevocable));
    }

    /// The name outside of what a lease is for.
    async fn name_of(&self, lease: &Lease) -> String {
        let user: User = lease.payload.read().expect("a user");
        let origin = self.services().mounts.origin_of_lease(&self.view().await, ROOT, lease.mount).await;
        let (path, _) = origin.expect("read").expect("a mount, though it be disabled");
        format!("{path}{}", user.name)
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}
