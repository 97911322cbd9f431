//! A cluster that crashes, steps down, conflicts and loses answers, with clients that go away, over a system outside that
//! fails in every way: by seeds.
//!
//! Whatever happens, what exists outside is known to a lease or an intent, nothing is made twice for one intent, what was
//! acknowledged is there and was told once to whoever listens, and what is derived in memory is of the view that asks.
//!
//! Over one store that all nodes share, everything runs in one thread by a clock that is stepped, and a seed repeats a run
//! but for the order in which the runtime's `select!` looks at what is ready. Over raft, a seed says the events, the faults,
//! and what each crash leaves of a disk. Not determined by it are: when the threads that write logs and tables are done
//! with what they were given (so that an entry is durable before or after the crash that was drawn), the time-outs of
//! elections, which the consensus library draws itself, and through both, who leads. So a seed that failed over raft says
//! what kind of schedule fails, and is to be run some times.

mod checks;
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use strongroom_barrier::NamespaceId;
use strongroom_engine_api::Clock;
use strongroom_events::Subscription;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::Response;
use crate::Seeded;
use crate::cluster::{Cluster, Faults, Image};
use crate::outside::{MISTAKE, Mood};

/// What happens in one schedule.
const EVENTS: usize = 60;
const SECOND: Duration = Duration::from_secs(1);
/// Time after which all must be quiet once everything is healed: the longest wait between two attempts, and some.
const QUIET_AFTER: usize = 400;

const MOODS: [Mood; 7] =
    [Mood::Fine, Mood::Down, Mood::Refusing, Mood::Lying, Mood::Mute, Mood::Slow, Mood::Panicking];
const ROLES: [&str; 2] = ["web", "short"];
const MOUNTS: [&str; 3] = ["db/", "other/", "team/db/"];

/// What nodes stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// One store, which conflicts, loses answers and refuses whoever does not lead.
    Shared,
    /// Raft: three nodes, each with a disk and links of its own.
    Raft,
}

/// The seeds to run: a text says how many (`100`), or which (`4711..4712`); `usual` where there is none.
pub fn seeds(text: Option<&str>, usual: u64) -> Range<u64> {
    let Some(text) = text else { return 0..usual };
    match text.split_once("..") {
        Some((from, to)) => from.parse().expect("a seed")..to.parse().expect("a seed"),
        None => 0..text.parse().expect("a number of seeds"),
    }
}

/// What happened, in numbers: a simulation in which nothing happens proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Credentials that clients were given.
    pub issued: usize,
    /// Users that were asked for outside.
    pub made: usize,
    /// Passwords that were changed.
    pub changed: usize,
    /// Accounts whose password a job has changed.
    pub rotated: usize,
    /// Logins.
    pub logins: usize,
    /// Tokens that were renewed.
    pub renewed: usize,
    /// Nodes that were killed.
    pub crashes: usize,
    /// Clients that went away.
    pub left: usize,
    /// Reads of a derived value.
    pub derived: usize,
    /// Events that were told.
    pub told: usize,
    /// Looks at what exists outside and what is recorded.
    pub looks: usize,
    /// Snapshots that were sent from node to node.
    pub snapshots: usize,
    /// What clients were refused with: statuses and texts.
    pub refused: BTreeMap<String, usize>,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.issued += other.issued;
        self.made += other.made;
        self.changed += other.changed;
        self.rotated += other.rotated;
        self.logins += other.logins;
        self.renewed += other.renewed;
        self.crashes += other.crashes;
        self.left += other.left;
        self.derived += other.derived;
        self.told += other.told;
        self.looks += other.looks;
        self.snapshots += other.snapshots;
        for (refused, times) in &other.refused {
            *self.refused.entry(refused.clone()).or_default() += times;
        }
    }
}

fn runtime(storage: Storage) -> Runtime {
    let mut runtime = Builder::new_current_thread();
    if storage == Storage::Raft {
        runtime.enable_time().start_paused(true);
    }
    runtime.build().expect("a runtime")
}

