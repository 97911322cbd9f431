//! Response wrapping: an answer kept under a single-use token.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, CoreLocal, NamespaceId, Reads, Stored, Table, Txn, tables};
use strongroom_engine_api::{EngineError, Lifetimes, bad_request};
use strongroom_policy::RESPONSE_WRAPPING_POLICY_NAME;
use strongroom_stdx::Secret;

use crate::envelope::Envelope;
use crate::tokens::{NewToken, TokenEntry, TokenId, TokenKey};
use crate::{Core, WrapGrant};

tables! {
    /// Wrapped responses by the wrapping token.
    pub(crate) WRAPPED: Table<CoreLocal, (NamespaceId, &TokenKey), Wrapped> = 34;
}

/// A wrapped answer as kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct Wrapped {
    /// The members of the envelope, as JSON text.
    #[serde(rename = "r")]
    pub envelope: Secret<String>,
    /// The path whose answer it is.
    #[serde(rename = "p")]
    pub creation_path: String,
    /// Seconds it was wrapped for.
    #[serde(rename = "t")]
    pub ttl: u64,
    /// When it was wrapped (RFC 3339).
    #[serde(rename = "c")]
    pub creation_time: String,
    /// The accessor of a wrapped login's token.
    #[serde(rename = "a", default)]
    pub accessor: String,
}

impl Stored for Wrapped {}

impl Core {
    /// Keeps `envelope` under a new wrapping token within `txn`.
    pub async fn wrap(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        envelope: &Envelope,
        creation_path: &str,
        ttl: Duration,
        wrapped_accessor: &str,
    ) -> Result<WrapGrant, EngineError> {
        let entry = TokenEntry {
            policies: vec![RESPONSE_WRAPPING_POLICY_NAME.to_owned()],
            path: creation_path.to_owned(),
            num_uses: 1,
            explicit_max_ttl: ttl,
            no_default_policy: true,
            namespace,
            ..TokenEntry::default()
        };
        let lifetimes = Lifetimes { default: ttl, max: ttl.max(self.settings.max_lease_ttl) };
        let made = self.make_token(txn, lifetimes, NewToken { entry, ttl, ..NewToken::default() }).await?;
        let id = self.token_id(made.token.expose())?;
        let creation_time = made.entry.created.rfc3339();
        let kept = Wrapped {
            envelope: Secret::new(envelope.to_kept()?),
            creation_path: creation_path.to_owned(),
            ttl: ttl.as_secs(),
            creation_time: creation_time.clone(),
            accessor: wrapped_accessor.to_owned(),
        };
        WRAPPED.put(txn, &id.at(), kept)?;
        Ok(WrapGrant {
            token: made.token.expose().clone(),
            accessor: made.entry.accessor,
            ttl: ttl.as_secs(),
            creation_time,
            creation_path: creation_path.to_owned(),
            wrapped_accessor: wrapped_accessor.to_owned(),
        })
    }

    /// What a wrapping token holds, left in place; `None` when the token is not a wrapping token in force. `reads` must
    pub async fn wrapped(
        &self,
        reads: &impl Reads,
        token: &str,
    ) -> Result<Option<(TokenId, std::sync::Arc<Wrapped>)>, BarrierError> {
        let id = self.token_id(token)?;
        if self.token_at(reads, &id).await?.is_none() {
            return Ok(None);
        }
        Ok(WRAPPED.get(reads, &id.at()).await?.map(|wrapped| (id, wrapped)))
    }

    /// Wraps anew what a wrapping token holds, for as long as before; the token is gone with it.
    pub async fn rewrap(&self, txn: &Txn, token: &str) -> Result<WrapGrant, EngineError> {
        let namespace = self.token_id(token)?.namespace;
        let wrapped = self.unwrap(txn, token).await?;
        let envelope = Envelope::from_kept(wrapped.envelope.expose())?;
        let ttl = Duration::from_secs(wrapped.ttl);
        self.wrap(txn, namespace, &envelope, &wrapped.creation_path, ttl, &wrapped.accessor).await
    }

    /// Takes what a wrapping token holds; the token is gone with it.
    pub async fn unwrap(&self, txn: &Txn, token: &str) -> Result<std::sync::Arc<Wrapped>, EngineError> {
        let Some((id, wrapped)) = self.wrapped(txn, token).await? else {
            return Err(not_wrapping());
        };
        self.revoke_token(txn, &id).await?;
        Ok(wrapped)
    }
}

/// The refusal of a token that holds nothing, or nothing any more.
pub fn not_wrapping() -> EngineError {
    bad_request("wrapping token is not valid or does not exist")
}
