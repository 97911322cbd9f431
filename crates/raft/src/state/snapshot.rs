//! The state as a stream, for a peer that lags too far and for an operator who saves it.
//!
//! ```text
//! header   "SRSNAPSH" version:u32 length:u32 crc32:u32 description (MessagePack)
//! block    length:u32 crc32:u32 (key index value)…        as many as it takes
//! end      0:u32 crc32:u32 count of entries:u64
//! ```
//! Integers are little-endian; keys and values carry their length as a varint, the index is one. A stream that ends
//! before its end was cut short. Both directions need memory for one block only.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use redb::Range;
use serde::{Deserialize, Serialize};
use strongroom_storage::StoreError;

use super::backend::Patience;
use super::base::{BaseView, Filling, Sink, failed, on_pages, split_entry};
use crate::codec::{Malformed, put_bytes, put_number, take_bytes, take_number};
use crate::reclaim::Reclaimer;
use crate::types::{LogId, StoredMembership};

const MAGIC: &[u8; 8] = b"SRSNAPSH";
const VERSION: u32 = 1;
/// A block is closed once it has this many bytes.
const BLOCK: usize = 128 << 10;
/// No description or block is larger; what claims to be is not believed.
const MAX_BLOCK_BYTES: usize = 1 << 30;

/// The description of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    pub(crate) cluster_id: String,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// A snapshot on its way, in either direction.
pub(crate) struct SnapshotStream(Box<dyn Read + Send>);

impl SnapshotStream {
    pub(crate) fn new(stream: impl Read + Send + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl Read for SnapshotStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

/// Reads a table as a snapshot.
pub(crate) struct Export {
    rest: Option<Range<'static, &'static [u8], &'static [u8]>>,
    count: u64,
    /// The piece that is read next, and how much of it was read.
    piece: Vec<u8>,
    taken: usize,
    /// Keeps the table open.
    _view: BaseView,
}

impl Export {
    pub(crate) fn new(view: &BaseView, cluster_id: &str, end: Option<&[u8]>) -> Result<Self, StoreError> {
        let description = Description {
            cluster_id: cluster_id.to_owned(),
            applied: view.facts.applied,
            membership: view.facts.membership.clone(),
        };
        let body =
            rmp_serde::to_vec_named(&description).map_err(|error| StoreError::Failed(error.to_string()))?;
        let mut piece = MAGIC.to_vec();
        piece.extend_from_slice(&VERSION.to_le_bytes());
        put_checked(&mut piece, &body);
        let rest = Some(view.range(&[], end)?);
        Ok(Self { rest, count: 0, piece, taken: 0, _view: view.clone() })
    }

    /// Puts the next block, or the end, where it is read from.
    fn advance(&mut self) -> Result<(), StoreError> {
        self.piece.clear();
        self.taken = 0;
        let Some(rest) = &mut self.rest else { return Ok(()) };
        let mut block = Vec::new();
        while block.len() < BLOCK {
            let Some(entry) = rest.next() else {
                self.rest = None;
                break;
            };
            let (key, stored) = entry.map_err(failed)?;
            let (modified, value) = split_entry(stored.value())?;
            put_bytes(&mut block, key.value());
            put_number(&mut block, modified);
            put_bytes(&mut block, value);
            self.count = self.count.saturating_add(1);
        }
        if !block.is_empty() {
            put_checked(&mut self.piece, &block);
        }
        if self.rest.is_none() {
            let count = self.count.to_le_bytes();
            self.piece.extend_from_slice(&[0; 4]);
            self.piece.extend_from_slice(&crc32fast::hash(&count).to_le_bytes());
            self.piece.extend_from_slice(&count);
        }
        Ok(())
    }
}

impl Read for Export {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.piece.len() {
            on_pages(|| self.advance()).map_err(io::Error::other)?;
        }
        let mut left = self.piece.get(self.taken..).unwrap_or_default();
        let read = left.read(out)?;
        self.taken = self.taken.saturating_add(read);
        Ok(read)
    }
}

fn put_checked(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(body);
}

fn broken(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(format!("snapshot: {what}"))
}

fn take_exact<const N: usize>(stream: &mut impl Read) -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map_err(broken)?;
    Ok(bytes)
}

