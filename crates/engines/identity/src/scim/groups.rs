//! `scim/v2/Groups`: groups, which are internal groups, and their members.
//!
//! Members are rows. A change of members writes the rows of those that come and go and nothing else, however many there are, so it
//! does not answer with the group, and leaves its `lastModified` as it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_barrier::{Reads, Txn, View};
use strongroom_engine_api::{Body, Caller, Engine, EngineError, Extension, Input, Mount, Path, Reply};
use strongroom_identity::{GroupChange, IdentityId, MAX_CHANGES, ScimResource};

use super::failing::{Failure, translated};
use super::filter::{Comparison, Filter, Literal};
use super::listing::AnswerInput;
use super::patch::{self, Change, Operation};
use super::path::Target;
use super::selection::Selection;
use super::users::Services;
use super::{Client, Kind, document, members_of, protocol, take_external_id, take_text};

/// Members that one answer has, of all its groups.
pub(super) const MAX_MEMBERS: usize = 10_000;

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("scim/v2/Groups/{id}", |r| {
        protocol(r)
            .read("Read a group.", read)
            .update("Replace a group.", replace)
            .patch("Change a group or its members.", change)
            .delete("Delete a group; its members stay.", delete)
    })
}

/// The members that are looked at.
pub(super) enum Members<'a> {
    /// None.
    Skipped,
    /// All, as long as there is room in the answer.
    All(&'a mut usize),
    /// Those of these that are members.
    Of(&'a BTreeSet<IdentityId>),
}

impl Client<'_> {
    /// The members of a group's document; `None` where there is no group of this id.
    pub(super) async fn group(
        &self,
        reads: &impl Reads,
        id: IdentityId,
        wanted: Members<'_>,
    ) -> Result<Option<Map<String, Value>>, EngineError> {
        let namespace = self.mount.namespace;
        let Some(kept) = self.identity.scim_resource(reads, self.collection(Kind::Groups), id).await? else {
            return Ok(None);
        };
        let Some(group) = self.identity.group(reads, namespace, id).await? else { return Ok(None) };
        let mut members = members_of(&kept.document)?;
        members.insert("id".to_owned(), id.to_string().into());
        members.insert("displayName".to_owned(), group.name.clone().into());
        if let Some(given) = &kept.external_id {
            members.insert("externalId".to_owned(), given.clone().into());
        }
        members.insert("meta".to_owned(), self.meta(Kind::Groups, id, (group.created, group.updated)));
        let users = self.members(reads, id, wanted).await?;
        if !users.is_empty() {
            members.insert("members".to_owned(), Value::Array(users));
        }
        members.insert("schemas".to_owned(), Kind::Groups.of().schemas_of(&members));
        Ok(Some(members))
    }

    async fn members(
        &self,
        reads: &impl Reads,
        group: IdentityId,
        wanted: Members<'_>,
    ) -> Result<Vec<Value>, EngineError> {
        let placed = (self.mount.namespace, group);
        let ids: Vec<IdentityId> = match wanted {
            Members::Skipped => Vec::new(),
            Members::All(room) => {
                let found = self.identity.members(reads, placed, None, room.saturating_add(1)).await?;
                *room = room.checked_sub(found.len()).ok_or_else(|| {
                    Failure::too_many(format!(
                        "an answer has {MAX_MEMBERS} members at most: ask with excludedAttributes=members"
                    ))
                })?;
                found.into_iter().map(|(_, id)| id).collect()
            }
            Members::Of(ids) => {
                let mut found = Vec::new();
                for id in ids {
                    if self.identity.is_member(reads, placed, *id).await? {
                        found.push(*id);
                    }
                }
                found
            }
        };
        let member = |id: IdentityId| json!({ "value": id.to_string(), "$ref": self.location(Kind::Users, id), "type": "User" });
        Ok(ids.into_iter().map(member).collect())
    }

    /// Refuses members that are not users of the client.
    async fn check_members(&self, txn: &Txn, ids: &BTreeSet<IdentityId>) -> Result<(), EngineError> {
        for id in ids {
            if self.identity.scim_resource(txn, self.collection(Kind::Users), *id).await?.is_none() {
                return Err(Failure::value(format!("there is no user \"{id}\"")).into());
            }
        }
        Ok(())
    }

    /// Writes a group: a new one, or the one of this id. Its members are set where they are given.
    async fn put_group(
        &self,
        txn: &Txn,
        id: Option<IdentityId>,
        mut members: Map<String, Value>,
        users: Option<BTreeSet<IdentityId>>,
    ) -> Result<IdentityId, EngineError> {
        let name = take_text(&mut members, "displayName").unwrap_or_default().trim().to_owned();
        if name.is_empty() {
            return Err(Failure::value("a group has a \"displayName\"").into());
        }
        let named = self.identity.group_named(txn, self.mount.namespace, &name).await?;
        if named.is_some_and(|other| Some(other) != id) {
            return Err(Failure::uniqueness("the \"displayName\" is already in use").into());
        }
        if let Some(users) = &users {
            self.check_members(txn, users).await?;
        }
        let change = GroupChange {
            name: Some(name),
            entities: users,
            by: Some(self.managed()),
            ..GroupChange::default()
        };
        let id = self.identity.write_group(txn, self.mount.namespace, id, change).await?;
        let resource = ScimResource { external_id: take_external_id(&mut members)?, document: String::new() };
        self.identity.put_scim_resource(txn, self.collection(Kind::Groups), id, resource).await?;
        Ok(id)
    }

    /// Does one change to the members of a group.
    async fn change_members(
        &self,
        txn: &Txn,
        group: IdentityId,
        operation: &Operation,
        chosen: Option<&Filter>,
    ) -> Result<(), EngineError> {
        let given = match chosen {
            Some(filter) => chosen_ids(filter)?,
            None => member_ids(&operation.value)?,
        };
        let placed = (self.mount.namespace, group);
        match (operation.change, chosen) {
            (Change::Remove, None) if operation.value.is_null() => {
                return self.set_members(txn, group, BTreeSet::new()).await;
            }
            (Change::Remove, _) => {}
            (_, Some(_)) => return Err(Failure::mutability("a member is added or removed as a whole").into()),
            (Change::Replace, None) => return self.set_members(txn, group, given).await,
            (Change::Add, None) => self.check_members(txn, &given).await?,
        }
        for id in given {
            self.identity.set_scim_member(txn, placed, id, operation.change == Change::Add).await?;
        }
        Ok(())
    }

    async fn set_members(
        &self,
        txn: &Txn,
        group: IdentityId,
        users: BTreeSet<IdentityId>,
    ) -> Result<(), EngineError> {
        self.check_members(txn, &users).await?;
        let change =
            GroupChange { entities: Some(users), by: Some(self.managed()), ..GroupChange::default() };
        self.identity.write_group(txn, self.mount.namespace, Some(group), change).await?;
        Ok(())
    }

    /// The answer of a group.
    async fn answer_group(
        &self,
        reads: &impl Reads,
        id: IdentityId,
        selection: &Selection,
        status: u16,
    ) -> Result<Reply, EngineError> {
        let mut room = MAX_MEMBERS;
        let wanted = if selection.has("members") { Members::All(&mut room) } else { Members::Skipped };
        let members = self.group(reads, id, wanted).await?;
        let missing = || Failure::not_found("Group", &id.to_string());
        let members = selection.of(Kind::Groups.of(), members.ok_or_else(missing)?);
        let location = self.location(Kind::Groups, id);
        Ok(document(status, &Value::Object(members)).header("Location", location))
    }
}

