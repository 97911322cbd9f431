//! `entity/merge`. A merge changes both sides, so it takes the capability to update each.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{Flag, List, Text};
use strongroom_engine_api::{Caller, Engine, EngineError, Extension, Input, Mount, bad_request};
use strongroom_identity::{Identity, IdentityId, Merge};
use strongroom_mfa::Mfa;
use strongroom_policies::Policies;
use strongroom_policy::{Operation, Parameters};

use crate::ids;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("entity/merge", |r| r.update("Merge entities into one.", merge))
}

#[derive(Deserialize, JsonSchema)]
struct MergeInput {
    /// Alias IDs to keep in case of conflicting aliases. Ignored if no conflicting aliases found.
    conflicting_alias_ids_to_keep: Option<List>,
    /// Setting this will follow the 'mine' strategy for merging MFA secrets. If there are secrets of the same type both in entities
    /// that are merged from and in entity into which all others are getting merged, secrets in the destination will be unaltered.
    /// If not set, this API will throw an error containing all the conflicts.
    force: Option<Flag>,
    /// Entity IDs which need to get merged.
    from_entity_ids: Option<List>,
    /// Entity ID into which all the other entities need to get merged.
    to_entity_id: Option<Text>,
}

async fn merge(
    (Extension(identity), Extension(mfa)): (Extension<Identity>, Extension<Mfa>),
    Extension(policies): Extension<Policies>,
    mount: Arc<Mount>,
    Input(input): Input<MergeInput>,
    caller: Caller,
    txn: Txn,
) -> Result<(), EngineError> {
    let to = input.to_entity_id.map(|id| id.0).unwrap_or_default();
    if to.is_empty() {
        return Err(bad_request("missing entity id to merge to"));
    }
    let from = input.from_entity_ids.map(|ids| ids.0).unwrap_or_default();
    if from.is_empty() {
        return Err(bad_request("missing entity ids to merge from"));
    }
    let keep = input.conflicting_alias_ids_to_keep.map(|ids| ids.0).unwrap_or_default();
    let merge = Merge {
        to: IdentityId::parse(&to).ok_or_else(|| bad_request("entity id to merge to is invalid"))?,
        from: ids(&from, "entity id to merge from is invalid:")?,
        keep: ids(&keep, "invalid alias ID")?,
    };
    let acl = policies.acl_of(txn.peek(), &caller).await?;
    let (path, none) = (format!("{}{}entity/id/", mount.namespace_path, mount.path), Map::new());
    for id in merge.from.iter().chain([&merge.to]) {
        let path = format!("{path}{id}");
        let decision = acl.authorize(path.as_str(), Operation::Update, Parameters::untyped(&none), None);
        if !decision.is_allowed() {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
    }
    let force = input.force.is_some_and(|force| force.0);
    identity.merge(&txn, mount.namespace, &merge).await?;
    for from in &merge.from {
        mfa.merge_keys(&txn, mount.namespace, (*from, merge.to), force).await?;
    }
    Ok(())
}
