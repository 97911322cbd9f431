//! `sys/storage/raft/snapshot-auto/*`: automated snapshots. Source: Vault's API page `sys/storage/raft/snapshot-auto`.

mod bucket;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Int, Text, Ttl};
use strongroom_engine_api::{
    Clock, Data, Engine, EngineError, Extension, Input, Moment, Paging, Path, Reply, bad_request,
};

use bucket::{BucketInput, BucketView};
use strongroom_backup::{AutoSnapshots, Backup, Place};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("storage/raft/snapshot-auto/config", |r| {
            r.sudo().list("List the names of the configurations of automated snapshots.", list)
        })
        .route("storage/raft/snapshot-auto/config/{name}", |r| {
            r.sudo()
                .read("Read a configuration of automated snapshots.", read)
                .update("Create or update a configuration of automated snapshots.", write)
                .delete("Delete a configuration of automated snapshots. What was taken is left.", delete)
        })
        .route("storage/raft/snapshot-auto/status/{name}", |r| {
            r.read("Read what has become of automated snapshots.", status)
        })
}

const DEFAULT_PREFIX: &str = "vault-snapshot";

/// The input of configuring automated snapshots: their interval and their place.
#[derive(Deserialize, JsonSchema)]
struct WriteInput {
    /// Time between two snapshots.
    interval: Option<Ttl>,
    /// The number of snapshots to keep; the oldest are removed first.
    retain: Option<Int>,
    /// The directory on the active node, or the prefix of the names of objects.
    path_prefix: Option<Text>,
    /// The prefix of the names of the files, or of the last parts of the names of objects.
    file_prefix: Option<Text>,
    /// The storage of snapshots: "local" or "aws-s3".
    storage_type: Option<Text>,
    /// Bytes that they may take together, for "local".
    local_max_space: Option<Int>,
    /// Loads each snapshot for recovery. Not offered.
    autoload_enabled: Option<Flag>,
}

/// A configuration.
#[derive(Serialize, JsonSchema)]
struct Configuration {
    /// Seconds between two snapshots.
    interval: u64,
    /// The number of snapshots to keep.
    retain: u64,
    /// The directory on the active node, or the prefix of the names of objects.
    path_prefix: String,
    /// The prefix of the names of the files, or of the last parts of the names of objects.
    file_prefix: String,
    /// The storage of snapshots.
    storage_type: &'static str,
    /// Bytes that they may take together, for "local".
    #[serde(skip_serializing_if = "Option::is_none")]
    local_max_space: Option<u64>,
    #[serde(flatten)]
    bucket: Option<BucketView>,
}

/// The kinds of storage for snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StorageType {
    Local,
    AwsS3,
}

impl StorageType {
    const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::AwsS3 => "aws-s3",
        }
    }

    const fn of(place: &Place) -> Self {
        match place {
            Place::Local { .. } => Self::Local,
            Place::Bucket(_) => Self::AwsS3,
        }
    }

    fn named(name: &str) -> Result<Self, EngineError> {
        match name {
            "local" => Ok(Self::Local),
            "aws-s3" => Ok(Self::AwsS3),
            "azure-blob" | "google-gcs" => Err(bad_request(format!(
                "storage_type {name:?} is not supported; \"local\" and \"aws-s3\" are"
            ))),
            _ => Err(bad_request(format!("invalid storage_type {name:?}"))),
        }
    }
}

async fn list(
    Extension(backup): Extension<Backup>,
    view: View,
    paging: Paging,
) -> Result<Reply, EngineError> {
    let names = backup.auto_snapshot_names(&view, paging.after.as_deref(), paging.limit).await?;
    Reply::keys(&names)
}

