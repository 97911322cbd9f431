//! Aliases: the names by which auth mounts know entities and external groups.
//!
//! An entity has one alias a mount, which is what its row's key says. An alias whose entity is gone is gone with it, though
//! its rows may still be there for a while ([`crate::clearing`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request};
use strongroom_mounts::MountHandle;

use crate::Identity;
use crate::id::IdentityId;
use crate::listing;
use crate::names::{check_custom_metadata, checked_name, fold};
use crate::scim::Managed;
use crate::tables::{ALIAS_IDS, ALIAS_NAMES, ALIASES};

/// An alias of an entity as kept, under the entity and the accessor of its mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Its id.
    #[serde(rename = "i")]
    pub id: IdentityId,
    /// Its name, as given.
    #[serde(rename = "n")]
    pub name: String,
    /// Metadata that the auth method gave with the last login.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Metadata that operators gave.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_metadata: BTreeMap<String, String>,
    /// True if its mount is local to the cluster.
    #[serde(rename = "l", default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// Entities that it was an alias of before they were merged.
    #[serde(rename = "g", default, skip_serializing_if = "Vec::is_empty")]
    pub merged_from: Vec<IdentityId>,
    /// The time of its creation.
    #[serde(rename = "c")]
    pub created: Moment,
    /// The time of its last change.
    #[serde(rename = "u")]
    pub updated: Moment,
}

/// The place of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasPlace {
    /// The entity.
    #[serde(rename = "e")]
    pub entity: IdentityId,
    /// The accessor of the mount.
    #[serde(rename = "a")]
    pub accessor: String,
}

/// The alias of an external group as kept, under the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAlias {
    /// Its id.
    #[serde(rename = "i")]
    pub id: IdentityId,
    /// Its name, as given: that of a group in the auth method's own directory.
    #[serde(rename = "n")]
    pub name: String,
    /// The accessor of its mount.
    #[serde(rename = "a")]
    pub accessor: String,
    /// The time of its creation.
    #[serde(rename = "c")]
    pub created: Moment,
    /// The time of its last change.
    #[serde(rename = "u")]
    pub updated: Moment,
}

impl Stored for Alias {}
impl Stored for AliasPlace {}
impl Stored for GroupAlias {}

/// The changes to an alias; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct AliasChange {
    /// The name.
    pub name: Option<String>,
    /// The accessor of the mount.
    pub accessor: Option<String>,
    /// The entity.
    pub entity: Option<IdentityId>,
    /// All of the metadata that operators gave.
    pub custom_metadata: Option<BTreeMap<String, String>>,
    /// The SCIM client that makes the change; `None`: an operator does.
    pub by: Option<Managed>,
}

/// An alias that is there, and where.
pub type FoundAlias = (AliasPlace, Arc<Alias>);

