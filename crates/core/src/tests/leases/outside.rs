//! An engine whose leases stand for users of a fake system outside, which can be down, slow, refusing or forgetful; and a
//! core with it over a store that outlives the core.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_barrier::{Barrier, MountId, MountSpace, NamespaceId, Stored, Table, Txn, tables};
use strongroom_engine_api::{
    Clock, Engine, EngineError, Entropy, Environment, Extension, LeaseGrant, LeaseTerms, Leased, Moment,
    Mount, Path, Peer, Reply, RevokeError, Secret, TokenKind, Txn as MountTxn, View, bad_request,
};
use strongroom_expiry::{EXPIRY, IRREVOCABLE, LEASES, Lease, OWNED_LEASES, REVOCATIONS, TokenId};
use strongroom_mounts::DISABLED_MOUNTS;
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::InMemory;
use strongroom_tokens::{NewToken, Principal, TokenEntry};

use crate::{Assembly, Catalog, Inbound, InitRequest, NewMount, Settings, Verb};

pub(super) const ROOT: NamespaceId = NamespaceId::ROOT;

tables! {
    /// A mount's configuration.
    CONFIG: Table<MountSpace, str, String> = 1;
}

/// The behavior of the external system of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Fine,
    Down,
    Refusing,
    Slow(Duration),
    Hanging,
    Panicking,
}

/// The system outside: users by mount and name, with their ends.
#[derive(Default)]
pub(super) struct Outside {
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

impl Outside {
    pub(super) fn set(&self, mount: &str, mood: Mood) {
        self.state.lock().unwrap().moods.insert(mount.to_owned(), mood);
    }

    pub(super) fn users(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().users.keys().map(|(mount, name)| format!("{mount}{name}")).collect()
    }

    pub(super) fn until(&self, user: &str) -> Moment {
        let state = self.state.lock().unwrap();
        let found = state.users.iter().find(|((mount, name), _)| format!("{mount}{name}") == user);
        *found.unwrap().1
    }

    pub(super) fn forget(&self) {
        self.state.lock().unwrap().users.clear();
    }

    pub(super) fn calls(&self, mount: &str) -> usize {
        self.state.lock().unwrap().calls.get(mount).copied().unwrap_or_default()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.state.lock().unwrap().most_at_once
    }

    pub(super) fn make(&self, mount: &str, until: Moment) -> String {
        let mut state = self.state.lock().unwrap();
        state.made = state.made.saturating_add(1);
        let name = format!("user-{}", state.made);
        state.users.insert((mount.to_owned(), name.clone()), until);
        name
    }

    fn begin(&self, mount: &str, lease: &str) -> Mood {
        let mut state = self.state.lock().unwrap();
        let calls = state.calls.entry(mount.to_owned()).or_default();
        *calls = calls.saturating_add(1);
        assert!(state.under_way.insert(lease.to_owned()), "{lease} is revoked twice at a time");
        state.most_at_once = state.most_at_once.max(state.under_way.len());
        state.moods.get(mount).copied().unwrap_or_default()
    }
}

/// Ends a call, also one that is cut off.
struct Call<'a>(&'a Outside, String);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.lock() {
            state.under_way.remove(&self.1);
        }
    }
}

/// The data that is kept with a lease.
#[derive(Serialize, Deserialize)]
pub(super) struct User {
    pub(super) name: String,
}

impl Stored for User {}

fn engine(outside: &Arc<Outside>) -> Engine {
    Engine::new("outside", "Users of a system outside.")
        .extension(outside.clone())
        .lease("creds", |l| l.revoke(drop_user).renew(extend_user))
        .route("creds/{name}", |r| r.update("Make a user", create_user))
        .route("config", |r| r.update("Configure", configure))
        .tables(TABLES)
}

async fn create_user(
    Path(_role): Path<String>,
    Extension(outside): Extension<Outside>,
    mount: Arc<Mount>,
    clock: Clock,
    _txn: MountTxn,
) -> Result<Reply, EngineError> {
    let name = outside.make(&mount.path, clock.now());
    let grant = LeaseGrant {
        ttl: Duration::from_hours(1),
        ..LeaseGrant::of_kind("creds", &User { name: name.clone() })?
    };
    Ok(Reply::data(&json!({ "user": name }))?.lent(grant))
}

async fn configure(txn: MountTxn) -> Result<(), EngineError> {
    CONFIG.put(&txn, "url", "db://elsewhere".to_owned())?;
    Ok(())
}

