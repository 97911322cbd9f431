//! The store's changes to its files, and nothing else, so that a test can record it and look what a crash after each
//! step leaves behind (see `crashes`).

#[cfg(test)]
mod crashes;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod trace;

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that is read and written at places of the caller's choice.
#[derive(Debug)]
pub(crate) struct File {
    file: fs::File,
    #[cfg(any(test, feature = "testing"))]
    traced: Option<trace::Traced>,
}

impl File {
    /// Opens a file, made where it is not there, that only its owner may read.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        #[cfg(any(test, feature = "testing"))]
        let traced = trace::opened(path)?;
        Ok(Self {
            file: open_private(path)?,
            #[cfg(any(test, feature = "testing"))]
            traced,
        })
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        #[cfg(any(test, feature = "testing"))]
        trace::wrote(self.traced.as_ref(), offset, bytes);
        Ok(())
    }

    /// Cuts the file, or adds zeros.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        #[cfg(any(test, feature = "testing"))]
        trace::set_len(self.traced.as_ref(), len);
        Ok(())
    }

    /// Makes durable what was written, and the file's length.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        #[cfg(any(test, feature = "testing"))]
        if trace::synced(self.traced.as_ref()) {
            return Ok(());
        }
        self.file.sync_data()
    }

    /// Reads as many bytes as `out` has room for.
    pub(crate) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// The most that a small file of the store (the vote, the identity, …) holds.
pub(crate) const MAX_SMALL_FILE: u64 = 1 << 20;

/// Reads a whole file that is known to be no longer than `most`: damage must not decide how much memory that takes.
pub(crate) fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = open_at_most(path, most)?;
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(&file, most), &mut content)?;
    Ok(content)
}

/// The same without the zeros at the file's end, which take no memory, and the file's length.
pub(crate) fn read_without_zeros(path: &Path, most: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut file = open_at_most(path, most)?;
    let (mut content, mut zeros, mut piece) = (Vec::new(), 0usize, vec![0; PIECE]);
    loop {
        let read = io::Read::read(&mut file, &mut piece)?;
        let read = piece.get(..read).unwrap_or_default();
        match read.iter().rposition(|byte| *byte != 0) {
            _ if read.is_empty() => break,
            None => zeros = zeros.saturating_add(read.len()),
            Some(last) => {
                let (used, rest) = read.split_at(last.saturating_add(1));
                content.resize(content.len().saturating_add(zeros), 0);
                content.extend_from_slice(used);
                zeros = rest.len();
            }
        }
    }
    let len = content.len().saturating_add(zeros);
    Ok((content, u64::try_from(len).unwrap_or(u64::MAX)))
}

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

fn open_at_most(path: &Path, most: u64) -> io::Result<fs::File> {
    let file = fs::File::open(path)?;
    let len = file.metadata()?.len();
    if len > most {
        let reason = format!("the file has {len} bytes, and at most {most} can be right");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(file)
}

/// Opens a file for reading and writing, made where it is not there, that only its owner may read.
pub(crate) fn open_private(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes a directory, and those above it, that only its owner may enter.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    trace::made(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Gives a file another name in its directory; what had that name is gone. Durable when the directory is synced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    trace::begins(from);
    fs::rename(from, to)?;
    #[cfg(any(test, feature = "testing"))]
    trace::renamed(from, to);
    Ok(())
}

/// Removes a file. Durable when the directory is synced.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    trace::begins(path);
    fs::remove_file(path)?;
    #[cfg(any(test, feature = "testing"))]
    trace::removed(path);
    Ok(())
}

/// Makes what was renamed, made or removed in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    if trace::synced_directory(path) {
        return Ok(());
    }
    fs::File::open(path)?.sync_all()
}

/// The name under which a file's replacement is written.
pub(crate) fn replacement_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Puts a finished replacement in a file's place, durably.
pub(crate) fn put_in_place(replacement: &Path, path: &Path) -> io::Result<()> {
    rename(replacement, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Replaces a small file's content as a whole, durably: a crash leaves the old content or the new.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let replacement = replacement_of(path);
    let file = File::open(&replacement)?;
    // In this order, so that what was prepared for it is used.
    file.write_all_at(content, 0)?;
    file.set_len(u64::try_from(content.len()).unwrap_or(u64::MAX))?;
    file.sync_data()?;
    put_in_place(&replacement, path)
}

/// Takes the room for a small file's next replacement beforehand, for a time when there is none.
pub(crate) fn prepare_replacement(path: &Path) -> io::Result<()> {
    File::open(&replacement_of(path))?.write_all_at(&[0; 512], 0)
}
