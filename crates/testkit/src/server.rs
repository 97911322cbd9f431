//! One server in process, over storage in memory that outlives it.
//!
//! Most tests of a part of the server want it whole: a lease is granted by a mount and held by a token, and a seal keeps
//! nothing worth sealing alone. [`Setup`] says what a test chooses of such a server, [`Server`] is the server, with a word for
//! what tests do most. Background work runs when a test says so ([`Server::settle`]), so that nothing happens by itself.
//!
//! Nodes that share a store or have raft's are a [`Cluster`](crate::cluster::Cluster).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use strongroom_barrier::{Barrier, MountId, NamespaceId, Txn, View};
use strongroom_core::Assembly;
use strongroom_engine_api::{
    Backend, Clock, EngineError, Entropy, Environment, LeaseGrant, Lifetimes, Moment, TokenKind,
};
use strongroom_initialization::InitRequest;
use strongroom_leases::Granted;
use strongroom_mounts::{Catalog, DISABLED_MOUNTS, MountHandle, NewMount};
use strongroom_pipeline::{DEFAULT_LEASE_TTL, Services, Settings, Verb};
use strongroom_seal::{ConfiguredSeal, Seals};
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::{InMemory, KeyRange, Store};
use strongroom_tokens::{NewToken, Principal, TokenEntry, TokenId};

use crate::{Request, Response};

/// The moment at which every server begins.
pub const START: Moment = Moment::from_secs(1_700_000_000);

/// The lifetimes of tokens that tests make themselves.
pub const LIFETIMES: Lifetimes = Lifetimes { default: Duration::from_hours(1), max: DEFAULT_LEASE_TTL };

/// Makes the engines of a server; a server that is started again has its own.
type MakeCatalog = Arc<dyn Fn() -> Catalog + Send + Sync>;

/// The choices of a test: engines, settings, seals.
#[derive(Clone)]
pub struct Setup {
    catalog: MakeCatalog,
    settings: Settings,
    seals: Seals,
}

impl Default for Setup {
    /// The engines that are part of the server, default settings, and key shares.
    fn default() -> Self {
        Self::of(|| {
            Catalog::new()
                .with(strongroom_sys::engine())
                .with(strongroom_token::engine())
                .with(strongroom_cubbyhole::engine())
                .with(strongroom_identity_engine::engine())
        })
    }
}

impl Setup {
    /// With these engines and no others: those that are part of every server must be among them.
    pub fn of(catalog: impl Fn() -> Catalog + Send + Sync + 'static) -> Self {
        Self { catalog: Arc::new(catalog), settings: Settings::default(), seals: shares() }
    }

    /// With one engine more.
    #[must_use]
    pub fn with<B: Backend>(self, engine: impl Fn() -> B + Send + Sync + 'static) -> Self {
        let others = self.catalog;
        Self { catalog: Arc::new(move || others().with(engine())), ..self }
    }

    /// With other settings.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// With other seals.
    #[must_use]
    pub fn seals(self, seals: Seals) -> Self {
        Self { seals, ..self }
    }

    /// A server over `store`, which may be empty; sealed.
    pub fn over(self, store: Arc<dyn Store>) -> Server {
        self.at(store, Clock::stepped(START))
    }

    fn at(self, store: Arc<dyn Store>, clock: Clock) -> Server {
        let entropy = Entropy::system();
        let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
        let environment = Environment { clock: clock.clone(), entropy };
        let core =
            Assembly::new(barrier, environment, self.settings.clone(), (self.catalog)(), self.seals.clone());
        Server { store, core, clock, root: String::new(), key_parts: Vec::new(), setup: self }
    }

    /// A server that is not initialized.
    pub fn blank(self) -> Server {
        self.over(Arc::new(InMemory::new()))
    }

    /// A server that is initialized, with so many key parts of which so many unseal it, and sealed.
    pub async fn sealed(self, parts: u8, required: u8) -> Server {
        let mut server = self.blank();
        server.initialize(parts, required).await;
        server
    }

    /// A server that is initialized with one key part, and unsealed.
    pub async fn start(self) -> Server {
        let server = self.sealed(1, 1).await;
        server.unseal().await;
        server
    }
}

/// The seals of a server that names none: key shares.
pub fn shares() -> Seals {
    Seals::one(Arc::new(ShamirSeal))
}

/// Several seals, and key shares for recovery.
pub fn with_recovery(seals: Vec<ConfiguredSeal>) -> Seals {
    Seals::several(seals).expect("they go together").with_recovery(Arc::new(ShamirSeal))
}