async fn read(
    Extension(backup): Extension<Backup>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<Option<Data<Configuration>>, EngineError> {
    let Some(config) = backup.auto_snapshots(&txn, &name).await? else { return Ok(None) };
    let AutoSnapshots { interval, retain, path_prefix, file_prefix, place } = AutoSnapshots::clone(&config);
    let storage_type = StorageType::of(&place).name();
    let (local_max_space, bucket) = match place {
        Place::Local { max_space } => (Some(max_space), None),
        Place::Bucket(bucket) => (None, Some(BucketView::of(*bucket))),
    };
    let interval = interval.as_secs();
    Ok(Some(Data(Configuration {
        interval,
        retain,
        path_prefix,
        file_prefix,
        storage_type,
        local_max_space,
        bucket,
    })))
}

fn count(given: Option<Int>, name: &str) -> Result<Option<u64>, EngineError> {
    let negative = |_error| bad_request(format!("{name} must not be negative"));
    given.map(|number| u64::try_from(number.0).map_err(negative)).transpose()
}

async fn write(
    Extension(backup): Extension<Backup>,
    Path(name): Path<String>,
    txn: Txn,
    Input(input): Input<WriteInput>,
    Input(bucket): Input<BucketInput>,
) -> Result<(), EngineError> {
    let before = backup.auto_snapshots(&txn, &name).await?;
    backup.set_auto_snapshots(&txn, &name, Some(merged(input, bucket, before.as_deref())?))
}

/// The configuration as asked for; what is not given is as before.
fn merged(
    input: WriteInput,
    bucket: BucketInput,
    before: Option<&AutoSnapshots>,
) -> Result<AutoSnapshots, EngineError> {
    if input.autoload_enabled.is_some_and(|flag| flag.0) {
        return Err(bad_request("autoload_enabled is not supported"));
    }
    let storage_type = match &input.storage_type {
        Some(name) => StorageType::named(name)?,
        None => StorageType::of(&before.ok_or_else(|| bad_request("missing storage_type"))?.place),
    };
    let interval = input.interval.map(|interval| interval.0).or_else(|| before.map(|before| before.interval));
    let path_prefix =
        input.path_prefix.map(|path| path.0).or_else(|| before.map(|before| before.path_prefix.clone()));
    let file_prefix =
        input.file_prefix.map(|prefix| prefix.0).or_else(|| before.map(|before| before.file_prefix.clone()));
    Ok(AutoSnapshots {
        interval: interval.ok_or_else(|| bad_request("missing interval"))?,
        retain: count(input.retain, "retain")?.or_else(|| before.map(|before| before.retain)).unwrap_or(1),
        path_prefix: path_prefix.ok_or_else(|| bad_request("missing path_prefix"))?,
        file_prefix: file_prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
        place: place(storage_type, input.local_max_space, bucket, before.map(|before| &before.place))?,
    })
}

/// The place of snapshots. Parameters for another kind of storage are refused.
fn place(
    storage_type: StorageType,
    max_space: Option<Int>,
    bucket: BucketInput,
    before: Option<&Place>,
) -> Result<Place, EngineError> {
    let max_space = count(max_space, "local_max_space")?;
    match storage_type {
        StorageType::Local => {
            if let Some(name) = bucket.given() {
                return Err(bad_request(format!("{name} is for storage_type aws-s3 only")));
            }
            let before = match before {
                Some(Place::Local { max_space }) => Some(*max_space),
                _ => None,
            };
            let max_space = max_space.or(before).ok_or_else(|| bad_request("missing local_max_space"))?;
            Ok(Place::Local { max_space })
        }
        StorageType::AwsS3 => {
            if max_space.is_some_and(|space| space > 0) {
                return Err(bad_request("local_max_space is for storage_type local only"));
            }
            let before = match before {
                Some(Place::Bucket(bucket)) => Some(&**bucket),
                _ => None,
            };
            Ok(Place::Bucket(Box::new(bucket.merged(before)?)))
        }
    }
}

async fn delete(
    Extension(backup): Extension<Backup>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    backup.set_auto_snapshots(&txn, &name, None)
}

/// The status of a configuration's snapshots. Times that are not set are Go's zero time.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// The number of failures since the last success.
    consecutive_errors: u32,
    /// The time at which the last was done or failed.
    last_snapshot_end: String,
    /// The reason why it failed.
    last_snapshot_error: String,
    /// The time at which it was begun.
    last_snapshot_start: String,
    /// The place of the last that succeeded.
    last_snapshot_url: String,
    /// The time at which the next is due.
    next_snapshot_start: String,
    /// The time at which the one under way was begun.
    snapshot_start: String,
    /// The place of the one under way. Empty: its name is set when it is complete.
    snapshot_url: String,
}

fn when(moment: Option<Moment>) -> String {
    moment.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), Moment::rfc3339_secs)
}

async fn status(
    Extension(backup): Extension<Backup>,
    Path(name): Path<String>,
    txn: Txn,
    clock: Clock,
) -> Result<Option<Data<Status>>, EngineError> {
    let Some(config) = backup.auto_snapshots(&txn, &name).await? else { return Ok(None) };
    let (status, under_way) = backup.auto_status(&txn, &name).await?;
    Ok(Some(Data(Status {
        consecutive_errors: status.consecutive_errors,
        last_snapshot_end: when(status.last_end),
        next_snapshot_start: when(Some(status.next(&config, clock.now()))),
        last_snapshot_error: status.last_error,
        last_snapshot_start: when(status.last_start),
        last_snapshot_url: status.last_url,
        snapshot_start: when(under_way),
        snapshot_url: String::new(),
    })))
}
