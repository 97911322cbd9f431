//! `sys/mfa/validate`: the second factor of a login that waits. Source: Vault's API page `sys/mfa/validate`.
//!
//! It reads what is given; the pipeline, which makes the tokens of all logins, judges it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{List, Text};
use strongroom_engine_api::{Engine, EngineError, Input, bad_request};
use strongroom_mfa::Credentials;
use strongroom_pipeline::{SecondFactor, ServerPart, ServerReply};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("mfa/validate", |r| {
        r.open().update("Conclude a login that waits with its second factor, and get its token.", validate)
    })
}

#[derive(Deserialize, JsonSchema)]
struct ValidateInput {
    /// A map from MFA method ID or name to a slice of passcodes or an empty slice if the method does not use passcodes.
    mfa_payload: Option<BTreeMap<String, List>>,
    /// ID for this MFA request, from the answer to the login.
    mfa_request_id: Option<Text>,
}

/// The transaction is drawn so that the node decides that makes the tokens, and that knows the logins that wait.
async fn validate(Input(input): Input<ValidateInput>, _txn: Txn) -> Result<ServerReply, EngineError> {
    let request_id = input.mfa_request_id.map(|id| id.0).unwrap_or_default();
    if request_id.is_empty() {
        return Err(bad_request("missing request ID"));
    }
    let payload = input.mfa_payload.unwrap_or_default();
    if payload.is_empty() {
        return Err(bad_request("missing MFA payload"));
    }
    let mut given = Credentials::default();
    for (method, passcodes) in &payload {
        if passcodes.0.is_empty() {
            given.add(method, "")?;
        }
        for passcode in &passcodes.0 {
            given.add(method, passcode)?;
        }
    }
    let second_factor = Some(Box::new(SecondFactor { request_id, given }));
    Ok(ServerReply::of(ServerPart { second_factor, ..ServerPart::default() }))
}
