//! What the server serves: `scim/v2/ServiceProviderConfig`, `ResourceTypes`, `Schemas`; and what it does not.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_barrier::View;
use strongroom_engine_api::{Caller, Engine, EngineError, Extension, Mount, Path, Reply};

use super::failing::{Failure, translated};
use super::listing::MAX_COUNT;
use super::schema::ResourceType;
use super::schemas::{GROUPS, SCHEMAS, USERS};
use super::users::Services;
use super::{Client, LIST, document, protocol};

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("scim/v2/ServiceProviderConfig", |r| {
            protocol(r).read("Read what the SCIM server does.", configuration)
        })
        .route("scim/v2/ResourceTypes", |r| protocol(r).read("List the types of resources.", resource_types))
        .route("scim/v2/ResourceTypes/{name:any}", |r| {
            protocol(r).read("Read a type of resources.", resource_type)
        })
        .route("scim/v2/Schemas", |r| protocol(r).read("List the schemas of resources.", schemas))
        .route("scim/v2/Schemas/{id:any}", |r| protocol(r).read("Read a schema of resources.", schema))
        .route("scim/v2/Me", |r| {
            protocol(r)
                .read("Not there: clients are no users.", me)
                .update("Not there: clients are no users.", me)
                .patch("Not there: clients are no users.", me)
                .delete("Not there: clients are no users.", me)
        })
        .route("scim/v2/{path..}", |r| protocol(r).read("Say that nothing is there.", nowhere))
}

/// A list of all there is.
fn list(resources: &[Value]) -> Reply {
    document(
        200,
        &json!({
            "schemas": [LIST],
            "totalResults": resources.len(),
            "startIndex": 1,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        }),
    )
}

async fn configuration(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    caller: Caller,
    view: View,
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
    let told = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MAX_COUNT },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": false },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Token",
            "description": "A token of the client's entity, in the header Authorization: Bearer or X-Vault-Token.",
            "specUri": "https://www.rfc-editor.org/info/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{}/ServiceProviderConfig", client.base),
        },
    });
    Ok(document(200, &told))
}

fn of_type(client: &Client<'_>, kind: &ResourceType) -> Value {
    let extensions: Vec<Value> =
        kind.extension.iter().map(|extension| json!({ "schema": extension.id, "required": false })).collect();
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": kind.name,
        "name": kind.name,
        "endpoint": format!("/{}", kind.endpoint),
        "description": kind.description,
        "schema": kind.schema.id,
        "schemaExtensions": extensions,
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{}/ResourceTypes/{}", client.base, kind.name),
        },
    })
}

async fn resource_types(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    caller: Caller,
    view: View,
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
    Ok(list(&[&USERS, &GROUPS].map(|kind| of_type(&client, kind))))
}

async fn resource_type(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    caller: Caller,
    view: View,
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
    let found = [&USERS, &GROUPS].into_iter().find(|kind| kind.name == name);
    let found = found.ok_or_else(|| Failure::not_found("resource type", &name))?;
    Ok(document(200, &of_type(&client, found)))
}

async fn schemas(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    caller: Caller,
    view: View,
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
    Ok(list(&SCHEMAS.map(|schema| schema.document(&format!("{}/Schemas/{}", client.base, schema.id)))))
}

async fn schema(
    (Extension(identity), Extension(oidc)): Services,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    caller: Caller,
    view: View,
) -> Result<Reply, EngineError> {
    let client = Client::of((&identity, &oidc), &view, &mount, &caller).await?;
    let found = SCHEMAS.iter().find(|schema| schema.id.eq_ignore_ascii_case(&id));
    let found = found.ok_or_else(|| Failure::not_found("schema", &id))?;
    Ok(document(200, &found.document(&format!("{}/Schemas/{}", client.base, found.id))))
}

async fn me() -> Result<Reply, EngineError> {
    Err(translated(EngineError::Status(501, "clients are no users: use Users".to_owned())))
}

async fn nowhere(Path(path): Path<String>) -> Result<Reply, EngineError> {
    Err(Failure::not_found("endpoint", &path).into())
}
