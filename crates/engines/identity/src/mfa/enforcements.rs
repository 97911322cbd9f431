//! `mfa/login-enforcement`, `mfa/login-enforcement/:name`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::List;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply};
use strongroom_identity::{Identity, Placed};
use strongroom_mfa::{Enforcement, EnforcementChange, Mfa};

use super::Place;
use crate::path_name;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("mfa/login-enforcement", |r| r.list("List the login enforcements.", list)).route(
        "mfa/login-enforcement/{name}",
        |r| {
            r.read("Read a login enforcement.", read)
                .update("Create or update a login enforcement.", write)
                .delete("Delete a login enforcement: its logins need no second factor by it.", delete)
        },
    )
}

#[derive(Deserialize, JsonSchema)]
struct EnforcementInput {
    /// Array of auth mount accessor values.
    auth_method_accessors: Option<List>,
    /// Array of auth mount types.
    auth_method_types: Option<List>,
    /// Array of identity entity IDs.
    identity_entity_ids: Option<List>,
    /// Array of identity group IDs.
    identity_group_ids: Option<List>,
    /// Array of Method IDs that determine what methods will be enforced: any of them is enough.
    mfa_method_ids: Option<List>,
}

/// An enforcement as answers show it.
#[derive(Serialize, JsonSchema)]
struct EnforcementView {
    /// Accessors of auth mounts.
    auth_method_accessors: Vec<String>,
    /// Types of auth methods.
    auth_method_types: Vec<String>,
    /// Its id.
    id: String,
    /// Entities.
    identity_entity_ids: Vec<String>,
    /// Groups.
    identity_group_ids: Vec<String>,
    /// Methods.
    mfa_method_ids: Vec<String>,
    /// Its name.
    name: String,
    /// The namespace that it is of.
    namespace_id: String,
    /// The path of that namespace.
    namespace_path: String,
}

fn view_of(name: &str, rule: &Enforcement, place: &Place) -> EnforcementView {
    let ids = |placed: &[Placed]| placed.iter().map(|(_, id)| id.to_string()).collect();
    EnforcementView {
        auth_method_accessors: rule.accessors.iter().map(|(_, accessor)| accessor.clone()).collect(),
        auth_method_types: rule.types.clone(),
        id: rule.id.to_string(),
        identity_entity_ids: ids(&rule.entities),
        identity_group_ids: ids(&rule.groups),
        mfa_method_ids: rule.methods.iter().map(ToString::to_string).collect(),
        name: name.to_owned(),
        namespace_id: place.id.clone(),
        namespace_path: place.path.clone(),
    }
}

async fn list(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let place = Place::of(&identity, &mount).await?;
    let (mut keys, mut info) = (Vec::new(), BTreeMap::new());
    let found = mfa.enforcements(&view, mount.namespace, paging.after.as_deref(), paging.limit).await?;
    for (name, rule) in found {
        info.insert(name.clone(), view_of(&name, &rule, &place));
        keys.push(name);
    }
    Reply::keys_with(&keys, &info)
}

async fn read(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<EnforcementView>>, EngineError> {
    let name = path_name(&name)?;
    let Some(rule) = mfa.enforcement(&view, mount.namespace, name).await? else { return Ok(None) };
    Ok(Some(Data(view_of(name, &rule, &Place::of(&identity, &mount).await?))))
}

async fn write(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<EnforcementInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let change = EnforcementChange {
        methods: input.mfa_method_ids.map(|ids| ids.0),
        accessors: input.auth_method_accessors.map(|accessors| accessors.0),
        types: input.auth_method_types.map(|types| types.0),
        groups: input.identity_group_ids.map(|ids| ids.0),
        entities: input.identity_entity_ids.map(|ids| ids.0),
    };
    mfa.write_enforcement(&txn, mount.namespace, path_name(&name)?, change).await
}

async fn delete(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(name): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    mfa.delete_enforcement(&txn, mount.namespace, path_name(&name)?);
    Ok(())
}
