//! The list of everything that `cargo xtask ci` runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::pool::Variables;
use super::task::{Load, Task};

/// The one build that everything else needs.
pub(crate) const BUILD: &str = "build";

/// The file in which the build lists what it has made, beside the logs.
pub(crate) const ARTIFACTS: &str = "build.json";

/// The tasks that unit tests need beside the build: those of storage in a database start one.
pub(crate) const UNITS_NEED: [&str; 2] = [BUILD, "install"];

/// The simulation of nodes that share a store, and the seeds that it runs where nothing is quick. `cargo test` runs few of
/// them.
const SIMULATION: (&str, &str) = ("unit/testkit/simulation", "10000");

/// Tests that hold a measured time against a limit, by their subject in `tests/trouble`: they run alone, and nowhere else.
///
/// Everything else waits with a limit that is far beyond what it takes, and runs beside others: each suite has its own
/// directories, ports and, where it fills disks or cuts networks, namespaces.
const MEASURING: [(&str, &str); 5] = [
    // How long nobody can write while the active node changes, or does not.
    ("cluster", "test_the_active_node_is_killed_under_load"),
    ("cluster", "test_the_active_node_steps_down_under_load"),
    ("cluster", "test_there_is_nobody_to_step_down_for"),
    // How long a request waits while a thousand tokens lapse.
    ("expiry", "test_many_at_once"),
    // Tokens of two seconds, which must still be alive when they are looked at.
    ("expiry", "test_a_token_and_all_below_it"),
];

/// The part of the list that is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Quick,
    Usual,
    All,
}

/// The tasks that need nothing of what is built here, and the build.
pub(crate) fn before_the_build(root: &Path, logs: &Path) -> Vec<Task> {
    let cargo = || env!("CARGO").to_owned();
    // Told where to look by its own path: this very program.
    let this = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("strongroom-xtask"));
    let all = ["--profile", "ci", "--workspace"];
    let mut build = Task::new(BUILD, cargo(), &[&["build"], &all[..], &["--all-targets"]].concat());
    build.words.push("--message-format=json-render-diagnostics".to_owned());
    build.output = Some(logs.join(ARTIFACTS));
    let clippy = [&["clippy"], &all[..], &["--all-targets", "--", "-D", "warnings"]].concat();
    let documentation = [&["test"], &all[..], &["--doc"]].concat();
    let mut tasks = vec![
        Task::new("install", root.join("scripts/install-test-deps"), &[]),
        Task::new("fmt", cargo(), &["fmt", "--all", "--check"]),
        Task::new("tidy", this.clone(), &["tidy"]),
        Task::new("dependencies", this.clone(), &["dependencies"]),
        build.load(Load::Busy).within(Duration::from_secs(3600)),
        // They compile, which the suites can do without: whatever wants to compute goes first.
        Task::new("clippy", cargo(), &clippy).after(&[BUILD]).giving_way().within(Duration::from_secs(3600)),
        Task::new("doctests", cargo(), &documentation).after(&["clippy"]).giving_way(),
        // One at a time: Cargo locks the folder that it builds into.
        Task::new("new-engine", this, &["new-engine", "--check"]).after(&["doctests"]).giving_way(),
    ];
    for task in &mut tasks {
        task.folder = Some(root.to_owned());
        task.variables.push(("CARGO_TERM_COLOR".to_owned(), "never".to_owned()));
    }
    tasks
}

/// The end-to-end suites and fuzzing, the longest first.
pub(crate) fn after_the_build(root: &Path, extent: Extent) -> anyhow::Result<Vec<Task>> {
    let suite = |name: &str, path: &str, words: &[&str]| {
        let mut task = Task::new(name, root.join("tests").join(path), words).after(&[BUILD, "install"]);
        task.folder = Some(root.to_owned());
        task
    };
    let mut tasks = trouble(root, suite)?;
    if extent != Extent::Quick {
        tasks.extend(faults(suite));
    }
    if extent == Extent::All {
        tasks.extend(long_faults(suite));
    }
    tasks.extend([
        suite("compat/python", "compat/run", &["--only", "python"]),
        suite("docs", "docs/run", &[]),
        suite("compat/go", "compat/run", &["--only", "go"]),
        suite("compat/go-tls", "compat/run", &["--only", "go", "--tls"]),
        suite("compat/node", "compat/run", &["--only", "node"]),
        suite("memory", "faults/memory", &[]),
        suite("coverage", "coverage/run", &[]),
        python(root, "harness/docs", &["tests/docs/test_run.py"]),
        python(root, "harness/cluster", &["discover", "-s", "tests/faults/cluster", "-p", "test_*.py"]),
    ]);
    let seconds = if extent == Extent::Quick { "1" } else { "3" };
    // The program under test is known once it is built: the shell looks it up.
    let fuzz = Task::new("fuzz", "sh", &["-c", "exec \"$STRONGROOM_FUZZ\" --seconds \"$0\"", seconds]);
    tasks.push(fuzz.after(&[BUILD]).load(Load::Busy).giving_way());
    let mut ratchet = Task::new("ratchet", root.join("bench/ratchet/run"), &[]).after(&[BUILD, "install"]);
    ratchet.folder = Some(root.to_owned());
    tasks.push(ratchet.load(Load::Busy).giving_way());
    Ok(tasks)
}

