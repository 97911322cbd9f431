//! Tokens in a whole core over an in-memory store: trees, ends, uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use strongroom_barrier::{Barrier, MountId, MountLocal, MountPlace, NamespaceId, Table, Txn, tables};
use strongroom_engine_api::{
    Clock, Engine, EngineError, Entropy, Environment, Json, LeaseGrant, Lifetimes, Moment, Peer, Secret,
    TokenKind,
};
use strongroom_expiry::{EXPIRY, LEASES, OWNED_LEASES, TokenId, TokenKey};
use strongroom_mounts::{DISABLED_MOUNTS, DisabledMount};
use strongroom_seal::Seals;
use strongroom_seal_shamir::ShamirSeal;
use strongroom_storage::{InMemory, Index, Observer, Store};
use strongroom_tokens::tables::{ACCESSORS, CHILDREN, REVOKING, TOKENS, WRAPPED};
use strongroom_tokens::{NewToken, Principal, TokenEntry};

use crate::{
    Assembly, Catalog, DEFAULT_LEASE_TTL, Envelope, InitRequest, MountEntry, MountTuning, Settings, Tidy,
    TokenRole,
};
use strongroom_pipeline::{Inbound, Verb};

const ROOT: NamespaceId = NamespaceId::ROOT;
const HOUR: Duration = Duration::from_hours(1);
const LIFETIMES: Lifetimes = Lifetimes { default: HOUR, max: DEFAULT_LEASE_TTL };

tables! {
    /// The layout of the cubbyhole engine: entries by token and path.
    HOLE: Table<MountLocal, (TokenKey, &str), String> = 1;
}

struct Server {
    store: Arc<InMemory>,
    core: Arc<Assembly>,
    clock: Clock,
    root: String,
}

async fn nothing() -> Result<(), EngineError> {
    Ok(())
}

