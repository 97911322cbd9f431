//! What is kept of SCIM: clients, by whose requests users and groups are provisioned from outside, and what each has made.
//! Source: Vault's API page "SCIM"; RFC 7643.
//!
//! A user is an entity and a group is an internal group, which say whose they are ([`Managed`]); what SCIM has beside them is a row
//! under the client's collection, so a client's users are a range of keys. What a client manages (name, status, members, existence)
//! operators do not change; policies and metadata are theirs alone. The protocol is in the identity engine.
//!
//! A deleted client is refused from then on. Its users and groups are deleted in bounded steps ([`Identity::continue_scim_deletion`]),
//! by a job that ends their tokens in the same transactions; the client's own row goes last.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment, bad_request};

use crate::Identity;
use crate::id::IdentityId;
use crate::members::{Placed, link_member, unlink_member};
use crate::names::{checked_name, fold};
use crate::tables::{
    DELETED_SCIM_CLIENTS, MEMBERS, SCIM_CLIENTS, SCIM_EXTERNAL_IDS, SCIM_PRINCIPALS, SCIM_RESOURCES,
};

/// Users that one step of a client's deletion deletes.
const USERS_STEP: usize = 32;
/// Groups that it deletes: each may have many members.
const GROUPS_STEP: usize = 4;

/// The SCIM client that an entity or a group is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// The client's name.
    #[serde(rename = "c")]
    pub client: String,
    /// The accessor of the mount at which the client gives aliases; empty where it gives none.
    #[serde(rename = "a", default, skip_serializing_if = "String::is_empty")]
    pub accessor: String,
}

impl Managed {
    /// The refusal of a change by anybody but the one who manages it.
    pub(crate) fn refusal(managed: Option<&Self>, what: &str) -> EngineError {
        match managed {
            Some(by) => bad_request(format!("the {what} is managed by the SCIM client {:?}", by.client)),
            None => bad_request(format!("the {what} is not managed by the SCIM client")),
        }
    }

    /// Refuses what operators may not do to what a client manages.
    ///
    /// # Errors
    ///
    /// 400 where there is such a client.
    pub fn refuse(managed: Option<&Self>, what: &str) -> Result<(), EngineError> {
        match managed {
            None => Ok(()),
            managed => Err(Self::refusal(managed, what)),
        }
    }
}

/// A SCIM client as kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScimClient {
    /// Its id.
    #[serde(rename = "i")]
    pub id: IdentityId,
    /// The entity whose tokens make its requests.
    #[serde(rename = "p")]
    pub principal: IdentityId,
    /// The accessor of the mount at which its users get aliases; empty: they get none.
    #[serde(rename = "a", default, skip_serializing_if = "String::is_empty")]
    pub accessor: String,
    /// The collection of its users.
    #[serde(rename = "e")]
    pub users: IdentityId,
    /// The collection of its groups.
    #[serde(rename = "g")]
    pub groups: IdentityId,
    /// True if it is being deleted.
    #[serde(rename = "d", default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// The time of its creation.
    #[serde(rename = "c")]
    pub created: Moment,
    /// The time of its last change.
    #[serde(rename = "u")]
    pub updated: Moment,
}

/// The changes to a SCIM client; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct ScimClientChange {
    /// The entity whose tokens make its requests.
    pub principal: Option<IdentityId>,
    /// The accessor of the mount of its users' aliases, which cannot change.
    pub accessor: Option<String>,
}

/// What SCIM has of a user or a group beside the entity or the group itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScimResource {
    /// The id that the client has given it.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The other attributes, as JSON.
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    pub document: String,
}

/// The note of a SCIM client that is being deleted.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeletedScimClient {}

impl Stored for ScimClient {}
impl Stored for ScimResource {}
impl Stored for DeletedScimClient {}

/// The first part of the key of an external id.
fn external(collection: IdentityId, id: &str) -> String {
    format!("{collection}{id}")
}

