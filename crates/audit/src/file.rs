//! The `file` device: a file, standard output, or nowhere.
//!
//! Source: [file audit device](https://developer.hashicorp.com/vault/docs/audit/file).

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt as _, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::OFlags;

use crate::device::Device;
use crate::error::AuditError;
use crate::group::{GroupWriter, PartialWrite, Sink};
use crate::guard::Guard;
use crate::options::Options;

/// The mode of a new log file when `mode` does not say.
const DEFAULT_MODE: u32 = 0o600;
/// Bytes of a log's beginning that hold the members by which it is recognized.
const BEGINNING: usize = 4096;
/// How a log is opened. A named pipe without a reader is an error rather than a wait; a terminal does not become the
/// server's own.
pub(crate) const APPENDING: OFlags =
    OFlags::WRONLY.union(OFlags::APPEND).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The target of a `file` device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Discard,
    Path(PathBuf),
}

/// The options particular to a `file` device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileOptions {
    /// `file_path`, or `path`.
    pub(crate) target: Target,
    /// `mode`; `None` (`"0000"`) leaves an existing file's mode alone.
    pub(crate) mode: Option<u32>,
    /// Gives an existing log the mode, too. Over the API only what was just created gets one: who may enable devices must
    /// not decide who reads files that are there already.
    pub(crate) changes_existing: bool,
}

impl FileOptions {
    pub(crate) fn take(options: &mut Options<'_>, changes_existing: bool) -> Result<Self, AuditError> {
        // The name it had first, which Vault still reads.
        let older = options.take("path");
        let target = match options.take("file_path").or(older) {
            None => return Err(AuditError::FilePathRequired),
            Some("stdout") => Target::Stdout,
            Some("discard") => Target::Discard,
            Some(path) => Target::Path(path.into()),
        };
        let mode = match options.take("mode") {
            None | Some("") => Some(DEFAULT_MODE),
            Some(text) => Some(parse_mode(text)?).filter(|mode| *mode != 0),
        };
        Ok(Self { target, mode, changes_existing })
    }
}

/// Octal permission bits. A log is data: to let an operator make it executable would be to let them run code.
fn parse_mode(text: &str) -> Result<u32, AuditError> {
    u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o666 == 0 && !text.starts_with('+')).ok_or_else(
        || AuditError::InvalidValue {
            option: "mode",
            value: text.to_owned(),
            expected: "an octal number of read and write permissions, as \"0600\"",
        },
    )
}

/// A `file` audit device.
pub(crate) struct FileDevice {
    name: String,
    writer: GroupWriter<FileSink>,
}

impl FileDevice {
    /// Opens the log, creating it and the directories above it where they are missing. With a guard it must be a log, or
    /// new, and not among the files that the guard protects.
    pub(crate) fn open(options: FileOptions, guard: Option<Guard<'_>>) -> Result<Self, AuditError> {
        let name = match &options.target {
            Target::Stdout => "stdout".to_owned(),
            Target::Discard => "discard".to_owned(),
            Target::Path(path) => path.display().to_string(),
        };
        let log = Log::open(&options, guard)?;
        Ok(Self { name, writer: GroupWriter::new(FileSink { options, log: Some(log) }) })
    }
}

#[async_trait]
impl Device for FileDevice {
    fn name(&self) -> &str {
        &self.name
    }

    async fn write(&self, line: &[u8]) -> Result<(), AuditError> {
        self.writer
            .append(line)
            .await
            .map_err(|source| AuditError::Write { device: self.name.clone(), source })
    }

    /// A log that cannot be reopened continues where it was.
    async fn reload(&self) -> Result<(), AuditError> {
        let reopened = self.writer.change(FileSink::reopen).await;
        reopened.map_err(|source| AuditError::Open { path: self.name.clone().into(), source })?
    }
}

/// The sink of a [`FileDevice`].
struct FileSink {
    options: FileOptions,
    /// `None` after a failed write: the next one reopens the log, which repairs a stale handle.
    log: Option<Log>,
}

impl FileSink {
    fn reopen(&mut self) -> Result<(), AuditError> {
        self.log = Some(Log::open(&self.options, None)?);
        Ok(())
    }

    fn log(&mut self) -> io::Result<&mut Log> {
        if self.log.is_none() {
            self.reopen().map_err(io::Error::other)?;
        }
        self.log.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Sink for FileSink {
    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        let log = self.log().map_err(|source| PartialWrite { written: 0, source })?;
        let appended = log.append(lines);
        if appended.is_err() {
            self.log = None;
        }
        appended
    }

    fn may_block(&self) -> bool {
        self.log.as_ref().is_none_or(|log| log.may_block)
    }
}

/// An open log.
struct Log {
    output: Output,
    may_block: bool,
}

enum Output {
    Discard,
    File(LineFile<File>),
}

impl Log {
    fn open(options: &FileOptions, guard: Option<Guard<'_>>) -> Result<Self, AuditError> {
        match &options.target {
            Target::Discard => Ok(Self { output: Output::Discard, may_block: false }),
            Target::Stdout => {
                // A handle of its own goes round the standard library's line buffer.
                let opened = io::stdout().as_fd().try_clone_to_owned();
                let file = opened.map_err(|source| AuditError::Open { path: "stdout".into(), source })?;
                Ok(Self { output: Output::File(LineFile::new(file.into(), false)), may_block: true })
            }
            Target::Path(path) => {
                let new_mode = options.mode.unwrap_or(DEFAULT_MODE);
                let opened = match guard.filter(|_| !Guard::is_harmless(path)) {
                    Some(guard) => guard.open(path, new_mode)?,
                    None => Appending::open(path, new_mode)
                        .map_err(|source| AuditError::Open { path: path.clone(), source })?,
                };
                let mode = options.mode.filter(|_| options.changes_existing || opened.created);
                Self::appending(path, opened, mode)
            }
        }
    }

