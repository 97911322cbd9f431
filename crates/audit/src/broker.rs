//! All enabled devices, and the rule that one of them must have a record before a request goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use strongroom_stdx::Moment;

use crate::device::Device;
use crate::error::{AuditError, RecordKind};
use crate::format::{Formatter, RequestLine};
use crate::record::{Auth, Namespace, Request, RequestRecord, ResponseRecord};

/// A device that is enabled at a path, with its own way of showing records.
pub struct EnabledDevice {
    path: String,
    formatter: Formatter,
    device: Arc<dyn Device>,
    requests: Tally,
    responses: Tally,
}

/// The numbers of records that a device has taken and failed, since it was enabled or the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Request records taken.
    pub requests: u64,
    /// Request records failed.
    pub request_failures: u64,
    /// Response records taken.
    pub responses: u64,
    /// Response records failed.
    pub response_failures: u64,
}

#[derive(Default)]
struct Tally {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl EnabledDevice {
    /// A device at `path`, which ends in a slash as a mount's does (`file/`).
    pub fn new(path: impl Into<String>, formatter: Formatter, device: Arc<dyn Device>) -> Self {
        Self { path: path.into(), formatter, device, requests: Tally::default(), responses: Tally::default() }
    }

    /// The path at which it is enabled.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text that stands for `input` in this device's records: the answer to `sys/audit-hash/:path`.
    pub fn hash(&self, input: &str) -> String {
        self.formatter.salt().hash(input)
    }

    /// Its counters.
    pub fn counters(&self) -> DeviceCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DeviceCounters {
            requests: read(&self.requests.taken),
            request_failures: read(&self.requests.failed),
            responses: read(&self.responses.taken),
            response_failures: read(&self.responses.failed),
        }
    }

    /// Writes a test record, as is done before a device counts as enabled, unless its `skip_test` says otherwise.
    /// The counters leave it out. Fails with [`AuditError::TestMessage`].
    pub async fn test(&self, time: Moment, request_id: &str) -> Result<(), AuditError> {
        let request = Request {
            id: request_id,
            operation: "update",
            namespace: Namespace { id: "root", path: "" },
            path: "sys/audit/test",
            ..Request::default()
        };
        let record =
            RequestRecord { time, auth: &Auth::default(), request: &request, error: "", forwarded_from: "" };
        let written = self.device.write(self.formatter.request(&record).text()).await;
        written.map_err(|error| AuditError::TestMessage(Box::new(error)))
    }

    /// Reopens what the device writes to.
    pub async fn reload(&self) -> Result<(), AuditError> {
        self.device.reload().await
    }

    async fn log_request(&self, line: &RequestLine) -> bool {
        self.note(RecordKind::Request, &self.device.write(line.text()).await)
    }

    async fn log_response(&self, record: &ResponseRecord<'_>, request: &RequestLine) -> bool {
        let outcome = match self.formatter.response(record, request) {
            Ok(line) => self.device.write(&line).await,
            Err(error) => Err(error),
        };
        self.note(RecordKind::Response, &outcome)
    }

    /// Counts, and reports a failure to the server's log. Returns whether the device took the record.
    fn note(&self, kind: RecordKind, outcome: &Result<(), AuditError>) -> bool {
        let tally = match kind {
            RecordKind::Request => &self.requests,
            RecordKind::Response => &self.responses,
        };
        let counter = if outcome.is_ok() { &tally.taken } else { &tally.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = outcome {
            tracing::error!(backend = %self.path, %error, "audit backend failed to log {kind}");
        }
        outcome.is_ok()
    }
}

/// The devices enabled at one time. Enabling or disabling one makes another broker, which shares the devices that
/// stay; requests under way keep the one they began with.
#[derive(Clone, Default)]
pub struct Broker {
    devices: Vec<Arc<EnabledDevice>>,
}

impl Broker {
    /// Of these devices.
    pub const fn new(devices: Vec<Arc<EnabledDevice>>) -> Self {
        Self { devices }
    }

    /// True if there is any device. Where there is none, no record need be put together.
    pub const fn is_enabled(&self) -> bool {
        !self.devices.is_empty()
    }

    /// The devices.
    pub fn devices(&self) -> &[Arc<EnabledDevice>] {
        &self.devices
    }

    /// The device enabled at `path`.
    pub fn get(&self, path: &str) -> Option<&Arc<EnabledDevice>> {
        self.devices.iter().find(|device| device.path == path)
    }

    /// Puts a request's record into the form of each device. Nothing is logged yet.
    pub fn audit(&self, record: &RequestRecord<'_>) -> AuditedRequest {
        let line = |device: &Arc<EnabledDevice>| (Arc::clone(device), device.formatter.request(record));
        AuditedRequest { lines: self.devices.iter().map(line).collect() }
    }

    /// Reopens what the devices write to, as on `SIGHUP`. All are tried; the first failure is returned, and each is
    /// reported to the server's log.
    pub async fn reload(&self) -> Result<(), AuditError> {
        let mut result = Ok(());
        for device in &self.devices {
            if let Err(error) = device.reload().await {
                tracing::error!(backend = %device.path, %error, "audit backend failed to reload");
                result = result.and(Err(error));
            }
        }
        result
    }
}

/// A request with the devices that its two records go to, which are the same though others be enabled meanwhile.
#[derive(Default)]
pub struct AuditedRequest {
    lines: Vec<(Arc<EnabledDevice>, RequestLine)>,
}

impl AuditedRequest {
    /// True if there is a device.
    pub const fn is_recorded(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Logs the request to every device. Where there are devices, fails with [`AuditError::Unlogged`] if none took it.
    pub async fn log_request(&self) -> Result<(), AuditError> {
        self.log(RecordKind::Request, EnabledDevice::log_request).await
    }

    /// Logs the response to every device. Where there are devices, fails with [`AuditError::Unlogged`] if none took it.
    pub async fn log_response(&self, record: &ResponseRecord<'_>) -> Result<(), AuditError> {
        self.log(RecordKind::Response, |device, line| device.log_response(record, line)).await
    }

    async fn log<'a, F>(
        &'a self,
        kind: RecordKind,
        log: impl Fn(&'a EnabledDevice, &'a RequestLine) -> F,
    ) -> Result<(), AuditError>
    where
        F: Future<Output = bool>,
    {
        let taken = match self.lines.as_slice() {
            [] => true,
            [(device, line)] => log(device, line).await,
            lines => join_all(lines.iter().map(|(device, line)| log(device, line))).await.contains(&true),
        };
        if taken { Ok(()) } else { Err(AuditError::Unlogged(kind)) }
    }
}

#[cfg(test)]
#[path = "tests/broker.rs"]
mod tests;
