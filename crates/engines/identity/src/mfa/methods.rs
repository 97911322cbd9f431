//! `mfa/method`, `mfa/method/:id`, `mfa/method/totp`, `mfa/method/totp/:id`.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Int, Text, Ttl};
use strongroom_engine_api::{
    Data, Engine, EngineError, Extension, Input, Mount, Paging, Path, Reply, bad_request,
};
use strongroom_identity::{Identity, IdentityId};
use strongroom_mfa::{FoundMethod, MethodKind, Mfa, TotpChange, TotpSettings};

use super::webauthn::WebauthnView;
use crate::NAME;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("mfa/method", |r| r.list("List the MFA methods of all types.", list))
        .route("mfa/method/{method_id}", |r| r.read("Read an MFA method of any type.", read))
        .route("mfa/method/totp", |r| {
            r.list("List the MFA methods of type TOTP.", list_totp)
                .update("Create a TOTP method.", create_totp)
                .means("method_name", NAME)
        })
        .route("mfa/method/totp/{method_id}", |r| {
            r.read("Read a TOTP method.", read_totp)
                .update("Update a TOTP method. Keys that were made before stay as they are.", update_totp)
                .delete("Delete a TOTP method that no login enforcement names.", delete_totp)
                .means("method_name", NAME)
        })
}

/// What a write of a TOTP method takes.
#[derive(Deserialize, JsonSchema)]
struct TotpInput {
    /// The hashing algorithm used to generate the TOTP token. Options include SHA1, SHA256 and SHA512.
    algorithm: Option<Text>,
    /// The number of digits in the generated TOTP token. This value can either be 6 or 8.
    digits: Option<Int>,
    /// If true, users who have no secret yet can make one as they log in.
    enable_self_enrollment: Option<Flag>,
    /// The name of the key's issuing organization.
    issuer: Option<Text>,
    /// Determines the size in bytes of the generated key.
    key_size: Option<Int>,
    /// Max number of allowed validation attempts.
    max_validation_attempts: Option<Int>,
    /// The unique name identifier for this MFA method.
    method_name: Option<Text>,
    /// The length of time used to generate a counter for the TOTP token calculation.
    period: Option<Ttl>,
    /// The pixel size of the generated square QR code; zero: there is none.
    qr_size: Option<Int>,
    /// The number of delay periods that are allowed when validating a TOTP token. This value can either be 0 or 1.
    skew: Option<Int>,
}

impl TotpInput {
    fn change(self) -> (Option<String>, TotpChange) {
        let change = TotpChange {
            issuer: self.issuer.map(|issuer| issuer.0),
            period: self.period.map(|period| period.0.as_secs()),
            digits: self.digits.map(|digits| digits.0),
            skew: self.skew.map(|skew| skew.0),
            algorithm: self.algorithm.map(|algorithm| algorithm.0),
            key_size: self.key_size.map(|size| size.0),
            qr_size: self.qr_size.map(|size| size.0),
            max_validation_attempts: self.max_validation_attempts.map(|most| most.0),
            self_enrollment: self.enable_self_enrollment.map(|allowed| allowed.0),
        };
        (self.method_name.map(|name| name.0), change)
    }
}

/// The answer to a creation.
#[derive(Serialize, JsonSchema)]
pub(super) struct Created {
    /// The method.
    pub(super) method_id: String,
}

/// A method as answers show it.
#[derive(Serialize, JsonSchema)]
pub(super) struct MethodView {
    /// Its id.
    id: String,
    /// Its name; empty: none.
    name: String,
    /// The namespace that it is of.
    namespace_id: String,
    /// The path of that namespace.
    namespace_path: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    settings: SettingsView,
}

/// The settings of a method.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum SettingsView {
    Totp(TotpView),
    Webauthn(WebauthnView),
}

/// The settings of a TOTP method.
#[derive(Serialize, JsonSchema)]
struct TotpView {
    /// The hash function.
    algorithm: &'static str,
    /// Digits of a passcode.
    digits: u32,
    /// True if users may make keys of their own as they log in.
    enable_self_enrollment: bool,
    /// The issuer.
    issuer: String,
    /// Bytes of a new key.
    key_size: usize,
    /// Passcodes in a row that may be wrong.
    max_validation_attempts: u32,
    /// Seconds of a time step.
    period: u64,
    /// Pixels of a QR code's side.
    qr_size: usize,
    /// Time steps of skew.
    skew: u64,
}

