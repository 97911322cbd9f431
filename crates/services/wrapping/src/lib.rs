//! Response wrapping: an answer kept under a single-use token.
//!
//! It keeps a text and does not know what an answer is made of. What is kept ends with its token.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Txn};
use strongroom_engine_api::{EngineError, Lifetimes, bad_request};
use strongroom_policy::RESPONSE_WRAPPING_POLICY_NAME;
use strongroom_stdx::Secret;
use strongroom_tokens::{NewToken, TokenEntry, TokenId, TokenStore, Wrapped};

/// Wraps responses.
pub struct Wrapping {
    tokens: Arc<TokenStore>,
    /// The most that a wrapping token lives.
    max_ttl: Duration,
}

impl Wrapping {
    /// Wraps answers under tokens of `tokens`, which live for `max_ttl` at most, whatever is asked for.
    pub const fn new(tokens: Arc<TokenStore>, max_ttl: Duration) -> Self {
        Self { tokens, max_ttl }
    }

    /// Keeps the text of an answer under a new wrapping token within `txn`.
    pub async fn wrap(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        envelope: Secret<String>,
        creation_path: &str,
        ttl: Duration,
        wrapped_accessor: &str,
    ) -> Result<WrapGrant, EngineError> {
        let ttl = ttl.min(self.max_ttl);
        let entry = TokenEntry {
            policies: vec![RESPONSE_WRAPPING_POLICY_NAME.to_owned()],
            path: creation_path.to_owned(),
            num_uses: 1,
            explicit_max_ttl: ttl,
            no_default_policy: true,
            namespace,
            ..TokenEntry::default()
        };
        let lifetimes = Lifetimes { default: ttl, max: self.max_ttl };
        let made =
            self.tokens.make_token(txn, lifetimes, NewToken { entry, ttl, ..NewToken::default() }).await?;
        let id = self.tokens.token_id(made.token.expose())?;
        let creation_time = made.entry.created.rfc3339();
        let kept = Wrapped {
            envelope,
            creation_path: creation_path.to_owned(),
            ttl: ttl.as_secs(),
            creation_time: creation_time.clone(),
            accessor: wrapped_accessor.to_owned(),
        };
        self.tokens.hold(txn, &id, kept)?;
        Ok(WrapGrant {
            token: made.token.expose().clone(),
            accessor: made.entry.accessor,
            ttl: ttl.as_secs(),
            creation_time,
            creation_path: creation_path.to_owned(),
            wrapped_accessor: wrapped_accessor.to_owned(),
        })
    }

    /// The response in a wrapping token, left in place; `None` when the token is not a wrapping token in force.
    pub async fn wrapped(
        &self,
        reads: &impl Reads,
        token: &str,
    ) -> Result<Option<(TokenId, Arc<Wrapped>)>, BarrierError> {
        let id = self.tokens.token_id(token)?;
        if self.tokens.token_at(reads, &id).await?.is_none() {
            return Ok(None);
        }
        Ok(self.tokens.held_by(reads, &id).await?.map(|wrapped| (id, wrapped)))
    }

    /// Wraps anew what a wrapping token holds, for as long as before; the token is gone with it.
    pub async fn rewrap(&self, txn: &Txn, token: &str) -> Result<WrapGrant, EngineError> {
        let namespace = self.tokens.token_id(token)?.namespace;
        let wrapped = self.unwrap(txn, token).await?;
        let ttl = Duration::from_secs(wrapped.ttl);
        self.wrap(txn, namespace, wrapped.envelope.clone(), &wrapped.creation_path, ttl, &wrapped.accessor)
            .await
    }

    /// Takes what a wrapping token holds; the token is gone with it.
    pub async fn unwrap(&self, txn: &Txn, token: &str) -> Result<Arc<Wrapped>, EngineError> {
        let Some((id, wrapped)) = self.wrapped(txn, token).await? else {
            return Err(not_wrapping());
        };
        self.tokens.revoke_token(txn, &id).await?;
        Ok(wrapped)
    }
}

/// A wrapping token as the answer shows it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct WrapGrant {
    /// The single-use token.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
    /// Seconds until it ends.
    pub ttl: u64,
    /// The time of its creation (RFC 3339).
    pub creation_time: String,
    /// The path whose response is wrapped.
    pub creation_path: String,
    /// The accessor of the token inside, when a login is wrapped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wrapped_accessor: String,
}

/// The refusal of a token that holds nothing, or nothing any more.
pub fn not_wrapping() -> EngineError {
    bad_request("wrapping token is not valid or does not exist")
}
