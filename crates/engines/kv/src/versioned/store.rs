//! The storage of keys and versions, and how entries of version 1 are moved into it.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use strongroom_engine_api::{EngineError, Moment, Reads, Stored, Txn};

use super::config::Config;
use super::key::Key;
use crate::secret_json::SecretJson;
use crate::tables::{CONFIG, ENTRIES, KEYS, VERSIONS};

/// The data of one version.
#[derive(Serialize, Deserialize)]
pub(crate) struct VersionData {
    data: SecretJson,
}

impl Stored for VersionData {}

/// Bytes of data up to which the newest version lies with its key. Reading it then costs one look-up in place of
/// two; the price is that changes of the key's metadata write it again, and that the next version has to move it.
pub(super) const MAX_INLINE_BYTES: usize = 4096;

/// Entries of version 1 moved in one step, and bytes of data after which the step ends early: a step is one commit.
pub(super) const MAX_MOVED: usize = 200;
const MAX_MOVED_BYTES: usize = 1 << 20;

/// The key at `path`. Where version 1 left an entry that has not been moved, the key that it will become.
pub(super) async fn find(reads: &impl Reads, path: &str) -> Result<Option<Arc<Key>>, EngineError> {
    if let Some(key) = KEYS.get(reads, path).await? {
        return Ok(Some(key));
    }
    let unmoved = ENTRIES.get(reads, path).await?;
    Ok(unmoved.map(|entry| Arc::new(Key::from_flat(&entry))))
}

/// Writes a key that was found, and with it moves what version 1 had there.
pub(super) fn save(txn: &Txn, path: &str, mut key: Key) -> Result<(), EngineError> {
    if std::mem::take(&mut key.unmoved) {
        ENTRIES.delete(txn, path);
    }
    if let Some(data) = key.newest.take_if(|data| data.len() > MAX_INLINE_BYTES) {
        VERSIONS.put(txn, &(path, &key.current), VersionData { data })?;
    }
    KEYS.put(txn, path, key)?;
    Ok(())
}

/// Gives `key` a new version with this data, dropping the oldest ones beyond the limit.
pub(super) fn add_version(
    txn: &Txn,
    path: &str,
    key: &mut Key,
    data: SecretJson,
    config: &Config,
    now: Moment,
) -> Result<(), EngineError> {
    let (previous, previous_data) = (key.current, key.newest.take());
    for gone in key.push(config, now) {
        VERSIONS.delete(txn, &(path, &gone));
    }
    if let Some(data) = previous_data
        && key.versions.contains_key(&previous)
    {
        VERSIONS.put(txn, &(path, &previous), VersionData { data })?;
    }
    key.newest = Some(data);
    Ok(())
}

/// Permanently removes the data of one version.
pub(super) fn destroy_data(txn: &Txn, path: &str, key: &mut Key, number: u64) {
    if number == key.current && key.newest.take().is_some() {
        return;
    }
    VERSIONS.delete(txn, &(path, &number));
}

/// Removes a key, its versions, and what version 1 may have left at its path.
pub(super) fn remove(txn: &Txn, path: &str, key: &Key) {
    for number in key.versions.keys() {
        VERSIONS.delete(txn, &(path, number));
    }
    KEYS.delete(txn, path);
    ENTRIES.delete(txn, path);
}

/// The data of one version, wherever it lies: answered as it is stored.
pub(super) enum Content {
    /// With its key.
    Inline(Arc<Key>),
    /// In an entry of its own.
    Apart(Arc<VersionData>),
}

impl Content {
    /// The data of version `number`, which is neither deleted nor destroyed.
    pub(super) async fn of(
        reads: &impl Reads,
        path: &str,
        key: Arc<Key>,
        number: u64,
    ) -> Result<Self, EngineError> {
        if number == key.current && key.newest.is_some() {
            return Ok(Self::Inline(key));
        }
        let apart = VERSIONS.get(reads, &(path, &number)).await?;
        let missing =
            || EngineError::Internal(format!("the data of version {number} of {path:?} is missing"));
        apart.map(Self::Apart).ok_or_else(missing)
    }

    /// The data itself; `None` cannot be, since `of` has looked.
    pub(super) fn data(&self) -> Option<&SecretJson> {
        match self {
            Self::Inline(key) => key.newest.as_ref(),
            Self::Apart(version) => Some(&version.data),
        }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.data().map_or(RawValue::NULL, SecretJson::raw).serialize(serializer)
    }
}

/// The mount's settings.
pub(super) async fn config(reads: &impl Reads) -> Result<Arc<Config>, EngineError> {
    Ok(CONFIG.get(reads, &()).await?.unwrap_or_default())
}

/// Moves a number of entries of version 1. Answers whether there are more.
pub(super) async fn move_some(txn: &Txn, now: Moment) -> Result<bool, EngineError> {
    // Only the entries that are moved are read through the transaction: others may change meanwhile.
    let paths = ENTRIES.keys(&txn.peek(), "", None, MAX_MOVED).await?;
    let mut bytes = 0usize;
    for path in &paths {
        if bytes > MAX_MOVED_BYTES {
            return Ok(true);
        }
        bytes = bytes.saturating_add(move_entry(txn, path, now).await?);
    }
    Ok(paths.len() == MAX_MOVED)
}

/// Moves one entry; returns how many bytes of data that were.
async fn move_entry(txn: &Txn, path: &str, now: Moment) -> Result<usize, EngineError> {
    let Some(entry) = ENTRIES.get(txn, path).await? else { return Ok(0) };
    let key = match KEYS.get(txn, path).await? {
        None => Key::from_flat(&entry),
        // Written as version 1 by a request that began before the mount changed, after the key had been moved: what
        // was acknowledged last is the newest version.
        Some(moved) => {
            let mut key = Arc::unwrap_or_clone(moved);
            add_version(txn, path, &mut key, entry.data.clone(), config(txn).await?.as_ref(), now)?;
            key.unmoved = true;
            key
        }
    };
    save(txn, path, key)?;
    Ok(entry.data.len())
}

/// The versions whose data lies apart from their key.
#[cfg(test)]
pub(super) async fn data_apart(
    reads: &impl Reads,
) -> Result<std::collections::BTreeSet<(String, u64)>, EngineError> {
    Ok(VERSIONS.keys(reads, "", None, usize::MAX).await?.into_iter().collect())
}
