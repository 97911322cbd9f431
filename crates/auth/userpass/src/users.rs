//! Users.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use strongroom_engine_api::lenient::{List, Names, Ttl};
use strongroom_engine_api::{
    EngineError, Entropy, Extension, Input, IntoReply, OperationDoc, Paging, Path, Reply, Secret, Stored,
    Table, TokenSettings, TokenSettingsInput, Txn, View, bad_request, tables,
};

use crate::passwords::{PasswordInput, Passwords, missing};

tables! {
    /// Users by name, in lower case.
    pub(crate) USERS: Table<str, User> = 1;
}

/// A user: how they log in, and what they are granted.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    /// The bcrypt hash of the password.
    pub(crate) password_hash: Secret<String>,
    /// The settings of their tokens.
    pub(crate) token: TokenSettings,
    /// The parameters that reads also answer by their older names.
    echoes: Echoes,
}

impl Stored for User {}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "one flag for each older name")]
struct Echoes {
    policies: bool,
    ttl: bool,
    max_ttl: bool,
    bound_cidrs: bool,
}

/// The name a user is kept under: Vault's user names are case-insensitive.
pub(crate) fn normal(name: &str) -> String {
    name.to_lowercase()
}

/// The parameters by their older names.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct OlderInput {
    /// Use "`token_bound_cidrs`" instead. If this and "`token_bound_cidrs`" are both specified, only "`token_bound_cidrs`"
    /// will be used.
    #[schemars(extend("x-newer-name" = "token_bound_cidrs", "x-meaning" = "cidr"))]
    bound_cidrs: Option<List>,
    /// Use "`token_max_ttl`" instead. If this and "`token_max_ttl`" are both specified, only "`token_max_ttl`" will be used.
    #[schemars(extend("x-newer-name" = "token_max_ttl"))]
    max_ttl: Option<Ttl>,
    /// Use "`token_policies`" instead. If this and "`token_policies`" are both specified, only "`token_policies`" will be
    /// used.
    #[schemars(extend("x-newer-name" = "token_policies"))]
    policies: Option<Names>,
    /// Use "`token_ttl`" instead. If this and "`token_ttl`" are both specified, only "`token_ttl`" will be used.
    #[schemars(extend("x-newer-name" = "token_ttl"))]
    ttl: Option<Ttl>,
}

impl User {
    fn apply(&mut self, older: OlderInput, mut token: TokenSettingsInput) -> Result<(), EngineError> {
        let echoes = &mut self.echoes;
        TokenSettingsInput::accept_older(
            &mut token.token_bound_cidrs,
            older.bound_cidrs,
            &mut echoes.bound_cidrs,
        );
        TokenSettingsInput::accept_older(&mut token.token_max_ttl, older.max_ttl, &mut echoes.max_ttl);
        TokenSettingsInput::accept_older(&mut token.token_policies, older.policies, &mut echoes.policies);
        TokenSettingsInput::accept_older(&mut token.token_ttl, older.ttl, &mut echoes.ttl);
        self.token.apply(token)
    }
}

/// The parameters that reads answer by older names, where those were used.
#[derive(Serialize, JsonSchema)]
struct OlderView {
    /// Deprecated: "`token_bound_cidrs`" as given by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_cidrs: Option<Vec<String>>,
    /// Deprecated: "`token_max_ttl`" as given by this name, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl: Option<u64>,
    /// Deprecated: "`token_policies`" as given by this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    policies: Option<Vec<String>>,
    /// Deprecated: "`token_ttl`" as given by this name, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

/// A user as reads answer it: everything but the password.
pub(crate) struct UserAnswer(Arc<User>);

impl IntoReply for UserAnswer {
    fn document(doc: &mut OperationDoc) {
        doc.answers::<OlderView>();
        TokenSettings::document_answer(doc);
    }

    fn into_reply(self) -> Result<Reply, EngineError> {
        let User { token, echoes, .. } = &*self.0;
        let secs = |span: std::time::Duration| Some(span.as_secs()).filter(|secs| *secs > 0);
        let texts = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
        let older = OlderView {
            bound_cidrs: texts(token.bound_cidr_texts()).filter(|_| echoes.bound_cidrs),
            max_ttl: secs(token.max_ttl).filter(|_| echoes.max_ttl),
            policies: texts(token.policies.clone()).filter(|_| echoes.policies),
            ttl: secs(token.ttl).filter(|_| echoes.ttl),
        };
        let mut members: Map<String, Value> = serde_json::from_value(serde_json::to_value(older)?)?;
        token.describe(&mut members);
        Reply::data(&members)
    }
}

pub(crate) async fn list(view: View, paging: Paging) -> Result<Reply, EngineError> {
    Reply::keys(&USERS.children(&view, "", paging.after.as_deref(), paging.limit).await?)
}

pub(crate) async fn exists(Path(name): Path<String>, view: View) -> Result<bool, EngineError> {
    Ok(USERS.get(&view, normal(&name).as_str()).await?.is_some())
}

pub(crate) async fn read(Path(name): Path<String>, view: View) -> Result<Option<UserAnswer>, EngineError> {
    Ok(USERS.get(&view, normal(&name).as_str()).await?.map(UserAnswer))
}

pub(crate) async fn write(
    Path(name): Path<String>,
    Input(password): Input<PasswordInput>,
    Input(older): Input<OlderInput>,
    Input(token): Input<TokenSettingsInput>,
    Extension(passwords): Extension<Passwords>,
    entropy: Entropy,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = normal(&name);
    let found = USERS.get(&txn, name.as_str()).await?;
    let password = password.take()?;
    if found.is_none() && password.is_none() {
        return Err(missing());
    }
    let mut user = found.map(|user| User::clone(&user)).unwrap_or_default();
    user.apply(older, token)?;
    if let Some(given) = password {
        user.password_hash = passwords.hash_of(given, &entropy).await?;
    }
    Ok(USERS.put(&txn, name.as_str(), user)?)
}

pub(crate) async fn delete(Path(name): Path<String>, txn: Txn) -> Result<(), EngineError> {
    USERS.delete(&txn, &normal(&name));
    Ok(())
}

pub(crate) async fn write_password(
    Path(name): Path<String>,
    Input(password): Input<PasswordInput>,
    Extension(passwords): Extension<Passwords>,
    entropy: Entropy,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = normal(&name);
    let mut user = to_change(&txn, &name).await?;
    user.password_hash = passwords.hash_of(password.take_one()?, &entropy).await?;
    Ok(USERS.put(&txn, name.as_str(), user)?)
}

/// Policies by either name.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct PoliciesInput {
    /// Use "`token_policies`" instead. If this and "`token_policies`" are both specified, only "`token_policies`" will be
    /// used.
    #[schemars(extend("x-newer-name" = "token_policies"))]
    policies: Option<Names>,
    /// Comma-separated list of policies.
    token_policies: Option<Names>,
}

pub(crate) async fn write_policies(
    Path(name): Path<String>,
    Input(given): Input<PoliciesInput>,
    txn: Txn,
) -> Result<(), EngineError> {
    let name = normal(&name);
    let mut user = to_change(&txn, &name).await?;
    let older = OlderInput { policies: given.policies, ..OlderInput::default() };
    let token = TokenSettingsInput { token_policies: given.token_policies, ..TokenSettingsInput::default() };
    user.apply(older, token)?;
    Ok(USERS.put(&txn, name.as_str(), user)?)
}

async fn to_change(txn: &Txn, name: &str) -> Result<User, EngineError> {
    let user = USERS.get(txn, name).await?;
    user.map(|user| User::clone(&user)).ok_or_else(|| bad_request("username does not exist"))
}
