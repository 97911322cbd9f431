//! Secret ids: made, listed, looked up and destroyed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::lenient::{Int, List, Text, Ttl};
use strongroom_engine_api::{
    Call, Data, EngineError, Input, IntoReply, Moment, OperationDoc, Paging, Path, Reads, Reply, Secret,
    Stored, Txn, View, bad_request,
};

use crate::role::{self, Role};
use crate::store::{ACCESSORS, EXPIRY, MountKey, SECRET_IDS, SecretKey, SecretTag, secret_key, split_key};
use crate::{MAX_NAME_BYTES, cidr, metadata, uses};

/// A secret id as stored; the text itself is known only to its holder.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SecretId {
    /// The accessor, by which it is listed, looked up and destroyed.
    pub(crate) accessor: String,
    /// Uses left; zero: without limit.
    pub(crate) num_uses: u32,
    /// Its TTL when it was made; zero: for ever.
    pub(crate) ttl: Duration,
    /// The time at which it expires.
    pub(crate) expires: Option<Moment>,
    /// The time of its creation.
    pub(crate) created: Moment,
    /// The time at which it was created or last used.
    pub(crate) updated: Moment,
    /// Metadata of the tokens it grants.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Addresses it may be used from; empty: any.
    pub(crate) cidr_list: Vec<IpNet>,
    /// Addresses that the tokens it grants may be used from; empty: those of the role.
    pub(crate) token_bound_cidrs: Vec<IpNet>,
}

impl Stored for SecretId {}

impl SecretId {
    /// True if its time is over.
    pub(crate) fn has_expired(&self, now: Moment) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }

    /// Writes it and what points to it.
    fn store(self, txn: &Txn, key: &SecretKey) -> Result<(), EngineError> {
        let (role, tag) = split_key(key);
        ACCESSORS.put(txn, &(role, self.accessor.as_str()), SecretTag(tag))?;
        if let Some(end) = self.expires {
            EXPIRY.put(txn, &(end.as_secs(), key), ())?;
        }
        Ok(SECRET_IDS.put(txn, key, self)?)
    }

    /// Deletes it and what points to it.
    pub(crate) fn remove(&self, txn: &Txn, key: &SecretKey) {
        let (role, _) = split_key(key);
        ACCESSORS.delete(txn, &(role, self.accessor.as_str()));
        if let Some(end) = self.expires {
            EXPIRY.delete(txn, &(end.as_secs(), key));
        }
        SECRET_IDS.delete(txn, key);
    }
}

/// The properties of a new secret id.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct SecretIdInput {
    /// Comma separated string or list of CIDR blocks enforcing secret IDs to be used from specific set of IP addresses.
    /// If '`bound_cidr_list`' is set on the role, then the list of CIDR blocks listed here should be a subset of the CIDR
    /// blocks listed on the role.
    #[schemars(extend("x-meaning" = "cidr"))]
    cidr_list: Option<List>,
    /// Metadata to be tied to the `SecretID`. This should be a JSON formatted string containing the metadata in key value
    /// pairs.
    metadata: Option<Text>,
    /// Number of times this `SecretID` can be used, after which the `SecretID` expires. Overrides `secret_id_num_uses` role
    /// option when supplied. May not be higher than role's `secret_id_num_uses`.
    num_uses: Option<Int>,
    /// Comma separated string or JSON list of CIDR blocks. If set, specifies the blocks of IP addresses which are
    /// allowed to use the generated token.
    #[schemars(extend("x-meaning" = "cidr"))]
    token_bound_cidrs: Option<List>,
    /// Duration in seconds after which this `SecretID` expires. Overrides `secret_id_ttl` role option when supplied. May not
    /// be longer than role's `secret_id_ttl`.
    ttl: Option<Ttl>,
}

/// A secret id in a request.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct SecretIdText {
    /// `SecretID` attached to the role.
    secret_id: Option<Text>,
}

impl SecretIdText {
    /// The secret id, which must be there.
    pub(crate) fn take(self) -> Result<Secret<String>, EngineError> {
        let given = self.secret_id.map(|text| Secret::new(text.0)).filter(|text| !text.expose().is_empty());
        given.ok_or_else(|| bad_request("missing secret_id"))
    }
}

/// An accessor in a request.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct AccessorText {
    /// Accessor of the `SecretID`.
    secret_id_accessor: Option<Text>,
}

impl AccessorText {
    fn take(self) -> Result<String, EngineError> {
        let given = self.secret_id_accessor.map(|text| text.0).filter(|text| !text.is_empty());
        given.ok_or_else(|| bad_request("missing secret_id_accessor"))
    }
}

/// A new secret id: the one answer that holds it.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "the API's names")]
pub(crate) struct Issued {
    /// Secret ID attached to the role.
    #[schemars(with = "String")]
    secret_id: Secret<String>,
    /// Accessor of the secret ID.
    secret_id_accessor: String,
    /// Number of times a secret ID can access the role, after which the secret ID will expire.
    secret_id_num_uses: u32,
    /// Duration in seconds after which the issued secret ID expires.
    secret_id_ttl: u64,
}

