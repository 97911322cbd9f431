//! Files in the data directory that hold a snapshot until it has been checked.

use std::fs;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use strongroom_storage::StoreError;

use crate::RaftStore;
use crate::files::open_private;

/// The file for what a peer sends.
pub(crate) const INCOMING: &str = "incoming.snapshot";
/// The file for what an operator wants restored; its number follows.
const RESTORED: &str = "restored.snapshot";

fn failed(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// A file that is removed when it is no longer needed.
pub struct Spool {
    path: PathBuf,
    file: fs::File,
}

impl Spool {
    pub(crate) fn create(path: PathBuf) -> Result<Self, StoreError> {
        remove(&path).map_err(|error| failed(&error))?;
        let mut file = open_private(&path).map_err(|error| failed(&error))?;
        file.set_len(0).and_then(|()| file.rewind()).map_err(|error| failed(&error))?;
        Ok(Self { path, file })
    }

    /// Opens what was written to it, from the beginning.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where it cannot be opened.
    pub fn read(&self) -> Result<impl Read + Send + use<>, StoreError> {
        fs::File::open(&self.path).map(BufReader::new).map_err(|error| failed(&error))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(%error, "a received snapshot could not be removed");
        }
    }
}

impl RaftStore {
    /// A place for a snapshot that is to be restored, beside the data that it is to replace. The `number` tells those apart
    /// that are received at a time: a second one of the same number would take the place of the first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Failed`] where no file can be made.
    pub fn spool(&self, number: u64) -> Result<Spool, StoreError> {
        Spool::create(self.inner.path.join(format!("{RESTORED}-{number}")))
    }
}

/// Removes what an earlier run left of snapshots that did not arrive whole.
pub(crate) fn remove_leftovers(directory: &Path) -> io::Result<()> {
    remove(&directory.join(INCOMING))?;
    for found in fs::read_dir(directory)? {
        let found = found?;
        if found.file_name().to_str().is_some_and(|name| name.starts_with(RESTORED)) {
            remove(&found.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
