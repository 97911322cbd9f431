//! The rules for every crate's `Cargo.toml`.

use std::fs;

use anyhow::Context as _;

use super::Report;
use super::workspace::Workspace;

/// The crate with our unsafe code, which the workspace's lints refuse, and the one that panics where it finds something.
const OWN_LINTS: [&str; 2] = ["zeroizing-alloc", "fuzz"];

const LICENSE: &str = "Apache-2.0";

pub(crate) fn check(workspace: &Workspace, report: &mut Report) -> anyhow::Result<()> {
    for package in &workspace.packages {
        let name = package.short_name();
        let path = &package.manifest_path;
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        if takes_workspace_lints(&text) == OWN_LINTS.contains(&name) {
            let should = if OWN_LINTS.contains(&name) {
                "should have lints of its own"
            } else {
                "lacks [lints] workspace = true"
            };
            report.error(format!("{name} {should}"));
        }
        if package.license.as_deref() != Some(LICENSE) {
            report.error(format!("{name} lacks license.workspace = true"));
        }
        if package.publish.as_deref() != Some(&[]) {
            report.error(format!("{name} lacks publish.workspace = true"));
        }
        if package.rust_version.is_none() {
            report.error(format!("{name} lacks rust-version.workspace = true"));
        }
    }
    unused_dependencies(workspace, report)
}

/// The entries of `[workspace.dependencies]` that no crate uses.
fn unused_dependencies(workspace: &Workspace, report: &mut Report) -> anyhow::Result<()> {
    let text = fs::read_to_string(workspace.root.join("Cargo.toml")).context("Cargo.toml")?;
    let used = |name: &str| {
        workspace
            .packages
            .iter()
            .any(|package| package.dependencies.iter().any(|dependency| dependency.name == name))
    };
    for name in section(&text, "workspace.dependencies").filter_map(|line| line.split_once('=')) {
        let name = name.0.trim();
        // One of ours that nobody names is a program.
        if !used(name) && !workspace.packages.iter().any(|package| package.name == name) {
            report.warn(format!("[workspace.dependencies] names {name}, which no crate uses"));
        }
    }
    Ok(())
}

fn takes_workspace_lints(manifest: &str) -> bool {
    let mut lines =
        section(manifest, "lints").chain(manifest.lines().filter(|line| line.starts_with("lints.")));
    lines.any(|line| matches!(line.replace(' ', "").as_str(), "workspace=true" | "lints.workspace=true"))
}

/// The lines of a section, without blank lines and comments.
fn section<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let head = format!("[{name}]");
    let lines = text.lines().map(str::trim).skip_while(move |line| *line != head).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_end_where_the_next_begins() {
        let text = "[a]\nx = 1\n# no\n\n[b]\ny = 2\n";
        assert_eq!(section(text, "a").collect::<Vec<_>>(), ["x = 1"]);
        assert_eq!(section(text, "b").collect::<Vec<_>>(), ["y = 2"]);
        assert_eq!(section(text, "c").count(), 0);
    }

    #[test]
    fn the_lints_table_is_found() {
        assert!(takes_workspace_lints("[package]\nname = \"x\"\n[lints]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[package]\nname = \"x\"\n[lints.rust]\nworkspace = true\n"));
        assert!(!takes_workspace_lints("[package]\nlicense.workspace = true\n"));
    }
}
