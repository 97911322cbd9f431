//! Engines made in a copy of the workspace, to see that what is made compiles, passes its tests and is found by the catalog.
//!
//! The copy is in the target folder and is kept, so that what did not change since the last time is not built again: files
//! keep the time at which they were changed. Libraries of others come from the one target folder.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Class, make};
use crate::say;

/// The engines that are made. Their names are as short and as long as may be: what is made is formatted for all.
const MADE: [(&str, Class); 4] = [
    ("s", Class::Secrets),
    ("scratchengineofxtask", Class::Secrets),
    ("m", Class::Auth),
    ("scratchmethodofxtask", Class::Auth),
];

/// Folders of the workspace that its manifests name, or that the engines' own tests read.
const COPIED: [&str; 8] =
    ["crates", "bench/ratchet", "fuzz", "docs", "tests/coverage", ".cargo", "Cargo.toml", "Cargo.lock"];

/// Makes one engine of each class and runs their tests and the catalog's; tells whether they pass.
pub(crate) fn check(root: &Path, target: &Path) -> anyhow::Result<bool> {
    let copy = target.join("new-engine");
    refresh(root, &copy)?;
    for (name, class) in MADE {
        for (path, text) in make(&copy, name, class)? {
            write(&copy.join(path), &text)?;
        }
    }
    let packages: Vec<String> =
        MADE.iter().flat_map(|(name, _)| ["-p".to_owned(), format!("strongroom-{name}")]).collect();
    // Nothing is fetched: the engines name nothing that the workspace does not have.
    let cargo = |words: &[&str], packages: &[String], after: &[&str]| {
        say(&format!("cargo {}\n", words.join(" ")))?;
        let mut command = Command::new(env!("CARGO"));
        command.args(words).args(["--offline", "--profile", "ci"]).args(packages).args(after);
        let status = command.current_dir(&copy).env("CARGO_TARGET_DIR", target).status();
        anyhow::Ok(status.context("cargo")?.success())
    };
    let formatted =
        Command::new(env!("CARGO")).args(["fmt", "--check"]).args(&packages).current_dir(&copy).status();
    ensure!(formatted.context("cargo fmt")?.success(), "what is made is not formatted");
    let lints = ["--all-targets", "--", "-D", "warnings"];
    let catalog = ["-p".to_owned(), "strongroom-catalog".to_owned()];
    Ok(cargo(&["clippy"], &packages, &lints)? && cargo(&["test"], &[&packages[..], &catalog].concat(), &[])?)
}

/// Makes the copy what the workspace is now, and touches nothing that is so already.
fn refresh(root: &Path, copy: &Path) -> anyhow::Result<()> {
    let mut wanted = BTreeSet::new();
    for part in COPIED {
        collect(root, Path::new(part), &mut wanted)?;
    }
    let mut there = BTreeSet::new();
    if copy.exists() {
        collect(copy, Path::new(""), &mut there)?;
    }
    for path in there.difference(&wanted) {
        fs::remove_file(copy.join(path)).with_context(|| path.display().to_string())?;
        // A folder without a manifest would be no crate.
        for folder in path.ancestors().skip(1).take_while(|folder| !folder.as_os_str().is_empty()) {
            if fs::remove_dir(copy.join(folder)).is_err() {
                break;
            }
        }
    }
    for path in &wanted {
        let (from, to) = (root.join(path), copy.join(path));
        let (old, new) =
            (fs::metadata(&to).ok(), fs::metadata(&from).with_context(|| path.display().to_string())?);
        let changed = new.modified().context("when a file was changed")?;
        if old.is_some_and(|old| old.len() == new.len() && old.modified().is_ok_and(|time| time == changed)) {
            continue;
        }
        write(&to, &fs::read(&from)?)?;
        fs::File::options().write(true).open(&to)?.set_modified(changed)?;
    }
    Ok(())
}

fn write(path: &Path, text: &(impl AsRef<[u8]> + ?Sized)) -> anyhow::Result<()> {
    let folder = path.parent().context("every file has a folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Adds the files of a folder, or a file, by their paths below `root`.
fn collect(root: &Path, part: &Path, files: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let whole = root.join(part);
    if whole.is_file() {
        files.insert(part.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(&whole).with_context(|| whole.display().to_string())? {
        let name = entry?.file_name();
        if name != "target" && name != "__pycache__" {
            collect(root, &part.join(name), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_follows_the_workspace_and_keeps_what_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (root, copy) = (folder.path().join("root"), folder.path().join("copy"));
        for part in COPIED {
            write(&root.join(part).join("file"), "text").unwrap();
        }
        write(&root.join("crates/target/out"), "built").unwrap();
        refresh(&root, &copy).unwrap();
        let file = copy.join("docs/file");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(time, fs::metadata(root.join("docs/file")).unwrap().modified().unwrap());
        assert!(!copy.join("crates/target/out").exists());
        write(&copy.join("crates/engines/new/src/lib.rs"), "made").unwrap();
        write(&copy.join("docs/file"), "changed").unwrap();
        refresh(&root, &copy).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        assert!(
            !copy.join("crates/engines").exists(),
            "what is not in the workspace is gone, with its folder"
        );
        fs::remove_file(root.join("docs/file")).unwrap();
        refresh(&root, &copy).unwrap();
        assert!(!file.exists());
    }
}
