//! Seals of another kind than Shamir's, several of them, and storage that is not this program's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom_barrier::{BOOTSTRAP_RECORD, Barrier, unwrap_key, wrap_key};
use strongroom_engine_api::{Clock, Engine, Entropy, Environment, Moment};
use strongroom_seal::{
    AutoSeal, BootstrapRecord, ConfiguredSeal, EARLIER_ENTRY, RootKey, Seal, SealError, Seals, Unsealing,
    Wrapped, root_key,
};
use strongroom_seal_shamir::ShamirSeal;
use strongroom_seal_state::{InitError, InitRequest, UnsealError};
use strongroom_storage::{Commit, InMemory, Store, Write};

use crate::{Assembly, Catalog, SealStatus, Settings};

/// A key service outside: it can fail, and counts how often it is asked.
struct Service {
    key: [u8; 32],
    /// The error that it answers instead of serving.
    says: Mutex<Option<SealError>>,
    asked: AtomicUsize,
}

impl Service {
    fn new(key: u8) -> Arc<Self> {
        Arc::new(Self { key: [key; 32], says: Mutex::default(), asked: AtomicUsize::default() })
    }

    fn fails(&self, with: SealError) {
        *self.says.lock().unwrap() = Some(with);
    }

    fn serves(&self) {
        *self.says.lock().unwrap() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Result<(), SealError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.says.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// A seal that has a service outside wrap and unwrap.
struct FakeSeal(Arc<Service>);

#[async_trait]
impl Seal for FakeSeal {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn unsealing(&self) -> Unsealing<'_> {
        Unsealing::Auto(self)
    }

    async fn health(&self) -> Result<(), SealError> {
        self.0.ask()
    }

    /// The stored form is not for everybody's eyes: another wrapping of the same key is shown.
    fn join_challenge(&self, stored: &Wrapped) -> Wrapped {
        let opened = unwrap_key(&self.0.key, b"stored", &stored.blob).unwrap();
        let blob = wrap_key(&Entropy::system(), &self.0.key, b"shown", &opened).unwrap();
        Wrapped { blob, ..stored.clone() }
    }
}

#[async_trait]
impl AutoSeal for FakeSeal {
    async fn wrap(&self, root_key: &RootKey) -> Result<Wrapped, SealError> {
        self.0.ask()?;
        let blob = wrap_key(&Entropy::system(), &self.0.key, b"stored", root_key.expose()).unwrap();
        let parameters = [("key_id".to_owned(), self.0.key[0].into())].into_iter().collect();
        Ok(Wrapped { parameters, blob })
    }

    async fn unwrap(&self, wrapped: &Wrapped) -> Result<RootKey, SealError> {
        self.0.ask()?;
        assert_eq!(wrapped.parameters["key_id"], self.0.key[0]);
        let opened = unwrap_key(&self.0.key, b"stored", &wrapped.blob)
            .or_else(|_| unwrap_key(&self.0.key, b"shown", &wrapped.blob));
        let opened = opened.map_err(|_error| SealError::Refused("this key does not open it".to_owned()))?;
        root_key(&opened).ok_or_else(|| SealError::Malformed("no root key".to_owned()))
    }
}

fn fake(id: &str, priority: u32, service: &Arc<Service>) -> ConfiguredSeal {
    let seal = Arc::new(FakeSeal(service.clone()));
    ConfiguredSeal { id: id.to_owned(), priority, disabled: false, seal }
}

struct Rig {
    store: Arc<InMemory>,
    clock: Clock,
    core: Arc<Assembly>,
}

impl Rig {
    fn over(store: Arc<InMemory>, seals: Seals) -> Self {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let entropy = Entropy::system();
        let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
        let catalog = ["system", "cubbyhole", "token"]
            .into_iter()
            .fold(Catalog::new(), |catalog, kind| catalog.with(Engine::system(kind, "A stand-in.")));
        let environment = Environment { clock: clock.clone(), entropy };
        let core = Assembly::new(barrier, environment, Settings::default(), catalog, seals);
        Self { store, clock, core }
    }

    fn new(seals: Seals) -> Self {
        Self::over(Arc::new(InMemory::new()), seals)
    }

    /// The same storage in a process that has just started.
    fn restarted(&self, seals: Seals) -> Self {
        Self::over(self.store.clone(), seals)
    }

