//! `mfa/method/totp/generate`, `admin-generate`, `admin-destroy`, `self-enroll`: the keys of entities.
//!
//! A key is in the answer that makes it, and in no other.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Reads, Txn};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Caller, Engine, EngineError, Extension, Input, Mount, Reply, bad_request};
use strongroom_identity::{Identity, IdentityId, Placed};
use strongroom_mfa::{FoundMethod, MadeKey, Mfa};

use super::methods::found;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("mfa/method/totp/generate", |r| {
            r.update("Make the TOTP key of the calling token's entity, where it has none.", generate)
        })
        .route("mfa/method/totp/admin-generate", |r| {
            r.update("Make the TOTP key of an entity, where it has none.", admin_generate)
        })
        .route("mfa/method/totp/admin-destroy", |r| {
            r.update("Delete the TOTP key of an entity: it can have another.", admin_destroy)
        })
        .route("mfa/method/totp/self-enroll", |r| {
            r.open()
                .update("Make a TOTP key for the user of a login that waits, who has none yet.", self_enroll)
        })
}

#[derive(Deserialize, JsonSchema)]
struct MethodInput {
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct EntityInput {
    /// Entity ID on which the generated secret needs to get stored, or from which it is deleted.
    entity_id: Option<Text>,
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct EnrollInput {
    /// The MFA method, one that the login's answer offers for self-enrollment.
    mfa_method_id: Option<Text>,
    /// The ID of the login that waits, from its answer.
    mfa_request_id: Option<Text>,
}

/// A key that was just made.
#[derive(Serialize, JsonSchema)]
struct KeyView<'a> {
    /// The QR code of the URL: a PNG image in base 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    barcode: Option<String>,
    /// The `otpauth` URL.
    url: &'a str,
}

pub(super) fn given(text: Option<Text>, what: &str) -> Result<String, EngineError> {
    let text = text.map(|text| text.0).filter(|text| !text.is_empty());
    text.ok_or_else(|| bad_request(format!("missing {what}")))
}

/// The method of an input, and its own name for messages.
pub(super) async fn method(
    mfa: &Mfa,
    reads: &impl Reads,
    mount: &Mount,
    input: Option<Text>,
) -> Result<FoundMethod, EngineError> {
    let id = given(input, "method ID")?;
    let found = found(mfa, reads, mount, &id).await?;
    found.ok_or_else(|| bad_request(format!("configuration for method ID {id:?} does not exist")))
}

/// The answer with a key, or Vault's warning where there is one already.
fn answer(made: Option<MadeKey>, method: &str) -> Result<Reply, EngineError> {
    let Some(made) = made else {
        return Ok(Reply::default().warned(format!("Entity already has a secret for MFA method {method:?}")));
    };
    let barcode = made.barcode.map(|png| STANDARD.encode(png.expose()));
    Reply::data(&KeyView { barcode, url: made.url.expose() })
}

async fn make(mfa: &Mfa, txn: &Txn, entity: Placed, found: &FoundMethod) -> Result<Reply, EngineError> {
    let made = mfa.make_key(txn, entity, found).await?;
    let name = &found.method.name;
    answer(made, if name.is_empty() { found.id.to_string() } else { name.clone() }.as_str())
}

async fn generate(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<MethodInput>,
    caller: Caller,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = own_entity(&identity, &txn, &caller).await?;
    make(&mfa, &txn, entity, &found).await
}

/// The entity of the caller.
pub(super) async fn own_entity(
    identity: &Identity,
    reads: &impl Reads,
    caller: &Caller,
) -> Result<Placed, EngineError> {
    let home = caller.entity_namespace;
    let id = IdentityId::parse(&caller.entity_id).ok_or_else(|| bad_request("missing entity ID"))?;
    let (id, _) = identity.resolve(reads, home, id).await?.ok_or_else(|| bad_request("invalid entity ID"))?;
    Ok((home, id))
}

pub(super) async fn entity(
    mfa: &Mfa,
    reads: &impl Reads,
    mount: &Mount,
    input: Option<Text>,
) -> Result<Placed, EngineError> {
    let invalid = || bad_request("invalid entity ID");
    let id = IdentityId::parse(&given(input, "entity ID")?).ok_or_else(invalid)?;
    mfa.find_entity(reads, mount.namespace, id).await?.ok_or_else(invalid)
}

async fn admin_generate(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<EntityInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = entity(&mfa, &txn, &mount, input.entity_id).await?;
    make(&mfa, &txn, entity, &found).await
}

async fn admin_destroy(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<EntityInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    found.totp()?;
    let entity = entity(&mfa, &txn, &mount, input.entity_id).await?;
    if mfa.has_key(&txn, entity, found.id).await? {
        mfa.delete_key(&txn, entity, found.id);
    }
    Ok(())
}

async fn self_enroll(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<EnrollInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let request_id = given(input.mfa_request_id, "MFA request ID")?;
    let method_id = given(input.mfa_method_id, "MFA method ID")?;
    let made = mfa.enroll(&txn, mount.namespace, &request_id, &method_id).await?;
    let exists = || bad_request(format!("Entity already has a secret for MFA method {method_id:?}"));
    answer(Some(made.ok_or_else(exists)?), &method_id)
}
