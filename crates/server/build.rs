//! Sets the build date, in a way that a second build of the same sources repeats: `$SOURCE_DATE_EPOCH`, if it is set (see
//! reproducible-builds.org), else the time of the commit that is checked out.

#![allow(clippy::print_stdout, reason = "this is how a build script talks to Cargo")]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // The log of HEAD grows with every commit and every checkout. Where there is none, nothing says when the commit changes, and
    // Cargo runs this again when a file of the package has changed.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name])
            && std::fs::exists(&path).unwrap_or(false)
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|text| text.parse::<u64>().is_ok());
    let seconds = given.or_else(|| git(&["log", "-1", "--format=%ct"])).unwrap_or_default();
    println!("cargo::rustc-env=STRONGROOM_BUILD_EPOCH={seconds}");
}

/// The output of git, in the folder of the package; `None` where there is no git, or no repository.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
