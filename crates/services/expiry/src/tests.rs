//! Lifetimes, and the place of a lease in the indexes, whatever ends it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use strongroom_barrier::{Barrier, BarrierError, Keyring, MountId, NamespaceId, Txn};
use strongroom_engine_api::{EngineError, Entropy, Moment};
use strongroom_storage::{Commit, CommitError, InMemory, Index, Observer, Snapshot, Store, StoreError};

use crate::*;

const ROOT: NamespaceId = NamespaceId::ROOT;
const NOW: Moment = Moment::from_secs(1_700_000_000);
const HOUR: Duration = Duration::from_hours(1);
const ALL: usize = usize::MAX;

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        (0u64..100_000).prop_map(Duration::from_secs),
        any::<u64>().prop_map(Duration::from_nanos),
        Just(Duration::MAX),
    ]
}

#[test]
fn a_capped_ttl_comes_with_vaults_warning() {
    assert_eq!(capped("TTL", HOUR, HOUR), GrantedTtl { ttl: HOUR, warning: None });
    let told = capped("TTL", HOUR * 2, Duration::from_millis(3_600_900));
    assert_eq!(told.ttl, Duration::from_millis(3_600_900));
    assert_eq!(
        told.warning.unwrap(),
        "TTL of \"2h0m0s\" exceeded the effective max_ttl of \"1h0m0s\"; TTL value is capped accordingly"
    );
    let over = lease_ttl(NOW, HOUR, HOUR * 2, NOW.after(HOUR * 3));
    assert_eq!(over.ttl, Duration::ZERO, "past its maximum nothing is left");
    assert!(over.warning.is_some());
}

proptest! {
    #[test]
    fn a_lease_never_outlives_its_maximum(
        (issued, age) in (any::<u64>(), span()),
        (wanted, max) in (span(), span()),
    ) {
        let issued = Moment::from_nanos(issued);
        let now = issued.after(age);
        let granted = lease_ttl(issued, wanted, max, now);
        prop_assert!(granted.ttl <= wanted);
        prop_assert!(granted.ttl.is_zero() || now.since(issued).saturating_add(granted.ttl) <= max);
        prop_assert_eq!(granted.warning.is_some(), granted.ttl < wanted, "a client is told of what it does not get");
    }

    #[test]
    fn the_lesser_bound_counts_and_zero_is_none(a in span(), b in span(), c in span()) {
        prop_assert_eq!(nonzero_min(a, b), nonzero_min(b, a));
        prop_assert_eq!(nonzero_min(a, Duration::ZERO), a);
        prop_assert_eq!(nonzero_min(nonzero_min(a, b), c), nonzero_min(a, nonzero_min(b, c)));
        let least = [a, b].into_iter().filter(|span| !span.is_zero()).min();
        prop_assert_eq!(nonzero_min(a, b), least.unwrap_or_default());
    }

    #[test]
    fn nothing_arrives_after_the_latest_arrival(now in 0u64..u64::MAX / 2) {
        let now = Moment::from_nanos(now);
        let latest = latest_arrival(now);
        let span = latest.since(now).as_millis();
        let least = 2u128.saturating_mul(ACT_TIMEOUT.as_millis());
        prop_assert!(span >= least, "the act's life, and what it sent last");
        prop_assert!(span <= least.saturating_add(1000), "and not much later");
        prop_assert_eq!(latest, Moment::from_secs(latest.as_secs()), "queues are in seconds");
    }

    #[test]
    fn a_leases_name_in_the_index_is_its_own(a in "[a-z/]{1,40}", b in "[a-z/]{1,40}") {
        prop_assert_eq!(due_key(&a) == due_key(&b), a == b);
    }
}

fn barrier(store: Arc<dyn Store>) -> Arc<Barrier> {
    let entropy = Entropy::system();
    let barrier = Barrier::new(store, entropy.clone(), 1 << 20);
    barrier.unseal(Keyring::generate(&entropy, NOW).unwrap());
    barrier
}

