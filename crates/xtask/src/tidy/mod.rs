//! The rules that no compiler checks:
//!
//! * **Arrows.** A crate knows of the workspace's other crates only those that [`arrows`] lists for it, so that engines
//!   know nothing of the core, and storage nothing of the barrier.
//! * **Fences.** Some libraries belong to one crate (`openraft` and `redb` to `raft`), and some may not be in crates that
//!   only compute (no `tokio` in `policy`).
//! * **Forbidden crates.** No feature of any dependency brings in a second cryptographic library (`ring`, OpenSSL).
//! * **Engines.** No part of the server names an engine by its type: [`kinds`] says who may.
//! * **Manifests.** Every crate takes the workspace's lints and package fields.
//! * **Sources.** Every `#[allow]` has its reason; the system's clock and environment are read at their one home; nothing is
//!   marked as left to do.
//!
//! Files of more than 600 lines without their tests, and entries of `[workspace.dependencies]` that nothing uses, are
//! reported and are no error: they are to be looked at.

mod arrows;
mod kinds;
mod manifests;
mod sources;
pub(crate) mod workspace;

use std::fmt;
use std::path::Path;

use workspace::Workspace;

/// The findings.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Breaches of a rule, each a line.
    pub(crate) errors: Vec<String>,
    /// The findings that are worth a look.
    pub(crate) warnings: Vec<String>,
    /// The numbers of crates and source files that were looked at.
    looked_at: (usize, usize),
}

impl Report {
    /// True if no rule is broken.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn error(&mut self, line: impl Into<String>) {
        self.errors.push(line.into());
    }

    pub(crate) fn warn(&mut self, line: impl Into<String>) {
        self.warnings.push(line.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.warnings {
            writeln!(f, "warning: {line}")?;
        }
        for line in &self.errors {
            writeln!(f, "error: {line}")?;
        }
        let (crates, files) = self.looked_at;
        let (errors, warnings) = (self.errors.len(), self.warnings.len());
        writeln!(f, "tidy: {crates} crates, {files} source files, {errors} errors, {warnings} warnings")
    }
}

/// Holds the workspace at `root` against all rules.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<Report> {
    let workspace = Workspace::read(root)?;
    let mut report = Report::default();
    arrows::check(&workspace, &mut report);
    manifests::check(&workspace, &mut report)?;
    kinds::check(root, &mut report)?;
    let files = sources::check(root, &mut report)?;
    report.looked_at = (workspace.packages.len(), files);
    Ok(report)
}
