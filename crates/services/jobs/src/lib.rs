//! Work in the background: named jobs, each with its own schedule, back-off and status.
//!
//! One loop that did everything in turn would let a mount whose work fails, or whose database does not answer, starve
//! every other. Here each run of a job is a task: jobs run side by side, at most [`MAX_RUNNING`] at once and one run of a
//! job at a time, and a job that fails waits ever longer while the others go on.
//!
//! The scheduler does not know mounts, storage or leadership. Its owner adds the jobs ([`Jobs::set`]) and polls
//! [`Jobs::run`] for as long as this node may work; dropping that future ends every run, so work belongs to a term of
//! leadership and ends with it. A job takes no input and decides from storage what there is to do, so a run that was
//! cut off is made up for by the next.

mod scheduler;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use strongroom_stdx::Moment;

pub use scheduler::Jobs;

/// Runs at once on a node. Each may hold a transaction, so there is a bound; it is high enough for a few that wait for
/// something slow.
pub const MAX_RUNNING: usize = 16;

/// The longest wait of a job that fails again and again.
pub const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// The name of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName {
    /// The owner, as lists show it: a mount's path, or nothing for the server's own jobs.
    pub owner: Arc<str>,
    /// The name among the owner's jobs.
    pub name: Arc<str>,
}

impl JobName {
    /// The name of a job of `owner`.
    pub fn new(owner: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { owner: owner.into(), name: name.into() }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.owner, self.name)
    }
}

/// The state of a job after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is nothing left to do for now.
    Done,
    /// There is more to do at once. Other jobs that wait come first.
    More,
    /// Nothing could be done, and that is no failure: the node did not lead for a moment. It is tried again in a moment.
    Later,
}

/// The outcome of a run: an error is a text for the log and for lists.
pub type Outcome = Result<Step, String>;

/// The moment at which there is something to do, as far as storage tells now; `None`: not until the job is woken.
pub type NextDue = Arc<dyn Fn() -> BoxFuture<'static, Result<Option<Moment>, String>> + Send + Sync>;

/// The times at which a job runs. Every job also runs when it is new and when [`Jobs::run`] begins, since a commit that
/// would have woken it may have been made before.
#[derive(Clone)]
pub enum Schedule {
    /// Once in this time.
    Every(Duration),
    /// Runs when the first entry is due: its time is asked for after each run, and told by [`Jobs::wake_at`] in
    /// between.
    Due(NextDue),
    /// Runs when it is woken.
    OnWake,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(span) => write!(f, "every {}", strongroom_stdx::format_duration(*span)),
            Self::Due(_) => f.write_str("when an entry is due"),
            Self::OnWake => f.write_str("on commit"),
        }
    }
}

/// One bounded piece of work.
pub type Work = Arc<dyn Fn() -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A job.
#[derive(Clone)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// The times at which it runs.
    pub schedule: Schedule,
    /// The work of one run.
    pub work: Work,
}

/// The state of a job, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// The job.
    pub name: JobName,
    /// Its schedule in words.
    pub schedule: String,
    /// True if a run is under way.
    pub running: bool,
    /// Runs since this node took up the work.
    pub runs: u64,
    /// The beginning of the last run.
    pub last_run: Option<Moment>,
    /// The end of the last run that succeeded.
    pub last_success: Option<Moment>,
    /// The moment of the next run; `None` where it waits to be woken, or runs.
    pub next_run: Option<Moment>,
    /// Failures in a row.
    pub failures: u32,
    /// The error of the last run, where that failed.
    pub last_error: Option<String>,
}