async fn drop_user(
    user: Leased<User>,
    Extension(outside): Extension<Outside>,
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
    outside.state.lock().unwrap().users.remove(&(mount.path.clone(), user.payload.name));
    Ok(())
}

async fn extend_user(
    user: Leased<User>,
    Extension(outside): Extension<Outside>,
    mount: Arc<Mount>,
    clock: Clock,
) -> Result<LeaseTerms, EngineError> {
    let mut state = outside.state.lock().unwrap();
    if state.moods.get(&mount.path) == Some(&Mood::Refusing) {
        return Err(bad_request("the user is locked outside"));
    }
    // It grants an hour at most.
    let ttl = user.until.since(clock.now()).min(Duration::from_hours(1));
    let key = (mount.path.clone(), user.payload.name);
    state.users.insert(key, clock.now().after(ttl));
    Ok(LeaseTerms { ttl, max_ttl: Duration::from_hours(5) })
}

/// An answer, as far as tests look at it.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: Value,
}

pub(super) struct Server {
    store: Arc<InMemory>,
    pub(super) core: Arc<Assembly>,
    pub(super) clock: Clock,
    pub(super) outside: Arc<Outside>,
    pub(super) root: String,
    share: Vec<u8>,
}

fn core_over(store: &Arc<InMemory>, clock: &Clock, outside: &Arc<Outside>) -> Arc<Assembly> {
    let entropy = Entropy::system();
    let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
    let catalog = Catalog::new()
        .with(Engine::system("system", "A stand-in."))
        .with(Engine::system("cubbyhole", "A stand-in."))
        .with(Engine::system("token", "A stand-in."))
        .with(engine(outside));
    let environment = Environment { clock: clock.clone(), entropy };
    Assembly::new(barrier, environment, Settings::default(), catalog, Seals::one(Arc::new(ShamirSeal)))
}

