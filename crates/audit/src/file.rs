//! The `file` device: a file, standard output, or nowhere.
//!
//! Source: [file audit device](https://developer.hashicorp.com/vault/docs/audit/file).

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::OFlags;

use crate::device::Device;
use crate::error::AuditError;
use crate::group::{GroupWriter, PartialWrite, Sink};
use crate::options::Options;

/// The mode of a new log file when `mode` does not say.
const DEFAULT_MODE: u32 = 0o600;

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
}

impl FileOptions {
    pub(crate) fn take(options: &mut Options<'_>) -> Result<Self, AuditError> {
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
        Ok(Self { target, mode })
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
    /// Opens the log, creating it and the directories above it where they are missing.
    pub(crate) fn open(options: FileOptions) -> Result<Self, AuditError> {
        let name = match &options.target {
            Target::Stdout => "stdout".to_owned(),
            Target::Discard => "discard".to_owned(),
            Target::Path(path) => path.display().to_string(),
        };
        let log = Log::open(&options)?;
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
        self.log = Some(Log::open(&self.options)?);
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
    fn open(options: &FileOptions) -> Result<Self, AuditError> {
        match &options.target {
            Target::Discard => Ok(Self { output: Output::Discard, may_block: false }),
            Target::Stdout => {
                // A handle of its own goes round the standard library's line buffer.
                let opened = io::stdout().as_fd().try_clone_to_owned();
                let file = opened.map_err(|source| AuditError::Open { path: "stdout".into(), source })?;
                Ok(Self { output: Output::File(LineFile::new(file.into(), false)), may_block: true })
            }
            Target::Path(path) => Self::open_path(path, options.mode),
        }
    }

    fn open_path(path: &Path, mode: Option<u32>) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Open { path: path.to_owned(), source };
        create_parent(path, mode.unwrap_or(DEFAULT_MODE)).map_err(failed)?;
        let file = open_append(path, mode.unwrap_or(DEFAULT_MODE)).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Ok(Self { output: Output::File(LineFile::new(file, false)), may_block: true });
        }
        let permissions = metadata.permissions().mode() & 0o7777;
        match mode {
            Some(mode) if mode != permissions => {
                file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
            }
            None if permissions & 0o111 != 0 => return Err(AuditError::Executable(path.to_owned())),
            _ => {}
        }
        let torn = ends_within_a_line(path, metadata.len());
        Ok(Self { output: Output::File(LineFile::new(file, torn)), may_block: false })
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), PartialWrite> {
        match &mut self.output {
            Output::Discard => Ok(()),
            Output::File(file) => file.append(lines),
        }
    }
}

/// Creates the directories above `path`. Who may read the log may pass through them.
fn create_parent(path: &Path, mode: u32) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
            DirBuilder::new().recursive(true).mode(mode | (mode & 0o444) >> 2).create(parent)
        }
        _ => Ok(()),
    }
}

/// Opens for appending. A named pipe without a reader is an error rather than a wait; a terminal does not become
/// the server's own.
fn open_append(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(mode)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// True if a file's last line has no end, because it was cut off when the disk was full or the machine stopped. A
/// file that may be written but not read is taken to be whole.
fn ends_within_a_line(path: &Path, len: u64) -> bool {
    let Some(last) = len.checked_sub(1) else { return false };
    let mut byte = [b'\n'];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut byte, last));
    read.is_ok() && byte != [b'\n']
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