    /// Appends to a file that was opened at `path`. `mode` is for logs: anything else keeps its permissions.
    fn appending(path: &Path, opened: Appending, mode: Option<u32>) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Open { path: path.to_owned(), source };
        let Appending { file, reader, .. } = opened;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Ok(Self { output: Output::File(LineFile::new(file, false)), may_block: true });
        }
        let is_log = metadata.len() == 0 || reader.as_ref().is_some_and(begins_as_log);
        let permissions = metadata.permissions().mode() & 0o7777;
        match mode.filter(|_| is_log) {
            Some(mode) if mode != permissions => {
                file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
            }
            None if permissions & 0o111 != 0 => return Err(AuditError::Executable(path.to_owned())),
            _ => {}
        }
        let torn = reader.is_some_and(|reader| ends_within_a_line(&reader, metadata.len()));
        Ok(Self { output: Output::File(LineFile::new(file, torn)), may_block: false })
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        match &mut self.output {
            Output::Discard => Ok(()),
            Output::File(file) => file.append(lines),
        }
    }
}

/// A file that is open for appending.
pub(crate) struct Appending {
    file: File,
    /// The same file for reading; `None` for one that is new, no file, or may be written but not read.
    reader: Option<File>,
    /// It was not there before.
    created: bool,
}

impl Appending {
    /// A file that was there and was opened as [`APPENDING`] says; writing to it may wait from now on.
    pub(crate) fn existing(file: impl Into<File>, reader: Option<File>) -> io::Result<Self> {
        let file = file.into();
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(Self { file, reader, created: false })
    }

    /// As [`Appending::existing`], for a file that was just created.
    pub(crate) fn created(file: impl Into<File>) -> io::Result<Self> {
        Ok(Self { created: true, ..Self::existing(file, None)? })
    }

    /// Opens what is at `path`, or creates it and the directories above it.
    fn open(path: &Path, mode: u32) -> io::Result<Self> {
        create_parent(path, mode)?;
        let flags = APPENDING.difference(OFlags::WRONLY | OFlags::APPEND);
        let mut options = OpenOptions::new();
        options.append(true).mode(mode).custom_flags(flags.bits().cast_signed());
        match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Self::created(created?),
        }
        // A link may lead to a file that is not there yet.
        let file = options.create(true).open(path)?;
        let metadata = file.metadata()?;
        let same = |reader: &File| {
            reader.metadata().is_ok_and(|read| (read.dev(), read.ino()) == (metadata.dev(), metadata.ino()))
        };
        let reader = metadata.is_file().then(|| File::open(path).ok().filter(same)).flatten();
        Self::existing(file, reader)
    }
}

/// Creates the directories above `path`.
fn create_parent(path: &Path, mode: u32) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            DirBuilder::new().recursive(true).mode(folder_mode(mode)).create(parent)
        }
        _ => Ok(()),
    }
}

/// The mode of a directory above a log. Who may read the log may pass through it; the owner may use it.
pub(crate) const fn folder_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

/// True if a file's first line is a record. A file that cannot be read is not taken for a log.
pub(crate) fn begins_as_log(file: &File) -> bool {
    let mut beginning = vec![0; BEGINNING];
    let read = file.read_at(&mut beginning, 0);
    let text = String::from_utf8_lossy(&beginning);
    let first = text.lines().next().unwrap_or_default();
    let kinds = ["\"type\":\"request\"", "\"type\":\"response\""];
    read.is_ok() && first.contains('{') && kinds.iter().any(|kind| first.contains(kind))
}

/// True if a file's last line has no end, because it was cut off when the disk was full or the machine stopped.
fn ends_within_a_line(file: &File, len: u64) -> bool {
    let Some(last) = len.checked_sub(1) else { return false };
    let mut byte = [b'\n'];
    file.read_exact_at(&mut byte, last).is_ok() && byte != [b'\n']
}

/// Appends lines and never puts one behind the torn piece of another.
struct LineFile<W> {
    writer: W,
    /// The output so far ends within a line.
    torn: bool,
}

impl<W: Write> LineFile<W> {
    const fn new(writer: W, torn: bool) -> Self {
        Self { writer, torn }
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        if self.torn {
            self.write(b"\n").map_err(|partial| PartialWrite { written: 0, ..partial })?;
        }
        self.write(lines)
    }

    fn write(&mut self, mut rest: &[u8]) -> Result<(), PartialWrite> {
        let mut written = 0_usize;
        while !rest.is_empty() {
            let count = match self.writer.write(rest) {
                Ok(0) => return Err(PartialWrite { written, source: io::ErrorKind::WriteZero.into() }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(PartialWrite { written, source }),
            };
            let Some((done, left)) = rest.split_at_checked(count) else { break };
            self.torn = done.last() != Some(&b'\n');
            written = written.saturating_add(count);
            rest = left;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod tests;
