//! Logins, and the renewal of their tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    AuthGrant, Call, EngineError, Extension, Input, Path, Renewal, Request, Secret, TokenSettings, Txn,
    bad_request,
};

use crate::passwords::Passwords;
use crate::users::{USERS, User, normal};

/// The metadata key under which a token remembers its user.
const USERNAME: &str = "username";

#[derive(Deserialize, JsonSchema)]
pub(crate) struct LoginInput {
    /// Password for this user.
    password: Option<Text>,
}

/// The name of a login, for user lockout.
pub(crate) fn login_name(call: &Call) -> Option<String> {
    call.params.first().map(|name| normal(name))
}

/// Answers the same, after the same work, for a wrong password and for a user that does not exist.
pub(crate) async fn login(
    Path(name): Path<String>,
    Input(given): Input<LoginInput>,
    Extension(passwords): Extension<Passwords>,
    request: Arc<Request>,
    txn: Txn,
) -> Result<AuthGrant, EngineError> {
    let password = given.password.map(|text| Secret::new(text.0)).filter(|text| !text.expose().is_empty());
    let password = password.ok_or_else(|| bad_request("missing password"))?;
    let name = normal(&name);
    let user = USERS.get(&txn, name.as_str()).await?;
    let matches = passwords.matches(password, user.as_ref().map(|user| user.password_hash.clone())).await?;
    let user = user.filter(|_| matches);
    let user = user.ok_or_else(|| EngineError::Credentials("invalid username or password".to_owned()))?;
    if !TokenSettings::is_within(&user.token.bound_cidrs, request.peer.ip()) {
        return Err(EngineError::Denied("permission denied".to_owned()));
    }
    Ok(grant(&user, &name))
}

fn grant(user: &User, name: &str) -> AuthGrant {
    let username = BTreeMap::from([(USERNAME.to_owned(), name.to_owned())]);
    AuthGrant {
        metadata: username.clone(),
        internal: username,
        display_name: name.to_owned(),
        alias: name.to_owned(),
        ..user.token.grant()
    }
}

/// The grant as it would be made today; refused where the user is gone or has other policies now.
pub(crate) async fn renew(renewal: Renewal, txn: Txn) -> Result<AuthGrant, EngineError> {
    let missing = || EngineError::Internal("the token does not say which user it was granted to".to_owned());
    let name = renewal.internal.get(USERNAME).ok_or_else(missing)?;
    let user = USERS.get(&txn, name.as_str()).await?;
    let user = user.ok_or_else(|| bad_request(format!("user {name:?} does not exist during renewal")))?;
    if named(&user.token.policies) != named(&renewal.policies) {
        return Err(bad_request("policies have changed, not renewing"));
    }
    Ok(grant(&user, name))
}

/// Policies without the one that most tokens have by default, sorted.
fn named(policies: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> =
        policies.iter().map(String::as_str).filter(|name| *name != "default").collect();
    names.sort_unstable();
    names.dedup();
    names
}
