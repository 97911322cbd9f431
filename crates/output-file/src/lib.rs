//! Output to a path that a user names: `operator raft snapshot save PATH`, the stored token, start-up files of shells.
//!
//! Such a path may be something else than a file. A regular file is replaced in one step, so that nobody ever sees half
//! of it and a failure leaves what was there. Devices and named pipes are written to, symbolic links are followed, and
//! a file that exists keeps its permissions and its owner. Nothing here rotates or locks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use strongroom_stdx::Entropy;

/// The most symbolic links that a path is followed through, as in Linux.
const MAX_LINKS: usize = 40;

/// An output being written. Unless it is [committed](OutputFile::commit), a regular file stays as it was.
#[derive(Debug)]
pub struct OutputFile {
    file: File,
    /// The file beside the target that takes its place; `None` for what is written to directly.
    scratch: Option<Scratch>,
}

#[derive(Debug)]
struct Scratch {
    path: PathBuf,
    target: PathBuf,
}

impl OutputFile {
    /// Opens the output at `path`. A file that does not exist yet gets the permissions `mode`.
    ///
    /// # Errors
    ///
    /// The path is a directory or a socket, or cannot be written.
    pub fn create(path: &Path, mode: u32) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if found.is_file() => Self::replacing(&fs::canonicalize(path)?, &found),
            Ok(found) if found.file_type().is_socket() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "is a socket"))
            }
            Ok(_device_or_pipe) => {
                Ok(Self { file: OpenOptions::new().write(true).open(path)?, scratch: None })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let target = end_of_links(path)?;
                let (path, file) = scratch_beside(&target, mode)?;
                Ok(Self { file, scratch: Some(Scratch { path, target }) })
            }
            Err(error) => Err(error),
        }
    }

    /// Writes `bytes` to `path` in one call.
    ///
    /// # Errors
    ///
    /// As for [`OutputFile::create`] and [`OutputFile::commit`].
    pub fn write_at(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
        let mut output = Self::create(path, mode)?;
        output.write_all(bytes)?;
        output.commit()
    }

    /// A new file beside one that exists, with its permissions and owner; the file itself where there can be none.
    fn replacing(target: &Path, found: &fs::Metadata) -> io::Result<Self> {
        let mode = found.permissions().mode() & 0o7777;
        let (path, file) = match scratch_beside(target, mode) {
            Ok(created) => created,
            // A directory that takes no further file may still have one that can be written.
            Err(error) if cannot_create(&error) => return Self::in_place(target),
            Err(error) => return Err(error),
        };
        let output = Self { file, scratch: Some(Scratch { path, target: target.to_owned() }) };
        let created = output.file.metadata()?;
        if (created.uid(), created.gid()) != (found.uid(), found.gid()) {
            let (uid, gid) = (rustix::fs::Uid::from_raw(found.uid()), rustix::fs::Gid::from_raw(found.gid()));
            if rustix::fs::fchown(&output.file, Some(uid), Some(gid)).is_err() {
                drop(output);
                return Self::in_place(target);
            }
        }
        // After the owner, whose change takes bits away.
        output.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(output)
    }

    fn in_place(target: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).truncate(true).open(target)?;
        Ok(Self { file, scratch: None })
    }

    /// Puts the output in its place; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// The output cannot be written. A regular file is then as it was before.
    pub fn commit(mut self) -> io::Result<()> {
        let Some(scratch) = &self.scratch else {
            // Pipes and terminals have nothing to sync.
            return match self.file.sync_all() {
                Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    Err(error)
                }
                _ => Ok(()),
            };
        };
        self.file.sync_all()?;
        match fs::rename(&scratch.path, &scratch.target) {
            Ok(()) => {
                self.scratch = None;
                Ok(())
            }
            // A file that is a mount of its own, as containers have it, cannot be replaced.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let mut target = OpenOptions::new().write(true).truncate(true).open(&scratch.target)?;
                io::copy(&mut File::open(&scratch.path)?, &mut target)?;
                target.sync_all()
            }
            Err(error) => Err(error),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            // The failure itself is reported; a scratch file that stays, too, is the lesser trouble.
            let _ = fs::remove_file(&scratch.path);
        }
    }
}

/// True if the file at `path`, links followed, is a regular file: one that can be moved away or removed without taking
/// a device or a pipe from its place. A path without a file is none.
pub fn is_regular(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

fn cannot_create(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// The file that a path without one leads to: the end of its symbolic links.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = path.parent().map_or_else(|| next.clone(), |parent| parent.join(&next)),
            Err(_no_link) => return Ok(path),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// A new file in the directory of `target`.
fn scratch_beside(target: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let suffix = Entropy::system().base62(10).map_err(io::Error::other)?;
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{suffix}.incomplete"));
    let path = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests;
