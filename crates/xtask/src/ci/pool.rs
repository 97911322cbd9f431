//! Tasks side by side: each starts when what it needs has passed and there is room for it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::count::Count;
use super::suites::BUILD;
use super::task::{Load, Task};

/// The interval at which the pool looks whether something has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The longest time without output: a silent run looks like one that hangs.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The time limit of a task that is told to end, for stopping its servers.
const END_LIMIT: Duration = Duration::from_secs(30);

/// Variables that every task gets: where the build put the programs under test.
pub(crate) type Variables = Vec<(String, String)>;

/// The tasks of a run and where they stand.
pub(crate) struct Pool {
    waiting: Vec<Task>,
    running: Vec<Running>,
    ended: Vec<Ended>,
    /// Units of load that fit: a waiting task takes one, a busy one two.
    room: usize,
    logs: PathBuf,
    variables: Variables,
    began: Instant,
    out: Box<dyn Write>,
    printed: Instant,
    interrupted: Arc<AtomicBool>,
}

struct Running {
    task: Task,
    child: Child,
    began: Instant,
    /// The time at which it was told to end, for taking too long.
    told_to_end: Option<Instant>,
}

impl Running {
    fn id(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Tells whether it has ended. Its number, and so that of its group, stays its own until it is waited for.
    fn has_ended(&self) -> anyhow::Result<bool> {
        let Some(id) = self.id() else { return Ok(true) };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(id), options).context("waiting for a task")?.is_some())
    }

    /// Tells the task and whatever it has started and not put into a group of its own.
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            // They may all have ended by themselves just now.
            let _ = kill_process_group(id, signal);
        }
    }
}

struct Ended {
    name: String,
    began: Duration,
    took: Duration,
    count: Count,
    succeeded: bool,
}

impl Pool {
    /// A run that tells `out` how it goes.
    pub(crate) fn new(tasks: Vec<Task>, room: usize, logs: PathBuf, out: Box<dyn Write>) -> Self {
        let now = now();
        Self {
            waiting: tasks,
            running: Vec::new(),
            ended: Vec::new(),
            room,
            logs,
            variables: Vec::new(),
            began: now,
            out,
            printed: now,
            interrupted: Arc::default(),
        }
    }

