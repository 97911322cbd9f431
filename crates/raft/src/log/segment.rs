//! One file of the log: allocated at its full size beforehand, then filled frame by frame.
//!
//! ```text
//! header (64 bytes)   "SRRAFTLG" version:u32 0:u32 number:u64 salt:u64 crc32 of these:u32 zeros
//! frame               tag:u32 length:u32 crc32:u32 payload
//! payload             (length:varint record)…
//! ```
//! Integers are little-endian. A frame is what one sync makes durable, so only the last frame of the log can have
//! been torn by a crash. The tag and the checksum depend on the file's salt: what a file held before it was used
//! again, or what a payload contains, is never taken for a frame.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::files::{self, File, read_without_zeros, sync_directory};
use crate::options::{MAX_SEGMENT_SIZE, OpenError};
use crate::space::until_room;

const MAGIC: &[u8; 8] = b"SRRAFTLG";
const VERSION: u32 = 1;
/// Bytes before the first frame.
pub(crate) const HEADER: u64 = HEADER_LEN as u64;
const HEADER_LEN: usize = 64;
/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEADER: usize = 12;
/// Files are filled with zeros in steps of this many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The file that is written, and the salt of its frames.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) file: Arc<File>,
    pub(crate) salt: u64,
}

/// The file that is being filled.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) reading: Reading,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    /// The position of the next frame.
    pub(crate) position: u64,
    /// The file's length.
    pub(crate) size: u64,
}

/// The content that was found in a file.
pub(crate) struct Scanned {
    /// Offset and payload of every whole frame.
    pub(crate) frames: Vec<(u64, Bytes)>,
    end: u64,
    /// True if something that began as a frame lies behind them.
    pub(crate) torn: bool,
}

/// The name of a log file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016}.log")
}

/// The number in a log file's name.
pub(crate) fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() == 16 { digits.parse().ok() } else { None }
}

impl Segment {
    /// Makes a file ready to be filled, under a passing name: all its blocks allocated, header written, durable.
    /// `spare` is a file of the right size to be used again.
    pub(crate) fn prepare(
        path: &Path,
        number: u64,
        size: u64,
        salt: u64,
        spare: Option<&Path>,
    ) -> io::Result<Self> {
        let file = match spare {
            Some(spare) => {
                files::rename(spare, path)?;
                // Until the file has lost its old name for good, it must not be written to: a power cut would bring
                // it back with what is not its own. So it is the spare one again if that cannot be made sure.
                let renamed = path.parent().map_or(Ok(()), sync_directory);
                renamed.and_then(|()| File::open(path)).inspect_err(|_| {
                    let _ = files::rename(path, spare);
                })?
            }
            None => allocate(path, size).inspect_err(|_| {
                // What was allocated in vain is given back: room is what is missing.
                let _ = files::remove_file(path);
            })?,
        };
        file.write_all_at(&header(number, salt), 0)?;
        file.sync_data()?;
        let reading = Reading { file: Arc::new(file), salt };
        Ok(Self { reading, path: path.to_owned(), number, position: HEADER, size })
    }

    /// Gives a prepared file its name in the log, durably. Waits for a file descriptor until `stop` is set.
    pub(crate) fn take_place(&mut self, directory: &Path, stop: &AtomicBool) -> io::Result<()> {
        let path = directory.join(file_name(self.number));
        files::rename(&self.path, &path)?;
        until_room(stop, || sync_directory(directory))?;
        self.path = path;
        Ok(())
    }