impl Server {
    /// With the mounts `db/` and `other/`.
    pub(super) async fn new() -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let (store, outside) = (Arc::new(InMemory::new()), Arc::new(Outside::default()));
        let core = core_over(&store, &clock, &outside);
        let made = core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
        let share = made.key_parts[0].expose().clone();
        core.services.seal_state.offer_key_part(share.clone()).await.unwrap();
        let root = made.root_token.expose().clone();
        let server = Self { store, core, clock, outside, root, share };
        server.enable("db/").await;
        server.enable("other/").await;
        server
    }

    /// Another core over the same store, as after a crash.
    pub(super) async fn restart(&mut self) {
        self.core = core_over(&self.store, &self.clock, &self.outside);
        self.core.services.seal_state.offer_key_part(self.share.clone()).await.unwrap();
    }

    pub(super) async fn unseal(&self) {
        self.core.services.seal_state.offer_key_part(self.share.clone()).await.unwrap();
    }

    pub(super) async fn txn(&self) -> Txn {
        self.core.services.barrier.transaction(self.core.services.barrier.pinned_view().await.unwrap())
    }

    pub(super) async fn enable(&self, path: &str) -> MountId {
        let txn = self.txn().await;
        let new = NewMount { kind: "outside".to_owned(), ..NewMount::default() };
        let entry = self.core.services.mounts.add_mount(&txn, NamespaceId::ROOT, path, new).await.unwrap();
        txn.commit().await.unwrap();
        entry.id
    }

    pub(super) async fn disable(&self, path: &str) {
        let txn = self.txn().await;
        self.core.services.mounts.remove_mount(&txn, NamespaceId::ROOT, path).await.unwrap().unwrap();
        txn.commit().await.unwrap();
    }

    /// A token that may do everything here.
    pub(super) async fn token(&self, parent: Option<TokenId>, kind: TokenKind) -> String {
        let entry = TokenEntry {
            policies: vec!["root".to_owned()],
            path: "auth/token/create".to_owned(),
            parent,
            kind,
            ..TokenEntry::default()
        };
        let txn = self.txn().await;
        let lifetimes = strongroom_engine_api::Lifetimes {
            default: Duration::from_hours(2),
            max: Duration::from_hours(1000),
        };
        let made = self
            .core
            .services
            .tokens
            .make_token(&txn, lifetimes, NewToken { entry, ..NewToken::default() })
            .await
            .unwrap();
        txn.commit().await.unwrap();
        made.token.expose().clone()
    }

    pub(super) async fn principal(&self, token: &str) -> Principal {
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        self.core.services.tokens.principal(&view, token, self.clock.now()).await.unwrap().unwrap()
    }

    pub(super) async fn write(&self, token: &str, path: &str) -> Told {
        let inbound = Inbound {
            token: Some(Arc::new(Secret::new(token.to_owned()))),
            peer: Peer::at(([127, 0, 0, 1], 1)),
            ..Inbound::new("a-request", Verb::Write, path)
        };
        let answer = self.core.pipeline.handle(inbound).await;
        let body = answer.body.at_hand();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap() };
        Told { status: answer.status, body }
    }

    /// A lease for a user of a mount; answers its id.
    pub(super) async fn lend(&self, token: &str, mount: &str) -> String {
        let told = self.write(token, &format!("{mount}creds/web")).await;
        assert_eq!(told.status, 200, "{}", told.body);
        told.body["lease_id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn renew(
        &self,
        txn: &Txn,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<strongroom_leases::Granted, EngineError> {
        let asked = self.core.services.leases.renewable_lease(txn, NamespaceId::ROOT, id, increment).await?;
        let asked = self.core.services.leases.ask_engine(asked).await?;
        self.core.services.leases.renew_lease(txn, &asked).await
    }

    pub(super) async fn revoke(&self, id: &str) {
        let txn = self.txn().await;
        assert!(self.core.services.revocation.revoke_lease_id(&txn, ROOT, id).await.unwrap());
        txn.commit().await.unwrap();
    }

    pub(super) async fn revoke_token(&self, token: &str) {
        let txn = self.txn().await;
        self.core
            .services
            .tokens
            .revoke_token(&txn, &self.core.services.tokens.token_id(token).unwrap())
            .await
            .unwrap();
        txn.commit().await.unwrap();
    }

    /// All jobs until there is nothing more to do now.
    pub(super) async fn settle(&self) {
        for _ in 0..3 {
            self.core.background.run_jobs_once(false).await.unwrap();
        }
    }

    /// Time passes in steps, with all jobs after each.
    pub(super) async fn pass(&self, span: Duration, step: Duration) {
        let end = self.clock.now().after(span);
        while self.clock.now() < end {
            self.clock.advance(step);
            self.settle().await;
        }
    }

    pub(super) async fn lease(&self, id: &str) -> Option<Lease> {
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        LEASES.get(&view, &(ROOT, id)).await.unwrap().map(|lease| (*lease).clone())
    }

    /// The invariant, whatever has happened: what exists outside is a lease, and equal when all is quiet. And every
    /// lease stands where its state says, and nothing else does.
    pub(super) async fn check(&self, quiet: bool) {
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        let all = usize::MAX;
        let mut recorded = BTreeSet::new();
        let (mut ends, mut owned, mut queued, mut irrevocable) =
            <(Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
        for ((_, id), lease) in LEASES.scan(&view, &ROOT, None, all).await.unwrap() {
            if lease.token.is_some() {
                continue;
            }
            let name = self.name_of(&lease).await;
            assert!(!quiet || lease.state.is_active(), "{id} {:?}", lease.state);
            recorded.insert(name);
            match lease.state.queued_at() {
                None => {
                    ends.push(id.clone());
                    owned.extend(lease.owner.unwrap().holder().map(|_| id));
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
        let found = EXPIRY.scan(&view, &(), None, all).await.unwrap();
        let found: Vec<String> = found.into_iter().filter_map(|(_, entry)| entry.lease.clone()).collect();
        assert_eq!(sorted(found), sorted(ends));
        let found = OWNED_LEASES.keys(&view, &ROOT, None, all).await.unwrap();
        assert_eq!(sorted(found.into_iter().map(|(_, _, id)| id).collect()), sorted(owned));
        let found = REVOCATIONS.scan(&view, &(), None, all).await.unwrap();
        let found =
            found.into_iter().map(|((mount, (second, _)), entry)| (mount, second, entry.lease.clone()));
        assert_eq!(sorted(found.collect()), sorted(queued));
        let found = IRREVOCABLE.keys(&view, &ROOT, None, all).await.unwrap();
        assert_eq!(sorted(found.into_iter().map(|(_, id)| id).collect()), sorted(irrevocable));
    }

    async fn name_of(&self, lease: &Lease) -> String {
        let user: User = lease.payload.read().unwrap();
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        let (path, _) = self
            .core
            .services
            .mounts
            .origin_of_lease(&view, NamespaceId::ROOT, lease.mount)
            .await
            .unwrap()
            .unwrap();
        format!("{path}{}", user.name)
    }

    pub(super) async fn draining(&self) -> usize {
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        DISABLED_MOUNTS.keys(&view, &(), None, usize::MAX).await.unwrap().len()
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}
