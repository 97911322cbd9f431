//! `sys/mfa/validate` and `sys/mfa/challenge`: the second factor of a login that waits. Source: Vault's API page `sys/mfa/validate`;
//! the challenge, which passkeys answer, is our own.
//!
//! They read what is given; the pipeline, which makes the tokens of all logins, judges it.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use strongroom_barrier::Txn;
use strongroom_engine_api::lenient::{List, Text};
use strongroom_engine_api::{Engine, EngineError, Extension, Input, Mount, Reply, bad_request};
use strongroom_mfa::{Credentials, Mfa};
use strongroom_pipeline::{SecondFactor, ServerPart, ServerReply};

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("mfa/validate", |r| {
            r.open()
                .update("Conclude a login that waits with its second factor, and get its token.", validate)
        })
        .route("mfa/challenge", |r| {
            r.open()
                .update("Get the challenge that a passkey has to answer for a login that waits.", challenge)
        })
}

#[derive(Deserialize, JsonSchema)]
struct ChallengeInput {
    /// The MFA method, one of type webauthn that the login's answer names.
    mfa_method_id: Option<Text>,
    /// ID for this MFA request, from the answer to the login.
    mfa_request_id: Option<Text>,
}

/// What is given for a method: passcodes, or the answer of a passkey as JSON, or as its text.
#[derive(JsonSchema)]
#[schemars(transparent)]
struct Payload(#[schemars(with = "Value")] Vec<String>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = match Value::deserialize(deserializer)? {
            Value::Object(answer) => Value::Array(vec![Value::Object(answer)]),
            Value::String(text) if text.trim_start().starts_with('{') => {
                Value::Array(vec![Value::String(text)])
            }
            other => other,
        };
        let Value::Array(items) = given else {
            return List::deserialize(given).map(|list| Self(list.0)).map_err(D::Error::custom);
        };
        let items =
            items.into_iter().map(|item| if item.is_object() { item.to_string().into() } else { item });
        List::deserialize(Value::Array(items.collect())).map(|list| Self(list.0)).map_err(D::Error::custom)
    }
}

#[derive(Deserialize, JsonSchema)]
struct ValidateInput {
    /// A map from MFA method ID or name to a slice of passcodes or an empty slice if the method does not use passcodes. For
    /// a method of type webauthn, the passkey's answer as JSON.
    mfa_payload: Option<BTreeMap<String, Payload>>,
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

/// The transaction is drawn for the same reason.
async fn challenge(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<ChallengeInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let given = |text: Option<Text>, what: &str| {
        let text = text.map(|text| text.0).filter(|text| !text.is_empty());
        text.ok_or_else(|| bad_request(format!("missing {what}")))
    };
    let request_id = given(input.mfa_request_id, "request ID")?;
    let method_id = given(input.mfa_method_id, "MFA method ID")?;
    let options = mfa.challenge(&txn, mount.namespace, &request_id, &method_id).await?;
    Reply::data(&serde_json::json!({ "public_key": options }))
}
