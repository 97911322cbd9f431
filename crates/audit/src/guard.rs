//! The files that a device named over the API may write to.
//!
//! Who may enable devices is not thereby the system's administrator: they must not have the server write into its own data, or
//! into any file that its user may write to. So such a device gets a file of its own: one that is not there yet, or one
//! that a device has written before. Devices that storage already has are not looked at again.
//!
//! A path can lead elsewhere from one look to the next. So its folders are opened one by one, those above are compared
//! with the server's own by device and inode, and the file is opened in the folder that was found good. All else is
//! asked of descriptors: what was judged is what is written to. If a judgment fails, nothing has been made or changed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, statat};
use rustix::io::Errno;

use crate::error::AuditError;
use crate::file::{APPENDING, Appending, begins_as_log, folder_mode};

/// Files that are no log and may be named all the same: they keep nothing, or are the server's own output.
const HARMLESS: [&str; 4] = ["/dev/null", "/dev/full", "/dev/stdout", "/dev/stderr"];
/// Attempts to open a file that comes and goes.
const MAX_ATTEMPTS: usize = 8;
/// A folder as something to start from: neither read nor searched by opening it.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Files and folders of the server that no device may write to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard<'a>(pub(crate) &'a [PathBuf]);

/// A file or folder, however it is named.
type Identity = (u64, u64);

/// What a [`Guard`] protects, as it is in the file system now.
#[derive(Default)]
struct Protected {
    /// Files and folders that are there.
    things: Vec<Identity>,
    /// Names in folders, also those of what is not there yet.
    places: BTreeMap<Identity, Vec<PathBuf>>,
}

impl Protected {
    fn of(guard: Guard<'_>) -> Self {
        let mut protected = Self::default();
        for path in guard.0 {
            let found = fs::metadata(path);
            protected.things.extend(found.map(|found| (found.dev(), found.ino())));
            // A link leads to where its target is or will be.
            let path = fs::read_link(path).map_or_else(|_| path.clone(), |target| beside(path, &target));
            let folder =
                path.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
            if let Some(folder) = folder.and_then(|folder| fs::metadata(folder).ok())
                && let Some(name) = path.file_name()
            {
                let place = protected.places.entry((folder.dev(), folder.ino())).or_default();
                place.push(name.into());
            }
        }
        protected
    }

    fn has(&self, thing: &Stat) -> bool {
        self.things.contains(&identity(thing))
    }

    /// True if `name` in `folder` is protected.
    fn has_place(&self, folder: &Stat, name: &OsStr) -> bool {
        self.places.get(&identity(folder)).is_some_and(|names| names.iter().any(|place| place == name))
    }
}

fn beside(link: &Path, target: &Path) -> PathBuf {
    link.parent().map_or_else(|| target.to_owned(), |folder| folder.join(target))
}

const fn identity(found: &Stat) -> Identity {
    (found.st_dev, found.st_ino)
}

impl Guard<'_> {
    /// True if the path needs no guard.
    pub(crate) fn is_harmless(path: &Path) -> bool {
        path.to_str().is_some_and(|path| HARMLESS.contains(&path))
    }

    /// Opens the file of a new device for appending, and creates it and its folders where they are missing.
    ///
    /// # Errors
    ///
    /// [`AuditError::Guarded`], [`AuditError::NotALog`], or [`AuditError::Open`] where it cannot be opened.
    pub(crate) fn open(self, path: &Path, mode: u32) -> Result<Appending, AuditError> {
        let failed = |source: io::Error| AuditError::Open { path: path.to_owned(), source };
        let (folders, name) = parts(path).map_err(failed)?;
        let protected = Protected::of(self);
        let (mut folder, missing) = deepest(&folders).map_err(failed)?;
        let next = missing.first().map_or(name.as_os_str(), |name| name.as_os_str());
        if is_protected(&protected, &folder, next).map_err(failed)? {
            return Err(AuditError::Guarded(path.to_owned()));
        }
        for name in &missing {
            folder = make_folder(&folder, name, mode).map_err(failed)?;
        }
        for _ in 0..MAX_ATTEMPTS {
            let opened =
                match openat(&folder, &name, APPENDING | OFlags::CREATE | OFlags::EXCL, permissions(mode)) {
                    Ok(created) => Appending::created(created),
                    Err(Errno::EXIST) => match existing(&folder, &name, &protected) {
                        Ok(opened) => opened,
                        Err(Existing::Gone) => continue,
                        Err(Existing::Guarded) => return Err(AuditError::Guarded(path.to_owned())),
                        Err(Existing::NotALog) => return Err(AuditError::NotALog(path.to_owned())),
                        Err(Existing::Failed(error)) => return Err(failed(error)),
                    },
                    Err(error) => return Err(failed(error.into())),
                };
            return opened.map_err(failed);
        }
        Err(failed(io::ErrorKind::ResourceBusy.into()))
    }
}

/// The folders of a path, from the root, and the name in the last of them.
fn parts(path: &Path) -> io::Result<(Vec<PathBuf>, PathBuf)> {
    let refused = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
    let name = path.file_name().ok_or_else(|| refused("the path names no file"))?;
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refused("the path must not contain \"..\""));
    }
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let folders = folder.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.into()),
        _ => None,
    });
    Ok((folders.collect(), name.into()))
}

