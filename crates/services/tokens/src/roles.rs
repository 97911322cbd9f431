//! Token roles: `auth/token/roles/:name`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::TokenKind;

use crate::TokenStore;
use crate::tables::TOKEN_ROLES;

/// The type of tokens that a role makes, and whether a request may ask for the other type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleTokenType {
    /// Service tokens only.
    Service,
    /// Batch tokens only.
    Batch,
    /// Service tokens where the request does not ask for batch tokens.
    #[default]
    DefaultService,
    /// Batch tokens where the request does not ask for service tokens.
    DefaultBatch,
}

impl RoleTokenType {
    /// Vault's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
            Self::DefaultService => "default-service",
            Self::DefaultBatch => "default-batch",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Service, Self::Batch, Self::DefaultService, Self::DefaultBatch]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// The kind of token that a request gets, which asks for `asked` or leaves it open.
    pub fn choose(self, asked: Option<TokenKind>) -> TokenKind {
        match self {
            Self::Service => TokenKind::Service,
            Self::Batch => TokenKind::Batch,
            Self::DefaultService => asked.unwrap_or(TokenKind::Service),
            Self::DefaultBatch => asked.unwrap_or(TokenKind::Batch),
        }
    }
}

/// A token role, which `auth/token/create/:role` applies. Source: Vault's API page "Token auth method".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRole {
    /// Policies that tokens may be given; empty: those of the parent.
    pub allowed_policies: Vec<String>,
    /// The same with `*`.
    pub allowed_policies_glob: Vec<String>,
    /// Policies that tokens may not be given.
    pub disallowed_policies: Vec<String>,
    /// The same with `*`.
    pub disallowed_policies_glob: Vec<String>,
    /// Entity aliases that may be asked for, in lower case; may end in `*`.
    pub allowed_entity_aliases: Vec<String>,
    /// True if tokens have no parent.
    pub orphan: bool,
    /// The suffix added to the path that tokens are recorded to come from.
    pub path_suffix: String,
    /// True if tokens may be renewed.
    pub renewable: bool,
    /// Service or batch tokens.
    pub token_type: RoleTokenType,
    /// Tokens are renewable without limit in steps of this length; zero: not periodic. Looked up at every renewal.
    pub period: Duration,
    /// A hard end of tokens; zero: none.
    pub explicit_max_ttl: Duration,
    /// The number of uses of a token; zero: without limit.
    pub num_uses: u32,
    /// Addresses that tokens may be used from; empty: any.
    pub bound_cidrs: Vec<IpNet>,
    /// Leaves the `default` policy out of tokens.
    pub no_default_policy: bool,
    /// The settings given under their older names.
    pub older: OlderNames,
}

/// The settings that were given under their older names; reads then answer those, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OlderNames {
    /// `period` for `token_period`.
    pub period: bool,
    /// `explicit_max_ttl` for `token_explicit_max_ttl`.
    pub explicit_max_ttl: bool,
    /// `bound_cidrs` for `token_bound_cidrs`.
    pub bound_cidrs: bool,
}

impl Default for TokenRole {
    fn default() -> Self {
        Self {
            allowed_policies: Vec::new(),
            allowed_policies_glob: Vec::new(),
            disallowed_policies: Vec::new(),
            disallowed_policies_glob: Vec::new(),
            allowed_entity_aliases: Vec::new(),
            orphan: false,
            path_suffix: String::new(),
            renewable: true,
            token_type: RoleTokenType::default(),
            period: Duration::ZERO,
            explicit_max_ttl: Duration::ZERO,
            num_uses: 0,
            bound_cidrs: Vec::new(),
            no_default_policy: false,
            older: OlderNames::default(),
        }
    }
}

impl Stored for TokenRole {}

impl TokenStore {
    /// The role of this name.
    pub async fn token_role(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Arc<TokenRole>>, BarrierError> {
        TOKEN_ROLES.get(reads, &(namespace, name)).await
    }

    /// Writes a role.
    pub fn put_token_role(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        role: TokenRole,
    ) -> Result<(), BarrierError> {
        TOKEN_ROLES.put(txn, &(namespace, name), role)
    }

    /// Deletes a role. Its tokens stay and cannot be renewed.
    pub fn delete_token_role(&self, txn: &Txn, namespace: NamespaceId, name: &str) {
        TOKEN_ROLES.delete(txn, &(namespace, name));
    }

    /// The names of all roles after `after`.
    pub async fn token_role_names(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let names = match after {
            Some(after) => TOKEN_ROLES.keys_after(reads, &namespace, &(namespace, after), limit).await?,
            None => TOKEN_ROLES.keys(reads, &namespace, None, limit).await?,
        };
        Ok(names.into_iter().map(|(_, name)| name).collect())
    }
}
