//! A key and its versions: what is stored of them, and how versions are added and removed.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{Moment, Stored, format_duration};

use super::config::Config;
use crate::flat::FlatEntry;
use crate::secret_json::SecretJson;

/// The number of versions that a key keeps where neither it nor the mount sets it.
const DEFAULT_MAX_VERSIONS: u32 = 10;

/// All that is known of a key, and its newest data where that is small.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(super) created: Moment,
    pub(super) updated: Moment,
    /// The newest version's number; zero: none has been written.
    pub(super) current: u64,
    /// The oldest version that is kept; zero: none has gone for the limit's sake.
    #[serde(default)]
    pub(super) oldest: u64,
    /// Zero: as many as the mount says.
    #[serde(default)]
    pub(super) max_versions: u32,
    #[serde(default)]
    pub(super) cas_required: bool,
    /// Zero: as the mount says.
    #[serde(default)]
    pub(super) delete_version_after: Duration,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) custom_metadata: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<u64, Version>,
    /// The current version's data, so that reading it costs one look-up. `None` where there is none or where it is
    /// large: then it lies apart as older versions' data do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<SecretJson>,
    /// Made up from an entry of version 1 that has not been moved.
    #[serde(skip)]
    pub(super) unmoved: bool,
}

impl Stored for Key {}

/// The metadata of one version. Field names are short because there are many of them.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Version {
    #[serde(rename = "c")]
    pub(super) created: Moment,
    /// From when on it is deleted; it may lie ahead.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion: Option<Moment>,
    #[serde(rename = "x", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) destroyed: bool,
}

impl Version {
    /// True if its data is not to be shown.
    pub(super) fn is_gone(&self, now: Moment) -> bool {
        self.destroyed || self.deletion.is_some_and(|at| at <= now)
    }
}

impl Key {
    /// A key without versions.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            created: now,
            updated: now,
            current: 0,
            oldest: 0,
            max_versions: 0,
            cas_required: false,
            delete_version_after: Duration::ZERO,
            custom_metadata: BTreeMap::new(),
            versions: BTreeMap::new(),
            newest: None,
            unmoved: false,
        }
    }

    /// An entry of version 1 as the first version of its key.
    pub(super) fn from_flat(entry: &FlatEntry) -> Self {
        let first = Version { created: entry.written, deletion: None, destroyed: false };
        Self {
            current: 1,
            versions: BTreeMap::from([(1, first)]),
            newest: Some(entry.data.clone()),
            unmoved: true,
            ..Self::new(entry.written)
        }
    }

    /// The version that a request asks for, by number or (zero) the newest.
    pub(super) fn version(&self, asked: u64) -> Option<(u64, Version)> {
        let number = if asked == 0 { self.current } else { asked };
        self.versions.get(&number).map(|version| (number, *version))
    }

    /// Adds a version made at `now`, without its data. Returns the numbers of the versions that had to go for it.
    pub(super) fn push(&mut self, config: &Config, now: Moment) -> Vec<u64> {
        let deletion = config.deletion_after(self.delete_version_after).map(|span| now.after(span));
        self.current = self.current.saturating_add(1);
        self.updated = now;
        self.versions.insert(self.current, Version { created: now, deletion, destroyed: false });
        let limit = [self.max_versions, config.max_versions].into_iter().find(|limit| *limit > 0);
        let last_to_go = self.current.saturating_sub(u64::from(limit.unwrap_or(DEFAULT_MAX_VERSIONS)));
        let kept = self.versions.split_off(&last_to_go.saturating_add(1));
        let gone = std::mem::replace(&mut self.versions, kept);
        if !gone.is_empty() {
            self.oldest = last_to_go.saturating_add(1);
        }
        gone.into_keys().collect()
    }

    /// A version as answers show it.
    pub(super) fn describe_version(&self, number: u64, version: Version) -> VersionMetadata {
        VersionMetadata {
            created_time: version.created.rfc3339(),
            custom_metadata: self.shown_custom_metadata(),
            deletion_time: shown_deletion(version),
            destroyed: version.destroyed,
            version: number,
        }
    }

    /// The key as answers show it.
    pub(super) fn describe(&self) -> KeyMetadata {
        let describe = |(number, version): (&u64, &Version)| {
            let times = VersionTimes {
                created_time: version.created.rfc3339(),
                deletion_time: shown_deletion(*version),
                destroyed: version.destroyed,
            };
            (number.to_string(), times)
        };
        KeyMetadata {
            cas_required: self.cas_required,
            created_time: self.created.rfc3339(),
            current_version: self.current,
            custom_metadata: self.shown_custom_metadata(),
            delete_version_after: format_duration(self.delete_version_after),
            max_versions: self.max_versions,
            oldest_version: self.oldest,
            updated_time: self.updated.rfc3339(),
            versions: self.versions.iter().map(describe).collect(),
        }
    }

    fn shown_custom_metadata(&self) -> Option<BTreeMap<String, String>> {
        (!self.custom_metadata.is_empty()).then(|| self.custom_metadata.clone())
    }
}

fn shown_deletion(version: Version) -> String {
    version.deletion.map(Moment::rfc3339).unwrap_or_default()
}

/// A version, as reading and writing it answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct VersionMetadata {
    /// The time at which the version was written (RFC 3339).
    created_time: String,
    /// The custom metadata, or null.
    custom_metadata: Option<BTreeMap<String, String>>,
    /// From when on the version is deleted (RFC 3339), or empty.
    deletion_time: String,
    /// True if the version's data was permanently removed.
    destroyed: bool,
    /// The version's number.
    version: u64,
}

/// A key without its data.
#[derive(Serialize, JsonSchema)]
pub(super) struct KeyMetadata {
    /// True if each write must give the cas parameter.
    cas_required: bool,
    /// The time at which the key was created (RFC 3339).
    created_time: String,
    /// The newest version's number; zero while there is none.
    current_version: u64,
    /// The custom metadata, or null.
    custom_metadata: Option<BTreeMap<String, String>>,
    /// The lifetime of new versions; 0s where the mount's setting counts.
    delete_version_after: String,
    /// The number of versions to keep; zero where the mount's setting counts.
    max_versions: u32,
    /// The oldest version that is kept; zero while none has been dropped.
    oldest_version: u64,
    /// The time at which the key was last written to (RFC 3339).
    updated_time: String,
    /// The versions by number.
    versions: BTreeMap<String, VersionTimes>,
}

/// One version in a key's metadata.
#[derive(Serialize, JsonSchema)]
struct VersionTimes {
    /// The time at which the version was written (RFC 3339).
    created_time: String,
    /// From when on the version is deleted (RFC 3339), or empty.
    deletion_time: String,
    /// True if the version's data was permanently removed.
    destroyed: bool,
}