    /// Bytes that a frame may still have here.
    pub(crate) fn remaining(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Writes a frame and makes it durable. `frame` begins with [`FRAME_HEADER`] bytes that are filled in here.
    /// Returns where it was written.
    pub(crate) fn append(&mut self, frame: &mut [u8]) -> io::Result<u64> {
        let whole = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        if whole > self.remaining() {
            return Err(io::Error::other("a frame is larger than its log file"));
        }
        let (head, payload) = frame
            .split_first_chunk_mut::<FRAME_HEADER>()
            .ok_or_else(|| io::Error::other("a frame has no header"))?;
        *head = frame_header(self.reading.salt, payload);
        let at = self.position;
        self.reading.file.write_all_at(frame, at)?;
        self.reading.file.sync_data()?;
        self.position = at.saturating_add(whole);
        Ok(at)
    }

    /// Makes what lies after the last frame unrecognizable as one.
    pub(crate) fn blot_tail(&self) -> io::Result<()> {
        let len = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(FRAME_HEADER);
        self.reading.file.write_all_at(ZEROS.get(..len).unwrap_or_default(), self.position)?;
        self.reading.file.sync_data()
    }

    /// Opens a file of the log and reads its frames.
    pub(crate) fn open(path: &Path, number: u64) -> Result<(Self, Scanned), OpenError> {
        let io = || OpenError::io(path);
        let file = File::open(path).map_err(io())?;
        // Anything longer was not written here. A file may have a step of zeros too many.
        let most = MAX_SEGMENT_SIZE.saturating_add(ZEROS.len() as u64);
        let (mut content, size) = read_without_zeros(path, most).map_err(OpenError::reading(path))?;
        content.resize(content.len().max(HEADER_LEN.min(usize::try_from(size).unwrap_or(usize::MAX))), 0);
        let salt = read_header(path, &content, number)?;
        restore_zeros(&mut content, size, salt);
        let content = Bytes::from(content);
        let scanned = scan(path, &content, salt)?;
        let reading = Reading { file: Arc::new(file), salt };
        Ok((Self { reading, path: path.to_owned(), number, position: scanned.end, size }, scanned))
    }
}

impl Reading {
    /// Reads one frame's payload again.
    pub(crate) fn payload_at(&self, offset: u64) -> io::Result<Bytes> {
        let mut head = [0; FRAME_HEADER];
        self.file.read_exact_at(&mut head, offset)?;
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, format!("log frame at offset {offset} is damaged"));
        let (tag, len) = tag_and_length(&head);
        let end = offset.saturating_add(FRAME_HEADER as u64).saturating_add(u64::from(len));
        if tag != tag_of(self.salt) || end > self.file.len()? {
            return Err(damaged());
        }
        let mut payload = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut payload, offset.saturating_add(FRAME_HEADER as u64))?;
        if head == frame_header(self.salt, &payload) { Ok(payload.into()) } else { Err(damaged()) }
    }
}

/// A file of zeros: writing into blocks that were only reserved would cost a journal commit at every sync.
fn allocate(path: &Path, size: u64) -> io::Result<File> {
    let file = File::open(path)?;
    file.set_len(0)?;
    let mut at = 0;
    while at < size {
        let step = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX).min(ZEROS.len());
        let zeros = ZEROS.get(..step).unwrap_or(&ZEROS);
        file.write_all_at(zeros, at)?;
        at = at.saturating_add(u64::try_from(zeros.len()).unwrap_or(u64::MAX));
    }
    Ok(file)
}

fn header(number: u64, salt: u64) -> [u8; HEADER_LEN] {
    let mut fields = Vec::with_capacity(64);
    fields.extend_from_slice(MAGIC);
    fields.extend_from_slice(&VERSION.to_le_bytes());
    fields.extend_from_slice(&[0; 4]);
    fields.extend_from_slice(&number.to_le_bytes());
    fields.extend_from_slice(&salt.to_le_bytes());
    let crc = crc32fast::hash(&fields);
    fields.extend_from_slice(&crc.to_le_bytes());
    let mut header = [0; HEADER_LEN];
    for (to, from) in header.iter_mut().zip(fields) {
        *to = from;
    }
    header
}

/// The salt, if the header is the one that the file of this number must have.
fn read_header(path: &Path, content: &[u8], number: u64) -> Result<u64, OpenError> {
    let corrupt = |reason: &str| OpenError::corrupt(path, 0, reason);
    let found: &[u8; HEADER_LEN] = content.first_chunk().ok_or_else(|| corrupt("the header is missing"))?;
    let u64_at =
        |at: usize| found.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
    let version = found.get(8..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    if !found.starts_with(MAGIC) {
        return Err(corrupt("not a log file"));
    }
    if version > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), version, supported: VERSION });
    }
    let salt = u64_at(24);
    if *found != header(number, salt) {
        return Err(corrupt("the header is damaged or belongs to another file"));
    }
    Ok(salt)
}

/// The tag that frames of a file begin with. Never zero, which is what an unused file holds.
fn tag_of(salt: u64) -> u32 {
    let [a, b, c, d, ..] = salt.to_le_bytes();
    u32::from_le_bytes([a, b, c, d | 1])
}

