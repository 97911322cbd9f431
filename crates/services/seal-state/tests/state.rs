//! The state of the seal over storage in memory: attempts with key parts, keys and their rotation, and who is told.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail loudly")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_barrier::{BOOTSTRAP_RECORD, Barrier, BarrierError, CoreSpace, Table, bootstrap_key, tables};
use strongroom_engine_api::{Clock, EngineError, Entropy, Environment, Moment};
use strongroom_seal::{Progress, RootKey, Seals};
use strongroom_seal_shamir::ShamirSeal;
use strongroom_seal_state::{
    InitError, KEYRING, KeyPartsWanted, RotationConfig, SealListener, SealState, UnsealError,
};
use strongroom_storage::{Commit, InMemory, MIGRATING, Store, Write};

const NOW: Moment = Moment::from_secs(1_700_000_000);
const DAY: Duration = Duration::from_hours(24);

tables! {
    /// Entries to open again.
    NOTES: Table<CoreSpace, str, String> = 200;
}

/// One process over storage.
struct Rig {
    store: Arc<InMemory>,
    clock: Clock,
    barrier: Arc<Barrier>,
    state: Arc<SealState>,
    parts: Vec<Vec<u8>>,
}

impl Rig {
    fn over(store: Arc<InMemory>, clock: Clock, parts: Vec<Vec<u8>>) -> Self {
        let entropy = Entropy::system();
        let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
        let environment = Environment { clock: clock.clone(), entropy };
        let state = SealState::new(barrier.clone(), environment, Seals::one(Arc::new(ShamirSeal)));
        Self { store, clock, barrier, state, parts }
    }

    fn blank() -> Self {
        Self::over(Arc::new(InMemory::new()), Clock::stepped(NOW), Vec::new())
    }

    /// Initialized and sealed.
    async fn sealed(parts: u8, required: u8) -> Self {
        let mut rig = Self::blank();
        let turn = rig.state.turn().await;
        rig.state.check_new().await.unwrap();
        let keys = rig.state.create(&turn, KeyPartsWanted::new(parts, required), "").await.unwrap();
        let txn = rig.barrier.transaction(rig.barrier.pinned_view().await.unwrap());
        keys.write(&txn).unwrap();
        txn.commit().await.unwrap();
        rig.state.forget_keys(&turn).await;
        drop(turn);
        rig.parts = keys.key_parts.iter().map(|part| part.expose().clone()).collect();
        rig
    }

    async fn unsealed() -> Self {
        let rig = Self::sealed(1, 1).await;
        rig.state.offer_key_part(rig.parts[0].clone()).await.unwrap();
        rig
    }

    /// Another process, or another node, over the same storage; unsealed.
    async fn another(&self) -> Self {
        let rig = Self::over(self.store.clone(), self.clock.clone(), self.parts.clone());
        rig.state.offer_key_part(rig.parts[0].clone()).await.unwrap();
        rig
    }

    async fn progress(&self) -> Progress {
        self.state.status().await.unwrap().progress
    }

    async fn offer(&self, part: usize) -> Progress {
        self.state.offer_key_part(self.parts[part].clone()).await.unwrap();
        self.progress().await
    }

