//! Audit devices in storage, and the broker built from them.
//!
//! The caller decides the content of a record, and `strongroom-audit` its form. A device that cannot be opened stays in
//! the set and refuses every record: an enabled device must not be skipped.

mod declared;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use strongroom_audit::{Broker, EnabledDevice, Formatter, OpenedDevice, Origin, Salt, open_device};
use strongroom_barrier::{
    Barrier, BarrierError, CoreSpace, Derived, KeyPlace, NamespaceId, Reads, Stored, Table, TableId, Txn,
    View, tables,
};
use strongroom_engine_api::{EngineError, Environment, bad_request};
use strongroom_stdx::Secret;
use strongroom_storage::{Index, Leadership};

use declared::Declared;
pub use declared::DeclaredDevice;

tables! {
    /// Audit devices by namespace and path.
    pub(crate) AUDIT_DEVICES: Table<CoreSpace, (NamespaceId, &str), AuditEntry> = 3;
    /// Request headers that audit records show, by lower-case name.
    pub(crate) AUDITED_HEADERS: Table<CoreSpace, str, AuditedHeader> = 4;
}

/// One audit device as kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its type: `file`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Not replicated.
    pub local: bool,
    /// The key of its HMACs.
    pub salt: Secret<Vec<u8>>,
    /// Told apart from an earlier device at the same path.
    pub uuid: String,
    /// Declared in the server's configuration, not enabled over the API.
    #[serde(default)]
    pub declared: bool,
}

impl Stored for AuditEntry {}

/// The parameters of enabling a device.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// Its type: `file`.
    pub kind: String,
    /// For people.
    pub description: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Not replicated.
    pub local: bool,
}

/// A request header that audit records show.
#[derive(Clone, Serialize, Deserialize)]
pub struct AuditedHeader {
    /// True if its values are hashed.
    pub hmac: bool,
}

impl Stored for AuditedHeader {}

/// The broker and what records are to show.
pub struct Auditing {
    /// The devices.
    pub broker: Broker,
    /// Request headers to show, by lower-case name.
    pub headers: BTreeMap<String, bool>,
}

/// The server's rules for devices.
#[derive(Clone, Debug)]
pub struct DeviceRules {
    /// True if devices may have a prefix.
    pub allow_prefix: bool,
    /// True if devices can be enabled over the API.
    pub allow_creation: bool,
    /// Files and folders of the server that a new device must not write to.
    pub guarded: Vec<PathBuf>,
    /// The devices that the configuration declares, in its order.
    pub declared: Vec<DeclaredDevice>,
}

/// The audit devices of a server.
pub struct AuditDevices {
    barrier: Arc<Barrier>,
    environment: Environment,
    rules: DeviceRules,
    leadership: Leadership,
    declared: Declared,
    built: Derived<Auditing>,
    /// Opened devices by their entry's UUID: they outlive rebuilding the broker.
    open: Mutex<HashMap<String, Arc<EnabledDevice>>>,
}

impl AuditDevices {
    /// Those in storage behind `barrier`.
    pub fn new(
        barrier: Arc<Barrier>,
        environment: Environment,
        mut rules: DeviceRules,
        leadership: Leadership,
    ) -> Self {
        let declared = Declared::new(std::mem::take(&mut rules.declared));
        Self {
            barrier,
            environment,
            rules,
            leadership,
            declared,
            built: Derived::new(),
            open: Mutex::default(),
        }
    }

    /// Commit `index` touched an entry of the server's own.
    pub fn observe(&self, place: KeyPlace, index: Index) {
        if place.is_of(AUDIT_DEVICES.id()) || place.is_of(AUDITED_HEADERS.id()) {
            self.outdate(index);
        }
    }

