//! Renewing a token.

use std::time::Duration;

use strongroom_barrier::Txn;
use strongroom_engine_api::{AuthGrant, EngineError, Lifetimes, Renewal, Secret, bad_request};
use strongroom_expiry::{EXPIRY, ExpiryEntry, nonzero_min};
use strongroom_mounts::Errand;

use crate::tables::TOKENS;
use crate::ttl::granted_ttl;
use crate::{IssuedToken, TokenEntry, TokenId, TokenStore};

impl TokenStore {
    /// Renews a token within `txn`: the auth method or the token role that it came from sets the terms, then the expiry
    /// is moved. The answer's token text is empty: the caller, which knows it, fills it in.
    pub async fn renew_token(
        &self,
        txn: &Txn,
        id: &TokenId,
        increment: Option<Duration>,
    ) -> Result<IssuedToken, EngineError> {
        let now = self.environment.clock.now();
        let entry = TOKENS.get(txn, &id.at()).await?.filter(|entry| !entry.has_expired(now));
        let entry = entry.ok_or_else(|| bad_request("token not found"))?;
        let Some(old_end) = entry.expires.filter(|_| entry.renewable) else {
            return Err(bad_request("lease is not renewable"));
        };
        let mut renewed = (*entry).clone();
        let (lifetimes, groups) = self.renewal_terms(txn, &mut renewed, increment).await?;
        let granted = granted_ttl(&renewed, increment.unwrap_or_default(), lifetimes, now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let end = now.after(granted.ttl);
        renewed.expires = Some(end);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(old_end.as_secs(), &id.key));
        EXPIRY.put(txn, &(end.as_secs(), &id.key), ExpiryEntry::of_token(*id, renewed.mount))?;
        TOKENS.put(txn, &id.at(), renewed.clone())?;
        let warnings = granted.warning.into_iter().collect();
        let issued = IssuedToken::new(Secret::default(), renewed, granted.ttl, warnings);
        Ok(IssuedToken { groups, ..issued })
    }

    /// The current limits of a token's renewal; takes a changed maximum and period into the entry. Where no TTL is
    /// requested, a token that no auth method granted gets its creation TTL. Answers the method's groups with them.
    async fn renewal_terms(
        &self,
        txn: &Txn,
        entry: &mut TokenEntry,
        increment: Option<Duration>,
    ) -> Result<(Lifetimes, Option<Vec<String>>), EngineError> {
        let mut lifetimes = self.mounts.lifetimes_of(entry.namespace, &entry.path).await?;
        if let Some(granted) = self.ask_method(txn, entry, increment).await? {
            entry.max_ttl = granted.max_ttl;
            entry.period = granted.period;
            if !granted.ttl.is_zero() {
                lifetimes.default = granted.ttl.min(lifetimes.max);
            }
            return Ok((lifetimes, granted.groups));
        }
        if !entry.creation_ttl.is_zero() {
            lifetimes.default = entry.creation_ttl.min(lifetimes.max);
        }
        if !entry.role.is_empty() {
            let Some(role) = self.token_role(txn, entry.namespace, &entry.role).await? else {
                let text = format!("original token role {:?} could not be found, not renewing", entry.role);
                return Err(bad_request(text));
            };
            entry.period = nonzero_min(entry.asked_period, role.period);
        }
        Ok((lifetimes, None))
    }

    /// The current answer of the auth method that granted a token; `None` where it leaves renewals to the core.
    async fn ask_method(
        &self,
        txn: &Txn,
        entry: &TokenEntry,
        increment: Option<Duration>,
    ) -> Result<Option<AuthGrant>, EngineError> {
        if entry.mount.is_none() {
            return Ok(None);
        }
        let router = self.mounts.router().await?;
        let Some(mounted) = router.by_id(entry.namespace, entry.mount) else {
            return Err(bad_request("the auth method that granted this token is gone"));
        };
        let renewal = Renewal {
            internal: entry.internal.clone(),
            metadata: entry.metadata.clone(),
            policies: entry.policies.clone(),
            increment,
        };
        let call = mounted.internal_call(txn, &self.environment, Errand::Renewal(renewal));
        match mounted.engine.renewal(&call) {
            Some(renewal) => renewal.await.map(Some),
            None => Ok(None),
        }
    }
}