/// Runs the seeds, on all processors. The first that fails fails the test, and is printed.
pub fn run(storage: Storage, seeds: Range<u64>) -> Summary {
    watch_panics();
    let image = runtime(storage).block_on(async {
        match storage {
            Storage::Shared => Image::new().await,
            Storage::Raft => Image::of_raft(3).await,
        }
    });
    let clock = Clock::system();
    let begun = clock.now();
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let work = || {
        while !failed.load(Ordering::SeqCst) {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            // A runtime of its own, so that nothing of a node that was killed goes on in the next schedule.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime(storage).block_on(simulate(storage, &image, seed))
            }));
            match outcome {
                Ok(of_seed) if !PANICKED.load(Ordering::SeqCst) => {
                    summary.lock().expect("not poisoned").add(&of_seed);
                }
                outcome => {
                    failed.store(true, Ordering::SeqCst);
                    eprintln!("seed {seed} over {storage:?} failed: STRONGROOM_SEEDS={seed}..{}", seed + 1);
                    outcome
                        .map_or_else(|panic| std::panic::resume_unwind(panic), |_| panic!("a task panicked"));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        (1..processors).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let summary = summary.into_inner().expect("not poisoned");
    println!("{seeds:?} over {storage:?} in {:?}: {summary:?}", clock.now().since(begun));
    summary
}

/// Whether something has panicked that should not: also in a task or a thread that nobody waits for.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Panics of the engine under test are part of it, and no others.
fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(MISTAKE) {
            PANICKED.store(true, Ordering::SeqCst);
            before(panic);
        }
    }));
}

/// A request under way, and what its success means.
struct Asking {
    meaning: Meaning,
    running: JoinHandle<Option<Response>>,
}

enum Meaning {
    /// A credential of a mount, and what the setting of `db/` was at least before it was asked for.
    Issue(&'static str, u64),
    Change,
    Login,
    Note(u64),
    Token,
    Renewal,
    Raise,
    /// What the setting was at least, where the answer is not that of a node that may be behind.
    Setting(u64),
    Nothing,
}

struct Schedule<'a> {
    cluster: Cluster,
    random: &'a Seeded,
    team: NamespaceId,
    asking: Vec<Asking>,
    /// Ids of leases that clients know.
    known: Vec<String>,
    tokens: Vec<String>,
    codes: usize,
    logins_sent: usize,
    renewals_sent: usize,
    notes_sent: u64,
    /// Writes that were acknowledged.
    notes: Vec<u64>,
    /// How often each write was told.
    told: BTreeMap<u64, usize>,
    listening: Vec<Subscription>,
    /// The setting of `db/`, as far as was acknowledged.
    setting: u64,
    forgotten: BTreeSet<String>,
    summary: Summary,
}

async fn simulate(storage: Storage, image: &Image, seed: u64) -> Summary {
    let random = Seeded::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let faults = Faults { conflicts: random.below(15), unknown: random.below(6) };
    let nodes = if storage == Storage::Raft { 3 } else { 2 };
    let cluster = Cluster::new(image, nodes, seed, faults).await;
    let team = cluster.team().await;
    let mut schedule = Schedule {
        listening: (0..nodes).filter_map(|node| cluster.listen(node)).collect(),
        cluster,
        random: &random,
        team,
        asking: Vec::new(),
        known: Vec::new(),
        tokens: Vec::new(),
        codes: 0,
        logins_sent: 0,
        renewals_sent: 0,
        notes_sent: 0,
        notes: Vec::new(),
        told: BTreeMap::new(),
        setting: 0,
        forgotten: BTreeSet::new(),
        summary: Summary::default(),
    };
    for _ in 0..EVENTS {
        schedule.event().await;
        for _ in 0..random.below(6) {
            tokio::task::yield_now().await;
        }
        if random.chance(30) {
            schedule.cluster.run().await;
        }
        schedule.hear().await;
        schedule.check().await;
    }
    schedule.heal().await;
    schedule.check_quiet().await;
    let Schedule { cluster, mut summary, .. } = schedule;
    summary.snapshots = cluster.snapshots();
    cluster.close().await;
    summary
}
