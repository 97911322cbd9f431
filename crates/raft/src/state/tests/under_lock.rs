//! Nothing that grows with what is stored is freed, sorted or logged while the lock is held that every apply needs.

use strongroom_zeroizing_alloc::counts;

use super::*;
use crate::watched::Tally;

/// Commits of a log entry.
const TOGETHER: u64 = 16;
/// Bytes that may be freed however much is stored: what one entry makes of trees and versions.
const LITTLE: usize = 16 << 10;

impl Fixture {
    /// With room in memory for all that a test writes.
    fn roomy() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = crate::tests::options(dir.path());
        options.memtable_size = 256 << 20;
        let state = State::open(&dir.path().join("state.redb"), "cluster", &options).unwrap();
        Self { machine: Machine(state), dir, next: 1 }
    }

    /// Writes this many keys, the same ones each time.
    async fn fill(&mut self, keys: u64) {
        for from in (0..keys).step_by(usize::try_from(TOGETHER).unwrap()) {
            let commits = (from..keys.min(from + TOGETHER)).map(|n| {
                let scattered = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                writes(vec![put(&format!("{scattered:020}"), "a value of some length")])
            });
            let commits = commits.collect();
            self.apply(commits).await;
        }
    }

    async fn table_is_replaced(&self, before: *const Base) {
        while Arc::as_ptr(&self.state().durable().unwrap().base) == before {
            tokio::task::yield_now().await;
        }
    }
}

/// The most that was done under the lock at once, in a life with this many keys.
async fn worst_with(keys: u64) -> Tally {
    let mut fixture = Fixture::roomy();
    fixture.fill(keys).await;
    fixture.state().checkpoint().await.unwrap();
    fixture.fill(keys).await;
    fixture.state().checkpoint().await.unwrap();
    // Packed, restored from a snapshot, and closed, with memory to merge.
    let table = Arc::as_ptr(&fixture.state().durable().unwrap().base);
    fixture.state().pack();
    fixture.table_is_replaced(table).await;
    let table = Arc::as_ptr(&fixture.state().durable().unwrap().base);
    let mut stream = Vec::new();
    let durable = fixture.state().durable().unwrap();
    fixture.state().export(&durable, None).unwrap().read_to_end(&mut stream).unwrap();
    let position = durable.facts.applied;
    drop(durable);
    fixture.fill(keys).await;
    let snapshot = SnapshotStream::new(io::Cursor::new(stream));
    fixture.machine.0.install(snapshot, position).await.unwrap();
    fixture.table_is_replaced(table).await;
    fixture.fill(keys).await;
    fixture.machine.0.close();
    fixture.state().current.take_worst()
}

#[tokio::test]
async fn what_is_freed_and_logged_under_the_lock_does_not_grow() {
    let (few, many) = (worst_with(100).await, worst_with(20_000).await);
    assert!(few.counts.allocations > 0, "nothing was counted: {few:?}");
    assert!(many.counts.freed <= few.counts.freed + LITTLE, "{few:?}, of many {many:?}");
    assert!(many.counts.frees <= few.counts.frees + 64, "{few:?}, of many {many:?}");
    // A sort of many would ask for room for half of them.
    assert!(many.counts.allocated <= few.counts.allocated + LITTLE, "{few:?}, of many {many:?}");
    assert_eq!((few.logged, many.logged), (0, 0));
}

/// A reader may be the last to hold what was merged, and its worker has other requests to answer.
#[tokio::test]
async fn a_reader_frees_nothing_that_grows() {
    let mut fixture = Fixture::roomy();
    fixture.fill(5000).await;
    let reader = fixture.state().view().unwrap();
    fixture.state().checkpoint().await.unwrap();
    let before = counts();
    drop(reader);
    assert!(counts().freed - before.freed < LITTLE, "{} bytes", counts().freed - before.freed);
}

/// Writers wait while a reader looks at what is in memory, so it looks at a bounded number of keys at a time, also where
/// all of them are too new for it.
#[tokio::test]
async fn a_scan_gets_past_many_keys_that_are_newer() {
    let mut fixture = Fixture::roomy();
    fixture.apply(vec![writes(vec![put("0", "first"), put("z", "last")])]).await;
    let reader = fixture.state().view().unwrap();
    fixture.fill(5000).await;
    let expected = entries(&[("0", "first", 1), ("z", "last", 1)]);
    assert_eq!(all(&reader).await, expected);
    let some = reader.scan(&KeyRange::prefix(b""), 1).await.unwrap();
    assert_eq!(some.len(), 1);
}
