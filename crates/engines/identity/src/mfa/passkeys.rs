//! `mfa/method/webauthn/*`: the passkeys of entities. Their owners register and delete them soon after a login; who may call the
//! `admin-` endpoints does so for others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_barrier::{Reads, Txn, View};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Call, Caller, Engine, EngineError, Extension, Input, Moment, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{Identity, IdentityId, Placed};
use strongroom_mfa::{CreationOptions, FoundMethod, Mfa, PasskeyView, RegisteredBy};
use strongroom_tokens::TokenStore;

use super::keys::{entity, method, own_entity};

/// The time since a login in which its token may register and delete passkeys: with one that was found or stolen later, nobody makes
/// themselves a second factor.
const FRESH: Duration = Duration::from_mins(5);

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("mfa/method/webauthn/register-begin", |r| {
            r.update(
                "Begin to register a passkey of the calling token's entity, soon after its login.",
                begin,
            )
        })
        .route("mfa/method/webauthn/register-finish", |r| {
            r.update(
                "Register the passkey that a browser has made of what `register-begin` answered.",
                finish,
            )
        })
        .route("mfa/method/webauthn/admin-register-begin", |r| {
            r.update("Begin to register a passkey of an entity.", admin_begin)
        })
        .route("mfa/method/webauthn/admin-register-finish", |r| {
            r.update(
                "Register the passkey that a browser has made of what `admin-register-begin` answered.",
                admin_finish,
            )
        })
        .route("mfa/method/webauthn/passkeys/{method_id}", |r| {
            r.list("List the passkeys of the calling token's entity.", list)
        })
        .route("mfa/method/webauthn/passkeys/{method_id}/{passkey_id}", |r| {
            r.delete("Delete a passkey of the calling token's entity, soon after its login.", delete)
        })
        .route("mfa/method/webauthn/admin-passkeys/{method_id}/{entity_id}", |r| {
            r.list("List the passkeys of an entity.", admin_list)
        })
        .route("mfa/method/webauthn/admin-passkeys/{method_id}/{entity_id}/{passkey_id}", |r| {
            r.delete("Delete a passkey of an entity.", admin_delete)
        })
}

