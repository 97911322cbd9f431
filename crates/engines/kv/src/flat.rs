//! KV version 1: one value a key.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::Ttl;
use strongroom_engine_api::{
    Body, Call, Engine, EngineError, LeaseGrant, Moment, Paging, Path, Reply, Stored, Txn, View, bad_request,
};

use crate::VERSION;
use crate::events::event;
use crate::paths::{check_writable, folder};
use crate::secret_json::SecretJson;
use crate::tables::ENTRIES;

/// A secret of version 1.
#[derive(Serialize, Deserialize)]
pub(crate) struct FlatEntry {
    /// The members as they were given.
    pub(crate) data: SecretJson,
    /// The time at which it was written: what version 2 shows as the creation of the first version.
    pub(crate) written: Moment,
    /// Seconds after which readers should look again, where `ttl` or `lease` among the members says so; 0 for less than
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
}

impl Stored for FlatEntry {}

impl FlatEntry {
    /// The time that readers are told; zero leaves it to the mount. Less than a second is told as no whole second, which
    /// is not the same as nothing.
    fn hint(&self) -> Duration {
        match self.ttl_seconds {
            None => Duration::ZERO,
            Some(0) => Duration::from_nanos(1),
            Some(seconds) => Duration::from_secs(seconds),
        }
    }
}

pub(crate) fn engine() -> Engine {
    Engine::new(
        crate::KIND,
        "Keeps secrets as they are given, under any path. A member named ttl is handed to readers as the time \
         after which they should look again; nothing is ever deleted by it.",
    )
    .generic_name("kv_v1")
    .alias("kv-v1", VERSION, "1")
    .alias("generic", VERSION, "1")
    .route("{path..}", |route| {
        route
            .read("Retrieve the secret at the specified location.", read)
            .upsert("Store a secret at the specified location.", exists, write)
            .delete("Delete the secret at the specified location.", delete)
            .list("List the names at the specified location; prefixes end in a slash.", list)
            .scan("List the paths of all secrets below the specified location.", scan)
    })
}

async fn exists(Path(path): Path<String>, txn: Txn) -> Result<bool, EngineError> {
    Ok(ENTRIES.get(&txn, &path).await?.is_some())
}

async fn read(Path(path): Path<String>, view: View) -> Result<Reply, EngineError> {
    let entry = ENTRIES.get(&view, &path).await?.ok_or(EngineError::NotFound)?;
    let hint = LeaseGrant { ttl: entry.hint(), hint_only: true, ..LeaseGrant::default() };
    Ok(Reply::json(entry.data.to_json()?).lent(hint))
}

async fn write(
    Path(path): Path<String>,
    Body(members): Body,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    check_writable(&path)?;
    if members.is_empty() {
        return Err(bad_request("missing data fields"));
    }
    let data = SecretJson::of(&members)?;
    let written = call.environment.clock.now();
    ENTRIES.put(&txn, &path, FlatEntry { data, written, ttl_seconds: hint(&members) })?;
    txn.emit(|| event(&call, "kv-v1/write", &path, Some(&path)));
    Ok(())
}

/// `ttl`, or its older name `lease`, where it can be read as a duration; what cannot is data like any other.
fn hint(members: &Map<String, Value>) -> Option<u64> {
    let given = members.get("ttl").or_else(|| members.get("lease"))?;
    // The command line sends numbers as text, fractions of a second too.
    let seconds = given.as_str().and_then(|text| text.parse::<f64>().ok());
    let ttl = match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(ttl) => ttl,
        None => *Ttl::deserialize(given).ok()?,
    };
    (!ttl.is_zero()).then_some(ttl.as_secs())
}

async fn delete(Path(path): Path<String>, call: Arc<Call>, txn: Txn) -> Result<(), EngineError> {
    ENTRIES.delete(&txn, &path);
    txn.emit(|| event(&call, "kv-v1/delete", &path, None));
    Ok(())
}

async fn list(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let names = ENTRIES.children(&view, &folder(path), paging.after.as_deref(), paging.limit).await?;
    Reply::keys(&names)
}

async fn scan(Path(path): Path<String>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let folder = folder(path);
    let after = paging.after.map(|after| format!("{folder}{after}"));
    let paths = ENTRIES.keys(&view, folder.as_str(), after.as_deref(), paging.limit).await?;
    Reply::keys(&crate::paths::below(&folder, &paths))
}
