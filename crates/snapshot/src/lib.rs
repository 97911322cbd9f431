//! The file that a snapshot is kept in: a gzipped tar archive with the members that Vault's has, in this order.
//!
//! ```text
//! meta.json            what it is of
//! state.bin            the state, sealed as it is stored
//! SHA256SUMS           the SHA-256 sums of both, as sha256sum prints them
//! SHA256SUMS.sealed    the same, sealed with the barrier's key: who cannot open it has other keys
//! ```
//! Clients of Vault look for the last member, which says that the archive is whole. Both directions need memory for a
//! few kilobytes only. The state is ciphertext, which no compression makes smaller, so that gzip only stores it.

#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")
)]

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use strongroom_stdx::to_hex;

const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";

/// Bytes of a member other than the state at most; what claims to be larger is not believed.
const MAX_MEMBER_BYTES: u64 = 1 << 20;
const PIECE: usize = 64 << 10;

/// The description of a snapshot. The names are those that Vault's has, where it has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meta {
    /// The format.
    pub version: u32,
    /// Names the state: its term and index.
    #[serde(rename = "ID")]
    pub id: String,
    /// The last log entry in it.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Bytes of the state.
    pub size: u64,
    /// The identity of the cluster it was made by.
    #[serde(rename = "ClusterID")]
    pub cluster_id: String,
    /// The nodes of that cluster.
    pub servers: Vec<Server>,
}

/// A node of the cluster that a snapshot was made by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Server {
    /// Its name.
    #[serde(rename = "ID")]
    pub id: String,
    /// True if it votes.
    pub voter: bool,
}

/// The format of the archive that is written.
pub const VERSION: u32 = 1;

/// Reasons why a file is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is no archive, or ends before it should.
    #[error("failed to read snapshot: {0}")]
    Read(io::Error),
    /// Its state could not be put where it was to be put.
    #[error(transparent)]
    Write(io::Error),
    /// It is an archive of something else, or was altered.
    #[error("{0}")]
    Malformed(String),
}

fn malformed(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Malformed(what.into())
}

/// The contents besides the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The description.
    pub meta: Meta,
    /// The sums, which are right.
    pub sums: Vec<u8>,
    /// The sums as sealed by the server that made the snapshot.
    pub sealed: Vec<u8>,
}

/// A sum of what passes.
struct Summed<T> {
    inner: T,
    sum: Context,
    bytes: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Self { inner, sum: Context::new(&SHA256), bytes: 0 }
    }

    fn line(self, name: &str) -> String {
        format!("{}  {name}\n", to_hex(self.sum.finish().as_ref()))
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.sum.update(out.get(..count).unwrap_or_default());
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// Writes a snapshot. `state` is called twice and must give the same bytes each time: the archive needs their number
/// before the first of them. `meta.size` is filled in. `seal` seals the sums.
///
/// # Errors
///
/// What `to`, `state` and `seal` answer.
pub fn write<R: Read>(
    to: impl Write,
    mut meta: Meta,
    state: impl Fn() -> io::Result<R>,
    seal: impl FnOnce(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let mut counted = Summed::new(state()?);
    io::copy(&mut counted, &mut io::sink())?;
    let size = counted.bytes;
    meta.size = size;
    let meta = serde_json::to_vec(&meta).map_err(io::Error::other)?;
    let state_line = counted.line(STATE);
    let mut summed = Summed::new(meta.as_slice());
    io::copy(&mut summed, &mut io::sink())?;
    let sums = format!("{}{state_line}", summed.line(META));

    let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::none()));
    append(&mut archive, META, u64::try_from(meta.len()).unwrap_or(u64::MAX), meta.as_slice())?;
    let mut again = Summed::new(state()?);
    append(&mut archive, STATE, size, &mut again)?;
    if again.bytes != size || again.line(STATE) != state_line {
        return Err(io::Error::other("the state changed while it was saved"));
    }
    let sealed = seal(sums.as_bytes())?;
    for (name, bytes) in [(SUMS, sums.as_bytes()), (SEALED, sealed.as_slice())] {
        append(&mut archive, name, u64::try_from(bytes.len()).unwrap_or(u64::MAX), bytes)?;
    }
    archive.into_inner()?.finish()?.flush()
}

