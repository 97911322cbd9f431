//! The scheduler: a queue of jobs in order of time, and the runs under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_stdx::{Clock, Entropy, Moment, caught};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::{Job, JobName, JobStatus, MAX_BACKOFF, MAX_RUNNING, Outcome, Schedule, Step};

/// The wait after a first failure; it doubles with each further one.
const BACKOFF: Duration = Duration::from_secs(1);
/// The shortest time between two runs of a job that waits for what is due.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest time without a look at the queue, in case the clock was moved.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The jobs of a node.
pub struct Jobs {
    clock: Clock,
    entropy: Entropy,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<JobName, Entry>,
    /// Jobs that wait for a moment, in order of it.
    queue: BTreeSet<(Moment, JobName)>,
    /// The number of the next job that is new.
    generation: u64,
}

struct Entry {
    job: Job,
    status: JobStatus,
    /// The moment for which it was woken while it ran.
    woken: Option<Moment>,
    /// Told apart from a job of the same name that was set before, whose run may still end.
    generation: u64,
}

/// A run that has ended, and when it is to run again.
struct Ended {
    name: JobName,
    generation: u64,
    outcome: Outcome,
    next: Option<Moment>,
}

impl Jobs {
    /// No jobs.
    pub fn new(clock: Clock, entropy: Entropy) -> Self {
        Self { clock, entropy, state: Mutex::default(), changed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the jobs. One that was there before under its name keeps its status and its place in the queue; a new one
    /// runs at once; one that is no longer named does not run again.
    pub fn set(&self, jobs: Vec<Job>) {
        let now = self.clock.now();
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.jobs);
        for job in jobs {
            let entry = if let Some(entry) = before.remove(&job.name) {
                Entry { job, ..entry }
            } else {
                state.queue.insert((now, job.name.clone()));
                state.generation = state.generation.wrapping_add(1);
                Entry::new(job, now, state.generation)
            };
            state.jobs.insert(entry.job.name.clone(), entry);
        }
        let State { jobs, queue, .. } = &mut *state;
        queue.retain(|(_, name)| jobs.contains_key(name));
        drop(state);
        self.changed.notify_one();
    }

    /// Takes away the jobs of these names, and sets others, which leaves all the rest as it is. One that is named by both is
    /// as one that was set again.
    pub fn change(&self, gone: &[JobName], new: Vec<Job>) {
        let now = self.clock.now();
        let mut state = self.state();
        let State { jobs, queue, generation } = &mut *state;
        let stays: BTreeSet<&JobName> = new.iter().map(|job| &job.name).collect();
        for name in gone.iter().filter(|name| !stays.contains(name)) {
            if let Some(next) = jobs.remove(name).and_then(|entry| entry.status.next_run) {
                queue.remove(&(next, name.clone()));
            }
        }
        for job in new {
            let entry = if let Some(entry) = jobs.remove(&job.name) {
                Entry { job, ..entry }
            } else {
                queue.insert((now, job.name.clone()));
                *generation = generation.wrapping_add(1);
                Entry::new(job, now, *generation)
            };
            jobs.insert(entry.job.name.clone(), entry);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Has a job run as soon as there is room: there is, or may be, something to do for it.
    pub fn wake(&self, name: &JobName) {
        self.wake_at(name, self.clock.now());
    }

    /// Has a job run at `at`, unless it runs earlier anyway: an entry was written that is due then.
    pub fn wake_at(&self, name: &JobName, at: Moment) {
        let mut state = self.state();
        let State { jobs, queue, .. } = &mut *state;
        let Some(entry) = jobs.get_mut(name) else { return };
        if entry.status.running {
            entry.woken = Some(entry.woken.map_or(at, |woken| woken.min(at)));
            return;
        }
        // A job that fails keeps its distance, however often it is woken.
        if entry.status.failures > 0 || entry.status.next_run.is_some_and(|next| next <= at) {
            return;
        }
        if let Some(next) = entry.status.next_run.replace(at) {
            queue.remove(&(next, name.clone()));
        }
        queue.insert((at, name.clone()));
        drop(state);
        self.changed.notify_one();
    }

    /// Has every job run as soon as there is room: commits may have been missed.
    pub fn wake_all(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        let State { jobs, queue, .. } = &mut *state;
        for (name, entry) in jobs.iter_mut() {
            if entry.status.running {
                entry.woken = Some(now);
                continue;
            }
            if let Some(next) = entry.status.next_run.replace(now) {
                queue.remove(&(next, name.clone()));
            }
            queue.insert((now, name.clone()));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The state of every job, by name.
    pub fn status(&self) -> Vec<JobStatus> {
        self.state().jobs.values().map(|entry| entry.status.clone()).collect()
    }

    /// Runs jobs when they are due, until the future is dropped; that ends the runs under way.
    pub async fn run(&self) {
        let _at_the_end = Forgetting(self);
        self.wake_all();
        let mut runs = JoinSet::new();
        loop {
            while runs.len() < MAX_RUNNING && self.start_one(&mut runs) {}
            let wait = self.until_next(runs.len());
            tokio::select! {
                Some(Ok(ended)) = runs.join_next() => self.note(ended),
                () = self.changed.notified() => {}
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// Runs the jobs of these names once, one after the other, whether they are due or not: for tests that step the
    /// clock. Answers the failures.
    pub async fn run_once(&self, chosen: impl Fn(&JobName) -> bool) -> Vec<(JobName, String)> {
        let jobs: Vec<Job> = self.state().jobs.values().map(|entry| entry.job.clone()).collect();
        let jobs = jobs.into_iter().filter(|job| chosen(&job.name));
        let mut failures = Vec::new();
        for job in jobs {
            loop {
                match (job.work)().await {
                    Ok(Step::More) => {}
                    Ok(Step::Done | Step::Later) => break,
                    Err(error) => {
                        failures.push((job.name.clone(), error));
                        break;
                    }
                }
            }
        }
        failures
    }

    /// Starts the first job that is due; `false` where none is.
    fn start_one(&self, runs: &mut JoinSet<Ended>) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let State { jobs, queue, .. } = &mut *state;
        let Some((at, name)) = queue.first().cloned() else { return false };
        if at > now {
            return false;
        }
        queue.remove(&(at, name.clone()));
        let Some(entry) = jobs.get_mut(&name) else { return true };
        entry.status.running = true;
        entry.status.next_run = None;
        entry.status.last_run = Some(now);
        entry.status.runs = entry.status.runs.saturating_add(1);
        let (job, generation, clock) = (entry.job.clone(), entry.generation, self.clock.clone());
        runs.spawn(async move {
            // A panic is a failure like another: the job is tried again, and the others go on.
            let outcome = caught((job.work)()).await;
            let outcome = outcome.unwrap_or_else(|panicked| Err(panicked.to_string()));
            let (outcome, next) = match outcome {
                Ok(Step::Done) => next_run(&job.schedule, &clock).await,
                other => (other, None),
            };
            Ended { name: job.name, generation, outcome, next }
        });
        true
    }

    /// The time until the next job is due, or until there is room for it.
    fn until_next(&self, running: usize) -> Duration {
        let now = self.clock.now();
        match self.state().queue.first() {
            Some((at, _)) if running < MAX_RUNNING => at.since(now).min(MAX_WAIT),
            _ => MAX_WAIT,
        }
    }

    fn note(&self, ended: Ended) {
        let now = self.clock.now();
        let wait = self.backoff(&ended);
        let mut state = self.state();
        let State { jobs, queue, .. } = &mut *state;
        let Some(entry) = jobs.get_mut(&ended.name) else { return };
        if entry.generation != ended.generation {
            return;
        }
        entry.ended(ended.outcome, ended.next, wait, now);
        if let Some(next) = entry.status.next_run {
            queue.insert((next, ended.name));
        }
    }

    /// The wait after a failure: twice the last one, give or take a quarter, so that jobs that failed together do not
    /// come back together.
    fn backoff(&self, ended: &Ended) -> Duration {
        if ended.outcome.is_ok() {
            return Duration::ZERO;
        }
        let failures = self.state().jobs.get(&ended.name).map_or(0, |entry| entry.status.failures);
        let wait =
            BACKOFF.saturating_mul(1u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX)).min(MAX_BACKOFF);
        // Three quarters of it, and up to a half more by chance.
        let share =
            self.entropy.bytes::<2>().map_or(0.0, |bytes| f64::from(u16::from_be_bytes(bytes)) / 65_536.0);
        wait.mul_f64(share.mul_add(0.5, 0.75))
    }
}

/// Marks no job as running once nothing runs any more.
struct Forgetting<'a>(&'a Jobs);

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        let now = self.0.clock.now();
        let mut state = self.0.state();
        let State { jobs, queue, .. } = &mut *state;
        for (name, entry) in jobs.iter_mut().filter(|(_, entry)| entry.status.running) {
            entry.status.running = false;
            entry.status.next_run = Some(now);
            queue.insert((now, name.clone()));
        }
    }
}

/// The outcome of a run that has done all there was, and when the next is due.
async fn next_run(schedule: &Schedule, clock: &Clock) -> (Outcome, Option<Moment>) {
    match schedule {
        Schedule::Every(span) => (Ok(Step::Done), Some(clock.now().after(*span))),
        Schedule::OnWake => (Ok(Step::Done), None),
        Schedule::Due(next) => match next().await {
            // An entry that is due and was left in place is looked at again, but not without a pause.
            Ok(next) => (Ok(Step::Done), next.map(|next| next.max(clock.now().after(MIN_PAUSE)))),
            Err(error) => (Err(error), None),
        },
    }
}

impl Entry {
    fn new(job: Job, now: Moment, generation: u64) -> Self {
        let status = JobStatus {
            name: job.name.clone(),
            schedule: job.schedule.to_string(),
            running: false,
            runs: 0,
            last_run: None,
            last_success: None,
            next_run: Some(now),
            failures: 0,
            last_error: None,
        };
        Self { job, status, woken: None, generation }
    }

    /// Takes note of the end of a run: the outcome, and for one that was done when the next is due.
    fn ended(&mut self, outcome: Outcome, next: Option<Moment>, backoff: Duration, now: Moment) {
        self.status.running = false;
        let woken = std::mem::take(&mut self.woken);
        match outcome {
            Ok(step) => {
                if std::mem::take(&mut self.status.failures) > 0 {
                    tracing::info!(job = %self.status.name, "background job recovered");
                }
                self.status.last_error = None;
                self.status.last_success = Some(now);
                let next = match step {
                    Step::Done => next,
                    Step::More => Some(now),
                    Step::Later => Some(now.after(MIN_PAUSE)),
                };
                self.status.next_run = earlier(next, woken);
            }
            Err(error) => {
                if self.status.failures == 0 {
                    tracing::error!(job = %self.status.name, error, "background job failed; it is tried again");
                }
                self.status.failures = self.status.failures.saturating_add(1);
                self.status.last_error = Some(error);
                self.status.next_run = Some(now.after(backoff));
            }
        }
    }
}

/// The earlier of two moments that there may be.
fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
