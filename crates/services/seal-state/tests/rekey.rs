//! Rekeying over storage in memory: what opens afterwards, and how other nodes come to the new root key.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests fail loudly")]

use std::sync::Arc;

use strongroom_barrier::{BOOTSTRAP_RECORD, Barrier, CoreSpace, Table, tables};
use strongroom_engine_api::{Clock, Entropy, Environment, Moment};
use strongroom_seal::{BootstrapRecord, ConfiguredSeal, KeyPart, Seals};
use strongroom_seal_shamir::ShamirSeal;
use strongroom_seal_state::{
    HANDOVER, InitError, KeyPartsWanted, NewWrapping, Proof, RekeyTarget, SealState, UnsealError,
};
use strongroom_storage::InMemory;
use strongroom_testkit::seals::{FakeSeal, Service};

const NOW: Moment = Moment::from_secs(1_700_000_000);

tables! {
    /// Entries to open again.
    NOTES: Table<CoreSpace, str, String> = 200;
}

/// A node over storage.
struct Node {
    clock: Clock,
    barrier: Arc<Barrier>,
    state: Arc<SealState>,
}

/// The nodes of a cluster: one storage, one clock.
struct Cluster {
    store: Arc<InMemory>,
    clock: Clock,
    seals: Seals,
}

impl Cluster {
    fn new(seals: Seals) -> Self {
        Self { store: Arc::new(InMemory::new()), clock: Clock::stepped(NOW), seals }
    }

    fn node(&self) -> Node {
        let entropy = Entropy::system();
        let barrier = Barrier::new(self.store.clone(), entropy.clone(), 1 << 20);
        let environment = Environment { clock: self.clock.clone(), entropy };
        let state = SealState::new(barrier.clone(), environment, self.seals.clone());
        Node { clock: self.clock.clone(), barrier, state }
    }

    async fn initialized(&self, parts: u8, required: u8) -> Vec<KeyPart> {
        let node = self.node();
        let turn = node.state.turn().await;
        let keys = node.state.create(&turn, KeyPartsWanted::new(parts, required), "").await.unwrap();
        let txn = node.barrier.transaction(node.barrier.pinned_view().await.unwrap());
        keys.write(&txn).unwrap();
        txn.commit().await.unwrap();
        node.state.forget_keys(&turn).await;
        keys.key_parts
    }

    async fn unsealed(&self, parts: &[KeyPart]) -> Node {
        let node = self.node();
        for part in parts {
            node.state.offer_key_part(part.expose().clone()).await.unwrap();
        }
        assert!(!node.barrier.is_sealed());
        node
    }
}

impl Node {
    async fn apply(&self, new: &NewWrapping) {
        let turn = self.state.turn().await;
        let txn = self.barrier.transaction(self.barrier.pinned_view().await.unwrap());
        self.state.write_wrapping(&turn, &txn, new).await.unwrap();
        txn.commit().await.unwrap();
        self.state.adopt_wrapping(&turn, new);
    }

    async fn rekey(&self, target: RekeyTarget, parts: u8, required: u8) -> Vec<KeyPart> {
        let wanted = KeyPartsWanted::new(parts, required);
        let (new, parts) = self.state.new_wrapping(target, wanted).await.unwrap();
        self.apply(&new).await;
        parts
    }

    async fn note(&self, name: &str) {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await.unwrap());
        NOTES.put(&txn, name, name.to_owned()).unwrap();
        txn.commit().await.unwrap();
    }

    async fn has_note(&self, name: &str) -> bool {
        NOTES.get(&self.barrier.pinned_view().await.unwrap(), name).await.unwrap().is_some()
    }

    async fn record(&self) -> BootstrapRecord {
        BootstrapRecord::decode(&self.barrier.bootstrap(BOOTSTRAP_RECORD).await.unwrap().unwrap()).unwrap()
    }
}

fn shamir() -> Seals {
    Seals::one(Arc::new(ShamirSeal))
}

#[tokio::test]
async fn new_parts_open_what_there_was_and_old_ones_nothing() {
    let cluster = Cluster::new(shamir());
    let old = cluster.initialized(3, 2).await;
    let node = cluster.unsealed(&old[..2]).await;
    node.note("before").await;
    let (before, key, salt) =
        (node.record().await, node.state.root_key().unwrap(), node.state.token_hmac(&["a"]).unwrap());
    let new = node.rekey(RekeyTarget::Barrier, 5, 3).await;
    node.note("after").await;
    assert_eq!((new.len(), node.state.key_holders().await.unwrap().quorum.required), (5, 3));
    assert!(node.state.root_key().unwrap() != key, "the root key is another");
    assert_eq!(node.record().await.generation, before.generation + 1);
    assert_eq!(node.record().await.cluster_id, before.cluster_id);

    let later = cluster.unsealed(&new[1..4]).await;
    assert!(later.has_note("before").await && later.has_note("after").await);
    assert_eq!(later.state.token_hmac(&["a"]).unwrap(), salt, "tokens stay what they are");
    let node = cluster.node();
    for part in &old {
        let refused = node.state.offer_key_part(part.expose().clone()).await;
        assert!(matches!(refused, Ok(()) | Err(UnsealError::WrongKey(_))), "{refused:?}");
    }
    assert!(node.barrier.is_sealed());
}

