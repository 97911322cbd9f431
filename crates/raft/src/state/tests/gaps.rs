//! Scans over what was deleted: they jump, and what they find is what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use super::*;

/// The keys that are there.
type Model = BTreeSet<Bytes>;

/// A generator of numbers that a seed determines.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn numbered(n: usize) -> String {
    format!("k{n:05}")
}

fn apply_to(model: &mut Model, writes: &[Write]) {
    for write in writes {
        if write.value.is_some() {
            model.insert(write.key.clone());
        } else {
            model.remove(&write.key);
        }
    }
}

/// Deletions of neighbors, writes here and there, and both in one commit.
fn some_writes(numbers: &mut Numbers, keys: usize) -> Vec<Write> {
    let mut writes = Vec::new();
    if numbers.below(3) > 0 {
        let (from, many) = (numbers.below(keys), numbers.below(keys));
        writes.extend((from..keys.min(from + many)).map(|n| delete(&numbered(n))));
    }
    let few = numbers.below(4);
    writes.extend((0..few).map(|_| put(&numbered(numbers.below(keys)), "v")));
    if writes.is_empty() {
        writes.extend((0..keys).filter(|n| n % 3 > 0).map(|n| put(&numbered(n), "v")));
    }
    writes
}

fn expected(model: &Model, range: &KeyRange, limit: usize) -> Vec<Bytes> {
    model.iter().filter(|key| range.contains(key)).take(limit).cloned().collect()
}

fn some_range(numbers: &mut Numbers, keys: usize) -> KeyRange {
    let end = (numbers.below(2) == 0).then(|| numbered(numbers.below(keys)).into_bytes());
    let start =
        if numbers.below(2) == 0 { b"k".to_vec() } else { numbered(numbers.below(keys)).into_bytes() };
    KeyRange { start, end }
}

#[tokio::test]
async fn scans_find_what_is_there_however_much_was_deleted_around_it() {
    const KEYS: usize = 700;
    for seed in 0..25 {
        let (mut numbers, mut fixture, mut model) = (Numbers(seed), Fixture::new(), Model::new());
        let mut views: Vec<(Arc<View>, Model)> = Vec::new();
        for _ in 0..120 {
            let change = some_writes(&mut numbers, KEYS);
            // A scan is under way while the change is applied.
            let during = views.last().cloned();
            let range = some_range(&mut numbers, KEYS);
            let mut merged = during.as_ref().map(|(view, _)| view.merged(&range).unwrap());
            let mut found = Vec::new();
            let mut take = |merged: &mut view::Merged<'_>, limit: usize| {
                for _ in 0..limit {
                    found.extend(merged.next(|key, _, _| key.into_bytes()).unwrap());
                }
            };
            if let Some(merged) = &mut merged {
                take(merged, numbers.below(4));
            }
            apply_to(&mut model, &change);
            fixture.apply(vec![writes(change)]).await;
            if let (Some(merged), Some((_, then))) = (&mut merged, &during) {
                take(merged, KEYS);
                assert_eq!(found, expected(then, &range, KEYS), "seed {seed}");
            }
            drop(merged);
            views.push((fixture.state().view().unwrap(), model.clone()));
            for _ in 0..6 {
                let (view, then) = &views[views.len() - 1 - numbers.below(views.len().min(4))];
                let (range, limit) = (some_range(&mut numbers, KEYS), 1 + numbers.below(20));
                assert_eq!(view.keys(&range, limit).unwrap(), expected(then, &range, limit), "seed {seed}");
                let all = u64::try_from(expected(then, &range, KEYS).len()).unwrap();
                assert_eq!(view.count_and_newest(&range, u64::MAX).unwrap().0, all, "seed {seed}");
            }
            if numbers.below(20) == 0 {
                fixture.state().checkpoint().await.unwrap();
            }
        }
    }
}

/// Readers on threads of their own, of whatever view is the newest, while the front of a queue goes and comes.
#[tokio::test]
async fn scans_beside_writes_find_what_their_view_has() {
    let mut fixture = Fixture::new();
    // The first keys at each index.
    let firsts = Arc::new(Mutex::new(BTreeMap::from([(0, Vec::new())])));
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (state, firsts, done) = (fixture.machine.0.clone(), firsts.clone(), done.clone());
            std::thread::spawn(move || {
                let mut looked = 0usize;
                while !done.load(Ordering::Relaxed) {
                    let view = state.view().unwrap();
                    let range = KeyRange::prefix(b"k");
                    let found = view.keys(&range, 3).unwrap();
                    assert_eq!(found, firsts.lock().unwrap()[&view.index], "at {}", view.index);
                    looked += 1;
                }
                looked
            })
        })
        .collect();
    let (mut numbers, mut model, mut front, mut back) = (Numbers(7), Model::new(), 0usize, 0usize);
    for _ in 0..3000 {
        let mut change: Vec<Write> = (back..back + 16).map(|n| put(&numbered(n), "v")).collect();
        back += 16;
        let goes = front..back.min(front + 8 + numbers.below(16));
        front = goes.end;
        change.extend(goes.map(|n| delete(&numbered(n))));
        if numbers.below(8) == 0 {
            let again = numbers.below(front.max(1));
            change.push(put(&numbered(again), "v"));
        } else if let Some(first) = model.first().cloned() {
            change.push(Write { key: first, value: None });
        }
        apply_to(&mut model, &change);
        let first = expected(&model, &KeyRange::prefix(b"k"), 3);
        firsts.lock().unwrap().insert(fixture.next, first);
        fixture.apply(vec![writes(change)]).await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.join().unwrap() > 0);
    }
}

#[tokio::test]
async fn deleting_from_the_front_in_steps_passes_each_deletion_a_few_times_only() {
    const KEYS: usize = 2000;
    const STEP: usize = 16;
    let mut fixture = Fixture::new();
    fixture.apply(vec![writes((0..KEYS).map(|n| put(&numbered(n), "")).collect())]).await;
    let range = KeyRange::prefix(b"k");
    for step in 0..KEYS / STEP {
        let found = fixture.state().view().unwrap().keys(&range, STEP).unwrap();
        assert_eq!(found.first(), Some(&key(&numbered(step * STEP))));
        fixture.apply(vec![writes(found.into_iter().map(|key| Write { key, value: None }).collect())]).await;
    }
    // That nothing is left is decided under the lock that every apply needs.
    let read = RangeRead { range: range.clone(), count: 0, seen_at: fixture.next - 1 };
    let last = Commit { ranges: vec![read], writes: vec![put("done", "")], ..Commit::default() };
    assert_eq!(fixture.apply(vec![last]).await, [true]);
    let visited = fixture.state().current().gaps.visited.load(Ordering::Relaxed);
    // Without notes it would be half the square: 125,000.
    assert!(visited < KEYS * 6, "{visited} deletions passed");
    // What comes back is found.
    fixture.apply(vec![writes(vec![put(&numbered(700), "again"), put(&numbered(3), "again")])]).await;
    let found = fixture.state().view().unwrap().keys(&range, 9).unwrap();
    assert_eq!(found, [key(&numbered(3)), key(&numbered(700))]);
    assert!(fixture.state().current().active.bytes() > 0, "all of it was in memory");
}
