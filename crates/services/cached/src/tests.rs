use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use proptest::prelude::*;
use strongroom_barrier::{Barrier, BarrierError, Keyring, MountTxn, View};
use strongroom_stdx::{Clock, Entropy, Moment};
use strongroom_storage::{InMemory, Observer};

use super::*;

strongroom_barrier::tables! {
    CONFIG: strongroom_barrier::Table<strongroom_barrier::MountSpace, str, String> = 1;
    OTHER: strongroom_barrier::Table<strongroom_barrier::MountSpace, str, String> = 2;
}

const FROM: &[TableId] = &[CONFIG.id()];

/// A derived value: the text of an entry. Counts how many there are.
#[derive(Debug)]
struct Derived {
    text: String,
    alive: Arc<AtomicUsize>,
}

impl Drop for Derived {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The same with connections.
struct Pool(Derived);

fn kind() -> Kind<Derived> {
    Kind { from: FROM, connects: false, weigh: |derived| derived.text.len() }
}

/// Tells what is kept of commits, as the server does.
struct Telling(Arc<Kept>);

impl Observer for Telling {
    fn applied(&self, _index: u64, keys: &[&[u8]]) {
        for place in keys.iter().filter_map(|key| strongroom_barrier::KeyPlace::of(key)) {
            self.0.touched(place.namespace, place.mount, place.table);
        }
    }

    fn replaced(&self, _index: u64) {
        self.0.touched_all();
    }
}

struct Rig {
    barrier: Arc<Barrier>,
    kept: Arc<Kept>,
    alive: Arc<AtomicUsize>,
    built: Arc<AtomicUsize>,
}

const MOUNT: MountPlace = MountPlace { namespace: NamespaceId::ROOT, mount: MountId::new(7), local: false };
const ELSEWHERE: MountPlace =
    MountPlace { namespace: NamespaceId::new(3), mount: MountId::new(8), local: false };

impl Rig {
    /// `told`: whether commits let go of values early, which must make no difference to what is answered.
    fn new(limit: usize, told: bool) -> Self {
        let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
        barrier.unseal(Keyring::generate(&Entropy::system(), Moment::default()).unwrap());
        let kept = Arc::new(Kept::new(limit));
        if told {
            barrier.store().observe(Arc::new(Telling(kept.clone())));
        }
        Self { barrier, kept, alive: Arc::default(), built: Arc::default() }
    }

    async fn write_at(&self, place: MountPlace, key: &str, text: &str) {
        let txn = self.barrier.transaction(self.barrier.view());
        CONFIG.put(&txn.mount(place), key, text.to_owned()).unwrap();
        txn.commit().await.unwrap();
    }

    async fn write(&self, key: &str, text: &str) {
        self.write_at(MOUNT, key, text).await;
    }

    async fn build(&self, view: MountView, key: &str) -> Result<Derived, BarrierError> {
        self.built.fetch_add(1, Ordering::SeqCst);
        let found = CONFIG.get(&view, key).await?;
        self.alive.fetch_add(1, Ordering::SeqCst);
        let text = found.map(|text| (*text).clone()).unwrap_or_default();
        Ok(Derived { text, alive: self.alive.clone() })
    }

    async fn try_get(&self, view: &View, place: MountPlace, key: &str) -> Result<Arc<Derived>, BarrierError> {
        let view = view.mount(place);
        self.kept.get(kind(), &view, key.as_bytes(), || self.build(view.clone(), key)).await
    }

    /// The text that a view of now is given.
    async fn get(&self, key: &str) -> String {
        self.get_of(&self.barrier.view(), key).await
    }

    async fn get_of(&self, view: &View, key: &str) -> String {
        self.try_get(view, MOUNT, key).await.unwrap().text.clone()
    }

    fn built(&self) -> usize {
        self.built.load(Ordering::SeqCst)
    }

    fn len(&self) -> usize {
        self.kept.reclaimer.finish();
        self.kept.len()
    }

    fn weight(&self) -> u64 {
        self.kept.reclaimer.finish();
        self.kept.weight()
    }

