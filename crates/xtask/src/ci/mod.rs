//! `cargo xtask ci`: every check, in as little time as two cores allow. `scripts/test` calls it.
//!
//! One build (`--profile ci`) serves unit tests, end-to-end suites and fuzzing; after it, everything that does not depend
//! on anything else runs side by side ([`pool`]), since most suites wait more than they compute. [`suites`] has the list,
//! and says which run alone because they measure time.
//!
//! The output of a suite goes to a file of its own; that of a failing one is printed whole, at once. Every suite has a time limit,
//! so that one that hangs fails instead of holding the run up. A suite that could not run because something before it failed counts
//! as failed.

mod count;
mod pool;
mod suites;
mod task;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::say;
use pool::Pool;
use suites::Extent;
use task::Task;

pub(crate) const HELP: &str = "\
Usage: cargo xtask ci [--quick | --all] [--only NAME]... [--jobs N] [--list]

    --quick        Without fault injection, with few seeds of the simulation, and a second of fuzzing for each target
    --all          With the long fault runs, which take hours
    --only NAME    This suite alone, or all whose names begin with NAME/, and what it needs; may be repeated
    --jobs N       How many waiting suites may run side by side (default: two for each core)
    --list         Print the names of the suites
";

#[derive(Debug)]
struct Options {
    extent: Extent,
    only: Vec<String>,
    jobs: Option<usize>,
    list: bool,
}

/// Runs what the words ask for; tells whether everything passed.
pub(crate) fn run(words: &[&str], root: &Path) -> anyhow::Result<bool> {
    let options = parse(words)?;
    let logs = target_folder(root)?.join("ci-logs");
    let mut tasks = suites::before_the_build(root, &logs);
    tasks.extend(suites::after_the_build(root, options.extent)?);
    if options.list {
        return list(&tasks);
    }
    let tasks = chosen(tasks, &options.only)?;
    std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let jobs = options.jobs.unwrap_or_else(|| cores.saturating_mul(2));
    say(&format!("ci: {jobs} side by side; what each prints: {}\n", logs.display()))?;
    let mut pool = Pool::new(tasks, jobs, logs.clone(), Box::new(std::io::stdout()));
    end_when_told(pool.interrupt())?;
    let only = options.only;
    pool.run(|| {
        let built = suites::built(root, &logs.join(suites::ARTIFACTS), options.extent)?;
        Ok((chosen_units(built.tests, &only)?, built.programs))
    })?;
    pool.summarize()
}

/// Turns a switch when this program is told to end, from the terminal or by its parent.
fn end_when_told(interrupted: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut ended = signal(SignalKind::terminate())?;
            let mut interrupts = signal(SignalKind::interrupt())?;
            tokio::select! {
                _ = ended.recv() => {}
                _ = interrupts.recv() => {}
            }
            interrupted.store(true, Ordering::Relaxed);
            Ok::<_, std::io::Error>(())
        })
    });
    Ok(())
}

fn parse(words: &[&str]) -> anyhow::Result<Options> {
    let mut options = Options { extent: Extent::Usual, only: Vec::new(), jobs: None, list: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--quick" => options.extent = Extent::Quick,
            "--all" => options.extent = Extent::All,
            "--list" => options.list = true,
            "--only" => {
                options.only.push((*words.next().context("--only takes a name")?).to_owned());
            }
            "--jobs" => {
                let jobs = words.next().context("--jobs takes a number")?.parse().context("--jobs")?;
                ensure!(jobs > 0, "--jobs: at least 1");
                options.jobs = Some(jobs);
            }
            _ => bail!("unknown option {word}\n\n{HELP}"),
        }
    }
    Ok(options)
}

fn list(tasks: &[Task]) -> anyhow::Result<bool> {
    for task in tasks {
        say(&format!("{}\n", task.name))?;
    }
    say("unit/CRATE (the unit tests of each crate, known once they are built)\n")?;
    Ok(true)
}

