//! One thing to run: a program with its words, and what the pool must know of it.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

/// The load of a task on the machine while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// It waits for timers, disks and other processes, or is over in a moment.
    Waiting,
    /// It computes, or keeps several servers busy.
    Busy,
    /// It measures time or the machine: nothing else runs meanwhile.
    Alone,
}

/// A program to run to its end.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its name, which also names the file of what it prints.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) words: Vec<String>,
    /// The directory in which it runs; `None`: that of this program.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) variables: Vec<(String, String)>,
    /// Tasks that must have passed before this one starts.
    pub(crate) after: Vec<&'static str>,
    pub(crate) load: Load,
    /// Gives way to everything else that wants to compute.
    pub(crate) gives_way: bool,
    /// Its time limit. A task that takes longer is ended and has failed.
    pub(crate) limit: Duration,
    /// The file for standard output when it is not for people to read.
    pub(crate) output: Option<PathBuf>,
}

impl Task {
    pub(crate) fn new(name: impl Into<String>, program: impl Into<PathBuf>, words: &[&str]) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            folder: None,
            variables: Vec::new(),
            after: Vec::new(),
            load: Load::Waiting,
            gives_way: false,
            limit: Duration::from_secs(900),
            output: None,
        }
    }

    pub(crate) fn after(mut self, names: &[&'static str]) -> Self {
        self.after.extend_from_slice(names);
        self
    }

    pub(crate) fn load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    pub(crate) fn giving_way(mut self) -> Self {
        self.gives_way = true;
        self
    }

    pub(crate) fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command, with all that it prints going to `log`.
    pub(crate) fn command(&self, log: &File) -> anyhow::Result<Command> {
        let mut command = if self.gives_way {
            let mut nice = Command::new("nice");
            nice.args(["-n", "19"]).arg(&self.program);
            nice
        } else {
            Command::new(&self.program)
        };
        // A group of its own, with all that it starts: what takes too long is ended whole.
        command.process_group(0).args(&self.words).stdin(Stdio::null()).stderr(log.try_clone()?);
        match &self.output {
            Some(path) => command.stdout(File::create(path).with_context(|| path.display().to_string())?),
            None => command.stdout(log.try_clone()?),
        };
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        // What Cargo tells this program of itself is not true of what it starts.
        for variable in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}
