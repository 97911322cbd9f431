//! Snapshots as files in a directory.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::names::{self, Taken, surplus};

/// The suffix of a snapshot that is being written.
const UNFINISHED: &str = ".incomplete";
/// Bytes after which the disk is made to take what was written: a large flush at once would hold up the log's syncs.
const SYNC_EVERY: u64 = 4 << 20;
const PIECE: usize = 64 << 10;

/// The directory of snapshots, and how many it keeps.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// The prefix of our files; others are left alone.
    pub(super) file_prefix: String,
    pub(super) retain: u64,
    /// The bytes that all our snapshots may take.
    pub(super) max_space: u64,
}

impl Folder {
    /// The finished snapshots, the oldest first, with their sizes.
    fn kept(&self) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let stamp = name.to_str().and_then(|name| names::stamp(name, &self.file_prefix));
            if let Some(stamp) = stamp {
                kept.push((stamp, entry.path(), entry.metadata()?.len()));
            }
        }
        kept.sort();
        Ok(kept.into_iter().map(|(_, path, size)| (path, size)).collect())
    }
}

/// Writes a snapshot, named after a time in seconds, and then removes those that are too many. A file that has the name
/// of a snapshot is whole and on disk. Blocks.
pub(super) fn keep(folder: &Folder, stamp: u64, mut archive: impl Read) -> io::Result<Taken> {
    let taken = folder.kept()?.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    let name = names::name(&folder.file_prefix, stamp);
    let path = folder.path.join(&name);
    let unfinished = folder.path.join(name + UNFINISHED);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let written = copy(&mut archive, &mut file, folder.max_space.saturating_sub(taken))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, &path))
        .and_then(|()| sync_directory(&folder.path));
    if let Err(error) = written {
        // What went wrong is told; an unfinished file that stays too is the lesser trouble.
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    let left = remove_surplus(folder).err().map(|error| error.to_string());
    Ok(Taken { url: format!("file://{}", path.display()), left })
}

fn remove_surplus(folder: &Folder) -> io::Result<()> {
    for (old, _) in surplus(&folder.kept()?, folder.retain) {
        fs::remove_file(old)?;
    }
    Ok(())
}

fn copy(from: &mut impl Read, to: &mut fs::File, room: u64) -> io::Result<()> {
    let (mut piece, mut written, mut synced) = (vec![0; PIECE], 0u64, 0u64);
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        written = written.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if written > room {
            return Err(io::Error::other("not enough space left within local_max_space"));
        }
        to.write_all(piece.get(..count).unwrap_or_default())?;
        if written.saturating_sub(synced) >= SYNC_EVERY {
            to.sync_data()?;
            synced = written;
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Folder) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&folder.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn as_many_are_kept_as_wanted_and_others_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder =
            Folder { path: dir.path().to_owned(), file_prefix: "ours".into(), retain: 2, max_space: 250 };
        for other in ["theirs-1.snap", "ours-x.snap", "ours-2-1.snap", "notes"] {
            fs::write(dir.path().join(other), vec![0; 1000]).unwrap();
        }
        for stamp in [9, 10, 11] {
            let taken = keep(&folder, stamp, &vec![7; 80][..]).unwrap();
            assert_eq!(fs::read(taken.url.strip_prefix("file://").unwrap()).unwrap(), vec![7; 80]);
        }
        let there =
            ["notes", "ours-10.snap", "ours-11.snap", "ours-2-1.snap", "ours-x.snap", "theirs-1.snap"];
        assert_eq!(names(&folder), there);
        let refused = keep(&folder, 12, &vec![7; 100][..]).unwrap_err();
        assert!(refused.to_string().contains("local_max_space"), "{refused}");
        assert_eq!(names(&folder), there, "nothing is lost for one that has no room");
        let nowhere = Folder { path: dir.path().join("nowhere"), ..folder };
        assert_eq!(keep(&nowhere, 1, &b""[..]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_breaks_off_leaves_nothing() {
        struct Broken;

        impl Read for Broken {
            fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }

        let dir = tempfile::tempdir().unwrap();
        let folder =
            Folder { path: dir.path().to_owned(), file_prefix: "s".into(), retain: 1, max_space: 99 };
        assert!(keep(&folder, 1, (&b"part"[..]).chain(Broken)).is_err());
        assert!(names(&folder).is_empty());
    }
}
