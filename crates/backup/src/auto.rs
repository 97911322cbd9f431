//! Automated snapshots. Source: Vault's API page `sys/storage/raft/snapshot-auto`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Stored, Txn, View};
use strongroom_engine_api::{EngineError, Moment, bad_request};

use super::bucket::Bucket;
use super::local::{Folder, keep};
use super::names::Taken;
use super::remote::RemoteArchive;
use crate::Backup;
use crate::{AUTO_SNAPSHOTS, AUTO_STATUS};

/// The first pause after a failure; twice as long after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const MAX_RETRY: Duration = Duration::from_mins(10);
/// The error shown where a snapshot was taken but older ones could not be removed.
const NOT_REMOVED: &str = "the snapshot was taken, but older ones could not be removed";
/// Configurations that are looked at.
const MAX_CONFIGS: usize = 1000;

/// The configuration of automated snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoSnapshots {
    /// Time between two.
    #[serde(rename = "i")]
    pub interval: Duration,
    /// The number of snapshots to keep.
    #[serde(rename = "r")]
    pub retain: u64,
    /// The directory that they are written to, or what the names of objects begin with.
    #[serde(rename = "p")]
    pub path_prefix: String,
    /// The beginning of the last part of their names.
    #[serde(rename = "f")]
    pub file_prefix: String,
    /// The place.
    #[serde(rename = "w")]
    pub place: Place,
}

/// The place of snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// On the disk of the active node.
    #[serde(rename = "l")]
    Local {
        /// Bytes that they may take together.
        #[serde(rename = "s")]
        max_space: u64,
    },
    /// In a bucket.
    #[serde(rename = "b")]
    Bucket(Box<Bucket>),
}

impl Stored for AutoSnapshots {}

/// The status of a configuration's snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoStatus {
    /// The time at which the last was begun.
    #[serde(rename = "b")]
    pub last_start: Option<Moment>,
    /// The time at which it was done or failed.
    #[serde(rename = "e")]
    pub last_end: Option<Moment>,
    /// The reason of the last failure; empty where there is none.
    #[serde(rename = "w")]
    pub last_error: String,
    /// The place of the last that succeeded.
    #[serde(rename = "u")]
    pub last_url: String,
    /// The number of failures since the last success.
    #[serde(rename = "n")]
    pub consecutive_errors: u32,
}

impl Stored for AutoStatus {}

impl AutoSnapshots {
    /// Says whether it may be kept.
    ///
    /// # Errors
    ///
    /// [`EngineError`], a 400 that names the field.
    pub fn check(&self) -> Result<(), EngineError> {
        if self.interval < Duration::from_secs(1) {
            return Err(bad_request("interval must be at least 1s"));
        }
        if self.retain == 0 {
            return Err(bad_request("retain must be at least 1"));
        }
        if self.file_prefix.is_empty() || self.file_prefix.contains(['/', '\0']) {
            return Err(bad_request("file_prefix must be a part of a file name"));
        }
        match &self.place {
            Place::Local { .. } if !self.path_prefix.starts_with('/') => {
                Err(bad_request("path_prefix must be an absolute path for storage_type local"))
            }
            Place::Local { max_space: 0 } => {
                Err(bad_request("local_max_space must be greater than 0 for storage_type local"))
            }
            Place::Local { .. } => Ok(()),
            Place::Bucket(bucket) => {
                let path = self.path_prefix.trim_matches('/');
                if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                    return Err(bad_request(
                        "path_prefix must be the names of folders for storage_type aws-s3",
                    ));
                }
                bucket.check()
            }
        }
    }
}

impl AutoStatus {
    /// The time at which the next is due: at once where there was none; sooner than configured after a failure.
    pub fn next(&self, config: &AutoSnapshots, now: Moment) -> Moment {
        match (self.last_start, self.last_end) {
            (Some(_), Some(end)) if self.consecutive_errors > 0 => {
                let doublings = self.consecutive_errors.saturating_sub(1).min(16);
                let patience = FIRST_RETRY.saturating_mul(1 << doublings).min(MAX_RETRY);
                end.after(patience.min(config.interval))
            }
            (Some(start), _) => start.after(config.interval),
            (None, _) => now,
        }
    }

    /// A snapshot that was taken counts, also where older ones could not be removed: another one would be one more.
    fn with(&self, start: Moment, end: Moment, outcome: Result<Taken, String>) -> Self {
        let (last_url, last_error, consecutive_errors) = match outcome {
            Ok(Taken { url, left: None }) => (url, String::new(), 0),
            Ok(Taken { url, left: Some(error) }) => (url, format!("{NOT_REMOVED}: {error}"), 0),
            Err(error) => (self.last_url.clone(), error, self.consecutive_errors.saturating_add(1)),
        };
        Self { last_start: Some(start), last_end: Some(end), last_error, last_url, consecutive_errors }
    }
}