/// A server under test. Its storage outlives it.
pub struct Server {
    /// The storage.
    pub store: Arc<dyn Store>,
    /// The server.
    pub core: Arc<Assembly>,
    /// Its time, which a test steps.
    pub clock: Clock,
    /// The root token; empty before initialization.
    pub root: String,
    /// The key parts that initialization made.
    pub key_parts: Vec<Vec<u8>>,
    setup: Setup,
}

impl Server {
    /// With the engines that are part of every server; initialized and unsealed.
    pub async fn new() -> Self {
        Setup::default().start().await
    }

    /// The services.
    pub fn services(&self) -> &Services {
        &self.core.services
    }

    /// Initializes it; it stays sealed.
    pub async fn initialize(&mut self, parts: u8, required: u8) {
        let request = InitRequest::key_parts(parts, required);
        let made = self.services().initialization.initialize(request).await.expect("initializes");
        self.root.clone_from(made.root_token.expose());
        self.key_parts = made.key_parts.iter().map(|part| part.expose().clone()).collect();
    }

    /// Unseals it with its key parts.
    pub async fn unseal(&self) {
        for part in &self.key_parts {
            self.services().seal_state.offer_key_part(part.clone()).await.expect("unseals");
        }
        assert!(!self.services().barrier.is_sealed(), "there were enough key parts");
    }

    /// Another process over the same storage, with other seals; sealed.
    #[must_use]
    pub fn restarted_with(&self, seals: Seals) -> Self {
        let setup = self.setup.clone().seals(seals);
        let (root, key_parts) = (self.root.clone(), self.key_parts.clone());
        Self { root, key_parts, ..setup.at(self.store.clone(), self.clock.clone()) }
    }

    /// Another process over the same storage, unsealed, as after a crash.
    pub async fn restart(&mut self) {
        *self = self.restarted_with(self.setup.seals.clone());
        self.unseal().await;
    }

    /// What is committed now.
    pub async fn view(&self) -> View {
        self.services().barrier.pinned_view().await.expect("a view")
    }

    /// A transaction on what is committed now.
    pub async fn txn(&self) -> Txn {
        self.services().barrier.transaction(self.view().await)
    }

    /// Everything in storage, as the bytes that are there.
    pub async fn stored(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let found = snapshot.scan(&KeyRange::prefix(&[]), usize::MAX).await.expect("read");
        found.into_iter().map(|(key, found)| (key.to_vec(), found.value.to_vec())).collect()
    }

    /// The answer to a request.
    pub async fn ask(&self, request: Request) -> Response {
        self.core.pipeline.handle(request.inbound()).await.into()
    }

    /// GET with a token.
    pub async fn get(&self, token: &str, path: &str) -> Response {
        self.ask(Request::new(token, Verb::Read, path, json!({}))).await
    }

    /// POST with a token.
    pub async fn post(&self, token: &str, path: &str, input: Value) -> Response {
        self.ask(Request::new(token, Verb::Write, path, input)).await
    }

    /// GET as root.
    pub async fn read(&self, path: &str) -> Response {
        self.get(&self.root, path).await
    }

    /// POST as root.
    pub async fn write(&self, path: &str, input: Value) -> Response {
        self.post(&self.root, path, input).await
    }

    /// LIST as root.
    pub async fn list(&self, path: &str) -> Response {
        self.ask(Request::new(&self.root, Verb::List, path, json!({}))).await
    }

    /// DELETE as root.
    pub async fn delete(&self, path: &str) -> Response {
        self.ask(Request::new(&self.root, Verb::Delete, path, json!({}))).await
    }

    /// Writes a policy of the root namespace.
    pub async fn policy(&self, name: &str, text: &str) {
        let txn = self.txn().await;
        self.services().policies.write_policy(&txn, NamespaceId::ROOT, name, text).expect("a good policy");
        txn.commit().await.expect("commits");
    }
}

/// Mounts.
impl Server {
    /// Enables an engine in the root namespace.
    pub async fn enable(&self, path: &str, kind: &str) -> MountId {
        let txn = self.txn().await;
        let new = NewMount { kind: kind.to_owned(), ..NewMount::default() };
        let entry = self.services().mounts.add_mount(&txn, NamespaceId::ROOT, path, new).await.expect("free");
        txn.commit().await.expect("commits");
        entry.id
    }

    /// Disables an engine.
    pub async fn disable(&self, path: &str) {
        let txn = self.txn().await;
        let removed = self.services().mounts.remove_mount(&txn, NamespaceId::ROOT, path).await;
        assert!(removed.expect("removes").is_some(), "{path} was mounted");
        txn.commit().await.expect("commits");
    }