fn frame_header(salt: u64, payload: &[u8]) -> [u8; FRAME_HEADER] {
    let tag = tag_of(salt).to_le_bytes();
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&len);
    hasher.update(payload);
    let crc = hasher.finalize().to_le_bytes();
    let mut header = [0; FRAME_HEADER];
    for (to, from) in header.iter_mut().zip(tag.into_iter().chain(len).chain(crc)) {
        *to = from;
    }
    header
}

fn tag_and_length(head: &[u8; FRAME_HEADER]) -> (u32, u32) {
    let (tag, rest) = head.split_first_chunk().unwrap_or((&[0; 4], &[]));
    let len = rest.first_chunk().unwrap_or(&[0; 4]);
    (u32::from_le_bytes(*tag), u32::from_le_bytes(*len))
}

/// The content at an offset.
enum At {
    Frame(Bytes),
    /// It begins as a frame does but is not whole.
    Broken,
    Nothing,
}

fn look(content: &Bytes, offset: usize, salt: u64) -> At {
    let Some((head, rest)) = content.get(offset..).and_then(<[u8]>::split_first_chunk::<FRAME_HEADER>) else {
        return At::Nothing;
    };
    let (tag, len) = tag_and_length(head);
    if tag != tag_of(salt) {
        return At::Nothing;
    }
    match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
        Some(payload) if !payload.is_empty() && *head == frame_header(salt, payload) => {
            At::Frame(content.slice_ref(payload))
        }
        _ => At::Broken,
    }
}

/// Gives the last frame of a file back the zeros that it ends with.
fn restore_zeros(content: &mut Vec<u8>, size: u64, salt: u64) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut at = HEADER_LEN;
    loop {
        // A header is of use whole only.
        let end = at.saturating_add(FRAME_HEADER).min(size);
        let header = content.get(at..content.len().min(end)).unwrap_or_default();
        if header.is_empty() {
            return;
        }
        let mut head = [0; FRAME_HEADER];
        for (to, from) in head.iter_mut().zip(header) {
            *to = *from;
        }
        let (tag, len) = tag_and_length(&head);
        if tag != tag_of(salt) {
            return;
        }
        let next = at.saturating_add(FRAME_HEADER).saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        if next > content.len() {
            if next <= size {
                content.resize(next, 0);
            } else {
                content.resize(content.len().max(end), 0);
            }
            return;
        }
        at = next;
    }
}

fn scan(path: &Path, content: &Bytes, salt: u64) -> Result<Scanned, OpenError> {
    let offset_of = |at: usize| u64::try_from(at).unwrap_or(u64::MAX);
    let mut frames = Vec::new();
    let mut at = HEADER_LEN;
    let torn = loop {
        match look(content, at, salt) {
            At::Frame(payload) => {
                let next = at.saturating_add(FRAME_HEADER).saturating_add(payload.len());
                frames.push((offset_of(at), payload));
                at = next;
            }
            At::Broken => break true,
            At::Nothing => break false,
        }
    };
    // A frame is durable before the next is written: one that lies behind means that this one was whole once.
    if let Some(later) = find_frame(content, at.saturating_add(1), salt) {
        let reason =
            format!("a record does not match its checksum, and later records follow at offset {later}");
        return Err(OpenError::corrupt(path, offset_of(at), reason));
    }
    Ok(Scanned { frames, end: offset_of(at), torn })
}

/// The first whole frame that begins at `from` or later.
fn find_frame(content: &Bytes, from: usize, salt: u64) -> Option<usize> {
    let tag = tag_of(salt).to_le_bytes();
    let mut base = from;
    while let Some(rest) = content.get(base..).filter(|rest| rest.len() >= FRAME_HEADER) {
        // A tag may begin in one piece and end in the next, so a piece looked at overlaps the next by three bytes.
        let piece = rest.get(..rest.len().min(ZEROS.len())).unwrap_or(rest);
        if ZEROS.get(..piece.len()) != Some(piece) {
            let tags = piece.windows(tag.len()).enumerate().filter(|(_, window)| *window == tag);
            for (place, _) in tags {
                let at = base.saturating_add(place);
                if matches!(look(content, at, salt), At::Frame(_)) {
                    return Some(at);
                }
            }
        }
        base = base.saturating_add(piece.len().saturating_sub(tag.len().saturating_sub(1)).max(1));
    }
    None
}