/// A length and a checksum, and the bytes they are of.
fn take_checked(stream: &mut impl Read, len: u32, crc: u32) -> Result<Bytes, StoreError> {
    let len = usize::try_from(len).map_err(broken)?;
    if len > MAX_BLOCK_BYTES {
        return Err(broken("a block is larger than any that is written"));
    }
    let mut body = Vec::new();
    stream.take(u64::try_from(len).unwrap_or(u64::MAX)).read_to_end(&mut body).map_err(broken)?;
    if body.len() != len {
        return Err(broken("it ends in the middle"));
    }
    if crc32fast::hash(&body) != crc {
        return Err(broken("a block does not match its checksum"));
    }
    Ok(body.into())
}

fn take_description(stream: &mut impl Read) -> Result<Description, StoreError> {
    if take_exact::<8>(stream)? != *MAGIC {
        return Err(broken("not a snapshot"));
    }
    let version = u32::from_le_bytes(take_exact(stream)?);
    if version > VERSION {
        return Err(broken(format_args!("written in format {version}, this program reads up to {VERSION}")));
    }
    let (len, crc) = (u32::from_le_bytes(take_exact(stream)?), u32::from_le_bytes(take_exact(stream)?));
    rmp_serde::from_slice(&take_checked(stream, len, crc)?).map_err(broken)
}

/// Replaces the table at `path` with what a snapshot holds. Nothing is changed unless the whole of it was read.
/// `accept` decides by the description.
pub(crate) fn install(
    stream: &mut impl Read,
    path: &Path,
    patience: Arc<Patience>,
    reclaimer: &Reclaimer,
    accept: impl FnOnce(&Description) -> Result<(), StoreError>,
) -> Result<Description, StoreError> {
    let description = take_description(stream)?;
    accept(&description)?;
    let mut filling = Filling::begin(path, patience, reclaimer)?;
    match fill(stream, &mut filling) {
        Ok(()) => filling.finish(description.applied, description.membership.clone())?.take_place()?,
        Err(error) => {
            filling.abandon();
            return Err(error);
        }
    }
    Ok(description)
}

/// Reads a snapshot to its end and says what it is of: whole, in order and as its checksums have it.
pub(crate) fn verify(stream: &mut impl Read) -> Result<Description, StoreError> {
    entries_of(stream, |_, _| Ok(()))
}

/// Passes on the entries of a snapshot, key and value, in order; returns its description.
pub(crate) fn entries_of(
    stream: &mut impl Read,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<Description, StoreError> {
    let description = take_description(stream)?;
    let mut entries = Entries::default();
    while entries.take_block(stream, &mut |key, _, value| take(key, value))? {}
    Ok(description)
}

fn fill(stream: &mut impl Read, filling: &mut Filling) -> Result<(), StoreError> {
    let mut entries = Entries::default();
    filling.fill(|sink| entries.take_block(stream, sink))
}

/// The progress of reading the entries of a snapshot.
#[derive(Default)]
struct Entries {
    count: u64,
    last: Bytes,
}

impl Entries {
    /// Passes on one block's entries; false at the end.
    fn take_block(&mut self, stream: &mut impl Read, sink: &mut Sink<'_>) -> Result<bool, StoreError> {
        let malformed = |Malformed| broken("a block is malformed");
        let (len, crc) = (u32::from_le_bytes(take_exact(stream)?), u32::from_le_bytes(take_exact(stream)?));
        if len == 0 {
            let stored = take_exact::<8>(stream)?;
            let whole = crc == crc32fast::hash(&stored) && u64::from_le_bytes(stored) == self.count;
            return if whole { Ok(false) } else { Err(broken("entries are missing")) };
        }
        let mut block = take_checked(stream, len, crc)?;
        while block.has_remaining() {
            let key = take_bytes(&mut block).map_err(malformed)?;
            let modified = take_number(&mut block).map_err(malformed)?;
            let value = take_bytes(&mut block).map_err(malformed)?;
            if self.count > 0 && key <= self.last {
                return Err(broken("keys are out of order"));
            }
            sink(&key, modified, &value)?;
            self.count = self.count.saturating_add(1);
            self.last = key;
        }
        Ok(true)
    }
}
