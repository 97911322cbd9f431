//! Audit devices: the trait, and the types there are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::AuditError;
use crate::file::{FileDevice, FileOptions};
use crate::guard::Guard;
use crate::options::{FormatOptions, Options};

/// Somewhere audit records go.
#[async_trait]
pub trait Device: Send + Sync {
    /// Its name in messages: for a file its path.
    fn name(&self) -> &str;

    /// Delivers one line, which ends in a line feed. `Ok` means that the line has left this process whole: for a
    /// file, that the operating system has it. A caller that stops waiting does not take the line back.
    async fn write(&self, line: &[u8]) -> Result<(), AuditError>;

    /// Reopens what it writes to, as on `SIGHUP` after a file was rotated.
    async fn reload(&self) -> Result<(), AuditError>;
}

/// A device as opened from its configuration, together with how its lines are to be rendered.
pub struct OpenedDevice {
    /// The device.
    pub device: Arc<dyn Device>,
    /// The form of its records.
    pub format: FormatOptions,
    /// Do not send a test record on enabling it.
    pub skip_test: bool,
}

/// The origin of a device, which says how far it is trusted with files that are there already.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// The server's configuration: whoever writes it is the system's administrator.
    Declared,
    /// The API, some time ago.
    Enabled,
    /// The API, now. What the device writes to must be new, or written by a device before, and must not be among these
    /// files and folders of the server.
    New(&'a [PathBuf]),
}

impl<'a> Origin<'a> {
    /// The files that a device which is about to be enabled may not write to.
    pub(crate) fn guard(self) -> Option<Guard<'a>> {
        match self {
            Self::New(guarded) => Some(Guard(guarded)),
            Self::Declared | Self::Enabled => None,
        }
    }
}

/// Opens a device of type `device_type` (`file`) with the options given to `sys/audit/:path`.
///
/// `allow_prefixing` is the server's `allow_audit_log_prefixing`. Errors are about the options or about what they
/// name, and so for the operator. Opening makes a few file system calls on the calling thread.
///
/// # Errors
///
/// [`AuditError::Guarded`] and [`AuditError::NotALog`] for devices that are [new](Origin::New) only; for all, options that
/// cannot be used and files that cannot be opened.
pub fn open_device(
    device_type: &str,
    options: &BTreeMap<String, String>,
    allow_prefixing: bool,
    origin: Origin<'_>,
) -> Result<OpenedDevice, AuditError> {
    match device_type {
        "file" => {
            let mut options = Options::new("file", options);
            let format = options.format(allow_prefixing)?;
            // Vault runs the test unless the option says exactly "true".
            let skip_test = options.take("skip_test") == Some("true");
            let file = FileOptions::take(&mut options, matches!(origin, Origin::Declared))?;
            options.finish()?;
            Ok(OpenedDevice { device: Arc::new(FileDevice::open(file, origin.guard())?), format, skip_test })
        }
        other => Err(AuditError::UnknownType(other.to_owned())),
    }
}
