//! Endpoints for user interfaces (`sys/internal/ui`), and for inspection of the router (`sys/internal/inspect/router`).
//! Source: Vault's API pages of these names.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use strongroom_barrier::{NamespaceId, View};
use strongroom_engine_api::{Call, Caller, Data, Engine, EngineError, Extension, Path, Reply, bad_request};
use strongroom_identity::{Identity, IdentityId};
use strongroom_mounts::{ListingVisibility, MountHandle, Mounts};
use strongroom_pipeline::Settings;
use strongroom_policies::Policies;
use strongroom_policy::CompiledAcl;

use crate::envelopes::NoEnvelope;
use crate::mounts::{AUTH, MountView};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("internal/ui/mounts", |r| {
            r.open().read("Lists all enabled and visible mounts.", visible_mounts)
        })
        .route("internal/ui/mounts/{path..}", |r| {
            r.open().read("Return information about the given mount.", mount)
        })
        .route("internal/ui/resultant-acl", |r| {
            r.read("Information about a token's resultant ACL.", resultant_acl)
        })
        .route("internal/ui/namespaces", |r| {
            r.open().read("Lists the namespaces the token may use.", namespaces)
        })
        .route("internal/ui/feature-flags", |r| {
            r.open().while_sealed().read("Lists enabled feature flags.", feature_flags)
        })
}

pub(crate) fn server_routes(engine: Engine) -> Engine {
    engine.route("internal/inspect/router/{tag}", |r| {
        r.sudo().read("Expose the route entry and mount entry tables stored in the router.", inspect_router)
    })
}

/// The compiled policies of a caller; `None` without a valid token.
pub(crate) async fn acl_of(
    policies: &Policies,
    call: &Call,
    view: &View,
) -> Result<Option<Arc<CompiledAcl>>, EngineError> {
    let Some(caller) = call.request.caller() else { return Ok(None) };
    Ok(Some(policies.acl_of(view, &caller).await?))
}

/// The mounts that the caller may use, or without a token those that are shown to everyone.
async fn visible_mounts(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    view: View,
) -> Result<Reply, EngineError> {
    let acl = acl_of(&policies, &call, &view).await?;
    let (mut auth, mut secret) = (BTreeMap::new(), BTreeMap::new());
    for mounted in mounts.router().await?.in_namespace(call.mount.namespace) {
        let shown = match &acl {
            Some(acl) if acl.has_any_access_under(&mounted.full_path()) || is_public(&mounted) => {
                serde_json::to_value(MountView::of(&settings, &mounted))?
            }
            None if is_public(&mounted) => in_short(&mounted),
            _ => continue,
        };
        match mounted.path.strip_prefix(AUTH) {
            Some(path) => auth.insert(path.to_owned(), shown),
            None => secret.insert(mounted.path.clone(), shown),
        };
    }
    if acl.is_none() && auth.is_empty() && secret.is_empty() && !call.mount.namespace.is_root() {
        // Nothing is shown to everyone here, not even that the namespace is there.
        return Err(EngineError::Denied("permission denied".to_owned()));
    }
    Reply::data(&json!({ "auth": auth, "secret": secret }))
}

fn is_public(mounted: &MountHandle) -> bool {
    mounted.entry.tuning.listing_visibility == Some(ListingVisibility::Unauth)
}

fn in_short(mounted: &MountHandle) -> Value {
    let entry = &mounted.entry;
    json!({ "type": entry.kind, "description": entry.description, "options": entry.options })
}

/// A mount and its path.
#[derive(Serialize, JsonSchema)]
struct Located {
    /// The path at which it is mounted, without "auth/".
    path: String,
    #[serde(flatten)]
    mount: MountView,
}

async fn mount(
    Extension(settings): Extension<Settings>,
    Extension(mounts): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    view: View,
    Path(path): Path<String>,
) -> Result<Data<Located>, EngineError> {
    let denied = |text: String| Err(EngineError::Denied(text));
    let Some(acl) = acl_of(&policies, &call, &view).await? else {
        return denied("permission denied".to_owned());
    };
    let router = mounts.router().await?;
    // Whether there is a mount is told only to those who may use it.
    match router.route(call.mount.namespace, &path) {
        Some((mounted, _)) if acl.has_any_access_under(&mounted.full_path()) => {
            Ok(Data(Located { path: mounted.mount.path.clone(), mount: MountView::of(&settings, &mounted) }))
        }
        _ => {
            let path = format!("{}/", path.trim_end_matches('/'));
            denied(format!(
                "preflight capability check returned 403, please ensure client's policies grant access to path {path:?}"
            ))
        }
    }
}

