//! The members of groups.
//!
//! Both directions are written in one transaction. A change of a group's whole list costs what it changes; adding or removing
//! one member costs one, however many there are. Groups in a circle are refused: the transaction reads each group on the way
//! up, so two changes at once cannot close one together.

use std::collections::BTreeSet;

use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::Identity;
use crate::across::{MemberKind, Search};
use crate::groups::{Elsewhere, GroupKind, Member, Membership};
use crate::id::IdentityId;
use crate::scim::Managed;
use crate::tables::{ELSEWHERE, MEMBERS, MEMBERSHIPS, PARENTS, SUBGROUPS};

/// Members that one request adds and removes: a commit is applied as a whole, and others wait for it.
pub const MAX_CHANGES: usize = 10_000;
/// Groups above a group that are looked at for a circle.
const MAX_ABOVE: usize = 10_000;

/// A group or an entity, and the namespace it is in.
pub type Placed = (NamespaceId, IdentityId);

impl Identity {
    /// The entities in a group, after `after`, each with its namespace.
    pub async fn members(
        &self,
        reads: &impl Reads,
        (namespace, group): Placed,
        after: Option<IdentityId>,
        limit: usize,
    ) -> Result<Vec<Placed>, BarrierError> {
        let after = after.as_ref().map(|after| (namespace, group.bytes(), after.bytes()));
        let after = after.as_ref().map(|(namespace, group, after)| (*namespace, *group, after));
        let found = MEMBERS.scan_after(reads, &group.at(namespace), after.as_ref(), limit).await?;
        let placed =
            found.into_iter().map(|((_, _, id), member)| (member.namespace, IdentityId::of_bytes(id)));
        Ok(placed.collect())
    }

    /// The number of entities in a group, counted up to `limit`.
    pub async fn count_members(
        &self,
        reads: &impl Reads,
        (namespace, group): Placed,
        limit: usize,
    ) -> Result<usize, BarrierError> {
        Ok(MEMBERS.keys(reads, &group.at(namespace), None, limit).await?.len())
    }

    /// The groups in a group.
    pub async fn subgroups(
        &self,
        reads: &impl Reads,
        (namespace, group): Placed,
    ) -> Result<Vec<Placed>, BarrierError> {
        let found = SUBGROUPS.scan(reads, &group.at(namespace), None, usize::MAX).await?;
        let placed =
            found.into_iter().map(|((_, _, id), member)| (member.namespace, IdentityId::of_bytes(id)));
        Ok(placed.collect())
    }

    /// The groups that a group is directly in.
    pub async fn parents(
        &self,
        reads: &impl Reads,
        (namespace, group): Placed,
    ) -> Result<Vec<Placed>, BarrierError> {
        let found = PARENTS.scan(reads, &group.at(namespace), None, usize::MAX).await?;
        let placed = found
            .into_iter()
            .map(|((_, _, id), membership)| (membership.namespace, IdentityId::of_bytes(id)));
        Ok(placed.collect())
    }

    /// Adds an entity to an internal group: two rows, however many there are.
    pub async fn add_member(&self, txn: &Txn, group: Placed, entity: IdentityId) -> Result<(), EngineError> {
        self.require_internal(txn, group).await?;
        let mut search = self.search(txn, group.0).await?;
        self.join(txn, &mut search, group, entity).await
    }

    /// Removes an entity from an internal group.
    pub async fn remove_member(
        &self,
        txn: &Txn,
        group: Placed,
        entity: IdentityId,
    ) -> Result<(), EngineError> {
        self.require_internal(txn, group).await?;
        let key = (group.0, group.1.bytes(), &entity.bytes());
        if let Some(member) = MEMBERS.get(txn, &key).await? {
            unlink_member(txn, group, (member.namespace, entity));
        }
        Ok(())
    }

    /// Refuses groups that are not there, and those whose members follow from logins or a SCIM client.
    async fn require_internal(&self, txn: &Txn, group: Placed) -> Result<(), EngineError> {
        let found =
            self.group(txn, group.0, group.1).await?.ok_or_else(|| bad_request("invalid group id"))?;
        if found.kind == GroupKind::External {
            return Err(bad_request("member entities can't be set manually for external groups"));
        }
        Managed::refuse(found.managed.as_ref(), "group")
    }

    /// Adds an entity of a namespace that the group may have members of.
    async fn join(
        &self,
        txn: &Txn,
        search: &mut Search,
        group: Placed,
        entity: IdentityId,
    ) -> Result<(), EngineError> {
        match self.place_of(txn, search, MemberKind::Entity, entity).await? {
            Some(namespace) => Ok(link_member(txn, group, (namespace, entity), "")?),
            None => Err(bad_request(format!("invalid entity ID \"{entity}\""))),
        }
    }

    /// A namespace and those around it, from the inside out.
    pub async fn namespaces_around(&self, namespace: NamespaceId) -> Result<Vec<NamespaceId>, BarrierError> {
        let router = self.mounts.router().await?;
        let mut around = vec![namespace];
        let mut inner = router.namespace(namespace);
        while let Some(found) = inner.filter(|found| !found.is_root()) {
            around.push(found.parent_id());
            inner = router.namespace(found.parent_id());
        }
        Ok(around)
    }

