//! `lookup/entity`, `lookup/group`: by id, name, or alias.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::View;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Engine, EngineError, Extension, Input, Mount, Reply, bad_request};
use strongroom_identity::{Identity, IdentityId};

use crate::{NAME, views};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("lookup/entity", |r| {
            r.update("Find an entity by its id, its name, or an alias.", entity)
                .means("name", NAME)
                .means("alias_name", NAME)
        })
        .route("lookup/group", |r| {
            r.update("Find a group by its id, its name, or its alias.", group)
                .means("name", NAME)
                .means("alias_name", NAME)
        })
}

#[derive(Deserialize, JsonSchema)]
struct LookupInput {
    /// ID of the alias.
    alias_id: Option<Text>,
    /// Accessor of the mount to which the alias belongs to. This should be supplied in conjunction with `alias_name`.
    alias_mount_accessor: Option<Text>,
    /// Name of the alias. This should be supplied in conjunction with `alias_mount_accessor`.
    alias_name: Option<Text>,
    /// ID of what is looked for.
    id: Option<Text>,
    /// Name of what is looked for.
    name: Option<Text>,
}

/// The one thing that a lookup goes by.
enum By {
    Id(String),
    Name(String),
    Alias(String),
    Factors { accessor: String, name: String },
}

impl LookupInput {
    fn by(self) -> Result<By, EngineError> {
        let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
        let factors = (given(self.alias_mount_accessor), given(self.alias_name));
        let alone =
            [given(self.id).map(By::Id), given(self.name).map(By::Name), given(self.alias_id).map(By::Alias)];
        let mut alone: Vec<By> = alone.into_iter().flatten().collect();
        let conflict =
            || bad_request("query parameter conflict; please supply distinct set of query parameters");
        match (alone.pop(), factors) {
            (Some(by), (None, None)) if alone.is_empty() => Ok(by),
            (None, (Some(accessor), Some(name))) => Ok(By::Factors { accessor, name }),
            (None, (None, None)) => Err(bad_request("query parameter not supplied")),
            (None, _) => Err(bad_request("both 'alias_name' and 'alias_mount_accessor' needs to be set")),
            _ => Err(conflict()),
        }
    }
}

/// An answer, or 204 where nothing was found.
fn found<T: serde::Serialize>(view: Option<T>) -> Result<Reply, EngineError> {
    view.map_or_else(|| Ok(Reply::default()), |view| Reply::data(&view))
}

async fn entity(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<LookupInput>,
    view: View,
) -> Result<Reply, EngineError> {
    let namespace = mount.namespace;
    let id = match input.by()? {
        By::Id(id) => IdentityId::parse(&id),
        By::Name(name) => identity.entity_named(&view, namespace, &name).await?,
        By::Alias(id) => match IdentityId::parse(&id) {
            Some(id) => identity.alias(&view, namespace, id).await?.map(|(place, _)| place.entity),
            None => None,
        },
        By::Factors { accessor, name } => {
            identity.entity_of_alias(&view, namespace, &accessor, &name).await?
        }
    };
    match id {
        Some(id) => found(views::entity(&identity, &view, &mount, id).await?),
        None => found::<()>(None),
    }
}

async fn group(
    Extension(identity): Extension<Identity>,
    mount: Arc<Mount>,
    Input(input): Input<LookupInput>,
    view: View,
) -> Result<Reply, EngineError> {
    let namespace = mount.namespace;
    let id = match input.by()? {
        By::Id(id) => IdentityId::parse(&id),
        By::Name(name) => identity.group_named(&view, namespace, &name).await?,
        By::Alias(id) => match IdentityId::parse(&id) {
            Some(id) => identity.group_alias(&view, namespace, id).await?.map(|(group, _)| group),
            None => None,
        },
        By::Factors { accessor, name } => identity.group_of_alias(&view, namespace, &accessor, &name).await?,
    };
    match id {
        Some(id) => found(views::group(&identity, &view, &mount, id).await?),
        None => found::<()>(None),
    }
}