impl Server {
    async fn new() -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let entropy = Entropy::system();
        let store = Arc::new(InMemory::new());
        let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
        let catalog = Catalog::new()
            .with(Engine::system("system", "A stand-in."))
            .with(Engine::system("cubbyhole", "A stand-in.").kept_by_token(HOLE.id()))
            .with(
                Engine::system("token", "A stand-in.").route("lookup-self", |r| r.read("Look up", nothing)),
            );
        let seals = Seals::one(Arc::new(ShamirSeal));
        let core = Assembly::new(
            barrier,
            Environment { clock: clock.clone(), entropy },
            Settings::default(),
            catalog,
            seals,
        );
        let made = core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
        core.services.seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
        Self { store, core, clock, root: made.root_token.expose().clone() }
    }

    async fn txn(&self) -> Txn {
        self.core.services.barrier.transaction(self.core.services.barrier.pinned_view().await.unwrap())
    }

    /// A service token with an end.
    async fn token(&self, entry: TokenEntry) -> (String, TokenId) {
        let txn = self.txn().await;
        let entry = TokenEntry { path: "auth/token/create".to_owned(), renewable: true, ..entry };
        let made = self
            .core
            .services
            .tokens
            .make_token(&txn, LIFETIMES, NewToken { entry, ..NewToken::default() })
            .await
            .unwrap();
        txn.commit().await.unwrap();
        let key = self.core.services.tokens.token_id(made.token.expose()).unwrap();
        (made.token.expose().clone(), key)
    }

    async fn child(&self, parent: Option<TokenId>) -> TokenId {
        self.token(TokenEntry { parent, ..TokenEntry::default() }).await.1
    }

    async fn lease(&self, owner: TokenId, path: &str) -> String {
        let txn = self.txn().await;
        let mounted = self
            .core
            .services
            .mounts
            .router()
            .await
            .unwrap()
            .at(NamespaceId::ROOT, "cubbyhole/")
            .unwrap()
            .clone();
        let grant = LeaseGrant { ttl: HOUR, renewable: true, ..LeaseGrant::default() };
        let entry = TOKENS.get(&txn, &owner.at()).await.unwrap().unwrap();
        let owner = Principal { id: owner, entry };
        let (lease, _) =
            self.core.services.leases.make_lease(&txn, &mounted, path, &owner, grant).await.unwrap();
        txn.commit().await.unwrap();
        lease.id
    }

    async fn hole(&self) -> MountPlace {
        self.core
            .services
            .mounts
            .router()
            .await
            .unwrap()
            .at(NamespaceId::ROOT, "cubbyhole/")
            .unwrap()
            .mount
            .place()
    }

    async fn hide(&self, id: TokenId, names: usize) {
        let txn = self.txn().await;
        let hole = txn.mount(self.hole().await);
        for name in 0..names {
            HOLE.put(&hole, &(id.key, format!("{name}").as_str()), "hidden".to_owned()).unwrap();
        }
        txn.commit().await.unwrap();
    }

    async fn hidden(&self) -> BTreeSet<TokenId> {
        let view = self.core.services.barrier.pinned_view().await.unwrap().mount(self.hole().await);
        let found = HOLE.keys(&view, &(), None, usize::MAX).await.unwrap();
        found.into_iter().map(|(key, _)| TokenId { key, ..TokenId::default() }).collect()
    }

    async fn revoke(&self, key: &TokenId) {
        let txn = self.txn().await;
        self.core.services.tokens.revoke_token(&txn, key).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Housekeeping until there is nothing left to do.
    async fn settle(&self) -> usize {
        let mut steps = 0usize;
        while self.core.services.revocation.continue_revocations().await.unwrap() {
            steps = steps.saturating_add(1);
        }
        while self.core.services.revocation.expire_due().await.unwrap() {}
        steps
    }

    async fn get(&self, token: &str, path: &str) -> u16 {
        let inbound = Inbound {
            token: Some(Arc::new(Secret::new(token.to_owned()))),
            peer: Peer::at(([127, 0, 0, 1], 1)),
            ..Inbound::new("a-request", Verb::Read, path)
        };
        self.core.pipeline.handle(inbound).await.status
    }

    fn root_key(&self) -> TokenId {
        self.core.services.tokens.token_id(&self.root).unwrap()
    }
}

/// Everything that is kept of tokens and leases.
#[derive(Debug, PartialEq, Eq)]
struct Records {
    tokens: BTreeSet<TokenId>,
    accessors: BTreeSet<TokenId>,
    children: BTreeSet<(TokenId, TokenId)>,
    ends: BTreeSet<(u64, String)>,
    token_leases: BTreeSet<TokenId>,
    leases: BTreeSet<String>,
    owned: BTreeSet<(TokenId, String)>,
    wrapped: BTreeSet<TokenId>,
    revoking: BTreeSet<TokenId>,
}

