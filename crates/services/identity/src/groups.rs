//! Groups of entities and of groups.
//!
//! An internal group's members are set by operators; an external group's follow from logins, by its alias. A member is a row,
//! in both directions. A group may hold entities and groups of its own namespace and of those around it; its policies are
//! those of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request};

use crate::Identity;
use crate::id::IdentityId;
use crate::listing;
use crate::names::{check_metadata, checked_name, checked_policies, fold};
use crate::scim::Managed;
use crate::tables::{GROUP_NAMES, GROUPS};

/// The way of a group's members into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKind {
    /// Operators set its members.
    #[default]
    Internal,
    /// Logins set its members, by its alias at an auth mount.
    External,
}

impl GroupKind {
    /// Vault's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }

    /// The kind of that name; an empty one is the default.
    pub fn from_name(name: &str) -> Result<Self, EngineError> {
        match name {
            "" | "internal" => Ok(Self::Internal),
            "external" => Ok(Self::External),
            other => Err(bad_request(format!("invalid group type {other:?}"))),
        }
    }
}

/// A group as kept. Its members and its alias are rows of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name, as given.
    #[serde(rename = "n")]
    pub name: String,
    /// The way of its members into it.
    #[serde(rename = "k")]
    pub kind: GroupKind,
    /// The policies of its members, in one spelling.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Metadata.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The number of its changes.
    #[serde(rename = "x", default)]
    pub modify_index: u64,
    /// The time of its creation.
    #[serde(rename = "c")]
    pub created: Moment,
    /// The time of its last change.
    #[serde(rename = "u")]
    pub updated: Moment,
    /// The SCIM client that it is a group of.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The namespace of the member.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
}

/// A group that an entity or a group is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The namespace of the group.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// The accessor of the mount whose logins made it; empty where an operator did.
    #[serde(rename = "a", default, skip_serializing_if = "String::is_empty")]
    pub accessor: String,
}

/// A member of a group that is in another namespace than the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    /// The namespace of the member.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub namespace: NamespaceId,
    /// True if it is a group.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_group: bool,
}

impl Stored for Elsewhere {}
impl Stored for Group {}
impl Stored for Member {}
impl Stored for Membership {}

/// The changes to a group; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// Another name; an empty one is none.
    pub name: Option<String>,
    /// The way of its members into it; it cannot be changed.
    pub kind: Option<GroupKind>,
    /// All of its metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// All of its policies.
    pub policies: Option<Vec<String>>,
    /// All of its entities.
    pub entities: Option<BTreeSet<IdentityId>>,
    /// All of its groups.
    pub subgroups: Option<BTreeSet<IdentityId>>,
    /// The SCIM client that makes the change; `None`: an operator does.
    pub by: Option<Managed>,
}

impl GroupChange {
    /// Refuses an operator's change of what a SCIM client manages, and a client's change of what it does not.
    fn check(&self, kept: &Group, name: Option<&str>) -> Result<(), EngineError> {
        let renames = name.is_some_and(|name| name != kept.name);
        let fills = self.entities.is_some() || self.subgroups.is_some();
        if self.by == kept.managed || self.by.is_none() && !renames && !fills {
            return Ok(());
        }
        Err(Managed::refusal(kept.managed.as_ref(), "group"))
    }
}

impl Identity {
    /// The group with this id.
    pub async fn group(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Arc<Group>>, BarrierError> {
        GROUPS.get(reads, &id.at(namespace)).await
    }

    /// The id of the group with this name, in any case.
    pub async fn group_named(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<IdentityId>, BarrierError> {
        let folded = fold(name.trim());
        Ok(GROUP_NAMES.get(reads, &(namespace, folded.as_str())).await?.map(|id| *id))
    }

    /// The ids of groups after `after`.
    pub async fn group_ids(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids(&GROUPS, reads, namespace, after, limit).await
    }

    /// Ids of groups in order of their folded names, after the name `after`.
    pub async fn groups_by_name(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids_by_name(&GROUP_NAMES, reads, namespace, after, limit).await
    }

    /// Writes a group: the one with this id, else the one of the name in `change`, else a new one. Answers its id.
    pub async fn write_group(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        change: GroupChange,
    ) -> Result<IdentityId, EngineError> {
        let name = change.name.as_deref().map(|name| checked_name("group name", name)).transpose()?;
        let name = name.filter(|name| !name.is_empty());
        let named = match &name {
            Some(name) => self.group_named(txn, namespace, name).await?,
            None => None,
        };
        if id.is_some() && named.is_some() && id != named {
            return Err(bad_request("group name is already in use"));
        }
        let now = self.environment.clock.now();
        let (id, kept) = match id.or(named) {
            Some(id) => (id, self.group(txn, namespace, id).await?),
            None => (IdentityId::draw(&self.environment.entropy)?, None),
        };
        if let Some(kept) = &kept {
            change.check(kept, name.as_deref())?;
        }
        let mut group = match &kept {
            Some(kept) => (**kept).clone(),
            None => Group {
                kind: change.kind.unwrap_or_default(),
                created: now,
                managed: change.by.clone(),
                ..Group::default()
            },
        };
        if change.kind.is_some_and(|kind| kind != group.kind) {
            return Err(bad_request("group type cannot be changed"));
        }
        group.updated = now;
        group.modify_index = group.modify_index.saturating_add(1);
        if let Some(metadata) = change.metadata {
            check_metadata(&metadata)?;
            group.metadata = metadata;
        }
        if let Some(policies) = change.policies {
            group.policies = checked_policies(&policies)?;
        }
        match name {
            Some(name) => group.name = name,
            None if kept.is_none() => group.name = self.draw_name("group")?,
            None => {}
        }
        let external = group.kind == GroupKind::External;
        put_group(txn, namespace, id, kept.as_deref(), group)?;
        if external && change.entities.as_ref().is_some_and(|entities| !entities.is_empty()) {
            return Err(bad_request("member entities can't be set manually for external groups"));
        }
        if external && change.subgroups.as_ref().is_some_and(|groups| !groups.is_empty()) {
            return Err(bad_request("member groups can't be set for external groups"));
        }
        if let Some(entities) = change.entities.filter(|_| !external) {
            self.set_entities(txn, namespace, id, &entities).await?;
        }
        if let Some(subgroups) = change.subgroups.filter(|_| !external) {
            self.set_subgroups(txn, namespace, id, &subgroups).await?;
        }
        Ok(id)
    }

    /// Deletes a group: its name is free and its policies apply no longer from here on, its rows go with it as far as one
    /// transaction reaches, the rest step by step.
    pub async fn delete_group(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<(), EngineError> {
        let Some(group) = self.group(txn, namespace, id).await? else { return Ok(()) };
        GROUP_NAMES.delete(txn, &(namespace, fold(&group.name).as_str()));
        GROUPS.delete(txn, &id.at(namespace));
        self.begin_clearing(txn, namespace, id).await
    }
}

/// Writes a group and, where its name has changed, the index of names.
fn put_group(
    txn: &Txn,
    namespace: NamespaceId,
    id: IdentityId,
    kept: Option<&Group>,
    group: Group,
) -> Result<(), BarrierError> {
    let folded = fold(&group.name);
    let former = kept.map(|kept| fold(&kept.name));
    if former.as_ref() != Some(&folded) {
        if let Some(former) = former {
            GROUP_NAMES.delete(txn, &(namespace, former.as_str()));
        }
        GROUP_NAMES.put(txn, &(namespace, folded.as_str()), id)?;
    }
    GROUPS.put(txn, &id.at(namespace), group)
}