impl From<&TotpSettings> for TotpView {
    fn from(settings: &TotpSettings) -> Self {
        Self {
            algorithm: settings.algorithm.name(),
            digits: settings.digits,
            enable_self_enrollment: settings.self_enrollment,
            issuer: settings.issuer.clone(),
            key_size: settings.key_size,
            max_validation_attempts: settings.max_validation_attempts,
            period: settings.period,
            qr_size: settings.qr_size,
            skew: settings.skew,
        }
    }
}

pub(super) async fn view_of(
    mfa: &Mfa,
    identity: &Identity,
    found: &FoundMethod,
) -> Result<MethodView, EngineError> {
    let settings = match &found.method.kind {
        MethodKind::Totp(settings) => SettingsView::Totp(settings.into()),
        MethodKind::Webauthn(settings) => SettingsView::Webauthn(settings.into()),
    };
    Ok(MethodView {
        id: found.id.to_string(),
        name: found.method.name.clone(),
        namespace_id: identity.short_id(found.namespace).await?,
        namespace_path: mfa.namespace_path(found.namespace).await?,
        kind: found.method.type_name(),
        settings,
    })
}

/// The method with this id that holds in the mount's namespace.
pub(super) async fn found(
    mfa: &Mfa,
    reads: &impl strongroom_barrier::Reads,
    mount: &Mount,
    id: &str,
) -> Result<Option<FoundMethod>, EngineError> {
    let Some(id) = IdentityId::parse(id) else { return Ok(None) };
    Ok(mfa.method(reads, mount.namespace, id).await?)
}

async fn list(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    listed((&mfa, &identity), &view, &mount, paging, None).await
}

async fn list_totp(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    paging: Paging,
    view: View,
) -> Result<Reply, EngineError> {
    listed((&mfa, &identity), &view, &mount, paging, Some("totp")).await
}

pub(super) async fn listed(
    (mfa, identity): (&Mfa, &Identity),
    view: &View,
    mount: &Mount,
    paging: Paging,
    kind: Option<&str>,
) -> Result<Reply, EngineError> {
    let (mut keys, mut info) = (Vec::new(), BTreeMap::new());
    for (id, found) in mfa.methods(view, mount.namespace).await? {
        let id = id.to_string();
        let is_meant = kind.is_none_or(|kind| found.method.type_name() == kind);
        let is_after = paging.after.as_ref().is_none_or(|after| id > *after);
        if is_meant && is_after && keys.len() < paging.limit {
            info.insert(id.clone(), view_of(mfa, identity, &found).await?);
            keys.push(id);
        }
    }
    Reply::keys_with(&keys, &info)
}

async fn read(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<MethodView>>, EngineError> {
    match found(&mfa, &view, &mount, &id).await? {
        Some(found) => Ok(Some(Data(view_of(&mfa, &identity, &found).await?))),
        None => Ok(None),
    }
}

async fn read_totp(
    (Extension(mfa), Extension(identity)): (Extension<Mfa>, Extension<Identity>),
    mount: Arc<Mount>,
    Path(id): Path<String>,
    view: View,
) -> Result<Option<Data<MethodView>>, EngineError> {
    match found(&mfa, &view, &mount, &id).await?.filter(|found| found.totp().is_ok()) {
        Some(found) => Ok(Some(Data(view_of(&mfa, &identity, &found).await?))),
        None => Ok(None),
    }
}

async fn create_totp(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Input(input): Input<TotpInput>,
    txn: Txn,
) -> Result<Data<Created>, EngineError> {
    let (name, change) = input.change();
    let id = mfa.write_totp(&txn, mount.namespace, None, name, change).await?;
    Ok(Data(Created { method_id: id.to_string() }))
}

async fn update_totp(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    Input(input): Input<TotpInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let no_method = || bad_request(format!("configuration for method ID {id:?} does not exist"));
    let parsed = IdentityId::parse(&id).ok_or_else(no_method)?;
    let (name, change) = input.change();
    mfa.write_totp(&txn, mount.namespace, Some(parsed), name, change).await?;
    Ok(())
}

async fn delete_totp(
    Extension(mfa): Extension<Mfa>,
    mount: Arc<Mount>,
    Path(id): Path<String>,
    txn: Txn,
) -> Result<(), EngineError> {
    match IdentityId::parse(&id) {
        Some(id) => mfa.delete_method(&txn, mount.namespace, id, "totp").await,
        None => Ok(()),
    }
}
