use std::sync::Arc;

use proptest::prelude::*;
use strongroom_stdx::{Entropy, Moment};
use strongroom_storage::InMemory;

use super::*;

tables! {
    NAMES: Table<CoreSpace, str, String> = 1;
    NUMBERS: Table<CoreSpace, (u64, &str), String> = 2;
    BY_NAMESPACE: Table<CoreLocal, (NamespaceId, &str), String> = 3;
    REPLICATED: Table<CoreSpace, (NamespaceId, &str), String> = 4;
}

/// Tables of a mount.
mod of_mount {
    use crate::{MountLocal, MountSpace, Table, tables};

    tables! {
        pub(super) NAMES: Table<MountSpace, str, String> = 1;
        pub(super) SESSIONS: Table<MountLocal, str, String> = 2;
    }
}

const fn place(namespace: u32, mount: u32, local: bool) -> MountPlace {
    MountPlace { namespace: NamespaceId::new(namespace), mount: MountId::new(mount), local }
}

fn open() -> Arc<Barrier> {
    let barrier = Barrier::new(Arc::new(InMemory::new()), Entropy::system(), 1 << 20);
    barrier.unseal(Keyring::generate(&Entropy::system(), Moment::default()).unwrap());
    barrier
}

async fn write(barrier: &Arc<Barrier>, key: &str, value: &str) {
    let txn = barrier.transaction(barrier.view());
    NAMES.put(&txn, key, value.to_owned()).unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn a_view_shows_one_moment() {
    let barrier = open();
    write(&barrier, "a", "1").await;
    write(&barrier, "b", "1").await;
    let view = barrier.view();
    assert_eq!(NAMES.get(&view, "a").await.unwrap().as_deref().map(String::as_str), Some("1"));
    write(&barrier, "a", "2").await;
    write(&barrier, "b", "2").await;
    let b = NAMES.get(&view, "b").await;
    assert!(b.is_ok_and(|b| b.as_deref().map(String::as_str) == Some("1")), "an open snapshot does not move");
    let cached = barrier.view();
    assert_eq!(NAMES.get(&cached, "a").await.unwrap().as_deref().map(String::as_str), Some("2"));
    let lazy = barrier.view();
    assert_eq!(NAMES.get(&lazy, "a").await.unwrap().as_deref().map(String::as_str), Some("2"));
    write(&barrier, "a", "3").await;
    assert!(matches!(NAMES.get(&lazy, "b").await, Err(BarrierError::Conflict)), "a moved under a lazy view");
}

#[tokio::test]
async fn a_transaction_is_decided_on_what_it_read() {
    let barrier = open();
    write(&barrier, "a", "1").await;
    let txn = barrier.transaction(barrier.view());
    assert!(NAMES.get(&txn, "a").await.unwrap().is_some());
    NAMES.put(&txn, "c", "made because of a".to_owned()).unwrap();
    assert!(NAMES.get(&txn, "c").await.unwrap().is_some(), "it sees its own writes");
    write(&barrier, "a", "2").await;
    assert!(matches!(txn.commit().await, Err(BarrierError::Conflict)));
    assert_eq!(NAMES.get(&barrier.view(), "c").await.unwrap(), None);
}

#[tokio::test]
async fn a_transaction_that_read_nothing_does_not_outlive_the_state_it_saw() {
    let barrier = open();
    let bootstrap = |value: &str| {
        let txn = barrier.transaction(barrier.view());
        txn.put_bootstrap(BOOTSTRAP_RECORD, value.as_bytes().to_vec());
        txn
    };
    bootstrap("1").commit().await.unwrap();
    let blind = |barrier: &Arc<Barrier>, view| {
        let txn = barrier.transaction(view);
        NAMES.put(&txn, "a", "1".to_owned()).unwrap();
        txn
    };
    let pinned = blind(&barrier, barrier.pinned_view().await.unwrap());
    blind(&barrier, barrier.pinned_view().await.unwrap()).commit().await.unwrap();
    bootstrap("another state's").commit().await.unwrap();
    assert!(matches!(pinned.commit().await, Err(BarrierError::Conflict)));
    let late = blind(&barrier, barrier.view());
    Invalidator(Arc::downgrade(&barrier)).replacing();
    assert!(matches!(late.commit().await, Err(BarrierError::Sealed)), "no keys are at hand");
}

#[tokio::test]
async fn a_range_read_to_its_end_admits_no_newcomer() {
    let barrier = open();
    let txn = barrier.transaction(barrier.view());
    assert!(NAMES.keys(&txn, "x/", None, 10).await.unwrap().is_empty());
    NAMES.put(&txn, "done", String::new()).unwrap();
    write(&barrier, "x/new", "1").await;
    assert!(matches!(txn.commit().await, Err(BarrierError::Conflict)));
}

#[tokio::test]
async fn a_transactions_own_writes_are_part_of_the_ranges_it_reads() {
    let barrier = open();
    for key in ["a/1", "a/3", "b/1"] {
        write(&barrier, key, "stored").await;
    }
    let txn = barrier.transaction(barrier.view());
    NAMES.put(&txn, "a/2", "own".to_owned()).unwrap();
    NAMES.put(&txn, "b/0", "own".to_owned()).unwrap();
    NAMES.delete(&txn, "a/3");
    assert_eq!(NAMES.keys(&txn, "a/", None, usize::MAX).await.unwrap(), ["a/1", "a/2"]);
    assert_eq!(NAMES.keys(&txn, "a/", Some("a/1"), 1).await.unwrap(), ["a/2"]);
    assert_eq!(NAMES.keys(&txn, "", None, usize::MAX).await.unwrap(), ["a/1", "a/2", "b/0", "b/1"]);
    let behind = NAMES.keys(&txn, "a/", Some("b/1"), usize::MAX).await.unwrap();
    assert!(behind.is_empty(), "a range that ends before it begins: {behind:?}");
}

#[tokio::test]
async fn mounts_and_namespaces_do_not_see_each_other() {
    let barrier = open();
    let txn = barrier.transaction(barrier.view());
    let places = [place(1, 1, false), place(1, 2, false), place(2, 1, false), place(2, 1, true)];
    for (at, place) in places.into_iter().enumerate() {
        of_mount::NAMES.put(&txn.mount(place), "a", at.to_string()).unwrap();
    }
    for namespace in [1, 2] {
        BY_NAMESPACE.put(&txn, &(NamespaceId::new(namespace), "a"), namespace.to_string()).unwrap();
    }
    txn.commit().await.unwrap();
    let view = barrier.view();
    for (at, place) in places.into_iter().enumerate() {
        let found = of_mount::NAMES.scan(&view.mount(place), "", None, 9).await.unwrap();
        assert_eq!(found, [("a".to_owned(), Arc::new(at.to_string()))]);
    }
    assert_eq!(NAMES.get(&view, "a").await.unwrap(), None);
    let second = NamespaceId::new(2);
    let found = BY_NAMESPACE.scan(&view, &second, None, 9).await.unwrap();
    assert_eq!(found, [((second, "a".to_owned()), Arc::new("2".to_owned()))]);
    assert!(BY_NAMESPACE.keys(&view, &NamespaceId::new(3), None, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn everything_of_a_namespace_and_of_a_mount_is_a_range() {
    let barrier = open();
    let txn = barrier.transaction(barrier.view());
    for place in [place(1, 7, false), place(1, 8, false)] {
        let mount = txn.mount(place);
        for name in ["a", "b"] {
            of_mount::NAMES.put(&mount, name, String::new()).unwrap();
            of_mount::SESSIONS.put(&mount, name, String::new()).unwrap();
        }
    }
    txn.commit().await.unwrap();
    let txn = barrier.transaction(barrier.view());
    let gone = place(1, 7, false);
    assert_eq!(txn.delete_of_table(gone, of_mount::SESSIONS.id(), b"a", 9).await.unwrap(), 1);
    assert_eq!(txn.delete_of_mount(gone, 2).await.unwrap(), 2, "as many as are asked for");
    assert_eq!(txn.delete_of_mount(gone, 9).await.unwrap(), 1);
    txn.commit().await.unwrap();
    let view = barrier.view();
    assert!(of_mount::NAMES.keys(&view.mount(gone), "", None, 9).await.unwrap().is_empty());
    let other = view.mount(place(1, 8, false));
    assert_eq!(of_mount::NAMES.keys(&other, "", None, 9).await.unwrap().len(), 2);
    assert_eq!(of_mount::SESSIONS.keys(&other, "", None, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_namespace_keeps_replicated_is_deleted_in_steps_and_nothing_else() {
    let barrier = open();
    let (gone, stays) = (NamespaceId::new(7), NamespaceId::new(8));
    let txn = barrier.transaction(barrier.view());
    for name in ["a", "b", "c"] {
        REPLICATED.put(&txn, &(gone, name), String::new()).unwrap();
        REPLICATED.put(&txn, &(stays, name), String::new()).unwrap();
        BY_NAMESPACE.put(&txn, &(gone, name), String::new()).unwrap();
    }
    of_mount::NAMES.put(&txn.mount(place(7, 9, false)), "a", String::new()).unwrap();
    txn.commit().await.unwrap();
    let txn = barrier.transaction(barrier.view());
    assert_eq!(txn.delete_of_namespace(gone, 2).await.unwrap(), 2, "as many as are asked for");
    assert_eq!(txn.delete_of_namespace(gone, 9).await.unwrap(), 1);
    assert_eq!(txn.delete_of_namespace(gone, 9).await.unwrap(), 0);
    txn.commit().await.unwrap();
    let view = barrier.view();
    assert!(REPLICATED.keys(&view, &gone, None, 9).await.unwrap().is_empty());
    assert_eq!(REPLICATED.keys(&view, &stays, None, 9).await.unwrap().len(), 3);
    assert_eq!(BY_NAMESPACE.keys(&view, &gone, None, 9).await.unwrap().len(), 3, "tables of one cluster");
    let mounted = view.mount(place(7, 9, false));
    assert_eq!(of_mount::NAMES.keys(&mounted, "", None, 9).await.unwrap().len(), 1, "a mount's tables");
}

#[test]
fn a_key_tells_its_place() {
    let mut key = Vec::new();
    MountSpace::begin(&mut key, place(2, 3, true), NamespaceId::ROOT);
    key.extend_from_slice(&[9, b'x']);
    let (namespace, mount) = (NamespaceId::new(2), MountId::new(3));
    assert_eq!(KeyPlace::of(&key), Some(KeyPlace { space: MountLocal::BYTE, namespace, mount, table: 9 }));
    let mut key = Vec::new();
    CoreLocal::begin(&mut key, (), namespace);
    assert_eq!(KeyPlace::of(&key), None, "a head without a table");
    key.push(5);
    let mount = MountId::NONE;
    assert_eq!(KeyPlace::of(&key), Some(KeyPlace { space: CoreLocal::BYTE, namespace, mount, table: 5 }));
    assert_eq!(KeyPlace::of(&bootstrap_key("seal-config")), None);
}

#[tokio::test]
async fn children_skip_what_lies_below() {
    let barrier = open();
    for n in 0..300 {
        write(&barrier, &format!("dir/deep/{n}"), "").await;
    }
    for name in ["dir/a", "dir/deep", "dir/z/1", "other"] {
        write(&barrier, name, "").await;
    }
    let view = barrier.view();
    let list = |after: Option<&'static str>, limit| {
        let view = view.clone();
        async move { NAMES.children(&view, "dir/", after, limit).await.unwrap() }
    };
    assert_eq!(list(None, 100).await, ["a", "deep", "deep/", "z/"]);
    assert_eq!(list(None, 3).await, ["a", "deep", "deep/"]);
    assert_eq!(list(Some("deep/"), 100).await, ["z/"]);
    assert_eq!(list(Some("a"), 1).await, ["deep"]);
    assert_eq!(NAMES.children(&view, "", None, 100).await.unwrap(), ["dir/", "other"]);
}

#[tokio::test]
async fn composite_keys_come_back() {
    let barrier = open();
    let txn = barrier.transaction(barrier.view());
    for (number, name) in [(7, "b"), (7, "a"), (300, "c")] {
        NUMBERS.put(&txn, &(number, name), name.to_uppercase()).unwrap();
    }
    txn.commit().await.unwrap();
    let found = NUMBERS.scan(&barrier.view(), &7u64, None, 10).await.unwrap();
    let keys: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [(7, "a".to_owned()), (7, "b".to_owned())]);
}

#[tokio::test]
async fn sealing_ends_every_read() {
    let barrier = open();
    write(&barrier, "a", "1").await;
    let view = barrier.view();
    NAMES.get(&view, "a").await.unwrap();
    barrier.seal();
    assert!(matches!(NAMES.get(&view, "a").await, Err(BarrierError::Sealed)));
    assert!(matches!(NAMES.get(&barrier.view(), "a").await, Err(BarrierError::Sealed)));
}

#[tokio::test]
async fn an_entry_opens_only_in_its_place() {
    let barrier = open();
    write(&barrier, "a", "1").await;
    let key = |name: &str| [&[1, 0, 0, 0, 0, 1], name.as_bytes()].concat();
    let stolen = barrier.store().snapshot().await.unwrap().get(&key("a")).await.unwrap().unwrap().value;
    let moved = strongroom_storage::Write { key: key("b").into(), value: Some(stolen) };
    let commit = strongroom_storage::Commit { writes: vec![moved], ..Default::default() };
    barrier.store().commit(commit).await.unwrap();
    assert!(matches!(NAMES.get(&barrier.view(), "b").await, Err(BarrierError::Tampered(_))));
}

#[test]
fn rotation_keeps_what_was_sealed_readable() {
    let entropy = Entropy::system();
    let first = Keyring::generate(&entropy, Moment::default()).unwrap();
    let sealed = first.seal(&entropy, b"place", b"text").unwrap();
    let second = first.rotated(&entropy, Moment::from_secs(5)).unwrap();
    assert_eq!(second.active().term, 2);
    assert_eq!(second.open(b"place", &sealed).unwrap().as_slice(), b"text");
    let root = [7; 32];
    let kept = second.wrap(&entropy, &root).unwrap();
    let third = Keyring::unwrap(&root, &kept).unwrap();
    assert_eq!(third.open(b"place", &sealed).unwrap().as_slice(), b"text");
    assert!(Keyring::unwrap(&[8; 32], &kept).is_err());
    assert_eq!(
        first.open(b"place", &second.seal(&entropy, b"place", b"x").unwrap()).err(),
        Some(KeyringError::UnknownTerm(2))
    );
}

proptest! {
    #[test]
    fn altered_bytes_never_open(text in prop::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), flip in 1u8..) {
        let entropy = Entropy::system();
        let keyring = Keyring::generate(&entropy, Moment::default()).unwrap();
        let mut sealed = keyring.seal(&entropy, b"place", &text).unwrap();
        let opened = keyring.open(b"place", &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), text.as_slice());
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        prop_assert!(keyring.open(b"place", &sealed).is_err());
    }
}