    fn alive(&self) -> usize {
        self.kept.reclaimer.finish();
        self.alive.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn many_readers_share_one_build() {
    let rig = Rig::new(1 << 20, true);
    rig.write("a", "1").await;
    let reads = (0..50).map(|_| async {
        let view = rig.barrier.view().mount(MOUNT);
        let build = || async {
            tokio::task::yield_now().await;
            rig.build(view.clone(), "a").await
        };
        rig.kept.get(kind(), &view, b"a", build).await.unwrap().text.clone()
    });
    assert!(futures::future::join_all(reads).await.iter().all(|text| text == "1"));
    assert_eq!((rig.built(), rig.alive(), rig.kept.builders.len()), (1, 1, 0));
}

#[tokio::test]
async fn a_commit_to_its_tables_outdates_a_value_and_others_do_not() {
    for told in [true, false] {
        let rig = Rig::new(1 << 20, told);
        rig.write("a", "1").await;
        assert_eq!(rig.get("a").await, "1");
        let txn = rig.barrier.transaction(rig.barrier.view());
        OTHER.put(&txn.mount(MOUNT), "a", "x".to_owned()).unwrap();
        CONFIG.put(&txn.mount(ELSEWHERE), "a", "x".to_owned()).unwrap();
        txn.commit().await.unwrap();
        assert_eq!((rig.get("a").await.as_str(), rig.built()), ("1", 1));
        rig.write("b", "2").await;
        assert_eq!((rig.get("a").await.as_str(), rig.built()), ("1", 2), "whole tables count");
        rig.write("a", "3").await;
        if told {
            assert_eq!((rig.alive(), rig.weight()), (0, 0), "freed with the commit");
        }
        assert_eq!(rig.get("a").await, "3");
    }
}

#[tokio::test]
async fn a_commit_during_a_build_outdates_it() {
    let rig = Rig::new(1 << 20, true);
    rig.write("a", "1").await;
    let view = rig.barrier.pinned_view().await.unwrap();
    let of_mount = view.mount(MOUNT);
    let build = || async {
        let built = rig.build(of_mount.clone(), "a").await;
        rig.write("a", "2").await;
        built
    };
    let told = rig.kept.get(kind(), &of_mount, b"a", build).await.unwrap();
    assert_eq!(told.text, "1", "as the view has it");
    assert_eq!(rig.get("a").await, "2");
    assert_eq!(rig.get_of(&view, "a").await, "1");
    assert_eq!(rig.get("a").await, "2");
}

#[tokio::test]
async fn a_commit_under_a_lazy_view_makes_it_begin_again() {
    let rig = Rig::new(1 << 20, true);
    rig.write("a", "1").await;
    rig.get("a").await;
    let view = rig.barrier.view();
    assert_eq!(rig.get_of(&view, "a").await, "1");
    rig.write("a", "2").await;
    let fresh = CONFIG.get(&view.mount(MOUNT), "b").await;
    assert!(matches!(fresh, Err(BarrierError::Conflict)), "{fresh:?}");
}

#[tokio::test]
async fn a_pinned_view_gets_its_own_and_spoils_nothing() {
    let rig = Rig::new(1 << 20, true);
    rig.write("a", "1").await;
    let old = rig.barrier.pinned_view().await.unwrap();
    rig.write("a", "2").await;
    assert_eq!(rig.get("a").await, "2");
    assert_eq!(rig.get_of(&old, "a").await, "1");
    let built = rig.built();
    assert_eq!((rig.get("a").await.as_str(), rig.built()), ("2", built), "the newer one is still kept");
    // An index between two commits has the value of the first, whichever reader built it.
    let middle = rig.barrier.pinned_view().await.unwrap();
    rig.write_at(ELSEWHERE, "x", "y").await;
    assert_eq!((rig.get_of(&middle, "a").await.as_str(), rig.built()), ("2", built));
}

#[tokio::test]
async fn nothing_is_left_after_sealing() {
    let rig = Rig::new(1 << 20, true);
    for key in ["a", "b", "c"] {
        rig.write(key, "1").await;
    }
    for key in ["a", "b", "c"] {
        rig.get(key).await;
    }
    let view = rig.barrier.view().mount(MOUNT);
    let build = || async {
        let built = rig.build(view.clone(), "d").await;
        rig.barrier.seal();
        rig.kept.sealed();
        assert_eq!(rig.alive.load(Ordering::SeqCst), 1, "none but what is being built");
        built
    };
    drop(rig.kept.get(kind(), &view, b"d", build).await.unwrap());
    assert_eq!((rig.alive(), rig.len(), rig.weight()), (0, 0, 0), "a build from before is not kept");
    assert!(matches!(rig.try_get(&rig.barrier.view(), MOUNT, "a").await, Err(BarrierError::Sealed)));
}

#[tokio::test]
async fn namespaces_and_mounts_go_alone() {
    let rig = Rig::new(1 << 20, true);
    let fill = async |rig: &Rig| {
        rig.get("a").await;
        rig.try_get(&rig.barrier.view(), ELSEWHERE, "a").await.unwrap();
        assert_eq!(rig.len(), 2);
    };
    fill(&rig).await;
    rig.kept.namespace_gone(ELSEWHERE.namespace);
    assert_eq!((rig.len(), rig.alive()), (1, 1));
    fill(&rig).await;
    rig.kept.unmounted(MOUNT.mount);
    assert_eq!((rig.len(), rig.alive()), (1, 1));
    let built = rig.built();
    rig.try_get(&rig.barrier.view(), ELSEWHERE, "a").await.unwrap();
    assert_eq!(rig.built(), built);
}

#[tokio::test]
async fn connections_end_with_the_term() {
    let rig = Rig::new(1 << 20, true);
    let connects = Kind { from: FROM, connects: true, weigh: |pool: &Pool| pool.0.text.len() };
    let ask = async |rig: &Rig| {
        let view = rig.barrier.view().mount(MOUNT);
        let build = || async { rig.build(view.clone(), "a").await.map(Pool) };
        rig.kept.get(connects, &view, b"a", build).await.unwrap();
    };
    ask(&rig).await;
    rig.get("a").await;
    assert_eq!((rig.len(), rig.alive()), (2, 2), "kinds with one key are kept apart");
    assert!(rig.kept.holds_connections());
    rig.kept.stepped_down();
    assert_eq!((rig.len(), rig.alive()), (1, 1));
    assert!(!rig.kept.holds_connections());
    ask(&rig).await;
    assert_eq!(rig.built(), 3);
}

#[tokio::test]
async fn weight_is_bounded_and_what_is_used_stays() {
    let rig = Rig::new(1000, true);
    for at in 0..40 {
        rig.write(&format!("{at:02}"), &"x".repeat(98)).await;
    }
    rig.get("00").await;
    for at in 1..40 {
        rig.get(&format!("{at:02}")).await;
        assert!(rig.weight() <= 1000);
        rig.get("00").await;
    }
    assert_eq!(rig.built(), 40, "what was asked for all the time was built once");
    assert_eq!((rig.len(), rig.alive()), (10, 10));
    rig.write("big", &"x".repeat(2000)).await;
    assert_eq!(rig.get("big").await.len(), 2000);
    assert_eq!((rig.len(), rig.alive()), (0, 0), "what is heavier than all room is not kept");
}

#[tokio::test]
async fn a_failed_build_is_told_and_forgotten() {
    let rig = Rig::new(1 << 20, true);
    let view = rig.barrier.view().mount(MOUNT);
    let failed = rig.kept.get(kind(), &view, b"a", || async { Err("down") }).await;
    assert_eq!(failed.unwrap_err(), "down");
    assert_eq!((rig.get("a").await.as_str(), rig.kept.builders.len()), ("", 0));
}

#[tokio::test]
async fn the_queue_does_not_grow_with_what_was_let_go() {
    let rig = Rig::new(1 << 20, true);
    for at in 0..2000 {
        rig.write("a", &at.to_string()).await;
        assert_eq!(rig.get("a").await, at.to_string());
        assert_eq!(rig.len(), 1);
    }
    assert!(rig.kept.order().len() <= 70, "{}", rig.kept.order().len());
}

/// Concurrent readers, writers and droppers of values: every reader sees exactly what its own view has.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_stress_every_view_gets_its_own() {
    let rig = Arc::new(Rig::new(40, true));
    let clock = Clock::system();
    let end = clock.now().after(Duration::from_millis(1500));
    let mut tasks = Vec::new();
    for number in 0..6_u32 {
        let (rig, clock) = (rig.clone(), clock.clone());
        tasks.push(tokio::spawn(async move {
            let mut turn: u32 = number;
            while clock.now() < end {
                turn = turn.wrapping_add(1);
                let key = ["a", "b", "c"][turn as usize % 3];
                match (number, turn % 50) {
                    (0, _) => {
                        rig.write(key, &turn.to_string()).await;
                        tokio::task::yield_now().await;
                    }
                    (1, 0) => rig.kept.sealed(),
                    (1, 20) => rig.kept.unmounted(MOUNT.mount),
                    _ => {
                        let view = if turn.is_multiple_of(2) {
                            rig.barrier.pinned_view().await.unwrap()
                        } else {
                            rig.barrier.view()
                        };
                        let Ok(got) = rig.try_get(&view, MOUNT, key).await else { continue };
                        let Ok(own) = CONFIG.get(&view.mount(MOUNT), key).await else { continue };
                        assert_eq!(got.text, own.map(|own| (*own).clone()).unwrap_or_default());
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(rig.weight() <= 40);
    rig.kept.sealed();
    assert_eq!((rig.alive(), rig.weight(), rig.kept.builders.len()), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8, u8),
    Get(u8),
    Pin,
    GetPinned(usize, u8),
    Unmount,
    EndTerm,
    Replace,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_u8, any::<u8>()).prop_map(|(key, text)| Step::Write(key, text)),
        4 => (0..3_u8).prop_map(Step::Get),
        1 => Just(Step::Pin),
        3 => (any::<usize>(), 0..3_u8).prop_map(|(view, key)| Step::GetPinned(view, key)),
        1 => Just(Step::Unmount),
        1 => Just(Step::EndTerm),
        1 => Just(Step::Replace),
    ];
    prop::collection::vec(step, 1..40)
}

async fn follows_the_model(steps: Vec<Step>, limit: usize, told: bool) -> Result<(), TestCaseError> {
    let rig = Rig::new(limit, told);
    let mut now = BTreeMap::<u8, String>::new();
    let mut pinned: Vec<(View, BTreeMap<u8, String>)> = Vec::new();
    let expected = |state: &BTreeMap<u8, String>, key: u8| state.get(&key).cloned().unwrap_or_default();
    for step in steps {
        match step {
            Step::Write(key, text) => {
                rig.write(&key.to_string(), &text.to_string()).await;
                now.insert(key, text.to_string());
            }
            Step::Get(key) => prop_assert_eq!(rig.get(&key.to_string()).await, expected(&now, key)),
            Step::Pin => pinned.push((rig.barrier.pinned_view().await.unwrap(), now.clone())),
            Step::GetPinned(at, key) if !pinned.is_empty() => {
                let (view, state) = &pinned[at.checked_rem(pinned.len()).unwrap_or_default()];
                prop_assert_eq!(rig.get_of(view, &key.to_string()).await, expected(state, key));
            }
            Step::GetPinned(..) => {}
            Step::Unmount => rig.kept.unmounted(MOUNT.mount),
            Step::EndTerm => rig.kept.stepped_down(),
            Step::Replace => rig.kept.touched_all(),
        }
        prop_assert!(rig.weight() <= limit as u64);
        prop_assert_eq!(rig.len() == 0, rig.kept.is_empty());
    }
    rig.kept.sealed();
    prop_assert_eq!(rig.alive(), 0);
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_a_view_gets_its_own(steps in steps(), limit in 0..30_usize, told: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(follows_the_model(steps, limit, told))?;
    }
}

/// Extractors hand kinds and errors through as they are.
#[tokio::test]
async fn a_build_that_cannot_fail_needs_no_error() {
    let rig = Rig::new(1 << 20, true);
    let view = rig.barrier.view().mount(MOUNT);
    let kind = Kind { from: FROM, connects: false, weigh: |_: &u8| 1 };
    let got = rig.kept.get(kind, &view, b"a", || async { Ok::<_, Infallible>(5_u8) }).await;
    assert_eq!(*got.unwrap(), 5);
}

/// A transaction's own writes are not derived from: they are not committed yet.
#[tokio::test]
async fn a_transaction_derives_from_its_view() {
    let rig = Rig::new(1 << 20, true);
    rig.write("a", "1").await;
    let txn: MountTxn = rig.barrier.transaction(rig.barrier.view()).mount(MOUNT);
    CONFIG.put(&txn, "a", "2".to_owned()).unwrap();
    let view = txn.peek();
    let got = rig.kept.get(kind(), &view, b"a", || rig.build(view.clone(), "a")).await.unwrap();
    assert_eq!(got.text, "1");
}