/// The tasks that `only` names, and those that they need; all where it names none.
fn chosen(tasks: Vec<Task>, only: &[String]) -> anyhow::Result<Vec<Task>> {
    if only.is_empty() {
        return Ok(tasks);
    }
    for name in only {
        let known = tasks.iter().any(|task| is_meant(task, std::slice::from_ref(name)));
        ensure!(known || is_of_units(name), "no suite is named {name}; there are:{}", listed(&tasks));
    }
    let mut kept: Vec<bool> = tasks.iter().map(|task| is_meant(task, only)).collect();
    let units = only.iter().any(|name| is_of_units(name));
    // What is needed may need something itself; the chain is short, and as long as the list at most.
    for _ in 0..tasks.len() {
        let pairs = tasks.iter().zip(&kept).filter(|(_, kept)| **kept);
        let needed: Vec<&str> = pairs.flat_map(|(task, _)| task.after.iter().copied()).collect();
        let wanted = |name: &str| needed.contains(&name) || (units && suites::UNITS_NEED.contains(&name));
        kept = tasks.iter().zip(&kept).map(|(task, kept)| *kept || wanted(&task.name)).collect();
    }
    Ok(tasks.into_iter().zip(kept).filter_map(|(task, kept)| kept.then_some(task)).collect())
}

/// The tests of crates that `only` names; all where it names none.
fn chosen_units(tests: Vec<Task>, only: &[String]) -> anyhow::Result<Vec<Task>> {
    for name in only.iter().filter(|name| is_of_units(name)) {
        let known = tests.iter().any(|task| is_meant(task, std::slice::from_ref(name)));
        ensure!(known, "no tests of crates are named {name}; there are:{}", listed(&tests));
    }
    Ok(tests.into_iter().filter(|task| only.is_empty() || is_meant(task, only)).collect())
}

/// Tells whether a name is that of tests of crates, which are known once they are built.
fn is_of_units(name: &str) -> bool {
    name == "unit" || name.starts_with("unit/")
}

fn listed(tasks: &[Task]) -> String {
    let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
    ["", &names.join("\n    ")].join("\n    ")
}

fn is_meant(task: &Task, only: &[String]) -> bool {
    only.iter().any(|name| {
        task.name.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The folder that Cargo builds into.
pub(crate) fn target_folder(root: &Path) -> anyhow::Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let metadata = crate::tidy::workspace::cargo(root, &["metadata", "--format-version", "1", "--no-deps"])?;
    Ok(serde_json::from_str::<Metadata>(&metadata).context("cargo metadata")?.target_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<Task> {
        names.iter().map(|name| Task::new(*name, "true", &[])).collect()
    }

    #[test]
    fn options_are_read() {
        let options = parse(&["--quick", "--only", "docs", "--jobs", "3"]).unwrap();
        assert_eq!((options.extent, options.jobs), (Extent::Quick, Some(3)));
        assert_eq!(options.only, ["docs"]);
        assert!(parse(&["--jobs", "0"]).is_err());
        assert!(parse(&["--fast"]).is_err());
        assert!(parse(&["--only"]).is_err());
    }

    #[test]
    fn one_suite_brings_what_it_needs() {
        let mut tasks = named(&["install", "build", "docs", "trouble/cluster"]);
        tasks[1].after = vec!["install"];
        tasks[3].after = vec!["build"];
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            let mut copies = named(&["install", "build", "docs", "trouble/cluster"]);
            for (copy, task) in copies.iter_mut().zip(&tasks) {
                copy.after.clone_from(&task.after);
            }
            chosen(copies, &only).map(|kept| kept.into_iter().map(|task| task.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["trouble"]).unwrap(), ["install", "build", "trouble/cluster"]);
        assert_eq!(names(&["docs"]).unwrap(), ["docs"]);
        let unknown = names(&["troub"]).unwrap_err().to_string();
        assert!(unknown.starts_with("no suite is named troub; there are:\n    install\n"), "{unknown}");
        assert_eq!(names(&["unit/raft"]).unwrap(), ["install", "build"], "what they need, for now");
        assert_eq!(names(&[]).unwrap().len(), 4);
    }

    #[test]
    fn tests_of_a_crate_that_is_not_there_are_an_error() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            let built = named(&["unit/raft", "unit/raft/crash", "unit/engines/kv"]);
            chosen_units(built, &only).map(|kept| kept.into_iter().map(|task| task.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["unit/raft"]).unwrap(), ["unit/raft", "unit/raft/crash"]);
        assert_eq!(names(&["unit"]).unwrap().len(), 3);
        assert_eq!(names(&["docs"]).unwrap(), [""; 0]);
        assert_eq!(names(&[]).unwrap().len(), 3);
        let unknown = names(&["unit/rafft"]).unwrap_err().to_string();
        assert!(unknown.contains("unit/rafft; there are:\n    unit/raft\n"), "{unknown}");
    }
}