    async fn note(&self, name: &str) {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await.unwrap());
        NOTES.put(&txn, name, name.to_owned()).unwrap();
        txn.commit().await.unwrap();
    }

    async fn noted(&self, name: &str) -> Result<bool, BarrierError> {
        Ok(NOTES.get(&self.barrier.pinned_view().await?, name).await?.is_some())
    }

    /// Puts an entry of the bootstrap space in place, or takes it away.
    async fn put(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let write = Write { key: key.into(), value: value.map(Into::into) };
        self.store.commit(Commit { writes: vec![write], ..Commit::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn key_parts_are_collected_until_there_are_enough() {
    let rig = Rig::sealed(5, 3).await;
    let status = rig.state.status().await.unwrap();
    assert!(status.initialized && status.sealed && !status.recovery);
    assert_eq!((status.quorum.total, status.quorum.required), (5, 3));
    assert_eq!(status.progress, Progress::default(), "no attempt has begun");
    assert_eq!((status.cluster_name.as_str(), status.cluster_id.as_str()), ("", ""), "not told while sealed");
    let first = rig.offer(4).await;
    assert_eq!((first.given, first.nonce.is_empty()), (1, false));
    assert_eq!(rig.offer(4).await, first, "the same part again counts once");
    let refused = rig.state.offer_key_part(vec![1, 2, 3]).await.unwrap_err();
    assert!(matches!(refused, UnsealError::InvalidKeyPart(_)), "{refused}");
    assert_eq!(rig.progress().await, first, "what cannot be a part takes nothing back");
    assert_eq!(rig.offer(0).await, Progress { given: 2, ..first.clone() }, "one attempt has one name");
    assert!(rig.barrier.is_sealed());
    assert_eq!(rig.offer(2).await, Progress::default());
    let status = rig.state.status().await.unwrap();
    assert!(!status.sealed && status.cluster_name.starts_with("vault-cluster-"), "{status:?}");
    assert_eq!(status.cluster_id, rig.state.unsealed().unwrap().cluster_id);
    assert_eq!(rig.offer(1).await, Progress::default(), "there is nothing to attempt any more");
}

#[tokio::test]
async fn a_reset_begins_anew() {
    let rig = Rig::sealed(3, 2).await;
    let first = rig.offer(0).await;
    rig.state.reset_unseal().await;
    assert_eq!(rig.progress().await, Progress::default());
    let second = rig.offer(1).await;
    assert_eq!(second.given, 1, "what was given before does not count");
    assert_ne!(second.nonce, first.nonce);
    rig.offer(0).await;
    assert!(!rig.barrier.is_sealed());
    rig.state.seal().await;
    assert!(rig.barrier.is_sealed() && rig.state.unsealed().is_none());
    assert_eq!(rig.progress().await, Progress::default(), "sealing leaves nothing of the last attempt");
    assert_eq!(rig.offer(2).await.given, 1);
}

#[tokio::test]
async fn a_set_that_opens_nothing_must_be_given_again() {
    let (rig, other) = (Rig::sealed(3, 2).await, Rig::sealed(3, 2).await);
    rig.offer(0).await;
    let refused = rig.state.offer_key_part(other.parts[1].clone()).await.unwrap_err();
    assert!(matches!(refused, UnsealError::WrongKey(_)), "{refused}");
    assert!(refused.to_string().starts_with("failed to decrypt keys from storage: "), "{refused}");
    assert_eq!(rig.progress().await, Progress::default());
    rig.offer(0).await;
    rig.offer(1).await;
    assert!(!rig.barrier.is_sealed());
}

#[tokio::test]
async fn there_is_nothing_to_unseal_before_initialization() {
    let rig = Rig::blank();
    let refused = rig.state.offer_key_part(vec![1; 32]).await.unwrap_err();
    assert!(matches!(refused, UnsealError::NotInitialized), "{refused}");
    assert!(!rig.state.status().await.unwrap().initialized);
    let used = Rig::sealed(1, 1).await;
    assert!(matches!(used.state.check_new().await, Err(InitError::AlreadyInitialized)));
    rig.put(MIGRATING.to_vec(), Some(b"from elsewhere".to_vec())).await;
    let refused = rig.state.check_new().await.unwrap_err().to_string();
    assert!(refused.contains("a migration to this storage has not been finished"), "{refused}");
}

#[tokio::test]
async fn names_of_tokens_are_the_clusters_own() {
    let (rig, other) = (Rig::unsealed().await, Rig::unsealed().await);
    let name = rig.state.token_hmac(&["hvs.a"]).unwrap();
    assert_eq!(rig.another().await.state.token_hmac(&["hvs.a"]).unwrap(), name, "the same in every process");
    assert_eq!(rig.state.token_hmac(&["hvs", ".a"]).unwrap(), name, "of the text, however it is handed over");
    assert_ne!(rig.state.token_hmac(&["hvs.b"]).unwrap(), name);
    assert_ne!(other.state.token_hmac(&["hvs.a"]).unwrap(), name);
    rig.state.seal().await;
    assert!(matches!(rig.state.token_hmac(&["hvs.a"]), Err(BarrierError::Sealed)));
    assert!(matches!(rig.state.root_key(), Err(BarrierError::Sealed)));
}

#[tokio::test]
async fn a_rotated_key_opens_what_the_one_before_it_closed() {
    let rig = Rig::unsealed().await;
    rig.note("before").await;
    let first = rig.state.key_status().unwrap();
    rig.clock.advance(DAY);
    rig.state.rotate().await.unwrap();
    rig.note("after").await;
    let second = rig.state.key_status().unwrap();
    assert_eq!((second.term, second.created), (first.term.checked_add(1).unwrap(), NOW.after(DAY)));
    for process in [&rig, &rig.another().await] {
        assert!(process.noted("before").await.unwrap() && process.noted("after").await.unwrap());
        assert_eq!(process.state.key_status().unwrap().term, second.term);
    }
    rig.state.seal().await;
    assert!(matches!(rig.state.rotate().await, Err(EngineError::Barrier(BarrierError::Sealed))));
    assert!(matches!(rig.noted("before").await, Err(BarrierError::Sealed)));
}

#[tokio::test]
async fn the_key_is_rotated_by_itself_as_configured() {
    let rig = Rig::unsealed().await;
    let set = async |config: RotationConfig| {
        let txn = rig.barrier.transaction(rig.barrier.pinned_view().await.unwrap());
        rig.state.set_rotation_config(&txn, config).map_err(|error| error.to_string())?;
        txn.commit().await.unwrap();
        Ok::<_, String>(())
    };
    let term_after = async |span: Duration| {
        rig.clock.advance(span);
        rig.state.rotate_if_due().await.unwrap();
        rig.state.key_status().unwrap().term
    };
    let default = RotationConfig::default();
    assert!(default.enabled && default.interval.is_zero());
    assert_eq!(term_after(DAY * 1000).await, 1, "by default its age alone is no reason");
    for (config, text) in [
        (RotationConfig { interval: DAY / 2, ..default }, "interval must be at least 24h"),
        (RotationConfig { max_operations: 999_999, ..default }, "max_operations must be between"),
        (RotationConfig { max_operations: u64::MAX, ..default }, "max_operations must be between"),
    ] {
        let refused = set(config).await.unwrap_err();
        assert!(refused.contains(text), "{refused}");
    }
    set(RotationConfig { interval: DAY * 2, ..default }).await.unwrap();
    assert_eq!(term_after(Duration::ZERO).await, 2, "it is old already");
    assert_eq!(term_after(DAY).await, 2);
    assert_eq!(term_after(DAY).await, 3);
    set(RotationConfig { enabled: false, interval: DAY * 2, ..default }).await.unwrap();
    assert_eq!(term_after(DAY * 10).await, 3);
}

/// A key that has been used too often would be used on after each crash, if nobody wrote down how often it was.
#[tokio::test]
async fn the_use_of_a_key_is_counted_across_a_crash() {
    let rig = Rig::unsealed().await;
    let txn = rig.barrier.transaction(rig.barrier.pinned_view().await.unwrap());
    for number in 0..100_000u32 {
        NOTES.put(&txn, &number.to_string(), String::new()).unwrap();
    }
    txn.commit().await.unwrap();
    let before = rig.another().await.state.key_status().unwrap().encryptions;
    assert!(before < 100, "nothing was written down yet: {before}");
    rig.state.rotate_if_due().await.unwrap();
    let counted = rig.another().await.state.key_status().unwrap().encryptions;
    assert!(counted >= 100_000, "{counted}");
    assert_eq!(rig.state.key_status().unwrap().term, 1);
}

/// Another node rotates; this one looks for a newer keyring now and then.
#[tokio::test]
async fn a_keyring_of_another_node_is_taken_over() {
    let active = Rig::unsealed().await;
    let standby = active.another().await;
    active.state.rotate().await.unwrap();
    active.note("a").await;
    standby.state.renew_keyring().await.unwrap();
    assert!(standby.noted("a").await.unwrap());
    standby.state.seal().await;
    standby.state.renew_keyring().await.unwrap();
    assert!(standby.barrier.is_sealed(), "it does not unseal");
    // The state of another cluster has taken the place of this one's: its keys are not known here.
    let foreign = Rig::unsealed().await;
    for name in [BOOTSTRAP_RECORD, KEYRING] {
        let value = foreign.barrier.bootstrap(name).await.unwrap().unwrap();
        active.put(bootstrap_key(name), Some(value)).await;
    }
    assert!(!active.state.opens(&active.barrier.bootstrap(KEYRING).await.unwrap().unwrap()));
    active.state.renew_keyring().await.unwrap();
    assert!(active.barrier.is_sealed() && active.state.root_key().is_err());
    active.state.offer_key_part(foreign.parts[0].clone()).await.unwrap();
    assert!(!active.barrier.is_sealed(), "that cluster's key parts open it");
}

/// Two nodes lead one after the other, and the second has not looked for the keys of the first.
#[tokio::test]
async fn a_node_that_comes_to_lead_before_it_looked_loses_no_key() {
    let first = Rig::unsealed().await;
    let second = first.another().await;
    first.state.rotate().await.unwrap();
    first.note("under the second key").await;
    assert!(second.noted("under the second key").await.unwrap(), "read before it looked");
    first.state.rotate().await.unwrap();
    first.note("under the third key").await;
    second.state.rotate().await.unwrap();
    second.note("under the fourth key").await;
    first.note("by one that led before").await;
    assert_eq!(second.state.key_status().unwrap().term, 4);
    for node in [&first, &second, &first.another().await] {
        for name in
            ["under the second key", "under the third key", "under the fourth key", "by one that led before"]
        {
            assert!(node.noted(name).await.unwrap(), "{name}");
        }
    }
}

#[tokio::test]
async fn counting_the_use_of_a_key_loses_no_other() {
    let first = Rig::unsealed().await;
    let second = first.another().await;
    let txn = second.barrier.transaction(second.barrier.pinned_view().await.unwrap());
    for number in 0..100_000u32 {
        NOTES.put(&txn, &number.to_string(), String::new()).unwrap();
    }
    txn.commit().await.unwrap();
    first.state.rotate().await.unwrap();
    first.note("under the second key").await;
    second.state.rotate_if_due().await.unwrap();
    assert!(first.another().await.noted("under the second key").await.unwrap());
    assert_eq!(second.state.key_status().unwrap().term, 2);
}

/// Notes what it is told, and refuses unsealing where that is wanted.
#[derive(Default)]
struct Listener {
    told: Mutex<Vec<&'static str>>,
    refuses: bool,
}

impl Listener {
    fn note(&self, what: &'static str) {
        self.told.lock().unwrap().push(what);
    }

    fn told(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

#[async_trait]
impl SealListener for Listener {
    async fn unsealing(&self, _root_key: &RootKey) -> Result<(), BarrierError> {
        self.note("unsealing");
        if self.refuses { Err(BarrierError::Unencodable("refused".to_owned())) } else { Ok(()) }
    }

    async fn unsealed(&self) {
        self.note("unsealed");
    }

    async fn sealing(&self) {
        self.note("sealing");
    }

    fn sealed(&self) {
        self.note("sealed");
    }
}

#[tokio::test]
async fn who_depends_on_the_keys_is_told_in_order() {
    let rig = Rig::sealed(1, 1).await;
    let (kept, dropped) = (Arc::new(Listener::default()), Arc::new(Listener::default()));
    rig.state.subscribe(&(kept.clone() as Arc<dyn SealListener>));
    rig.state.subscribe(&(dropped.clone() as Arc<dyn SealListener>));
    let unseal = async || rig.state.offer_key_part(rig.parts[0].clone()).await;
    unseal().await.unwrap();
    assert_eq!(kept.told(), ["unsealing", "unsealed"]);
    rig.state.seal().await;
    assert_eq!(kept.told(), ["sealing", "sealed"]);
    assert_eq!(dropped.told().len(), 4);
    let gone = Arc::downgrade(&dropped);
    drop(dropped);
    assert!(gone.upgrade().is_none(), "the state of the seal keeps nobody alive");
    let refuses = Arc::new(Listener { refuses: true, ..Listener::default() });
    rig.state.subscribe(&(refuses.clone() as Arc<dyn SealListener>));
    unseal().await.unwrap_err();
    assert!(rig.barrier.is_sealed() && rig.state.root_key().is_err(), "a refusal leaves it sealed");
    assert_eq!((kept.told(), refuses.told()), (vec!["unsealing"], vec!["unsealing"]));
}