/// The users that a filter within `members[…]` chooses, which is by their ids.
fn chosen_ids(filter: &Filter) -> Result<BTreeSet<IdentityId>, Failure> {
    let unsupported = || Failure::filter("members are chosen by \"value eq\" alone");
    match filter {
        Filter::Compare(path, Comparison::Equal, Literal::Text { given, .. })
            if path.attribute.name == "value" =>
        {
            Ok(IdentityId::parse(given).into_iter().collect())
        }
        Filter::Or(any) => {
            let sets: Result<Vec<_>, Failure> = any.iter().map(chosen_ids).collect();
            Ok(sets?.into_iter().flatten().collect())
        }
        _ => Err(unsupported()),
    }
}

/// The users that a value names: one or many objects with a `value`, or ids by themselves.
fn member_ids(value: &Value) -> Result<BTreeSet<IdentityId>, Failure> {
    let given = match value {
        Value::Null => &[],
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    if given.len() > MAX_CHANGES {
        return Err(Failure::too_many(format!("a request changes {MAX_CHANGES} members at most")));
    }
    given.iter().map(member_id).collect()
}

fn member_id(given: &Value) -> Result<IdentityId, Failure> {
    let part = |name: &str| {
        let members = given.as_object()?;
        members
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| value.as_str())
    };
    if part("type").is_some_and(|kind| !kind.eq_ignore_ascii_case("User")) {
        return Err(Failure::value("the members of a group are users"));
    }
    let id = given.as_str().or_else(|| part("value"));
    let id = id.ok_or_else(|| Failure::value("a member has a \"value\", the id of a user"))?;
    IdentityId::parse(id).ok_or_else(|| Failure::value("the \"value\" of a member is the id of a user"))
}

