//! Tasks of the repository that are not Cargo's own: `cargo xtask ci` runs every check there is ([`ci`]), `cargo xtask tidy`
//! holds the code against the rules that no compiler checks ([`tidy`]), `cargo xtask dependencies` what it is built from
//! against `deny.toml` and a list of advisories ([`dependencies`]). `cargo xtask new-engine` begins an engine ([`new_engine`]).

mod ci;
mod dependencies;
mod new_engine;
mod tidy;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

const HELP: &str = "\
Usage: cargo xtask <task>

Tasks:
    ci      Run every check there is; `cargo xtask ci --help` shows how to choose
    tidy    Hold the code against the rules that no compiler checks
    dependencies
            Hold Cargo.lock against deny.toml and advisories.txt
    dependencies --update FOLDER
            Write advisories.txt anew from a checkout of RustSec's database
    new-engine NAME [--auth]
            Make a secrets engine or an auth method that compiles, is tested and served
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["ci", "--help" | "-h"] => say(ci::HELP).map(|()| true),
        ["ci", rest @ ..] => root().and_then(|root| ci::run(rest, root)),
        ["tidy"] => run_tidy(),
        ["new-engine", "--help" | "-h"] => say(new_engine::HELP).map(|()| true),
        ["new-engine", "--check"] => {
            root().and_then(|root| new_engine::scratch::check(root, &ci::target_folder(root)?))
        }
        ["new-engine", rest @ ..] => {
            root().and_then(|root| new_engine::run(rest, root)).and_then(|told| say(&told)).map(|()| true)
        }
        ["dependencies"] => run_dependencies(),
        ["dependencies", "--update", folder] => root()
            .and_then(|root| dependencies::update(root, Path::new(folder)))
            .and_then(|line| say(&line))
            .map(|()| true),
        _ => say(HELP).map(|()| false),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Where standard error is gone, the exit code is left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found; tells whether nothing was wrong.
fn run_tidy() -> anyhow::Result<bool> {
    let report = tidy::tidy(root()?)?;
    say(&report.to_string())?;
    Ok(report.is_clean())
}

/// The same for what the lock file names.
fn run_dependencies() -> anyhow::Result<bool> {
    let report = dependencies::check(root()?)?;
    say(&report.to_string())?;
    Ok(report.errors.is_empty())
}

fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("this crate lies in crates/")
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}