    /// A switch that ends everything: tasks are in groups of their own, so that what the terminal tells this program does not
    /// reach them.
    pub(crate) fn interrupt(&self) -> Arc<AtomicBool> {
        self.interrupted.clone()
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Runs everything. Once the build has passed, `built` tells which tests there are and where the programs lie.
    pub(crate) fn run(
        &mut self,
        built: impl FnOnce() -> anyhow::Result<(Vec<Task>, Variables)>,
    ) -> anyhow::Result<()> {
        let mut built = Some(built);
        loop {
            self.collect()?;
            if self.has_passed(BUILD)
                && let Some(built) = built.take()
            {
                let (tasks, variables) = built()?;
                // The tests of crates first: they are many, short, and say most precisely what is wrong.
                self.waiting.splice(0..0, tasks);
                self.variables = variables;
            }
            if self.is_interrupted() && self.running.is_empty() {
                bail!("interrupted");
            }
            self.give_up_on_dependents()?;
            if !self.is_interrupted() {
                self.start()?;
            }
            if self.running.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            if self.printed.elapsed() > SILENCE_LIMIT {
                let names: Vec<&str> =
                    self.running.iter().map(|running| running.task.name.as_str()).collect();
                self.tell(&format!("        running: {}\n", names.join(", ")))?;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Starts what may start, in the order of the list.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut at = 0;
        while let Some(task) = self.waiting.get(at) {
            if task.after.iter().all(|name| self.has_passed(name)) && self.has_room_for(task.load) {
                let task = self.waiting.remove(at);
                self.start_one(task)?;
            } else {
                at = at.saturating_add(1);
            }
        }
        Ok(())
    }

    fn start_one(&mut self, mut task: Task) -> anyhow::Result<()> {
        task.variables.extend(self.variables.iter().cloned());
        let path = self.log(&task.name);
        let log = File::create(&path).with_context(|| path.display().to_string())?;
        let child = task.command(&log)?.spawn();
        let child = child.with_context(|| format!("{}: {}", task.name, task.program.display()))?;
        self.running.push(Running { task, child, began: now(), told_to_end: None });
        Ok(())
    }

    fn has_room_for(&self, load: Load) -> bool {
        if self.running.iter().any(|running| running.task.load == Load::Alone) {
            return false;
        }
        let used = self.running.iter().map(|running| units(running.task.load)).sum::<usize>();
        match load {
            // Whatever may run beside others has had its turn by then.
            Load::Alone => {
                self.running.is_empty() && self.waiting.iter().all(|task| task.load == Load::Alone)
            }
            _ => used == 0 || used.saturating_add(units(load)) <= self.room,
        }
    }

    /// Takes up what has ended, and ends what takes too long.
    fn collect(&mut self) -> anyhow::Result<()> {
        let mut still = Vec::new();
        for mut running in std::mem::take(&mut self.running) {
            if running.has_ended()? {
                if running.told_to_end.is_some() {
                    running.signal(Signal::KILL);
                }
                let status = running.child.wait().context("waiting for a task")?;
                self.end(running, status.success())?;
                continue;
            }
            match running.told_to_end {
                None if running.began.elapsed() > running.task.limit || self.is_interrupted() => {
                    running.signal(Signal::TERM);
                    running.told_to_end = Some(now());
                }
                Some(at) if at.elapsed() > END_LIMIT => running.signal(Signal::KILL),
                _ => {}
            }
            still.push(running);
        }
        self.running.extend(still);
        Ok(())
    }

    fn end(&mut self, running: Running, succeeded: bool) -> anyhow::Result<()> {
        let succeeded = succeeded && running.told_to_end.is_none();
        let path = self.log(&running.task.name);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        let count = Count::of(&text, succeeded);
        let took = running.began.elapsed();
        let name = running.task.name;
        let word = if succeeded { "ok" } else { "FAILED" };
        self.tell(&format!("{word:<6} {:>6.1} s  {name}  {}\n", took.as_secs_f64(), told(count)))?;
        if !succeeded {
            // Indented: who reads the whole run looks for lines that say how many passed, and these are not the run's.
            let lines: Vec<String> = text.lines().map(|line| format!("    | {line}\n")).collect();
            self.tell(&format!("    {name} printed:\n{}", lines.concat()))?;
            if running.told_to_end.is_some() && !self.is_interrupted() {
                let limit = running.task.limit.as_secs();
                self.tell(&format!("    ended: it may take no longer than {limit} s\n"))?;
            }
        }
        let began = running.began.duration_since(self.began);
        self.ended.push(Ended { name, began, took, count, succeeded });
        Ok(())
    }

    /// Gives up on tasks that need something that failed; they count as failed.
    fn give_up_on_dependents(&mut self) -> anyhow::Result<()> {
        let (lost, kept) = std::mem::take(&mut self.waiting).into_iter().partition::<Vec<_>, _>(|task| {
            self.ended.iter().any(|ended| !ended.succeeded && task.after.contains(&ended.name.as_str()))
        });
        self.waiting = kept;
        for Task { name, after, .. } in lost {
            self.tell(&format!("FAILED      -    {name}  not run, since it needs: {}\n", after.join(", ")))?;
            let (began, count) = (self.began.elapsed(), Count { passed: 0, failed: 1 });
            self.ended.push(Ended { name, began, took: Duration::ZERO, count, succeeded: false });
        }
        Ok(())
    }

    fn has_passed(&self, name: &str) -> bool {
        self.ended.iter().any(|ended| ended.name == name && ended.succeeded)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{}.log", name.replace('/', "-")))
    }

    fn tell(&mut self, text: &str) -> anyhow::Result<()> {
        self.printed = now();
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).context("standard output")
    }

    /// Prints every task, the slowest first, what failed, and the sum; tells whether nothing failed.
    pub(crate) fn summarize(&mut self) -> anyhow::Result<bool> {
        self.ended.sort_by_key(|ended| std::cmp::Reverse(ended.took));
        let mut text = format!("\n{:>8} {:>8}  suite\n", "began", "seconds");
        let mut sum = Count::default();
        for Ended { name, began, took, count, succeeded } in &self.ended {
            let (began, took, mark) =
                (began.as_secs_f64(), took.as_secs_f64(), if *succeeded { "" } else { "  FAILED" });
            writeln!(text, "{began:>8.1} {took:>8.1}  {name}  {}{mark}", told(*count))?;
            sum = sum.plus(*count);
        }
        let failed = self.ended.iter().filter(|ended| !ended.succeeded).count();
        let (suites, seconds) = (self.ended.len(), self.began.elapsed().as_secs());
        writeln!(text, "\n{suites} suites, {failed} of them failed, in {seconds} s")?;
        writeln!(text, "{} passed, {} failed", sum.passed, sum.failed)?;
        self.tell(&text)?;
        Ok(failed == 0)
    }
}

fn units(load: Load) -> usize {
    match load {
        Load::Waiting => 1,
        Load::Busy | Load::Alone => 2,
    }
}

fn told(count: Count) -> String {
    format!("({} passed, {} failed)", count.passed, count.failed)
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a suite takes is the machine's time, which no test steps"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(tasks: Vec<Task>, room: usize) -> (tempfile::TempDir, Pool) {
        let logs = tempfile::tempdir().unwrap();
        let path = logs.path().to_owned();
        (logs, Pool::new(tasks, room, path, Box::new(std::io::sink())))
    }

    fn shell(name: &str, script: &str) -> Task {
        Task::new(name, "sh", &["-c", script])
    }

    fn of<'a>(pool: &'a Pool, name: &str) -> &'a Ended {
        pool.ended.iter().find(|ended| ended.name == name).unwrap()
    }

    #[test]
    fn what_needs_something_that_failed_does_not_run_and_has_failed() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let dependent = shell("c", &format!("echo ran > {}", marker.path().display())).after(&["b"]);
        let tasks =
            vec![shell("a", "echo 3 passed, 0 failed"), shell("b", "exit 3").after(&["a"]), dependent];
        let (_logs, mut pool) = pool(tasks, 4);
        pool.run(|| Ok((Vec::new(), Vec::new()))).unwrap();
        assert_eq!(of(&pool, "a").count, Count { passed: 3, failed: 0 });
        assert!(!of(&pool, "b").succeeded && !of(&pool, "c").succeeded);
        assert_eq!(fs::read_to_string(marker.path()).unwrap(), "");
        assert!(!pool.summarize().unwrap());
    }

    #[test]
    fn a_task_without_an_end_is_ended() {
        let task = shell("a", "echo 3 passed, 0 failed; exec sleep 60").within(Duration::from_secs(2));
        let (_logs, mut pool) = pool(vec![task], 4);
        pool.run(|| Ok((Vec::new(), Vec::new()))).unwrap();
        assert!(!of(&pool, "a").succeeded);
        assert_eq!(of(&pool, "a").count, Count { passed: 3, failed: 1 });
    }

    /// True if a process is there and runs.
    fn is_running(id: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[test]
    fn what_a_task_has_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("id");
        // The one below does not listen, and outlives the one above, which does.
        let below = "trap '' TERM; while :; do sleep 0.1; done";
        let script = format!("sh -c \"{below}\" & echo $! > {}; wait", note.display());
        let (_logs, mut pool) = pool(vec![shell("a", &script).within(Duration::from_secs(1))], 4);
        pool.run(|| Ok((Vec::new(), Vec::new()))).unwrap();
        let id = fs::read_to_string(&note).unwrap();
        // It is killed, and taken up by whoever takes up orphans, in a moment.
        for _ in 0..200 {
            if !is_running(&id) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{id} still runs");
    }

    #[test]
    fn an_interrupted_run_ends_what_runs_and_starts_nothing() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let late = shell("b", &format!("echo ran > {}", marker.path().display())).after(&["a"]);
        let (_logs, mut pool) = pool(vec![shell("a", "sleep 60"), late], 4);
        pool.interrupt().store(true, Ordering::Relaxed);
        pool.start().unwrap();
        let error = pool.run(|| Ok((Vec::new(), Vec::new()))).unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
        assert_eq!(fs::read_to_string(marker.path()).unwrap(), "");
    }

    #[test]
    fn waiting_tasks_run_beside_each_other_and_measuring_ones_alone() {
        let folder = tempfile::tempdir().unwrap();
        // Two that wait for each other can only end side by side; the one that measures finds both over.
        let path = folder.path().display();
        let meets = |name: &str, other: &str| {
            let wait = format!("until [ -e {path}/{other} ]; do sleep 0.01; done");
            shell(name, &format!("touch {path}/{name}; {wait}; sleep 0.2; touch {path}/{name}-over"))
        };
        let alone = shell("alone", &format!("test -e {path}/a-over && test -e {path}/b-over"));
        let tasks = vec![alone.load(Load::Alone), meets("a", "b"), meets("b", "a")];
        let (_logs, mut pool) = pool(tasks, 2);
        pool.run(|| Ok((Vec::new(), Vec::new()))).unwrap();
        assert!(pool.summarize().unwrap());
    }

    #[test]
    fn what_the_build_tells_of_runs_with_its_variables() {
        let (_logs, mut pool) = pool(vec![Task::new(BUILD, "true", &[])], 4);
        let made = || {
            let test = shell("unit/x", "test \"$STRONGROOM_SERVER\" = /bin/x");
            Ok((vec![test], vec![("STRONGROOM_SERVER".to_owned(), "/bin/x".to_owned())]))
        };
        pool.run(made).unwrap();
        assert!(of(&pool, "unit/x").succeeded);
    }
}