impl Identity {
    /// The SCIM client of this name, in any case.
    pub async fn scim_client(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Arc<ScimClient>>, BarrierError> {
        SCIM_CLIENTS.get(reads, &(namespace, fold(name).as_str())).await
    }

    /// Names of SCIM clients after `after`.
    pub async fn scim_client_names(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let after = after.map(fold);
        let after = after.as_deref().map(|after| (namespace, after));
        let found = SCIM_CLIENTS.scan_after(reads, &namespace, after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|((_, name), _)| name).collect())
    }

    /// The SCIM client whose requests the tokens of an entity make, with its name; `None` where there is none, or none any more.
    pub async fn scim_client_of(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        entity: IdentityId,
    ) -> Result<Option<(String, Arc<ScimClient>)>, BarrierError> {
        let Some(name) = SCIM_PRINCIPALS.get(reads, &entity.at(namespace)).await? else { return Ok(None) };
        let client = SCIM_CLIENTS.get(reads, &(namespace, name.as_str())).await?;
        let client = client.filter(|client| !client.deleting && client.principal == entity);
        Ok(client.map(|client| ((*name).clone(), client)))
    }

    /// Writes the SCIM client of this name.
    ///
    /// # Errors
    ///
    /// 400 where its entity or its mount is none that it can have, and where what cannot change is to.
    pub async fn write_scim_client(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        change: ScimClientChange,
    ) -> Result<(), EngineError> {
        let name = fold(&checked_name("client name", name)?);
        let kept = SCIM_CLIENTS.get(txn, &(namespace, name.as_str())).await?;
        if kept.as_ref().is_some_and(|kept| kept.deleting) {
            return Err(bad_request("the SCIM client is being deleted"));
        }
        let former = kept.as_ref().map(|kept| kept.principal);
        let principal = change.principal.or(former);
        let principal = principal.ok_or_else(|| bad_request("missing access_grant_principal"))?;
        if former != Some(principal) {
            self.take_principal(txn, namespace, &name, principal).await?;
            if let Some(former) = former {
                SCIM_PRINCIPALS.delete(txn, &former.at(namespace));
            }
        }
        let accessor = change.accessor.filter(|accessor| !accessor.is_empty());
        let now = self.environment.clock.now();
        let client = if let Some(kept) = kept {
            if accessor.is_some_and(|accessor| accessor != kept.accessor) {
                return Err(bad_request("alias_mount_accessor cannot be changed"));
            }
            ScimClient { principal, updated: now, ..(*kept).clone() }
        } else {
            let accessor = accessor.unwrap_or_default();
            self.check_alias_mount(txn, namespace, &accessor).await?;
            let draw = || IdentityId::draw(&self.environment.entropy);
            let (id, users, groups) = (draw()?, draw()?, draw()?);
            let (created, updated, deleting) = (now, now, false);
            ScimClient { id, principal, accessor, users, groups, deleting, created, updated }
        };
        txn.on_commit({
            let name = name.clone();
            move || tracing::info!(client = name, "SCIM client written")
        });
        Ok(SCIM_CLIENTS.put(txn, &(namespace, name.as_str()), client)?)
    }

    /// Gives a client its entity, which makes the requests of no other client and is nobody's user.
    async fn take_principal(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        principal: IdentityId,
    ) -> Result<(), EngineError> {
        let entity = self.entity(txn, namespace, principal).await?;
        let entity =
            entity.ok_or_else(|| bad_request("access_grant_principal is not an entity of the namespace"))?;
        Managed::refuse(entity.managed.as_ref(), "entity")?;
        if SCIM_PRINCIPALS.get(txn, &principal.at(namespace)).await?.is_some_and(|other| *other != name) {
            return Err(bad_request("access_grant_principal is that of another SCIM client"));
        }
        Ok(SCIM_PRINCIPALS.put(txn, &principal.at(namespace), name.to_owned())?)
    }

