//! The state machine by itself, and with the log under the consensus library's own suite.

mod gaps;
mod under_lock;

use std::io::{self, Read};
use std::sync::Mutex;

use bytes::Bytes;
use futures::stream;
use openraft::StorageError;
use openraft::storage::RaftStateMachine;
use openraft::testing::log::{StoreBuilder, Suite};
use proptest::prelude::*;
use strongroom_storage::{Commit, KeyRange, Lookup, PointRead, RangeRead, Snapshot, Write};
use tempfile::TempDir;

use super::*;
use crate::log::Log;
use crate::types::{LeaderId, Membership, Node, Types};

struct Builder;

/// Closes what a case used before its directory goes.
struct Guard(Log, Arc<State>, #[allow(dead_code, reason = "removed when dropped")] TempDir);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.close();
        self.1.close();
    }
}

impl StoreBuilder<Types, Log, Machine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, Log, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::tests::options(dir.path());
        let log = Log::open(&dir.path().join("log"), &options).unwrap();
        log.prepare_next();
        let state = State::open(&dir.path().join("state.redb"), "cluster", &options).unwrap();
        Ok((Guard(log.clone(), state.clone(), dir), log, Machine(state)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_librarys_suite() {
    Suite::test_all(Builder).await.unwrap();
}

struct Fixture {
    dir: TempDir,
    machine: Machine,
    next: u64,
}

fn key(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(at: &str, value: &str) -> Write {
    Write { key: key(at), value: Some(key(value)) }
}

fn delete(at: &str) -> Write {
    Write { key: key(at), value: None }
}

fn writes(writes: Vec<Write>) -> Commit {
    Commit { writes, ..Commit::default() }
}

fn id(index: u64) -> LogId {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { machine: Self::open(&dir), dir, next: 1 }
    }

    fn open(dir: &TempDir) -> Machine {
        let options = crate::tests::options(dir.path());
        Machine(State::open(&dir.path().join("state.redb"), "cluster", &options).unwrap())
    }

    fn state(&self) -> &State {
        &self.machine.0
    }

    /// Applies one entry and tells which of its commits took effect.
    async fn apply(&mut self, commits: Vec<Commit>) -> Vec<bool> {
        let entry =
            Entry { log_id: id(self.next), payload: EntryPayload::Normal(Command::Batch(commits.into())) };
        self.next += 1;
        self.machine.0.make_room().await.unwrap();
        let applied = self.machine.0.apply(entry).unwrap();
        let outcomes = applied.outcomes.0.clone();
        self.machine.0.announce(&[applied]);
        outcomes
    }

    async fn all(&self) -> Vec<(String, String, Index)> {
        all(&self.state().view().unwrap()).await
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.machine.0.close();
    }
}

async fn all(view: &View) -> Vec<(String, String, Index)> {
    let found = view.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    found.iter().map(|(key, entry)| (text(key), text(&entry.value), entry.modified)).collect()
}

fn entries(list: &[(&str, &str, Index)]) -> Vec<(String, String, Index)> {
    list.iter().map(|(key, value, index)| ((*key).into(), (*value).into(), *index)).collect()
}

#[tokio::test]
async fn commits_of_one_entry_see_each_other() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![writes(vec![put("a", "0")])]).await;
    let on = |at: &str, modified, write| Commit {
        points: vec![PointRead { key: key(at), modified }],
        writes: vec![write],
        ..Commit::default()
    };
    let outcomes = fixture
        .apply(vec![
            on("a", 1, put("a", "first")),
            on("a", 1, put("a", "second")),
            on("b", 0, put("b", "first")),
            on("b", 0, put("b", "second")),
            on("c", 0, delete("a")),
            on("a", 2, put("d", "read what was never shown")),
        ])
        .await;
    assert_eq!(outcomes, [true, false, true, false, true, false]);
    assert_eq!(fixture.all().await, entries(&[("b", "first", 2)]));
    let range = RangeRead { range: KeyRange::prefix(b"r"), count: 0, seen_at: 2 };
    let insert = Commit { ranges: vec![range], writes: vec![put("r1", "x")], ..Commit::default() };
    assert_eq!(fixture.apply(vec![insert.clone(), insert]).await, [true, false]);
}

