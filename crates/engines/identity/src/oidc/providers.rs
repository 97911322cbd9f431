//! `oidc/provider`: providers, and what each publishes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::{List, Text};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_oidc::{CLIENTS, Oidc, PROVIDERS, Provider, SCOPES};

use super::config::check_issuer;
use super::published::{algorithms, key_set, open};
use super::scopes::{OPENID, conflicts};
use super::{DISCOVERY_AGE, address, document, each_once, page};

/// The provider that every namespace has.
const DEFAULT: &str = "default";

pub(super) fn routes(engine: Engine) -> Engine {
    engine
        .route("oidc/provider", |r| r.list("List providers.", list))
        .route("oidc/provider/{name}", |r| {
            r.read("Read a provider.", read)
                .upsert("Create or update a provider.", exists, write)
                .delete("Delete a provider.", delete)
        })
        .route("oidc/provider/{name}/.well-known/openid-configuration", |r| {
            open(r).read("Read what there is to know about a provider.", configuration)
        })
        .route("oidc/provider/{name}/.well-known/keys", |r| {
            open(r).read("Read the public keys of a provider.", keys)
        })
}

#[derive(Deserialize, JsonSchema)]
struct ProviderInput {
    /// The client IDs that are permitted to use the provider. If empty, no clients are allowed. If "*", all clients are allowed.
    allowed_client_ids: Option<List>,
    /// Specifies what will be used for the iss claim of ID tokens: scheme, host and an optional port. Defaults to those of the
    /// server's `api_addr`.
    issuer: Option<Text>,
    /// The scopes supported for this provider.
    scopes_supported: Option<List>,
}

#[derive(Deserialize, JsonSchema)]
struct ListInput {
    /// Filters the list of OIDC providers to those that allow the given client ID in their set of `allowed_client_ids`.
    allowed_client_id: Option<Text>,
}

/// A provider.
#[derive(Serialize, JsonSchema)]
struct ProviderView {
    /// The client IDs that may use it.
    allowed_client_ids: Vec<String>,
    /// The issuer of its tokens.
    issuer: String,
    /// Scopes beside `openid`.
    scopes_supported: Vec<String>,
}

/// A provider as kept, or built in.
pub(super) async fn provider(
    reads: &impl Reads,
    namespace: NamespaceId,
    name: &str,
) -> Result<Option<Arc<Provider>>, BarrierError> {
    let kept = PROVIDERS.get(reads, &(namespace, name)).await?;
    Ok(kept.or_else(|| (name == DEFAULT).then(|| Arc::new(built_in()))))
}

fn built_in() -> Provider {
    Provider { allowed_client_ids: vec!["*".to_owned()], ..Provider::default() }
}

/// True if the client may use the provider.
pub(super) fn allows(provider: &Provider, client_id: &str) -> bool {
    provider.allowed_client_ids.iter().any(|allowed| allowed == "*" || allowed == client_id)
}

/// The issuer of a provider's tokens.
pub(super) fn issuer_of(
    oidc: &Oidc,
    mount: &Mount,
    name: &str,
    provider: &Provider,
) -> Result<String, EngineError> {
    let address = address(oidc, provider.issuer.clone())?;
    Ok(format!("{address}/v1/{}{}oidc/provider/{name}", mount.namespace_path, mount.path))
}

fn shown(oidc: &Oidc, mount: &Mount, name: &str, provider: &Provider) -> Result<ProviderView, EngineError> {
    Ok(ProviderView {
        allowed_client_ids: provider.allowed_client_ids.clone(),
        issuer: issuer_of(oidc, mount, name, provider)?,
        scopes_supported: provider.scopes_supported.clone(),
    })
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(provider(&view, mount.namespace, &name).await?.is_some())
}

