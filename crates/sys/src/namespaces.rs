//! `sys/namespaces`: the namespaces within that of the request. Source: Vault's API page `sys/namespaces`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_barrier::{NamespaceId, Txn, View};
use strongroom_engine_api::lenient::{Pairs, Text};
use strongroom_engine_api::{
    Body, Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, Request, bad_request,
};
use strongroom_mounts::{Mounts, Namespace, Unlocking};
use zeroize::{Zeroize as _, Zeroizing};

/// Entries of custom metadata, and bytes of a key and of a value.
const MAX_METADATA: usize = 64;
const MAX_METADATA_KEY: usize = 128;
const MAX_METADATA_VALUE: usize = 512;

pub(crate) fn routes(engine: Engine) -> Engine {
    let engine = engine
        .route("namespaces/api-lock/lock", |r| r.update("Lock the API of this namespace.", lock))
        .route("namespaces/api-lock/lock/{path..}", |r| {
            r.update("Lock the API of a namespace in this one.", lock_below)
        })
        .route("namespaces/api-lock/unlock", |r| {
            r.while_locked().update("Unlock the API of this namespace.", unlock)
        })
        .route("namespaces/api-lock/unlock/{path..}", |r| {
            r.while_locked().update("Unlock the API of a namespace in this one.", unlock_below)
        });
    engine.route("namespaces", |r| r.list("List the namespaces in this one.", list)).route(
        "namespaces/{path..}",
        |r| {
            r.read("Read a namespace.", read)
                .update("Create a namespace, or set the metadata of one that is there.", create)
                .patch("Change the metadata of a namespace by a JSON merge patch.", patch)
                .delete("Delete a namespace with all that is in it, other namespaces excepted.", delete)
        },
    )
}

/// A namespace as clients see it.
#[derive(Serialize, JsonSchema)]
struct NamespaceView {
    /// The metadata set at its creation.
    custom_metadata: BTreeMap<String, String>,
    /// The id that its tokens, accessors and leases end in.
    id: String,
    /// Its path from the root namespace.
    path: String,
    /// A number that is the namespace's alone.
    uuid: String,
}

