//! Audit devices that the server's configuration declares.
//!
//! Who may call the API is not thereby the administrator of the machine; who writes the configuration is. So a declared
//! device may write to any file, and the API can neither change nor disable it. Only the active node makes and removes
//! declared devices, before the first request of its term: until then no request could be recorded as the operator
//! wants it. A declared device that cannot be made takes part as one that refuses every record, and is tried again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_audit::{EnabledDevice, Origin, open_device};
use strongroom_barrier::{BarrierError, NamespaceId, Txn};
use strongroom_engine_api::EngineError;

use crate::{AUDIT_DEVICES, AuditDevices, AuditEntry, NewDevice, broken_device};

/// A device that the configuration declares.
#[derive(Clone, Debug)]
pub struct DeclaredDevice {
    /// The path in the root namespace; ends in a slash.
    pub path: String,
    /// The device.
    pub device: NewDevice,
}

/// The declared devices, and how far they have been made.
pub(crate) struct Declared {
    devices: Mutex<Arc<[DeclaredDevice]>>,
    /// Nobody has compared them with storage yet, in this term.
    pending: AtomicBool,
    /// Those that could not be made.
    failed: Mutex<Vec<Failed>>,
    /// Held by the one who compares.
    settling: tokio::sync::Mutex<()>,
}

impl Declared {
    pub(crate) fn new(devices: Vec<DeclaredDevice>) -> Self {
        Self {
            devices: Mutex::new(devices.into()),
            pending: AtomicBool::new(true),
            failed: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
        }
    }

    /// They are to be compared with storage again.
    pub(crate) fn set_pending(&self) {
        self.pending.store(true, Ordering::Release);
    }

    fn set(&self, devices: Vec<DeclaredDevice>) {
        *self.devices.lock().unwrap_or_else(PoisonError::into_inner) = devices.into();
        self.set_pending();
    }

    fn devices(&self) -> Arc<[DeclaredDevice]> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers whether anything has changed.
    fn set_failed(&self, failed: Vec<Failed>) -> bool {
        let mut known = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |(a, b): (&Failed, &Failed)| a.path == b.path && a.why == b.why;
        if known.len() == failed.len() && known.iter().zip(&failed).all(same) {
            return false;
        }
        *known = failed;
        true
    }

    fn has_failed(&self) -> bool {
        !self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes the place of the devices that could not be made.
    pub(crate) fn stand_ins(&self) -> Vec<Arc<EnabledDevice>> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.iter().filter_map(|failed| failed.stand_in.clone()).collect()
    }
}

/// A declared device that could not be made.
#[derive(Clone)]
struct Failed {
    path: String,
    why: String,
    /// Takes part in its place, and refuses every record; `None` where storage has a device that takes them.
    stand_in: Option<Arc<EnabledDevice>>,
}

/// The outcome of comparing the declared devices with storage.
#[derive(Default)]
struct Compared {
    /// Devices that could not be made, and declarations that storage contradicts: what it has stays.
    failed: Vec<Failed>,
    /// Devices opened for entries of the transaction, by the entry's UUID.
    opened: Vec<(String, Arc<EnabledDevice>)>,
    /// The transaction changes something.
    changed: bool,
}

impl Compared {
    fn contradict(&mut self, path: &str, why: String) {
        self.failed.push(Failed { path: path.to_owned(), why, stand_in: None });
    }
}

impl AuditDevices {
    /// Declares other devices, as on `SIGHUP`. Nothing is made or removed yet.
    pub fn declare(&self, devices: Vec<DeclaredDevice>) {
        self.declared.set(devices);
    }

    /// A term of leadership is over: the next one compares again.
    pub fn stepped_down(&self) {
        self.declared.set_pending();
        if self.declared.set_failed(Vec::new()) {
            self.built.clear();
        }
    }

    /// True if declared devices have not been compared with storage in this term.
    pub(crate) fn declared_are_pending(&self) -> bool {
        self.declared.pending.load(Ordering::Acquire) && self.leadership.is_active()
    }