async fn resultant_acl(
    (Extension(policies), Extension(identity)): (Extension<Policies>, Extension<Identity>),
    view: View,
    caller: Caller,
) -> Result<Reply, EngineError> {
    let acl = policies.acl_of(&view, &caller).await?;
    let found = match IdentityId::parse(&caller.entity_id) {
        Some(id) => identity.effective(caller.entity_namespace, id).await?,
        None => None,
    };
    let acl = found.map_or(acl.clone(), |found| policies.for_identity(acl, &found));
    Reply::data(&acl.resultant())
}

/// The namespaces directly in that of the request, of those that the token's policies say something about. As in Vault,
/// that takes a token, though no policy, and is empty where there are none.
async fn namespaces(
    Extension(mounts): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    view: View,
    caller: Caller,
) -> Result<Reply, EngineError> {
    let acl = policies.acl_of(&view, &caller).await?;
    let children = mounts.router().await?.children(call.mount.namespace);
    let here = mounts.full_path(call.mount.namespace, "").unwrap_or_default();
    let seen = children.iter().filter(|child| acl.has_any_access_under(&child.path));
    let names: Vec<&str> = seen.filter_map(|child| child.path.strip_prefix(&here)).collect();
    if names.is_empty() {
        return Reply::data(&json!({}));
    }
    Reply::data(&json!({ "keys": names }))
}

/// Features that a user interface shows when they are on.
#[derive(Serialize, JsonSchema)]
struct FeatureFlags {
    /// Their names.
    feature_flags: Vec<String>,
}

async fn feature_flags() -> Result<NoEnvelope<FeatureFlags>, EngineError> {
    Ok(NoEnvelope(200, FeatureFlags { feature_flags: Vec::new() }))
}

/// A mount as the router has it.
#[derive(Serialize, JsonSchema)]
struct Routed {
    /// The mount's accessor.
    accessor: String,
    /// The namespace it belongs to.
    mount_namespace: &'static str,
    /// Its path, without "auth/".
    mount_path: String,
    /// The engine's type.
    mount_type: String,
    /// The mount's UUID.
    uuid: String,
    /// The bytes that storage keys of the mount begin with, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_prefix: Option<String>,
    /// True if the mount is being disabled: never while it is listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    tainted: Option<bool>,
}

async fn inspect_router(
    Extension(settings): Extension<Settings>,
    Extension(mount_table): Extension<Mounts>,
    Path(tag): Path<String>,
) -> Result<Reply, EngineError> {
    if !settings.introspection_endpoint {
        return Err(bad_request(
            "the Vault configuration must set \"introspection_endpoint\" to true to enable this endpoint",
        ));
    }
    let with_storage = match tag.as_str() {
        "root" | "storage" => true,
        "uuid" | "accessor" => false,
        _ => return Err(EngineError::NotFound),
    };
    let mounts = mount_table.router().await?.in_namespace(NamespaceId::ROOT);
    let routed: Vec<Routed> = mounts.iter().map(|mounted| routed(mounted, with_storage)).collect();
    Reply::data(&json!({ tag: routed }))
}

