//! The few facts kept beside the entries: the vote, how far the log was purged, what was last known as committed.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use super::record::{put_log_id, take_log_id};
use crate::files::{File, MAX_SMALL_FILE, prepare_replacement, read_at_most, replace_file};
use crate::options::OpenError;
use crate::types::{LogId, Vote};

const MAGIC: &[u8; 8] = b"SRRAFTHD";

/// The state that must be durable before the node acts on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) vote: Option<Vote>,
    /// The last entry that was deleted because a checkpoint covers it.
    pub(crate) purged: Option<LogId>,
}

impl Head {
    /// Reads the file; `None` when there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, OpenError> {
        let content = match read_at_most(path, MAX_SMALL_FILE) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::reading(path)(error)),
        };
        let corrupt = || OpenError::corrupt(path, 0, "the vote does not match its checksum");
        let rest = content.strip_prefix(MAGIC).ok_or_else(corrupt)?;
        let (crc, body) = rest.split_first_chunk().ok_or_else(corrupt)?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(body) {
            return Err(corrupt());
        }
        rmp_serde::from_slice(body).map(Some).map_err(|_not_one| corrupt())
    }

    /// Replaces the file, durably.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let body = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        let mut content = MAGIC.to_vec();
        content.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        content.extend_from_slice(&body);
        replace_file(path, &content)?;
        // A node whose disk is full must still be able to vote, and to follow whoever is elected.
        if let Err(error) = prepare_replacement(path) {
            tracing::debug!(%error, "no room was taken for the next vote");
        }
        Ok(())
    }
}

const SLOT: usize = 64;

/// The last position known as committed, in two slots written in turn. Not synced: a power cut may take it back,
/// which only makes the node learn it again; a killed process takes nothing back.
pub(crate) struct Committed {
    file: File,
    second: bool,
    last: Option<LogId>,
}

impl Committed {
    /// Opens the file, made where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = || OpenError::io(path);
        let file = File::open(path).map_err(io())?;
        let mut content = read_at_most(path, MAX_SMALL_FILE).map_err(OpenError::reading(path))?;
        if content.len() < SLOT.saturating_mul(2) {
            // Written out, so that later writes need no room.
            content = vec![0; SLOT.saturating_mul(2)];
            file.write_all_at(&content, 0).map_err(io())?;
        }
        let slots: Vec<_> = content.chunks(SLOT).take(2).map(read_slot).collect();
        let newest = slots.iter().flatten().max_by_key(|id| id.index).copied();
        let second = slots.first().is_some_and(|first| first.is_some() && *first == newest);
        Ok(Self { file, second, last: newest })
    }

    /// The position as read or last written.
    pub(crate) fn get(&self) -> Option<LogId> {
        self.last
    }

    /// Writes the position.
    pub(crate) fn set(&mut self, id: LogId) -> io::Result<()> {
        let mut body = Vec::with_capacity(SLOT);
        put_log_id(&mut body, &id);
        let mut slot = crc32fast::hash(&body).to_le_bytes().to_vec();
        slot.push(u8::try_from(body.len()).map_err(io::Error::other)?);
        slot.append(&mut body);
        self.file.write_all_at(&slot, if self.second { SLOT as u64 } else { 0 })?;
        self.second = !self.second;
        self.last = Some(id);
        Ok(())
    }
}

fn read_slot(slot: &[u8]) -> Option<LogId> {
    let (crc, rest) = slot.split_first_chunk()?;
    let (len, rest) = rest.split_first()?;
    let body = rest.get(..usize::from(*len))?;
    if body.is_empty() || u32::from_le_bytes(*crc) != crc32fast::hash(body) {
        return None;
    }
    let mut body = Bytes::copy_from_slice(body);
    let id = take_log_id(&mut body).ok()?;
    (!body.has_remaining()).then_some(id)
}

/// The files' paths in the log's directory.
pub(crate) fn paths(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("vote"), directory.join("committed"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::types::LeaderId;

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: u64::MAX, node_id: u64::MAX }, index }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("committed");
        assert_eq!(Committed::open(&path).unwrap().get(), None);
        for index in 1..=5 {
            Committed::open(&path).unwrap().set(id(index)).unwrap();
            assert_eq!(Committed::open(&path).unwrap().get(), Some(id(index)));
        }
        let mut content = fs::read(&path).unwrap();
        for at in 0..content.len() {
            content[at] ^= 1;
            fs::write(&path, &content).unwrap();
            let found = Committed::open(&path).unwrap().get();
            assert!(found == Some(id(5)) || found == Some(id(4)), "at {at}: {found:?}");
            content[at] ^= 1;
        }
    }

    #[test]
    fn a_damaged_vote_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vote");
        assert_eq!(Head::read(&path).unwrap(), None);
        let head = Head { vote: Some(Vote::new(3, 4)), purged: Some(id(2)) };
        head.write(&path).unwrap();
        assert_eq!(Head::read(&path).unwrap(), Some(head));
        let content = fs::read(&path).unwrap();
        for at in 0..content.len() {
            let mut damaged = content.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(Head::read(&path), Err(OpenError::Corrupt { .. })), "at {at}");
        }
    }
}