/// The deepest of some folders that is there, and the names below it that are not. Links between are followed.
fn deepest(folders: &[PathBuf]) -> io::Result<(OwnedFd, Vec<PathBuf>)> {
    let mut folder = openat(CWD, "/", FOLDER, Mode::empty())?;
    let mut names = folders.iter();
    while let Some(name) = names.next() {
        match openat(&folder, name, FOLDER, Mode::empty()) {
            Ok(next) => folder = next,
            // A link that leads nowhere is one all the same: a folder made there would be elsewhere.
            Err(Errno::NOENT) if statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_err() => {
                return Ok((folder, std::iter::once(name).chain(names).cloned().collect()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((folder, Vec::new()))
}

/// True if a folder, one above it, or the name in it is protected.
fn is_protected(protected: &Protected, folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let mut found = fstat(folder)?;
    if protected.has_place(&found, name) {
        return Ok(true);
    }
    let mut above = openat(folder, "..", FOLDER, Mode::empty())?;
    loop {
        if protected.has(&found) {
            return Ok(true);
        }
        let next = fstat(&above)?;
        if identity(&next) == identity(&found) {
            return Ok(false);
        }
        found = next;
        above = openat(&above, "..", FOLDER, Mode::empty())?;
    }
}

/// Makes a folder, and opens it as the folder that it is: what stands there by now may be a link.
fn make_folder(folder: &OwnedFd, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    match mkdirat(folder, name, permissions(folder_mode(mode))) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?)
}

fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode)
}

/// Reasons why an existing file is not opened.
enum Existing {
    /// It is not there any more.
    Gone,
    Guarded,
    NotALog,
    Failed(io::Error),
}

impl From<Errno> for Existing {
    fn from(error: Errno) -> Self {
        if error == Errno::NOENT { Self::Gone } else { Self::Failed(error.into()) }
    }
}

/// Opens a file that is there, if it is a pipe or the log of a device.
fn existing(folder: &OwnedFd, name: &Path, protected: &Protected) -> Result<io::Result<Appending>, Existing> {
    // Looked at before it is opened: with devices, opening is an act.
    let seen = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(seen.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Fifo) {
        return Err(Existing::NotALog);
    }
    let opened = openat(folder, name, APPENDING | OFlags::NOFOLLOW, Mode::empty())?;
    let found = fstat(&opened)?;
    if identity(&found) != identity(&seen) {
        return Err(Existing::Gone);
    }
    if protected.has(&found) {
        return Err(Existing::Guarded);
    }
    if kind == FileType::Fifo {
        return Ok(Appending::existing(opened, None));
    }
    let reader = reader(folder, name, &found);
    if found.st_size != 0 && !reader.as_ref().is_some_and(begins_as_log) {
        return Err(Existing::NotALog);
    }
    Ok(Appending::existing(opened, reader))
}

/// The same file for reading; a file that cannot be read has none.
fn reader(folder: impl AsFd, name: &Path, file: &Stat) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let reader = openat(folder, name, flags, Mode::empty()).ok()?;
    let found = fstat(&reader).ok()?;
    (identity(&found) == identity(file)).then(|| reader.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::device::{Origin, open_device};

    fn check(path: &Path, guarded: &[PathBuf]) -> Result<(), AuditError> {
        let options = BTreeMap::from([("file_path".to_owned(), path.to_str().unwrap().to_owned())]);
        open_device("file", &options, false, Origin::New(guarded)).map(|_| ())
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
    fn only_what_was_just_created_gets_the_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let options = [("file_path", path.to_str().unwrap()), ("mode", "0666")];
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let open = |origin| open_device("file", &options, false, origin).map(drop).unwrap();
        for origin in [Origin::New(&[]), Origin::Enabled] {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            open(origin);
            assert_eq!(mode(), 0o640, "{origin:?}");
            fs::remove_file(&path).unwrap();
            open(origin);
            assert_eq!(mode(), 0o666, "{origin:?}");
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

    #[test]
    fn nothing_is_made_among_the_servers_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let coming = dir.path().join("coming");
        symlink(&coming, dir.path().join("link")).unwrap();
        let guarded = [data.clone(), coming.clone(), dir.path().join("link")];
        for path in ["data/new/log", "data/log", "coming/log", "coming"] {
            let refused = check(&dir.path().join(path), &guarded);
            assert!(matches!(refused, Err(AuditError::Guarded(_))), "{path}");
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        assert!(!coming.exists());
        // Known by what it is, not by its name.
        fs::write(dir.path().join("server.log"), "").unwrap();
        fs::hard_link(dir.path().join("server.log"), dir.path().join("again.log")).unwrap();
        let refused = check(&dir.path().join("again.log"), &[dir.path().join("server.log")]);
        assert!(matches!(refused, Err(AuditError::Guarded(_))));
    }

    /// A path that is good at one moment and leads into a protected folder at the next: nothing gets there.
    #[test]
    fn a_link_that_is_swapped_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("data")).unwrap();
        fs::create_dir(at("good")).unwrap();
        let (good, bad) = (at("good"), at("data"));
        // There from the beginning: a folder that is missing would be made.
        symlink(&good, at("way")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for target in [&bad, &good] {
                        symlink(target, at("next")).unwrap();
                        fs::rename(at("next"), at("way")).unwrap();
                    }
                }
            });
            for number in 0..2000 {
                let _either = check(&at(&format!("way/log{number}")), std::slice::from_ref(&bad));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&bad).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_log_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let mode = || fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        check(&key, &[]).unwrap_err();
        assert_eq!(mode(), 0o640);
        // Also where nothing guards it.
        let options = BTreeMap::from([("file_path".to_owned(), key.to_str().unwrap().to_owned())]);
        open_device("file", &options, false, Origin::Enabled).unwrap();
        assert_eq!(mode(), 0o640);
    }
}
