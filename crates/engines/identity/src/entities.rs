//! `entity`, `entity/id/:id`, `entity/name/:name`, `entity/batch-delete`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, List, Names, Pairs, Text};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{EntityChange, Identity, IdentityId, Managed};
use strongroom_mfa::Mfa;
use strongroom_revocation::Revocation;

use crate::views::{self, EntityView};
use crate::{NAME, optional_id, path_name};

/// Entities that one request deletes.
const MAX_DELETED: usize = 1000;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("entity", |r| {
            r.update("Create an entity, or update the one of this id or name.", write).means("name", NAME)
        })
        .route("entity/id", |r| r.list("List the ids of entities.", list_ids))
        .route("entity/id/{id}", |r| {
            r.read("Read an entity.", read)
                .update("Update an entity.", write_at)
                .delete("Delete an entity: its tokens and leases end.", delete)
                .means("name", NAME)
        })
        .route("entity/name", |r| r.list("List the names of entities.", list_names))
        .route("entity/name/{name..:caseless}", |r| {
            r.read("Read an entity by its name.", read_named)
                .update("Create or update the entity of this name.", write_named)
                .delete("Delete an entity by its name: its tokens and leases end.", delete_named)
        })
        .route("entity/batch-delete", |r| {
            r.update("Delete several entities: their tokens and leases end.", batch_delete)
        })
}

#[derive(Default, Deserialize, JsonSchema)]
struct EntityInput {
    /// If set true, tokens tied to this identity will not be able to be used (but will not be revoked).
    disabled: Option<Flag>,
    /// ID of the entity. If set, updates the corresponding existing entity.
    id: Option<Text>,
    /// Metadata to be associated with the entity, all of it.
    metadata: Option<Pairs>,
    /// Name of the entity. If set, and no ID is, updates the corresponding existing entity.
    name: Option<Text>,
    /// Policies to be tied to the entity.
    policies: Option<Names>,
}

#[derive(Deserialize, JsonSchema)]
struct EntityAtInput {
    /// If set true, tokens tied to this identity will not be able to be used (but will not be revoked).
    disabled: Option<Flag>,
    /// Metadata to be associated with the entity, all of it.
    metadata: Option<Pairs>,
    /// Another name of the entity.
    name: Option<Text>,
    /// Policies to be tied to the entity.
    policies: Option<Names>,
}

#[derive(Deserialize, JsonSchema)]
struct EntityNamedInput {
    /// If set true, tokens tied to this identity will not be able to be used (but will not be revoked).
    disabled: Option<Flag>,
    /// ID of the entity. If set, the entity of this ID gets the name.
    id: Option<Text>,
    /// Metadata to be associated with the entity, all of it.
    metadata: Option<Pairs>,
    /// Policies to be tied to the entity.
    policies: Option<Names>,
}

#[derive(Deserialize, JsonSchema)]
struct BatchDeleteInput {
    /// Entity IDs to delete; those that are not there are passed over.
    entity_ids: Option<List>,
}

/// The answer to a creation.
#[derive(Serialize, JsonSchema)]
struct Created {
    /// Its aliases: a new entity has none.
    aliases: Option<Vec<String>>,
    /// Its id.
    id: String,
    /// Its name.
    name: String,
}

async fn write(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<EntityInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid entity id")?;
    let change = EntityChange {
        name: input.name.map(|name| name.0),
        metadata: input.metadata.map(|metadata| metadata.0),
        policies: input.policies.map(|policies| policies.0),
        disabled: input.disabled.map(|disabled| disabled.0),
        by: None,
    };
    put(&identity, &txn, &mount, id, change).await
}

async fn write_at(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<EntityAtInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let id = IdentityId::parse(&id).ok_or_else(|| bad_request("invalid entity id"))?;
    let change = EntityChange {
        name: input.name.map(|name| name.0),
        metadata: input.metadata.map(|metadata| metadata.0),
        policies: input.policies.map(|policies| policies.0),
        disabled: input.disabled.map(|disabled| disabled.0),
        by: None,
    };
    put(&identity, &txn, &mount, Some(id), change).await
}

async fn write_named(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<EntityNamedInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let name = path_name(&name)?;
    if name.is_empty() {
        return Err(bad_request("missing entity name"));
    }
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid entity id")?;
    let change = EntityChange {
        name: Some(name.to_owned()),
        metadata: input.metadata.map(|metadata| metadata.0),
        policies: input.policies.map(|policies| policies.0),
        disabled: input.disabled.map(|disabled| disabled.0),
        by: None,
    };
    put(&identity, &txn, &mount, id, change).await
}