fn append(archive: &mut tar::Builder<impl Write>, name: &str, size: u64, from: impl Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, from.take(size))
}

/// Reads a snapshot to its end, writes its state into `state`, and checks the sums: what was written counts only when
/// this succeeds.
///
/// # Errors
///
/// [`SnapshotError`]: nothing of it is to be believed.
pub fn read(from: impl Read, mut state: impl Write) -> Result<Contents, SnapshotError> {
    let mut archive = tar::Archive::new(GzDecoder::new(io::BufReader::with_capacity(PIECE, from)));
    let mut found = Members::default();
    for entry in archive.entries().map_err(SnapshotError::Read)? {
        let mut entry = entry.map_err(SnapshotError::Read)?;
        let name = entry.path().map_err(SnapshotError::Read)?.to_string_lossy().into_owned();
        let mut summed = Summed::new(&mut entry);
        match name.as_str() {
            STATE => {
                copy(&mut summed, &mut state)?;
                found.size = summed.bytes;
                found.set(STATE, Vec::new(), summed.line(STATE))?;
            }
            META | SUMS | SEALED => {
                let mut bytes = Vec::new();
                (&mut summed).take(MAX_MEMBER_BYTES).read_to_end(&mut bytes).map_err(SnapshotError::Read)?;
                let line = summed.line(&name);
                found.set(&name, bytes, line)?;
            }
            _ => return Err(malformed(format!("unexpected file {name:?} in snapshot"))),
        }
    }
    // To the end of the compressed stream, whose own checksum comes last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(SnapshotError::Read)?;
    state.flush().map_err(SnapshotError::Write)?;
    found.checked()
}

/// Copies to the end: what cannot be read is no snapshot, what cannot be written is another matter.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), SnapshotError> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).map_err(SnapshotError::Read)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(piece.get(..count).unwrap_or_default()).map_err(SnapshotError::Write)?;
    }
}

/// The members found so far, with the line that `SHA256SUMS` should have of each.
#[derive(Default)]
struct Members {
    found: Vec<(String, Vec<u8>, String)>,
    size: u64,
}

impl Members {
    fn set(&mut self, name: &str, bytes: Vec<u8>, line: String) -> Result<(), SnapshotError> {
        if self.found.iter().any(|(other, ..)| other == name) {
            return Err(malformed(format!("file {name:?} occurs twice in snapshot")));
        }
        self.found.push((name.to_owned(), bytes, line));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<(Vec<u8>, String), SnapshotError> {
        let at = self.found.iter().position(|(other, ..)| other == name);
        let at = at.ok_or_else(|| malformed(format!("missing file {name:?} in snapshot")))?;
        let (_, bytes, line) = self.found.swap_remove(at);
        Ok((bytes, line))
    }

    fn checked(mut self) -> Result<Contents, SnapshotError> {
        let (meta, meta_line) = self.take(META)?;
        let (_, state_line) = self.take(STATE)?;
        let (sums, _) = self.take(SUMS)?;
        let (sealed, _) = self.take(SEALED)?;
        let text = std::str::from_utf8(&sums).map_err(|_error| malformed("SHA256SUMS is not text"))?;
        for (name, line) in [(META, &meta_line), (STATE, &state_line)] {
            if !text.lines().any(|found| found == line.trim_end()) {
                return Err(malformed(format!("hash check failed for {name:?}")));
            }
        }
        let meta: Meta = serde_json::from_slice(&meta)
            .map_err(|error| malformed(format!("failed to decode snapshot metadata: {error}")))?;
        if meta.version > VERSION {
            let version = meta.version;
            return Err(malformed(format!("snapshot is of format {version}, which is newer than {VERSION}")));
        }
        if meta.size != self.size {
            return Err(malformed("the state is not as long as the metadata say"));
        }
        if sealed.is_empty() {
            return Err(malformed("SHA256SUMS.sealed is empty"));
        }
        Ok(Contents { meta, sums, sealed })
    }
}

#[cfg(test)]
mod tests;
