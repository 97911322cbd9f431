//! Identity tokens of mounts: workload identity federation. A mount shows a third party, a cloud for example, a token that says which
//! mount it is, and gets credentials for it; so none are kept here. Source: Vault's pages on plugin workload identity federation of
//! the AWS, Azure and GCP engines.
//!
//! They are signed with a named key of the mount's namespace and verified by what `identity/oidc/plugins/.well-known` publishes. A
//! token lives no longer than its key is verified.

use std::time::Duration;

use serde_json::{Map, Value, json};
use strongroom_barrier::{BarrierError, NamespaceId};
use strongroom_engine_api::{EngineError, bad_request};

use crate::{CONFIGS, DEFAULT_KEY, Oidc};

/// The lifetime of tokens where nothing is asked.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// Attempts to make the built-in key while others make it too.
const ATTEMPTS: usize = 3;

/// A mount, as its tokens tell of it.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// The id of its namespace.
    pub namespace_id: &'a str,
    /// The path of its namespace, with a slash at its end; empty for the root namespace.
    pub namespace_path: &'a str,
    /// `secret` or `auth`.
    pub class: &'a str,
    /// Its accessor.
    pub accessor: &'a str,
    /// Its path, with a slash at its end and without `auth/`.
    pub path: &'a str,
    /// The engine's type.
    pub plugin: &'a str,
    /// The engine's version.
    pub version: &'a str,
    /// True if nothing of it is replicated to other clusters.
    pub local: bool,
}

impl Workload<'_> {
    fn claims(&self) -> Value {
        json!({
            "accessor": self.accessor,
            "class": self.class,
            "local": self.local,
            "namespace_id": self.namespace_id,
            "namespace_path": self.namespace_path,
            "path": self.path,
            "plugin": self.plugin,
            "version": self.version,
        })
    }
}

impl Oidc {
    /// The issuer of mounts' tokens in a namespace.
    pub async fn plugin_issuer(
        &self,
        reads: &impl strongroom_barrier::Reads,
        namespace: NamespaceId,
        namespace_path: &str,
    ) -> Result<String, EngineError> {
        let config = CONFIGS.get(reads, &namespace).await?;
        let configured = config.map(|config| config.issuer.clone()).unwrap_or_default();
        let address = if configured.is_empty() { self.address()? } else { configured };
        Ok(format!("{address}/v1/{namespace_path}identity/oidc/plugins"))
    }

    /// A token by which a mount proves to `audience` who it is, and the time that it lives. `key` is a named key of the mount's
    /// namespace, `default` where it is empty; `ttl` is an hour where it is zero.
    ///
    /// # Errors
    ///
    /// 400 where the audience is missing or not one of the key's, or there is no such key; 503 where the built-in key has to be made
    /// and this node is a standby.
    pub async fn plugin_token(
        &self,
        of: &Workload<'_>,
        audience: &str,
        (key, ttl): (&str, Duration),
    ) -> Result<(String, Duration), EngineError> {
        if audience.is_empty() {
            return Err(bad_request("missing audience of the identity token"));
        }
        let name = if key.is_empty() { DEFAULT_KEY } else { key };
        if name == DEFAULT_KEY {
            self.make_default_key(of.namespace).await?;
        }
        let view = self.barrier.pinned_view().await?;
        let key = self.key(&view, of.namespace, name).await?;
        let key = key.ok_or_else(|| bad_request(format!("key {name:?} not found")))?;
        if !key.allows(audience) {
            let text = format!("the key {name:?} does not list the audience as an allowed client ID");
            return Err(bad_request(text));
        }
        let wanted = if ttl.is_zero() { DEFAULT_TTL } else { ttl };
        let ttl = wanted.min(key.verification_ttl);
        let issued = self.environment.clock.now().as_secs();
        let claims = [
            ("iss", json!(self.plugin_issuer(&view, of.namespace, of.namespace_path).await?)),
            ("sub", json!(format!("plugin-identity:{}:{}:{}", of.namespace_id, of.class, of.accessor))),
            ("aud", json!([audience])),
            ("iat", json!(issued)),
            ("nbf", json!(issued)),
            ("exp", json!(issued.saturating_add(ttl.as_secs()))),
            ("vaultproject.io", of.claims()),
        ];
        let claims: Map<String, Value> =
            claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok((self.sign(&key, &claims)?, ttl))
    }

    /// Makes the private keys of the built-in key of a namespace, where it has none yet.
    async fn make_default_key(&self, namespace: NamespaceId) -> Result<(), EngineError> {
        for _ in 0..ATTEMPTS {
            let view = self.barrier.pinned_view().await?;
            let (algorithm, missing) = self.missing_keys(&view, namespace, DEFAULT_KEY, None).await?;
            if missing == 0 {
                return Ok(());
            }
            if self.node.is_standby() {
                let text =
                    "the namespace's key \"default\" is made by the active node, when it is first used there";
                return Err(EngineError::Status(503, text.to_owned()));
            }
            let made = self.make_keys(algorithm, missing).await?;
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            self.begin_using(&txn, namespace, DEFAULT_KEY, &made).await?;
            match txn.commit().await {
                Ok(_) => return Ok(()),
                Err(BarrierError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EngineError::Status(503, "the namespace's key \"default\" is being made; try again".to_owned()))
    }
}