    /// Makes the declared devices that storage lacks and removes those that are declared no more, on the active node; a
    /// standby does nothing. Cheap if there is nothing to do.
    ///
    /// # Errors
    ///
    /// Names the declared devices that could not be made, or that storage has otherwise.
    pub async fn settle_declared(&self) -> Result<(), EngineError> {
        let unsettled = || self.declared_are_pending() || self.declared.has_failed();
        if !unsettled() || !self.leadership.is_active() {
            return Ok(());
        }
        let _one = self.declared.settling.lock().await;
        if !unsettled() {
            return Ok(());
        }
        let compared = loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            // Whoever declares others meanwhile has them compared again.
            self.declared.pending.store(false, Ordering::Release);
            let outcome = match self.compare(&txn).await {
                Ok(compared) if compared.changed => {
                    // Known before the commit, which has a broker built from it.
                    self.open().extend(compared.opened.iter().cloned());
                    txn.commit().await.map(|_| compared).map_err(EngineError::from)
                }
                other => other,
            };
            match outcome {
                Err(EngineError::Barrier(BarrierError::Conflict)) => {}
                Err(error) => {
                    self.declared.set_pending();
                    return Err(error);
                }
                Ok(compared) => break compared,
            }
        };
        let problems: Vec<String> =
            compared.failed.iter().map(|Failed { path, why, .. }| format!("{path}: {why}")).collect();
        if self.declared.set_failed(compared.failed) {
            self.built.clear();
        }
        if problems.is_empty() { Ok(()) } else { Err(EngineError::Internal(problems.join("; "))) }
    }

    /// Compares the declared devices with storage, in their order, and writes what is to change.
    async fn compare(&self, txn: &Txn) -> Result<Compared, EngineError> {
        let declared = self.declared.devices();
        let mut compared = Compared::default();
        let found = AUDIT_DEVICES.scan(txn, &NamespaceId::ROOT, None, usize::MAX).await?;
        let mut kept = BTreeMap::new();
        for ((_, path), entry) in found {
            if entry.declared && !declared.iter().any(|device| device.path == path) {
                Self::forget(txn, &path);
                compared.changed = true;
            } else {
                kept.insert(path, entry);
            }
        }
        for DeclaredDevice { path, device } in declared.iter() {
            let taken =
                |other: &&String| other.starts_with(path.as_str()) || path.starts_with(other.as_str());
            if let Some(entry) = kept.get(path).filter(|entry| entry.declared) {
                if !device.is_as_kept(entry) {
                    let why = "a declared audit device cannot be modified; remove the stanza, reload, and declare it again";
                    compared.contradict(path, why.to_owned());
                }
            } else if let Some(other) = kept.keys().find(taken) {
                compared.contradict(path, format!("the path is taken by the audit device {other}"));
            } else {
                self.make(txn, path, device, &mut compared).await?;
            }
        }
        Ok(compared)
    }

    async fn make(
        &self,
        txn: &Txn,
        path: &str,
        device: &NewDevice,
        compared: &mut Compared,
    ) -> Result<(), EngineError> {
        let mut entry = self.entry(device.clone())?;
        entry.declared = true;
        let opened = open_device(&entry.kind, &entry.options, self.rules.allow_prefix, Origin::Declared);
        match self.try_out(path, &entry, opened, "").await {
            Err(why) => {
                let stand_in = broken_device(path, &entry, &why);
                compared.failed.push(Failed { path: path.to_owned(), why, stand_in: Some(stand_in) });
            }
            Ok(opened) => {
                compared.opened.push((entry.uuid.clone(), opened));
                Self::keep(txn, path, entry)?;
                compared.changed = true;
            }
        }
        Ok(())
    }
}

impl NewDevice {
    /// True if an entry is of just such a device.
    fn is_as_kept(&self, entry: &AuditEntry) -> bool {
        self.kind == entry.kind
            && self.description == entry.description
            && self.options == entry.options
            && self.local == entry.local
    }
}
