//! The rules for every source file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Report;

/// Lines without tests beyond which a file is to be looked at.
const LONG: usize = 600;

/// Texts that may stand only in the files named, and why.
const HOMES: [(&str, &[&str], &str); 4] = [
    ("SystemTime::now(", &["crates/stdx/src/clock.rs"], "time comes in through strongroom_stdx::Clock"),
    (
        "std::env::var(",
        &["crates/cli/src/io.rs", "crates/server/build.rs"],
        "the environment is looked up through strongroom_cli::Io",
    ),
    ("env::var_os(", &["crates/cli/src/io.rs"], "the environment is looked up through strongroom_cli::Io"),
    ("allow(unsafe_code", &[], "unsafe code of ours is in crates/zeroizing-alloc alone"),
];

/// Holds every source file against the rules; tells how many there are.
pub(crate) fn check(root: &Path, report: &mut Report) -> anyhow::Result<usize> {
    let mut files = Vec::new();
    collect(&root.join("crates"), &mut files)?;
    files.sort();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        // This crate is a tool, and names what it looks for.
        if !name.starts_with("crates/xtask/") {
            of_file(&name, &text, report);
        }
    }
    Ok(files.len())
}

pub(super) fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn of_file(name: &str, text: &str, report: &mut Report) {
    let production = if is_test(name) { "" } else { production(text) };
    let length = production.lines().count();
    if length > LONG {
        report.warn(format!("{name}: {length} lines without tests"));
    }
    for (number, line) in (1_usize..).zip(production.lines()) {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        for (what, homes, reason) in HOMES {
            if code.contains(what) && !homes.contains(&name) {
                report.error(format!("{name}:{number}: {what}: {reason}"));
            }
        }
    }
    let mut before = "";
    for (number, line) in (1_usize..).zip(text.lines()) {
        for mark in ["TODO", "FIXME", "XXX"] {
            if line.contains(mark) {
                report.error(format!("{name}:{number}: {mark}: do it, or describe the limit in words"));
            }
        }
        if lacks_reason(line, before, text, number) {
            report.error(format!("{name}:{number}: an exception to a lint needs its reason"));
        }
        before = line;
    }
}

/// True if a line begins an `allow` or `expect` attribute that has no `reason` and no comment above it.
fn lacks_reason(line: &str, before: &str, text: &str, number: usize) -> bool {
    let code = line.trim_start();
    let begins =
        ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|begin| code.starts_with(begin));
    if !begins || before.trim_start().starts_with("// ") {
        return false;
    }
    // An attribute may go on for some lines, up to its closing bracket.
    let attribute = text.lines().skip(number.saturating_sub(1)).take(12);
    for line in attribute {
        if line.contains("reason =") {
            return false;
        }
        if line.contains(")]") {
            break;
        }
    }
    true
}

pub(super) fn is_test(name: &str) -> bool {
    let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
    folders.split('/').any(|folder| matches!(folder, "tests" | "examples" | "benches"))
        || matches!(file, "tests.rs" | "testing.rs" | "harness.rs" | "conformance.rs")
        || file.ends_with("_tests.rs")
}

/// A file's text up to its tests, which stand at its end.
pub(super) fn production(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> (usize, usize) {
        let mut report = Report::default();
        of_file(name, text, &mut report);
        (report.errors.len(), report.warnings.len())
    }

    #[test]
    fn exceptions_need_reasons() {
        assert_eq!(found("a.rs", "#[allow(dead_code)]\nfn f() {}\n"), (1, 0));
        assert_eq!(found("a.rs", "#[allow(dead_code, reason = \"x\")]\nfn f() {}\n"), (0, 0));
        assert_eq!(found("a.rs", "#![allow(\n    dead_code,\n    reason = \"x\"\n)]\n"), (0, 0));
        assert_eq!(found("a.rs", "// Four switches.\n#[allow(dead_code)]\nfn f() {}\n"), (0, 0));
    }

    #[test]
    fn the_clock_has_one_home() {
        let text = "fn f() { SystemTime::now(); }\n";
        assert_eq!(found("crates/core/src/lib.rs", text), (1, 0));
        assert_eq!(found("crates/stdx/src/clock.rs", text), (0, 0));
        assert_eq!(found("crates/core/src/tests.rs", text), (0, 0));
        assert_eq!(
            found("crates/core/src/lib.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n")),
            (0, 0)
        );
    }

    #[test]
    fn nothing_is_left_to_do() {
        assert_eq!(found("a.rs", "// FIXME: later\n"), (1, 0));
    }

    #[test]
    fn long_files_are_reported() {
        let long = "fn f() {}\n".repeat(LONG + 1);
        assert_eq!(found("a.rs", &long), (0, 1));
        assert_eq!(found("tests/a.rs", &long), (0, 0));
    }
}