async fn txn(barrier: &Arc<Barrier>) -> Txn {
    barrier.transaction(barrier.pinned_view().await.unwrap())
}

const MOUNT: MountId = MountId::new(20);
const OWNER: TokenId = TokenId { namespace: ROOT, key: [7; 16] };

fn lease(kind: &str, state: LeaseState) -> Lease {
    Lease {
        owner: Some(LeaseOwner::Token(OWNER)),
        mount: MOUNT,
        kind: kind.to_owned(),
        issued: NOW,
        expires: NOW.after(HOUR),
        ttl: HOUR,
        state,
        ..Lease::default()
    }
}

/// Writes a lease as a grant or an intent does.
fn grant(txn: &Txn, id: &str, lease: &Lease) {
    if lease.state.is_active() {
        let entry = ExpiryEntry::of_lease(ROOT, id, lease);
        EXPIRY.put(txn, &(lease.expires.as_secs(), &due_key(id)), entry).unwrap();
    } else {
        let queued = QueuedLease { namespace: ROOT, lease: id.to_owned() };
        INTENTS.put(txn, &(lease.mount, &due_key(id)), queued).unwrap();
    }
    OWNED_LEASES.put(txn, &(OWNER.namespace, OWNER.key, id), ROOT.into()).unwrap();
    LEASES.put(txn, &(ROOT, id), lease.clone()).unwrap();
}

/// All that leads to leases.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    ends: BTreeSet<(u64, String)>,
    owned: BTreeSet<String>,
    queued: BTreeSet<(u64, String)>,
    irrevocable: BTreeSet<String>,
    intents: BTreeSet<String>,
}

async fn places(barrier: &Arc<Barrier>) -> Places {
    let view = barrier.pinned_view().await.unwrap();
    let ends = EXPIRY.scan(&view, &(), None, ALL).await.unwrap();
    let owned = OWNED_LEASES.keys(&view, &OWNER.at(), None, ALL).await.unwrap();
    let queued = REVOCATIONS.scan(&view, &(MOUNT, &()), None, ALL).await.unwrap();
    let irrevocable = IRREVOCABLE.keys(&view, &ROOT, None, ALL).await.unwrap();
    let intents = INTENTS.scan(&view, &(), None, ALL).await.unwrap();
    Places {
        ends: ends.into_iter().map(|((at, _), entry)| (at, entry.lease.clone().unwrap())).collect(),
        owned: owned.into_iter().map(|(_, _, id)| id).collect(),
        queued: queued.into_iter().map(|((_, (at, _)), queued)| (at, queued.lease.clone())).collect(),
        irrevocable: irrevocable.into_iter().map(|(_, id)| id).collect(),
        intents: intents.into_iter().map(|(_, queued)| queued.lease.clone()).collect(),
    }
}

/// The places that the states of all leases ask for.
async fn asked_for(barrier: &Arc<Barrier>) -> Places {
    let view = barrier.pinned_view().await.unwrap();
    let mut places = Places::default();
    for ((_, id), lease) in LEASES.scan(&view, &ROOT, None, ALL).await.unwrap() {
        match &lease.state {
            LeaseState::Active => {
                places.ends.insert((lease.expires.as_secs(), id.clone()));
                places.owned.insert(id);
            }
            LeaseState::Intended(_) => {
                places.intents.insert(id.clone());
                places.owned.insert(id);
            }
            LeaseState::Revoking(revoking) => {
                places.queued.insert((revoking.next.as_secs(), id));
            }
            LeaseState::Irrevocable(_) => {
                places.queued.insert((NEVER, id.clone()));
                places.irrevocable.insert(id);
            }
        }
    }
    places
}

