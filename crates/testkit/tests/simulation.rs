//! A cluster that crashes, steps down, conflicts and loses answers, with clients that go away, over a system outside that
//! fails in every way: by seeds. Whatever happens, what exists outside is known to a lease or an intent, nothing is made
//! twice for one intent, and what was acknowledged is there.
//!
//! `STRONGROOM_SEEDS` is how many seeds are run (`100`), or which (`4711..4712`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use serde_json::json;
use strongroom_barrier::NamespaceId;
use strongroom_core::{Asked, LeaseState};
use strongroom_testkit::Seeded;
use strongroom_testkit::cluster::{Cluster, Faults, Image, Request, Response};
use strongroom_testkit::outside::{MISTAKE, Mood};
use tokio::task::JoinHandle;

/// Seeds where nothing else is said.
const SEEDS: u64 = 300;
/// What happens in one schedule.
const EVENTS: usize = 60;
const SECOND: Duration = Duration::from_secs(1);
/// Time after which all must be quiet once everything is healed: the longest wait between two attempts, and some.
const QUIET_AFTER: usize = 400;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("STRONGROOM_SEEDS") else { return 0..SEEDS };
    match text.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}

#[test]
fn what_exists_outside_is_known_whatever_happens() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    hush();
    let image = runtime().block_on(Image::new());
    let begun = std::time::Instant::now();
    let mut summary = Summary::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        // A runtime of its own, so that nothing of a node that was killed goes on in the next schedule.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime().block_on(simulate(&image, seed))
        }));
        match outcome {
            Ok(of_seed) => summary.add(&of_seed),
            Err(panic) => {
                eprintln!("seed {seed} failed: STRONGROOM_SEEDS={seed}..{}", seed + 1);
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{seeds:?} in {:?}: {summary:?}", begun.elapsed());
    if seeds.end - seeds.start >= 100 {
        // A simulation in which nothing happens proves nothing.
        assert!(summary.issued > 0 && summary.made > summary.issued && summary.changed > 0, "{summary:?}");
        assert!(summary.logins > 0 && summary.crashes > 0 && summary.left > 0, "{summary:?}");
    }
}

#[derive(Debug, Default)]
struct Summary {
    issued: usize,
    made: usize,
    changed: usize,
    logins: usize,
    crashes: usize,
    left: usize,
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.issued += other.issued;
        self.made += other.made;
        self.changed += other.changed;
        self.logins += other.logins;
        self.crashes += other.crashes;
        self.left += other.left;
    }
}

/// A request under way, and what its success means.
struct Asking {
    meaning: Meaning,
    running: JoinHandle<Option<Response>>,
}

enum Meaning {
    Issue,
    Change,
    Login,
    Note(u64),
    Token,
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
    notes_sent: u64,
    /// Writes that were acknowledged.
    notes: Vec<u64>,
    forgotten: BTreeSet<String>,
    summary: Summary,
}

const MOODS: [Mood; 7] =
    [Mood::Fine, Mood::Down, Mood::Refusing, Mood::Lying, Mood::Mute, Mood::Slow, Mood::Panicking];
const ROLES: [&str; 2] = ["web", "short"];
const MOUNTS: [&str; 3] = ["db/", "other/", "team/db/"];

/// A path in the namespace that a lease id names.
fn within(id: &str, path: &str) -> String {
    let is_of_team = id.rsplit_once('/').is_some_and(|(_, last)| last.contains('.'));
    format!("{}{path}", if is_of_team { "team/" } else { "" })
}

/// Panics of the engine under test are part of it.
fn hush() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(MISTAKE) {
            before(panic);
        }
    }));
}

