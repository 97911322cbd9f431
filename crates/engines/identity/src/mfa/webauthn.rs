//! `mfa/method/webauthn`, `mfa/method/webauthn/:id`: methods that ask for a passkey. Vault has none; the fields are named after the
//! terms of Web Authentication.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Int, List, Text};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_mfa::{Mfa, PasskeyAlgorithm, WebauthnChange, WebauthnSettings};

use super::methods::{Created, MethodView, found, listed, view_of};
use crate::NAME;

/// The type.
const TYPE: &str = "webauthn";

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("mfa/method/webauthn", |r| {
            r.list("List the MFA methods of type WebAuthn.", list)
                .update("Create a WebAuthn method.", create)
                .means("method_name", NAME)
        })
        .route("mfa/method/webauthn/{method_id}", |r| {
            r.read("Read a WebAuthn method.", read)
                .update("Update a WebAuthn method. Its domain stays as it is.", update)
                .delete("Delete a WebAuthn method that no login enforcement names.", delete)
                .means("method_name", NAME)
        })
}

/// What a write of a `webauthn` method takes.
#[derive(Deserialize, JsonSchema)]
struct WebauthnInput {
    /// Signature algorithms that new passkeys may have, in the order of preference: `ES256`, `EdDSA`, `RS256`.
    algorithms: Option<List>,
    /// Origins of the pages that may ask for passkeys, such as `https://vault.example.com:8200`.
    allowed_origins: Option<List>,
    /// What an authenticator is to tell of its make: none, indirect or direct.
    attestation: Option<Text>,
    /// Max number of allowed validation attempts.
    max_validation_attempts: Option<Int>,
    /// The unique name identifier for this MFA method.
    method_name: Option<Text>,
    /// The domain that passkeys belong to: that of the pages which ask for them, or one above it.
    rp_id: Option<Text>,
    /// The name that authenticators may show for it.
    rp_name: Option<Text>,
    /// Whether the user is to be verified (by a PIN, a fingerprint): required, preferred or discouraged.
    user_verification: Option<Text>,
}

impl WebauthnInput {
    fn change(self) -> (Option<String>, WebauthnChange) {
        let text = |text: Option<Text>| text.map(|text| text.0);
        let list = |list: Option<List>| list.map(|list| list.0);
        let change = WebauthnChange {
            rp_id: text(self.rp_id),
            rp_name: text(self.rp_name),
            allowed_origins: list(self.allowed_origins),
            user_verification: text(self.user_verification),
            attestation: text(self.attestation),
            algorithms: list(self.algorithms),
            max_validation_attempts: self.max_validation_attempts.map(|most| most.0),
        };
        (text(self.method_name), change)
    }
}

/// The settings of a `webauthn` method.
#[derive(Serialize, JsonSchema)]
pub(super) struct WebauthnView {
    /// Algorithms of new passkeys.
    algorithms: Vec<&'static str>,
    /// Origins.
    allowed_origins: Vec<String>,
    /// The attestation asked for.
    attestation: &'static str,
    /// Answers in a row that may be wrong.
    max_validation_attempts: u32,
    /// The domain.
    rp_id: String,
    /// Its name.
    rp_name: String,
    /// The user verification asked for.
    user_verification: &'static str,
}

impl From<&WebauthnSettings> for WebauthnView {
    fn from(settings: &WebauthnSettings) -> Self {
        Self {
            algorithms: settings.algorithms.iter().copied().map(PasskeyAlgorithm::name).collect(),
            allowed_origins: settings.allowed_origins.clone(),
            attestation: settings.attestation.name(),
            max_validation_attempts: settings.max_validation_attempts,
            rp_id: settings.rp_id.clone(),
            rp_name: settings.rp_name.clone(),
            user_verification: settings.user_verification.name(),
        }
    }
}

async fn list(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    listed((&mfa, &identity), &view, &mount, paging, Some(TYPE)).await
}

async fn read(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<MethodView>>, EngineError> {
    match found(&mfa, &view, &mount, &id).await?.filter(|found| found.webauthn().is_ok()) {
        Some(found) => Ok(Some(Data(view_of(&mfa, &identity, &found).await?))),
        None => Ok(None),
    }
}

async fn create(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<WebauthnInput>,
    txn: Txn,
) -> Result<Data<Created>, EngineError> {
    let (name, change) = input.change();
    let id = mfa.write_webauthn(&txn, mount.namespace, None, name, change).await?;
    Ok(Data(Created { method_id: id.to_string() }))
}

async fn update(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<WebauthnInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let no_method = || bad_request(format!("configuration for method ID {id:?} does not exist"));
    let parsed = IdentityId::parse(&id).ok_or_else(no_method)?;
    let (name, change) = input.change();
    mfa.write_webauthn(&txn, mount.namespace, Some(parsed), name, change).await?;
    Ok(())
}

async fn delete(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match IdentityId::parse(&id) {
        Some(id) => mfa.delete_method(&txn, mount.namespace, id, TYPE).await,
        None => Ok(()),
    }
}
