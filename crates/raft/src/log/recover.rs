//! Reads the log back after a start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};

use super::head::{Head, paths};
use super::index::{Held, Index, Place};
use super::next::{NEXT, SPARE};
use super::record::{Record, take_record};
use super::segment::{Segment, number_in};
use crate::codec::{Malformed, take_bytes};
use crate::files::{self, sync_directory};
use crate::options::OpenError;

/// The log as it was found: its content and the file to continue in, if there is one.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) last: Option<Segment>,
}

/// Reads all files of the log. A torn last frame is dropped, with a line in the server's log; any other damage is
/// refused.
pub(crate) fn recover(directory: &Path) -> Result<Recovered, OpenError> {
    let files = list(directory)?;
    let (head_path, _) = paths(directory);
    let head = match Head::read(&head_path)? {
        // A vote is given only by a node that has a log to write it to.
        Some(head) if files.is_empty() && head.vote.is_some() => {
            return Err(OpenError::corrupt(directory, 0, "the log's files are missing, the vote is there"));
        }
        Some(head) => head,
        None if files.is_empty() => {
            let head = Head::default();
            head.write(&head_path).map_err(OpenError::io(&head_path))?;
            head
        }
        None => return Err(OpenError::corrupt(&head_path, 0, "the vote is missing, the log is not")),
    };
    let mut index = Index::new(head);
    let mut last: Option<(Segment, bool)> = None;
    for (number, path) in files {
        if let Some((before, torn)) = &last {
            if before.number.checked_add(1) != Some(number) {
                let reason = format!("the file before it is number {}: one is missing", before.number);
                return Err(OpenError::corrupt(&path, 0, reason));
            }
            // A file is left only when all of its frames are durable.
            if *torn {
                let reason = "a record does not match its checksum, and a later log file exists";
                return Err(OpenError::corrupt(&before.path, before.position, reason));
            }
        }
        last = Some(read_file(&mut index, number, &path)?);
    }
    if let Some((segment, true)) = &last {
        tracing::warn!(
            path = %segment.path.display(),
            offset = segment.position,
            "the last log record was not written completely: it was never acknowledged and is dropped"
        );
        segment.blot_tail().map_err(OpenError::io(&segment.path))?;
    }
    let last = last.map(|(segment, _)| segment);
    // What a killed process had written, but not synced, has been read as well: the node goes by it from now on.
    if let Some(segment) = &last {
        segment.reading.file.sync_data().map_err(OpenError::io(&segment.path))?;
    }
    sync_directory(directory).map_err(OpenError::io(directory))?;
    Ok(Recovered { index, last })
}

fn list(directory: &Path) -> Result<BTreeMap<u64, PathBuf>, OpenError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(OpenError::io(directory))? {
        let entry = entry.map_err(OpenError::io(directory))?;
        if let Some(number) = entry.file_name().to_str().and_then(number_in) {
            files.insert(number, entry.path());
        }
    }
    Ok(files)
}

/// A file that was prepared and not taken serves as the spare one.
pub(super) fn keep_unused(directory: &Path) {
    let next = directory.join(NEXT);
    if next.exists()
        && let Err(error) = files::rename(&next, &directory.join(SPARE))
    {
        tracing::warn!(path = %next.display(), %error, "an unused log file could not be kept as spare");
    }
}

/// Reads one file into the index; tells, too, whether its last frame is torn.
fn read_file(index: &mut Index, number: u64, path: &Path) -> Result<(Segment, bool), OpenError> {
    let (segment, scanned) = Segment::open(path, number)?;
    index.files.insert(number, Held { reading: segment.reading.clone(), newest: None });
    for (offset, payload) in scanned.frames {
        read_frame(index, &segment, offset, payload)?;
    }
    Ok((segment, scanned.torn))
}

fn read_frame(index: &mut Index, segment: &Segment, frame: u64, payload: Bytes) -> Result<(), OpenError> {
    let corrupt = |reason: String| OpenError::corrupt(&segment.path, frame, reason);
    let malformed = |malformed: Malformed| corrupt(malformed.to_string());
    let whole = payload.len();
    let mut rest = payload;
    while rest.has_remaining() {
        let record = whole.saturating_sub(rest.len());
        let entry = match take_bytes(&mut rest).and_then(take_record).map_err(malformed)? {
            Record::Entry(entry) => entry,
            Record::VoidFrom(from) => {
                drop(index.void_from(from));
                continue;
            }
        };
        let at = entry.log_id.index;
        if index.head.purged.is_some_and(|purged| at <= purged.index) {
            if let Some(held) = index.files.get_mut(&segment.number) {
                held.newest = held.newest.max(Some(at));
            }
            continue;
        }
        if let Some(last) = index.last()
            && last.index.checked_add(1) != Some(at)
        {
            return Err(corrupt(format!("entry {at} follows entry {}", last.index)));
        }
        drop(index.settle([Place { log_id: entry.log_id, segment: segment.number, frame, record }], 0));
    }
    Ok(())
}
