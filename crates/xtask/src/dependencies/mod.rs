//! The dependencies of the program, checked against `deny.toml` (licenses, banned crates, registries) and against the
//! security advisories in `advisories.txt`.
//!
//! `cargo deny check` does the same with fresh advisories and more rules, and reads the same `deny.toml`. This is the part that
//! works on every machine, in a second, with nothing but Cargo: the list of advisories is in the repository, so that a check
//! gives the same answer everywhere, and is brought up to date by `cargo xtask dependencies --update` with a checkout of
//! RustSec's database. It does not look for unmaintained or yanked crates.

mod advisories;
mod policy;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use semver::Version;
use serde::Deserialize;

use crate::tidy::workspace::{Workspace, cargo};
use advisories::Advisories;
use policy::Policy;

/// The list of advisories, beside `deny.toml`.
const ADVISORIES: &str = "advisories.txt";

/// A crate that is built, in the version that the lock file names.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    /// Its source; `None`: this repository.
    source: Option<String>,
}

/// The findings.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) errors: Vec<String>,
    crates: usize,
    advisories: usize,
    as_of: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.errors {
            writeln!(f, "error: {line}")?;
        }
        let (errors, Self { crates, advisories, as_of, .. }) = (self.errors.len(), self);
        writeln!(f, "dependencies: {crates} crates, {advisories} advisories as of {as_of}, {errors} errors")
    }
}

/// Holds every crate that is built, with all features there are, against the rules.
pub(crate) fn check(root: &Path) -> anyhow::Result<Report> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata = cargo(root, &["metadata", "--format-version", "1", "--locked", "--all-features"])?;
    let mut packages = serde_json::from_str::<Metadata>(&metadata).context("cargo metadata")?.packages;
    // The lock file also names what no feature and no platform of ours turns on.
    let built = Workspace::read(root)?.built;
    packages.retain(|package| built.contains(&format!("{} {}", package.name, package.version)));
    let policy = Policy::parse(&read(root, "deny.toml")?)?;
    let advisories = Advisories::parse(&read(root, ADVISORIES)?)?;
    Ok(held(&packages, &policy, &advisories))
}

fn held(packages: &[Package], policy: &Policy, advisories: &Advisories) -> Report {
    let mut report = Report {
        crates: packages.len(),
        advisories: advisories.len(),
        as_of: advisories.as_of.clone(),
        errors: Vec::new(),
    };
    for package in packages {
        report.errors.extend(policy.breaches(package));
        let known = advisories.of(&package.name, &package.version).filter(|id| !policy.ignores(id));
        report.errors.extend(known.map(|id| {
            format!(
                "{} {} is affected by {id}: see rustsec.org/advisories/{id}",
                package.name, package.version
            )
        }));
    }
    report
}

/// Rewrites the list of advisories; returns how many there are.
pub(crate) fn update(root: &Path, database: &Path) -> anyhow::Result<String> {
    let text = advisories::collected(database)?;
    let count = Advisories::parse(&text)?.len();
    fs::write(root.join(ADVISORIES), text).context(ADVISORIES)?;
    Ok(format!("{ADVISORIES}: {count} advisories\n"))
}

fn read(root: &Path, name: &'static str) -> anyhow::Result<String> {
    fs::read_to_string(root.join(name)).context(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [advisories]
        ignore = ["RUSTSEC-2020-0002"]
        [licenses]
        allow = ["Apache-2.0", "MIT"]
        exceptions = [{ allow = ["NCSA"], crate = "fuzzing" }]
        [bans]
        deny = [{ crate = "ring", reason = "one library is enough" }]
        [sources]
        unknown-registry = "deny"
    "#;

    const ADVISORIES: &str = "# as of 2026-01-02\n\
        RUSTSEC-2020-0001 hole >=1.2.3 | <1.0.0 | none\n\
        RUSTSEC-2020-0002 hole >=9.0.0 | none\n";

    const REGISTRY: &str = "registry+https://example.org/crates.io-index";

    fn found(name: &str, version: &str, license: Option<&str>, source: Option<&str>) -> Vec<String> {
        let package = Package {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            license: license.map(str::to_owned),
            source: source.map(str::to_owned),
        };
        held(&[package], &Policy::parse(POLICY).unwrap(), &Advisories::parse(ADVISORIES).unwrap()).errors
    }

    fn of(name: &str, version: &str, license: &str) -> usize {
        found(name, version, Some(license), Some(REGISTRY)).len()
    }

    #[test]
    fn licences_are_expressions() {
        assert_eq!(of("a", "1.0.0", "MIT OR GPL-3.0-only"), 0);
        assert_eq!(of("a", "1.0.0", "MIT/Apache-2.0"), 0);
        assert_eq!(of("a", "1.0.0", "Apache-2.0+"), 0);
        assert_eq!(of("a", "1.0.0", "MIT AND GPL-3.0-only"), 1);
        assert_eq!(of("fuzzing", "1.0.0", "(MIT OR Apache-2.0) AND NCSA"), 0);
        assert_eq!(of("a", "1.0.0", "(MIT OR Apache-2.0) AND NCSA"), 1);
        assert_eq!(found("a", "1.0.0", None, Some(REGISTRY)).len(), 1);
    }

    #[test]
    fn banned_crates_and_other_sources_are_errors() {
        assert_eq!(of("ring", "0.17.0", "MIT"), 1);
        assert_eq!(found("a", "1.0.0", Some("MIT"), Some("git+https://example.org/a")).len(), 1);
        assert_eq!(found("a", "1.0.0", Some("MIT"), None).len(), 0);
    }

    #[test]
    fn affected_versions_are_errors() {
        assert_eq!(of("hole", "1.1.0", "MIT"), 1);
        assert_eq!(of("hole", "1.2.2", "MIT"), 1);
        assert_eq!(of("hole", "1.2.3", "MIT"), 0);
        assert_eq!(of("hole", "0.9.0", "MIT"), 0);
        assert_eq!(of("whole", "1.1.0", "MIT"), 0);
    }
}
