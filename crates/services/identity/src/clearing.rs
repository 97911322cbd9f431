//! Removes the rows of what is gone: of deleted entities and groups, of the aliases of disabled mounts, and what deleted
//! namespaces have left in others.
//!
//! What is deleted is gone with its own entry, in the transaction that deletes it. Its rows go with it as far as one
//! transaction should reach; where there are more, a note stays, and a job goes on with them in bounded steps. A note is
//! always of something that is gone already, so nothing is added behind it. Until its last row is gone, whatever a row leads
//! to is looked up and found missing.

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::EngineError;

use crate::Identity;
use crate::aliases::{AliasPlace, remove_alias};
use crate::group_aliases::remove_group_alias;
use crate::id::IdentityId;
use crate::members::{Placed, unlink_group, unlink_member};
use crate::names::fold;
use crate::tables::{
    ALIAS_IDS, ALIAS_NAMES, ALIASES, DELETED_ENTITIES, DISABLED_MOUNT_ALIASES, ELSEWHERE, ENTITIES,
    ENTITY_NAMES, GROUP_ALIAS_NAMES, MEMBERS, MEMBERSHIPS, MERGED, PARENTS, SUBGROUPS,
};

/// Rows that a request removes, counted by what they stand for.
const STEP: usize = 256;
/// The same for housekeeping, which has the time that requests have not.
const BACKGROUND_STEP: usize = 64;

/// An entity or a group that is gone and whose rows are not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeletedEntity {
    /// Entities that had been merged into it.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    merged: Vec<IdentityId>,
}

/// The note of a disabled mount.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DisabledMountAliases {}

impl Stored for DeletedEntity {}
impl Stored for DisabledMountAliases {}

impl Identity {
    /// Deletes entities: their tokens are refused from here on. Answers the ids under which tokens and leases may be listed:
    /// their own, and those of entities merged into them.
    pub async fn delete_entities(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        ids: &[IdentityId],
    ) -> Result<Vec<IdentityId>, EngineError> {
        let (mut gone, mut budget) = (Vec::new(), STEP);
        for id in ids {
            let Some(entity) = self.entity(txn, namespace, *id).await? else { continue };
            ENTITY_NAMES.delete(txn, &(namespace, fold(&entity.name).as_str()));
            ENTITIES.delete(txn, &id.at(namespace));
            gone.push(*id);
            gone.extend(&entity.merged);
            let rest = self.clear_rows(txn, (namespace, *id), entity.merged.clone(), &mut budget).await?;
            note(txn, namespace, *id, rest)?;
        }
        Ok(gone)
    }

    /// Removes the rows of a group that is gone, and notes it where that was not all.
    pub(crate) async fn begin_clearing(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        group: IdentityId,
    ) -> Result<(), EngineError> {
        let rest = self.clear_rows(txn, (namespace, group), Vec::new(), &mut STEP.clone()).await?;
        note(txn, namespace, group, rest)
    }

    /// Removes up to `budget` rows of what is gone; answers what is left to be noted, `None` where nothing is.
    async fn clear_rows(
        &self,
        txn: &Txn,
        (namespace, id): Placed,
        mut merged: Vec<IdentityId>,
        budget: &mut usize,
    ) -> Result<Option<DeletedEntity>, EngineError> {
        while *budget > 0
            && let Some(former) = merged.pop()
        {
            MERGED.delete(txn, &former.at(namespace));
            *budget = budget.saturating_sub(1);
        }
        *budget = budget.saturating_sub(clear_aliases(txn, (namespace, id), *budget).await?);
        *budget = budget.saturating_sub(clear_memberships(txn, (namespace, id), *budget).await?);
        if let Some(alias) = self.alias_of_group(txn, namespace, id).await? {
            remove_group_alias(txn, namespace, id, &alias);
        }
        // Anything that is left over has used the budget up.
        Ok((*budget == 0).then_some(DeletedEntity { merged }))
    }

    /// The mount with this accessor is being disabled, or leaves the namespace: its aliases go with it.
    pub async fn forget_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<(), EngineError> {
        if self.clear_mount(txn, namespace, accessor, STEP).await? {
            let key = (u64::from(namespace.get()), accessor);
            DISABLED_MOUNT_ALIASES.put(txn, &key, DisabledMountAliases {})?;
        }
        Ok(())
    }

    /// True while rows of a mount with this accessor, which has left the namespace, are still to be removed.
    pub async fn is_forgetting_mount(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<bool, BarrierError> {
        let noted = DISABLED_MOUNT_ALIASES.get(reads, &(u64::from(namespace.get()), accessor)).await?;
        Ok(noted.is_some())
    }

    /// Removes up to `budget` rows of a disabled mount; answers whether there may be more. Groups that followed its logins
    /// lose those members: nothing would ever remove them.
    async fn clear_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        accessor: &str,
        budget: usize,
    ) -> Result<bool, EngineError> {
        let prefix = (namespace, &(accessor, ""));
        let names = ALIAS_NAMES.scan(txn, &prefix, None, budget).await?;
        for ((_, (_, folded)), entity) in &names {
            let place = AliasPlace { entity: **entity, accessor: accessor.to_owned() };
            if let Some(alias) = ALIASES.get(txn, &(namespace, entity.bytes(), accessor)).await? {
                remove_alias(txn, namespace, &place, &alias);
            }
            ALIAS_NAMES.delete(txn, &(namespace, &(accessor, folded.as_str())));
        }
        let mut left = budget.saturating_sub(names.len());
        let groups = GROUP_ALIAS_NAMES.scan(txn, &prefix, None, left).await?;
        for (_, group) in groups {
            let members = self.members(txn, (namespace, *group), None, left).await?;
            left = left.saturating_sub(members.len()).saturating_sub(1);
            for member in members {
                unlink_member(txn, (namespace, *group), member);
            }
            if left == 0 {
                return Ok(true);
            }
            if let Some(alias) = self.alias_of_group(txn, namespace, *group).await? {
                remove_group_alias(txn, namespace, *group, &alias);
            }
        }
        Ok(left == 0)
    }

