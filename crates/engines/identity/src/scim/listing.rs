//! Lists: `GET Users`, `GET Groups`, `POST .search`. Source: RFC 7644, sections 3.4.2 and 3.4.3.
//!
//! A filter that asks for an equal `id`, `userName`, `displayName`, `externalId` or member, alone or with more, looks at what the index
//! leads to; any other at all resources of the client. Resources are in order of their ids.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_barrier::{Reads, View};
use strongroom_engine_api::lenient::{Int, List, Text};
use strongroom_engine_api::{Caller, Engine, EngineError, Extension, Input, Mount, Reply};
use strongroom_identity::IdentityId;

use super::failing::{Failure, translated};
use super::filter::{Comparison, Filter, Literal};
use super::groups::{MAX_MEMBERS, Members};
use super::schema::ResourceType;
use super::selection::Selection;
use super::users::Services;
use super::{Client, Kind, LIST, document, groups, protocol, users};

/// Resources of an answer where nothing is asked.
const DEFAULT_COUNT: usize = 100;
/// Resources of an answer at most.
pub(super) const MAX_COUNT: usize = 1000;
/// Resources that a filter looks at.
const MAX_EXAMINED: usize = 100_000;
/// Resources that are counted.
const MAX_COUNTED: usize = 1_000_000;
/// Resources that are read at once.
const STEP: usize = 500;

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("scim/v2/Users", |r| {
            protocol(r).read("List users.", list_users).update("Create a user.", users::create)
        })
        .route("scim/v2/Groups", |r| {
            protocol(r).read("List groups.", list_groups).update("Create a group.", groups::create)
        })
        .route("scim/v2/Users/.search", |r| protocol(r).update("Search users.", list_users))
        .route("scim/v2/Groups/.search", |r| protocol(r).update("Search groups.", list_groups))
        .route("scim/v2/.search", |r| protocol(r).update("Search users and groups.", list_all))
}

/// The attributes that are asked for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct AnswerInput {
    /// The attributes to answer.
    attributes: Option<List>,
    /// The attributes to leave out.
    #[serde(rename = "excludedattributes", alias = "excludedAttributes")]
    excluded_attributes: Option<List>,
}

impl AnswerInput {
    pub(super) fn selection(&self, of: &ResourceType) -> Result<Selection, Failure> {
        let names = |given: &Option<List>| given.as_ref().map(|given| given.0.clone()).unwrap_or_default();
        Selection::read(of, &names(&self.attributes), &names(&self.excluded_attributes))
    }
}

/// What is looked for.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ListInput {
    /// The attributes to answer.
    attributes: Option<List>,
    /// Most resources to answer.
    count: Option<Int>,
    /// The attributes to leave out.
    #[serde(rename = "excludedattributes", alias = "excludedAttributes")]
    excluded_attributes: Option<List>,
    /// The filter.
    filter: Option<Text>,
    /// The first resource to answer, counted from 1.
    #[serde(rename = "startindex", alias = "startIndex")]
    start_index: Option<Int>,
}

async fn list_users(
    services: Services,
    mount: Arc<Mount>,
    caller: Caller,
    Input(input): Input<ListInput>,
    view: View,
) -> Result<Reply, EngineError> {
    list(services, &mount, &caller, input, &view, &[Kind::Users]).await.map_err(translated)
}

async fn list_groups(
    services: Services,
    mount: Arc<Mount>,
    caller: Caller,
    Input(input): Input<ListInput>,
    view: View,
) -> Result<Reply, EngineError> {
    list(services, &mount, &caller, input, &view, &[Kind::Groups]).await.map_err(translated)
}

async fn list_all(
    services: Services,
    mount: Arc<Mount>,
    caller: Caller,
    Input(input): Input<ListInput>,
    view: View,
) -> Result<Reply, EngineError> {
    list(services, &mount, &caller, input, &view, &[Kind::Users, Kind::Groups]).await.map_err(translated)
}

/// The page that is asked for, and what was found so far.
struct Page {
    /// Resources before it.
    before: usize,
    count: usize,
    total: usize,
    found: Vec<(Kind, IdentityId)>,
}

impl Page {
    fn add(&mut self, kind: Kind, id: IdentityId) {
        if self.total >= self.before && self.found.len() < self.count {
            self.found.push((kind, id));
        }
        self.total = self.total.saturating_add(1);
    }
}

async fn list(
    (Extension(identity), Extension(oidc)): Services,
    mount: &Mount,
    caller: &Caller,
    input: ListInput,
    view: &View,
    kinds: &[Kind],
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), view, mount, caller).await?;
    let index =
        |given: &Option<Int>| given.as_ref().map(|given| usize::try_from(given.0).unwrap_or_default());
    let start = index(&input.start_index).unwrap_or(1).max(1);
    let count = index(&input.count).unwrap_or(DEFAULT_COUNT).min(MAX_COUNT);
    let mut page = Page { before: start.saturating_sub(1), count, total: 0, found: Vec::new() };
    let wanted = AnswerInput { attributes: input.attributes, excluded_attributes: input.excluded_attributes };
    let filter = input.filter.map(|filter| filter.0).filter(|filter| !filter.trim().is_empty());
    let mut selections = Vec::new();
    let mut refused = Vec::new();
    for kind in kinds {
        selections.push((*kind, wanted.selection(kind.of())?));
        match filter.as_deref().map(|filter| Filter::parse(kind.of(), filter)).transpose() {
            Ok(None) => client.count(view, *kind, &mut page).await?,
            Ok(Some(filter)) => client.find(view, *kind, &filter, &mut page).await?,
            // Of several types, a filter can be about one.
            Err(failure) => refused.push(failure),
        }
    }
    if refused.len() == kinds.len()
        && let Some(failure) = refused.into_iter().next()
    {
        return Err(failure.into());
    }
    let (mut resources, mut room) = (Vec::with_capacity(page.found.len()), MAX_MEMBERS);
    for (kind, id) in &page.found {
        let Some((_, selection)) = selections.iter().find(|(of, _)| of == kind) else { continue };
        let members = match kind {
            Kind::Users => client.user(view, *id, selection.has("groups")).await?,
            Kind::Groups if selection.has("members") => {
                client.group(view, *id, Members::All(&mut room)).await?
            }
            Kind::Groups => client.group(view, *id, Members::Skipped).await?,
        };
        resources.extend(members.map(|members| Value::Object(selection.of(kind.of(), members))));
    }
    let told = json!({
        "schemas": [LIST],
        "totalResults": page.total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    });
    Ok(document(200, &told))
}

