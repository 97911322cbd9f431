//! `oidc/role`: roles, by which entities get identity tokens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Text, Ttl};
use strongroom_engine_api::{
    Data, Engine, EngineError, Entropy, Extension, Input, Mount, Operation, Paging, Path, Reply,
    View as MountView, bad_request,
};
use strongroom_oidc::{KeyMaterial, Oidc, ROLES, Role, Template};

use super::keys::{Missing, make, missing_to_use};
use super::page;

/// Characters of a client ID that is drawn for a role.
const CLIENT_ID_LEN: usize = 26;
/// The TTL of tokens where nothing is said.
const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

pub(super) fn routes(engine: Engine) -> Engine {
    let summary = "Create or update a role.";
    engine.route("oidc/role", |r| r.list("List roles.", list)).route("oidc/role/{name}", |r| {
        r.read("Read a role.", read)
            .existing(exists)
            .ask_on(Operation::Create, summary, missing, make, write)
            .ask_on(Operation::Update, summary, missing, make, write)
            .delete("Delete a role.", delete)
    })
}

#[derive(Deserialize, JsonSchema)]
struct RoleInput {
    /// Optional `client_id`; drawn at random if left unset.
    client_id: Option<Text>,
    /// The OIDC key to use for generating tokens. The specified key must already exist.
    key: Option<Text>,
    /// The template string to use for generating tokens. This may be in string-ified JSON or base64 format.
    template: Option<Text>,
    /// TTL of the tokens generated against the role.
    ttl: Option<Ttl>,
}

/// A role.
#[derive(Serialize, JsonSchema)]
struct RoleView {
    /// The audience of its tokens.
    client_id: String,
    /// The named key that signs.
    key: String,
    /// The template of further claims.
    template: String,
    /// Seconds that its tokens live.
    ttl: u64,
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(ROLES.get(&view, &(mount.namespace, name.as_str())).await?.is_some())
}

async fn read(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<RoleView>>, EngineError> {
    let role = ROLES.get(&view, &(mount.namespace, name.as_str())).await?;
    Ok(role.map(|role| {
        Data(RoleView {
            client_id: role.client_id.clone(),
            key: role.key.clone(),
            template: role.template.clone(),
            ttl: role.ttl.as_secs(),
        })
    }))
}

async fn list(mount: Arc<Mount>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let names = ROLES.keys(&view, &mount.namespace, None, usize::MAX).await?;
    let names: BTreeSet<String> = names.into_iter().map(|(_, name)| name).collect();
    Reply::keys(&page(names, &paging))
}

async fn missing(
    _of_mount: MountView,
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<RoleInput>,
    view: View,
) -> Result<Missing, EngineError> {
    let kept = ROLES.get(&view, &(mount.namespace, name.as_str())).await?;
    let key = input.key.map(|key| key.0).or_else(|| kept.map(|role| role.key.clone())).unwrap_or_default();
    missing_to_use(&oidc, &view, mount.namespace, &key).await
}

async fn write(
    made: Arc<Vec<KeyMaterial>>,
    (Extension(oidc), entropy): (Extension<Oidc>, Entropy),
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<RoleInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let at = (mount.namespace, name.as_str());
    let kept = ROLES.get(&txn, &at).await?;
    let new = Role { ttl: DEFAULT_TTL, ..Role::default() };
    let mut role = kept.map_or(new, |role| (*role).clone());
    role.key = input.key.map_or(role.key, |key| key.0);
    role.template = input.template.map_or(role.template, |template| template.0);
    role.ttl = input.ttl.map_or(role.ttl, |ttl| ttl.0);
    if role.key.is_empty() {
        return Err(bad_request("the key parameter is required"));
    }
    let key = oidc.key(&txn, mount.namespace, &role.key).await?;
    let key = key.ok_or_else(|| bad_request(format!("cannot find key {:?}", role.key)))?;
    if role.ttl > key.verification_ttl {
        return Err(bad_request(
            "a role's token ttl cannot be longer than the verification_ttl of the key it references",
        ));
    }
    Template::parse(&role.template)?;
    role.client_id = match input.client_id.map(|id| id.0).filter(|id| !id.is_empty()) {
        Some(given) => given,
        None if role.client_id.is_empty() => entropy.base62(CLIENT_ID_LEN)?,
        None => role.client_id,
    };
    oidc.begin_using(&txn, mount.namespace, &role.key, &made).await?;
    ROLES.put(&txn, &at, role)?;
    Ok(())
}

async fn delete(mount: Arc<Mount>, Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    ROLES.delete(&txn, &(mount.namespace, name.as_str()));
    Ok(())
}