impl Identity {
    /// The alias with this id.
    pub async fn alias(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<Option<FoundAlias>, BarrierError> {
        let Some(place) = ALIAS_IDS.get(reads, &id.at(namespace)).await? else { return Ok(None) };
        if self.entity(reads, namespace, place.entity).await?.is_none() {
            return Ok(None);
        }
        let alias = ALIASES.get(reads, &(namespace, place.entity.bytes(), place.accessor.as_str())).await?;
        Ok(alias.map(|alias| ((*place).clone(), alias)))
    }

    /// The ids of aliases after `after`.
    pub async fn alias_ids(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        listing::ids(&ALIAS_IDS, reads, namespace, after, limit).await
    }

    /// The aliases of an entity, each with the accessor of its mount.
    pub async fn aliases_of(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        entity: IdentityId,
    ) -> Result<Vec<(String, Arc<Alias>)>, BarrierError> {
        let found = ALIASES.scan(reads, &entity.at(namespace), None, usize::MAX).await?;
        Ok(found.into_iter().map(|((_, _, accessor), alias)| (accessor, alias)).collect())
    }

    /// The entity that a mount knows by a name; `None` where there is none, or none any more.
    pub async fn entity_of_alias(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        accessor: &str,
        name: &str,
    ) -> Result<Option<IdentityId>, BarrierError> {
        let folded = fold(name.trim());
        let Some(id) = ALIAS_NAMES.get(reads, &(namespace, &(accessor, folded.as_str()))).await? else {
            return Ok(None);
        };
        Ok(self.entity(reads, namespace, *id).await?.map(|_| *id))
    }

    /// Writes an alias: the one with this id, else the one that its mount knows by the name in `change`, else a new one, of
    /// a new entity where none is given. Answers its id and its entity.
    pub async fn write_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: Option<IdentityId>,
        change: AliasChange,
    ) -> Result<(IdentityId, IdentityId), EngineError> {
        if let Some(custom) = &change.custom_metadata {
            check_custom_metadata(custom)?;
        }
        let name = change.name.as_deref().map(|name| checked_name("alias name", name)).transpose()?;
        let name = name.filter(|name| !name.is_empty());
        if let Some(entity) = change.entity
            && self.entity(txn, namespace, entity).await?.is_none()
        {
            return Err(bad_request("invalid canonical ID"));
        }
        let kept = match id {
            Some(id) => {
                let found = self.alias(txn, namespace, id).await?;
                Some(found.ok_or_else(|| bad_request("invalid alias ID provided"))?)
            }
            None => self.alias_by_factors(txn, namespace, name.as_deref(), &change).await?,
        };
        let now = self.environment.clock.now();
        let (former, alias) = if let Some((place, alias)) = kept {
            (Some((place, alias.clone())), (*alias).clone())
        } else {
            let id = IdentityId::draw(&self.environment.entropy)?;
            (None, Alias { id, created: now, ..Alias::default() })
        };
        let kept_accessor = former.as_ref().map(|(place, _)| place.accessor.clone());
        if let Some((place, kept)) = &former {
            let is_same = |given: Option<&str>, kept: &str| given.is_none_or(|given| given == kept);
            let stays = is_same(name.as_deref(), &kept.name)
                && is_same(change.accessor.as_deref(), &place.accessor)
                && change.entity.is_none_or(|entity| entity == place.entity);
            if !stays {
                self.refuse_managed_alias(txn, namespace, place, change.by.as_ref()).await?;
            }
        }
        let accessor = change.accessor.or(kept_accessor).unwrap_or_default();
        let mounted = self.auth_mount(namespace, &accessor).await?;
        // One that is disabled meanwhile would leave the alias behind.
        self.mounts.require_mount(txn, &mounted).await?;
        let alias = Alias {
            name: name.unwrap_or(alias.name),
            custom_metadata: change.custom_metadata.unwrap_or(alias.custom_metadata),
            local: mounted.entry.local,
            updated: now,
            ..alias
        };
        let entity = match change.entity.or(former.as_ref().map(|(place, _)| place.entity)) {
            Some(entity) => entity,
            None => self.make_entity(txn, namespace).await?,
        };
        let id = alias.id;
        let place = AliasPlace { entity, accessor };
        if former.as_ref().is_none_or(|(former, _)| *former != place) {
            self.refuse_managed_alias(txn, namespace, &place, change.by.as_ref()).await?;
        }
        self.place_alias(txn, namespace, former, place, alias).await?;
        Ok((id, entity))
    }