impl Client<'_> {
    /// Counts all resources of a type.
    async fn count(&self, view: &View, kind: Kind, page: &mut Page) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let ids = self.identity.scim_ids(view, self.collection(kind), after, STEP).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after = Some(*last);
            for id in ids {
                page.add(kind, id);
            }
            if page.total > MAX_COUNTED {
                return Err(
                    Failure::too_many(format!("more than {MAX_COUNTED} resources: use a filter")).into()
                );
            }
        }
    }

    /// Finds the resources of a type that a filter chooses.
    async fn find(
        &self,
        view: &View,
        kind: Kind,
        filter: &Filter,
        page: &mut Page,
    ) -> Result<(), EngineError> {
        let looked_at = LookedAt::of(kind, filter)?;
        if let Some(ids) = self.indexed(view, kind, filter).await? {
            for id in ids {
                if self.is_chosen(view, kind, id, filter, &looked_at).await? {
                    page.add(kind, id);
                }
            }
            return Ok(());
        }
        let (mut after, mut examined) = (None, 0_usize);
        loop {
            let ids = self.identity.scim_ids(view, self.collection(kind), after, STEP).await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after = Some(*last);
            examined = examined.saturating_add(ids.len());
            if examined > MAX_EXAMINED {
                let text = format!("the filter would look at more than {MAX_EXAMINED} resources");
                return Err(Failure::too_many(text).into());
            }
            for id in ids {
                if self.is_chosen(view, kind, id, filter, &looked_at).await? {
                    page.add(kind, id);
                }
            }
        }
    }

    async fn is_chosen(
        &self,
        view: &View,
        kind: Kind,
        id: IdentityId,
        filter: &Filter,
        looked_at: &LookedAt,
    ) -> Result<bool, EngineError> {
        let members = match kind {
            Kind::Users => self.user(view, id, looked_at.groups).await?,
            Kind::Groups => self.group(view, id, Members::Of(&looked_at.members)).await?,
        };
        Ok(members.is_some_and(|members| filter.matches(&members)))
    }

    /// The only resources that a filter can choose, in order, where an index knows them.
    async fn indexed(
        &self,
        reads: &impl Reads,
        kind: Kind,
        filter: &Filter,
    ) -> Result<Option<BTreeSet<IdentityId>>, EngineError> {
        let namespace = self.mount.namespace;
        for (path, part, given) in filter.equalities() {
            if path.extension.is_some() {
                continue;
            }
            let part = part.map(|part| part.attribute.name).or(path.part.map(|part| part.name));
            let found: BTreeSet<IdentityId> = match (kind, path.attribute.name, part) {
                (_, "id", None) => IdentityId::parse(given).into_iter().collect(),
                (_, "externalId", None) => {
                    let collection = self.collection(kind);
                    let found =
                        self.identity.scim_ids_by_external(reads, collection, given, MAX_EXAMINED).await?;
                    found.into_iter().collect()
                }
                (Kind::Users, "userName", None) => {
                    self.identity.entity_named(reads, namespace, given).await?.into_iter().collect()
                }
                (Kind::Groups, "displayName", None) => {
                    self.identity.group_named(reads, namespace, given).await?.into_iter().collect()
                }
                (Kind::Groups, "members", None | Some("value")) => match IdentityId::parse(given) {
                    Some(user) => {
                        let found = self.identity.groups_of(reads, (namespace, user)).await?;
                        found.into_iter().map(|(_, id)| id).collect()
                    }
                    None => BTreeSet::new(),
                },
                _ => continue,
            };
            return Ok(Some(found));
        }
        Ok(None)
    }
}

/// What a filter looks at beyond a resource's own entry.
struct LookedAt {
    groups: bool,
    /// The users that it asks for among the members.
    members: BTreeSet<IdentityId>,
}

impl LookedAt {
    /// # Errors
    ///
    /// `invalidFilter` where all members of a group would have to be looked at.
    fn of(kind: Kind, filter: &Filter) -> Result<Self, Failure> {
        let (mut found, mut is_beyond) = (Self { groups: false, members: BTreeSet::new() }, false);
        filter.visit(&mut |path, compared| match (kind, path.attribute.name) {
            (Kind::Users, "groups") => found.groups = true,
            (Kind::Groups, "members") => match compared {
                Some((Comparison::Equal | Comparison::NotEqual, Literal::Text { given, .. }))
                    if path.part.is_none_or(|part| part.name == "value") =>
                {
                    found.members.extend(IdentityId::parse(given));
                }
                _ => is_beyond = true,
            },
            _ => {}
        });
        if is_beyond {
            return Err(Failure::filter("members are compared by \"value\", with eq and ne"));
        }
        Ok(found)
    }
}
