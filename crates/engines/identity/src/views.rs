//! Entities, aliases and groups as answers show them, in Vault's members.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use strongroom_barrier::{NamespaceId, Reads};
use strongroom_engine_api::{EngineError, Mount};
use strongroom_identity::{
    Alias, AliasPlace, Effective, Entity, Group, GroupAlias, GroupKind, Identity, IdentityId,
};

/// Metadata; null where there is none.
type Pairs = Option<BTreeMap<String, String>>;

/// An alias of an entity.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AliasView {
    /// The entity.
    canonical_id: String,
    /// The time of its creation (RFC 3339).
    creation_time: String,
    /// Metadata that operators gave.
    custom_metadata: Pairs,
    /// Its id.
    id: String,
    /// The time of its last change (RFC 3339).
    last_update_time: String,
    /// True if its mount is local to the cluster.
    local: bool,
    /// Entities that it was an alias of before they were merged.
    merged_from_canonical_ids: Option<Vec<String>>,
    /// Metadata that the auth method gave.
    metadata: Pairs,
    /// The accessor of its mount.
    mount_accessor: String,
    /// The path of its mount.
    mount_path: String,
    /// The type of its mount.
    mount_type: String,
    /// Its name.
    name: String,
    /// The namespace; only where the alias is shown by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_id: Option<String>,
}

/// An entity.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EntityView {
    /// Its aliases.
    aliases: Vec<AliasView>,
    /// The time of its creation (RFC 3339).
    creation_time: String,
    /// Groups that it is in itself.
    direct_group_ids: Vec<String>,
    /// True if its tokens are refused.
    disabled: bool,
    /// All groups that it is in.
    group_ids: Vec<String>,
    /// Its id.
    id: String,
    /// Groups that it is in because one of its groups is.
    inherited_group_ids: Vec<String>,
    /// The time of its last change (RFC 3339).
    last_update_time: String,
    /// Entities that were merged into it.
    merged_entity_ids: Option<Vec<String>>,
    /// Metadata.
    metadata: Pairs,
    /// No secrets of MFA methods are kept with entities.
    mfa_secrets: BTreeMap<String, String>,
    /// Its name.
    name: String,
    /// The namespace.
    namespace_id: String,
    /// Its own policies.
    policies: Vec<String>,
    /// The SCIM client that manages it, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    scim_client: Option<String>,
}

/// A group.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupView {
    /// Its alias; empty where it has none.
    alias: GroupAliasMember,
    /// The time of its creation (RFC 3339).
    creation_time: String,
    /// Its id.
    id: String,
    /// The time of its last change (RFC 3339).
    last_update_time: String,
    /// The entities in it.
    member_entity_ids: Option<Vec<String>>,
    /// The groups in it.
    member_group_ids: Option<Vec<String>>,
    /// Metadata.
    metadata: Pairs,
    /// The number of its changes.
    modify_index: u64,
    /// Its name.
    name: String,
    /// The namespace.
    namespace_id: String,
    /// The groups that it is in.
    parent_group_ids: Option<Vec<String>>,
    /// The policies of its members.
    policies: Vec<String>,
    /// The SCIM client that manages it, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    scim_client: Option<String>,
    /// `internal` or `external`.
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The alias of a group, or nothing.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum GroupAliasMember {
    /// There is one.
    Alias(Box<GroupAliasView>),
    /// There is none: an object without members.
    None {},
}

/// The alias of a group.
#[derive(Serialize, JsonSchema)]
pub(crate) struct GroupAliasView {
    /// The group.
    canonical_id: String,
    /// The time of its creation (RFC 3339).
    creation_time: String,
    /// Its id.
    id: String,
    /// The time of its last change (RFC 3339).
    last_update_time: String,
    /// Groups are not merged.
    merged_from_canonical_ids: Option<Vec<String>>,
    /// Auth methods give no metadata with groups.
    metadata: Pairs,
    /// The accessor of its mount.
    mount_accessor: String,
    /// The path of its mount.
    mount_path: String,
    /// The type of its mount.
    mount_type: String,
    /// Its name.
    name: String,
}