#[tokio::test]
async fn memory_and_table_are_one() {
    let mut fixture = Fixture::new();
    fixture
        .apply(vec![writes(vec![put("a", "table"), put("b", "table"), put("c", "table"), put("e", "table")])])
        .await;
    fixture.state().checkpoint().await.unwrap();
    let before = fixture.state().view().unwrap();
    fixture.apply(vec![writes(vec![put("b", "memory"), delete("c"), put("d", "memory")])]).await;
    let expected = entries(&[("a", "table", 1), ("b", "memory", 2), ("d", "memory", 2), ("e", "table", 1)]);
    assert_eq!(fixture.all().await, expected);
    let view = fixture.state().view().unwrap();
    assert_eq!(view.count_and_newest(&KeyRange::prefix(b""), 10).unwrap(), (4, 2));
    assert_eq!(view.count_and_newest(&KeyRange::prefix(b""), 2).unwrap(), (2, 2));
    assert_eq!(view.modified(b"c").unwrap(), 0);
    fixture.state().checkpoint().await.unwrap();
    assert_eq!(fixture.all().await, expected);
    assert_eq!(all(&view).await, expected, "a view outlives the checkpoint");
    assert_eq!(all(&before).await.len(), 4);
    assert_eq!(before.get(b"c").await.unwrap().unwrap().value, key("table"));
    let facts = fixture.state().durable().unwrap().facts;
    assert_eq!((facts.entries, facts.bytes), (4, 4 + 5 + 6 + 6 + 5));
}

#[tokio::test]
async fn what_is_in_memory_is_written_out_at_close() {
    let mut fixture = Fixture::new();
    fixture.apply(vec![writes(vec![put("a", "1")])]).await;
    fixture.machine.0.close();
    assert!(fixture.state().view().is_err());
    fixture.machine = Fixture::open(&fixture.dir);
    assert_eq!(fixture.all().await, entries(&[("a", "1", 1)]));
    assert_eq!(fixture.state().applied(), 1);
}

#[tokio::test]
async fn full_memory_is_merged_while_writes_go_on() {
    let mut fixture = Fixture::new();
    let value = "v".repeat(1000);
    for n in 0..3000 {
        fixture.apply(vec![writes(vec![put(&format!("{n:05}"), &value)])]).await;
        assert!(fixture.state().current().active.bytes() < 600 << 10);
    }
    let found = fixture.all().await;
    assert_eq!(found.len(), 3000);
    assert!(found.iter().zip(1..).all(|((_, _, modified), n)| *modified == n));
}

#[tokio::test]
async fn a_packed_table_has_the_same_entries_and_less_to_it() {
    let mut fixture = Fixture::new();
    let value = "v".repeat(300);
    for n in 0..2000u64 {
        let scattered = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        fixture.apply(vec![writes(vec![put(&format!("{scattered:020}"), &value)])]).await;
        if n.is_multiple_of(100) {
            fixture.state().checkpoint().await.unwrap();
        }
    }
    fixture.state().checkpoint().await.unwrap();
    let expected = fixture.all().await;
    let old_view = fixture.state().view().unwrap();
    let (before, _) = fixture.state().sizes();
    let old_base = Arc::as_ptr(&fixture.state().durable().unwrap().base);
    fixture.state().pack();
    while Arc::as_ptr(&fixture.state().durable().unwrap().base) == old_base {
        tokio::task::yield_now().await;
    }
    let (after, bytes) = fixture.state().sizes();
    assert!(after < before, "{before} bytes became {after}, {bytes} stored");
    assert_eq!(fixture.all().await, expected);
    assert_eq!(all(&old_view).await, expected);
    fixture.apply(vec![writes(vec![delete(&expected[0].0)])]).await;
    fixture.machine.0.close();
    fixture.machine = Fixture::open(&fixture.dir);
    assert_eq!(fixture.all().await, expected[1..]);
}

#[derive(Default)]
struct Replacements(Mutex<Vec<Index>>);

impl Observer for Replacements {
    fn applied(&self, _index: Index, _keys: &[&[u8]]) {}

    fn replaced(&self, index: Index) {
        self.0.lock().unwrap().push(index);
    }
}

/// A state with some entries, and its snapshot.
async fn exported() -> (Fixture, Vec<u8>) {
    let mut fixture = Fixture::new();
    let node = Node { name: "one".into(), ..Node::default() };
    let membership =
        Membership::new(vec![[7].into()], std::collections::BTreeMap::from([(7, node)])).unwrap();
    let entry = Entry { log_id: id(fixture.next), payload: EntryPayload::Membership(membership) };
    fixture.next += 1;
    fixture.machine.apply(stream::iter([Ok((entry, None))])).await.unwrap();
    for n in 0..2000 {
        fixture.apply(vec![writes(vec![put(&format!("{n:05}"), &"v".repeat(n % 300))])]).await;
    }
    let base = fixture.state().checkpoint().await.unwrap();
    let mut stream = Vec::new();
    fixture.state().export(&base, None).unwrap().read_to_end(&mut stream).unwrap();
    (fixture, stream)
}

