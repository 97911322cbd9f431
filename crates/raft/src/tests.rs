//! The store as a whole.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use strongroom_storage::{Commit, CommitError, KeyRange, Store, StoreError, Write};

use crate::{Options, RaftStore};

/// Small files and no waiting, so that everything happens in a short test.
pub(crate) fn options(path: &Path) -> Options {
    let mut options = Options::new(path);
    options.segment_size = 256 << 10;
    options.max_commit_size = 100 << 10;
    options.max_batch_size = 64 << 10;
    options.cache_size = 4 << 20;
    options.memtable_size = 256 << 10;
    options.heartbeat = std::time::Duration::from_millis(50);
    options
}

pub(crate) fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Commit {
    let write = Write {
        key: Bytes::copy_from_slice(key.as_ref()),
        value: Some(Bytes::copy_from_slice(value.as_ref())),
    };
    Commit { writes: vec![write], ..Commit::default() }
}

pub(crate) async fn get(store: &RaftStore, key: impl AsRef<[u8]>) -> Option<Bytes> {
    store.snapshot().await.unwrap().get(key.as_ref()).await.unwrap().map(|entry| entry.value)
}

async fn all(store: &RaftStore) -> Vec<(Bytes, Bytes)> {
    let snapshot = store.snapshot().await.unwrap();
    let found = snapshot.scan(&KeyRange::prefix(b""), usize::MAX).await.unwrap();
    found.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let root = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    strongroom_storage::conformance::run(|| {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = root.path().join(n.to_string());
        async move { RaftStore::open(options(&path)).await.unwrap() as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..5 {
        let store = RaftStore::open(options(dir.path())).await.unwrap();
        assert_eq!(all(&store).await, expected, "round {round}");
        for n in 0..200 {
            let key = format!("{round}/{n:04}");
            store.commit(put(&key, vec![b'v'; 100])).await.unwrap();
            expected.push((Bytes::from(key), Bytes::from(vec![b'v'; 100])));
        }
        store.close().await;
    }
}
