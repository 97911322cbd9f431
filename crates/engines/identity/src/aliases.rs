//! `entity-alias`, and its older names `alias` and `persona`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Pairs, Text};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{AliasChange, Identity, IdentityId};

use crate::views::{self, AliasView};
use crate::{NAME, optional_id};

pub(crate) fn routes(engine: Engine) -> Engine {
    ["entity-alias", "alias", "persona"].into_iter().fold(engine, |engine, at| {
        engine
            .route(at, |r| {
                r.update("Create an alias, or update the one of this id or name.", write).means("name", NAME)
            })
            .route(&format!("{at}/id"), |r| r.list("List the ids of aliases.", list))
            .route(&format!("{at}/id/{{id}}"), |r| {
                r.read("Read an alias.", read)
                    .update("Update an alias.", write_at)
                    .delete("Delete an alias; its entity stays.", delete)
                    .means("name", NAME)
            })
    })
}

#[derive(Deserialize, JsonSchema)]
struct AliasInput {
    /// Entity ID to which this alias belongs; where none is given, a new entity is made.
    canonical_id: Option<Text>,
    /// User provided key-value pairs, all of them.
    custom_metadata: Option<Pairs>,
    /// Use `canonical_id` instead.
    #[schemars(extend("x-newer-name" = "canonical_id"))]
    entity_id: Option<Text>,
    /// ID of the entity alias. If set, updates the corresponding entity alias.
    id: Option<Text>,
    /// Use `custom_metadata` instead: metadata is what auth methods give.
    #[schemars(extend("x-newer-name" = "custom_metadata"))]
    metadata: Option<Pairs>,
    /// Mount accessor to which this alias belongs to.
    mount_accessor: Option<Text>,
    /// Name of the alias.
    name: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct AliasAtInput {
    /// Entity ID to which this alias should be tied to.
    canonical_id: Option<Text>,
    /// User provided key-value pairs, all of them.
    custom_metadata: Option<Pairs>,
    /// Use `canonical_id` instead.
    #[schemars(extend("x-newer-name" = "canonical_id"))]
    entity_id: Option<Text>,
    /// Use `custom_metadata` instead: metadata is what auth methods give.
    #[schemars(extend("x-newer-name" = "custom_metadata"))]
    metadata: Option<Pairs>,
    /// Mount accessor to which this alias belongs to.
    mount_accessor: Option<Text>,
    /// Another name of the alias.
    name: Option<Text>,
}

/// The answer to a write.
#[derive(Serialize, JsonSchema)]
struct Written {
    /// The entity.
    canonical_id: String,
    /// The alias.
    id: String,
}

async fn write(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<AliasInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid alias ID provided")?;
    let change = change(
        input.name,
        input.mount_accessor,
        input.canonical_id.or(input.entity_id),
        input.custom_metadata.or(input.metadata),
    )?;
    put(&identity, &txn, &mount, id, change).await
}

async fn write_at(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<AliasAtInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = IdentityId::parse(&id).ok_or_else(|| bad_request("invalid alias ID provided"))?;
    let change = change(
        input.name,
        input.mount_accessor,
        input.canonical_id.or(input.entity_id),
        input.custom_metadata.or(input.metadata),
    )?;
    put(&identity, &txn, &mount, Some(id), change).await
}

fn change(
    name: Option<Text>,
    accessor: Option<Text>,
    entity: Option<Text>,
    custom_metadata: Option<Pairs>,
) -> Result<AliasChange, EngineError> {
    let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
    Ok(AliasChange {
        name: given(name),
        accessor: given(accessor),
        entity: optional_id(given(entity).as_deref(), "invalid canonical ID")?,
        custom_metadata: custom_metadata.map(|pairs| pairs.0),
        by: None,
    })
}

async fn put(
    identity: &Identity,
    txn: &Txn,
    mount: &Mount,
    id: Option<IdentityId>,
    change: AliasChange,
) -> Result<Data<Written>, EngineError> {
    let (id, entity) = identity.write_alias(txn, mount.namespace, id, change).await?;
    Ok(Data(Written { canonical_id: entity.to_string(), id: id.to_string() }))
}

async fn read(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<AliasView>>, EngineError> {
    let Some(id) = IdentityId::parse(&id) else { return Ok(None) };
    let Some((place, alias)) = identity.alias(&view, mount.namespace, id).await? else { return Ok(None) };
    Ok(Some(Data(views::alias(&identity, mount.namespace, &place, &alias, true).await?)))
}

async fn list(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids = identity.alias_ids(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    let (mut keys, mut info) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let Some((place, alias)) = identity.alias(&view, mount.namespace, id).await? else { continue };
        let shown = views::alias_info(&identity, mount.namespace, &place, &alias).await?;
        info.insert(id.to_string(), shown);
        keys.push(id.to_string());
    }
    Reply::keys_with(&keys, &info)
}

async fn delete(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match IdentityId::parse(&id) {
        Some(id) => identity.delete_alias(&txn, mount.namespace, id).await,
        None => Ok(()),
    }
}
