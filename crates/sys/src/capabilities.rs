//! `sys/capabilities`, `sys/capabilities-self`, `sys/capabilities-accessor`. Source: Vault's API pages of these names.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, json};
use strongroom_barrier::{NamespaceId, View};
use strongroom_engine_api::lenient::{List, Text};
use strongroom_engine_api::{Caller, Clock, Engine, EngineError, Extension, Input, Mount, bad_request};
use strongroom_identity::{Effective, Identity, IdentityId};
use strongroom_mounts::Mounts;
use strongroom_pipeline::{RequestError, ServerReply};
use strongroom_policies::Policies;
use strongroom_policy::CompiledAcl;
use strongroom_tokens::{TokenEntry, TokenStore};

use crate::policy_paths::lead;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("capabilities", |r| r.update("What a token may do on paths.", of_token))
        .route("capabilities-self", |r| r.update("What the calling token may do on paths.", of_self))
        .route("capabilities-accessor", |r| {
            r.update("What the token with an accessor may do on paths.", of_accessor)
        })
}

#[derive(Deserialize, JsonSchema)]
struct TokenInput {
    /// Use 'paths' instead.
    #[schemars(extend("x-newer-name" = "paths"))]
    path: Option<List>,
    /// Paths on which capabilities are being queried.
    paths: Option<List>,
    /// Token for which capabilities are being queried.
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct SelfInput {
    /// Use 'paths' instead.
    #[schemars(extend("x-newer-name" = "paths"))]
    path: Option<List>,
    /// Paths on which capabilities are being queried.
    paths: Option<List>,
    /// Means nothing here: it is the calling token that is asked about.
    #[allow(dead_code, reason = "documented by the API, and without effect")]
    token: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct AccessorInput {
    /// Accessor of the token for which capabilities are being queried.
    accessor: Option<Text>,
    /// Use 'paths' instead.
    #[schemars(extend("x-newer-name" = "paths"))]
    path: Option<List>,
    /// Paths on which capabilities are being queried.
    paths: Option<List>,
}

async fn of_token(
    Extension(mounts): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<TokenInput>,
    view: View,
    clock: Clock,
) -> Result<ServerReply, EngineError> {
    let token = input.token.map(|token| token.0).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| bad_request("missing token"))?;
    let found = tokens.principal_in(&view, mount.namespace, &token, clock.now()).await?;
    let found = found.ok_or_else(|| bad_request(RequestError::list(&["invalid token"])))?;
    told(
        &mounts,
        &policies,
        &mount,
        &view,
        (found.id.namespace, &found.entry.policies, &rights_of(&identity, &found.entry).await?),
        input.paths,
        input.path,
    )
    .await
}

async fn of_self(
    Extension(mounts): Extension<Mounts>,
    (Extension(policies), Extension(identity)): (Extension<Policies>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<SelfInput>,
    caller: Caller,
    view: View,
) -> Result<ServerReply, EngineError> {
    let found = match IdentityId::parse(&caller.entity_id) {
        Some(id) => identity.effective(caller.entity_namespace, id).await?,
        None => None,
    };
    let rights = (caller.namespace, &*caller.policies, &found);
    told(&mounts, &policies, &mount, &view, rights, input.paths, input.path).await
}

async fn of_accessor(
    Extension(mounts): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    (Extension(tokens), Extension(identity)): (Extension<TokenStore>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<AccessorInput>,
    view: View,
) -> Result<ServerReply, EngineError> {
    let accessor = input.accessor.map(|accessor| accessor.0).filter(|accessor| !accessor.is_empty());
    let accessor = accessor.ok_or_else(|| bad_request("missing accessor"))?;
    let unknown = || bad_request(RequestError::list(&["invalid accessor"]));
    let id = tokens.token_of_accessor(&view, mount.namespace, &accessor).await?.ok_or_else(unknown)?;
    let entry = tokens.token_at(&view, &id).await?.ok_or_else(unknown)?;
    let rights = (id.namespace, entry.policies.as_slice(), &rights_of(&identity, &entry).await?);
    told(&mounts, &policies, &mount, &view, rights, input.paths, input.path).await
}

/// The rights that a token has by its entity.
pub(crate) type Rights = Option<Arc<Effective>>;

/// The rights that a token has by its entity. Where that is gone, or disabled, the token is refused.
pub(crate) async fn rights_of(identity: &Identity, entry: &TokenEntry) -> Result<Rights, EngineError> {
    let Some((home, id)) = entry.entity() else { return Ok(None) };
    let found = identity.effective(home, IdentityId::of_bytes(id)).await?;
    let found = found.filter(|found| !found.refuses(entry.created));
    found.map(Some).ok_or_else(|| EngineError::Denied("permission denied".to_owned()))
}

/// The compiled rights of a token, for any path.
pub(crate) async fn acl_of_token(
    policies: &Policies,
    view: &View,
    (home, names): (NamespaceId, &[String]),
    rights: &Rights,
) -> Result<Arc<CompiledAcl>, EngineError> {
    match rights {
        None => Ok(policies.acl(view, home, names).await?),
        Some(found) => {
            let acl = policies.acl_with(view, home, names, &found.policies).await?;
            Ok(policies.for_identity(acl, found))
        }
    }
}

/// Every path with what these policies grant there; of a single path also as `capabilities`, as older clients read it.
async fn told(
    mounts: &Mounts,
    policy_store: &Policies,
    mount: &Mount,
    view: &View,
    (home, policies, identity): (NamespaceId, &[String], &Rights),
    paths: Option<List>,
    older: Option<List>,
) -> Result<ServerReply, EngineError> {
    let given = |paths: Option<List>| paths.map(|paths| paths.0).filter(|paths| !paths.is_empty());
    let paths = given(paths).or_else(|| given(older)).ok_or_else(|| bad_request("paths must be supplied"))?;
    let acl = acl_of_token(policy_store, view, (home, policies), identity).await?;
    let router = mounts.router().await?;
    let namespace = mounts.namespace(mount.namespace).ok_or(EngineError::NotFound)?;
    let granted = |path: &str| {
        let led = lead(&router, &namespace, path, None);
        json!(acl.capabilities(led.seen.as_request()))
    };
    let mut members = Map::new();
    for path in &paths {
        members.insert(path.clone(), granted(path));
    }
    if let [only] = paths.as_slice() {
        members.extend(members.get(only).cloned().map(|granted| ("capabilities".to_owned(), granted)));
    }
    ServerReply::at_top(&members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    const POLICY: &str =
        r#"path "secret/*" { capabilities = ["read", "list"] } path "secret/no" { capabilities = ["deny"] }"#;

    #[tokio::test]
    async fn every_path_is_told_both_ways() {
        let server = Server::new().await;
        let token = server.token_with(POLICY).await;
        let paths = json!(["secret/a", "secret/no", "nowhere"]);
        let told = server.write("sys/capabilities", json!({"token": token, "paths": paths})).await;
        let expected = json!({"secret/a": ["list", "read"], "secret/no": ["deny"], "nowhere": ["deny"]});
        assert_eq!(told.data(), &expected);
        assert_eq!(told.body["secret/a"], json!(["list", "read"]));
        let told = server.write("sys/capabilities-self", json!({"path": "secret/a"})).await;
        assert_eq!(told.data(), &json!({"capabilities": ["root"], "secret/a": ["root"]}));
        assert_eq!(told.body["capabilities"], json!(["root"]));
        let view = server.core.services.barrier.pinned_view().await.unwrap();
        let found =
            server.core.services.tokens.principal(&view, &token, server.clock.now()).await.unwrap().unwrap();
        let input = json!({"accessor": found.entry.accessor, "paths": "secret/a"});
        let told = server.write("sys/capabilities-accessor", input).await;
        assert_eq!(told.data()["secret/a"], json!(["list", "read"]));
    }

    #[tokio::test]
    async fn refusals_say_what_is_missing() {
        let server = Server::new().await;
        for (path, input, text) in [
            (
                "sys/capabilities",
                json!({"token": "x", "paths": "a"}),
                "1 error occurred:\n\t* invalid token\n\n",
            ),
            ("sys/capabilities", json!({"paths": "a"}), "missing token"),
            ("sys/capabilities-self", json!({}), "paths must be supplied"),
            ("sys/capabilities-accessor", json!({"paths": "a"}), "missing accessor"),
            (
                "sys/capabilities-accessor",
                json!({"accessor": "x", "paths": "a"}),
                "1 error occurred:\n\t* invalid accessor\n\n",
            ),
        ] {
            assert_eq!(server.write(path, input).await.error(), (400, text));
        }
    }
}
