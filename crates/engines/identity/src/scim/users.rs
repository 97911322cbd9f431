//! `scim/v2/Users`: users, which are entities, with the alias by which they log in where the client has a mount for it.

use std::sync::Arc;

use serde_json::{Map, Value};
use strongroom_barrier::{Reads, Txn, View};
use strongroom_engine_api::{Body, Caller, Engine, EngineError, Extension, Input, Mount, Path, Reply};
use strongroom_identity::{AliasChange, EntityChange, Identity, IdentityId, ScimResource};
use strongroom_mfa::Mfa;
use strongroom_oidc::Oidc;
use strongroom_revocation::Revocation;

use super::failing::{Failure, translated};
use super::listing::AnswerInput;
use super::selection::Selection;
use super::{Client, Kind, document, members_of, patch, protocol, take_external_id, take_text};
use crate::entities;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("scim/v2/Users/{id}", |r| {
        protocol(r)
            .read("Read a user.", read)
            .update("Replace a user.", replace)
            .patch("Change a user.", change)
            .delete("Delete a user: its tokens and leases end.", delete)
    })
}

/// The services that requests take.
pub(super) type Services = (Extension<Identity>, Extension<Oidc>);

impl Client<'_> {
    /// The members of a user; `None` where there is none of this id.
    pub(super) async fn user(
        &self,
        reads: &impl Reads,
        id: IdentityId,
        with_groups: bool,
    ) -> Result<Option<Map<String, Value>>, EngineError> {
        let Some(kept) = self.identity.scim_resource(reads, self.collection(Kind::Users), id).await? else {
            return Ok(None);
        };
        let Some(entity) = self.identity.entity(reads, self.mount.namespace, id).await? else {
            return Ok(None);
        };
        let mut members = members_of(&kept.document)?;
        members.insert("id".to_owned(), id.to_string().into());
        members.insert("userName".to_owned(), entity.name.clone().into());
        members.insert("active".to_owned(), (!entity.disabled).into());
        if let Some(given) = &kept.external_id {
            members.insert("externalId".to_owned(), given.clone().into());
        }
        members.insert("meta".to_owned(), self.meta(Kind::Users, id, (entity.created, entity.updated)));
        if with_groups {
            let groups = self.groups_of(reads, id).await?;
            if !groups.is_empty() {
                members.insert("groups".to_owned(), Value::Array(groups));
            }
        }
        members.insert("schemas".to_owned(), Kind::Users.of().schemas_of(&members));
        Ok(Some(members))
    }

    /// The client's groups that a user is in.
    async fn groups_of(&self, reads: &impl Reads, id: IdentityId) -> Result<Vec<Value>, EngineError> {
        let mut groups = Vec::new();
        for (namespace, group) in self.identity.groups_of(reads, (self.mount.namespace, id)).await? {
            let found = self.identity.group(reads, namespace, group).await?;
            let managed = self.managed();
            let own = found.filter(|found| {
                namespace == self.mount.namespace && found.managed.as_ref() == Some(&managed)
            });
            let Some(own) = own else { continue };
            groups.push(serde_json::json!({
                "value": group.to_string(),
                "$ref": self.location(Kind::Groups, group),
                "display": own.name,
                "type": "direct",
            }));
        }
        Ok(groups)
    }

    /// Writes a user: a new one, or the one of this id. `members` are all that it has from now on.
    async fn put_user(
        &self,
        txn: &Txn,
        id: Option<IdentityId>,
        mut members: Map<String, Value>,
    ) -> Result<IdentityId, EngineError> {
        let name = take_text(&mut members, "userName").unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            return Err(Failure::value("a user has a \"userName\"").into());
        }
        self.check_name(txn, &name, id).await?;
        let active = members.remove("active").and_then(|active| active.as_bool());
        let external_id = take_external_id(&mut members)?;
        let change = EntityChange {
            name: Some(name.clone()),
            disabled: active.map(|active| !active),
            by: Some(self.managed()),
            ..EntityChange::default()
        };
        let (id, _) = self.identity.write_entity(txn, self.mount.namespace, id, change).await?;
        self.put_alias(txn, id, name).await?;
        for name in ["id", "meta", "groups", "schemas"] {
            members.remove(name);
        }
        let document = if members.is_empty() { String::new() } else { Value::Object(members).to_string() };
        let resource = ScimResource { external_id, document };
        self.identity.put_scim_resource(txn, self.collection(Kind::Users), id, resource).await?;
        Ok(id)
    }

    /// Refuses a name that any other entity has, or that the mount knows somebody else by.
    async fn check_name(&self, txn: &Txn, name: &str, id: Option<IdentityId>) -> Result<(), EngineError> {
        let taken = || Failure::uniqueness("the \"userName\" is already in use");
        let namespace = self.mount.namespace;
        if self.identity.entity_named(txn, namespace, name).await?.is_some_and(|other| Some(other) != id) {
            return Err(taken().into());
        }
        let accessor = &self.kept.accessor;
        if !accessor.is_empty() {
            let known = self.identity.entity_of_alias(txn, namespace, accessor, name).await?;
            if known.is_some_and(|other| Some(other) != id) {
                return Err(taken().into());
            }
        }
        Ok(())
    }

    /// Gives a user the alias by which it logs in.
    async fn put_alias(&self, txn: &Txn, id: IdentityId, name: String) -> Result<(), EngineError> {
        let accessor = &self.kept.accessor;
        if accessor.is_empty() {
            return Ok(());
        }
        let aliases = self.identity.aliases_of(txn, self.mount.namespace, id).await?;
        let kept = aliases.into_iter().find(|(of, _)| of == accessor);
        if kept.as_ref().is_some_and(|(_, alias)| alias.name == name) {
            return Ok(());
        }
        let change = AliasChange {
            name: Some(name),
            accessor: Some(accessor.clone()),
            entity: Some(id),
            custom_metadata: None,
            by: Some(self.managed()),
        };
        let kept = kept.map(|(_, alias)| alias.id);
        self.identity.write_alias(txn, self.mount.namespace, kept, change).await?;
        Ok(())
    }

    /// The answer of a user.
    async fn answer_user(
        &self,
        reads: &impl Reads,
        id: IdentityId,
        selection: &Selection,
        status: u16,
    ) -> Result<Reply, EngineError> {
        let members = self.user(reads, id, selection.has("groups")).await?;
        let missing = || Failure::not_found("User", &id.to_string());
        let members = selection.of(Kind::Users.of(), members.ok_or_else(missing)?);
        let location = self.location(Kind::Users, id);
        Ok(document(status, &Value::Object(members)).header("Location", location))
    }
}

