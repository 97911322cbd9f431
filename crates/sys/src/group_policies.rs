//! `sys/config/group-policy-application`. Source: Vault's API page of this name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, bad_request};
use strongroom_identity::{GroupPolicyMode, Identity};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("config/group-policy-application", |r| {
        r.read("Read where policies of identity groups count.", read)
            .update("Set where policies of identity groups count.", write)
    })
}

/// The input of setting the mode.
#[derive(Deserialize, JsonSchema)]
struct ModeInput {
    /// The mode: `within_namespace_hierarchy`, `any` or `within_namespace`.
    group_policy_application_mode: Option<Text>,
}

/// The mode.
#[derive(Serialize, JsonSchema)]
struct ModeView {
    /// The namespaces in which a group's policies count for its members.
    group_policy_application_mode: &'static str,
}

async fn read(Extension(identity): Extension<Identity>, view: View) -> Result<Data<ModeView>, EngineError> {
    let mode = identity.group_policy_mode(&view).await?;
    Ok(Data(ModeView { group_policy_application_mode: mode.name() }))
}

async fn write(
    Extension(identity): Extension<Identity>,
    Input(input): Input<ModeInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let given = input.group_policy_application_mode.map(|mode| mode.0).unwrap_or_default();
    let mode = GroupPolicyMode::from_name(&given).ok_or_else(|| {
        bad_request(
            "group_policy_application_mode must be \"within_namespace_hierarchy\", \"any\" or \"within_namespace\"",
        )
    })?;
    Ok(identity.set_group_policy_mode(&txn, mode)?)
}