    async fn put(&self, name: &str, value: &[u8]) {
        let key = strongroom_barrier::bootstrap_key(name).into();
        let write = Write { key, value: Some(value.to_vec().into()) };
        self.store.commit(Commit { writes: vec![write], ..Commit::default() }).await.unwrap();
    }

    async fn status(&self) -> SealStatus {
        self.core.services.seal_state.status().await.unwrap()
    }

    async fn record(&self) -> BootstrapRecord {
        self.core.services.seal_state.record().await.unwrap().unwrap()
    }
}

fn with_recovery(seals: Vec<ConfiguredSeal>) -> Seals {
    Seals::several(seals).unwrap().with_recovery(Arc::new(ShamirSeal))
}

#[tokio::test]
async fn a_seal_that_needs_nobody_unseals_by_itself() {
    let service = Service::new(1);
    let rig = Rig::new(with_recovery(vec![fake("kms", 1, &service)]));
    assert!(
        !rig.core.services.seal_state.unseal_by_itself().await.unwrap(),
        "there is nothing to unseal yet"
    );
    let made = rig.core.services.initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    assert!(made.for_recovery);
    assert_eq!(made.key_parts.len(), 3);
    let record = rig.record().await;
    assert_eq!(
        (record.generation, record.seals[0].id.as_str(), record.seals[0].kind.as_str()),
        (1, "kms", "fake")
    );
    assert_eq!(record.seals[0].parameters["key_id"], 1);
    assert_eq!(record.recovery.unwrap().kind, "shamir");
    let status = rig.status().await;
    assert!(status.initialized && status.sealed && status.recovery);
    assert_eq!((status.kind.as_str(), status.quorum.required, status.quorum.total), ("fake", 2, 3));

    assert!(rig.core.services.seal_state.unseal_by_itself().await.unwrap());
    assert!(!rig.status().await.sealed);
    assert!(rig.core.services.mounts.router().await.is_ok(), "entries open");
    assert!(!rig.core.services.seal_state.unseal_by_itself().await.unwrap(), "it is unsealed");
}

#[tokio::test]
async fn an_outage_of_the_service_is_waited_out_and_sealing_on_purpose_lasts() {
    let service = Service::new(1);
    let rig = Rig::new(with_recovery(vec![fake("kms", 1, &service)]));
    rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    service.fails(SealError::Unavailable("no route to host".to_owned()));
    let asked = service.asked();
    let told = rig.core.services.seal_state.unseal_if_due().await.unwrap_err();
    assert!(matches!(told, UnsealError::Seal(SealError::Unavailable(_))), "{told}");
    rig.core.services.seal_state.unseal_if_due().await.unwrap();
    assert_eq!(service.asked(), asked + 1, "not again at once");
    service.serves();
    rig.clock.advance(Duration::from_secs(5));
    rig.core.services.seal_state.unseal_if_due().await.unwrap();
    assert!(!rig.status().await.sealed);

    rig.core.services.seal_state.seal().await;
    rig.clock.advance(Duration::from_secs(3600));
    rig.core.services.seal_state.unseal_if_due().await.unwrap();
    assert!(rig.status().await.sealed, "who sealed it unseals it");
    let restarted = rig.restarted(with_recovery(vec![fake("kms", 1, &service)]));
    restarted.core.services.seal_state.unseal_if_due().await.unwrap();
    assert!(!restarted.status().await.sealed);
}

#[tokio::test]
async fn recovery_keys_recover_where_the_service_is_gone() {
    let service = Service::new(1);
    let rig = Rig::new(with_recovery(vec![fake("kms", 1, &service)]));
    let made = rig.core.services.initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    service.fails(SealError::Refused("the key was deleted".to_owned()));
    let told = rig.core.services.seal_state.unseal_by_itself().await.unwrap_err();
    assert!(matches!(told, UnsealError::Seal(SealError::Refused(_))), "{told}");
    for part in &made.key_parts[..2] {
        assert!(rig.status().await.sealed);
        rig.core.services.seal_state.offer_key_part(part.expose().clone()).await.unwrap();
    }
    assert!(!rig.status().await.sealed);
}

#[tokio::test]
async fn without_recovery_key_parts_are_refused_with_a_reason() {
    let service = Service::new(1);
    let rig = Rig::new(Seals::one(Arc::new(FakeSeal(service))));
    let made = rig.core.services.initialization.initialize(InitRequest::default()).await.unwrap();
    assert!(made.key_parts.is_empty() && !made.for_recovery);
    let told = rig.core.services.seal_state.offer_key_part(vec![1; 32]).await.unwrap_err();
    assert_eq!(
        told.to_string(),
        "this server unseals by itself with seal type fake, and has no recovery keys"
    );
}

#[tokio::test]
async fn the_first_of_several_seals_that_answers_is_enough() {
    let (near, far) = (Service::new(1), Service::new(2));
    let both = || with_recovery(vec![fake("far", 2, &far), fake("near", 1, &near)]);
    let rig = Rig::new(both());
    rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    let record = rig.record().await;
    let order: Vec<(&str, u32)> = record.seals.iter().map(|seal| (seal.id.as_str(), seal.priority)).collect();
    assert_eq!(order, [("near", 1), ("far", 2)]);
    assert_eq!(record.root_key.len(), 2);

    let asked = (near.asked(), far.asked());
    assert!(rig.core.services.seal_state.unseal_by_itself().await.unwrap());
    assert_eq!((near.asked(), far.asked()), (asked.0 + 1, asked.1), "the first is asked, and no other");

    near.fails(SealError::Unavailable("timed out".to_owned()));
    let restarted = rig.restarted(both());
    assert!(restarted.core.services.seal_state.unseal_by_itself().await.unwrap());
    // One that the configuration has disabled is not asked, and the other is enough.
    near.serves();
    let disabled = ConfiguredSeal { disabled: true, ..fake("near", 1, &near) };
    let restarted = rig.restarted(with_recovery(vec![disabled, fake("far", 2, &far)]));
    let asked = near.asked();
    assert!(restarted.core.services.seal_state.unseal_by_itself().await.unwrap());
    assert_eq!(near.asked(), asked);
}

#[tokio::test]
async fn a_seal_that_does_not_answer_is_none_to_begin_with() {
    let (near, far) = (Service::new(1), Service::new(2));
    far.fails(SealError::Unavailable("no route to host".to_owned()));
    let rig = Rig::new(with_recovery(vec![fake("near", 1, &near), fake("far", 2, &far)]));
    let told = rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
    assert!(matches!(told, InitError::Seal(SealError::Unavailable(_))), "{told}");
    let status = rig.status().await;
    assert!(!status.initialized && status.sealed);
    far.serves();
    rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
}

#[tokio::test]
async fn seals_that_do_not_go_together_are_refused() {
    let service = Service::new(1);
    let shamir = |id: &str| ConfiguredSeal {
        id: id.to_owned(),
        priority: 1,
        disabled: false,
        seal: Arc::new(ShamirSeal),
    };
    for (seals, text) in [
        (vec![fake("a", 1, &service), fake("a", 2, &service)], "two seals have the same name"),
        (vec![shamir("a"), shamir("b")], "only one seal can be unsealed with key parts"),
        (vec![ConfiguredSeal { disabled: true, ..shamir("a") }], "no seal is enabled"),
    ] {
        assert_eq!(Seals::several(seals).err().unwrap().to_string(), text);
    }
}

/// Key parts and a service, either of which unseals.
#[tokio::test]
async fn people_and_a_service_can_each_unseal() {
    let service = Service::new(1);
    let people =
        ConfiguredSeal { priority: 2, ..Seals::one(Arc::new(ShamirSeal)).enabled().next().unwrap().clone() };
    let both = || with_recovery(vec![fake("kms", 1, &service), people.clone()]);
    let rig = Rig::new(both());
    let made = rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    assert!(!made.for_recovery && rig.record().await.recovery.is_none());
    assert!(rig.core.services.seal_state.unseal_by_itself().await.unwrap());
    service.fails(SealError::Unavailable("gone".to_owned()));
    let restarted = rig.restarted(both());
    assert!(restarted.core.services.seal_state.unseal_by_itself().await.is_err());
    restarted.core.services.seal_state.offer_key_part(made.key_parts[0].expose().clone()).await.unwrap();
    assert!(!restarted.status().await.sealed);
}

#[tokio::test]
async fn a_node_that_joins_opens_the_challenge_of_the_seal() {
    let service = Service::new(1);
    let seals = || with_recovery(vec![fake("kms", 1, &service)]);
    let active = Rig::new(seals());
    active.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    active.core.services.seal_state.unseal_by_itself().await.unwrap();
    let shown = active.core.services.seal_state.join_challenges().await.unwrap();
    assert_ne!(
        shown[0].challenge,
        active.record().await.root_key[0].blob,
        "the seal has a challenge of its own"
    );

    let joining = Rig::new(seals());
    let others = Rig::new(Seals::one(Arc::new(ShamirSeal)));
    let told = others.core.services.seal_state.begin_joining(shown.clone()).unwrap_err();
    assert!(told.contains("is sealed by \"kms\" of type \"fake\""), "{told}");
    assert!(!others.status().await.initialized);
    joining.core.services.seal_state.begin_joining(shown).unwrap();
    assert!(joining.status().await.initialized);
    let turn = joining.core.services.seal_state.turn().await;
    let found = joining.core.services.seal_state.unwrap_by_itself(&turn).await.unwrap().unwrap();
    assert_eq!(found, active.core.services.seal_state.root_key().unwrap());
}

#[tokio::test]
async fn storage_that_the_configuration_has_no_seal_for_is_named() {
    let service = Service::new(1);
    let rig = Rig::new(with_recovery(vec![fake("kms", 1, &service)]));
    rig.core.services.seal_state.check_storage().await.unwrap();
    rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.unwrap();
    rig.core.services.seal_state.check_storage().await.unwrap();
    let others = rig.restarted(Seals::one(Arc::new(ShamirSeal)));
    let text = "the cluster is sealed by \"kms\" of type \"fake\", and the configuration has no such seal";
    assert_eq!(others.core.services.seal_state.check_storage().await.unwrap_err(), text);
    let told = others.core.services.seal_state.offer_key_part(vec![1; 33]).await.unwrap_err();
    assert_eq!(told.to_string(), text);
    assert_eq!(others.status().await.kind, "fake", "what storage says counts");
}

#[tokio::test]
async fn storage_of_another_version_is_refused_and_left_alone() {
    for (name, value, text) in [
        (EARLIER_ENTRY, "{\"shares\":1,\"threshold\":1}", "written by an earlier version of Strongroom"),
        (
            BOOTSTRAP_RECORD,
            "{\"version\":2}",
            "bootstrap record is of version 2, and this one reads version 1",
        ),
        (BOOTSTRAP_RECORD, "[]", "the bootstrap record is malformed"),
    ] {
        let rig = Rig::new(Seals::one(Arc::new(ShamirSeal)));
        rig.put(name, value.as_bytes()).await;
        let state = &rig.core.services.seal_state;
        let told = state.check_storage().await.unwrap_err();
        assert!(told.contains(text), "{told}");
        assert!(state.status().await.unwrap_err().to_string().contains(text));
        let told =
            rig.core.services.initialization.initialize(InitRequest::key_parts(1, 1)).await.err().unwrap();
        assert!(told.to_string().contains(text), "nothing is put over it: {told}");
        assert!(
            rig.core
                .services
                .seal_state
                .offer_key_part(vec![1; 32])
                .await
                .unwrap_err()
                .to_string()
                .contains(text)
        );
        let kept = rig.core.services.barrier.bootstrap(name).await.unwrap();
        assert_eq!(kept.as_deref(), Some(value.as_bytes()));
    }
}

#[tokio::test]
async fn key_parts_given_for_one_wrapped_key_do_not_count_for_another() {
    let rig = Rig::new(Seals::one(Arc::new(ShamirSeal)));
    let made = rig.core.services.initialization.initialize(InitRequest::key_parts(3, 2)).await.unwrap();
    let offer = async |rig: &Rig, part: usize| {
        rig.core.services.seal_state.offer_key_part(made.key_parts[part].expose().clone()).await.unwrap();
        rig.status().await.progress
    };
    let first = offer(&rig, 0).await;
    assert_eq!((first.given, first.nonce.is_empty()), (1, false));
    let kept = rig.core.services.barrier.bootstrap(BOOTSTRAP_RECORD).await.unwrap().unwrap();
    let mut record = rig.record().await;
    record.generation = 2;
    record.root_key[0].blob[20] ^= 1;
    rig.put(BOOTSTRAP_RECORD, &record.encode().unwrap()).await;
    let second = offer(&rig, 1).await;
    assert_eq!(second.given, 1, "a new attempt");
    assert_ne!(second.nonce, first.nonce);
    rig.put(BOOTSTRAP_RECORD, &kept).await;
    assert_eq!(offer(&rig, 1).await.given, 1);
    offer(&rig, 2).await;
    assert!(!rig.status().await.sealed);
}