/// A group as given, and its members by themselves.
fn read_group(mut body: Map<String, Value>) -> Result<(Map<String, Value>, BTreeSet<IdentityId>), Failure> {
    let names: Vec<String> =
        body.keys().filter(|name| name.eq_ignore_ascii_case("members")).cloned().collect();
    let mut users = BTreeSet::new();
    for name in names {
        users.extend(member_ids(&body.remove(&name).unwrap_or_default())?);
    }
    Ok((super::document::read(Kind::Groups.of(), &body)?, users))
}

/// Creates a group.
pub(super) async fn create(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    caller: Caller,
    Body(body): Body,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let (members, users) = read_group(body)?;
        let id = client.put_group(&txn, None, members, Some(users)).await?;
        client.answer_group(&txn, id, &Selection::Default, 201).await
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
        let selection = input.selection(Kind::Groups.of())?;
        let (id, _) = client.resource(&view, Kind::Groups, &id).await?;
        client.answer_group(&view, id, &selection, 200).await
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
        let (id, _) = client.resource(&txn, Kind::Groups, &id).await?;
        let (members, users) = read_group(body)?;
        client.put_group(&txn, Some(id), members, Some(users)).await?;
        client.answer_group(&txn, id, &Selection::Default, 200).await
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
        let operations = patch::operations(Kind::Groups.of(), &body)?;
        let (id, _) = client.resource(&txn, Kind::Groups, &id).await?;
        let kept = client.group(&txn, id, Members::Skipped).await?;
        let kept = kept.ok_or_else(|| Failure::not_found("Group", &id.to_string()))?;
        let mut members = kept.clone();
        for operation in &operations {
            match &operation.target {
                Target::Attribute { path, chosen } if path.attribute.name == "members" => {
                    if path.part.is_some() {
                        return Err(Failure::mutability("a member is added or removed as a whole").into());
                    }
                    client.change_members(&txn, id, operation, chosen.as_ref()).await?;
                }
                _ => patch::apply(&mut members, operation)?,
            }
        }
        if members != kept {
            client.put_group(&txn, Some(id), members, None).await?;
        }
        Ok(Reply::status(204))
    };
    run.await.map_err(translated)
}

async fn delete(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let run = async {
        let client = Client::of((&identity, &oidc), &txn, &mount, &caller).await?;
        let (id, _) = client.resource(&txn, Kind::Groups, &id).await?;
        identity.remove_scim_resource(&txn, client.collection(Kind::Groups), id).await?;
        identity.delete_group(&txn, mount.namespace, id).await?;
        Ok(Reply::status(204))
    };
    run.await.map_err(translated)
}
