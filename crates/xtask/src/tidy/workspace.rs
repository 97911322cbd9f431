//! The workspace, as Cargo knows it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// The crates of the workspace, and the names of all crates that are built into it.
pub(crate) struct Workspace {
    /// The directory of the workspace.
    pub(crate) root: PathBuf,
    /// Its own crates, in the order of their names.
    pub(crate) packages: Vec<Package>,
    /// Every crate that some feature brings in on this machine's platform: `name version`.
    pub(crate) built: Vec<String>,
}

/// One crate of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name, with `strongroom-`.
    pub(crate) name: String,
    /// Its manifest.
    pub(crate) manifest_path: PathBuf,
    /// Its license expression.
    pub(crate) license: Option<String>,
    /// The registries to which it may be published; nowhere: an empty list.
    pub(crate) publish: Option<Vec<String>>,
    /// The oldest compiler it builds with.
    pub(crate) rust_version: Option<String>,
    /// Its dependencies.
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The crate.
    pub(crate) name: String,
    /// `None`: for the crate itself; otherwise `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Package {
    /// The name without `strongroom-`.
    pub(crate) fn short_name(&self) -> &str {
        short(&self.name).unwrap_or(&self.name)
    }

    /// The folder below `crates/`: `raft`, `engines/kv`.
    pub(crate) fn folder(&self, root: &Path) -> PathBuf {
        let folder = self.manifest_path.parent().unwrap_or(Path::new(""));
        folder.strip_prefix(root.join("crates")).unwrap_or(folder).to_owned()
    }
}

impl Dependency {
    /// True if it is only there for tests, examples and benchmarks.
    pub(crate) fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// The name of one of our crates without `strongroom-`; `None` for those of others.
pub(crate) fn short(name: &str) -> Option<&str> {
    name.strip_prefix("strongroom-")
}

impl Workspace {
    /// Asks Cargo.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        let metadata = cargo(root, &["metadata", "--format-version", "1", "--no-deps"])?;
        let mut packages = serde_json::from_str::<Metadata>(&metadata).context("cargo metadata")?.packages;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        // The tree and not the metadata's graph, which lists what no feature turns on as well. Each package is shown with its own
        // once: tests name the test kit, which names everything, so that the tree has no end to speak of otherwise.
        let edges = ["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none"];
        let tree = cargo(root, &[&edges[..], &["--all-features", "--format", "{p}"]].concat())?;
        let mut built: Vec<String> = tree.lines().filter_map(name_and_version).collect();
        built.sort_unstable();
        built.dedup();
        Ok(Self { root: root.to_owned(), packages, built })
    }
}

/// `ring 0.17.14` from `ring v0.17.14 (proc-macro)`.
fn name_and_version(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    Some(format!("{name} {}", version.strip_prefix('v')?))
}

/// The output of Cargo.
pub(crate) fn cargo(root: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO")).args(args).current_dir(root).output().context("cargo")?;
    ensure!(
        output.status.success(),
        "cargo {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).context("cargo's output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tree_are_read() {
        assert_eq!(name_and_version("ring v0.17.14"), Some("ring 0.17.14".to_owned()));
        assert_eq!(
            name_and_version("serde_derive v1.0.1 (proc-macro)"),
            Some("serde_derive 1.0.1".to_owned())
        );
        assert_eq!(name_and_version(""), None);
    }
}
