//! `oidc/scope`: claims that clients can ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_barrier::{NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Data, Engine, EngineError, Input, Moment, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::Effective;
use strongroom_oidc::{Absent, PROVIDERS, SCOPES, Scope, Template};

use super::page;

/// The scope that every request asks for, and whose claims every token has.
pub(super) const OPENID: &str = "openid";

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/scope", |r| r.list("List scopes.", list)).route("oidc/scope/{name}", |r| {
        r.read("Read a scope.", read)
            .upsert("Create or update a scope.", exists, write)
            .delete("Delete a scope that no provider has.", delete)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ScopeInput {
    /// The description of the scope
    description: Option<Text>,
    /// The template string to use for the scope. This may be in string-ified JSON or base64 format.
    template: Option<Text>,
}

/// A scope.
#[derive(Serialize, JsonSchema)]
struct ScopeView {
    /// Its description.
    description: String,
    /// The template of its claims.
    template: String,
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(SCOPES.get(&view, &(mount.namespace, name.as_str())).await?.is_some())
}

async fn read(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<ScopeView>>, EngineError> {
    let found = SCOPES.get(&view, &(mount.namespace, name.as_str())).await?;
    Ok(found.map(|scope| {
        Data(ScopeView { description: scope.description.clone(), template: scope.template.clone() })
    }))
}

async fn list(mount: Arc<Mount>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let names = SCOPES.keys(&view, &mount.namespace, None, usize::MAX).await?;
    let names: BTreeSet<String> = names.into_iter().map(|(_, name)| name).collect();
    Reply::keys(&page(names, &paging))
}

async fn write(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<ScopeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    if name == OPENID {
        return Err(bad_request("the \"openid\" scope name is reserved"));
    }
    let at = (mount.namespace, name.as_str());
    let kept = SCOPES.get(&txn, &at).await?;
    let kept = kept.map(|kept| (*kept).clone()).unwrap_or_default();
    let changed = Scope {
        template: input.template.map_or(kept.template, |template| template.0),
        description: input.description.map_or(kept.description, |description| description.0),
    };
    Template::parse(&changed.template)?;
    Ok(SCOPES.put(&txn, &at, changed)?)
}

async fn delete(mount: Arc<Mount>, Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    let providers = PROVIDERS.scan(&txn, &mount.namespace, None, usize::MAX).await?;
    let providers = providers.into_iter().filter(|(_, provider)| provider.scopes_supported.contains(&name));
    let providers: Vec<String> = providers.map(|((_, provider), _)| provider).collect();
    if !providers.is_empty() {
        let providers = providers.join(", ");
        return Err(bad_request(format!(
            "unable to delete scope {name:?} because it is currently referenced by these providers: {providers}"
        )));
    }
    SCOPES.delete(&txn, &(mount.namespace, name.as_str()));
    Ok(())
}

/// Claims that more than one scope sets, with the scopes.
pub(super) async fn conflicts(
    reads: &impl Reads,
    namespace: NamespaceId,
    scopes: &[String],
) -> Result<Vec<(String, Vec<String>)>, EngineError> {
    let mut by_claim: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in scopes {
        let Some(scope) = SCOPES.get(reads, &(namespace, name.as_str())).await? else { continue };
        for claim in Template::parse(&scope.template)?.names()? {
            by_claim.entry(claim).or_default().push(name.clone());
        }
    }
    Ok(by_claim.into_iter().filter(|(_, scopes)| scopes.len() > 1).collect())
}

/// The claims of scopes; a scope that is gone has none. `None` where two of them set the same claim.
pub(super) async fn claims(
    reads: &impl Reads,
    namespace: NamespaceId,
    scopes: &[String],
    subject: &Effective,
    now: Moment,
) -> Result<Option<Map<String, Value>>, EngineError> {
    if !conflicts(reads, namespace, scopes).await?.is_empty() {
        return Ok(None);
    }
    let mut claims = Map::new();
    for scope in scopes {
        let Some(scope) = SCOPES.get(reads, &(namespace, scope.as_str())).await? else { continue };
        claims.extend(Template::parse(&scope.template)?.claims(subject, now, Absent::Omitted)?);
    }
    Ok(Some(claims))
}