#[derive(Deserialize, JsonSchema)]
struct BeginInput {
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
    /// A name for the passkey, which its owner knows it by.
    passkey_name: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct AdminBeginInput {
    /// The entity that the passkey is for.
    entity_id: Option<Text>,
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
    /// A name for the passkey, which its owner knows it by.
    passkey_name: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct FinishInput {
    /// The passkey that the browser has made, as JSON: what `toJSON()` of the `PublicKeyCredential` returns.
    credential: Option<Value>,
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
}

#[derive(Deserialize, JsonSchema)]
struct AdminFinishInput {
    /// The passkey that the browser has made, as JSON: what `toJSON()` of the `PublicKeyCredential` returns.
    credential: Option<Value>,
    /// The entity that the passkey is for.
    entity_id: Option<Text>,
    /// The unique identifier for this MFA method.
    method_id: Option<Text>,
}

/// A passkey in a list.
#[derive(Serialize, JsonSchema)]
struct InfoView {
    aaguid: String,
    algorithm: &'static str,
    attestation_format: String,
    backed_up: bool,
    backup_eligible: bool,
    creation_time: String,
    last_used_time: String,
    name: String,
    sign_count: u32,
    transports: Vec<String>,
}

impl From<PasskeyView> for InfoView {
    fn from(passkey: PasskeyView) -> Self {
        Self {
            aaguid: IdentityId::of_bytes(passkey.aaguid).to_string(),
            algorithm: passkey.algorithm,
            attestation_format: passkey.format,
            backed_up: passkey.backed_up,
            backup_eligible: passkey.backup_eligible,
            creation_time: passkey.created.rfc3339(),
            last_used_time: passkey.used.map(Moment::rfc3339).unwrap_or_default(),
            name: passkey.name,
            sign_count: passkey.counter,
            transports: passkey.transports,
        }
    }
}

/// The services that owners' calls take.
type Services = ((Extension<Mfa>, Extension<Identity>), Extension<TokenStore>);

/// Refuses a token that no login has made of late.
async fn require_fresh(
    tokens: &TokenStore,
    txn: &Txn,
    caller: &Caller,
    call: &Call,
) -> Result<(), EngineError> {
    let now = call.environment.clock.now();
    let found = tokens.principal(txn.peek(), caller.token.expose(), now).await?;
    let is_fresh = found.is_some_and(|found| {
        let by_login = !found.entry.mount.is_none();
        by_login && now.since(found.entry.created) < FRESH
    });
    if is_fresh {
        return Ok(());
    }
    let text = "passkeys are registered and deleted within 5 minutes of a login, with the token of that login: log in again";
    Err(EngineError::Denied(text.to_owned()))
}

/// The JSON text of what a browser has made: an object, or its text.
fn made(credential: Option<Value>) -> Result<String, EngineError> {
    match credential {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(object @ Value::Object(_)) => Ok(object.to_string()),
        _ => Err(bad_request("missing credential")),
    }
}

fn name(text: Option<Text>) -> String {
    text.map(|text| text.0.trim().to_owned()).unwrap_or_default()
}

fn options(options: &CreationOptions) -> Result<Reply, EngineError> {
    Reply::data(&serde_json::json!({ "public_key": options }))
}

fn registered(id: IdentityId) -> Result<Reply, EngineError> {
    Reply::data(&serde_json::json!({ "passkey_id": id.to_string() }))
}

async fn begin(
    ((Extension(mfa), Extension(identity)), Extension(tokens)): Services,
    mount: Arc<Mount>,
    Input(input): Input<BeginInput>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = own_entity(&identity, &txn, &caller).await?;
    require_fresh(&tokens, &txn, &caller, &call).await?;
    let name = name(input.passkey_name);
    options(&mfa.begin_registration(&txn, entity, &found, RegisteredBy::Owner, name).await?)
}

async fn finish(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Input(input): Input<FinishInput>,
    caller: Caller,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = own_entity(&identity, &txn, &caller).await?;
    let made = made(input.credential)?;
    registered(mfa.finish_registration(&txn, entity, &found, RegisteredBy::Owner, &made).await?)
}

async fn admin_begin(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<AdminBeginInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = entity(&mfa, &txn, &mount, input.entity_id).await?;
    let name = name(input.passkey_name);
    options(&mfa.begin_registration(&txn, entity, &found, RegisteredBy::Admin, name).await?)
}

async fn admin_finish(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<AdminFinishInput>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &txn, &mount, input.method_id).await?;
    let entity = entity(&mfa, &txn, &mount, input.entity_id).await?;
    let made = made(input.credential)?;
    registered(mfa.finish_registration(&txn, entity, &found, RegisteredBy::Admin, &made).await?)
}

async fn listed(
    mfa: &Mfa,
    reads: &impl Reads,
    entity: Placed,
    found: &FoundMethod,
    paging: Paging,
) -> Result<Reply, EngineError> {
    let (mut keys, mut info) = (Vec::new(), BTreeMap::new());
    for passkey in mfa.passkeys(reads, entity, found).await? {
        let id = passkey.id.to_string();
        let is_after = paging.after.as_ref().is_none_or(|after| id > *after);
        if is_after && keys.len() < paging.limit {
            info.insert(id.clone(), InfoView::from(passkey));
            keys.push(id);
        }
    }
    Reply::keys_with(&keys, &info)
}

async fn list(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    (mount, caller): (Arc<Mount>, Caller),
    Path(method_id): Path<String>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &view, &mount, Some(Text(method_id))).await?;
    let entity = own_entity(&identity, &view, &caller).await?;
    listed(&mfa, &view, entity, &found, paging).await
}

async fn delete(
    ((Extension(mfa), Extension(identity)), Extension(tokens)): Services,
    mount: Arc<Mount>,
    Path((method_id, passkey_id)): Path<(String, String)>,
    caller: Caller,
    call: Arc<Call>,
    txn: Txn,
) -> Result<(), EngineError> {
    let found = method(&mfa, &txn, &mount, Some(Text(method_id))).await?;
    let entity = own_entity(&identity, &txn, &caller).await?;
    require_fresh(&tokens, &txn, &caller, &call).await?;
    remove(&mfa, &txn, entity, &found, &passkey_id).await
}

async fn admin_list(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path((method_id, entity_id)): Path<(String, String)>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    let found = method(&mfa, &view, &mount, Some(Text(method_id))).await?;
    let entity = entity(&mfa, &view, &mount, Some(Text(entity_id))).await?;
    listed(&mfa, &view, entity, &found, paging).await
}

async fn admin_delete(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path((method_id, entity_id, passkey_id)): Path<(String, String, String)>,
    txn: Txn,
) -> Result<(), EngineError> {
    let found = method(&mfa, &txn, &mount, Some(Text(method_id))).await?;
    let entity = entity(&mfa, &txn, &mount, Some(Text(entity_id))).await?;
    remove(&mfa, &txn, entity, &found, &passkey_id).await
}

async fn remove(
    mfa: &Mfa,
    txn: &Txn,
    entity: Placed,
    found: &FoundMethod,
    passkey_id: &str,
) -> Result<(), EngineError> {
    if let Some(id) = IdentityId::parse(passkey_id) {
        mfa.delete_passkey(txn, entity, found, id).await?;
    }
    Ok(())
}
