//! Audit devices over storage in memory: which there are, and that none is skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail loudly")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use strongroom_audit::{Auth, Request, RequestRecord};
use strongroom_auditing::{AuditDevices, AuditedHeader, Auditing, DeclaredDevice, DeviceRules, NewDevice};
use strongroom_barrier::{Barrier, CoreSpace, KeyPlace, Keyring, Table, Txn, tables};
use strongroom_engine_api::{Clock, EngineError, Entropy, Environment, Moment};
use strongroom_storage::{
    Active, Coordinator, InMemory, Index, Leadership, Observer, Role, SteppedDown, Store,
};

const NOW: Moment = Moment::from_secs(1_700_000_000);

tables! {
    /// Entries of somebody else.
    OTHERS: Table<CoreSpace, str, String> = 200;
}

/// A server's audit devices, told of commits as they are in a server.
struct Rig {
    barrier: Arc<Barrier>,
    devices: Arc<AuditDevices>,
    folder: tempfile::TempDir,
}

struct Told(Arc<AuditDevices>);

impl Observer for Told {
    fn applied(&self, index: Index, keys: &[&[u8]]) {
        for place in keys.iter().filter_map(|key| KeyPlace::of(key)) {
            self.0.observe(place, index);
        }
    }

    fn replaced(&self, index: Index) {
        self.0.outdate(index);
    }
}

fn devices(store: &Arc<InMemory>, keyring: Keyring, allow_prefix: bool) -> (Arc<Barrier>, Arc<AuditDevices>) {
    devices_of(store, keyring, allow_prefix, Leadership::default())
}

fn devices_of(
    store: &Arc<InMemory>,
    keyring: Keyring,
    allow_prefix: bool,
    leadership: Leadership,
) -> (Arc<Barrier>, Arc<AuditDevices>) {
    let entropy = Entropy::system();
    let barrier = Barrier::new(store.clone(), entropy.clone(), 1 << 20);
    barrier.unseal(keyring);
    let environment = Environment { clock: Clock::stepped(NOW), entropy };
    let rules = DeviceRules { allow_prefix, allow_creation: true, guarded: Vec::new(), declared: Vec::new() };
    let devices = Arc::new(AuditDevices::new(barrier.clone(), environment, rules, leadership));
    store.observe(Arc::new(Told(devices.clone())));
    (barrier, devices)
}

fn keyring() -> Keyring {
    Keyring::generate(&Entropy::given(|out| out.fill(7)), NOW).unwrap()
}

impl Rig {
    fn new() -> Self {
        let (barrier, devices) = devices(&Arc::new(InMemory::new()), keyring(), false);
        Self { barrier, devices, folder: tempfile::tempdir().unwrap() }
    }

    async fn txn(&self) -> Txn {
        self.barrier.transaction(self.barrier.pinned_view().await.unwrap())
    }