/// A task for each subject, and one for those that measure.
fn trouble(root: &Path, suite: impl Fn(&str, &str, &[&str]) -> Task) -> anyhow::Result<Vec<Task>> {
    let folder = root.join("tests/trouble");
    let files = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let names: Vec<_> = files.map(|file| Ok(file?.file_name())).collect::<anyhow::Result<_>>()?;
    let subject = |name: &std::ffi::OsString| {
        let subject = name.to_str()?.strip_prefix("test_")?.strip_suffix(".py")?;
        Some(subject.to_owned())
    };
    let mut subjects: Vec<String> = names.iter().filter_map(subject).collect();
    ensure!(!subjects.is_empty(), "{} has no tests", folder.display());
    // Those that start whole clusters take longest.
    subjects.sort_by_key(|subject| !matches!(subject.as_str(), "cluster" | "shared_storage" | "snapshots"));
    let mut tasks = Vec::new();
    for subject in &subjects {
        let mut words = vec![subject.as_str()];
        for (_, test) in MEASURING.iter().filter(|(measured, _)| measured == subject) {
            words.extend(["--without", *test]);
        }
        tasks.push(suite(&format!("trouble/{subject}"), "trouble/run", &words));
    }
    let mut words = Vec::new();
    for (subject, test) in MEASURING {
        words.extend(["-k", test]);
        if !words.contains(&subject) {
            words.insert(0, subject);
        }
    }
    tasks.push(suite("measuring", "trouble/run", &words).load(Load::Alone));
    Ok(tasks)
}

/// Every fault once for each storage, and further ones until the time is over.
fn faults(suite: impl Fn(&str, &str, &[&str]) -> Task) -> Vec<Task> {
    let cluster = |name: &str, words: &[&str]| suite(name, "faults/cluster/run", words).load(Load::Busy);
    vec![
        cluster("faults/raft", &["--seconds", "120"]),
        cluster("faults/postgresql", &["--seconds", "90", "--storage", "postgresql"]),
        cluster("faults/etcd", &["--seconds", "90", "--storage", "etcd"]),
        cluster("faults/five", &["--seconds", "60", "--nodes", "5", "--cut-short"]),
        suite("faults/kill9", "faults/kill9/run", &["--seconds", "60"]).load(Load::Busy),
        suite("faults/outside", "faults/outside/run", &["--seconds", "45"]).load(Load::Busy),
    ]
}

/// The same for hours.
fn long_faults(suite: impl Fn(&str, &str, &[&str]) -> Task) -> Vec<Task> {
    let hour = ["--seconds", "3600"];
    let long = |name: &str, path: &str, words: &[&str]| {
        let words = [&hour[..], words].concat();
        suite(name, path, &words).load(Load::Busy).within(Duration::from_secs(3600 * 2))
    };
    vec![
        long("long/raft", "faults/cluster/run", &[]),
        long("long/five", "faults/cluster/run", &["--nodes", "5"]),
        long("long/postgresql", "faults/cluster/run", &["--storage", "postgresql"]),
        long("long/etcd", "faults/cluster/run", &["--storage", "etcd"]),
        long("long/kill9", "faults/kill9/run", &[]),
        long("long/outside", "faults/outside/run", &[]),
    ]
}

fn python(root: &Path, name: &str, words: &[&str]) -> Task {
    let mut task = Task::new(name, "python3", &[&["-m", "unittest"], words].concat());
    task.folder = Some(root.to_owned());
    task.after(&["install"])
}

/// The artifacts of the build.
pub(crate) struct Built {
    /// A task for each test binary.
    pub(crate) tests: Vec<Task>,
    /// The paths of the programs that the suites attack.
    pub(crate) programs: Variables,
}

#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Reads what Cargo said of the build.
pub(crate) fn built(root: &Path, artifacts: &Path, extent: Extent) -> anyhow::Result<Built> {
    let text = fs::read_to_string(artifacts).with_context(|| artifacts.display().to_string())?;
    let mut built = from_messages(root, &text)?;
    ensure!(built.programs.len() == PROGRAMS.len(), "the build did not make all of {PROGRAMS:?}");
    if extent != Extent::Quick {
        let (name, seeds) = SIMULATION;
        let simulation = built.tests.iter_mut().find(|task| task.name == name);
        let simulation = simulation.with_context(|| format!("the build made no {name}"))?;
        simulation.variables.push(("STRONGROOM_SEEDS".to_owned(), seeds.to_owned()));
        simulation.words.push("--nocapture".to_owned());
    }
    Ok(built)
}

