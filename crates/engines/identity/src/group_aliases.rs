//! `group-alias`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{AliasChange, Identity, IdentityId};

use crate::views::{self, GroupAliasView};
use crate::{NAME, optional_id};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("group-alias", |r| {
            r.update("Create a group alias, or update the one of this id or name.", write).means("name", NAME)
        })
        .route("group-alias/id", |r| r.list("List the ids of group aliases.", list))
        .route("group-alias/id/{id}", |r| {
            r.read("Read a group alias.", read)
                .update("Update a group alias.", write_at)
                .delete("Delete a group alias; its group stays.", delete)
                .means("name", NAME)
        })
}

#[derive(Deserialize, JsonSchema)]
struct GroupAliasInput {
    /// ID of the group to which this is an alias.
    canonical_id: Option<Text>,
    /// ID of the group alias. If set, updates the corresponding existing group alias.
    id: Option<Text>,
    /// Mount accessor to which this alias belongs to.
    mount_accessor: Option<Text>,
    /// Alias of the group: its name in the auth method's own directory.
    name: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct GroupAliasAtInput {
    /// ID of the group to which this is an alias.
    canonical_id: Option<Text>,
    /// Mount accessor to which this alias belongs to.
    mount_accessor: Option<Text>,
    /// Another alias of the group.
    name: Option<Text>,
}

/// The answer to a write.
#[derive(Serialize, JsonSchema)]
struct Written {
    /// The group.
    canonical_id: String,
    /// The alias.
    id: String,
}

impl GroupAliasAtInput {
    fn change(self) -> Result<AliasChange, EngineError> {
        let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
        let group = given(self.canonical_id);
        Ok(AliasChange {
            name: given(self.name),
            accessor: given(self.mount_accessor),
            entity: optional_id(group.as_deref(), "invalid group ID given in 'canonical_id'")?,
            custom_metadata: None,
            by: None,
        })
    }
}

async fn write(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<GroupAliasInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = optional_id(input.id.as_ref().map(|id| id.0.as_str()), "invalid group alias ID")?;
    let change = GroupAliasAtInput {
        canonical_id: input.canonical_id,
        mount_accessor: input.mount_accessor,
        name: input.name,
    };
    put(&identity, &txn, &mount, id, change.change()?).await
}

async fn write_at(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<GroupAliasAtInput>,
    txn: Txn,
) -> Result<Data<Written>, EngineError> {
    let id = IdentityId::parse(&id).ok_or_else(|| bad_request("invalid group alias ID"))?;
    put(&identity, &txn, &mount, Some(id), input.change()?).await
}

async fn put(
    identity: &Identity,
    txn: &Txn,
    mount: &Mount,
    id: Option<IdentityId>,
    change: AliasChange,
) -> Result<Data<Written>, EngineError> {
    let (id, group) = identity.write_group_alias(txn, mount.namespace, id, change).await?;
    Ok(Data(Written { canonical_id: group.to_string(), id: id.to_string() }))
}

async fn read(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<GroupAliasView>>, EngineError> {
    let Some(id) = IdentityId::parse(&id) else { return Ok(None) };
    let Some((group, alias)) = identity.group_alias(&view, mount.namespace, id).await? else {
        return Ok(None);
    };
    Ok(Some(Data(views::group_alias(&identity, mount.namespace, group, &alias).await?)))
}

async fn list(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let ids = identity.group_alias_ids(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    let (mut keys, mut info) = (Vec::with_capacity(ids.len()), BTreeMap::new());
    for id in ids {
        let Some((group, alias)) = identity.group_alias(&view, mount.namespace, id).await? else { continue };
        info.insert(id.to_string(), views::group_alias(&identity, mount.namespace, group, &alias).await?);
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
        Some(id) => identity.delete_group_alias(&txn, mount.namespace, id).await,
        None => Ok(()),
    }
}