async fn read(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<ProviderView>>, EngineError> {
    let Some(found) = provider(&view, mount.namespace, &name).await? else { return Ok(None) };
    Ok(Some(Data(shown(&oidc, &mount, &name, &found)?)))
}

async fn list(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Input(input): Input<ListInput>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let found = PROVIDERS.scan(&view, &mount.namespace, None, usize::MAX).await?;
    let mut found: BTreeMap<String, Arc<Provider>> =
        found.into_iter().map(|((_, name), provider)| (name, provider)).collect();
    found.entry(DEFAULT.to_owned()).or_insert_with(|| Arc::new(built_in()));
    if let Some(client) = input.allowed_client_id.map(|id| id.0).filter(|id| !id.is_empty()) {
        found.retain(|_, provider| allows(provider, &client));
    }
    let names = page(found.keys().cloned().collect::<BTreeSet<_>>(), &paging);
    let mut info = BTreeMap::new();
    for (name, provider) in found.iter().filter(|(name, _)| names.contains(name)) {
        info.insert(name.clone(), shown(&oidc, &mount, name, provider)?);
    }
    Reply::keys_with(&names, &info)
}

async fn write(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ProviderInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let kept = provider(&txn, mount.namespace, &name).await?;
    let kept = kept.map(|kept| (*kept).clone()).unwrap_or_default();
    let mut changed = Provider {
        issuer: input.issuer.map_or(kept.issuer, |issuer| issuer.0),
        allowed_client_ids: input.allowed_client_ids.map_or(kept.allowed_client_ids, |ids| each_once(ids.0)),
        scopes_supported: input.scopes_supported.map_or(kept.scopes_supported, |scopes| each_once(scopes.0)),
    };
    check_issuer(&changed.issuer)?;
    changed.scopes_supported.retain(|scope| scope != OPENID);
    for scope in &changed.scopes_supported {
        if SCOPES.get(&txn, &(mount.namespace, scope.as_str())).await?.is_none() {
            return Err(bad_request(format!("scope {scope:?} does not exist")));
        }
    }
    let mut reply = Reply::default();
    for (claim, scopes) in conflicts(&txn, mount.namespace, &changed.scopes_supported).await? {
        let scopes = scopes.join(", ");
        reply = reply.warned(format!(
            "Found scope templates with conflicting top-level keys: conflict {claim:?} in scopes {scopes}. This may result in an \
             error if the scopes are requested in an OIDC Authentication Request."
        ));
    }
    PROVIDERS.put(&txn, &(mount.namespace, name.as_str()), changed)?;
    Ok(reply)
}

async fn delete(mount: Arc<Mount>, Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    if name == DEFAULT {
        return Err(bad_request(format!("deletion of OIDC provider {name:?} not allowed")));
    }
    PROVIDERS.delete(&txn, &(mount.namespace, name.as_str()));
    Ok(())
}

async fn configuration(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Reply>, EngineError> {
    let Some(found) = provider(&view, mount.namespace, &name).await? else { return Ok(None) };
    let issuer = issuer_of(&oidc, &mount, &name, &found)?;
    let mut scopes = found.scopes_supported.clone();
    scopes.push(OPENID.to_owned());
    let told = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/keys"),
        "authorization_endpoint": format!("{}/authorize", issuer.replacen("/v1/", "/ui/vault/", 1)),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "id_token_signing_alg_values_supported": algorithms(),
        "response_types_supported": ["code"],
        "scopes_supported": scopes,
        "subject_types_supported": ["public"],
        "grant_types_supported": ["authorization_code"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["plain", "S256"],
    });
    Ok(Some(document(200, &told).header("Cache-Control", DISCOVERY_AGE)))
}

async fn keys(
    Extension(oidc): Extension<Oidc>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Reply>, EngineError> {
    let Some(found) = provider(&view, mount.namespace, &name).await? else { return Ok(None) };
    let clients = CLIENTS.scan(&view, &mount.namespace, None, usize::MAX).await?;
    let of_clients = clients.iter().filter(|(_, client)| allows(&found, &client.client_id));
    let signing: BTreeSet<&str> = of_clients.map(|(_, client)| client.key.as_str()).collect();
    let keys = oidc.key_set(&view, mount.namespace, |key| signing.contains(key)).await?;
    Ok(Some(key_set(keys)))
}
