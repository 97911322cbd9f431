//! The identity provider: named keys that sign identity tokens, and what is kept of roles, clients, scopes and providers.
//! Source: Vault's pages "Identity tokens" and "OIDC provider", RFC 7515, 7517, 7518.
//!
//! The endpoints are in the identity engine. Here is what the server needs beside them: the keys, whose rotation is a job of the
//! active node ([`Oidc::rotate_due`]), and the address that tokens name as their issuer ([`Oidc::address`]).
//!
//! A private key is sealed in storage and in the memory of nodes that have signed with it, until they are sealed. Public keys
//! are rows of their own, so that verifying and publishing them touches no private one. Codes and tokens are not kept, only
//! what was granted, under the hash of its code. When storage fails, nothing is signed and nothing is taken for valid.

mod algorithm;
mod generating;
mod grants;
mod jwt;
mod keys;
mod plugins;
mod records;
mod signing;
mod tables;
mod template;

use std::sync::Arc;

use quick_cache::sync::Cache;
use strongroom_barrier::{Barrier, TableId};
use strongroom_engine_api::{EngineError, Environment};
use strongroom_node::{Coordination, Node};

pub use algorithm::{Algorithm, KeyMaterial, Signer};
pub use jwt::Parts;
pub use keys::{DEFAULT_KEY, KeyChange, Kid, NamedKey, PublicKey, kid_text};
pub use plugins::Workload;
pub use records::{
    Assignment, Challenge, Client, Config, Grant, GrantState, Hash, Provider, Role, Scope, code_hash,
};
pub use signing::KeySet;
pub use tables::{
    ASSIGNMENTS, CLIENT_IDS, CLIENTS, CONFIGS, GRANTS, KEYS, PROVIDERS, PUBLIC_KEYS, ROLES, SCOPES,
};
pub use template::{Absent, RESERVED, Template};

/// Private keys that are kept ready to sign.
const SIGNERS: usize = 256;

/// The identity provider of a server.
pub struct Oidc {
    barrier: Arc<Barrier>,
    environment: Environment,
    node: Arc<Node>,
    /// The address at which clients reach this node.
    api_addr: String,
    generator: generating::Generator,
    signers: Cache<Kid, Arc<Signer>>,
}

impl Oidc {
    /// The provider with what is in storage behind `barrier`.
    pub fn new(barrier: Arc<Barrier>, environment: Environment, node: Arc<Node>, api_addr: String) -> Self {
        let (generator, signers) = (generating::Generator::new(), Cache::new(SIGNERS));
        Self { barrier, environment, node, api_addr, generator, signers }
    }

    /// The address that stands for the cluster in issuers: that of the active node, on every node, so that all name the same.
    ///
    /// # Errors
    ///
    /// 503 on a standby that knows of no active node.
    pub fn address(&self) -> Result<String, EngineError> {
        if !self.node.is_standby() {
            return Ok(self.api_addr.trim_end_matches('/').to_owned());
        }
        let active = self.node.coordination().and_then(Coordination::active);
        let missing = || EngineError::Status(503, "the active node is not known".to_owned());
        let active = active.ok_or_else(missing)?;
        Ok(active.api_address.trim_end_matches('/').to_owned())
    }

    /// Drops what is in memory: sealing.
    pub fn clear(&self) {
        self.signers.clear();
    }
}

/// The tables that are kept here, for the registry of formats.
pub const fn table_ids() -> &'static [TableId] {
    tables::TABLES
}