impl Server {
    async fn renew(
        &self,
        txn: &Txn,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<strongroom_leases::Granted, EngineError> {
        let asked = self.core.services.leases.renewable_lease(txn, NamespaceId::ROOT, id, increment).await?;
        let asked = self.core.services.leases.ask_engine(asked).await?;
        self.core.services.leases.renew_lease(txn, &asked).await
    }

    async fn records(&self) -> Records {
        let view = self.core.services.barrier.pinned_view().await.unwrap();
        let all = usize::MAX;
        let mut token_leases = BTreeSet::new();
        let mut leases = BTreeSet::new();
        for ((_, id), lease) in LEASES.scan(&view, &ROOT, None, all).await.unwrap() {
            match lease.token {
                Some(key) => assert!(token_leases.insert(key), "a token is listed once"),
                None => assert!(leases.insert(id)),
            }
        }
        let mut ends = BTreeSet::new();
        for ((at, key), due) in EXPIRY.scan(&view, &(), None, all).await.unwrap() {
            ends.insert((at, due.lease.clone().unwrap_or_else(|| format!("{key:?}"))));
        }
        let accessors = ACCESSORS.scan(&view, &ROOT, None, all).await.unwrap();
        let children = CHILDREN.keys(&view, &ROOT, None, all).await.unwrap();
        let owned = OWNED_LEASES.keys(&view, &ROOT, None, all).await.unwrap();
        Records {
            tokens: ids(TOKENS.keys(&view, &ROOT, None, all).await.unwrap()),
            accessors: accessors.into_iter().map(|(_, to)| to.token).collect(),
            children: children
                .into_iter()
                .map(|(namespace, key, child)| (TokenId { namespace, key }, child))
                .collect(),
            ends,
            token_leases,
            leases,
            owned: owned.into_iter().map(|(namespace, key, id)| (TokenId { namespace, key }, id)).collect(),
            wrapped: ids(WRAPPED.keys(&view, &ROOT, None, all).await.unwrap()),
            revoking: REVOKING.keys(&view, &(), None, all).await.unwrap().into_iter().collect(),
        }
    }

    /// The tokens and leases that must be kept when `tokens` (with their parents) and the leases they own are all there
    /// is beside root.
    fn expected(&self, tokens: &BTreeMap<TokenId, Option<TokenId>>, owned: &[(TokenId, String)]) -> Records {
        let end = self.clock.now().after(HOUR).as_secs();
        let keys: BTreeSet<TokenId> = tokens.keys().copied().collect();
        let mut with_root = keys.clone();
        with_root.insert(self.root_key());
        let mut ends: BTreeSet<_> = keys.iter().map(|id| (end, format!("{:?}", id.key))).collect();
        ends.extend(owned.iter().map(|(_, id)| (end, id.clone())));
        Records {
            tokens: with_root.clone(),
            accessors: with_root,
            children: tokens.iter().filter_map(|(key, parent)| parent.map(|parent| (parent, *key))).collect(),
            ends,
            token_leases: keys,
            leases: owned.iter().map(|(_, id)| id.clone()).collect(),
            owned: owned.iter().cloned().collect(),
            wrapped: BTreeSet::new(),
            revoking: BTreeSet::new(),
        }
    }
}

fn ids(keys: Vec<(NamespaceId, TokenKey)>) -> BTreeSet<TokenId> {
    keys.into_iter().map(|(namespace, key)| TokenId { namespace, key }).collect()
}

/// The keys of the subtree of `top`.
fn subtree(tokens: &BTreeMap<TokenId, Option<TokenId>>, top: TokenId) -> BTreeSet<TokenId> {
    let mut within = BTreeSet::from([top]);
    loop {
        let more: Vec<TokenId> = tokens
            .iter()
            .filter(|(key, parent)| {
                parent.is_some_and(|parent| within.contains(&parent)) && !within.contains(*key)
            })
            .map(|(key, _)| *key)
            .collect();
        if more.is_empty() {
            return within;
        }
        within.extend(more);
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_subtree_goes(
        parents in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        leases in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        top in any::<prop::sample::Index>(),
        orphaning in any::<bool>(),
    ) {
        run(async move {
            let server = Server::new().await;
            let mut keys: Vec<TokenId> = Vec::new();
            let mut tokens = BTreeMap::new();
            for parent in parents {
                // One in the range stands for no parent at all.
                let parent = keys.get(parent.index(keys.len().saturating_add(1))).copied();
                let key = server.child(parent).await;
                keys.push(key);
                tokens.insert(key, parent);
            }
            let mut owned = Vec::new();
            for owner in leases {
                let owner = *owner.get(&keys);
                owned.push((owner, server.lease(owner, "loans/creds/x").await));
            }
            assert_eq!(server.records().await, server.expected(&tokens, &owned));
            let top = *top.get(&keys);
            let gone = if orphaning {
                let txn = server.txn().await;
                server.core.services.tokens.revoke_orphaning(&txn, &top).await.unwrap();
                txn.commit().await.unwrap();
                for parent in tokens.values_mut().filter(|parent| **parent == Some(top)) {
                    *parent = None;
                }
                BTreeSet::from([top])
            } else {
                server.revoke(&top).await;
                subtree(&tokens, top)
            };
            server.settle().await;
            tokens.retain(|key, _| !gone.contains(key));
            owned.retain(|(owner, _)| !gone.contains(owner));
            assert_eq!(server.records().await, server.expected(&tokens, &owned));
        });
    }
}

#[tokio::test]
async fn a_large_tree_goes_in_steps() {
    let server = Server::new().await;
    let top = server.child(None).await;
    let stays = server.child(None).await;
    let mut tokens = BTreeMap::from([(stays, None)]);
    for _ in 0..300 {
        let child = server.child(Some(top)).await;
        server.child(Some(child)).await;
    }
    server.hide(top, 300).await;
    server.hide(stays, 1).await;
    tokens.insert(server.child(Some(stays)).await, Some(stays));
    server.revoke(&top).await;
    let records = server.records().await;
    assert!(!records.tokens.contains(&top), "the token itself goes at once");
    assert!(!records.revoking.is_empty(), "what is left is noted");
    assert!(server.settle().await > 1);
    assert_eq!(server.records().await, server.expected(&tokens, &[]));
    assert_eq!(server.hidden().await, BTreeSet::from([stays]), "cubbyholes go with their tokens");
}

/// The most keys that one commit has written or deleted.
#[derive(Default)]
struct Largest(AtomicUsize);

impl Observer for Largest {
    fn applied(&self, _index: Index, keys: &[&[u8]]) {
        self.0.fetch_max(keys.len(), Ordering::Relaxed);
    }

    fn replaced(&self, _index: Index) {}
}

/// A database takes so much in one transaction and no more: trees of several tokens are counted together.
#[tokio::test]
async fn the_trees_of_a_mount_that_is_gone_go_in_steps() {
    const GONE: MountId = MountId::new(77);
    let server = Server::new().await;
    for _ in 0..40 {
        let txn = server.txn().await;
        let entry = TokenEntry { path: "auth/gone/login".to_owned(), mount: GONE, ..TokenEntry::default() };
        let made = server
            .core
            .services
            .tokens
            .make_token(&txn, LIFETIMES, NewToken { entry, ..NewToken::default() })
            .await;
        txn.commit().await.unwrap();
        let key = server.core.services.tokens.token_id(made.unwrap().token.expose()).unwrap();
        for _ in 0..40 {
            server.child(Some(key)).await;
        }
    }
    let largest = Arc::new(Largest::default());
    server.store.observe(largest.clone());
    let txn = server.txn().await;
    let entry = MountEntry {
        id: GONE,
        uuid: String::new(),
        accessor: String::new(),
        kind: "gone".to_owned(),
        description: String::new(),
        options: BTreeMap::new(),
        tuning: MountTuning::default(),
        local: false,
        seal_wrap: false,
        external_entropy_access: false,
    };
    let gone = DisabledMount::new(ROOT, "auth/gone/", entry);
    DISABLED_MOUNTS.put(&txn, &GONE, gone).unwrap();
    txn.commit().await.unwrap();
    while server.core.services.revocation.clear_disabled_mounts().await.unwrap() {}
    server.settle().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
    let largest = largest.0.load(Ordering::Relaxed);
    assert!(largest < 700, "{largest} keys in one transaction");
}

/// The number of keys of each commit, in order.
#[derive(Default)]
struct Sizes(Mutex<Vec<usize>>);

impl Observer for Sizes {
    fn applied(&self, _index: Index, keys: &[&[u8]]) {
        self.0.lock().unwrap().push(keys.len());
    }

    fn replaced(&self, _index: Index) {}
}

/// Everybody's commits wait while one is applied, so that a large revocation is many small ones, with others between any two.
#[tokio::test]
async fn others_commit_between_the_small_steps_of_a_large_revocation() {
    const TOKENS_MADE: usize = 200;
    for way in ["prefix", "expiry"] {
        let server = Server::new().await;
        let writes = server.child(None).await;
        for _ in 0..TOKENS_MADE {
            let entry = TokenEntry { path: "auth/gone/login".to_owned(), ..TokenEntry::default() };
            let txn = server.txn().await;
            let new = NewToken { entry, ..NewToken::default() };
            server.core.services.tokens.make_token(&txn, LIFETIMES, new).await.unwrap();
            txn.commit().await.unwrap();
        }
        let sizes = Arc::new(Sizes::default());
        server.store.observe(sizes.clone());
        if way == "prefix" {
            let txn = server.txn().await;
            server.core.services.revocation.revoke_prefix(&txn, ROOT, "auth/gone", false).await.unwrap();
            txn.commit().await.unwrap();
        } else {
            server.clock.advance(HOUR + Duration::from_secs(1));
        }
        let (core, done) = (server.core.clone(), Arc::new(AtomicUsize::new(0)));
        let finished = done.clone();
        let job = tokio::spawn(async move {
            core.background.run_jobs_once(false).await.unwrap();
            finished.store(1, Ordering::Relaxed);
        });
        let mut written = 0usize;
        while done.load(Ordering::Relaxed) == 0 {
            server.hide(writes, 1).await;
            written += 1;
            tokio::task::yield_now().await;
        }
        job.await.unwrap();
        let view = server.core.services.barrier.pinned_view().await.unwrap();
        assert_eq!(LEASES.keys(&view, &(ROOT, "auth/gone/"), None, 1).await.unwrap(), []);
        let sizes = sizes.0.lock().unwrap().clone();
        let steps: Vec<usize> = sizes.iter().copied().filter(|size| *size > 1).collect();
        assert!(steps.iter().all(|size| *size <= 128), "{way}: {steps:?} keys");
        assert!(steps.len() >= TOKENS_MADE / 16 && written >= steps.len(), "{way}: {sizes:?}");
        // The walk of a prefix notes its place; the note of its end is all that may follow a step at once.
        let together = sizes.windows(2).filter(|pair| pair.iter().all(|size| *size > 1)).count();
        assert!(together <= 1, "{way}: {sizes:?}");
    }
}

#[tokio::test]
async fn many_children_become_orphans_in_steps() {
    let server = Server::new().await;
    let top = server.child(None).await;
    let mut tokens = BTreeMap::new();
    for _ in 0..600 {
        tokens.insert(server.child(Some(top)).await, None);
    }
    let txn = server.txn().await;
    server.core.services.tokens.revoke_orphaning(&txn, &top).await.unwrap();
    txn.commit().await.unwrap();
    assert!(server.settle().await > 1);
    assert_eq!(server.records().await, server.expected(&tokens, &[]));
}

#[tokio::test]
async fn a_prefix_is_a_folder_and_goes_in_steps() {
    for at_once in [true, false] {
        let server = Server::new().await;
        let owner = server.child(None).await;
        for _ in 0..300 {
            server.lease(owner, "loans/creds/web").await;
        }
        let other = server.lease(owner, "loans/creds/website").await;
        if at_once {
            server.core.services.revocation.revoke_prefix_now(ROOT, "loans/creds/web", false).await.unwrap();
        } else {
            let txn = server.txn().await;
            assert!(
                server
                    .core
                    .services
                    .revocation
                    .revoke_prefix(&txn, ROOT, "loans/creds/web", false)
                    .await
                    .unwrap()
            );
            txn.commit().await.unwrap();
            assert!(server.settle().await > 1);
        }
        let tokens = BTreeMap::from([(owner, None)]);
        assert_eq!(server.records().await, server.expected(&tokens, &[(owner, other)]));
    }
}

#[tokio::test]
async fn revoking_a_tokens_lease_revokes_the_token() {
    let server = Server::new().await;
    let parent = server.child(None).await;
    server.child(Some(parent)).await;
    let txn = server.txn().await;
    let id = format!("auth/token/create/h{:032x}", u128::from_be_bytes(parent.key));
    assert!(server.core.services.revocation.revoke_lease_id(&txn, ROOT, &id).await.unwrap());
    assert!(
        !server.core.services.revocation.revoke_lease_id(&txn, ROOT, "auth/token/create/hx").await.unwrap()
    );
    txn.commit().await.unwrap();
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

#[tokio::test]
async fn listing_passes_over_folders() {
    let server = Server::new().await;
    let owner = server.child(None).await;
    for _ in 0..300 {
        server.lease(owner, "a/creds/web").await;
    }
    server.lease(owner, "a/other").await;
    server.lease(owner, "b/creds/web").await;
    let view = server.core.services.barrier.pinned_view().await.unwrap();
    let list = async |folder, after, limit| {
        server.core.services.leases.lease_children(&view, ROOT, folder, after, limit).await.unwrap()
    };
    assert_eq!(list("", None, 10).await, ["a/", "auth/", "b/"]);
    assert_eq!(list("", Some("a/"), 1).await, ["auth/"]);
    assert_eq!(list("a/", None, 10).await, ["creds/", "other/"]);
    assert_eq!(list("a/creds/web/", None, 1000).await.len(), 300);
    assert_eq!(list("a/creds/web/", None, 7).await.len(), 7);
    assert_eq!(list("a/cre/", None, 10).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_due_ends_and_what_was_renewed_does_not() {
    let server = Server::new().await;
    let (_, ends) = server.token(TokenEntry::default()).await;
    let (_, renewed) = server.token(TokenEntry::default()).await;
    let lease = server.lease(renewed, "loans/creds/x").await;
    server.clock.advance(HOUR / 2);
    let txn = server.txn().await;
    server.core.services.tokens.renew_token(&txn, &renewed, None).await.unwrap();
    let view = server.renew(&txn, &lease, Some(HOUR)).await.unwrap();
    assert_eq!(view.0.ttl, HOUR);
    txn.commit().await.unwrap();
    server.clock.advance(HOUR / 2);
    server.settle().await;
    let records = server.records().await;
    assert!(!records.tokens.contains(&ends));
    assert!(records.tokens.contains(&renewed));
    assert_eq!(records.leases, BTreeSet::from([lease]));
    server.clock.advance(HOUR);
    server.settle().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

#[tokio::test]
async fn a_renewal_follows_the_role() {
    let server = Server::new().await;
    let entry = TokenEntry { role: "web".to_owned(), ..TokenEntry::default() };
    let (_, key) = server.token(entry).await;
    let txn = server.txn().await;
    let error = server.core.services.tokens.renew_token(&txn, &key, None).await.err().unwrap();
    assert_eq!(error.to_string(), "original token role \"web\" could not be found, not renewing");
    let role = TokenRole { period: HOUR * 3, ..TokenRole::default() };
    server.core.services.tokens.put_token_role(&txn, ROOT, "web", role).unwrap();
    assert_eq!(server.core.services.tokens.renew_token(&txn, &key, Some(HOUR)).await.unwrap().ttl, HOUR * 3);
}

#[tokio::test]
async fn batch_tokens_end_with_their_parent() {
    let server = Server::new().await;
    let parent = server.child(None).await;
    let txn = server.txn().await;
    let entry = TokenEntry { parent: Some(parent), kind: TokenKind::Batch, ..TokenEntry::default() };
    let made = server
        .core
        .services
        .tokens
        .make_token(&txn, LIFETIMES, NewToken { entry, ..NewToken::default() })
        .await
        .unwrap();
    assert!(txn.is_empty(), "nothing is written for a batch token");
    let found = async || {
        let view = server.core.services.barrier.pinned_view().await.unwrap();
        server
            .core
            .services
            .tokens
            .principal(&view, made.token.expose(), server.clock.now())
            .await
            .unwrap()
            .is_some()
    };
    assert!(found().await);
    server.revoke(&parent).await;
    assert!(!found().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn uses_are_never_exceeded() {
    let server = Arc::new(Server::new().await);
    let entry = TokenEntry { num_uses: 7, policies: vec!["default".to_owned()], ..TokenEntry::default() };
    let (token, key) = server.token(entry).await;
    let tasks: Vec<_> = (0..24)
        .map(|at| {
            let (server, token) = (server.clone(), token.clone());
            // Some of them are refused by policy: that takes a use, too.
            let path = if at % 4 == 0 { "auth/token/forbidden" } else { "auth/token/lookup-self" };
            tokio::spawn(async move { server.get(&token, path).await })
        })
        .collect();
    let mut good = 0;
    for task in tasks {
        good += usize::from(task.await.unwrap() == 204);
    }
    assert!(good <= 7, "{good} requests were served");
    assert!(!server.records().await.tokens.contains(&key), "the last use revokes the token");
    let (token, _) = server
        .token(TokenEntry { num_uses: 3, policies: vec!["default".to_owned()], ..TokenEntry::default() })
        .await;
    let statuses = [(); 5].map(|()| server.get(&token, "auth/token/lookup-self"));
    let mut told = Vec::new();
    for status in statuses {
        told.push(status.await);
    }
    assert_eq!(told, [204, 204, 204, 403, 403]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrapped_answer_is_handed_out_once() {
    let server = Arc::new(Server::new().await);
    let txn = server.txn().await;
    let envelope = Envelope { data: Some(Json::of(&json!({"a": 1})).unwrap()), ..Envelope::default() };
    let grant = server
        .core
        .services
        .wrapping
        .wrap(&txn, NamespaceId::ROOT, Secret::new(envelope.to_kept().unwrap()), "secret/x", HOUR, "")
        .await
        .unwrap();
    txn.commit().await.unwrap();
    assert_eq!(server.records().await.wrapped.len(), 1);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (server, token) = (server.clone(), grant.token.clone());
            tokio::spawn(async move {
                let txn = server.txn().await;
                server.core.services.wrapping.unwrap(&txn, &token).await.is_ok() && txn.commit().await.is_ok()
            })
        })
        .collect();
    let mut unwrapped = 0;
    for task in tasks {
        unwrapped += usize::from(task.await.unwrap());
    }
    assert_eq!(unwrapped, 1);
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}

#[tokio::test]
async fn tidying_removes_what_leads_nowhere() {
    let server = Server::new().await;
    let stays = server.child(None).await;
    let left_over = server.child(Some(stays)).await;
    let lost = server.child(Some(left_over)).await;
    let lease = server.lease(left_over, "loans/creds/x").await;
    let kept = server.lease(stays, "loans/creds/x").await;
    // Storage that was damaged: only the token's entry is gone.
    let txn = server.txn().await;
    TOKENS.delete(&txn, &left_over.at());
    LEASES.delete(&txn, &(ROOT, &lease));
    txn.commit().await.unwrap();
    let txn = server.txn().await;
    assert!(server.core.services.tokens.start_tidying(&txn, Tidy::Tokens).await.unwrap());
    assert!(!server.core.services.tokens.start_tidying(&txn, Tidy::Tokens).await.unwrap(), "it is under way");
    assert!(server.core.services.tokens.start_tidying(&txn, Tidy::Leases).await.unwrap());
    txn.commit().await.unwrap();
    assert!(server.settle().await > 2);
    server.clock.advance(Duration::ZERO);
    let records = server.records().await;
    assert!(!records.tokens.contains(&lost), "a tree without its top goes");
    let mut expected = server.expected(&BTreeMap::from([(stays, None)]), &[(stays, kept)]);
    // The expiry index is tidied when its time comes.
    expected.ends = records.ends.clone();
    assert_eq!(records, expected);
    server.clock.advance(HOUR);
    server.settle().await;
    assert_eq!(server.records().await, server.expected(&BTreeMap::new(), &[]));
}
