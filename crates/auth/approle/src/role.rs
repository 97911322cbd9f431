//! Roles.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::{Flag, Int, List, Names, Text, Ttl};
use strongroom_engine_api::{
    Call, Data, EngineError, Entropy, Input, IntoReply, OperationDoc, Paging, Path, Reads, Reply, Stored,
    TokenSettings, TokenSettingsInput, Txn, View, bad_request,
};

use crate::store::{DELETED_ROLES, MountKey, ROLE_IDS, ROLES, RoleNumber};
use crate::{MAX_NAME_BYTES, cidr, housekeeping, uses};

/// A role: how machines log in, and what they are granted.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_field_names, reason = "`role_id` is Vault's term, and not the role's number")]
pub(crate) struct Role {
    /// The number that its secret ids are stored under.
    pub(crate) number: RoleNumber,
    /// The name by which a machine identifies the role when logging in.
    pub(crate) role_id: String,
    /// True if a login needs a secret id.
    pub(crate) bind_secret_id: bool,
    /// Addresses that logins may come from; empty: any.
    pub(crate) secret_id_bound_cidrs: Vec<IpNet>,
    /// The number of uses of a new secret id; zero: without limit.
    pub(crate) secret_id_num_uses: u32,
    /// The TTL of a new secret id; zero: for ever.
    pub(crate) secret_id_ttl: Duration,
    /// True if secret ids belong to this cluster only, where clusters replicate each other.
    pub(crate) local_secret_ids: bool,
    /// The settings of its tokens.
    pub(crate) token: TokenSettings,
    /// The parameters that reads also answer by their older names.
    pub(crate) echoes: Echoes,
}

impl Stored for Role {}

/// The parameters that have older names.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Echoes {
    /// `policies` for `token_policies`.
    pub(crate) policies: bool,
    /// `period` for `token_period`.
    pub(crate) period: bool,
}

impl Role {
    fn new(entropy: &Entropy) -> Result<Self, EngineError> {
        Ok(Self { number: entropy.bytes()?, bind_secret_id: true, ..Self::default() })
    }

    /// Writes the role if it makes sense as a whole.
    pub(crate) fn save(self, txn: &Txn, name: &str) -> Result<(), EngineError> {
        self.token.check()?;
        if !self.bind_secret_id && self.secret_id_bound_cidrs.is_empty() && self.token.bound_cidrs.is_empty()
        {
            return Err(bad_request("at least one constraint should be enabled on the role"));
        }
        Ok(ROLES.put(txn, name, self)?)
    }

    /// Takes a role id over, which no other role may have.
    async fn claim(
        &mut self,
        txn: &Txn,
        key: &MountKey,
        name: &str,
        role_id: String,
    ) -> Result<(), EngineError> {
        if role_id.len() > MAX_NAME_BYTES {
            return Err(bad_request(format!("role_id is longer than maximum of {MAX_NAME_BYTES} bytes")));
        }
        let tag = key.role_id_tag(&role_id);
        match ROLE_IDS.get(txn, &tag).await? {
            Some(owner) if *owner != name => return Err(bad_request("role_id already in use")),
            Some(_own) => return Ok(()),
            None => {}
        }
        if !self.role_id.is_empty() {
            ROLE_IDS.delete(txn, &key.role_id_tag(&self.role_id));
        }
        ROLE_IDS.put(txn, &tag, name.to_owned())?;
        self.role_id = role_id;
        Ok(())
    }

    /// Takes over what a request gives of the role itself.
    fn apply(&mut self, given: RoleInput) -> Result<(), EngineError> {
        if let Some(blocks) = given.secret_id_bound_cidrs.or(given.bound_cidr_list) {
            self.secret_id_bound_cidrs = cidr::parse(&blocks, "CIDR blocks")?;
        }
        if let Some(count) = given.secret_id_num_uses {
            self.secret_id_num_uses = uses(count.0, "secret_id_num_uses")?;
        }
        self.bind_secret_id = given.bind_secret_id.map_or(self.bind_secret_id, |flag| flag.0);
        self.secret_id_ttl = given.secret_id_ttl.map_or(self.secret_id_ttl, |ttl| ttl.0);
        Ok(())
    }

    /// Takes over what a request gives of the tokens, older names included.
    pub(crate) fn apply_token(
        &mut self,
        mut token: TokenSettingsInput,
        policies: Option<Names>,
        period: Option<Ttl>,
    ) -> Result<(), EngineError> {
        TokenSettingsInput::accept_older(&mut token.token_policies, policies, &mut self.echoes.policies);
        TokenSettingsInput::accept_older(&mut token.token_period, period, &mut self.echoes.period);
        self.token.apply(token)
    }
}

/// The name a role is kept under: Vault's role names are case-insensitive.
pub(crate) fn normal(name: &str) -> String {
    name.to_lowercase()
}