impl Backup {
    /// The names of the configurations.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where they cannot be read.
    pub async fn auto_snapshot_names(
        &self,
        view: &View,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        AUTO_SNAPSHOTS.keys(view, "", after, limit).await
    }

    /// A configuration.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where it cannot be read.
    pub async fn auto_snapshots(
        &self,
        txn: &Txn,
        name: &str,
    ) -> Result<Option<Arc<AutoSnapshots>>, BarrierError> {
        AUTO_SNAPSHOTS.get(txn, name).await
    }

    /// The status of a configuration's snapshots, and since when one is being taken.
    ///
    /// # Errors
    ///
    /// [`BarrierError`] where it cannot be read.
    pub async fn auto_status(
        &self,
        txn: &Txn,
        name: &str,
    ) -> Result<(AutoStatus, Option<Moment>), BarrierError> {
        let status = AUTO_STATUS.get(txn, name).await?;
        let status = status.map(|status| AutoStatus::clone(&status)).unwrap_or_default();
        Ok((status, self.under_way.since(name)))
    }

    /// Keeps a configuration, or none; what had become of one that goes is forgotten.
    ///
    /// # Errors
    ///
    /// [`EngineError`] for one that [`AutoSnapshots::check`] refuses, and where storage is not raft.
    pub fn set_auto_snapshots(
        &self,
        txn: &Txn,
        name: &str,
        config: Option<AutoSnapshots>,
    ) -> Result<(), EngineError> {
        let Some(config) = config else {
            AUTO_SNAPSHOTS.delete(txn, name);
            AUTO_STATUS.delete(txn, name);
            return Ok(());
        };
        if self.node.cluster().is_none() {
            return Err(bad_request("raft storage is not in use"));
        }
        config.check()?;
        AUTO_SNAPSHOTS.put(txn, name, config)?;
        Ok(())
    }

    /// Begins the snapshots that are due, each in a task of its own. Does nothing on another than the active node.
    pub async fn take_due_snapshots(self: &Arc<Self>) -> Result<(), EngineError> {
        if self.node.cluster().is_none() {
            return Ok(());
        }
        let now = self.environment.clock.now();
        let view = self.barrier.view();
        for (name, config) in AUTO_SNAPSHOTS.scan(&view, "", None, MAX_CONFIGS).await? {
            let status = AUTO_STATUS.get(&view, &name).await?.unwrap_or_default();
            if status.next(&config, now) > now || !self.under_way.begin(&name, now) {
                continue;
            }
            let backup = self.clone();
            tokio::spawn(async move {
                backup.take_auto(&name, &config, &status, now).await;
                backup.under_way.end(&name);
            });
        }
        Ok(())
    }

    async fn take_auto(&self, name: &str, config: &AutoSnapshots, before: &AutoStatus, start: Moment) {
        let outcome = self.write_auto(config, start).await;
        match &outcome {
            Ok(Taken { url, left }) => {
                tracing::info!(configuration = name, url, "automated snapshot taken");
                if let Some(error) = left {
                    tracing::error!(configuration = name, error, "{NOT_REMOVED}");
                }
            }
            Err(error) => tracing::error!(configuration = name, error, "automated snapshot failed"),
        }
        let status = before.with(start, self.environment.clock.now(), outcome);
        if let Err(error) = self.keep_status(name, status).await {
            tracing::error!(configuration = name, %error, "could not record snapshot result");
        }
    }

    async fn write_auto(&self, config: &AutoSnapshots, start: Moment) -> Result<Taken, String> {
        match &config.place {
            Place::Local { max_space } => self.write_local(config, *max_space, start).await,
            Place::Bucket(bucket) => self.write_remote(config, bucket, start).await,
        }
    }