    async fn check_alias_mount(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<(), EngineError> {
        if accessor.is_empty() {
            return Ok(());
        }
        let mounted = self.auth_mount(namespace, accessor).await?;
        if mounted.entry.local {
            return Err(bad_request("alias_mount_accessor is that of a local mount"));
        }
        self.mounts.require_mount(txn, &mounted).await
    }

    /// Begins to delete a SCIM client: it is refused from here on. What it has made is deleted by housekeeping.
    pub async fn delete_scim_client(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<(), EngineError> {
        let name = fold(name);
        let Some(kept) = SCIM_CLIENTS.get(txn, &(namespace, name.as_str())).await? else { return Ok(()) };
        SCIM_PRINCIPALS.delete(txn, &kept.principal.at(namespace));
        let updated = self.environment.clock.now();
        let deleting = ScimClient { deleting: true, updated, ..(*kept).clone() };
        SCIM_CLIENTS.put(txn, &(namespace, name.as_str()), deleting)?;
        DELETED_SCIM_CLIENTS.put(txn, &(u64::from(namespace.get()), name.as_str()), DeletedScimClient {})?;
        txn.on_commit(move || {
            tracing::info!(client = name, "SCIM client deleted, with its users and groups");
        });
        Ok(())
    }

    /// Deletes some users or groups of the first client that is being deleted. Answers their namespace and the ids under which
    /// tokens and leases may be listed; `None` where no client is.
    pub async fn continue_scim_deletion(
        &self,
        txn: &Txn,
    ) -> Result<Option<(NamespaceId, Vec<IdentityId>)>, EngineError> {
        let noted = DELETED_SCIM_CLIENTS.keys(txn, &(), None, 1).await?;
        let Some((number, name)) = noted.into_iter().next() else { return Ok(None) };
        let namespace = NamespaceId::new(u32::try_from(number).unwrap_or_default());
        let client = SCIM_CLIENTS.get(txn, &(namespace, name.as_str())).await?;
        let Some(client) = client.filter(|client| client.deleting) else {
            // Of a namespace that is gone, say.
            DELETED_SCIM_CLIENTS.delete(txn, &(number, name.as_str()));
            return Ok(Some((namespace, Vec::new())));
        };
        let users = self.scim_resources(txn, (namespace, client.users), None, USERS_STEP).await?;
        if !users.is_empty() {
            let ids: Vec<IdentityId> = users.iter().map(|(id, _)| *id).collect();
            let gone = self.delete_entities(txn, namespace, &ids).await?;
            for id in ids {
                self.remove_scim_resource(txn, (namespace, client.users), id).await?;
            }
            return Ok(Some((namespace, gone)));
        }
        let groups = self.scim_resources(txn, (namespace, client.groups), None, GROUPS_STEP).await?;
        for (id, _) in &groups {
            self.delete_group(txn, namespace, *id).await?;
            self.remove_scim_resource(txn, (namespace, client.groups), *id).await?;
        }
        if groups.is_empty() {
            SCIM_CLIENTS.delete(txn, &(namespace, name.as_str()));
            DELETED_SCIM_CLIENTS.delete(txn, &(number, name.as_str()));
        }
        Ok(Some((namespace, Vec::new())))
    }

    /// A user or a group of a collection.
    pub async fn scim_resource(
        &self,
        reads: &impl Reads,
        (namespace, collection): Placed,
        id: IdentityId,
    ) -> Result<Option<Arc<ScimResource>>, BarrierError> {
        SCIM_RESOURCES.get(reads, &(namespace, collection.bytes(), &id.bytes())).await
    }

    /// The users or groups of a collection after `after`, in order of their ids.
    pub async fn scim_resources(
        &self,
        reads: &impl Reads,
        (namespace, collection): Placed,
        after: Option<IdentityId>,
        limit: usize,
    ) -> Result<Vec<(IdentityId, Arc<ScimResource>)>, BarrierError> {
        let after = after.map(IdentityId::bytes);
        let after = after.as_ref().map(|after| (namespace, collection.bytes(), after));
        let found =
            SCIM_RESOURCES.scan_after(reads, &collection.at(namespace), after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|((_, _, id), kept)| (IdentityId::of_bytes(id), kept)).collect())
    }

    /// The ids of a collection after `after`.
    pub async fn scim_ids(
        &self,
        reads: &impl Reads,
        (namespace, collection): Placed,
        after: Option<IdentityId>,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        let prefix = collection.at(namespace);
        let after = after.map(IdentityId::bytes);
        let keys = match &after {
            Some(after) => {
                let after = (namespace, collection.bytes(), after);
                SCIM_RESOURCES.keys_after(reads, &prefix, &after, limit).await?
            }
            None => SCIM_RESOURCES.keys(reads, &prefix, None, limit).await?,
        };
        Ok(keys.into_iter().map(|(_, _, id)| IdentityId::of_bytes(id)).collect())
    }

    /// The users or groups to which a client has given an id, up to `limit`. It may give one twice.
    pub async fn scim_ids_by_external(
        &self,
        reads: &impl Reads,
        (namespace, collection): Placed,
        id: &str,
        limit: usize,
    ) -> Result<Vec<IdentityId>, BarrierError> {
        let of = external(collection, id);
        let keys = SCIM_EXTERNAL_IDS.keys(reads, &(namespace, &(of.as_str(), "")), None, limit).await?;
        Ok(keys.into_iter().filter_map(|(_, (_, id))| IdentityId::parse(&id)).collect())
    }

    /// Writes what SCIM has of a user or a group.
    pub async fn put_scim_resource(
        &self,
        txn: &Txn,
        (namespace, collection): Placed,
        id: IdentityId,
        resource: ScimResource,
    ) -> Result<(), BarrierError> {
        let former = self.scim_resource(txn, (namespace, collection), id).await?;
        let former = former.as_ref().and_then(|former| former.external_id.as_deref());
        let text = id.to_string();
        if former != resource.external_id.as_deref() {
            if let Some(former) = former {
                let of = external(collection, former);
                SCIM_EXTERNAL_IDS.delete(txn, &(namespace, &(of.as_str(), text.as_str())));
            }
            if let Some(given) = &resource.external_id {
                let of = external(collection, given);
                SCIM_EXTERNAL_IDS.put(txn, &(namespace, &(of.as_str(), text.as_str())), ())?;
            }
        }
        SCIM_RESOURCES.put(txn, &(namespace, collection.bytes(), &id.bytes()), resource)
    }

    /// Removes what SCIM has of a user or a group.
    pub async fn remove_scim_resource(
        &self,
        txn: &Txn,
        (namespace, collection): Placed,
        id: IdentityId,
    ) -> Result<(), BarrierError> {
        let Some(kept) = self.scim_resource(txn, (namespace, collection), id).await? else { return Ok(()) };
        if let Some(given) = &kept.external_id {
            let (of, text) = (external(collection, given), id.to_string());
            SCIM_EXTERNAL_IDS.delete(txn, &(namespace, &(of.as_str(), text.as_str())));
        }
        SCIM_RESOURCES.delete(txn, &(namespace, collection.bytes(), &id.bytes()));
        Ok(())
    }

    /// True if an entity is in a group itself.
    pub async fn is_member(
        &self,
        reads: &impl Reads,
        (namespace, group): Placed,
        entity: IdentityId,
    ) -> Result<bool, BarrierError> {
        Ok(MEMBERS.get(reads, &(namespace, group.bytes(), &entity.bytes())).await?.is_some())
    }

    /// Adds a user to a group of the same client, or removes it: two rows. The caller has made sure whose they are.
    pub async fn set_scim_member(
        &self,
        txn: &Txn,
        group: Placed,
        user: IdentityId,
        is_in: bool,
    ) -> Result<(), EngineError> {
        match (is_in, self.is_member(txn, group, user).await?) {
            (true, false) => Ok(link_member(txn, group, (group.0, user), "")?),
            (false, true) => {
                unlink_member(txn, group, (group.0, user));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