/// The role of this name, if there is one.
pub(crate) async fn find(reads: &impl Reads, name: &str) -> Result<Option<Arc<Role>>, EngineError> {
    Ok(ROLES.get(reads, normal(name).as_str()).await?)
}

/// A role as requests give it; what is absent stays as it was.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RoleInput {
    /// Impose `secret_id` to be presented when logging in using this role. Defaults to 'true'.
    bind_secret_id: Option<Flag>,
    /// Deprecated: Please use "`secret_id_bound_cidrs`" instead. Comma separated string or list of CIDR blocks. If set,
    /// specifies the blocks of IP addresses which can perform the login operation.
    #[schemars(extend("x-newer-name" = "secret_id_bound_cidrs", "x-meaning" = "cidr"))]
    bound_cidr_list: Option<List>,
    /// If set, the secret IDs generated using this role will be cluster local. This can only be set during role
    /// creation and once set, it can't be reset later.
    local_secret_ids: Option<Flag>,
    /// Use "`token_period`" instead. If this and "`token_period`" are both specified, only "`token_period`" will be used.
    #[schemars(extend("x-newer-name" = "token_period"))]
    period: Option<Ttl>,
    /// Use "`token_policies`" instead. If this and "`token_policies`" are both specified, only "`token_policies`" will be
    /// used.
    #[schemars(extend("x-newer-name" = "token_policies"))]
    policies: Option<Names>,
    /// Identifier of the role. Defaults to a UUID.
    role_id: Option<Text>,
    /// Comma separated string or list of CIDR blocks. If set, specifies the blocks of IP addresses which can perform
    /// the login operation.
    #[schemars(extend("x-meaning" = "cidr"))]
    secret_id_bound_cidrs: Option<List>,
    /// Number of times a secret ID can access the role, after which the secret ID will expire. Defaults to 0 meaning
    /// that the secret ID is of unlimited use.
    secret_id_num_uses: Option<Int>,
    /// Duration in seconds after which the issued secret ID should expire. Defaults to 0, meaning no expiration.
    secret_id_ttl: Option<Ttl>,
}

/// A role as reads answer it, without the token's settings.
#[derive(Serialize, JsonSchema)]
struct RoleView {
    /// True if `secret_id` must be presented when logging in.
    bind_secret_id: bool,
    /// True if the secret IDs of this role are cluster local.
    local_secret_ids: bool,
    /// Deprecated: "`token_period`" as given by this name, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    /// Deprecated: "`token_policies`" as given by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    /// CIDR blocks that logins may come from.
    secret_id_bound_cidrs: Option<Vec<String>>,
    /// The number of times a new secret ID may be used; zero means unlimited.
    secret_id_num_uses: u32,
    /// The TTL of a new secret ID, in seconds; zero means no expiry.
    secret_id_ttl: u64,
}

/// A whole role as reads answer it.
pub(crate) struct RoleAnswer(Arc<Role>);

impl IntoReply for RoleAnswer {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<RoleView>();
        TokenSettings::document_answer(doc);
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let role = &*self.0;
        let view = RoleView {
            bind_secret_id: role.bind_secret_id,
            local_secret_ids: role.local_secret_ids,
            period: older_period(role),
            policies: older_policies(role),
            secret_id_bound_cidrs: bound_cidrs(role),
            secret_id_num_uses: role.secret_id_num_uses,
            secret_id_ttl: role.secret_id_ttl.as_secs(),
        };
        let mut members: Map<String, Value> = serde_json::from_value(serde_json::to_value(view)?)?;
        role.token.describe(&mut members);
        Reply::data(&members)
    }
}

/// `policies`, where reads answer it.
pub(crate) fn older_policies(role: &Role) -> Option<Vec<String>> {
    (role.echoes.policies && !role.token.policies.is_empty()).then(|| role.token.policies.clone())
}

/// `period`, where reads answer it.
pub(crate) fn older_period(role: &Role) -> Option<u64> {
    (role.echoes.period && !role.token.period.is_zero()).then_some(role.token.period.as_secs())
}

/// The blocks that logins may come from; none is `null`, as Vault answers.
pub(crate) fn bound_cidrs(role: &Role) -> Option<Vec<String>> {
    (!role.secret_id_bound_cidrs.is_empty()).then(|| cidr::texts(&role.secret_id_bound_cidrs))
}

pub(crate) async fn list(view: View, paging: Paging) -> Result<Reply, EngineError> {
    Reply::keys(&ROLES.children(&view, "", paging.after.as_deref(), paging.limit).await?)
}

pub(crate) async fn exists(Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(find(&view, &name).await?.is_some())
}

pub(crate) async fn read(Path(name): Path<String>, view: View) -> Result<Option<RoleAnswer>, EngineError> {
    Ok(find(&view, &name).await?.map(RoleAnswer))
}