    /// Commit `index` may have changed anything.
    pub fn outdate(&self, index: Index) {
        self.built.outdate(index);
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.stepped_down();
        self.built.clear();
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<EnabledDevice>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The audit devices and settings as of the newest change. On a node that has just become active, the declared
    /// devices are made first: its first request is recorded by them.
    pub async fn auditing(&self) -> Result<Arc<Auditing>, BarrierError> {
        if self.declared_are_pending()
            && let Err(error) = Box::pin(self.settle_declared()).await
        {
            match error {
                EngineError::Barrier(error) => return Err(error),
                error => tracing::error!(%error, "declared audit devices are not as configured"),
            }
        }
        self.built.get(|| self.build_auditing()).await
    }

    /// Reopens what the devices write to, as on `SIGHUP`, and tries those again that could not be opened. The active node
    /// makes and removes declared devices first.
    ///
    /// # Errors
    ///
    /// The first failure; all devices are tried.
    pub async fn reload(&self) -> Result<(), EngineError> {
        self.built.clear();
        let settled = self.settle_declared().await;
        let reloaded = self.auditing().await?.broker.reload().await;
        settled.and(reloaded.map_err(|error| EngineError::Internal(error.to_string())))
    }

    async fn build_auditing(&self) -> Result<(u64, Auditing), BarrierError> {
        let view = self.barrier.pinned_view().await?;
        let mut devices = Vec::new();
        let mut in_use = HashMap::new();
        for ((_, path), entry) in AUDIT_DEVICES.scan(&view, &NamespaceId::ROOT, None, usize::MAX).await? {
            match self.opened(&path, &entry) {
                Ok(device) => {
                    in_use.insert(entry.uuid.clone(), device.clone());
                    devices.push(device);
                }
                // Stays in the set and refuses every record: a device that cannot be opened must not be forgotten. It is
                // not kept as opened: the next broker tries it again.
                Err(error) => {
                    tracing::error!(path, %error, "audit device cannot be opened");
                    devices.push(broken_device(&path, &entry, &error.to_string()));
                }
            }
        }
        devices.extend(self.declared.stand_ins());
        *self.open() = in_use;
        let headers = AUDITED_HEADERS.scan(&view, "", None, usize::MAX).await?;
        let headers = headers.into_iter().map(|(name, header)| (name, header.hmac)).collect();
        Ok((view.index(), Auditing { broker: Broker::new(devices), headers }))
    }

    fn opened(
        &self,
        path: &str,
        entry: &AuditEntry,
    ) -> Result<Arc<EnabledDevice>, strongroom_audit::AuditError> {
        let open = self.open().get(&entry.uuid).cloned();
        if let Some(device) = open {
            return Ok(device);
        }
        let origin = if entry.declared { Origin::Declared } else { Origin::Enabled };
        let opened = open_device(&entry.kind, &entry.options, self.rules.allow_prefix, origin)?;
        let formatter = Formatter::new(opened.format, Salt::new(&entry.salt));
        Ok(Arc::new(EnabledDevice::new(path, formatter, opened.device)))
    }

    /// Enables a device: opens it, sends it a test record, and writes the entry. `path` ends in a slash.
    pub async fn enable_audit(
        &self,
        txn: &Txn,
        path: &str,
        device: NewDevice,
        request_id: &str,
    ) -> Result<(), EngineError> {
        if !self.rules.allow_creation {
            return Err(bad_request("audit devices cannot be enabled over the API of this server"));
        }
        if AUDIT_DEVICES.get(txn, &(NamespaceId::ROOT, path)).await?.is_some() {
            return Err(bad_request("path already in use"));
        }
        let entry = self.entry(device)?;
        let origin = Origin::New(&self.rules.guarded);
        let opened = open_device(&entry.kind, &entry.options, self.rules.allow_prefix, origin);
        let device = self.try_out(path, &entry, opened, request_id).await.map_err(bad_request)?;
        self.open().insert(entry.uuid.clone(), device);
        Self::keep(txn, path, entry)
    }

    /// Writes the entry of a device, and says so in the log once that is committed.
    fn keep(txn: &Txn, path: &str, entry: AuditEntry) -> Result<(), EngineError> {
        let (told, kind) = (path.to_owned(), entry.kind.clone());
        txn.on_commit(move || tracing::info!(path = told, r#type = kind, "enabled audit backend"));
        Ok(AUDIT_DEVICES.put(txn, &(NamespaceId::ROOT, path), entry)?)
    }

    /// Deletes the entry of a device in the same way.
    fn forget(txn: &Txn, path: &str) {
        let told = path.to_owned();
        txn.on_commit(move || tracing::info!(path = told, "disabled audit backend"));
        AUDIT_DEVICES.delete(txn, &(NamespaceId::ROOT, path));
    }

    /// A new entry for a device, with a key of its own.
    fn entry(&self, device: NewDevice) -> Result<AuditEntry, EngineError> {
        let NewDevice { kind, description, options, local } = device;
        let uuid = self.environment.entropy.uuid()?;
        let salt = Secret::new(self.environment.entropy.bytes::<32>()?.to_vec());
        Ok(AuditEntry { kind, description, options, local, salt, uuid, declared: false })
    }

    /// Sends a device that is about to be enabled a test record, unless its options say not to.
    async fn try_out(
        &self,
        path: &str,
        entry: &AuditEntry,
        opened: Result<OpenedDevice, strongroom_audit::AuditError>,
        request_id: &str,
    ) -> Result<Arc<EnabledDevice>, String> {
        let opened = opened.map_err(|error| error.to_string())?;
        let formatter = Formatter::new(opened.format, Salt::new(&entry.salt));
        let device = Arc::new(EnabledDevice::new(path, formatter, opened.device));
        if !opened.skip_test {
            let test = device.test(self.environment.clock.now(), request_id).await;
            test.map_err(|error| format!("audit device failed test message: {error}"))?;
        }
        Ok(device)
    }

    /// Disables a device that was enabled over the API; answers whether there was one.
    ///
    /// # Errors
    ///
    /// A declared device is refused: the configuration would still ask for it.
    pub async fn disable_audit(&self, txn: &Txn, path: &str) -> Result<bool, EngineError> {
        let found = AUDIT_DEVICES.get(txn, &(NamespaceId::ROOT, path)).await?;
        if found.as_ref().is_some_and(|entry| entry.declared) {
            return Err(bad_request(
                "the audit device is declared in the server's configuration, and is disabled by removing its stanza there",
            ));
        }
        if found.is_some() {
            Self::forget(txn, path);
        }
        Ok(found.is_some())
    }

    /// The devices as kept, by path.
    pub async fn audit_entries(&self, view: &View) -> Result<Vec<(String, Arc<AuditEntry>)>, BarrierError> {
        let found = AUDIT_DEVICES.scan(view, &NamespaceId::ROOT, None, usize::MAX).await?;
        Ok(found.into_iter().map(|((_, path), entry)| (path, entry)).collect())
    }

    /// Sets whether and how a request header is shown; `None` takes it away.
    pub fn set_audited_header(
        &self,
        txn: &Txn,
        name: &str,
        header: Option<AuditedHeader>,
    ) -> Result<(), BarrierError> {
        let name = name.to_lowercase();
        if let Some(header) = header {
            return AUDITED_HEADERS.put(txn, &name, header);
        }
        AUDITED_HEADERS.delete(txn, &name);
        Ok(())
    }

    /// The request headers that audit records show.
    pub async fn audited_headers(&self, reads: &impl Reads) -> Result<BTreeMap<String, bool>, BarrierError> {
        let found = AUDITED_HEADERS.scan(reads, "", None, usize::MAX).await?;
        Ok(found.into_iter().map(|(name, header)| (name, header.hmac)).collect())
    }
}

/// Takes the place of a device that cannot be opened: takes no record.
struct Broken {
    name: String,
    why: String,
}

impl Broken {
    fn refusal(&self) -> strongroom_audit::AuditError {
        let source = Arc::new(std::io::Error::other(self.why.clone()));
        strongroom_audit::AuditError::Write { device: self.name.clone(), source }
    }
}

#[async_trait::async_trait]
impl strongroom_audit::Device for Broken {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&self, _line: &[u8]) -> Result<(), strongroom_audit::AuditError> {
        Err(self.refusal())
    }

    async fn reload(&self) -> Result<(), strongroom_audit::AuditError> {
        Err(self.refusal())
    }
}

fn broken_device(path: &str, entry: &AuditEntry, why: &str) -> Arc<EnabledDevice> {
    let formatter = Formatter::new(strongroom_audit::FormatOptions::default(), Salt::new(&entry.salt));
    let device = Arc::new(Broken { name: path.to_owned(), why: why.to_owned() });
    Arc::new(EnabledDevice::new(path, formatter, device))
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}
