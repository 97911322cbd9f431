//! `scim/client`: the clients, as operators set them up.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply};
use strongroom_identity::{Identity, ScimClient, ScimClientChange, fold};

use crate::optional_id;

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("scim/client", |r| r.list("List SCIM clients.", list))
        .route("scim/clients", |r| r.list("List SCIM clients.", list))
        .route("scim/client/{client_name:caseless}", |r| {
            r.read("Read a SCIM client.", read)
                .upsert("Create or update a SCIM client.", exists, write)
                .delete("Delete a SCIM client, with the users and groups that it has made.", delete)
        })
}

#[derive(Deserialize, JsonSchema)]
struct ClientInput {
    /// ID of an existing entity of the namespace, whose tokens make the client's requests.
    access_grant_principal: Option<Text>,
    /// Accessor of the auth mount at which the client's users get aliases. It cannot be changed.
    alias_mount_accessor: Option<Text>,
}

/// A SCIM client.
#[derive(Serialize, JsonSchema)]
struct ClientView {
    /// The entity whose tokens make its requests.
    access_grant_principal: String,
    /// The accessor of the auth mount at which its users get aliases.
    alias_mount_accessor: String,
    /// Its id.
    client_id: String,
    /// Its name.
    client_name: String,
    /// True while its users and groups are being deleted.
    deleting: bool,
}

fn shown(name: &str, client: &ScimClient) -> ClientView {
    ClientView {
        access_grant_principal: client.principal.to_string(),
        alias_mount_accessor: client.accessor.clone(),
        client_id: client.id.to_string(),
        client_name: fold(name),
        deleting: client.deleting,
    }
}

async fn exists(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<bool, EngineError> {
    Ok(identity.scim_client(&view, mount.namespace, &name).await?.is_some())
}

async fn read(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<ClientView>>, EngineError> {
    let found = identity.scim_client(&view, mount.namespace, &name).await?;
    Ok(found.map(|client| Data(shown(&name, &client))))
}

async fn list(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let names =
        identity.scim_client_names(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    let mut info = BTreeMap::new();
    for name in &names {
        if let Some(client) = identity.scim_client(&view, mount.namespace, name).await? {
            info.insert(name.clone(), shown(name, &client));
        }
    }
    Reply::keys_with(&names, &info)
}

async fn write(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ClientInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let principal = input.access_grant_principal.map(|id| id.0);
    let change = ScimClientChange {
        principal: optional_id(principal.as_deref(), "invalid access_grant_principal")?,
        accessor: input.alias_mount_accessor.map(|accessor| accessor.0),
    };
    identity.write_scim_client(&txn, mount.namespace, &name, change).await
}

async fn delete(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    identity.delete_scim_client(&txn, mount.namespace, &name).await
}