    /// Gives a group exactly these entities.
    pub(crate) async fn set_entities(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        group: IdentityId,
        wanted: &BTreeSet<IdentityId>,
    ) -> Result<(), EngineError> {
        let kept = self.members(txn, (namespace, group), None, usize::MAX).await?;
        let there: BTreeSet<IdentityId> = kept.iter().map(|(_, id)| *id).collect();
        let gone: Vec<Placed> = kept.into_iter().filter(|(_, id)| !wanted.contains(id)).collect();
        let new: Vec<IdentityId> = wanted.difference(&there).copied().collect();
        check_changes(gone.len().saturating_add(new.len()))?;
        for member in gone {
            unlink_member(txn, (namespace, group), member);
        }
        if new.is_empty() {
            return Ok(());
        }
        let mut search = self.search(txn, namespace).await?;
        for entity in new {
            self.join(txn, &mut search, (namespace, group), entity).await?;
        }
        Ok(())
    }

    /// Gives a group exactly these groups.
    pub(crate) async fn set_subgroups(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        group: IdentityId,
        wanted: &BTreeSet<IdentityId>,
    ) -> Result<(), EngineError> {
        let kept = self.subgroups(txn, (namespace, group)).await?;
        let there: BTreeSet<IdentityId> = kept.iter().map(|(_, id)| *id).collect();
        let gone: Vec<Placed> = kept.into_iter().filter(|(_, id)| !wanted.contains(id)).collect();
        let new: Vec<IdentityId> = wanted.difference(&there).copied().collect();
        check_changes(gone.len().saturating_add(new.len()))?;
        for inner in gone {
            unlink_group(txn, (namespace, group), inner);
        }
        if new.is_empty() {
            return Ok(());
        }
        let above = self.above(txn, (namespace, group)).await?;
        let mut search = self.search(txn, namespace).await?;
        for inner in new {
            if above.contains(&inner) {
                return Err(bad_request(format!(
                    "cyclic relationship detected for member group ID \"{inner}\""
                )));
            }
            let found = self.place_of(txn, &mut search, MemberKind::Group, inner).await?;
            let of = found.ok_or_else(|| bad_request(format!("invalid group ID \"{inner}\"")))?;
            link_group(txn, (namespace, group), (of, inner))?;
        }
        Ok(())
    }

    /// A group and all that it is in, directly or not.
    async fn above(&self, txn: &Txn, group: Placed) -> Result<BTreeSet<IdentityId>, EngineError> {
        let mut above = BTreeSet::from([group.1]);
        let mut waiting = vec![group];
        while let Some(next) = waiting.pop() {
            for (namespace, id) in self.parents(txn, next).await? {
                if above.insert(id) {
                    waiting.push((namespace, id));
                }
            }
            if above.len() > MAX_ABOVE {
                return Err(bad_request(format!("the group is in more than {MAX_ABOVE} groups")));
            }
        }
        Ok(above)
    }
}

fn check_changes(count: usize) -> Result<(), EngineError> {
    if count > MAX_CHANGES {
        return Err(bad_request(format!(
            "more than {MAX_CHANGES} members are added or removed at once; add them one by one under members/"
        )));
    }
    Ok(())
}

/// Writes both rows of an entity in a group. `accessor`: the mount whose login says so.
pub(crate) fn link_member(
    txn: &Txn,
    group: Placed,
    entity: Placed,
    accessor: &str,
) -> Result<(), BarrierError> {
    let membership = Membership { namespace: group.0, accessor: accessor.to_owned() };
    note_elsewhere(txn, group, entity, false)?;
    MEMBERS.put(txn, &(group.0, group.1.bytes(), &entity.1.bytes()), Member { namespace: entity.0 })?;
    MEMBERSHIPS.put(txn, &(entity.0, entity.1.bytes(), &group.1.bytes()), membership)
}

/// Removes both rows of an entity in a group.
pub(crate) fn unlink_member(txn: &Txn, group: Placed, entity: Placed) {
    forget_elsewhere(txn, group, entity);
    MEMBERS.delete(txn, &(group.0, group.1.bytes(), &entity.1.bytes()));
    MEMBERSHIPS.delete(txn, &(entity.0, entity.1.bytes(), &group.1.bytes()));
}

/// Writes both rows of a group in a group.
fn link_group(txn: &Txn, outer: Placed, inner: Placed) -> Result<(), BarrierError> {
    let membership = Membership { namespace: outer.0, accessor: String::new() };
    note_elsewhere(txn, outer, inner, true)?;
    SUBGROUPS.put(txn, &(outer.0, outer.1.bytes(), &inner.1.bytes()), Member { namespace: inner.0 })?;
    PARENTS.put(txn, &(inner.0, inner.1.bytes(), &outer.1.bytes()), membership)
}

/// Removes both rows of a group in a group.
pub(crate) fn unlink_group(txn: &Txn, outer: Placed, inner: Placed) {
    forget_elsewhere(txn, outer, inner);
    SUBGROUPS.delete(txn, &(outer.0, outer.1.bytes(), &inner.1.bytes()));
    PARENTS.delete(txn, &(inner.0, inner.1.bytes(), &outer.1.bytes()));
}

fn note_elsewhere(txn: &Txn, group: Placed, member: Placed, is_group: bool) -> Result<(), BarrierError> {
    if group.0 == member.0 {
        return Ok(());
    }
    let elsewhere = Elsewhere { namespace: member.0, is_group };
    ELSEWHERE.put(txn, &(group.0, group.1.bytes(), &member.1.bytes()), elsewhere)
}

fn forget_elsewhere(txn: &Txn, group: Placed, member: Placed) {
    if group.0 != member.0 {
        ELSEWHERE.delete(txn, &(group.0, group.1.bytes(), &member.1.bytes()));
    }
}
