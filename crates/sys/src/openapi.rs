//! `sys/internal/specs/openapi`: the API as the route tables have it, as an `OpenAPI` 3.0.2 document. Source: Vault's API
//! page `internal-specs-openapi`; <https://spec.openapis.org/oas/v3.0.2>.

mod paths;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strongroom_barrier::View;
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{Backend, Call, Class, Engine, EngineError, Extension, Input, Reply, Route};

use crate::internal::acl_of;
use paths::{Document, Place};
use strongroom_mounts::{MountHandle, Mounts};
use strongroom_pipeline::Settings;
use strongroom_policies::Policies;

pub(crate) fn routes(engine: Engine) -> Engine {
    let document = |r: Route| {
        r.open()
            .read("Generate an OpenAPI 3 document of all mounted paths.", document)
            .update("Generate an OpenAPI 3 document of all mounted paths.", document)
    };
    engine.route("internal/specs/openapi", document)
}

/// The input of the request for the document.
#[derive(Deserialize, JsonSchema)]
struct DocumentInput {
    /// Shows one mount of each engine there is, under a path that is a parameter.
    generic_mount_paths: Option<Flag>,
    /// A text appended to every operation's id.
    context: Option<Text>,
}

async fn document(
    Extension(settings): Extension<Settings>,
    Extension(mount_table): Extension<Mounts>,
    Extension(policies): Extension<Policies>,
    call: Arc<Call>,
    view: View,
    Input(input): Input<DocumentInput>,
) -> Result<Reply, EngineError> {
    let acl = acl_of(&policies, &call, &view).await?;
    if acl.is_none() && !call.mount.namespace.is_root() {
        // There is nothing to be had, and whether the namespace is there is not told.
        return Err(EngineError::Denied("permission denied".to_owned()));
    }
    let router = mount_table.router().await?;
    let mut mounts = router.in_namespace(call.mount.namespace);
    mounts.retain(|mounted| acl.as_ref().is_some_and(|acl| acl.has_any_access_under(&mounted.full_path())));
    let generic = input.generic_mount_paths.is_some_and(|generic| generic.0);
    // What engines there are is no secret, though for those without a token there is nothing to be had.
    let places = match (generic, acl.is_some()) {
        (true, true) => generic_places(&mount_table, &mounts, call.mount.namespace.is_root()),
        (true, false) => Vec::new(),
        (false, _) => mounts.iter().map(|mounted| mounted_place(mounted)).collect(),
    };
    let mut document = Document::new(input.context.map(|context| context.0).unwrap_or_default());
    for place in &places {
        document.add(place);
    }
    let body = assemble(&settings.version, document);
    Ok(Reply::raw(200, "application/json", format!("{body}\n")))
}

fn assemble(version: &str, document: Document) -> Value {
    let paths: BTreeMap<String, Map<String, Value>> = document.paths;
    json!({
        "openapi": "3.0.2",
        "info": {
            "title": "Strongroom API",
            "description": "HTTP API that gives you full access to Strongroom. All API routes are prefixed with `/v1/`.",
            "version": version,
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "paths": paths,
        "components": { "schemas": document.schemas },
    })
}

/// A mount at its own path.
fn mounted_place(mounted: &MountHandle) -> Place {
    Place {
        base: mounted.path.clone(),
        mount_parameter: None,
        id_prefix: mounted.path.trim_end_matches('/').to_owned(),
        tag: tag(&mounted.path),
        engine: mounted.engine.clone(),
        in_root: mounted.namespace.is_root(),
    }
}

/// Every engine there is. Those that are mounted once and for all have their own path, the others one with a
/// parameter, whose default is where such an engine is mounted, if it is.
fn generic_places(mount_table: &Mounts, mounts: &[Arc<MountHandle>], in_root: bool) -> Vec<Place> {
    let mounted_at = |engine: &dyn Backend| {
        mounts.iter().find(|mounted| {
            mounted.engine.kind() == engine.kind() && mounted.engine.generic() == engine.generic()
        })
    };
    mount_table
        .catalog()
        .engines()
        .map(|engine| {
            let fixed = match (engine.class(), engine.kind()) {
                (_, "system") => Some("sys/".to_owned()),
                (_, "token") => Some("auth/token/".to_owned()),
                (Class::System, kind) => Some(format!("{kind}/")),
                (Class::Secrets | Class::Auth, _) => None,
            };
            let name = engine.generic();
            let parameter = format!("{name}_mount_path");
            let auth = if engine.class() == Class::Auth { "auth/" } else { "" };
            let base = fixed.clone().unwrap_or_else(|| format!("{auth}{{{parameter}}}/"));
            let usual = mounted_at(&**engine)
                .map_or(engine.kind(), |mounted| mounted.mount.path.trim_end_matches('/'));
            Place {
                mount_parameter: fixed.is_none().then(|| (parameter, usual.to_owned())),
                id_prefix: fixed.as_deref().map_or(name, |base| base.trim_end_matches('/')).to_owned(),
                tag: tag(&base),
                base,
                engine: engine.clone(),
                in_root,
            }
        })
        .collect()
}

fn tag(base: &str) -> &'static str {
    match base {
        "sys/" => "system",
        "identity/" => "identity",
        base if base.starts_with("auth/") => "auth",
        _ => "secrets",
    }
}

#[cfg(test)]
mod tests;
