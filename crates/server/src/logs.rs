//! The server's log: a level that can be changed while running, a format, and a file that is rotated.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use strongroom_config::{Config, LogFormat, LogLevel};
use strongroom_stdx::{Clock, Moment};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::log_format::Lines;

/// The settings of the log that can be changed while the server runs.
pub(crate) struct Logs {
    level: reload::Handle<Targets, Registry>,
    file: Option<Rotating>,
}

impl Logs {
    /// Starts logging as configured: to standard error, apart from what the program says for itself, and to a file where
    /// there is one.
    pub(crate) fn start(config: &Config, clock: &Clock) -> Result<Self> {
        let (filter, level) = reload::Layer::new(filter(config.log_level.unwrap_or(LogLevel::Info)));
        let file =
            config.log_file.as_deref().map(|path| Rotating::open(path, config, clock.clone())).transpose()?;
        let json = config.log_format == Some(LogFormat::Json);
        let mut layers: Vec<Box<dyn Layer<_> + Send + Sync>> = vec![layer(io::stderr, json, clock)];
        if let Some(file) = &file {
            layers.push(layer(file.clone(), json, clock));
        }
        tracing_subscriber::registry()
            .with(filter)
            .with(layers)
            .try_init()
            .context("logging was started before")?;
        Ok(Self { level, file })
    }

    /// Takes a new level over and opens the file again, as on SIGHUP.
    pub(crate) fn reload(&self, config: &Config) {
        if let Err(error) = self.level.reload(filter(config.log_level.unwrap_or(LogLevel::Info))) {
            tracing::error!(%error, "log level cannot be changed");
        }
        if let Some(file) = &self.file {
            file.reopen();
        }
    }
}

fn layer<S, W>(writer: W, json: bool, clock: &Clock) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Lines { json, clock: clock.clone() };
    Box::new(fmt::layer().with_writer(writer).with_ansi(false).event_format(lines))
}

/// The messages that are logged at a level: those of this program, and warnings of libraries. What else libraries say,
/// thousands of lines a second, is left to `trace`. The consensus library tells of each message that did not arrive at
/// `warn` or `error`: that a node is not heard any more, and that the library has stopped, is said once elsewhere.
fn filter(level: LogLevel) -> Targets {
    let most = event_level(level).map_or(LevelFilter::OFF, LevelFilter::from_level);
    let all = most == LevelFilter::TRACE;
    Targets::new()
        .with_default(if all { most } else { most.min(LevelFilter::WARN) })
        .with_target("strongroom", most)
        .with_target("openraft", if all { most } else { LevelFilter::OFF })
}

/// The level of events that a level of the configuration stands for; `None` for no events.
pub(crate) const fn event_level(level: LogLevel) -> Option<tracing::Level> {
    match level {
        LogLevel::Off => None,
        LogLevel::Error => Some(tracing::Level::ERROR),
        LogLevel::Warn => Some(tracing::Level::WARN),
        LogLevel::Info => Some(tracing::Level::INFO),
        LogLevel::Debug => Some(tracing::Level::DEBUG),
        LogLevel::Trace => Some(tracing::Level::TRACE),
    }
}

/// A level by its name.
pub(crate) fn level(name: &str) -> Result<LogLevel> {
    Ok(match name.to_lowercase().as_str() {
        "trace" => LogLevel::Trace,
        "debug" => LogLevel::Debug,
        "" | "info" | "notice" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "err" | "error" => LogLevel::Error,
        "off" => LogLevel::Off,
        _ => bail!("unknown log level: {name}"),
    })
}

/// A format by its name.
pub(crate) fn format(name: &str) -> Result<LogFormat> {
    Ok(match name.to_lowercase().as_str() {
        "" | "standard" | "notspecified" => LogFormat::Standard,
        "json" => LogFormat::Json,
        _ => bail!("unknown log format: {name}"),
    })
}

/// A log file that is rotated by size or age.
#[derive(Clone)]
struct Rotating(Arc<Mutex<Log>>);

struct Log {
    path: PathBuf,
    file: File,
    is_regular: bool,
    written: u64,
    opened: Moment,
    most_bytes: Option<u64>,
    most_age: Duration,
    keep: i64,
    clock: Clock,
}

impl Rotating {
    fn open(path: &Path, config: &Config, clock: Clock) -> Result<Self> {
        let path = file_at(path);
        let file = append(&path).with_context(|| format!("log file {}", path.display()))?;
        // A link stays where it is: what is moved aside is the file that it leads to.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        let written = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self(Arc::new(Mutex::new(Log {
            opened: clock.now(),
            is_regular: file.metadata().is_ok_and(|found| found.is_file()),
            file,
            written,
            path,
            most_bytes: config.log_rotate_bytes.filter(|bytes| *bytes > 0),
            most_age: config.log_rotate_duration,
            keep: config.log_rotate_max_files,
            clock,
        }))))
    }

    fn reopen(&self) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match append(&log.path) {
            Ok(file) => {
                log.written = file.metadata().map_or(0, |metadata| metadata.len());
                log.opened = log.clock.now();
                log.file = file;
            }
            // Whoever reads the log still gets it where it went before.
            Err(error) => drop(writeln!(log.file, "log file cannot be reopened: {error}")),
        }
    }
}

