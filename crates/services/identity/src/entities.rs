//! Entities: a person or a machine, whatever it logs in with.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request};

use crate::Identity;
use crate::id::IdentityId;
use crate::listing;
use crate::names::{check_metadata, checked_name, checked_policies, fold};
use crate::scim::Managed;
use crate::tables::{ENTITIES, ENTITY_NAMES, MERGED};

/// Names drawn for an entity or a group before it is given up: there are four billion.
const MAX_DRAWS: usize = 8;

/// An entity as kept. Its aliases and groups are rows of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its name, as given.
    #[serde(rename = "n")]
    pub name: String,
    /// Metadata.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Policies of its own, in one spelling.
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// True if its tokens are refused.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The time of its creation.
    #[serde(rename = "c")]
    pub created: Moment,
    /// The time of its last change.
    #[serde(rename = "u")]
    pub updated: Moment,
    /// Entities that were merged into it: their tokens are its own.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<IdentityId>,
    /// The moment of its last revocation: tokens made until then are refused, whether or not they are in storage.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Moment>,
    /// The SCIM client that it is a user of.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Managed>,
}

impl Stored for Entity {}
impl Stored for IdentityId {}

/// The changes to an entity; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct EntityChange {
    /// Another name; an empty one is none.
    pub name: Option<String>,
    /// All of its metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// All of its policies.
    pub policies: Option<Vec<String>>,
    /// Refuses its tokens, or takes them again.
    pub disabled: Option<bool>,
    /// The SCIM client that makes the change; `None`: an operator does.
    pub by: Option<Managed>,
}

impl EntityChange {
    /// Refuses an operator's change of what a SCIM client manages, and a client's change of what it does not.
    fn check(&self, kept: &Entity, name: Option<&str>) -> Result<(), EngineError> {
        let renames = name.is_some_and(|name| name != kept.name);
        let disables = self.disabled.is_some_and(|disabled| disabled != kept.disabled);
        if self.by == kept.managed || self.by.is_none() && !renames && !disables {
            return Ok(());
        }
        Err(Managed::refusal(kept.managed.as_ref(), "entity"))
    }
}

impl Identity {
    /// The entity with this id.
    pub async fn entity(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<Arc<Entity>>, BarrierError> {
        ENTITIES.get(reads, &id.at(namespace)).await
    }

    /// The entity that an entity was merged into; `None` where it was not.
    pub async fn merged_into(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<IdentityId>, BarrierError> {
        Ok(MERGED.get(reads, &id.at(namespace)).await?.map(|into| *into))
    }

    /// The id of the entity with this name, in any case.
    pub async fn entity_named(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<IdentityId>, BarrierError> {
        let folded = fold(name.trim());
        Ok(ENTITY_NAMES.get(reads, &(namespace, folded.as_str())).await?.map(|id| *id))
    }

    /// The ids of entities after `after`.
    pub async fn entity_ids(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids(&ENTITIES, reads, namespace, after, limit).await
    }

    /// Ids of entities in order of their folded names, after the name `after`.
    pub async fn entities_by_name(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids_by_name(&ENTITY_NAMES, reads, namespace, after, limit).await
    }

    /// Writes an entity: the one with this id, else the one of the name in `change`, else a new one. Answers its id, and
    /// whether it is new.
    pub async fn write_entity(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        change: EntityChange,
    ) -> Result<(IdentityId, bool), EngineError> {
        let name = change.name.as_deref().map(|name| checked_name("entity name", name)).transpose()?;
        let name = name.filter(|name| !name.is_empty());
        let named = match &name {
            Some(name) => self.entity_named(txn, namespace, name).await?,
            None => None,
        };
        if id.is_some() && named.is_some() && id != named {
            return Err(bad_request("entity name is already in use"));
        }
        let now = self.environment.clock.now();
        let (id, kept) = match id.or(named) {
            Some(id) => (id, self.entity(txn, namespace, id).await?),
            None => (IdentityId::draw(&self.environment.entropy)?, None),
        };
        let is_new = kept.is_none();
        if let Some(kept) = &kept {
            change.check(kept, name.as_deref())?;
        }
        let mut entity = match &kept {
            Some(kept) => (**kept).clone(),
            None => Entity { created: now, managed: change.by, ..Entity::default() },
        };
        entity.updated = now;
        if let Some(metadata) = change.metadata {
            check_metadata(&metadata)?;
            entity.metadata = metadata;
        }
        if let Some(policies) = change.policies {
            entity.policies = checked_policies(&policies)?;
        }
        entity.disabled = change.disabled.unwrap_or(entity.disabled);
        match name {
            Some(name) => entity.name = name,
            None if is_new => entity.name = self.draw_entity_name(txn, namespace).await?,
            None => {}
        }
        put_named(txn, namespace, id, kept.as_deref(), entity)?;
        Ok((id, is_new))
    }

    /// Makes an entity with a name of no meaning.
    pub(crate) async fn make_entity(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
    ) -> Result<IdentityId, EngineError> {
        Ok(self.write_entity(txn, namespace, None, EntityChange::default()).await?.0)
    }

    /// A name that no entity has.
    async fn draw_entity_name(&self, txn: &Txn, namespace: NamespaceId) -> Result<String, EngineError> {
        for _ in 0..MAX_DRAWS {
            let name = self.draw_name("entity")?;
            if self.entity_named(txn, namespace, &name).await?.is_none() {
                return Ok(name);
            }
        }
        Err(EngineError::Internal("no name is free for an entity".to_owned()))
    }

    /// A kind and eight random digits.
    pub(crate) fn draw_name(&self, kind: &str) -> Result<String, EngineError> {
        let digits = u32::from_be_bytes(self.environment.entropy.bytes::<4>()?);
        Ok(format!("{kind}_{digits:08x}"))
    }

    /// Refuses all tokens that the entity has now, in storage or not.
    pub async fn mark_revoked(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<bool, EngineError> {
        let Some(kept) = self.entity(txn, namespace, id).await? else { return Ok(false) };
        let now = self.environment.clock.now();
        let marked = Entity { revoked: Some(now), updated: now, ..(*kept).clone() };
        ENTITIES.put(txn, &id.at(namespace), marked)?;
        Ok(true)
    }
}

/// Writes an entity and, where its name has changed, the index of names.
fn put_named(
    txn: &Txn,
    namespace: NamespaceId,
    id: IdentityId,
    kept: Option<&Entity>,
    entity: Entity,
) -> Result<(), BarrierError> {
    let folded = fold(&entity.name);
    let former = kept.map(|kept| fold(&kept.name));
    if former.as_ref() != Some(&folded) {
        if let Some(former) = former {
            ENTITY_NAMES.delete(txn, &(namespace, former.as_str()));
        }
        ENTITY_NAMES.put(txn, &(namespace, folded.as_str()), id)?;
    }
    ENTITIES.put(txn, &id.at(namespace), entity)
}
