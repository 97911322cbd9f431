//! The aliases of external groups: the name of a group in an auth method's own directory.

use std::sync::Arc;

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::Identity;
use crate::aliases::{AliasChange, GroupAlias};
use crate::groups::GroupKind;
use crate::id::IdentityId;
use crate::listing;
use crate::names::{checked_name, fold};
use crate::tables::{GROUP_ALIAS_IDS, GROUP_ALIAS_NAMES, GROUP_ALIASES};

/// A group alias that is there, and the group it is of.
pub type FoundGroupAlias = (IdentityId, Arc<GroupAlias>);

impl Identity {
    /// The alias of a group.
    pub async fn alias_of_group(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        group: IdentityId,
    ) -> Result<Option<Arc<GroupAlias>>, BarrierError> {
        GROUP_ALIASES.get(reads, &group.at(namespace)).await
    }

    /// The group alias with this id.
    pub async fn group_alias(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<FoundGroupAlias>, BarrierError> {
        let Some(group) = GROUP_ALIAS_IDS.get(reads, &id.at(namespace)).await? else { return Ok(None) };
        let alias = self.alias_of_group(reads, namespace, *group).await?;
        Ok(alias.map(|alias| (*group, alias)))
    }

    /// The ids of group aliases after `after`.
    pub async fn group_alias_ids(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids(&GROUP_ALIAS_IDS, reads, namespace, after, limit).await
    }

    /// The group that a mount knows by a name.
    pub async fn group_of_alias(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        accessor: &str,
        name: &str,
    ) -> Result<Option<IdentityId>, BarrierError> {
        let folded = fold(name.trim());
        let found = GROUP_ALIAS_NAMES.get(reads, &(namespace, &(accessor, folded.as_str()))).await?;
        Ok(found.map(|id| *id))
    }

    /// Writes a group alias: the one with this id, else the one that its mount knows by the name in `change`, else a new one.
    /// Answers its id and its group.
    pub async fn write_group_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        change: AliasChange,
    ) -> Result<(IdentityId, IdentityId), EngineError> {
        let name = change.name.as_deref().map(|name| checked_name("group alias name", name)).transpose()?;
        let name = name.filter(|name| !name.is_empty());
        let kept = self.kept_group_alias(txn, namespace, id, name.as_deref(), &change).await?;
        let group = change.entity.or(kept.as_ref().map(|(group, _)| *group));
        let group = group.ok_or_else(|| bad_request("missing canonical_id"))?;
        let found = self.group(txn, namespace, group).await?;
        let found = found.ok_or_else(|| bad_request("invalid group ID given in 'canonical_id'"))?;
        if found.kind != GroupKind::External {
            return Err(bad_request("alias can't be set on internal group"));
        }
        let now = self.environment.clock.now();
        let alias = match &kept {
            Some((_, kept)) => (**kept).clone(),
            None => GroupAlias {
                id: IdentityId::draw(&self.environment.entropy)?,
                created: now,
                ..GroupAlias::default()
            },
        };
        let accessor = change.accessor.unwrap_or(alias.accessor);
        let mounted = self.auth_mount(namespace, &accessor).await?;
        self.mounts.require_mount(txn, &mounted).await?;
        let alias = GroupAlias { name: name.unwrap_or(alias.name), accessor, updated: now, ..alias };
        let id = alias.id;
        self.place_group_alias(txn, namespace, kept, group, alias).await?;
        Ok((id, group))
    }

    /// The alias that a write is about: the one with this id, else the one that its mount knows by the name.
    async fn kept_group_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        name: Option<&str>,
        change: &AliasChange,
    ) -> Result<Option<FoundGroupAlias>, EngineError> {
        if let Some(id) = id {
            let found = self.group_alias(txn, namespace, id).await?;
            return Ok(Some(found.ok_or_else(|| bad_request("invalid group alias ID"))?));
        }
        let name = name.ok_or_else(|| bad_request("missing alias name"))?;
        let accessor = change.accessor.as_deref().unwrap_or_default();
        let Some(group) = self.group_of_alias(txn, namespace, accessor, name).await? else { return Ok(None) };
        let alias = self.alias_of_group(txn, namespace, group).await?;
        Ok(alias.map(|alias| (group, alias)))
    }

    /// Puts a group alias where it belongs, away from where it was. A group has one alias, which takes the place of another.
    async fn place_group_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        kept: Option<FoundGroupAlias>,
        group: IdentityId,
        alias: GroupAlias,
    ) -> Result<(), EngineError> {
        let known = self.group_of_alias(txn, namespace, &alias.accessor, &alias.name).await?;
        if known.is_some_and(|known| kept.as_ref().is_none_or(|(former, _)| *former != known)) {
            return Err(bad_request(
                "group alias with combination of mount accessor and name already exists",
            ));
        }
        if let Some((former, kept)) = kept {
            remove_group_alias(txn, namespace, former, &kept);
        }
        if let Some(other) = self.alias_of_group(txn, namespace, group).await? {
            remove_group_alias(txn, namespace, group, &other);
        }
        GROUP_ALIAS_IDS.put(txn, &alias.id.at(namespace), group)?;
        let folded = fold(&alias.name);
        GROUP_ALIAS_NAMES.put(txn, &(namespace, &(alias.accessor.as_str(), folded.as_str())), group)?;
        Ok(GROUP_ALIASES.put(txn, &group.at(namespace), alias)?)
    }

    /// Deletes a group alias. The members that logins have made stay until their next login or renewal.
    pub async fn delete_group_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<(), EngineError> {
        if let Some((group, alias)) = self.group_alias(txn, namespace, id).await? {
            remove_group_alias(txn, namespace, group, &alias);
        }
        Ok(())
    }
}

/// Removes the rows of a group alias.
pub(crate) fn remove_group_alias(txn: &Txn, namespace: NamespaceId, group: IdentityId, alias: &GroupAlias) {
    GROUP_ALIASES.delete(txn, &group.at(namespace));
    GROUP_ALIAS_IDS.delete(txn, &alias.id.at(namespace));
    let folded = fold(&alias.name);
    GROUP_ALIAS_NAMES.delete(txn, &(namespace, &(alias.accessor.as_str(), folded.as_str())));
}