    async fn write_local(
        &self,
        config: &AutoSnapshots,
        max_space: u64,
        start: Moment,
    ) -> Result<Taken, String> {
        let archive = self.save_snapshot().await.map_err(|error| error.to_string())?;
        let folder = Folder {
            path: config.path_prefix.clone().into(),
            file_prefix: config.file_prefix.clone(),
            retain: config.retain,
            max_space,
        };
        let kept = tokio::task::spawn_blocking(move || keep(&folder, start.as_secs(), archive)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn write_remote(
        &self,
        config: &AutoSnapshots,
        bucket: &Bucket,
        start: Moment,
    ) -> Result<Taken, String> {
        let store = self.objects.get().map(Arc::as_ref);
        let remote = RemoteArchive {
            store: store.ok_or("this server was built without object storage")?,
            bucket,
            path: &config.path_prefix,
            file_prefix: &config.file_prefix,
            retain: config.retain,
        };
        // Before the state is read: this needs no content, and says what is wrong with a name or a key.
        let kept = remote.kept().await?;
        let (archive, size) = self.save_sized().await.map_err(|error| error.to_string())?;
        remote.keep(kept, start.as_secs(), archive, size).await
    }

    /// Of a configuration that has been deleted meanwhile, nothing is kept.
    async fn keep_status(&self, name: &str, status: AutoStatus) -> Result<(), BarrierError> {
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            if AUTO_SNAPSHOTS.get(&txn, name).await?.is_none() {
                return Ok(());
            }
            AUTO_STATUS.put(&txn, name, status.clone())?;
            match txn.commit().await {
                Err(BarrierError::Conflict) => {}
                outcome => return outcome.map(|_index| ()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::tests::bucket;

    const HOUR: Duration = Duration::from_hours(1);

    fn config() -> AutoSnapshots {
        AutoSnapshots {
            interval: HOUR,
            retain: 1,
            path_prefix: "/backups".into(),
            file_prefix: "vault-snapshot".into(),
            place: Place::Local { max_space: 1 },
        }
    }

    fn taken(url: &str) -> Taken {
        Taken { url: url.to_owned(), left: None }
    }

    #[test]
    fn one_is_due_at_once_then_after_the_interval_and_sooner_after_a_failure() {
        let (config, now) = (config(), Moment::from_secs(1_700_000_000));
        let status = AutoStatus::default();
        assert_eq!(status.next(&config, now), now);
        let end = now.after(Duration::from_secs(5));
        let mut status = status.with(now, end, Ok(taken("file:///a")));
        assert_eq!(status.next(&config, end), now.after(HOUR));
        for patience in [10, 20, 40, 80, 160, 320, 600, 600] {
            status = status.with(now, end, Err("no room".into()));
            assert_eq!(status.next(&config, end), end.after(Duration::from_secs(patience)));
        }
        assert_eq!((status.last_url.as_str(), status.last_error.as_str()), ("file:///a", "no room"));
        let often = AutoSnapshots { interval: Duration::from_secs(3), ..config };
        assert_eq!(
            status.next(&often, end),
            end.after(Duration::from_secs(3)),
            "never later than configured"
        );
        assert_eq!(status.with(now, end, Ok(taken(""))).consecutive_errors, 0);
    }

    #[test]
    fn what_could_not_be_removed_is_told_and_takes_no_other_snapshot() {
        let now = Moment::from_secs(1_700_000_000);
        let left = Ok(Taken { url: "s3://b/k".into(), left: Some("not allowed".into()) });
        let status = AutoStatus { consecutive_errors: 3, ..AutoStatus::default() }.with(now, now, left);
        assert_eq!(status.last_url, "s3://b/k");
        assert!(status.last_error.ends_with("could not be removed: not allowed"));
        assert_eq!((status.consecutive_errors, status.next(&config(), now)), (0, now.after(HOUR)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_the_name_of_its_field() {
        let in_bucket = || AutoSnapshots { place: Place::Bucket(Box::new(bucket())), ..config() };
        assert!(config().check().is_ok() && in_bucket().check().is_ok());
        assert!(AutoSnapshots { path_prefix: String::new(), ..in_bucket() }.check().is_ok());
        for (bad, field) in [
            (AutoSnapshots { interval: Duration::ZERO, ..config() }, "interval"),
            (AutoSnapshots { retain: 0, ..config() }, "retain"),
            (AutoSnapshots { path_prefix: "backups".into(), ..config() }, "path_prefix"),
            (AutoSnapshots { file_prefix: "../x".into(), ..config() }, "file_prefix"),
            (AutoSnapshots { file_prefix: String::new(), ..config() }, "file_prefix"),
            (AutoSnapshots { place: Place::Local { max_space: 0 }, ..config() }, "local_max_space"),
            (AutoSnapshots { path_prefix: "a/../b".into(), ..in_bucket() }, "path_prefix"),
            (AutoSnapshots { path_prefix: "a//b".into(), ..in_bucket() }, "path_prefix"),
        ] {
            assert!(bad.check().unwrap_err().to_string().starts_with(field));
        }
    }
}