/// One thing that happens to a lease.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ends(End),
    ActEnds(Option<u64>),
    Fails(u64),
    IsGivenUp,
    IsForgotten,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop_oneof![Just(End::Due), Just(End::Asked), Just(End::Forced)].prop_map(Step::Ends),
        prop::option::of(0u64..1000).prop_map(Step::ActEnds),
        (1u64..1000).prop_map(Step::Fails),
        Just(Step::IsGivenUp),
        Just(Step::IsForgotten),
    ]
}

fn take(txn: &Txn, id: &str, lease: &Lease, step: Step, now: Moment) {
    let attempts = lease.state.revoking().cloned().unwrap_or_default();
    let later = |secs| now.after(Duration::from_secs(secs));
    match step {
        Step::Ends(end) => end_lease(txn, ROOT, id, lease, end, now),
        Step::ActEnds(again) => end_intended(txn, (ROOT, id), lease, now, again.map(later)),
        Step::Fails(wait) => {
            let next = Revoking { next: later(wait), ..attempts };
            move_lease(txn, ROOT, id, lease, LeaseState::Revoking(next))
        }
        Step::IsGivenUp => move_lease(txn, ROOT, id, lease, LeaseState::Irrevocable(attempts)),
        Step::IsForgotten => {
            forget_lease(txn, ROOT, id, lease);
            Ok(())
        }
    }
    .unwrap();
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A lease that is listed nowhere is never ended, and one that is listed twice is revoked twice.
    #[test]
    fn every_lease_is_listed_where_its_state_says_and_nowhere_else(
        begins in prop::collection::vec((any::<bool>(), any::<bool>()), 1..4),
        steps in prop::collection::vec((any::<prop::sample::Index>(), step()), 0..12),
    ) {
        run(async move {
            let barrier = barrier(Arc::new(InMemory::new()));
            let ids: Vec<String> = (0..begins.len()).map(|at| format!("db/creds/web/{at}")).collect();
            let first = txn(&barrier).await;
            for (id, (intended, outside)) in ids.iter().zip(&begins) {
                let kind = if *outside || *intended { "user" } else { "" };
                let state =
                    if *intended { LeaseState::Intended(NOW.after(ACT_TIMEOUT)) } else { LeaseState::Active };
                grant(&first, id, &lease(kind, state));
            }
            first.commit().await.unwrap();
            let mut now = NOW;
            for (at, step) in steps {
                now = now.after(Duration::from_secs(7));
                let (id, txn) = (at.get(&ids), txn(&barrier).await);
                let Some(lease) = LEASES.get(&txn, &(ROOT, id)).await.unwrap() else { continue };
                take(&txn, id, &lease, step, now);
                let after = LEASES.get(&txn, &(ROOT, id)).await.unwrap();
                let forced = |lease: &Lease| lease.state.revoking().is_some_and(|revoking| revoking.forced);
                if let Some(after) = &after {
                    assert!(after.state.has_ended(), "nothing that ends is in force again");
                    assert!(forced(after) || !forced(&lease), "what is to be gone stays so");
                }
                assert!(!lease.kind.is_empty() || !matches!(step, Step::Ends(_)) || after.is_none());
                txn.commit().await.unwrap();
                assert_eq!(places(&barrier).await, asked_for(&barrier).await, "{step:?}");
            }
        });
    }
}

/// The state of a lease that has ended like this.
async fn ended(begins: LeaseState, end: End) -> Revoking {
    let barrier = barrier(Arc::new(InMemory::new()));
    let txn = txn(&barrier).await;
    let lease = lease("user", begins);
    grant(&txn, "db/creds/web/1", &lease);
    end_lease(&txn, ROOT, "db/creds/web/1", &lease, end, NOW).unwrap();
    let after = LEASES.get(&txn, &(ROOT, "db/creds/web/1")).await.unwrap().unwrap();
    after.state.revoking().unwrap().clone()
}