async fn simulate(image: &Image, seed: u64) -> Summary {
    let random = Seeded::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let faults = Faults { conflicts: random.below(15), unknown: random.below(6) };
    let cluster = Cluster::new(image, 2, seed, faults).await;
    let team = cluster.team().await;
    let mut schedule = Schedule {
        cluster,
        random: &random,
        team,
        asking: Vec::new(),
        known: Vec::new(),
        tokens: Vec::new(),
        codes: 0,
        logins_sent: 0,
        notes_sent: 0,
        notes: Vec::new(),
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
    schedule.summary
}

impl Schedule<'_> {
    async fn event(&mut self) {
        match self.random.below(100) {
            0..22 => self.issue(),
            22..28 => self.send(Meaning::Change, Asked::Write, "db/rotate".to_owned(), json!({})),
            28..34 => self.log_in(),
            34..38 => self.write_note(),
            38..42 => self.make_token(),
            42..48 => self.end_something(),
            48..51 => self.renew(),
            51..53 => self.disable_or_enable(),
            53..70 => {
                let span = match self.random.below(4) {
                    0 => Duration::from_millis(1 + self.random.below(900)),
                    1 | 2 => SECOND * u32::try_from(1 + self.random.below(20)).unwrap(),
                    _ => SECOND * u32::try_from(20 + self.random.below(100)).unwrap(),
                };
                self.cluster.clock.advance(span);
            }
            70..80 => self.cluster.system.set(*self.random.pick(&MOODS).unwrap()),
            80..84 => self.crash(),
            84..92 => self.bring_back().await,
            92..95 => self.elect(),
            95..98 => {
                if let Some(gate) = self.some_node().and_then(|node| self.cluster.gate(node)) {
                    gate.pause();
                }
            }
            _ => self.forget(),
        }
    }

    fn some_node(&self) -> Option<usize> {
        let alive: Vec<usize> =
            (0..self.cluster.size()).filter(|node| self.cluster.is_alive(*node)).collect();
        self.random.pick(&alive).copied()
    }

    fn some_token(&self) -> String {
        let one = self.random.pick(&self.tokens).cloned();
        one.filter(|_| self.random.chance(60)).unwrap_or_else(|| self.cluster.root.clone())
    }

    fn send(&mut self, meaning: Meaning, asked: Asked, path: String, input: serde_json::Value) {
        let token = self.some_token();
        self.send_as(&token, meaning, asked, path, input);
    }

    fn send_as(
        &mut self,
        token: &str,
        meaning: Meaning,
        asked: Asked,
        path: String,
        input: serde_json::Value,
    ) {
        let Some(node) = self.some_node() else { return };
        let mut request = Request::new(token, asked, path, input);
        if matches!(meaning, Meaning::Issue) && self.random.chance(10) {
            request = request.wrapped(Duration::from_secs(300));
        }
        let leaves = self.random.chance(25);
        let looks = leaves.then(|| usize::try_from(1 + self.random.below(12)).unwrap());
        self.summary.left += usize::from(leaves);
        let running = self.cluster.send(node, &request, looks);
        self.asking.push(Asking { meaning, running });
    }

    fn issue(&mut self) {
        let (mount, role) = (self.random.pick(&MOUNTS).unwrap(), self.random.pick(&ROLES).unwrap());
        self.send(Meaning::Issue, Asked::Read, format!("{mount}creds/{role}"), json!({}));
    }

    fn log_in(&mut self) {
        let code = format!("code-{}", self.codes);
        self.codes += 1;
        if self.random.chance(80) {
            self.cluster.system.add_code(&code);
        }
        // Now and then one code is tried twice at once.
        for _ in 0..=u64::from(self.random.chance(30)) {
            self.logins_sent += 1;
            let input = json!({ "code": code });
            self.send_as("", Meaning::Login, Asked::Write, "auth/code/login/alice".to_owned(), input);
        }
    }

    fn write_note(&mut self) {
        self.notes_sent += 1;
        let (value, root) = (self.notes_sent, self.cluster.root.clone());
        let input = json!({ "value": value });
        self.send_as(&root, Meaning::Note(value), Asked::Write, format!("db/notes/{value}"), input);
    }

    fn make_token(&mut self) {
        let (root, batch) = (self.cluster.root.clone(), self.random.chance(25));
        let uses = if !batch && self.random.chance(30) { 2 } else { 0 };
        let kind = if batch { "batch" } else { "service" };
        let input = json!({ "policies": ["all"], "ttl": "1h", "type": kind, "num_uses": uses });
        self.send_as(&root, Meaning::Token, Asked::Write, "auth/token/create".to_owned(), input);
    }

    fn end_something(&mut self) {
        let root = self.cluster.root.clone();
        match self.random.below(3) {
            0 => {
                let Some(id) = self.random.pick(&self.known).cloned() else { return };
                let (path, input) = (within(&id, "sys/leases/revoke"), json!({ "lease_id": id }));
                self.send_as(&root, Meaning::Nothing, Asked::Write, path, input);
            }
            1 => {
                let Some(token) = self.random.pick(&self.tokens).cloned() else { return };
                self.send_as(
                    &token,
                    Meaning::Nothing,
                    Asked::Write,
                    "auth/token/revoke-self".to_owned(),
                    json!({}),
                );
            }
            _ => {
                let mount = self.random.pick(&MOUNTS).unwrap();
                let path = match mount.strip_prefix("team/") {
                    Some(inner) => format!("team/sys/leases/revoke-prefix/{inner}creds"),
                    None => format!("sys/leases/revoke-prefix/{mount}creds"),
                };
                self.send_as(&root, Meaning::Nothing, Asked::Write, path, json!({}));
            }
        }
    }

    fn renew(&mut self) {
        let Some(id) = self.random.pick(&self.known).cloned() else { return };
        let path = within(&id, "sys/leases/renew");
        let (root, input) = (self.cluster.root.clone(), json!({ "lease_id": id, "increment": 600 }));
        self.send_as(&root, Meaning::Nothing, Asked::Write, path, input);
    }

    fn disable_or_enable(&mut self) {
        let root = self.cluster.root.clone();
        let (asked, input) = if self.random.chance(50) {
            (Asked::Delete, json!({}))
        } else {
            (Asked::Write, json!({ "type": "outside" }))
        };
        let path = if self.random.chance(50) { "sys/mounts/other" } else { "team/sys/mounts/db" };
        self.send_as(&root, Meaning::Nothing, asked, path.to_owned(), input);
    }

    fn crash(&mut self) {
        if let Some(node) = self.some_node() {
            self.summary.crashes += 1;
            self.cluster.crash(node);
        }
    }

    async fn bring_back(&mut self) {
        for node in 0..self.cluster.size() {
            match self.cluster.gate(node) {
                Some(gate) => gate.resume(),
                None => self.cluster.restart(node).await,
            }
        }
        if self.cluster.leader().is_none() {
            self.elect();
        }
    }

    fn elect(&mut self) {
        if let Some(node) = self.some_node() {
            self.cluster.leadership.elect(Some(u64::try_from(node).unwrap()));
        }
    }

    fn forget(&mut self) {
        let before: BTreeSet<String> = self.cluster.system.users().into_keys().collect();
        self.cluster.system.forget_one();
        let after = self.cluster.system.users();
        self.forgotten.extend(before.into_iter().filter(|mark| !after.contains_key(mark)));
    }

    /// Takes the answers that have come.
    async fn hear(&mut self) {
        let (done, left) =
            std::mem::take(&mut self.asking).into_iter().partition(|ask| ask.running.is_finished());
        self.asking = left;
        let done: Vec<Asking> = done;
        for Asking { meaning, running } in done {
            let Some(response) = running.await.unwrap() else { continue };
            if response.status >= 300 {
                continue;
            }
            match meaning {
                Meaning::Issue => {
                    self.summary.issued += 1;
                    let (id, user) = (response.text("/lease_id"), response.text("/data/username"));
                    let wrapped = !response.text("/wrap_info/token").is_empty();
                    assert!(wrapped || (!id.is_empty() && id == user), "{}", response.body);
                    self.known.extend((!id.is_empty()).then_some(id));
                }
                Meaning::Change => self.summary.changed += 1,
                Meaning::Login => {
                    self.summary.logins += 1;
                    self.tokens.push(response.text("/auth/client_token"));
                }
                Meaning::Note(value) => self.notes.push(value),
                Meaning::Token => self.tokens.push(response.text("/auth/client_token")),
                Meaning::Nothing => {}
            }
        }
    }

    /// All leases and intents, by their id as a client of the root namespace names it.
    async fn recorded(&self) -> BTreeMap<String, LeaseState> {
        let mut recorded = BTreeMap::new();
        for role in ROLES {
            for (namespace, mount) in
                [(NamespaceId::ROOT, "db/"), (NamespaceId::ROOT, "other/"), (self.team, "db/")]
            {
                recorded.extend(self.cluster.leases(namespace, &format!("{mount}creds/{role}/")).await);
            }
        }
        recorded
    }

    /// What exists outside, or may still come to be, is a lease or an intent.
    async fn check(&self) {
        let outside = self.cluster.system.users().into_keys().chain(self.cluster.system.under_way());
        let recorded = self.recorded().await;
        let unknown: Vec<String> = outside.filter(|mark| !recorded.contains_key(mark)).collect();
        assert!(unknown.is_empty(), "outside and not recorded: {unknown:?} of {recorded:#?}");
        assert_eq!(self.cluster.system.made_twice(), Vec::<String>::new());
        assert!(self.cluster.system.codes_asked() <= self.logins_sent, "a login asked twice");
    }

    /// Everything works again, and time passes until nothing is left to do.
    async fn heal(&mut self) {
        self.cluster.system.set(Mood::Fine);
        self.bring_back().await;
        for _ in 0..QUIET_AFTER {
            self.cluster.pass(SECOND * 15).await;
            self.hear().await;
            self.check().await;
            let settling = self.cluster.leases(NamespaceId::ROOT, "db/rotate/").await;
            let is_quiet = self.recorded().await.values().all(LeaseState::is_active)
                && settling.is_empty()
                && self.cluster.system.under_way().is_empty()
                && self.asking.is_empty();
            if is_quiet {
                return;
            }
            self.revoke_irrevocable(&settling).await;
        }
        let left = self.recorded().await;
        let settling = self.cluster.leases(NamespaceId::ROOT, "db/rotate/").await;
        panic!("not quiet: {left:#?} {settling:#?} {} requests under way", self.asking.len());
    }

    /// An operator has what the outside refused tried again.
    async fn revoke_irrevocable(&self, settling: &[(String, LeaseState)]) {
        for (id, state) in self.recorded().await.into_iter().chain(settling.iter().cloned()) {
            if matches!(state, LeaseState::Irrevocable(_)) {
                let path = within(&id, "sys/leases/revoke");
                self.cluster.done(Asked::Write, &path, json!({ "lease_id": id })).await;
            }
        }
    }

    /// What exists outside is what is leased; the password is the one that is known; what was acknowledged is there.
    async fn check_quiet(&mut self) {
        let outside: BTreeSet<String> = self.cluster.system.users().into_keys().collect();
        let recorded: BTreeSet<String> = self.recorded().await.into_keys().collect();
        let missing: Vec<&String> =
            recorded.difference(&outside).filter(|mark| !self.forgotten.contains(*mark)).collect();
        assert!(outside.is_subset(&recorded), "{outside:#?} {recorded:#?}");
        assert!(missing.is_empty(), "leased and not outside: {missing:?}");
        self.summary.made += self.cluster.system.asked_for();
        let known = self.cluster.done(Asked::Read, "db/rotate", json!({})).await;
        assert_eq!(known.data()["password"], self.cluster.system.password());
        for value in &self.notes {
            let note = self.cluster.done(Asked::Read, &format!("db/notes/{value}"), json!({})).await;
            assert_eq!(note.data()["value"], *value, "an acknowledged write is lost");
        }
    }
}
