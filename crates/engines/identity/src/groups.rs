//! `group`, `group/id/:id`, `group/name/:name`, and the members of a group one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{List, Names, Pairs, Text};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{GroupChange, GroupKind, Identity, IdentityId, Managed};

use crate::views::{self, GroupView};
use crate::{NAME, ids, optional_id, path_name};

/// Members that a list of groups counts in each: counting costs as much as there are.
const MAX_COUNTED: usize = 10_000;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("group", |r| {
            r.update("Create a group, or update the one of this id or name.", write).means("name", NAME)
        })
        .route("group/id", |r| r.list("List the ids of groups.", list_ids))
        .route("group/id/{id}", |r| {
            r.read("Read a group.", read)
                .update("Update a group.", write_at)
                .delete("Delete a group; its members stay.", delete)
                .means("name", NAME)
        })
        .route("group/name", |r| r.list("List the names of groups.", list_names))
        .route("group/name/{name..:caseless}", |r| {
            r.read("Read a group by its name.", read_named)
                .update("Create or update the group of this name.", write_named)
                .delete("Delete a group by its name; its members stay.", delete_named)
        })
        .route("group/id/{id}/members", |r| r.list("List the entities in a group.", list_members))
        .route("group/id/{id}/members/{entity_id}", |r| {
            r.update("Add an entity to a group.", add_member)
                .delete("Remove an entity from a group.", remove_member)
        })
}

#[derive(Deserialize, JsonSchema)]
struct GroupInput {
    /// ID of the group. If set, updates the corresponding existing group.
    id: Option<Text>,
    /// Entity IDs to be assigned as group members, all of them.
    member_entity_ids: Option<List>,
    /// Group IDs to be assigned as group members, all of them.
    member_group_ids: Option<List>,
    /// Metadata to be associated with the group, all of it.
    metadata: Option<Pairs>,
    /// Name of the group. If set, and no ID is, updates the corresponding existing group.
    name: Option<Text>,
    /// Policies to be tied to the group.
    policies: Option<Names>,
    /// Type of the group, 'internal' or 'external'. Defaults to 'internal'.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct GroupAtInput {
    /// Entity IDs to be assigned as group members, all of them.
    member_entity_ids: Option<List>,
    /// Group IDs to be assigned as group members, all of them.
    member_group_ids: Option<List>,
    /// Metadata to be associated with the group, all of it.
    metadata: Option<Pairs>,
    /// Another name of the group.
    name: Option<Text>,
    /// Policies to be tied to the group.
    policies: Option<Names>,
    /// Type of the group; it cannot be changed.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct GroupNamedInput {
    /// ID of the group. If set, the group of this ID gets the name.
    id: Option<Text>,
    /// Entity IDs to be assigned as group members, all of them.
    member_entity_ids: Option<List>,
    /// Group IDs to be assigned as group members, all of them.
    member_group_ids: Option<List>,
    /// Metadata to be associated with the group, all of it.
    metadata: Option<Pairs>,
    /// Policies to be tied to the group.
    policies: Option<Names>,
    /// Type of the group, 'internal' or 'external'. Defaults to 'internal'.
    #[serde(rename = "type")]
    kind: Option<Text>,
}

/// The answer to a write.
#[derive(Serialize, JsonSchema)]
struct Written {
    /// The group.
    id: String,
    /// Its name.
    name: String,
}

/// What a list says of a group: under ids its name, under names its id.
#[derive(Serialize)]
struct GroupInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<views::GroupAliasView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    num_member_entities: usize,
    num_parent_groups: usize,
}

impl GroupAtInput {
    fn change(self) -> Result<GroupChange, EngineError> {
        let set = |given: Option<List>, what: &str| given.map(|given| ids(&given.0, what)).transpose();
        Ok(GroupChange {
            name: self.name.map(|name| name.0),
            kind: self.kind.map(|kind| GroupKind::from_name(&kind.0)).transpose()?,
            metadata: self.metadata.map(|metadata| metadata.0),
            policies: self.policies.map(|policies| policies.0),
            entities: set(self.member_entity_ids, "invalid entity ID")?,
            subgroups: set(self.member_group_ids, "invalid group ID")?,
            by: None,
        })
    }
}

async fn write(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<GroupInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid group id")?;
    let change = GroupAtInput {
        member_entity_ids: input.member_entity_ids,
        member_group_ids: input.member_group_ids,
        metadata: input.metadata,
        name: input.name,
        policies: input.policies,
        kind: input.kind,
    };
    put(&identity, &txn, &mount, id, change.change()?).await
}

async fn write_at(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<GroupAtInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = IdentityId::parse(&id).ok_or_else(|| bad_request("invalid group id"))?;
    put(&identity, &txn, &mount, Some(id), input.change()?).await
}

