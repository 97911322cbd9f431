//! The list of advisories: which versions of which crates have a known hole.
//!
//! One line each: the advisory's id, the crate, and the version requirements of which one suffices to be safe.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use semver::{Version, VersionReq};
use serde::Deserialize;

/// Between requirements.
const OR: &str = " | ";

/// In the place of a requirement: there is none, no version is safe.
const NONE: &str = "none";

#[derive(Debug)]
struct Advisory {
    id: String,
    /// Versions that are not affected, each requirement for itself.
    safe: Vec<VersionReq>,
}

/// All advisories, by crate.
#[derive(Debug)]
pub(crate) struct Advisories {
    by_crate: HashMap<String, Vec<Advisory>>,
    /// The day that the list is of.
    pub(crate) as_of: String,
}

impl Advisories {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let as_of = text.lines().find_map(|line| line.split_once("as of ")).map_or("", |(_, day)| day);
        let mut by_crate: HashMap<String, Vec<Advisory>> = HashMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, advisory) = entry(line).with_context(|| format!("the list of advisories: {line}"))?;
            by_crate.entry(name).or_default().push(advisory);
        }
        ensure!(!by_crate.is_empty(), "the list of advisories is empty");
        Ok(Self { by_crate, as_of: as_of.trim().to_owned() })
    }

    pub(crate) fn len(&self) -> usize {
        self.by_crate.values().map(Vec::len).sum()
    }

    /// The ids of those that affect a version of a crate.
    pub(crate) fn of(&self, name: &str, version: &Version) -> impl Iterator<Item = &str> {
        let of_crate = self.by_crate.get(name).map_or(&[][..], Vec::as_slice);
        of_crate
            .iter()
            .filter(|advisory| !advisory.safe.iter().any(|safe| safe.matches(version)))
            .map(|advisory| advisory.id.as_str())
    }
}

fn entry(line: &str) -> anyhow::Result<(String, Advisory)> {
    let (id, rest) = line.split_once(' ').context("no crate")?;
    let (name, safe) = rest.split_once(' ').context("no versions")?;
    let requirements = safe.split(OR).map(str::trim).filter(|one| *one != NONE);
    let safe = requirements.map(VersionReq::parse).collect::<Result<_, _>>()?;
    Ok((name.to_owned(), Advisory { id: id.to_owned(), safe }))
}

/// The part of an advisory's front matter that is needed.
#[derive(Deserialize)]
struct FrontMatter {
    advisory: Head,
    versions: Versions,
}

#[derive(Deserialize)]
struct Head {
    id: String,
    package: String,
    date: String,
    withdrawn: Option<String>,
    informational: Option<String>,
}

#[derive(Deserialize)]
struct Versions {
    patched: Vec<String>,
    #[serde(default)]
    unaffected: Vec<String>,
}

/// The list, from a checkout of RustSec's database. What was withdrawn, and what is no hole (unmaintained, say), is left out;
/// unsoundness is not.
pub(crate) fn collected(database: &Path) -> anyhow::Result<String> {
    let (mut lines, mut newest) = (Vec::new(), String::new());
    let crates = database.join("crates");
    for folder in fs::read_dir(&crates).with_context(|| crates.display().to_string())? {
        for file in fs::read_dir(folder?.path())? {
            let path = file?.path();
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let front = text.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("\n```"));
            let front = front.with_context(|| format!("{}: no front matter", path.display()))?.0;
            let FrontMatter { advisory, versions } =
                toml::from_str(front).with_context(|| path.display().to_string())?;
            newest = newest.max(advisory.date.clone());
            let is_hole = advisory.informational.as_deref().is_none_or(|kind| kind == "unsound");
            if advisory.withdrawn.is_none() && is_hole {
                lines.push(line(&advisory, &versions));
            }
        }
    }
    lines.sort_unstable();
    let head = "# Security advisories: id, crate, and the versions that are not affected.\n\
                # From RustSec's database (rustsec.org, CC0 and CC-BY 4.0); `cargo xtask dependencies --update` writes this file.\n";
    Ok(format!("{head}# as of {newest}\n{}\n", lines.join("\n")))
}

fn line(advisory: &Head, versions: &Versions) -> String {
    let safe: Vec<String> = versions
        .patched
        .iter()
        .chain(&versions.unaffected)
        .map(|one| one.replace(' ', "").replace(',', ", "))
        .collect();
    let safe = if safe.is_empty() { NONE.to_owned() } else { safe.join(OR) };
    format!("{} {} {safe}", advisory.id, advisory.package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_made_of_advisories_and_read_again() {
        let database = tempfile::tempdir().unwrap();
        let put = |id: &str, more: &str, versions: &str| {
            let folder = database.path().join("crates/hole");
            fs::create_dir_all(&folder).unwrap();
            let text = format!(
                "```toml\n[advisory]\nid = \"{id}\"\npackage = \"hole\"\ndate = \"2026-01-02\"\n{more}\n[versions]\n{versions}\n```\n# Text\n"
            );
            fs::write(folder.join(format!("{id}.md")), text).unwrap();
        };
        put("RUSTSEC-1", "", "patched = [\">= 1.2.3, < 2.0.0\", \">= 2.1\"]\nunaffected = [\"< 1.0.0\"]");
        put("RUSTSEC-2", "", "patched = []");
        put("RUSTSEC-3", "withdrawn = \"2026-01-03\"", "patched = []");
        put("RUSTSEC-4", "informational = \"unmaintained\"", "patched = []");
        put("RUSTSEC-5", "informational = \"unsound\"", "patched = []");
        let text = collected(database.path()).unwrap();
        let list = Advisories::parse(&text).unwrap();
        let of = |version: &str| list.of("hole", &version.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(list.as_of, "2026-01-02");
        assert_eq!(of("1.2.3"), ["RUSTSEC-2", "RUSTSEC-5"]);
        assert_eq!(of("2.0.5"), ["RUSTSEC-1", "RUSTSEC-2", "RUSTSEC-5"]);
        assert_eq!(of("0.1.0"), ["RUSTSEC-2", "RUSTSEC-5"]);
    }

    #[test]
    fn a_line_that_says_nothing_is_an_error() {
        assert!(Advisories::parse("RUSTSEC-1 hole\n").is_err());
        assert!(Advisories::parse("RUSTSEC-1 hole not-a-version\n").is_err());
        assert!(Advisories::parse("# nothing\n").is_err());
    }
}