#[tokio::test]
async fn what_an_operator_asks_for_is_tried_before_all_others() {
    assert_eq!(ended(LeaseState::Active, End::Due).await, Revoking { next: NOW, ..Revoking::default() });
    let asked = ended(LeaseState::Active, End::Asked).await;
    assert_eq!((asked.next.as_secs(), asked.forced), (URGENT, false));
    let forced = ended(LeaseState::Active, End::Forced).await;
    assert_eq!((forced.next.as_secs(), forced.forced), (URGENT, true));
    let given_up = Revoking { attempts: 6, refusals: 6, error: "no".to_owned(), ..Revoking::default() };
    let asked = ended(LeaseState::Irrevocable(given_up), End::Asked).await;
    assert_eq!((asked.attempts, asked.refusals, asked.next.as_secs()), (0, 0, URGENT), "from the beginning");
}

#[tokio::test]
async fn an_intent_is_not_revoked_while_its_act_may_run() {
    let soon = NOW.after(Duration::from_secs(20));
    let marked = ended(LeaseState::Intended(soon), End::Asked).await;
    assert_eq!(marked.next, soon, "the act's own end");
    assert_eq!(marked.again, Some(latest_arrival(NOW)), "and once more when nothing can arrive any more");
    let far = NOW.after(HOUR);
    let marked = ended(LeaseState::Intended(far), End::Due).await;
    assert_eq!(marked.next, NOW.after(ACT_TIMEOUT), "no act is as long, whatever another node's clock says");
}

/// A store that answers so many commits with a conflict.
struct Contended {
    inner: InMemory,
    conflicts: AtomicUsize,
}

#[async_trait]
impl Store for Contended {
    fn applied(&self) -> Index {
        self.inner.applied()
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.inner.snapshot().await
    }

    async fn commit(&self, commit: Commit) -> Result<Index, CommitError> {
        let left =
            self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(CommitError::Conflict) } else { self.inner.commit(commit).await }
    }

    async fn begin(&self) -> Result<(), StoreError> {
        self.inner.begin().await
    }

    fn observe(&self, observer: Arc<dyn Observer>) {
        self.inner.observe(observer);
    }

    async fn close(&self) {}

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

#[tokio::test]
async fn an_outcome_is_written_though_commits_conflict_and_not_for_ever() {
    for (conflicts, is_written) in [(0, true), (63, true), (1000, false)] {
        let store = Arc::new(Contended { inner: InMemory::new(), conflicts: AtomicUsize::new(0) });
        let barrier = barrier(store.clone());
        let txn = txn(&barrier).await;
        grant(&txn, "db/creds/web/1", &lease("user", LeaseState::Active));
        txn.commit().await.unwrap();
        store.conflicts.store(conflicts, Ordering::SeqCst);
        let mut looked = AtomicUsize::new(0);
        let told = change_lease(&barrier, ROOT, "db/creds/web/1", |txn, lease| {
            looked.fetch_add(1, Ordering::SeqCst);
            forget_lease(txn, ROOT, "db/creds/web/1", lease);
            Ok(())
        });
        let told = told.await;
        if is_written {
            told.unwrap();
            assert_eq!(*looked.get_mut(), conflicts + 1, "it is decided anew each time");
            assert_eq!(places(&barrier).await, Places::default());
        } else {
            assert!(matches!(told, Err(EngineError::Barrier(BarrierError::Conflict))));
            assert_eq!(places(&barrier).await.owned.len(), 1, "nothing was written");
        }
        let gone = change_lease(&barrier, ROOT, "db/creds/web/2", |_, _| panic!("there is none"));
        gone.await.unwrap();
    }
}

#[test]
fn an_end_belongs_to_who_holds_the_lease() {
    let parent = Some(OWNER);
    let end = Some(NOW.after(HOUR));
    assert_eq!((LeaseOwner::Token(OWNER).holder(), LeaseOwner::Token(OWNER).end()), (parent, None));
    let batch = LeaseOwner::Batch { parent, end };
    assert_eq!((batch.holder(), batch.end()), (parent, end));
    let orphan = LeaseOwner::Batch { parent: None, end };
    assert_eq!((orphan.holder(), orphan.end()), (None, end));
}