    /// The mount at a path of the root namespace.
    pub async fn mounted(&self, path: &str) -> Arc<MountHandle> {
        let router = self.services().mounts.router().await.expect("a router");
        router.at(NamespaceId::ROOT, path).expect("a mount")
    }

    /// The number of disabled mounts that are not gone yet.
    pub async fn draining(&self) -> usize {
        DISABLED_MOUNTS.keys(&self.view().await, &(), None, usize::MAX).await.expect("read").len()
    }
}

/// Tokens and leases.
impl Server {
    /// A renewable token made through `auth/token/create`, with an end.
    pub async fn token(&self, entry: TokenEntry) -> (String, TokenId) {
        let entry = TokenEntry { path: "auth/token/create".to_owned(), renewable: true, ..entry };
        let (token, id) = self.make_token(NewToken { entry, ..NewToken::default() }).await;
        (token, id)
    }

    /// A token.
    pub async fn make_token(&self, new: NewToken) -> (String, TokenId) {
        let txn = self.txn().await;
        let made = self.services().tokens.make_token(&txn, LIFETIMES, new).await.expect("a token");
        txn.commit().await.expect("commits");
        let token = made.token.expose().clone();
        let id = self.token_id(&token);
        (token, id)
    }

    /// A service token with this parent.
    pub async fn child(&self, parent: Option<TokenId>) -> TokenId {
        self.token(TokenEntry { parent, ..TokenEntry::default() }).await.1
    }

    /// A token that may do everything for two hours.
    pub async fn root_token(&self, parent: Option<TokenId>, kind: TokenKind) -> String {
        let entry = TokenEntry {
            policies: vec!["root".to_owned()],
            path: "auth/token/create".to_owned(),
            parent,
            kind,
            ..TokenEntry::default()
        };
        self.make_token(NewToken { entry, ttl: Duration::from_hours(2), ..NewToken::default() }).await.0
    }

    /// The name of a token in storage.
    pub fn token_id(&self, token: &str) -> TokenId {
        self.services().tokens.token_id(token).expect("unsealed")
    }

    /// A token that is in force.
    pub async fn principal(&self, token: &str) -> Principal {
        let found = self.services().tokens.principal(&self.view().await, token, self.clock.now()).await;
        found.expect("read").expect("in force")
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, id: &TokenId) {
        let txn = self.txn().await;
        self.services().tokens.revoke_token(&txn, id).await.expect("revokes");
        txn.commit().await.expect("commits");
    }

    /// A lease of an hour for nothing outside, held by a token, under `path`; answers its id.
    pub async fn lease(&self, owner: TokenId, path: &str) -> String {
        let txn = self.txn().await;
        let entry = self.services().tokens.entry(&txn, &owner).await.expect("read").expect("there");
        let owner = Principal { id: owner, entry };
        let grant = LeaseGrant { ttl: Duration::from_hours(1), renewable: true, ..LeaseGrant::default() };
        let mounted = self.mounted("cubbyhole/").await;
        let made = self.services().leases.make_lease(&txn, &mounted, path, &owner, grant).await;
        txn.commit().await.expect("commits");
        made.expect("a lease").0.id
    }

    /// Renews a lease within `txn`, as a request does.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub async fn renew(
        &self,
        txn: &Txn,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<Granted, EngineError> {
        let leases = &self.services().leases;
        let asked = leases.renewable_lease(txn, NamespaceId::ROOT, id, increment).await?;
        let asked = leases.ask_engine(asked).await?;
        leases.renew_lease(txn, &asked).await
    }

    /// Revokes a lease that is there.
    pub async fn revoke(&self, id: &str) {
        let txn = self.txn().await;
        let found = self.services().revocation.revoke_lease_id(&txn, NamespaceId::ROOT, id).await;
        assert!(found.expect("revokes"), "{id} was there");
        txn.commit().await.expect("commits");
    }
}

/// Background work and time.
impl Server {
    /// Runs all jobs until there is nothing more to do now.
    pub async fn settle(&self) {
        for _ in 0..3 {
            self.core.background.run_jobs_once(false).await.expect("jobs");
        }
    }

    /// Ends what is noted and due, without any other job; answers in how many steps.
    pub async fn end_noted(&self) -> usize {
        let revocation = &self.services().revocation;
        let mut steps = 0;
        while revocation.continue_revocations().await.expect("continues") {
            steps += 1;
        }
        while revocation.expire_due().await.expect("expires") {}
        steps
    }

    /// Has time pass in steps, with all jobs after each.
    pub async fn pass(&self, span: Duration, step: Duration) {
        let end = self.clock.now().after(span);
        while self.clock.now() < end {
            self.clock.advance(step);
            self.settle().await;
        }
    }
}