#[tokio::test]
async fn only_enough_parts_of_this_key_prove_anything() {
    let cluster = Cluster::new(shamir());
    let parts = cluster.initialized(3, 2).await;
    let others = Cluster::new(shamir()).initialized(3, 2).await;
    let node = cluster.unsealed(&parts[..2]).await;
    let prove = async |parts: &[KeyPart]| node.state.prove(parts).await.unwrap();
    assert_eq!(prove(&[]).await, Proof::Progress);
    assert_eq!(prove(&parts[..1]).await, Proof::Progress);
    assert_eq!(prove(&parts[1..]).await, Proof::Proven);
    assert!(matches!(prove(&others[1..]).await, Proof::Wrong(_)));
    assert!(matches!(prove(&[parts[0].clone(), others[1].clone()]).await, Proof::Wrong(_)));
    assert!(matches!(prove(&[KeyPart::new(vec![1])]).await, Proof::Unfit(_)));

    let (new, new_parts) =
        node.state.new_wrapping(RekeyTarget::Barrier, KeyPartsWanted::new(1, 1)).await.unwrap();
    assert_eq!(node.state.prove_new(&new, &new_parts).await.unwrap(), Proof::Proven);
    assert!(matches!(node.state.prove_new(&new, &parts[..1]).await.unwrap(), Proof::Unfit(_)));
    assert_eq!(prove(&parts[1..]).await, Proof::Proven, "as long as nothing is written");
}

#[tokio::test]
async fn other_nodes_follow_also_over_several_root_keys_for_an_hour() {
    let cluster = Cluster::new(shamir());
    let parts = cluster.initialized(1, 1).await;
    let active = cluster.unsealed(&parts).await;
    let (standby, asleep) = (cluster.unsealed(&parts).await, cluster.unsealed(&parts).await);
    active.rekey(RekeyTarget::Barrier, 1, 1).await;
    let newest = active.rekey(RekeyTarget::Barrier, 1, 1).await;
    standby.state.renew_keyring().await.unwrap();
    assert!(standby.state.root_key().unwrap() == active.state.root_key().unwrap());
    standby.note("by the standby").await;
    assert!(cluster.unsealed(&newest).await.has_note("by the standby").await);

    active.clock.advance(HANDOVER);
    active.state.rotate_if_due().await.unwrap();
    asleep.state.renew_keyring().await.unwrap();
    assert!(asleep.barrier.is_sealed(), "the way from the old key is gone");
    assert!(!standby.barrier.is_sealed());
    standby.state.renew_keyring().await.unwrap();
    assert!(!standby.barrier.is_sealed());
}

#[tokio::test]
async fn a_node_that_comes_to_lead_before_it_looked_wraps_with_the_new_key() {
    let cluster = Cluster::new(shamir());
    let parts = cluster.initialized(1, 1).await;
    let (first, second) = (cluster.unsealed(&parts).await, cluster.unsealed(&parts).await);
    let new = first.rekey(RekeyTarget::Barrier, 1, 1).await;
    second.state.rotate().await.unwrap();
    second.note("under the second key").await;
    assert!(second.state.root_key().unwrap() == first.state.root_key().unwrap());
    assert!(cluster.unsealed(&new).await.has_note("under the second key").await);
    // And it rekeys from the new one.
    first.state.renew_keyring().await.unwrap();
    let newer = second.rekey(RekeyTarget::Barrier, 1, 1).await;
    first.state.renew_keyring().await.unwrap();
    assert!(!first.barrier.is_sealed());
    assert!(cluster.unsealed(&newer).await.has_note("under the second key").await);
}

#[tokio::test]
async fn a_node_that_rekeys_before_it_looked_loses_no_key() {
    let cluster = Cluster::new(shamir());
    let parts = cluster.initialized(1, 1).await;
    let (first, second) = (cluster.unsealed(&parts).await, cluster.unsealed(&parts).await);
    first.state.rotate().await.unwrap();
    first.note("under the second key").await;
    let new = second.rekey(RekeyTarget::Barrier, 1, 1).await;
    for node in [&first, &second, &cluster.unsealed(&new).await] {
        assert!(node.has_note("under the second key").await);
    }
}

#[tokio::test]
async fn parts_for_recovery_are_replaced_beside_a_seal_that_unseals_by_itself() {
    let service = Service::new(7);
    let fake = ConfiguredSeal {
        id: "fake".to_owned(),
        priority: 1,
        disabled: false,
        seal: Arc::new(FakeSeal(service.clone())),
    };
    let seals = Seals::several(vec![fake]).unwrap().with_recovery(Arc::new(ShamirSeal));
    let cluster = Cluster::new(seals);
    let old = cluster.initialized(2, 2).await;
    let node = cluster.node();
    assert!(node.state.unseal_by_itself().await.unwrap());
    assert!(node.state.key_holders().await.unwrap().for_recovery);
    assert_eq!(node.state.prove(&old).await.unwrap(), Proof::Proven);
    let refused = node.state.new_wrapping(RekeyTarget::Barrier, KeyPartsWanted::new(1, 1)).await;
    assert!(matches!(refused, Err(InitError::Configuration(_))));

    let new = node.rekey(RekeyTarget::Recovery, 1, 1).await;
    assert_eq!(node.state.prove(&new).await.unwrap(), Proof::Proven);
    assert!(matches!(node.state.prove(&old[..1]).await.unwrap(), Proof::Unfit(_)));
    service.fails(strongroom_seal::SealError::Unavailable("away".to_owned()));
    cluster.unsealed(&new).await;

    let cluster = Cluster::new(shamir());
    let node = cluster.unsealed(&cluster.initialized(1, 1).await).await;
    let refused = node.state.new_wrapping(RekeyTarget::Recovery, KeyPartsWanted::new(1, 1)).await;
    assert!(refused.is_err_and(|refused| refused.to_string().contains("recovery rekeying not supported")));
}