fn routed(mounted: &MountHandle, with_storage: bool) -> Routed {
    let entry = &mounted.entry;
    Routed {
        accessor: entry.accessor.clone(),
        mount_namespace: "",
        mount_path: mounted.mount.path.clone(),
        mount_type: entry.kind.clone(),
        uuid: entry.uuid.clone(),
        storage_prefix: with_storage.then(|| strongroom_stdx::to_hex(&mounted.mount.place().prefix())),
        tainted: with_storage.then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_pipeline::{Settings, Verb};

    use crate::testing::Server;

    async fn with_mounts() -> Server {
        let server = Server::new().await;
        let public =
            json!({ "type": "kv", "description": "for all", "config": { "listing_visibility": "unauth" } });
        for (path, input) in [
            ("mounts/mine", json!({ "type": "kv-v2" })),
            ("mounts/other", json!({ "type": "kv" })),
            ("mounts/public", public),
            ("auth/door", json!({ "type": "open" })),
        ] {
            assert_eq!(server.write(&format!("sys/{path}"), input).await.status, 204);
        }
        server
    }

    fn names(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[tokio::test]
    async fn everyone_sees_the_mounts_they_may_use() {
        let server = with_mounts().await;
        let all = server.read("sys/internal/ui/mounts").await;
        assert_eq!(names(&all.data()["secret"]), ["cubbyhole/", "mine/", "other/", "public/", "sys/"]);
        assert_eq!(names(&all.data()["auth"]), ["door/", "token/"]);
        let policy = r#"path "mine/data/*" { capabilities = ["read"] } path "auth/door/*" { capabilities = ["deny"] }"#;
        let token = server.token_with(policy).await;
        let some = server.ask_as(&token, Verb::Read, "sys/internal/ui/mounts", json!({})).await;
        assert_eq!(names(&some.data()["secret"]), ["cubbyhole/", "mine/", "public/", "sys/"]);
        assert_eq!(names(&some.data()["auth"]), ["token/"]);
        assert_eq!(some.data()["secret"]["mine/"]["options"], json!({ "version": "2" }));
        let open = server.ask_as("", Verb::Read, "sys/internal/ui/mounts", json!({})).await;
        let short = json!({ "type": "kv", "description": "for all", "options": {} });
        assert_eq!(open.data(), &json!({ "auth": {}, "secret": { "public/": short } }));
    }

    #[tokio::test]
    async fn a_mount_is_shown_to_those_who_may_use_it() {
        let server = with_mounts().await;
        let token = server.token_with(r#"path "mine/data/x" { capabilities = ["read"] }"#).await;
        let ask = async |token: &str, path: &str| {
            server.ask_as(token, Verb::Read, &format!("sys/internal/ui/mounts/{path}"), json!({})).await
        };
        let told = ask(&token, "mine/some/where").await;
        assert_eq!((&told.data()["path"], &told.data()["type"]), (&json!("mine/"), &json!("kv")));
        assert_eq!(ask(&token, "mine").await.data(), told.data());
        for path in ["other", "none", "auth/door"] {
            let told = ask(&token, path).await;
            let text = format!(
                "preflight capability check returned 403, please ensure client's policies grant access to path \"{path}/\""
            );
            assert_eq!(told.error(), (403, text.as_str()));
        }
        assert_eq!(ask("", "public").await.error(), (403, "permission denied"));
        let auth = server.read("sys/internal/ui/mounts/auth/door").await;
        assert_eq!(auth.data()["path"], "door/");
    }

    #[tokio::test]
    async fn a_token_learns_what_it_may_do() {
        let server = Server::new().await;
        assert_eq!(server.read("sys/internal/ui/resultant-acl").await.data(), &json!({ "root": true }));
        let token = server.token_with(r#"path "kv/*" { capabilities = ["read"] }"#).await;
        let told = server.ask_as(&token, Verb::Read, "sys/internal/ui/resultant-acl", json!({})).await;
        assert_eq!(told.data()["glob_paths"]["kv/"], json!({ "capabilities": ["read"] }));
        assert_eq!(
            server.ask_as("", Verb::Read, "sys/internal/ui/resultant-acl", json!({})).await.status,
            403
        );
        let told = server.ask_as(&token, Verb::Read, "sys/internal/ui/namespaces", json!({})).await;
        assert_eq!(told.data(), &json!({}));
        assert_eq!(server.ask_as("", Verb::Read, "sys/internal/ui/namespaces", json!({})).await.status, 403);
        let flags = server.ask_as("", Verb::Read, "sys/internal/ui/feature-flags", json!({})).await;
        assert_eq!(flags.body, json!({ "feature_flags": [] }));
    }

    #[tokio::test]
    async fn the_router_is_laid_open_where_the_configuration_says_so() {
        let shut = Server::new().await;
        let text =
            "the Vault configuration must set \"introspection_endpoint\" to true to enable this endpoint";
        assert_eq!(shut.read("sys/internal/inspect/router/root").await.error(), (400, text));
        let server = Server::with(Settings { introspection_endpoint: true, ..Settings::default() }).await;
        let told = server.read("sys/internal/inspect/router/storage").await;
        let first = &told.data()["storage"][0];
        assert_eq!((&first["mount_path"], &first["mount_type"]), (&json!("token/"), &json!("token")));
        assert_eq!(first["storage_prefix"].as_str().map(str::len), Some(18));
        let told = server.read("sys/internal/inspect/router/uuid").await;
        assert_eq!(told.data()["uuid"].as_array().map(Vec::len), Some(3));
        assert_eq!(server.read("sys/internal/inspect/router/none").await.status, 404);
    }
}