    /// Goes on with the first note; answers whether there was one.
    pub async fn continue_clearing(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        if let Some((number, bytes)) = DELETED_ENTITIES.keys(&txn, &(), None, 1).await?.into_iter().next() {
            let noted = DELETED_ENTITIES.get(&txn, &(number, &bytes)).await?;
            let merged = noted.map(|noted| noted.merged.clone()).unwrap_or_default();
            DELETED_ENTITIES.delete(&txn, &(number, &bytes));
            let placed = (namespace_of(number), IdentityId::of_bytes(bytes));
            let rest = self.clear_rows(&txn, placed, merged, &mut BACKGROUND_STEP.clone()).await?;
            note(&txn, placed.0, placed.1, rest)?;
        } else if let Some((number, accessor)) =
            DISABLED_MOUNT_ALIASES.keys(&txn, &(), None, 1).await?.into_iter().next()
        {
            if !self.clear_mount(&txn, namespace_of(number), &accessor, BACKGROUND_STEP).await? {
                DISABLED_MOUNT_ALIASES.delete(&txn, &(number, accessor.as_str()));
            }
        } else {
            return Ok(false);
        }
        txn.commit().await?;
        Ok(true)
    }

    /// Removes one step's worth of what a deleted namespace's groups have left in the namespaces around it; answers whether
    /// there was any. The namespace's own rows are removed with all else that it held.
    pub async fn clear_namespace(&self, txn: &Txn, namespace: NamespaceId) -> Result<bool, BarrierError> {
        let found = ELSEWHERE.scan(txn, &namespace, None, BACKGROUND_STEP).await?;
        for ((_, group, id), elsewhere) in &found {
            let group = (namespace, IdentityId::of_bytes(*group));
            let member = (elsewhere.namespace, IdentityId::of_bytes(*id));
            if elsewhere.is_group {
                unlink_group(txn, group, member);
            } else {
                unlink_member(txn, group, member);
            }
        }
        Ok(!found.is_empty())
    }
}

/// Removes up to `limit` rows of groups that an entity or a group is in, and of what is in a group; answers how many.
async fn clear_memberships(txn: &Txn, (namespace, id): Placed, limit: usize) -> Result<usize, EngineError> {
    let mut left = limit;
    for ((_, _, group), membership) in MEMBERSHIPS.scan(txn, &id.at(namespace), None, left).await? {
        unlink_member(txn, (membership.namespace, IdentityId::of_bytes(group)), (namespace, id));
        left = left.saturating_sub(1);
    }
    for ((_, _, entity), member) in MEMBERS.scan(txn, &id.at(namespace), None, left).await? {
        unlink_member(txn, (namespace, id), (member.namespace, IdentityId::of_bytes(entity)));
        left = left.saturating_sub(1);
    }
    for ((_, _, inner), member) in SUBGROUPS.scan(txn, &id.at(namespace), None, left).await? {
        unlink_group(txn, (namespace, id), (member.namespace, IdentityId::of_bytes(inner)));
        left = left.saturating_sub(1);
    }
    for ((_, _, outer), membership) in PARENTS.scan(txn, &id.at(namespace), None, left).await? {
        unlink_group(txn, (membership.namespace, IdentityId::of_bytes(outer)), (namespace, id));
        left = left.saturating_sub(1);
    }
    Ok(limit.saturating_sub(left))
}

fn note(
    txn: &Txn,
    namespace: NamespaceId,
    id: IdentityId,
    rest: Option<DeletedEntity>,
) -> Result<(), EngineError> {
    if let Some(rest) = rest {
        DELETED_ENTITIES.put(txn, &(u64::from(namespace.get()), &id.bytes()), rest)?;
    }
    Ok(())
}

/// The namespace that a note's number is of.
fn namespace_of(number: u64) -> NamespaceId {
    NamespaceId::new(u32::try_from(number).unwrap_or_default())
}

/// Removes up to `limit` aliases of an entity that is gone; answers how many.
async fn clear_aliases(txn: &Txn, (namespace, id): Placed, limit: usize) -> Result<usize, EngineError> {
    let found = ALIASES.scan(txn, &id.at(namespace), None, limit).await?;
    for ((_, _, accessor), alias) in &found {
        let folded = fold(&alias.name);
        let key = (namespace, &(accessor.as_str(), folded.as_str()));
        // A login may have made another entity for the name meanwhile.
        if ALIAS_NAMES.get(txn, &key).await?.is_some_and(|named| *named == id) {
            ALIAS_NAMES.delete(txn, &key);
        }
        ALIASES.delete(txn, &(namespace, id.bytes(), accessor.as_str()));
        ALIAS_IDS.delete(txn, &alias.id.at(namespace));
    }
    Ok(found.len())
}
