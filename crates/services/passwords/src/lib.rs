//! Password policies: by namespace and name, and the passwords that they make for other systems.
//!
//! A policy is kept as the text that was written, and read again whenever a password is made. This crate is below the
//! mounts, since engines request passwords. It does not check who may write a policy or request a password.

mod policy;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{
    Barrier, BarrierError, CoreSpace, NamespaceId, Reads, Stored, Table, TableId, Txn, tables,
};
use strongroom_engine_api::{EngineError, Secret, bad_request};
use strongroom_stdx::Entropy;

pub use policy::PasswordPolicy;

tables! {
    /// Password policies by namespace and name.
    pub(crate) PASSWORD_POLICIES: Table<CoreSpace, (NamespaceId, &str), PasswordPolicyEntry> = 7;
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    TABLES
}

/// A password policy as kept: the text that was written.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PasswordPolicyEntry {
    text: String,
}

impl Stored for PasswordPolicyEntry {}

/// The password policies of a server.
pub struct Passwords {
    barrier: Arc<Barrier>,
    entropy: Entropy,
}

impl Passwords {
    /// Those in storage behind `barrier`.
    pub const fn new(barrier: Arc<Barrier>, entropy: Entropy) -> Self {
        Self { barrier, entropy }
    }

    /// The text of a policy.
    pub async fn policy_text(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<String>, BarrierError> {
        Ok(PASSWORD_POLICIES.get(reads, &(namespace, name)).await?.map(|kept| kept.text.clone()))
    }

    /// The names of all policies after `after`.
    pub async fn policy_names(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let after = (namespace, after.unwrap_or_default());
        let found = PASSWORD_POLICIES.keys_after(reads, &namespace, &after, limit).await?;
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    /// Writes a policy after reading it.
    pub fn write_policy(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        name: &str,
        text: &str,
    ) -> Result<(), EngineError> {
        PasswordPolicy::parse(text)
            .map_err(|error| bad_request(format!("invalid password policy: {error}")))?;
        Ok(PASSWORD_POLICIES.put(txn, &(namespace, name), PasswordPolicyEntry { text: text.to_owned() })?)
    }

    /// Deletes a policy.
    pub fn delete_policy(&self, txn: &Txn, namespace: NamespaceId, name: &str) {
        PASSWORD_POLICIES.delete(txn, &(namespace, name));
    }

    /// A password made by a policy; `None` where there is no such policy.
    pub async fn generate(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Secret<String>>, EngineError> {
        let Some(text) = self.policy_text(reads, namespace, name).await? else { return Ok(None) };
        let policy = PasswordPolicy::parse(&text).map_err(EngineError::Internal)?;
        Ok(Some(policy.generate(&self.entropy)?))
    }

    /// The same by a policy as it is committed now.
    pub async fn generate_now(
        &self,
        namespace: NamespaceId,
        name: &str,
    ) -> Result<Option<Secret<String>>, EngineError> {
        self.generate(&self.barrier.view(), namespace, name).await
    }
}
