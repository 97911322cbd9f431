//! Looks up a token by its text: its entry, or why it is not valid.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, NamespaceId, Reads, Stored, Txn, View};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_mounts::named_by;
use strongroom_storage::CommitError;

use crate::tables::{ACCESSORS, TOKENS};
use crate::{AccessorKey, TokenId, TokenKey, TokenStore};
use crate::{TokenEntry, batch};

/// The token that an accessor leads to.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AccessorEntry {
    /// The accessor itself, for lists.
    #[serde(rename = "a")]
    pub(crate) accessor: String,
    /// The token.
    #[serde(rename = "k")]
    pub(crate) token: TokenId,
}

impl Stored for AccessorEntry {}

/// A token that was found and is in force.
#[derive(Clone)]
pub struct Principal {
    /// Its name in storage.
    pub id: TokenId,
    /// Its entry.
    pub entry: Arc<TokenEntry>,
}

impl TokenStore {
    /// The name in storage of the service token with this text, in the namespace that the text names.
    pub fn token_id(&self, token: &str) -> Result<TokenId, BarrierError> {
        Ok(TokenId { namespace: named_by(token).0, key: self.seal_state.token_hmac(&[token])? })
    }

    /// The key of an accessor.
    pub(crate) fn accessor_key(&self, accessor: &str) -> Result<AccessorKey, BarrierError> {
        // No token's text begins like this, so the two kinds of keys have nothing in common.
        self.seal_state.token_hmac(&["accessor\0", accessor])
    }

    /// The token with this text, if it is in force now. What a batch token was made by must be, too.
    pub async fn principal(
        &self,
        view: &View,
        token: &str,
        now: Moment,
    ) -> Result<Option<Principal>, BarrierError> {
        if token.starts_with(batch::PREFIX) {
            let Some(entry) = self.open_batch_token(token)? else { return Ok(None) };
            if let Some(parent) = entry.parent {
                let parent = TOKENS.get(view, &parent.at()).await?;
                let Some(parent) = parent else { return Ok(None) };
                if !self.is_in_force(&parent, now)? {
                    return Ok(None);
                }
            }
            let live = self.is_in_force(&entry, now)?;
            return Ok(live.then(|| Principal {
                id: TokenId { namespace: entry.namespace, key: TokenKey::default() },
                entry: Arc::new(entry),
            }));
        }
        let id = self.token_id(token)?;
        let Some(entry) = TOKENS.get(view, &id.at()).await? else { return Ok(None) };
        Ok(self.is_in_force(&entry, now)?.then_some(Principal { id, entry }))
    }

    /// As [`TokenStore::principal`], for a token that a request in `namespace` asks about: one of another namespace is unknown
    /// there. It is looked for all the same, so that both take as long.
    pub async fn principal_in(
        &self,
        view: &View,
        namespace: NamespaceId,
        token: &str,
        now: Moment,
    ) -> Result<Option<Principal>, BarrierError> {
        let found = self.principal(view, token, now).await?;
        Ok(found.filter(|found| found.id.namespace == namespace))
    }

    /// True if a token has not expired. Only the active node's clock decides expiry: a standby that sees an expired token
    /// answers that it is not the leader, so that the request is forwarded.
    fn is_in_force(&self, entry: &TokenEntry, now: Moment) -> Result<bool, BarrierError> {
        if !entry.has_expired(now) {
            return Ok(true);
        }
        if self.leadership.is_with_another() {
            return Err(BarrierError::Commit(CommitError::NotLeader { leader: None }));
        }
        Ok(false)
    }

    /// The path of the namespace that a token belongs to; empty for the root namespace, and where it is gone.
    pub fn namespace_path(&self, entry: &TokenEntry) -> String {
        self.mounts.full_path(entry.namespace, "").unwrap_or_default()
    }

    /// The entry of the service token with this name, though its time be up.
    pub async fn entry(
        &self,
        reads: &impl Reads,
        id: &TokenId,
    ) -> Result<Option<Arc<TokenEntry>>, BarrierError> {
        TOKENS.get(reads, &id.at()).await
    }

    /// The service token with this name, if it is in force.
    pub async fn token_at(
        &self,
        reads: &impl Reads,
        id: &TokenId,
    ) -> Result<Option<Arc<TokenEntry>>, BarrierError> {
        let now = self.environment.clock.now();
        let Some(entry) = TOKENS.get(reads, &id.at()).await? else { return Ok(None) };
        Ok(self.is_in_force(&entry, now)?.then_some(entry))
    }

    /// The token behind an accessor of a namespace.
    pub async fn token_of_accessor(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        accessor: &str,
    ) -> Result<Option<TokenId>, BarrierError> {
        let found = ACCESSORS.get(reads, &(namespace, &self.accessor_key(accessor)?)).await?;
        Ok(found.map(|found| found.token))
    }

    /// The accessors of a namespace that come after `after`, in the order of their HMACs.
    pub async fn accessors(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let found = self.by_accessor(reads, namespace, after, limit).await?;
        Ok(found.into_iter().map(|(accessor, _)| accessor).collect())
    }

    /// As [`TokenStore::accessors`], each with its token.
    pub async fn by_accessor(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, TokenId)>, BarrierError> {
        let after = after.map(|after| self.accessor_key(after)).transpose()?;
        let after = after.as_ref().map(|after| (namespace, after));
        let found = ACCESSORS.scan_after(reads, &namespace, after.as_ref(), limit).await?;
        Ok(found.into_iter().map(|(_, entry)| (entry.accessor.clone(), entry.token)).collect())
    }

    /// Takes one use off a token within `txn`; the last one revokes it. Answers whether any limit applied. The token
    /// was there in the view that the transaction reads, so where it is gone, this very request has revoked it.
    pub async fn use_token(&self, txn: &Txn, id: &TokenId) -> Result<bool, EngineError> {
        let Some(entry) = TOKENS.get(txn, &id.at()).await? else { return Ok(true) };
        match entry.num_uses {
            0 => return Ok(false),
            1 => self.revoke_token(txn, id).await?,
            uses => {
                let mut less = (*entry).clone();
                less.num_uses = uses.saturating_sub(1);
                TOKENS.put(txn, &id.at(), less)?;
            }
        }
        Ok(true)
    }
}
