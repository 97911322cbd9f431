//! Token roles: `auth/token/roles/:name`.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Reads, Scope, Stored, Txn};
use strongroom_engine_api::TokenSettings;

use crate::Core;
use crate::tables::TOKEN_ROLES;

/// What `auth/token/create/:role` goes by. Source: Vault's API page "Token auth method".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRole {
    /// The `token_*` settings (no policies among them).
    pub settings: TokenSettings,
    /// Policies that tokens may be given; empty: those of the parent.
    pub allowed_policies: Vec<String>,
    /// The same with `*`.
    pub allowed_policies_glob: Vec<String>,
    /// Policies that tokens may not be given.
    pub disallowed_policies: Vec<String>,
    /// The same with `*`.
    pub disallowed_policies_glob: Vec<String>,
    /// Entity aliases that may be asked for.
    pub allowed_entity_aliases: Vec<String>,
    /// Whether tokens have no parent.
    pub orphan: bool,
    /// What is added to the path that tokens are noted to come from.
    pub path_suffix: String,
    /// Whether tokens may be renewed.
    pub renewable: bool,
    /// The old `period`, `explicit_max_ttl` and `bound_cidrs`, answered where they were given.
    pub deprecated_period: Option<Duration>,
    /// As above.
    pub deprecated_explicit_max_ttl: Option<Duration>,
    /// As above.
    pub deprecated_bound_cidrs: Option<Vec<IpNet>>,
}

impl Stored for TokenRole {}

impl Core {
    /// The role of this name.
    pub async fn token_role(
        &self,
        reads: &impl Reads,
        namespace: u64,
        name: &str,
    ) -> Result<Option<std::sync::Arc<TokenRole>>, BarrierError> {
        TOKEN_ROLES.get(reads, &(namespace, name)).await
    }

    /// Writes a role.
    pub fn put_token_role(&self, txn: &Txn, namespace: u64, name: &str, role: TokenRole) -> Result<(), BarrierError> {
        TOKEN_ROLES.put(&txn.scoped(Scope::core()), &(namespace, name), role)
    }

    /// Deletes a role.
    pub fn delete_token_role(&self, txn: &Txn, namespace: u64, name: &str) {
        TOKEN_ROLES.delete(&txn.scoped(Scope::core()), &(namespace, name));
    }

    /// The names of all roles after `after`.
    pub async fn token_role_names(
        &self,
        reads: &impl Reads,
        namespace: u64,
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
