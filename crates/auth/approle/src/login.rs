//! Logins, and the renewal of their tokens.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    AuthGrant, Call, Clock, EngineError, Input, Moment, Renewal, Request, Secret, TokenSettings, Txn,
    bad_request,
};

use crate::cidr;
use crate::role::{self, Role};
use crate::secret_id::{SecretId, SecretIdText};
use crate::store::{MountKey, ROLE_IDS, ROLES, SECRET_IDS};

/// The metadata key under which a token remembers its role.
const ROLE_NAME: &str = "role_name";

/// The role that logs in.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct RoleId {
    /// Unique identifier of the Role. Required to be supplied when the '`bind_secret_id`' constraint is set.
    role_id: Option<Text>,
}

/// Bytes of a role id whose failures are counted.
const MAX_LOGIN_NAME: usize = 4096;

/// The name of a login, for user lockout.
pub(crate) fn login_name(call: &Call) -> Option<String> {
    let Text(role_id) = serde_json::from_value(call.request.input.get("role_id")?.clone()).ok()?;
    // A longer one is no role's.
    Some(role_id).filter(|role_id| role_id.len() <= MAX_LOGIN_NAME)
}

/// Four point reads; a write only where the secret id's uses are counted. What a role id or secret id is lacking is not
/// told: neither can be guessed at from outside.
pub(crate) async fn login(
    Input(given): Input<RoleId>,
    Input(secret_id): Input<SecretIdText>,
    request: Arc<Request>,
    clock: Clock,
    txn: Txn,
) -> Result<AuthGrant, EngineError> {
    let role_id =
        given.role_id.filter(|text| !text.is_empty()).ok_or_else(|| bad_request("missing role_id"))?;
    let key = MountKey::get(&txn).await?.ok_or_else(refused)?;
    let name = ROLE_IDS.get(&txn, &key.role_id_tag(&role_id)).await?.ok_or_else(refused)?;
    let role = ROLES.get(&txn, name.as_str()).await?.ok_or_else(refused)?;
    let mut grant = grant(&role, &name);
    if role.bind_secret_id {
        let login = Login { key: &key, role: &role, remote: request.peer.ip(), now: clock.now() };
        let secret = login.spend(&secret_id.take()?, &txn).await?;
        grant.metadata.clone_from(&secret.metadata);
        if !secret.token_bound_cidrs.is_empty() {
            grant.bound_cidrs.clone_from(&secret.token_bound_cidrs);
        }
    }
    if !TokenSettings::is_within(&role.secret_id_bound_cidrs, request.peer.ip()) {
        return Err(wrong_source(request.peer.ip(), "by CIDR restrictions on the role"));
    }
    // Set last: nobody who may only make secret ids can pass for another role.
    grant.metadata.insert(ROLE_NAME.to_owned(), String::clone(&name));
    Ok(grant)
}

fn grant(role: &Role, name: &str) -> AuthGrant {
    AuthGrant {
        alias: role.role_id.clone(),
        internal: BTreeMap::from([(ROLE_NAME.to_owned(), name.to_owned())]),
        ..role.token.grant()
    }
}

struct Login<'a> {
    key: &'a MountKey,
    role: &'a Role,
    remote: Option<IpAddr>,
    now: Moment,
}

impl Login<'_> {
    /// Finds the secret id and takes one use off it. Two logins at once cannot both have the last use: the second to
    /// commit has read what the first changed.
    async fn spend(&self, secret_id: &Secret<String>, txn: &Txn) -> Result<Arc<SecretId>, EngineError> {
        let at = self.key.secret_key(&self.role.number, secret_id.expose());
        let secret = SECRET_IDS.get(txn, &at).await?.filter(|secret| !secret.has_expired(self.now));
        let secret = secret.ok_or_else(refused)?;
        if !TokenSettings::is_within(&secret.cidr_list, self.remote) {
            return Err(wrong_source(self.remote, "through CIDR restrictions on the secret ID"));
        }
        // The role's blocks may have been narrowed since the secret id was made.
        cidr::check_subset(&self.role.secret_id_bound_cidrs, &secret.cidr_list)?;
        cidr::check_subset(&self.role.token.bound_cidrs, &secret.token_bound_cidrs)?;
        match secret.num_uses {
            0 => {}
            1 => secret.remove(txn, &at),
            uses => {
                let num_uses = uses.saturating_sub(1);
                SECRET_IDS.put(
                    txn,
                    &at,
                    SecretId { num_uses, updated: self.now, ..SecretId::clone(&secret) },
                )?;
            }
        }
        Ok(secret)
    }
}

fn refused() -> EngineError {
    EngineError::Credentials("invalid role or secret ID".to_owned())
}

fn wrong_source(remote: Option<IpAddr>, why: &str) -> EngineError {
    match remote {
        Some(address) => bad_request(format!("source address \"{address}\" unauthorized {why}")),
        None => bad_request("failed to get connection information"),
    }
}

/// The grant as the role would make it today.
pub(crate) async fn renew(renewal: Renewal, txn: Txn) -> Result<AuthGrant, EngineError> {
    let missing = || EngineError::Internal("the token does not say which role granted it".to_owned());
    let name = renewal.internal.get(ROLE_NAME).ok_or_else(missing)?;
    let role = role::find(&txn, name).await?;
    let role = role.ok_or_else(|| bad_request(format!("role {name:?} does not exist during renewal")))?;
    Ok(AuthGrant { metadata: renewal.metadata.clone(), ..grant(&role, name) })
}