/// Writes an entity. A new one is answered; an update has nothing to say.
async fn put(
    identity: &Identity,
    txn: &Txn,
    mount: &Mount,
    id: Option<IdentityId>,
    change: EntityChange,
) -> Result<Reply, EngineError> {
    if let Some(id) = id
        && identity.entity(txn, mount.namespace, id).await?.is_none()
    {
        return Err(bad_request("invalid entity id"));
    }
    let (id, is_new) = identity.write_entity(txn, mount.namespace, id, change).await?;
    if !is_new {
        return Ok(Reply::default());
    }
    let kept = identity.entity(txn, mount.namespace, id).await?;
    let name = kept.map(|kept| kept.name.clone()).unwrap_or_default();
    Reply::data(&Created { aliases: None, id: id.to_string(), name })
}

async fn read(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<EntityView>>, EngineError> {
    let Some(id) = IdentityId::parse(&id) else { return Ok(None) };
    Ok(views::entity(&identity, &view, &mount, id).await?.map(Data))
}

async fn read_named(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<EntityView>>, EngineError> {
    let Some(id) = identity.entity_named(&view, mount.namespace, path_name(&name)?).await? else {
        return Ok(None);
    };
    Ok(views::entity(&identity, &view, &mount, id).await?.map(Data))
}

async fn list_ids(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids = identity.entity_ids(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    listed(&identity, &view, &mount, ids, false).await
}

async fn list_names(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids =
        identity.entities_by_name(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    listed(&identity, &view, &mount, ids, true).await
}

/// A list of entities with what is known of each.
async fn listed(
    identity: &Identity,
    view: &View,
    mount: &Mount,
    ids: Vec<IdentityId>,
    by_name: bool,
) -> Result<Reply, EngineError> {
    let (mut keys, mut info) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let Some(entity) = identity.entity(view, mount.namespace, id).await? else { continue };
        let key = if by_name { entity.name.clone() } else { id.to_string() };
        info.insert(key.clone(), views::entity_info(identity, view, mount, (id, &entity), by_name).await?);
        keys.push(key);
    }
    Reply::keys_with(&keys, &info)
}

async fn delete(
    (Extension(identity), Extension(mfa)): (Extension<Identity>, Extension<Mfa>),
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match IdentityId::parse(&id) {
        Some(id) => remove((&identity, &mfa, &revocation), &txn, &mount, id).await,
        None => Ok(()),
    }
}

async fn delete_named(
    (Extension(identity), Extension(mfa)): (Extension<Identity>, Extension<Mfa>),
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match identity.entity_named(&txn, mount.namespace, path_name(&name)?).await? {
        Some(id) => remove((&identity, &mfa, &revocation), &txn, &mount, id).await,
        None => Ok(()),
    }
}

/// Deletes an entity that no SCIM client manages, with what it holds.
async fn remove(
    (identity, mfa, revocation): (&Identity, &Mfa, &Revocation),
    txn: &Txn,
    mount: &Mount,
    id: IdentityId,
) -> Result<(), EngineError> {
    refuse_managed(identity, txn, mount, id).await?;
    end((identity, mfa, revocation), txn, mount, id).await
}

/// Refuses an operator to end what a SCIM client manages.
async fn refuse_managed(
    identity: &Identity,
    txn: &Txn,
    mount: &Mount,
    id: IdentityId,
) -> Result<(), EngineError> {
    let entity = identity.entity(txn, mount.namespace, id).await?;
    Managed::refuse(entity.as_ref().and_then(|entity| entity.managed.as_ref()), "entity")
}

/// Deletes an entity, with what it holds.
pub(crate) async fn end(
    (identity, mfa, revocation): (&Identity, &Mfa, &Revocation),
    txn: &Txn,
    mount: &Mount,
    id: IdentityId,
) -> Result<(), EngineError> {
    let ids = identity.delete_entities(txn, mount.namespace, &[id]).await?;
    mfa.forget_entities(txn, mount.namespace, &ids).await?;
    let ids: Vec<_> = ids.into_iter().map(IdentityId::bytes).collect();
    revocation.revoke_entity(txn, mount.namespace, &ids).await
}

async fn batch_delete(
    (Extension(identity), Extension(mfa)): (Extension<Identity>, Extension<Mfa>),
    Extension(revocation): Extension<Revocation>,
    mount: Arc<Mount>,
    Input(input): Input<BatchDeleteInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let given = input.entity_ids.map(|ids| ids.0).unwrap_or_default();
    if given.is_empty() {
        return Err(bad_request("missing entity ids to delete"));
    }
    if given.len() > MAX_DELETED {
        return Err(bad_request(format!("more than {MAX_DELETED} entities cannot be deleted at once")));
    }
    let ids: Vec<_> = given.iter().filter_map(|id| IdentityId::parse(id)).collect();
    for id in &ids {
        refuse_managed(&identity, &txn, &mount, *id).await?;
    }
    let gone = identity.delete_entities(&txn, mount.namespace, &ids).await?;
    mfa.forget_entities(&txn, mount.namespace, &gone).await?;
    let gone: Vec<_> = gone.into_iter().map(IdentityId::bytes).collect();
    revocation.note_entities(&txn, mount.namespace, &gone)
}