/// Creates a user.
pub(super) async fn create(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    caller: Caller,
    Body(body): Body,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let mut members = super::document::read(Kind::Users.of(), &body)?;
        members.entry("active").or_insert(true.into());
        let id = client.put_user(&txn, None, members).await?;
        client.answer_user(&txn, id, &Selection::Default, 201).await
    };
    run.await.map_err(translated)
}

async fn read(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    Input(input): Input<AnswerInput>,
    view: View,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
        let selection = input.selection(Kind::Users.of())?;
        let (id, _) = client.resource(&view, Kind::Users, &id).await?;
        client.answer_user(&view, id, &selection, 200).await
    };
    run.await.map_err(translated)
}

async fn replace(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    Body(body): Body,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let (id, _) = client.resource(&txn, Kind::Users, &id).await?;
        let members = super::document::read(Kind::Users.of(), &body)?;
        client.put_user(&txn, Some(id), members).await?;
        client.answer_user(&txn, id, &Selection::Default, 200).await
    };
    run.await.map_err(translated)
}

async fn change(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    Body(body): Body,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let operations = patch::operations(Kind::Users.of(), &body)?;
        let (id, _) = client.resource(&txn, Kind::Users, &id).await?;
        let members = client.user(&txn, id, false).await?;
        let mut members = members.ok_or_else(|| Failure::not_found("User", &id.to_string()))?;
        for operation in &operations {
            patch::apply(&mut members, operation)?;
        }
        if !members.contains_key("active") {
            return Err(Failure::value("a user is \"active\" or not").into());
        }
        client.put_user(&txn, Some(id), members).await?;
        client.answer_user(&txn, id, &Selection::Default, 200).await
    };
    run.await.map_err(translated)
}

async fn delete(
    (Extension(identity), Extension(oidc)): Services,
    (Extension(mfa), Extension(revocation)): (Extension<Mfa>, Extension<Revocation>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let (id, _) = client.resource(&txn, Kind::Users, &id).await?;
        identity.remove_scim_resource(&txn, client.collection(Kind::Users), id).await?;
        entities::end((&identity, &mfa, &revocation), &txn, &mount, id).await?;
        Ok(Reply::status(204))
    };
    run.await.map_err(translated)
}