pub(crate) async fn write(
    Path(name): Path<String>,
    Input(mut given): Input<RoleInput>,
    Input(mut token): Input<TokenSettingsInput>,
    call: Arc<Call>,
    entropy: Entropy,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = normal(&name);
    if name.len() > MAX_NAME_BYTES {
        return Err(bad_request(format!("role_name is longer than maximum of {MAX_NAME_BYTES} bytes")));
    }
    let key = MountKey::get_or_make(&txn, &entropy).await?;
    let found = ROLES.get(&txn, name.as_str()).await?;
    if found.is_some() && given.local_secret_ids.is_some() {
        return Err(bad_request("local_secret_ids can only be modified during role creation"));
    }
    let mut role = match &found {
        Some(role) => Role::clone(role),
        None => Role::new(&entropy)?,
    };
    role.local_secret_ids = given.local_secret_ids.take().map_or(role.local_secret_ids, |flag| flag.0);
    let role_id = match given.role_id.take() {
        Some(Text(role_id)) => Some(role_id),
        None if found.is_none() => Some(entropy.uuid()?),
        None => None,
    };
    if let Some(role_id) = role_id {
        if role_id.is_empty() {
            return Err(bad_request("invalid role_id supplied, or failed to generate a role_id"));
        }
        role.claim(&txn, &key, &name, role_id).await?;
    }
    adjust_token_type(&mut token, &call);
    role.apply_token(token, given.policies.take(), given.period.take())?;
    role.apply(given)?;
    if role.token.max_ttl > call.mount.lifetimes.max {
        call.warn(
            "token_max_ttl is greater than the backend mount's maximum TTL value; issued tokens' max TTL value will \
             be truncated",
        );
    }
    role.save(&txn, &name)
}

/// `default-service` and `default-batch` leave a choice to token roles only; here they are what they begin with.
fn adjust_token_type(token: &mut TokenSettingsInput, call: &Call) {
    let given = token.token_type.as_deref().map(String::as_str).unwrap_or_default();
    if let Some(kind @ ("service" | "batch")) = given.strip_prefix("default-") {
        call.warn(format!("{given} has no useful meaning; adjusting to {kind}"));
        token.token_type = Some(Text(kind.to_owned()));
    }
}

/// Deletes the role. Its secret ids are unusable with that; the first of them are cleared at once, the others by
/// housekeeping.
pub(crate) async fn delete(Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    let name = normal(&name);
    let Some(role) = ROLES.get(&txn, name.as_str()).await? else { return Ok(()) };
    if let Some(key) = MountKey::get(&txn).await? {
        ROLE_IDS.delete(&txn, &key.role_id_tag(&role.role_id));
    }
    ROLES.delete(&txn, &name);
    if housekeeping::clear_role(&txn, &role.number).await? {
        DELETED_ROLES.put(&txn, &role.number, ())?;
    }
    Ok(())
}

/// A role id, read or written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RoleIdView {
    /// Identifier of the role.
    role_id: String,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct RoleIdInput {
    /// Identifier of the role.
    role_id: Option<Text>,
}

pub(crate) async fn read_role_id(
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<RoleIdView>>, EngineError> {
    let role = find(&view, &name).await?;
    Ok(role.map(|role| Data(RoleIdView { role_id: role.role_id.clone() })))
}

pub(crate) async fn write_role_id(
    Path(name): Path<String>,
    Input(given): Input<RoleIdInput>,
    entropy: Entropy,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = normal(&name);
    let mut role = to_change(&txn, &name).await?;
    let role_id =
        given.role_id.filter(|role_id| !role_id.is_empty()).ok_or_else(|| bad_request("missing role_id"))?;
    let key = MountKey::get_or_make(&txn, &entropy).await?;
    role.claim(&txn, &key, &name, role_id.0).await?;
    role.save(&txn, &name)
}

/// A copy of the role of this (normal) name, for an endpoint that changes one part of it.
pub(crate) async fn to_change(txn: &Txn, name: &str) -> Result<Role, EngineError> {
    let role = ROLES.get(txn, name).await?;
    role.map(|role| Role::clone(&role)).ok_or_else(|| EngineError::Status(404, "unsupported path".to_owned()))
}

/// The property `local_secret_ids`: secret ids are cluster local.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LocalSecretIds {
    /// If true, the secret identifiers generated using this role will be cluster local. This can only be set during
    /// role creation and once set, it can't be reset later.
    local_secret_ids: bool,
}

pub(crate) async fn read_local_secret_ids(
    Path(name): Path<String>,
    view: View,
) -> Result<Option<Data<LocalSecretIds>>, EngineError> {
    let role = find(&view, &name).await?;
    Ok(role.map(|role| Data(LocalSecretIds { local_secret_ids: role.local_secret_ids })))
}
