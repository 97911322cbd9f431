//! The files that a device named over the API may write to.
//!
//! Who may enable devices is not thereby the system's administrator: they must not have the server write into its own data, or
//! into any file that its user may write to. So such a device gets a file of its own: one that is not there yet, or one
//! that a device has written before. Devices that storage already has are not looked at again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use crate::error::AuditError;

/// Files that are no log and may be named all the same: they keep nothing, or are the server's own output.
const HARMLESS: [&str; 4] = ["/dev/null", "/dev/full", "/dev/stdout", "/dev/stderr"];
/// Bytes of a log's beginning that hold the members by which it is recognized.
const BEGINNING: u64 = 4096;

/// Checks the target of a new device. `guarded` are files and folders of the server that nothing may be written to.
///
/// # Errors
///
/// [`AuditError::Guarded`], [`AuditError::NotALog`], or [`AuditError::Open`] where it cannot be looked at.
pub fn check_new_device(
    device_type: &str,
    options: &BTreeMap<String, String>,
    guarded: &[PathBuf],
) -> Result<(), AuditError> {
    let Some(path) = options.get("file_path").filter(|_| device_type == "file") else { return Ok(()) };
    if matches!(path.as_str(), "stdout" | "discard") || HARMLESS.contains(&path.as_str()) {
        return Ok(());
    }
    let path = Path::new(path);
    let failed = |source| AuditError::Open { path: path.to_owned(), source };
    let place = real_place(path).map_err(failed)?;
    for guarded in guarded {
        // What cannot be resolved is compared as it is written.
        let guarded = fs::canonicalize(guarded).unwrap_or_else(|_| guarded.clone());
        if place.starts_with(&guarded) {
            return Err(AuditError::Guarded(path.to_owned()));
        }
    }
    let found = match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    let is_pipe = found.file_type().is_fifo();
    let is_log = || found.is_file() && (found.len() == 0 || begins_as_log(&place));
    if is_pipe || is_log() { Ok(()) } else { Err(AuditError::NotALog(path.to_owned())) }
}

/// The place that a path leads to, with the links in its folders followed, and not the one that it may be itself. Folders
/// that are not there yet stay as they are named.
fn real_place(path: &Path) -> io::Result<PathBuf> {
    let refused = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let name = path.file_name().ok_or_else(|| refused("the path names no file"))?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refused("the path must not contain \"..\""));
    }
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    for there in folder.ancestors() {
        match fs::canonicalize(there) {
            Ok(real) => {
                let missing = folder.strip_prefix(there).map_err(io::Error::other)?;
                return Ok(real.join(missing).join(name));
            }
            // A link that leads nowhere is one all the same: a folder made there would be elsewhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(there).is_err() => {
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// True if a file's first line is a record. A file that cannot be read is not taken for a log.
fn begins_as_log(path: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut beginning));
    let text = String::from_utf8_lossy(&beginning);
    let first = text.lines().next().unwrap_or_default();
    let kinds = ["\"type\":\"request\"", "\"type\":\"response\""];
    read.is_ok() && first.contains('{') && kinds.iter().any(|kind| first.contains(kind))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(path: &Path, guarded: &[PathBuf]) -> Result<(), AuditError> {
        let options = BTreeMap::from([("file_path".to_owned(), path.to_str().unwrap().to_owned())]);
        check_new_device("file", &options, guarded)
    }

    #[test]
    fn a_new_file_or_a_log_may_be_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("empty"), "").unwrap();
        let line = "{\"time\":\"2026-01-01T00:00:00Z\",\"type\":\"request\",\"auth\":{}}\n";
        fs::write(at("log"), line).unwrap();
        fs::write(at("prefixed"), format!("@cee: {line}")).unwrap();
        for name in ["new", "a/b/new", "empty", "log", "prefixed"] {
            check(&at(name), &[]).unwrap();
        }
        for path in HARMLESS.into_iter().chain(["stdout", "discard"]) {
            check(Path::new(path), &[]).unwrap();
        }
    }

    #[test]
    fn what_is_no_log_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("key"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
        symlink(at("key"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        for path in [at("key"), at("link"), at("dangling"), dir.path().to_owned(), "/dev/zero".into()] {
            assert!(matches!(check(&path, &[]), Err(AuditError::NotALog(_))), "{}", path.display());
        }
        symlink(at("gone"), at("folder")).unwrap();
        for path in [at("folder/log"), at("a/../log"), "/".into()] {
            assert!(matches!(check(&path, &[]), Err(AuditError::Open { .. })), "{}", path.display());
        }
    }

    #[test]
    fn folders_of_the_server_are_guarded_however_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        symlink(&data, dir.path().join("link")).unwrap();
        let guarded = [dir.path().join("link"), dir.path().join("server.log")];
        for path in ["data/log", "data/new/log", "link/log", "./data/log", "server.log"] {
            let refused = check(&dir.path().join(path), &guarded);
            assert!(matches!(refused, Err(AuditError::Guarded(_))), "{path}");
        }
        check(&dir.path().join("database/log"), &guarded).unwrap();
    }
}