/// What a list says of an entity: under ids its name, under names its id.
#[derive(Serialize)]
pub(crate) struct EntityInfo {
    aliases: Vec<AliasInfo>,
    creation_time: String,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    last_update_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// What lists say of an alias.
#[derive(Serialize)]
pub(crate) struct AliasInfo {
    canonical_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    custom_metadata: BTreeMap<String, String>,
    id: String,
    local: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    mount_accessor: String,
    mount_path: String,
    mount_type: String,
    name: String,
}

fn pairs(pairs: &BTreeMap<String, String>) -> Pairs {
    (!pairs.is_empty()).then(|| pairs.clone())
}

fn texts<'a>(ids: impl Iterator<Item = &'a IdentityId>) -> Vec<String> {
    ids.map(ToString::to_string).collect()
}

fn unless_empty(texts: Vec<String>) -> Option<Vec<String>> {
    (!texts.is_empty()).then_some(texts)
}

/// The id of a mount's namespace, as answers have it.
pub(crate) async fn namespace_id(identity: &Identity, mount: &Mount) -> Result<String, EngineError> {
    Ok(identity.short_id(mount.namespace).await?)
}

/// An alias by itself, or within its entity.
pub(crate) async fn alias(
    identity: &Identity,
    namespace: NamespaceId,
    place: &AliasPlace,
    alias: &Alias,
    by_itself: bool,
) -> Result<AliasView, EngineError> {
    let mounted = identity.mount_of(namespace, &place.accessor).await?;
    let namespace_id = if by_itself { Some(identity.short_id(namespace).await?) } else { None };
    Ok(AliasView {
        canonical_id: place.entity.to_string(),
        creation_time: alias.created.rfc3339(),
        custom_metadata: pairs(&alias.custom_metadata),
        id: alias.id.to_string(),
        last_update_time: alias.updated.rfc3339(),
        local: alias.local,
        merged_from_canonical_ids: unless_empty(texts(alias.merged_from.iter())),
        metadata: pairs(&alias.metadata),
        mount_accessor: place.accessor.clone(),
        mount_path: mounted.as_ref().map(|mounted| mounted.path.clone()).unwrap_or_default(),
        mount_type: mounted.as_ref().map(|mounted| mounted.entry.kind.clone()).unwrap_or_default(),
        name: alias.name.clone(),
        namespace_id,
    })
}

/// What a list says of an alias.
pub(crate) async fn alias_info(
    identity: &Identity,
    namespace: NamespaceId,
    place: &AliasPlace,
    alias: &Alias,
) -> Result<AliasInfo, EngineError> {
    let mounted = identity.mount_of(namespace, &place.accessor).await?;
    Ok(AliasInfo {
        canonical_id: place.entity.to_string(),
        custom_metadata: alias.custom_metadata.clone(),
        id: alias.id.to_string(),
        local: alias.local,
        metadata: alias.metadata.clone(),
        mount_accessor: place.accessor.clone(),
        mount_path: mounted.as_ref().map(|mounted| mounted.path.clone()).unwrap_or_default(),
        mount_type: mounted.as_ref().map(|mounted| mounted.entry.kind.clone()).unwrap_or_default(),
        name: alias.name.clone(),
    })
}

/// An entity, as `reads` shows it; `None` where there is none.
pub(crate) async fn entity(
    identity: &Identity,
    reads: &impl Reads,
    mount: &Mount,
    id: IdentityId,
) -> Result<Option<EntityView>, EngineError> {
    if identity.entity(reads, mount.namespace, id).await?.is_none() {
        return Ok(None);
    }
    let Some(found) = identity.effective_in(reads, mount.namespace, id).await? else { return Ok(None) };
    let Effective { entity, aliases, groups, direct, .. } = &found;
    let mut shown = Vec::with_capacity(aliases.len());
    for (accessor, kept) in aliases {
        let place = AliasPlace { entity: id, accessor: accessor.clone() };
        shown.push(alias(identity, mount.namespace, &place, kept, false).await?);
    }
    Ok(Some(EntityView {
        aliases: shown,
        creation_time: entity.created.rfc3339(),
        direct_group_ids: texts(direct.iter()),
        disabled: entity.disabled,
        group_ids: texts(groups.keys()),
        id: id.to_string(),
        inherited_group_ids: texts(groups.keys().filter(|id| !direct.contains(id))),
        last_update_time: entity.updated.rfc3339(),
        merged_entity_ids: unless_empty(texts(entity.merged.iter())),
        metadata: pairs(&entity.metadata),
        mfa_secrets: BTreeMap::new(),
        name: entity.name.clone(),
        namespace_id: namespace_id(identity, mount).await?,
        policies: entity.policies.clone(),
        scim_client: entity.managed.as_ref().map(|managed| managed.client.clone()),
    }))
}