    /// Refuses anybody but its SCIM client to change the alias by which a user logs in.
    async fn refuse_managed_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        place: &AliasPlace,
        by: Option<&Managed>,
    ) -> Result<(), EngineError> {
        let entity = self.entity(txn, namespace, place.entity).await?;
        let managed = entity.as_ref().and_then(|entity| entity.managed.as_ref());
        match managed.filter(|managed| managed.accessor == place.accessor) {
            Some(managed) if by != Some(managed) => Err(Managed::refusal(Some(managed), "alias")),
            _ => Ok(()),
        }
    }

    /// The alias that a mount knows by a name, for writes that name no id.
    async fn alias_by_factors(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: Option<&str>,
        change: &AliasChange,
    ) -> Result<Option<FoundAlias>, EngineError> {
        let name = name.ok_or_else(|| bad_request("missing alias name"))?;
        let accessor = change.accessor.as_deref().filter(|accessor| !accessor.is_empty());
        let accessor = accessor.ok_or_else(|| bad_request("missing mount_accessor"))?;
        let Some(entity) = self.entity_of_alias(txn, namespace, accessor, name).await? else {
            return Ok(None);
        };
        let alias = ALIASES.get(txn, &(namespace, entity.bytes(), accessor)).await?;
        Ok(alias.map(|alias| (AliasPlace { entity, accessor: accessor.to_owned() }, alias)))
    }

    /// Puts an alias where it belongs, away from where it was. Its place and its name must be free.
    async fn place_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        former: Option<FoundAlias>,
        place: AliasPlace,
        alias: Alias,
    ) -> Result<(), EngineError> {
        let key = (namespace, place.entity.bytes(), place.accessor.as_str());
        let there = ALIASES.get(txn, &key).await?;
        if there.is_some_and(|there| there.id != alias.id) {
            return Err(bad_request("Alias already exists for requested entity and mount accessor"));
        }
        let known = self.entity_of_alias(txn, namespace, &place.accessor, &alias.name).await?;
        let is_own = |entity| {
            former.as_ref().is_some_and(|(was, _)| was.entity == entity && was.accessor == place.accessor)
        };
        if known.is_some_and(|entity| !is_own(entity)) {
            return Err(bad_request("alias with combination of mount accessor and name already exists"));
        }
        if let Some((was, alias)) = former {
            remove_alias(txn, namespace, &was, &alias);
        }
        put_alias(txn, namespace, &place, alias)?;
        Ok(())
    }

    /// Deletes an alias; its entity stays.
    pub async fn delete_alias(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: IdentityId,
    ) -> Result<(), EngineError> {
        if let Some((place, alias)) = self.alias(txn, namespace, id).await? {
            self.refuse_managed_alias(txn, namespace, &place, None).await?;
            remove_alias(txn, namespace, &place, &alias);
        }
        Ok(())
    }

    /// The auth mount with this accessor.
    ///
    /// # Errors
    ///
    /// 400 where there is none.
    pub(crate) async fn auth_mount(
        &self,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<Arc<MountHandle>, EngineError> {
        if accessor.is_empty() {
            return Err(bad_request("missing mount_accessor"));
        }
        let found = self.mounts.router().await?.by_accessor(namespace, accessor);
        let found = found.filter(|mounted| mounted.path.starts_with("auth/"));
        found.ok_or_else(|| bad_request(format!("invalid mount accessor {accessor:?}")))
    }

    /// The id of a namespace, as answers have it.
    pub async fn short_id(&self, namespace: NamespaceId) -> Result<String, BarrierError> {
        let found = self.mounts.router().await?.namespace(namespace);
        Ok(found.map(|found| found.short_id.clone()).unwrap_or_default())
    }

    /// The auth mount of an alias, as it is now; `None` where it is disabled.
    pub async fn mount_of(
        &self,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<Option<Arc<MountHandle>>, BarrierError> {
        Ok(self.mounts.router().await?.by_accessor(namespace, accessor))
    }
}

/// Writes the rows of an alias.
pub(crate) fn put_alias(
    txn: &Txn,
    namespace: NamespaceId,
    place: &AliasPlace,
    alias: Alias,
) -> Result<(), BarrierError> {
    let accessor = place.accessor.as_str();
    ALIAS_IDS.put(txn, &alias.id.at(namespace), place.clone())?;
    ALIAS_NAMES.put(txn, &(namespace, &(accessor, fold(&alias.name).as_str())), place.entity)?;
    ALIASES.put(txn, &(namespace, place.entity.bytes(), accessor), alias)
}

/// Removes the rows of an alias.
pub(crate) fn remove_alias(txn: &Txn, namespace: NamespaceId, place: &AliasPlace, alias: &Alias) {
    let accessor = place.accessor.as_str();
    ALIASES.delete(txn, &(namespace, place.entity.bytes(), accessor));
    ALIAS_IDS.delete(txn, &alias.id.at(namespace));
    ALIAS_NAMES.delete(txn, &(namespace, &(accessor, fold(&alias.name).as_str())));
}