    async fn enable(&self, path: &str, options: &[(&str, &str)]) -> Result<(), String> {
        let txn = self.txn().await;
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let device =
            NewDevice { kind: "file".to_owned(), options: options.collect(), ..NewDevice::default() };
        let enabled = self.devices.enable_audit(&txn, path, device, "a-request").await;
        enabled.map_err(|error: EngineError| error.to_string())?;
        txn.commit().await.unwrap();
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn enable_file(&self, path: &str, name: &str) {
        self.enable(path, &[("file_path", &self.file(name))]).await.unwrap();
    }

    async fn auditing(&self) -> Arc<Auditing> {
        self.devices.auditing().await.unwrap()
    }

    /// True if a request with this path is audited, so that it may go on.
    async fn log(&self, path: &str) -> bool {
        let (auth, request) =
            (Auth::default(), Request { id: "r", operation: "read", path, ..Request::default() });
        let record =
            RequestRecord { time: NOW, auth: &auth, request: &request, error: "", forwarded_from: "" };
        self.auditing().await.broker.audit(&record).log_request().await.is_ok()
    }

    /// The paths of the requests in a log.
    fn logged(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["request"]["path"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_device_is_tested_before_it_is_enabled() {
    let rig = Rig::new();
    assert!(!rig.auditing().await.broker.is_enabled());
    let nowhere = rig.file("missing\0/log");
    for (options, text) in [
        (vec![], "file_path is required"),
        (vec![("file_path", nowhere.as_str())], ""),
        (vec![("file_path", "/dev/full")], "audit device failed test message"),
        (vec![("file_path", "discard"), ("prefix", "x")], "prefix"),
    ] {
        let told = rig.enable("file/", &options).await.unwrap_err();
        assert!(told.contains(text), "{options:?}: {told}");
    }
    assert!(!rig.auditing().await.broker.is_enabled(), "what was refused is not there");
    rig.enable("full/", &[("file_path", "/dev/full"), ("skip_test", "true")]).await.unwrap();
    assert!(!rig.log("secret/a").await, "and refuses records");
    rig.enable_file("file/", "log").await;
    assert_eq!(rig.logged("log").len(), 1, "the test message");
    let again = rig.enable("file/", &[("file_path", "discard")]).await.unwrap_err();
    assert_eq!(again, "path already in use");
}

#[tokio::test]
async fn one_device_that_takes_a_record_is_enough() {
    let rig = Rig::new();
    assert!(rig.log("secret/a").await, "without a device nothing is audited");
    rig.enable_file("file/", "log").await;
    rig.enable("full/", &[("file_path", "/dev/full"), ("skip_test", "true")]).await.unwrap();
    assert!(rig.log("secret/b").await);
    assert_eq!(rig.logged("log")[1..], ["secret/b"]);
    let auditing = rig.auditing().await;
    let counted = |path: &str| auditing.broker.get(path).unwrap().counters();
    assert_eq!((counted("file/").requests, counted("full/").request_failures), (1, 1));
    let txn = rig.txn().await;
    assert!(rig.devices.disable_audit(&txn, "file/").await.unwrap());
    txn.commit().await.unwrap();
    assert!(!rig.log("secret/c").await, "those that are left take none");
    let txn = rig.txn().await;
    assert!(!rig.devices.disable_audit(&txn, "file/").await.unwrap(), "there is none any more");
}

/// What is enabled and cannot be opened must not be passed over: whoever can break a device would be unseen.
#[tokio::test]
async fn a_device_that_cannot_be_opened_refuses_every_record() {
    let store = Arc::new(InMemory::new());
    let folder = tempfile::tempdir().unwrap();
    let (barrier, first) = devices(&store, keyring(), false);
    let rig = Rig { barrier, devices: first, folder };
    rig.enable_file("file/", "log").await;
    assert!(rig.log("secret/a").await);
    // Another process finds a folder at the file's place.
    std::fs::remove_file(rig.file("log")).unwrap();
    std::fs::create_dir(rig.file("log")).unwrap();
    let (barrier, second) = devices(&store, keyring(), false);
    let Rig { folder, .. } = rig;
    let rig = Rig { barrier, devices: second, folder };
    assert_eq!(rig.auditing().await.broker.devices().len(), 1, "it stays in the set");
    assert!(!rig.log("secret/b").await);
    assert!(rig.devices.reload().await.is_err(), "and says so when it is opened again");
    rig.enable_file("other/", "other").await;
    assert!(rig.log("secret/c").await, "another takes the record");
    assert_eq!(rig.logged("other")[1..], ["secret/c"]);
    // An operator makes room for it, and has the server open its files again.
    std::fs::remove_dir(rig.file("log")).unwrap();
    rig.devices.reload().await.unwrap();
    assert!(rig.log("secret/d").await);
    assert_eq!(rig.logged("log"), ["secret/d"]);
    assert_eq!(rig.auditing().await.broker.devices().len(), 2);
}

#[tokio::test]
async fn devices_stay_open_when_others_come_and_go() {
    let rig = Rig::new();
    rig.enable_file("file/", "log").await;
    assert!(rig.log("secret/a").await);
    let before = rig.auditing().await;
    let txn = rig.txn().await;
    OTHERS.put(&txn, "a", "b".to_owned()).unwrap();
    txn.commit().await.unwrap();
    assert!(Arc::ptr_eq(&before, &rig.auditing().await), "entries of others change nothing");
    rig.enable_file("more/", "more").await;
    let after = rig.auditing().await;
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(after.broker.get("file/").unwrap().counters().requests, 1, "its counters go on");
    let salted = |path: &str| after.broker.get(path).unwrap().hash("a-token");
    assert_ne!(salted("file/"), salted("more/"), "each has a salt of its own");
    // At its path another device has another salt, so that records of both cannot be compared.
    let old = salted("file/");
    let txn = rig.txn().await;
    rig.devices.disable_audit(&txn, "file/").await.unwrap();
    txn.commit().await.unwrap();
    rig.enable_file("file/", "log").await;
    assert_ne!(rig.auditing().await.broker.get("file/").unwrap().hash("a-token"), old);
    assert_eq!(rig.devices.audit_entries(&rig.barrier.pinned_view().await.unwrap()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn request_headers_are_known_in_lower_case() {
    let rig = Rig::new();
    let txn = rig.txn().await;
    rig.devices.set_audited_header(&txn, "X-Team", Some(AuditedHeader { hmac: true })).unwrap();
    rig.devices.set_audited_header(&txn, "x-plain", Some(AuditedHeader { hmac: false })).unwrap();
    txn.commit().await.unwrap();
    let expected = BTreeMap::from([("x-plain".to_owned(), false), ("x-team".to_owned(), true)]);
    assert_eq!(rig.auditing().await.headers, expected);
    let txn = rig.txn().await;
    assert_eq!(rig.devices.audited_headers(&txn).await.unwrap(), expected);
    rig.devices.set_audited_header(&txn, "X-TEAM", None).unwrap();
    rig.devices.set_audited_header(&txn, "x-never", None).unwrap();
    txn.commit().await.unwrap();
    assert_eq!(rig.auditing().await.headers, BTreeMap::from([("x-plain".to_owned(), false)]));
}

#[tokio::test]
async fn nothing_is_known_while_sealed() {
    let rig = Rig::new();
    rig.enable_file("file/", "log").await;
    rig.barrier.seal();
    rig.devices.clear();
    assert!(rig.devices.auditing().await.is_err(), "no broker is better than one without devices");
    rig.barrier.unseal(keyring());
    assert!(rig.log("secret/a").await);
}

fn declared(path: &str, file: &str) -> DeclaredDevice {
    let options = BTreeMap::from([("file_path".to_owned(), file.to_owned())]);
    let device = NewDevice { kind: "file".to_owned(), options, ..NewDevice::default() };
    DeclaredDevice { path: path.to_owned(), device }
}

impl Rig {
    /// The paths of the entries, and which of them are declared.
    async fn entries(&self) -> Vec<(String, bool)> {
        let view = self.barrier.pinned_view().await.unwrap();
        let entries = self.devices.audit_entries(&view).await.unwrap();
        entries.into_iter().map(|(path, entry)| (path, entry.declared)).collect()
    }
}

#[tokio::test]
async fn declared_devices_come_and_go_with_the_configuration() {
    let rig = Rig::new();
    rig.enable_file("api/", "api").await;
    rig.devices.declare(vec![declared("one/", &rig.file("one")), declared("two/", &rig.file("two"))]);
    assert!(rig.log("secret/a").await, "made before the first record");
    assert_eq!(rig.logged("one")[1..], ["secret/a"]);
    assert_eq!(rig.logged("two")[1..], ["secret/a"]);
    let entries = [("api/".to_owned(), false), ("one/".to_owned(), true), ("two/".to_owned(), true)];
    assert_eq!(rig.entries().await, entries);
    let hash = rig.auditing().await.broker.get("one/").unwrap().hash("x");

    let txn = rig.txn().await;
    let refused = rig.devices.disable_audit(&txn, "one/").await.unwrap_err();
    assert!(refused.to_string().contains("declared in the server's configuration"), "{refused}");
    assert_eq!(rig.enable("one/", &[("file_path", "discard")]).await.unwrap_err(), "path already in use");

    rig.devices.declare(vec![declared("one/", &rig.file("one"))]);
    rig.devices.reload().await.unwrap();
    assert_eq!(rig.entries().await, entries[..2]);
    assert!(rig.log("secret/b").await);
    assert_eq!(rig.logged("two").len(), 2, "nothing more");
    assert_eq!(rig.auditing().await.broker.get("one/").unwrap().hash("x"), hash, "the other one stays");

    rig.devices.declare(Vec::new());
    rig.devices.settle_declared().await.unwrap();
    assert_eq!(rig.entries().await, entries[..1], "what the API enabled is not touched");
}

#[tokio::test]
async fn a_declaration_does_not_change_what_is_there() {
    let rig = Rig::new();
    rig.enable_file("api/", "api").await;
    rig.devices.declare(vec![declared("one/", &rig.file("one"))]);
    rig.devices.settle_declared().await.unwrap();
    let other = rig.file("other");
    rig.devices.declare(vec![
        declared("one/", &other),
        declared("api/", &other),
        declared("api/below/", &other),
        declared("new/", &rig.file("new")),
    ]);
    let told = rig.devices.reload().await.unwrap_err().to_string();
    for part in
        ["one/: a declared audit device cannot be modified", "api/: the path is taken", "api/below/: "]
    {
        assert!(told.contains(part), "{told}");
    }
    assert!(rig.log("secret/a").await);
    assert!(!std::fs::exists(&other).unwrap());
    for name in ["api", "one", "new"] {
        assert_eq!(rig.logged(name).last().unwrap(), "secret/a", "{name}");
    }
    rig.devices.settle_declared().await.unwrap_err();
    let txn = rig.txn().await;
    rig.devices.disable_audit(&txn, "api/").await.unwrap();
    txn.commit().await.unwrap();
    rig.devices.declare(vec![declared("one/", &rig.file("one")), declared("api/", &other)]);
    rig.devices.settle_declared().await.unwrap();
    let all = ["api/", "new/", "one/"].map(|path| (path.to_owned(), path != "new/"));
    assert_eq!(rig.entries().await, [all[0].clone(), all[2].clone()]);
}

/// The operator wants requests recorded there: none goes on unrecorded because the device is not there yet.
#[tokio::test]
async fn a_declared_device_that_cannot_be_made_refuses_records_until_it_can() {
    let rig = Rig::new();
    std::fs::create_dir(rig.file("log")).unwrap();
    rig.devices.declare(vec![declared("one/", &rig.file("log"))]);
    assert!(!rig.log("secret/a").await);
    let told = rig.devices.settle_declared().await.unwrap_err().to_string();
    assert!(told.contains("one/: "), "{told}");
    assert_eq!(rig.entries().await, []);
    rig.enable_file("api/", "api").await;
    assert!(rig.log("secret/b").await, "another takes the record");
    std::fs::remove_dir(rig.file("log")).unwrap();
    rig.devices.settle_declared().await.unwrap();
    assert!(rig.log("secret/c").await);
    assert_eq!(rig.logged("log")[1..], ["secret/c"]);
    // Sealed and unsealed, it is found again.
    rig.barrier.seal();
    rig.devices.clear();
    rig.barrier.unseal(keyring());
    assert!(rig.log("secret/d").await);
    assert_eq!(rig.logged("log")[1..], ["secret/c", "secret/d"]);
}

/// Settles that the node leads, or does not.
struct Leads(AtomicBool);

#[async_trait::async_trait]
impl Coordinator for Leads {
    fn role(&self) -> Role {
        if self.leading().is_some() { Role::Leads } else { Role::Follows }
    }

    fn leading(&self) -> Option<u64> {
        self.0.load(Ordering::SeqCst).then_some(1)
    }

    fn set_eligible(&self, _eligible: bool) {}

    fn active(&self) -> Option<Active> {
        None
    }

    fn number(&self) -> u64 {
        2
    }

    fn cluster_id(&self) -> Arc<str> {
        "cluster".into()
    }

    async fn step_down(&self) -> SteppedDown {
        SteppedDown::Nothing
    }
}

#[tokio::test]
async fn a_standby_leaves_declared_devices_to_the_active_node() {
    let leads = Arc::new(Leads(AtomicBool::new(false)));
    let leadership = Leadership::default();
    leadership.settle_by(leads.clone());
    let (barrier, devices) = devices_of(&Arc::new(InMemory::new()), keyring(), false, leadership);
    let rig = Rig { barrier, devices, folder: tempfile::tempdir().unwrap() };
    rig.devices.declare(vec![declared("one/", &rig.file("one"))]);
    rig.devices.reload().await.unwrap();
    assert!(rig.log("secret/a").await);
    assert_eq!(rig.entries().await, []);
    leads.0.store(true, Ordering::SeqCst);
    assert!(rig.log("secret/b").await);
    assert_eq!(rig.logged("one")[1..], ["secret/b"], "the first request of its term");
}