#[tokio::test]
async fn a_snapshot_replaces_everything() {
    let (from, stream) = exported().await;
    let mut to = Fixture::new();
    to.apply(vec![writes(vec![put("other", "x")])]).await;
    to.state().checkpoint().await.unwrap();
    to.apply(vec![writes(vec![put("another", "x")])]).await;
    let told = Arc::new(Replacements::default());
    to.state().observe(told.clone());
    let position = from.state().position();
    to.machine.0.install(SnapshotStream::new(io::Cursor::new(stream)), position.0).await.unwrap();
    assert_eq!(to.all().await, from.all().await);
    assert_eq!(to.state().position(), position);
    assert_eq!(*told.0.lock().unwrap(), [2001]);
    assert_eq!(to.state().applied(), 2001);
    to.next = 2002;
    to.apply(vec![writes(vec![put("after", "x")])]).await;
    to.machine.0.close();
    to.machine = Fixture::open(&to.dir);
    assert_eq!(to.all().await.len(), 2001);
}

#[tokio::test]
async fn a_damaged_snapshot_changes_nothing() {
    let (from, stream) = exported().await;
    let applied = from.state().position().0;
    let mut to = Fixture::new();
    to.apply(vec![writes(vec![put("mine", "x")])]).await;
    let expected = to.all().await;
    let mut damaged: Vec<Vec<u8>> = [0, 9, 20, 40, 200, 5000, stream.len() - 20, stream.len() - 10]
        .iter()
        .map(|at| {
            let mut copy = stream.clone();
            copy[*at] ^= 1;
            copy
        })
        .collect();
    damaged.extend([0, 8, 30, 1000, stream.len() - 16, stream.len() - 1].map(|len| stream[..len].to_vec()));
    for (n, bad) in damaged.into_iter().enumerate() {
        let installed = to.machine.0.install(SnapshotStream::new(io::Cursor::new(bad)), applied).await;
        assert!(installed.is_err(), "case {n}");
        assert_eq!(to.all().await, expected, "case {n}");
    }
    let good = SnapshotStream::new(io::Cursor::new(stream.clone()));
    assert!(to.machine.0.install(good, Some(id(5))).await.is_err(), "not the position that was announced");
    assert_eq!(fs_names(&to.dir), ["state.redb"], "no leftovers");
    to.machine.0.install(SnapshotStream::new(io::Cursor::new(stream)), applied).await.unwrap();
}

fn fs_names(dir: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The steps that may be done to the state.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Checkpoint,
    /// Compare a range.
    Scan(u8, u8, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..40, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0u8..40).prop_map(Step::Delete),
        1 => Just(Step::Checkpoint),
        3 => (0u8..42, 0u8..42, 0usize..50).prop_map(|(start, end, limit)| Step::Scan(start, end, limit)),
    ]
}

/// Runs steps against the state and against a plain map; older views are compared again at the end.
async fn follow(steps: Vec<Step>) {
    type Model = std::collections::BTreeMap<String, (String, Index)>;
    let list = |model: &Model| -> Vec<(String, String, Index)> {
        model.iter().map(|(key, (value, index))| (key.clone(), value.clone(), *index)).collect()
    };
    let name = |key: u8| format!("{key:02}");
    let mut fixture = Fixture::new();
    let mut model = Model::new();
    let mut views = Vec::new();
    for step in steps {
        match step {
            Step::Put(key, value) => {
                model.insert(name(key), (value.to_string(), fixture.next));
                fixture.apply(vec![writes(vec![put(&name(key), &value.to_string())])]).await;
            }
            Step::Delete(key) => {
                model.remove(&name(key));
                fixture.apply(vec![writes(vec![delete(&name(key))])]).await;
            }
            Step::Checkpoint => drop(fixture.state().checkpoint().await.unwrap()),
            Step::Scan(start, end, limit) => {
                let view = fixture.state().view().unwrap();
                let range = KeyRange { start: name(start).into_bytes(), end: Some(name(end).into_bytes()) };
                let inside = |key: &String| range.contains(key.as_bytes());
                let expected: Vec<_> = model.iter().filter(|(key, _)| inside(key)).take(limit).collect();
                let found = view.scan(&range, limit).await.unwrap();
                assert_eq!(found.len(), expected.len());
                for ((key, entry), (expected, (value, index))) in found.iter().zip(&expected) {
                    assert_eq!(
                        (key, &entry.value, entry.modified),
                        (&self::key(expected), &self::key(value), *index)
                    );
                }
                let newest = expected.iter().map(|(_, (_, index))| *index).max().unwrap_or(0);
                let count = u64::try_from(expected.len()).unwrap();
                let at_most = u64::try_from(limit).unwrap();
                assert_eq!(view.count_and_newest(&range, at_most).unwrap(), (count, newest));
                views.push((view, list(&model)));
            }
        }
        for (at, (value, index)) in &model {
            let view = fixture.state().view().unwrap();
            assert_eq!(view.modified(at.as_bytes()).unwrap(), *index);
            assert_eq!(view.get(at.as_bytes()).await.unwrap().unwrap().value, self::key(value));
        }
    }
    for (view, expected) in views {
        assert_eq!(all(&view).await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_over_table_behaves_as_one_map(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(steps));
    }
}