/// The programs under test, each with the variable by which suites find it.
const PROGRAMS: [(&str, &str); 4] = [
    ("strongroom", "STRONGROOM_SERVER"),
    ("strongroom-fuzz", "STRONGROOM_FUZZ"),
    ("strongroom-outside", "STRONGROOM_OUTSIDE"),
    ("strongroom-ratchet", "STRONGROOM_RATCHET"),
];

fn from_messages(root: &Path, text: &str) -> anyhow::Result<Built> {
    let mut built = Built { tests: Vec::new(), programs: Vec::new() };
    for line in text.lines().filter(|line| line.contains("\"reason\":\"compiler-artifact\"")) {
        let artifact: Artifact = serde_json::from_str(line).context("what Cargo says of the build")?;
        let Some(executable) = &artifact.executable else { continue };
        if artifact.profile.test {
            built.tests.push(unit(root, &artifact, executable, &built.tests));
            continue;
        }
        if let Some((_, variable)) = PROGRAMS.iter().find(|(name, _)| *name == artifact.target.name) {
            built.programs.push(((*variable).to_owned(), executable.display().to_string()));
        }
    }
    Ok(built)
}

/// The tests of one crate's library or program, or one file of its `tests/`, run where Cargo would run them.
fn unit(root: &Path, artifact: &Artifact, executable: &Path, others: &[Task]) -> Task {
    let folder = artifact.manifest_path.parent().unwrap_or(root);
    let inside = folder.strip_prefix(root.join("crates")).or_else(|_| folder.strip_prefix(root));
    let mut name = format!("unit/{}", inside.unwrap_or(folder).display());
    if artifact.target.kind.iter().any(|kind| kind == "test") || others.iter().any(|task| task.name == name) {
        name = format!("{name}/{}", artifact.target.name);
    }
    let mut task = Task::new(name, executable, &[]).after(&UNITS_NEED).load(Load::Busy);
    task.folder = Some(folder.to_owned());
    task.variables.push(("CARGO_MANIFEST_DIR".to_owned(), folder.display().to_string()));
    task
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
    }

    #[test]
    fn what_is_named_is_there() {
        let root = repository();
        for extent in [Extent::Quick, Extent::Usual, Extent::All] {
            let tasks = after_the_build(&root, extent).unwrap();
            for task in tasks.iter().filter(|task| task.program.is_absolute()) {
                assert!(task.program.is_file(), "{} is missing", task.program.display());
            }
            let mut names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), tasks.len());
        }
    }

    #[test]
    fn tests_that_measure_exist() {
        for (subject, test) in MEASURING {
            let path = repository().join(format!("tests/trouble/test_{subject}.py"));
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(&format!("def {test}")), "{subject} has no {test}");
        }
    }

    #[test]
    fn messages_of_cargo_are_read() {
        let line = |path: &str, name: &str, kind: &str, test: bool, executable: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"manifest_path\":\"/w/{path}/Cargo.toml\",\"target\":{{\"name\":\"{name}\",\
                 \"kind\":[\"{kind}\"]}},\"profile\":{{\"test\":{test}}},\"executable\":{executable}}}\n"
            )
        };
        let text = [
            line("crates/engines/kv", "strongroom_kv", "lib", false, "null"),
            line("crates/engines/kv", "strongroom_kv", "lib", true, "\"/t/kv\""),
            line("crates/raft", "crash", "test", true, "\"/t/crash\""),
            line("fuzz", "strongroom_fuzz", "lib", true, "\"/t/f1\""),
            line("fuzz", "strongroom-fuzz", "bin", true, "\"/t/f2\""),
            line("crates/server", "strongroom", "bin", false, "\"/t/strongroom\""),
            line("fuzz", "strongroom-fuzz", "bin", false, "\"/t/strongroom-fuzz\""),
            line("crates/audit", "record_cost", "example", false, "\"/t/record_cost\""),
            "{\"reason\":\"build-finished\",\"success\":true}\n".to_owned(),
        ];
        let built = from_messages(Path::new("/w"), &text.concat()).unwrap();
        let names: Vec<&str> = built.tests.iter().map(|task| task.name.as_str()).collect();
        assert_eq!(names, ["unit/engines/kv", "unit/raft/crash", "unit/fuzz", "unit/fuzz/strongroom-fuzz"]);
        let programs: Vec<&str> = built.programs.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(programs, ["/t/strongroom", "/t/strongroom-fuzz"]);
    }
}
