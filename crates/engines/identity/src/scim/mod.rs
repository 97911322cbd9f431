//! SCIM 2.0: identity providers keep users and groups here, under `identity/scim/`. Source: Vault's pages "SCIM API" and "Provision
//! Vault identities with SCIM"; RFC 7642, 7643, 7644.
//!
//! A request is that of a client if its token's entity is the client's ([`Client::of`]); whether it may be made at all, policies have
//! decided before. A client sees and changes what it has made and nothing else: no entity, group or alias that was there before
//! becomes its own by an equal name. It sets no policies. What is kept is in the service `strongroom-identity`; here requests are
//! read and answers put together, errors too in the protocol's form ([`failing`]).
//!
//! Work is bounded: a list looks at so many resources, an answer has so many members, a request changes so many. What is beyond is
//! refused and never cut off silently.

mod clients;
mod discovery;
mod document;
mod failing;
mod filter;
mod groups;
mod listing;
mod patch;
mod path;
mod schema;
mod schemas;
mod selection;
mod users;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use strongroom_barrier::Reads;
use strongroom_engine_api::{Caller, Engine, EngineError, Moment, Mount, Reply, Route};
use strongroom_identity::{Identity, IdentityId, Managed, ScimClient};
use strongroom_oidc::Oidc;

use failing::Failure;
use schema::ResourceType;

/// The type of the protocol's documents.
const SCIM_JSON: &str = "application/scim+json";
/// The types of its requests.
const REQUEST_TYPES: &[&str] = &[SCIM_JSON, "application/json"];
/// The schema of a list.
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";

pub(crate) fn routes(engine: Engine) -> Engine {
    let areas: [fn(Engine) -> Engine; 5] =
        [clients::routes, users::routes, groups::routes, listing::routes, discovery::routes];
    areas.into_iter().fold(engine, |engine, area| area(engine))
}

/// A route of the protocol.
fn protocol(route: Route) -> Route {
    route.owns(&["Location"]).patches_as(REQUEST_TYPES)
}

/// A document of the protocol.
fn document(status: u16, body: &Value) -> Reply {
    Reply::raw(status, SCIM_JSON, body.to_string())
}

/// A client whose request is being answered, and where.
struct Client<'a> {
    identity: &'a Identity,
    mount: &'a Mount,
    name: String,
    kept: Arc<ScimClient>,
    /// The address below which everything is.
    base: String,
}

impl<'a> Client<'a> {
    /// The client whose request a caller makes.
    ///
    /// # Errors
    ///
    /// 403 where the caller's entity is that of no client of the namespace.
    async fn of(
        (identity, oidc): (&'a Identity, &Oidc),
        reads: &impl Reads,
        mount: &'a Mount,
        caller: &Caller,
    ) -> Result<Self, EngineError> {
        let id = IdentityId::parse(&caller.entity_id).filter(|_| caller.entity_namespace == mount.namespace);
        let found = match id {
            Some(id) => identity.scim_client_of(reads, mount.namespace, id).await?,
            None => None,
        };
        let denied = || Failure::status(403, "the token is not one of a SCIM client of this namespace");
        let (name, kept) = found.ok_or_else(denied)?;
        let base = format!("{}/v1/{}{}scim/v2", oidc.address()?, mount.namespace_path, mount.path);
        Ok(Self { identity, mount, name, kept, base })
    }

    /// What says of an entity or a group that it is the client's.
    fn managed(&self) -> Managed {
        Managed { client: self.name.clone(), accessor: self.kept.accessor.clone() }
    }

    /// The collection of a type's resources.
    fn collection(&self, kind: Kind) -> strongroom_identity::Placed {
        let collection = match kind {
            Kind::Users => self.kept.users,
            Kind::Groups => self.kept.groups,
        };
        (self.mount.namespace, collection)
    }

    /// The address of a resource.
    fn location(&self, kind: Kind, id: IdentityId) -> String {
        format!("{}/{}/{id}", self.base, kind.of().endpoint)
    }

    fn meta(&self, kind: Kind, id: IdentityId, (created, updated): (Moment, Moment)) -> Value {
        json!({
            "resourceType": kind.of().name,
            "created": created.rfc3339(),
            "lastModified": updated.rfc3339(),
            "location": self.location(kind, id),
        })
    }

    /// The id in a path, of one of the client's resources.
    ///
    /// # Errors
    ///
    /// 404 where it has none of this id.
    async fn resource(
        &self,
        reads: &impl Reads,
        kind: Kind,
        text: &str,
    ) -> Result<(IdentityId, Arc<strongroom_identity::ScimResource>), EngineError> {
        let missing = || Failure::not_found(kind.of().name, text);
        let id = IdentityId::parse(text).ok_or_else(missing)?;
        let kept = self.identity.scim_resource(reads, self.collection(kind), id).await?;
        Ok((id, kept.ok_or_else(missing)?))
    }
}

/// The types of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Users,
    Groups,
}

impl Kind {
    fn of(self) -> &'static ResourceType {
        match self {
            Self::Users => &schemas::USERS,
            Self::Groups => &schemas::GROUPS,
        }
    }
}

/// The members of a kept document.
fn members_of(document: &str) -> Result<Map<String, Value>, EngineError> {
    if document.is_empty() { Ok(Map::new()) } else { Ok(serde_json::from_str(document)?) }
}

/// Bytes of an external id: a storage key holds it.
const MAX_EXTERNAL_ID: usize = 1024;

/// Takes the external id out of a resource's members.
fn take_external_id(members: &mut Map<String, Value>) -> Result<Option<String>, Failure> {
    let given = take_text(members, "externalId").filter(|given| !given.is_empty());
    match given {
        Some(given) if given.len() > MAX_EXTERNAL_ID || given.chars().any(char::is_control) => {
            Err(Failure::value(format!(
                "\"externalId\" has control characters or more than {MAX_EXTERNAL_ID} bytes"
            )))
        }
        given => Ok(given),
    }
}

/// Takes a text out of a resource's members.
fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}
