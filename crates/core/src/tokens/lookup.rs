//! From a token's text to who it is.

use std::sync::Arc;

use aws_lc_rs::hmac;
use strongroom_barrier::{BarrierError, Reads, Scope, Txn, View};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_storage::CommitError;

use super::{TokenEntry, TokenKey, batch};
use crate::Core;
use crate::tables::{ACCESSORS, TOKENS};

/// A token that was found and is in force.
#[derive(Clone)]
pub struct Principal {
    /// Where it is kept; zero-filled for batch tokens.
    pub key: TokenKey,
    /// Its entry.
    pub entry: Arc<TokenEntry>,
}

impl Core {
    /// The key of a service token's text.
    pub fn token_key(&self, token: &str) -> Result<TokenKey, BarrierError> {
        let salt = self.seal_state.token_salt();
        let salt = salt.as_deref().ok_or(BarrierError::Sealed)?;
        let tag = hmac::sign(salt, token.as_bytes());
        let mut key = TokenKey::default();
        for (to, from) in key.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Ok(key)
    }

    /// The token with this text, if it is in force now. What a batch token was made by must be, too.
    pub async fn principal(
        &self,
        view: &View,
        token: &str,
        now: Moment,
    ) -> Result<Option<Principal>, BarrierError> {
        let view = view.scoped(Scope::core());
        if token.starts_with(batch::PREFIX) {
            let Some(entry) = self.open_batch_token(token)? else { return Ok(None) };
            if let Some(parent) = entry.parent {
                let parent = TOKENS.get(&view, &parent).await?;
                let Some(parent) = parent else { return Ok(None) };
                if !self.is_in_force(&parent, now)? {
                    return Ok(None);
                }
            }
            let live = self.is_in_force(&entry, now)?;
            return Ok(live.then(|| Principal { key: TokenKey::default(), entry: Arc::new(entry) }));
        }
        let key = self.token_key(token)?;
        let Some(entry) = TOKENS.get(&view, &key).await? else { return Ok(None) };
        Ok(self.is_in_force(&entry, now)?.then_some(Principal { key, entry }))
    }

    /// Whether a token has not expired. That it has is for the active node to say, whose clock counts: a standby asks
    /// it, in that what is asked of the standby is handed on.
    fn is_in_force(&self, entry: &TokenEntry, now: Moment) -> Result<bool, BarrierError> {
        if !entry.has_expired(now) {
            return Ok(true);
        }
        if self.is_standby() && self.without_quorum().is_none() {
            return Err(BarrierError::Commit(CommitError::NotLeader { leader: None }));
        }
        Ok(false)
    }

    /// The service token kept under `key`, if it is in force.
    pub async fn token_at(
        &self,
        reads: &impl Reads,
        key: &TokenKey,
    ) -> Result<Option<Arc<TokenEntry>>, BarrierError> {
        let now = self.environment.clock.now();
        let Some(entry) = TOKENS.get(reads, key).await? else { return Ok(None) };
        Ok(self.is_in_force(&entry, now)?.then_some(entry))
    }

    /// The key behind an accessor. `reads` must be of the core's scope.
    pub async fn key_of_accessor(
        &self,
        reads: &impl Reads,
        accessor: &str,
    ) -> Result<Option<TokenKey>, BarrierError> {
        Ok(ACCESSORS.get(reads, accessor).await?.map(|found| found.key))
    }

    /// All accessors after `after`, in order.
    pub async fn accessors(
        &self,
        reads: &impl Reads,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        ACCESSORS.keys(reads, "", after, limit).await
    }

    /// Takes one use off a token within `txn`; the last one revokes it. Answers whether any limit applied. The token
    /// was there in the view that the transaction reads, so where it is gone, this very request has revoked it.
    pub(crate) async fn use_token(&self, txn: &Txn, key: &TokenKey) -> Result<bool, EngineError> {
        let txn = txn.scoped(Scope::core());
        let Some(entry) = TOKENS.get(&txn, key).await? else { return Ok(true) };
        match entry.num_uses {
            0 => return Ok(false),
            1 => self.revoke_token(&txn, key).await?,
            uses => {
                let mut less = (*entry).clone();
                less.num_uses = uses.saturating_sub(1);
                TOKENS.put(&txn, key, less)?;
            }
        }
        Ok(true)
    }
}