impl From<&Namespace> for NamespaceView {
    fn from(namespace: &Namespace) -> Self {
        Self {
            custom_metadata: namespace.custom_metadata().clone(),
            id: namespace.short_id.clone(),
            path: namespace.path.clone(),
            uuid: namespace.uuid().to_owned(),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
struct NamespaceInput {
    /// Arbitrary key=value metadata to associate with the namespace.
    custom_metadata: Option<Pairs>,
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), EngineError> {
    if metadata.len() > MAX_METADATA {
        let count = metadata.len();
        return Err(bad_request(format!("custom_metadata has {count} keys, more than {MAX_METADATA}")));
    }
    let fits = |(key, value): (&String, &String)| {
        (1..=MAX_METADATA_KEY).contains(&key.len()) && value.len() <= MAX_METADATA_VALUE
    };
    if metadata.iter().all(fits) {
        return Ok(());
    }
    Err(bad_request(format!(
        "a key of custom_metadata has 1 to {MAX_METADATA_KEY} bytes, a value at most {MAX_METADATA_VALUE}"
    )))
}

/// The namespace of a request.
fn here(mounts: &Mounts, mount: &Mount) -> Result<Arc<Namespace>, EngineError> {
    mounts.namespace(mount.namespace).ok_or(EngineError::NotFound)
}

async fn list(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    paging: Paging,
) -> Result<Reply, EngineError> {
    let here = here(&mounts, &mount)?;
    let mut keys = Vec::new();
    let mut info = BTreeMap::new();
    for child in mounts.router().await?.children(mount.namespace) {
        let Some(name) = child.path.strip_prefix(&here.path) else { continue };
        if paging.after.as_deref().is_some_and(|after| name <= after) {
            continue;
        }
        if keys.len() == paging.limit {
            break;
        }
        keys.push(name.to_owned());
        info.insert(name.to_owned(), NamespaceView::from(&*child));
    }
    if keys.is_empty() {
        return Err(EngineError::NotFound);
    }
    Reply::keys_with(&keys, &info)
}

async fn read(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    view: View,
) -> Result<Option<Data<NamespaceView>>, EngineError> {
    let found = mounts.find_namespace(&view, &*here(&mounts, &mount)?, &path).await?;
    Ok(found.as_ref().map(|namespace| Data(namespace.into())))
}

async fn create(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    Input(input): Input<NamespaceInput>,
    txn: Txn,
) -> Result<Data<NamespaceView>, EngineError> {
    let metadata = input.custom_metadata.map(|metadata| metadata.0).unwrap_or_default();
    check_metadata(&metadata)?;
    let (made, is_new) = mounts.create_namespace(&txn, &*here(&mounts, &mount)?, &path, metadata).await?;
    if is_new {
        strongroom_policies::write_builtin(&txn, made.id)?;
    }
    Ok(Data((&made).into()))
}

async fn patch(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    Body(body): Body,
    txn: Txn,
) -> Result<Data<NamespaceView>, EngineError> {
    let here = here(&mounts, &mount)?;
    let kept = mounts.find_namespace(&txn, &here, &path).await?.ok_or(EngineError::NotFound)?;
    let mut metadata = kept.custom_metadata().clone();
    match body.get("custom_metadata") {
        None => {}
        Some(Value::Null) => metadata.clear(),
        Some(Value::Object(changes)) => {
            for (key, value) in changes {
                match value {
                    Value::Null => metadata.remove(key),
                    Value::String(text) => metadata.insert(key.clone(), text.clone()),
                    _ => return Err(bad_request("values of custom_metadata are strings")),
                };
            }
        }
        Some(_) => return Err(bad_request("custom_metadata is an object")),
    }
    check_metadata(&metadata)?;
    let (made, _) = mounts.create_namespace(&txn, &here, &path, metadata).await?;
    Ok(Data((&made).into()))
}

async fn delete(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    mounts.delete_namespace(&txn, &*here(&mounts, &mount)?, &path).await?;
    Ok(())
}

/// The key of a lock, shown once.
#[derive(Serialize, JsonSchema)]
struct Locked {
    /// The key that unlocks the namespace.
    unlock_key: String,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.unlock_key.zeroize();
    }
}

/// The input of unlocking.
#[derive(Deserialize, JsonSchema)]
struct UnlockInput {
    /// The key that locking returned. Not needed with the `sudo` capability on the path.
    unlock_key: Option<Text>,
}

fn lock_it(mounts: &Mounts, txn: &Txn, namespace: &Namespace) -> Result<Data<Locked>, EngineError> {
    let key = mounts.lock_namespace(txn, namespace)?;
    Ok(Data(Locked { unlock_key: key.expose().clone() }))
}

async fn lock(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    txn: Txn,
) -> Result<Data<Locked>, EngineError> {
    let here = here(&mounts, &mount)?;
    lock_it(&mounts, &txn, &here_in(&mounts, &txn, &here).await?)
}

async fn lock_below(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    txn: Txn,
) -> Result<Data<Locked>, EngineError> {
    let found = mounts.find_namespace(&txn, &*here(&mounts, &mount)?, &path).await?;
    lock_it(&mounts, &txn, &found.ok_or_else(|| unknown(&path))?)
}

/// The namespace of the request as the transaction sees it.
async fn here_in(mounts: &Mounts, txn: &Txn, here: &Namespace) -> Result<Namespace, EngineError> {
    if here.is_root() {
        return Ok(here.clone());
    }
    let root = mounts.namespace(NamespaceId::ROOT).ok_or(EngineError::NotFound)?;
    mounts.find_namespace(txn, &root, &here.path).await?.ok_or(EngineError::NotFound)
}

fn unknown(path: &str) -> EngineError {
    bad_request(format!("requested namespace {path:?} does not exist"))
}

fn unlock_it(
    mounts: &Mounts,
    txn: &Txn,
    namespace: &Namespace,
    request: &Request,
    input: UnlockInput,
) -> Result<(), EngineError> {
    let key = Zeroizing::new(input.unlock_key.map(|key| key.0).unwrap_or_default());
    let has_sudo = request.caller().is_some_and(|caller| caller.sudo);
    let by = match key.as_str() {
        "" if has_sudo => Unlocking::Privileged,
        "" => return Err(bad_request("unlock_key is required")),
        key => Unlocking::With(key),
    };
    mounts.unlock_namespace(txn, namespace, by)
}

async fn unlock(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    request: Arc<Request>,
    Input(input): Input<UnlockInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let here = here(&mounts, &mount)?;
    let here = here_in(&mounts, &txn, &here).await?;
    unlock_it(&mounts, &txn, &here, &request, input)
}

async fn unlock_below(
    Extension(mounts): Extension<Mounts>,
    mount: Arc<Mount>,
    Path(path): Path<String>,
    request: Arc<Request>,
    Input(input): Input<UnlockInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let found = mounts.find_namespace(&txn, &*here(&mounts, &mount)?, &path).await?;
    unlock_it(&mounts, &txn, &found.ok_or_else(|| unknown(&path))?, &request, input)
}

#[cfg(test)]
mod tests;
