//! Tasks of the repository that are not Cargo's own. `cargo xtask tidy` holds the code against the rules that no compiler
//! checks; [`tidy`] says which.

mod tidy;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

const HELP: &str = "\
Usage: cargo xtask <task>

Tasks:
    tidy    Hold the code against the rules that no compiler checks
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => run_tidy(),
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
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("this crate lies in crates/")?;
    let report = tidy::tidy(root)?;
    say(&report.to_string())?;
    Ok(report.is_clean())
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}