/// A secret id as shown.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SecretIdView {
    /// List of CIDR blocks enforcing secret IDs to be used from specific set of IP addresses.
    cidr_list: Vec<String>,
    /// The time of its creation (RFC 3339).
    creation_time: String,
    /// The time at which it expires (RFC 3339); the year 1 where it does not.
    expiration_time: String,
    /// The time at which it was created or last used, where uses are counted (RFC 3339).
    last_updated_time: String,
    /// Metadata of the tokens it grants.
    metadata: BTreeMap<String, String>,
    /// Accessor of the secret ID.
    secret_id_accessor: String,
    /// Number of times it can still be used; zero means without limit.
    secret_id_num_uses: u32,
    /// Duration in seconds after which it was to expire; zero means never.
    secret_id_ttl: u64,
    /// List of CIDR blocks that the tokens it grants may be used from.
    token_bound_cidrs: Vec<String>,
}

impl From<&SecretId> for SecretIdView {
    fn from(secret: &SecretId) -> Self {
        let end = secret.expires.map(Moment::rfc3339);
        Self {
            cidr_list: cidr::texts(&secret.cidr_list),
            creation_time: secret.created.rfc3339(),
            expiration_time: end.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()),
            last_updated_time: secret.updated.rfc3339(),
            metadata: secret.metadata.clone(),
            secret_id_accessor: secret.accessor.clone(),
            secret_id_num_uses: secret.num_uses,
            secret_id_ttl: secret.ttl.as_secs(),
            token_bound_cidrs: cidr::texts(&secret.token_bound_cidrs),
        }
    }
}

pub(crate) async fn generate(
    Path(name): Path<String>,
    Input(given): Input<SecretIdInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Data<Issued>, EngineError> {
    let role = role_of(&txn, &name).await?;
    let secret_id = Secret::new(call.environment.entropy.uuid()?);
    issue(&role, secret_id, given, &call, &txn).await
}

pub(crate) async fn assign(
    Path(name): Path<String>,
    Input(text): Input<SecretIdText>,
    Input(given): Input<SecretIdInput>,
    call: Arc<Call>,
    txn: Txn,
) -> Result<Data<Issued>, EngineError> {
    let role = role_of(&txn, &name).await?;
    issue(&role, text.take()?, given, &call, &txn).await
}

async fn issue(
    role: &Role,
    secret_id: Secret<String>,
    given: SecretIdInput,
    call: &Call,
    txn: &Txn,
) -> Result<Data<Issued>, EngineError> {
    if secret_id.expose().len() > MAX_NAME_BYTES {
        let text =
            "failed to store secret_id: failed to create HMAC of secret ID: value is longer than maximum of";
        return Err(bad_request(format!("{text} {MAX_NAME_BYTES} bytes")));
    }
    let now = call.environment.clock.now();
    let secret = SecretId {
        accessor: call.environment.entropy.uuid()?,
        expires: None,
        created: now,
        updated: now,
        ..within_role(role, given)?
    };
    // As with leases, the mount's maximum ends what asks for more; without a TTL there is no end.
    let ttl = secret.ttl.min(call.mount.lifetimes.max);
    let secret = SecretId { ttl, expires: (!ttl.is_zero()).then(|| now.after(ttl)), ..secret };
    let key = MountKey::get_or_make(txn, &call.environment.entropy).await?;
    let at = key.secret_key(&role.number, secret_id.expose());
    if let Some(former) = SECRET_IDS.get(txn, &at).await? {
        if !former.has_expired(now) {
            return Err(bad_request("failed to store secret_id: SecretID is already registered"));
        }
        former.remove(txn, &at);
    }
    let issued = Issued {
        secret_id,
        secret_id_accessor: secret.accessor.clone(),
        secret_id_num_uses: secret.num_uses,
        secret_id_ttl: ttl.as_secs(),
    };
    secret.store(txn, &at)?;
    Ok(Data(issued))
}

/// The properties asked for, where the role allows them.
fn within_role(role: &Role, given: SecretIdInput) -> Result<SecretId, EngineError> {
    if !role.bind_secret_id {
        return Err(bad_request("bind_secret_id is not set on the role"));
    }
    let num_uses = match given.num_uses {
        Some(count) => uses(count.0, "num_uses")?,
        None => role.secret_id_num_uses,
    };
    if role.secret_id_num_uses > 0 && (num_uses == 0 || num_uses > role.secret_id_num_uses) {
        return Err(bad_request("num_uses cannot be higher than the role's secret_id_num_uses"));
    }
    let ttl = given.ttl.map_or(role.secret_id_ttl, |ttl| ttl.0);
    if !role.secret_id_ttl.is_zero() && (ttl.is_zero() || ttl > role.secret_id_ttl) {
        return Err(bad_request("ttl cannot be longer than the role's secret_id_ttl"));
    }
    let cidr_list = cidr::parse(&given.cidr_list.unwrap_or_default(), "CIDR blocks")?;
    let token_bound_cidrs = cidr::parse(&given.token_bound_cidrs.unwrap_or_default(), "token CIDR blocks")?;
    cidr::check_subset(&role.secret_id_bound_cidrs, &cidr_list)?;
    cidr::check_subset(&role.token.bound_cidrs, &token_bound_cidrs)?;
    let metadata = metadata::parse(&given.metadata.unwrap_or_default()).map_err(bad_request)?;
    Ok(SecretId { num_uses, ttl, metadata, cidr_list, token_bound_cidrs, ..SecretId::default() })
}

pub(crate) async fn list(Path(name): Path<String>, view: View, paging: Paging) -> Result<Reply, EngineError> {
    let role = role::find(&view, &name).await?.ok_or_else(|| bad_request(no_role(&name)))?;
    let found = match paging.after.as_deref() {
        Some(after) => ACCESSORS.keys_after(&view, &role.number, &(role.number, after), paging.limit).await?,
        None => ACCESSORS.keys(&view, &role.number, None, paging.limit).await?,
    };
    Reply::keys(&found.into_iter().map(|(_, accessor)| accessor).collect::<Vec<_>>())
}

/// The answer of a lookup; nothing (204) where the secret id is not there, as Vault answers.
pub(crate) struct Known(Option<SecretIdView>);

impl IntoReply for Known {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<SecretIdView>();
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        self.0.map_or_else(|| Ok(Reply::default()), |view| Reply::data(&view))
    }
}