/// What a list says of an entity.
pub(crate) async fn entity_info(
    identity: &Identity,
    reads: &impl Reads,
    mount: &Mount,
    (id, entity): (IdentityId, &Entity),
    by_name: bool,
) -> Result<EntityInfo, EngineError> {
    let mut aliases = Vec::new();
    for (accessor, kept) in identity.aliases_of(reads, mount.namespace, id).await? {
        let place = AliasPlace { entity: id, accessor };
        aliases.push(alias_info(identity, mount.namespace, &place, &kept).await?);
    }
    Ok(EntityInfo {
        aliases,
        creation_time: entity.created.rfc3339(),
        disabled: entity.disabled,
        id: by_name.then(|| id.to_string()),
        last_update_time: entity.updated.rfc3339(),
        name: (!by_name).then(|| entity.name.clone()),
    })
}

/// A group alias.
pub(crate) async fn group_alias(
    identity: &Identity,
    namespace: NamespaceId,
    group: IdentityId,
    alias: &GroupAlias,
) -> Result<GroupAliasView, EngineError> {
    let mounted = identity.mount_of(namespace, &alias.accessor).await?;
    Ok(GroupAliasView {
        canonical_id: group.to_string(),
        creation_time: alias.created.rfc3339(),
        id: alias.id.to_string(),
        last_update_time: alias.updated.rfc3339(),
        merged_from_canonical_ids: None,
        metadata: None,
        mount_accessor: alias.accessor.clone(),
        mount_path: mounted.as_ref().map(|mounted| mounted.path.clone()).unwrap_or_default(),
        mount_type: mounted.as_ref().map(|mounted| mounted.entry.kind.clone()).unwrap_or_default(),
        name: alias.name.clone(),
    })
}

/// A group, as `reads` shows it; `None` where there is none.
pub(crate) async fn group(
    identity: &Identity,
    reads: &impl Reads,
    mount: &Mount,
    id: IdentityId,
) -> Result<Option<GroupView>, EngineError> {
    let placed = (mount.namespace, id);
    let Some(kept) = identity.group(reads, mount.namespace, id).await? else { return Ok(None) };
    let kept: &Group = &kept;
    let found = identity.alias_of_group(reads, mount.namespace, id).await?;
    let alias = match found.filter(|_| kept.kind == GroupKind::External) {
        Some(alias) => {
            GroupAliasMember::Alias(Box::new(group_alias(identity, mount.namespace, id, &alias).await?))
        }
        None => GroupAliasMember::None {},
    };
    let members = identity.members(reads, placed, None, usize::MAX).await?;
    let subgroups = identity.subgroups(reads, placed).await?;
    let parents = identity.parents(reads, placed).await?;
    let ids = |placed: &[(NamespaceId, IdentityId)]| unless_empty(texts(placed.iter().map(|(_, id)| id)));
    Ok(Some(GroupView {
        alias,
        creation_time: kept.created.rfc3339(),
        id: id.to_string(),
        last_update_time: kept.updated.rfc3339(),
        member_entity_ids: ids(&members),
        member_group_ids: ids(&subgroups),
        metadata: pairs(&kept.metadata),
        modify_index: kept.modify_index,
        name: kept.name.clone(),
        namespace_id: namespace_id(identity, mount).await?,
        parent_group_ids: ids(&parents),
        policies: kept.policies.clone(),
        scim_client: kept.managed.as_ref().map(|managed| managed.client.clone()),
        kind: kept.kind.name(),
    }))
}
