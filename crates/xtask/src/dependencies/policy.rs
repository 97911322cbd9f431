//! The rules of `deny.toml` that need nothing but the lock file and the crates' manifests.

use anyhow::Context as _;
use serde::Deserialize;
use spdx::{Expression, LicenseReq, Licensee, ParseMode};

use super::Package;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    advisories: Ignored,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Default, Deserialize)]
struct Ignored {
    #[serde(default)]
    ignore: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// Further licenses of one crate.
#[derive(Debug, Deserialize)]
struct Exception {
    allow: Vec<String>,
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// True if a source is the one registry that crates come from.
fn is_registry(source: &str) -> bool {
    source.starts_with("registry+") && source.ends_with("/crates.io-index")
}

/// The demands on a crate.
pub(crate) struct Policy(File);

impl Policy {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(toml::from_str(text).context("deny.toml")?))
    }

    /// True if an advisory is known and does not concern us; `deny.toml` has the reason.
    pub(crate) fn ignores(&self, id: &str) -> bool {
        self.0.advisories.ignore.iter().any(|ignored| ignored == id)
    }

    /// The breaches of a crate.
    pub(crate) fn breaches(&self, package: &Package) -> Vec<String> {
        let named = format!("{} {}", package.name, package.version);
        let mut found = Vec::new();
        if let Some(ban) = self.0.bans.deny.iter().find(|ban| ban.name == package.name) {
            found.push(format!("{named} is banned: {}", ban.reason));
        }
        if let Some(source) = package.source.as_deref().filter(|source| !is_registry(source)) {
            found.push(format!("{named} comes from {source}, which is not the registry"));
        }
        if let Err(why) = self.license(package) {
            found.push(format!("{named}: {why}"));
        }
        found
    }

    fn license(&self, package: &Package) -> Result<(), String> {
        let text = package.license.as_deref().ok_or("it has no licence expression")?;
        // Older crates divide alternatives by a slash.
        let expression = Expression::parse_mode(text, ParseMode::LAX)
            .map_err(|error| format!("its licence {text:?} is no expression: {}", error.reason))?;
        let further = self.0.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
        let names = self.0.licenses.allow.iter().chain(further.flat_map(|exception| &exception.allow));
        let allowed: Vec<Licensee> = names
            .map(|name| {
                Licensee::parse(name).map_err(|error| format!("deny.toml: {name:?}: {}", error.reason))
            })
            .collect::<Result<_, _>>()?;
        let is_allowed = |asked: &LicenseReq| allowed.iter().any(|licensee| licensee.satisfies(asked));
        if expression.evaluate(is_allowed) {
            return Ok(());
        }
        Err(format!("its licence {text:?} is not among those that deny.toml allows"))
    }
}