/// The file that `log_file` names, which may be a directory, with a slash at its end if it is to be made.
pub(crate) fn file_at(path: &Path) -> PathBuf {
    let is_directory = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if is_directory { path.join("strongroom.log") } else { path.to_owned() }
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Log {
    fn is_full(&self, more: u64) -> bool {
        // A device or a pipe is nothing to move aside.
        if !self.is_regular {
            return false;
        }
        let too_large =
            self.most_bytes.is_some_and(|most| self.written > 0 && self.written.saturating_add(more) > most);
        let too_old = !self.most_age.is_zero() && self.clock.now().since(self.opened) >= self.most_age;
        too_large || too_old
    }

    /// Moves the file aside and begins another: `name.log` becomes `name-<nanoseconds>.log`.
    fn rotate(&mut self) -> io::Result<()> {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self
            .path
            .extension()
            .map_or_else(|| "log".to_owned(), |text| text.to_string_lossy().into_owned());
        let now = self.clock.now();
        let aside = self.path.with_file_name(format!("{stem}-{}.{extension}", now.as_nanos()));
        std::fs::rename(&self.path, aside)?;
        self.file = append(&self.path)?;
        self.written = 0;
        self.opened = now;
        self.prune(&stem, &extension)
    }

    /// Deletes the oldest files beyond those to keep; zero keeps all, below zero none.
    fn prune(&self, stem: &str, extension: &str) -> io::Result<()> {
        if self.keep == 0 {
            return Ok(());
        }
        let directory =
            self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let begins = format!("{stem}-");
        let ends = format!(".{extension}");
        let mut old: Vec<PathBuf> = std::fs::read_dir(directory)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let middle = name.strip_prefix(&begins).and_then(|rest| rest.strip_suffix(&ends));
                middle.is_some_and(|digits| {
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
                })
            })
            .collect();
        old.sort();
        let keep = usize::try_from(self.keep).unwrap_or(0);
        let surplus = old.len().saturating_sub(keep);
        old.iter().take(surplus).try_for_each(std::fs::remove_file)
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.is_full(u64::try_from(line.len()).unwrap_or(u64::MAX)) {
            log.rotate()?;
        }
        let written = log.file.write(line)?;
        log.written = log.written.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).file.flush()
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt as _;

    use super::*;

    fn rotating(path: &Path, clock: &Clock) -> Rotating {
        let text = "log_rotate_bytes = 10\nlog_rotate_max_files = 5".to_owned();
        let source = strongroom_config::Source { file: "server.hcl".into(), text };
        Rotating::open(path, &strongroom_config::parse(&[source]).unwrap().config, clock.clone()).unwrap()
    }

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_link_stays_when_its_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link.log"), folder.path().join("real.log"));
        std::fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink("real.log", &link).unwrap();
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let mut log = rotating(&link, &clock);
        for line in ["a long line\n", "another line\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "another line\n");
        assert_eq!(names(folder.path()), 3);
    }

    #[test]
    fn a_pipe_is_not_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
        // Opened for both, so that neither side waits for the other.
        let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        let mut log = rotating(&pipe, &Clock::stepped(Moment::from_secs(1_700_000_000)));
        for line in ["a long line\n", "another line\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert!(std::fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        assert_eq!(names(folder.path()), 1);
    }

    #[test]
    fn libraries_are_silent_below_trace() {
        use tracing::Level;
        let debug = filter(LogLevel::Debug);
        assert!(debug.would_enable("strongroom_raft::role", &Level::DEBUG));
        assert!(
            !debug.would_enable("openraft::core", &Level::ERROR)
                && !debug.would_enable("h2::codec", &Level::INFO)
        );
        assert!(debug.would_enable("hyper::proto", &Level::WARN));
        assert!(filter(LogLevel::Trace).would_enable("openraft::core", &Level::DEBUG));
        assert!(!filter(LogLevel::Error).would_enable("hyper::proto", &Level::WARN));
        assert!(!filter(LogLevel::Off).would_enable("strongroom_raft::role", &Level::ERROR));
    }

    #[test]
    fn levels_and_formats_are_read_in_any_case() {
        assert_eq!(format("JSON").unwrap(), LogFormat::Json);
        assert_eq!(format("Standard").unwrap(), LogFormat::Standard);
        assert_eq!(level("DEBUG").unwrap(), LogLevel::Debug);
        assert!(format("xml").is_err() && level("loud").is_err());
    }
}
