//! `sys/storage/raft/snapshot-auto/*`: snapshots that are taken without being asked for. Source: Vault's API page
//! `sys/storage/raft/snapshot-auto`.

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

/// When snapshots are taken, and where they are kept.
#[derive(Deserialize, JsonSchema)]
struct WriteInput {
    /// Time between two snapshots.
    interval: Option<Ttl>,
    /// How many are kept; the oldest go first.
    retain: Option<Int>,
    /// The directory on the active node, or what the names of objects begin with.
    path_prefix: Option<Text>,
    /// What the names of the files, or the last parts of the names of objects, begin with.
    file_prefix: Option<Text>,
    /// Where they are kept: "local" or "aws-s3".
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
    /// How many are kept.
    retain: u64,
    /// The directory on the active node, or what the names of objects begin with.
    path_prefix: String,
    /// What the names of the files, or the last parts of the names of objects, begin with.
    file_prefix: String,
    /// Where they are kept.
    storage_type: &'static str,
    /// Bytes that they may take together, for "local".
    #[serde(skip_serializing_if = "Option::is_none")]
    local_max_space: Option<u64>,
    #[serde(flatten)]
    bucket: Option<BucketView>,
}

/// Where snapshots can be kept.
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

/// Where snapshots are to be kept. What is given for another place is no use, and refused.
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

/// What has become of a configuration's snapshots. Times that have not been are Go's zero time.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// How many have failed since one succeeded.
    consecutive_errors: u32,
    /// When the last was done or failed.
    last_snapshot_end: String,
    /// Why it failed.
    last_snapshot_error: String,
    /// When it was begun.
    last_snapshot_start: String,
    /// Where the last that succeeded is.
    last_snapshot_url: String,
    /// When the next is due.
    next_snapshot_start: String,
    /// When the one under way was begun.
    snapshot_start: String,
    /// Where it will be. Empty: its name is given when it is whole.
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
