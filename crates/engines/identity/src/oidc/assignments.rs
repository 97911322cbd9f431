//! `oidc/assignment`: the entities and groups that may use a client.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn, View};
use strongroom_engine_api::lenient::List;
use strongroom_engine_api::{Data, Engine, EngineError, Input, Mount, Paging, Path, Reply, bad_request};
use strongroom_identity::Effective;
use strongroom_oidc::{ASSIGNMENTS, Assignment, CLIENTS, Client};

use super::{each_once, page};

/// The assignment of everybody, which every namespace has.
const ALLOW_ALL: &str = "allow_all";

pub(super) fn routes(engine: Engine) -> Engine {
    engine.route("oidc/assignment", |r| r.list("List assignments.", list)).route(
        "oidc/assignment/{name}",
        |r| {
            r.read("Read an assignment.", read)
                .upsert("Create or update an assignment.", exists, write)
                .delete("Delete an assignment that no client has.", delete)
        },
    )
}

#[derive(Deserialize, JsonSchema)]
struct AssignmentInput {
    /// Comma separated string or array of identity entity IDs
    entity_ids: Option<List>,
    /// Comma separated string or array of identity group IDs
    group_ids: Option<List>,
}

/// An assignment.
#[derive(Serialize, JsonSchema)]
struct AssignmentView {
    /// Ids of entities.
    entity_ids: Vec<String>,
    /// Ids of groups.
    group_ids: Vec<String>,
}

/// An assignment as kept, or built in.
pub(super) async fn assignment(
    reads: &impl Reads,
    namespace: NamespaceId,
    name: &str,
) -> Result<Option<Arc<Assignment>>, BarrierError> {
    if name == ALLOW_ALL {
        let all = vec!["*".to_owned()];
        return Ok(Some(Arc::new(Assignment { entity_ids: all.clone(), group_ids: all })));
    }
    ASSIGNMENTS.get(reads, &(namespace, name)).await
}

/// True if the client is for this entity.
pub(super) async fn is_assigned(
    reads: &impl Reads,
    namespace: NamespaceId,
    client: &Client,
    entity: &Effective,
) -> Result<bool, BarrierError> {
    let own: BTreeSet<String> =
        entity.entity.merged.iter().chain([&entity.id]).map(ToString::to_string).collect();
    for name in &client.assignments {
        let Some(found) = assignment(reads, namespace, name).await? else { continue };
        let is_own = found.entity_ids.iter().any(|id| id == "*" || own.contains(id));
        let is_of_group = |id: &String| entity.groups.keys().any(|group| group.to_string() == *id);
        if is_own || found.group_ids.iter().any(is_of_group) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn exists(mount: Arc<Mount>, Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(assignment(&view, mount.namespace, &name).await?.is_some())
}

async fn read(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<AssignmentView>>, EngineError> {
    let found = assignment(&view, mount.namespace, &name).await?;
    Ok(found.map(|found| {
        Data(AssignmentView { entity_ids: found.entity_ids.clone(), group_ids: found.group_ids.clone() })
    }))
}

async fn list(mount: Arc<Mount>, paging: Paging, view: View) -> Result<Reply, EngineError> {
    let names = ASSIGNMENTS.keys(&view, &mount.namespace, None, usize::MAX).await?;
    let mut names: BTreeSet<String> = names.into_iter().map(|(_, name)| name).collect();
    names.insert(ALLOW_ALL.to_owned());
    Reply::keys(&page(names, &paging))
}

async fn write(
    mount: Arc<Mount>,
    Path(name): Path<String>,
    Input(input): Input<AssignmentInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    if name == ALLOW_ALL {
        return Err(bad_request(format!("modification of assignment {name:?} not allowed")));
    }
    let at = (mount.namespace, name.as_str());
    let kept = ASSIGNMENTS.get(&txn, &at).await?;
    let kept = kept.map(|kept| (*kept).clone()).unwrap_or_default();
    let changed = Assignment {
        entity_ids: input.entity_ids.map_or(kept.entity_ids, |ids| each_once(ids.0)),
        group_ids: input.group_ids.map_or(kept.group_ids, |ids| each_once(ids.0)),
    };
    Ok(ASSIGNMENTS.put(&txn, &at, changed)?)
}

async fn delete(mount: Arc<Mount>, Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    if name == ALLOW_ALL {
        return Err(bad_request(format!("deletion of assignment {name:?} not allowed")));
    }
    let clients = CLIENTS.scan(&txn, &mount.namespace, None, usize::MAX).await?;
    let clients = clients.into_iter().filter(|(_, client)| client.assignments.contains(&name));
    let clients: Vec<String> = clients.map(|((_, client), _)| client).collect();
    if !clients.is_empty() {
        let clients = clients.join(", ");
        return Err(bad_request(format!(
            "unable to delete assignment {name:?} because it is currently referenced by these clients: {clients}"
        )));
    }
    ASSIGNMENTS.delete(&txn, &(mount.namespace, name.as_str()));
    Ok(())
}