async fn write_named(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<GroupNamedInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let name = path_name(&name)?;
    if name.is_empty() {
        return Err(bad_request("missing group name"));
    }
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid group id")?;
    let change = GroupAtInput {
        member_entity_ids: input.member_entity_ids,
        member_group_ids: input.member_group_ids,
        metadata: input.metadata,
        name: Some(Text(name.to_owned())),
        policies: input.policies,
        kind: input.kind,
    };
    put(&identity, &txn, &mount, id, change.change()?).await
}

async fn put(
    identity: &Identity,
    txn: &Txn,
    mount: &Mount,
    id: Option<IdentityId>,
    change: GroupChange,
) -> Result<Data<Written>, EngineError> {
    if let Some(id) = id
        && identity.group(txn, mount.namespace, id).await?.is_none()
    {
        return Err(bad_request("invalid group id"));
    }
    let id = identity.write_group(txn, mount.namespace, id, change).await?;
    let kept = identity.group(txn, mount.namespace, id).await?;
    let name = kept.map(|kept| kept.name.clone()).unwrap_or_default();
    Ok(Data(Written { id: id.to_string(), name }))
}

async fn read(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<GroupView>>, EngineError> {
    let Some(id) = IdentityId::parse(&id) else { return Ok(None) };
    Ok(views::group(&identity, &view, &mount, id).await?.map(Data))
}

async fn read_named(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<GroupView>>, EngineError> {
    let Some(id) = identity.group_named(&view, mount.namespace, path_name(&name)?).await? else {
        return Ok(None);
    };
    Ok(views::group(&identity, &view, &mount, id).await?.map(Data))
}

async fn list_ids(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids = identity.group_ids(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    listed(&identity, &view, &mount, ids, false).await
}

async fn list_names(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids = identity.groups_by_name(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    listed(&identity, &view, &mount, ids, true).await
}

async fn listed(
    identity: &Identity,
    view: &View,
    mount: &Mount,
    ids: Vec<IdentityId>,
    by_name: bool,
) -> Result<Reply, EngineError> {
    let (mut keys, mut info) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let Some(group) = identity.group(view, mount.namespace, id).await? else { continue };
        let placed = (mount.namespace, id);
        let alias = match identity.alias_of_group(view, mount.namespace, id).await? {
            Some(alias) => Some(views::group_alias(identity, mount.namespace, id, &alias).await?),
            None => None,
        };
        let shown = GroupInfo {
            alias,
            id: by_name.then(|| id.to_string()),
            name: (!by_name).then(|| group.name.clone()),
            num_member_entities: identity.count_members(view, placed, MAX_COUNTED).await?,
            num_parent_groups: identity.parents(view, placed).await?.len(),
        };
        let key = if by_name { group.name.clone() } else { id.to_string() };
        info.insert(key.clone(), shown);
        keys.push(key);
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
        Some(id) => remove(&identity, &txn, &mount, id).await,
        None => Ok(()),
    }
}

async fn delete_named(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match identity.group_named(&txn, mount.namespace, path_name(&name)?).await? {
        Some(id) => remove(&identity, &txn, &mount, id).await,
        None => Ok(()),
    }
}

/// Deletes a group that no SCIM client manages.
async fn remove(identity: &Identity, txn: &Txn, mount: &Mount, id: IdentityId) -> Result<(), EngineError> {
    let group = identity.group(txn, mount.namespace, id).await?;
    Managed::refuse(group.as_ref().and_then(|group| group.managed.as_ref()), "group")?;
    identity.delete_group(txn, mount.namespace, id).await
}

async fn list_members(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let id = IdentityId::parse(&id).ok_or(EngineError::NotFound)?;
    let after = paging.after.map(|after| IdentityId::parse(&after).unwrap_or_default());
    let members = identity.members(&view, (mount.namespace, id), after, paging.limit).await?;
    let keys: Vec<String> = members.into_iter().map(|(_, id)| id.to_string()).collect();
    Reply::keys(&keys)
}

async fn add_member(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path((id, entity)): Path<(String, String)>,
    txn: Txn,
) -> Result<(), EngineError> {
    let (group, entity) = member(&id, &entity)?;
    identity.add_member(&txn, (mount.namespace, group), entity).await
}

async fn remove_member(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path((id, entity)): Path<(String, String)>,
    txn: Txn,
) -> Result<(), EngineError> {
    let (group, entity) = member(&id, &entity)?;
    identity.remove_member(&txn, (mount.namespace, group), entity).await
}

fn member(group: &str, entity: &str) -> Result<(IdentityId, IdentityId), EngineError> {
    let group = IdentityId::parse(group).ok_or_else(|| bad_request("invalid group id"))?;
    let entity =
        IdentityId::parse(entity).ok_or_else(|| bad_request(format!("invalid entity ID {entity:?}")))?;
    Ok((group, entity))
}