pub(crate) async fn look_up(
    Path(name): Path<String>,
    Input(given): Input<SecretIdText>,
    call: Arc<Call>,
    view: View,
) -> Result<Known, EngineError> {
    let secret_id = given.take()?;
    let role = role_of(&view, &name).await?;
    let found = match MountKey::get(&view).await? {
        Some(key) => SECRET_IDS.get(&view, &key.secret_key(&role.number, secret_id.expose())).await?,
        None => None,
    };
    let found = found.filter(|secret| !secret.has_expired(call.environment.clock.now()));
    Ok(Known(found.map(|secret| SecretIdView::from(&*secret))))
}

pub(crate) async fn destroy(
    Path(name): Path<String>,
    Input(given): Input<SecretIdText>,
    txn: Txn,
) -> Result<(), EngineError> {
    let secret_id = given.take()?;
    let role = role_of(&txn, &name).await?;
    let Some(key) = MountKey::get(&txn).await? else { return Ok(()) };
    let at = key.secret_key(&role.number, secret_id.expose());
    if let Some(secret) = SECRET_IDS.get(&txn, &at).await? {
        secret.remove(&txn, &at);
    }
    Ok(())
}

pub(crate) async fn look_up_by_accessor(
    Path(name): Path<String>,
    Input(given): Input<AccessorText>,
    call: Arc<Call>,
    view: View,
) -> Result<Data<SecretIdView>, EngineError> {
    let accessor = given.take()?;
    let role = role_of(&view, &name).await?;
    let (_, secret) = by_accessor(&view, &role, &accessor).await?;
    if secret.has_expired(call.environment.clock.now()) {
        return Err(no_accessor(&accessor));
    }
    Ok(Data(SecretIdView::from(&*secret)))
}

pub(crate) async fn destroy_by_accessor(
    Path(name): Path<String>,
    Input(given): Input<AccessorText>,
    txn: Txn,
) -> Result<(), EngineError> {
    let accessor = given.take()?;
    let role = role_of(&txn, &name).await?;
    let (at, secret) = by_accessor(&txn, &role, &accessor).await?;
    secret.remove(&txn, &at);
    Ok(())
}

async fn by_accessor(
    reads: &impl Reads,
    role: &Role,
    accessor: &str,
) -> Result<(SecretKey, Arc<SecretId>), EngineError> {
    let tag = ACCESSORS.get(reads, &(role.number, accessor)).await?.ok_or_else(|| no_accessor(accessor))?;
    let at = secret_key(&role.number, &tag.0);
    let secret = SECRET_IDS.get(reads, &at).await?.ok_or_else(|| no_accessor(accessor))?;
    Ok((at, secret))
}

async fn role_of(reads: &impl Reads, name: &str) -> Result<Arc<Role>, EngineError> {
    role::find(reads, name).await?.ok_or_else(|| EngineError::Status(404, no_role(name)))
}

fn no_role(name: &str) -> String {
    format!("role {name:?} does not exist")
}

fn no_accessor(accessor: &str) -> EngineError {
    EngineError::Status(404, format!("failed to find accessor entry for secret_id_accessor: {accessor:?}"))
}
