//! Merging entities into one.
//!
//! The aliases and groups of those that are merged go to the one that stays, and so do their tokens: a token's entity is
//! looked up under its former id, and found to be another now. Policies and metadata do not: who may merge gives nobody
//! policies by it but those of groups. All is one transaction, within limits.

use std::collections::BTreeSet;
use std::sync::Arc;

use strongroom_barrier::{NamespaceId, Txn};
use strongroom_engine_api::{EngineError, bad_request};

use crate::Identity;
use crate::aliases::{Alias, AliasPlace, put_alias, remove_alias};
use crate::id::IdentityId;
use crate::members::{Placed, link_member, unlink_member};
use crate::names::fold;
use crate::scim::Managed;
use crate::tables::{ENTITIES, ENTITY_NAMES, MEMBERSHIPS, MERGED};

/// Entities merged at once.
const MAX_ENTITIES: usize = 100;
/// Aliases, groups and former merges moved at once.
const MAX_MOVED: usize = 10_000;

/// A merge as asked for.
#[derive(Clone, Debug, Default)]
pub struct Merge {
    /// The entities that are merged.
    pub from: BTreeSet<IdentityId>,
    /// The entity that stays.
    pub to: IdentityId,
    /// Of aliases of one mount, those that are kept.
    pub keep: BTreeSet<IdentityId>,
}

/// An alias with the accessor of its mount.
type OfMount = (String, Arc<Alias>);

impl Identity {
    /// Merges entities.
    ///
    /// # Errors
    ///
    /// 400 in Vault's words; then nothing has changed.
    pub async fn merge(&self, txn: &Txn, namespace: NamespaceId, merge: &Merge) -> Result<(), EngineError> {
        if merge.from.len() > MAX_ENTITIES {
            return Err(bad_request(format!("more than {MAX_ENTITIES} entities cannot be merged at once")));
        }
        if merge.from.contains(&merge.to) {
            return Err(bad_request("to_entity_id should not be present in from_entity_ids"));
        }
        let to = self.entity(txn, namespace, merge.to).await?;
        let to = to.ok_or_else(|| bad_request("entity id to merge to is invalid"))?;
        Managed::refuse(to.managed.as_ref(), "entity")?;
        if !merge.keep.is_empty() && merge.from.len() > 1 {
            return Err(bad_request(
                "conflicting_alias_ids_to_keep is only supported with exactly one entity to merge from",
            ));
        }
        let mut to = (*to).clone();
        let mut moved: usize = 0;
        for from in &merge.from {
            let entity = self.entity(txn, namespace, *from).await?;
            let entity = entity.ok_or_else(|| bad_request("entity id to merge from is invalid"))?;
            Managed::refuse(entity.managed.as_ref(), "entity")?;
            moved = moved.saturating_add(self.merge_aliases(txn, namespace, *from, merge).await?);
            moved = moved.saturating_add(self.merge_groups(txn, (namespace, *from), merge.to).await?);
            moved = moved.saturating_add(entity.merged.len());
            if moved > MAX_MOVED {
                return Err(bad_request(format!(
                    "more than {MAX_MOVED} aliases and groups cannot be merged at once"
                )));
            }
            for former in entity.merged.iter().chain([from]) {
                MERGED.put(txn, &former.at(namespace), merge.to)?;
            }
            to.merged.extend(entity.merged.iter().copied().chain([*from]));
            // What was revoked of one stays revoked: its tokens are those of the other now.
            to.revoked = to.revoked.max(entity.revoked);
            ENTITY_NAMES.delete(txn, &(namespace, fold(&entity.name).as_str()));
            ENTITIES.delete(txn, &from.at(namespace));
        }
        to.updated = self.environment.clock.now();
        ENTITIES.put(txn, &merge.to.at(namespace), to)?;
        Ok(())
    }

    /// Moves the aliases of one entity to the one that stays; answers how many there were.
    async fn merge_aliases(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        from: IdentityId,
        merge: &Merge,
    ) -> Result<usize, EngineError> {
        let theirs = self.aliases_of(txn, namespace, from).await?;
        let own = self.aliases_of(txn, namespace, merge.to).await?;
        let conflicts: Vec<(&OfMount, &OfMount)> = theirs
            .iter()
            .filter_map(|alias| Some((alias, own.iter().find(|(accessor, _)| *accessor == alias.0)?)))
            .collect();
        check_conflicts(&conflicts, merge)?;
        for (their, own) in &conflicts {
            let (gone, of) = if merge.keep.contains(&their.1.id) { (own, merge.to) } else { (their, from) };
            remove_alias(txn, namespace, &place(of, gone), &gone.1);
        }
        let now = self.environment.clock.now();
        for alias in &theirs {
            let loses = |(their, _): &(&OfMount, &OfMount)| their.1.id == alias.1.id;
            if conflicts.iter().any(loses) && !merge.keep.contains(&alias.1.id) {
                continue;
            }
            remove_alias(txn, namespace, &place(from, alias), &alias.1);
            let mut moved = Alias { updated: now, ..(*alias.1).clone() };
            moved.merged_from.push(from);
            put_alias(txn, namespace, &place(merge.to, alias), moved)?;
        }
        Ok(theirs.len())
    }

    /// Puts the entity that stays into the groups of one that goes; answers how many there were.
    async fn merge_groups(
        &self,
        txn: &Txn,
        (namespace, from): Placed,
        to: IdentityId,
    ) -> Result<usize, EngineError> {
        let found = MEMBERSHIPS.scan(txn, &from.at(namespace), None, usize::MAX).await?;
        for ((_, _, id), membership) in &found {
            let group = (membership.namespace, IdentityId::of_bytes(*id));
            unlink_member(txn, group, (namespace, from));
            let own = MEMBERSHIPS.get(txn, &(namespace, to.bytes(), id)).await?;
            if own.is_none() {
                link_member(txn, group, (namespace, to), &membership.accessor)?;
            }
        }
        Ok(found.len())
    }
}

/// The place of an entity's alias.
fn place(entity: IdentityId, (accessor, _): &OfMount) -> AliasPlace {
    AliasPlace { entity, accessor: accessor.clone() }
}

/// Refuses a merge after which the entity would have two aliases of a mount, unless it is said which of the two is kept.
fn check_conflicts(conflicts: &[(&OfMount, &OfMount)], merge: &Merge) -> Result<(), EngineError> {
    if conflicts.is_empty() {
        return Ok(());
    }
    if merge.keep.is_empty() || merge.from.len() > 1 {
        let clashes: Vec<String> = conflicts
            .iter()
            .map(|((accessor, their), (_, own))| format!("{accessor}: {} and {}", own.id, their.id))
            .collect();
        return Err(bad_request(format!(
            "toEntity and at least one fromEntity have aliases with the same mount accessor, repeat the merge request \
             specifying exactly one fromEntity and the aliases to keep in conflicting_alias_ids_to_keep; clashes: {}",
            clashes.join(", ")
        )));
    }
    for ((_, their), (_, own)) in conflicts {
        let kept = (merge.keep.contains(&their.id), merge.keep.contains(&own.id));
        let which = match kept {
            (true, true) => "both",
            (false, false) => "neither",
            _ => continue,
        };
        return Err(bad_request(format!(
            "conflicting mount accessors in following alias IDs and {which} were present in \
             conflicting_alias_ids_to_keep: {}, {}",
            own.id, their.id
        )));
    }
    Ok(())
}
