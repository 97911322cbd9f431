//! Leases: what ends when. Kept in storage in order of time, so that nothing is loaded at unseal and ending is a scan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Reads, Scope, Stored, Txn};
use strongroom_engine_api::{EngineError, LeaseGrant, Lifetimes, Moment, Renewal, bad_request, format_duration};

use crate::mounts::Mounted;
use crate::tables::{EXPIRY, LEASES, OWNED_LEASES, TOKENS};
use crate::tokens::{TokenEntry, TokenKey};
use crate::{Core, NamespaceId};

/// Ends handled in one transaction.
const STEP: usize = 128;
const LEASE_ID_LEN: usize = 24;
/// How long a lease whose revocation failed waits before the next attempt, times the number of attempts.
const RETRY_STEP: Duration = Duration::from_secs(10);

/// One lease as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lease {
    /// The token that this lease is: its life is the token's, and nothing else is kept here.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenKey>,
    /// The token that owns it; `None` for a token's own lease.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<TokenKey>,
    /// The number of the mount that granted it.
    #[serde(rename = "m", default)]
    pub mount: u64,
    /// When it was granted.
    #[serde(rename = "c", default)]
    pub issued: Moment,
    /// When it was last renewed.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub renewed: Option<Moment>,
    /// When it ends.
    #[serde(rename = "e", default)]
    pub expires: Moment,
    /// The most it can live; zero: the mount's.
    #[serde(rename = "x", default, skip_serializing_if = "Duration::is_zero")]
    pub max_ttl: Duration,
    /// Whether it may be renewed.
    #[serde(rename = "n", default)]
    pub renewable: bool,
    /// Failed attempts at revoking it.
    #[serde(rename = "f", default)]
    pub failures: u32,
    /// What the engine wants to see again.
    #[serde(rename = "z", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub internal: BTreeMap<String, String>,
}

impl Stored for Lease {}

impl Lease {
    /// The listing of a token among the leases: the token has all the facts.
    pub(crate) fn of_token(key: TokenKey, entry: &TokenEntry) -> Self {
        Self { token: Some(key), mount: entry.mount, ..Self::default() }
    }
}

/// What ends at an entry of the expiry index.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Due {
    /// The token under the index entry's key.
    #[serde(rename = "t")]
    Token,
    /// The lease with this id.
    #[serde(rename = "l")]
    Lease(String),
}

impl Stored for Due {}

/// How long something lives, and what the client should know about it.
pub(crate) struct Granted {
    pub(crate) ttl: Duration,
    pub(crate) warning: Option<String>,
}

/// How long a token made or renewed at `now` lives. A period, where there is one, else what is asked for, else the
/// mount's default; all within the role's and mount's maximum since creation and the explicit maximum.
pub(crate) fn granted_ttl(entry: &TokenEntry, asked: Duration, lifetimes: Lifetimes, now: Moment) -> Granted {
    let age = now.since(entry.created);
    let mut ceiling = if entry.period.is_zero() {
        let max = nonzero_min(entry.max_ttl, lifetimes.max);
        max.saturating_sub(age)
    } else {
        // A periodic token has no end but an explicit one.
        lifetimes.max
    };
    let mut named = if entry.period.is_zero() { nonzero_min(entry.max_ttl, lifetimes.max) } else { lifetimes.max };
    if !entry.explicit_max_ttl.is_zero() {
        let left = entry.explicit_max_ttl.saturating_sub(age);
        if left < ceiling {
            ceiling = left;
            named = entry.explicit_max_ttl;
        }
    }
    let wanted = match (entry.period.is_zero(), asked.is_zero()) {
        (false, _) => entry.period,
        (true, false) => asked,
        (true, true) => lifetimes.default,
    };
    let warning = (wanted > ceiling && !asked.is_zero()).then(|| capped(wanted, named));
    Granted { ttl: wanted.min(ceiling), warning }
}

fn capped(wanted: Duration, max: Duration) -> String {
    format!(
        "TTL of {:?} exceeded the effective max_ttl of {:?}; TTL value is capped accordingly",
        format_duration(wanted),
        format_duration(max)
    )
}

fn nonzero_min(role: Duration, mount: Duration) -> Duration {
    if role.is_zero() { mount } else { role.min(mount) }
}

/// The expiry index key of a lease: its id hashed to the width of a token's key.
fn due_key(id: &str) -> TokenKey {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let mut key = TokenKey::default();
    for (to, from) in key.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    key
}

/// A lease as just granted or renewed.
pub struct LeaseView {
    /// Its id.
    pub id: String,
    /// How long it lives from now.
    pub ttl: Duration,
    /// Whether it may be renewed.
    pub renewable: bool,
}

impl Core {
    /// Makes the lease for a secret within `txn`. The owning token must still be there when it commits.
    pub(crate) async fn make_lease(
        &self,
        txn: &Txn,
        mounted: &Mounted,
        path: &str,
        owner: TokenKey,
        grant: LeaseGrant,
    ) -> Result<LeaseView, EngineError> {
        let txn = txn.scoped(Scope::core());
        let lifetimes = mounted.mount.lifetimes;
        let max = nonzero_min(grant.max_ttl, lifetimes.max);
        let ttl = if grant.ttl.is_zero() { lifetimes.default } else { grant.ttl }.min(max);
        let renewable = grant.renewable;
        if grant.hint_only {
            return Ok(LeaseView { id: String::new(), ttl, renewable: false });
        }
        if TOKENS.get(&txn, &owner).await?.is_none() {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
        let now = self.environment.clock.now();
        let id = format!("{path}/{}", self.environment.entropy.base62(LEASE_ID_LEN)?);
        let lease = Lease {
            owner: Some(owner),
            mount: mounted.mount.number,
            issued: now,
            expires: now.after(ttl),
            max_ttl: grant.max_ttl,
            renewable,
            internal: grant.internal,
            ..Lease::default()
        };
        EXPIRY.put(&txn, &(lease.expires.as_secs(), &due_key(&id)), Due::Lease(id.clone()))?;
        OWNED_LEASES.put(&txn, &(owner, &id), ())?;
        LEASES.put(&txn, &(mounted.mount.namespace, &id), lease)?;
        Ok(LeaseView { id, ttl, renewable })
    }

    /// The lease with this id.
    pub async fn lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<Option<Arc<Lease>>, BarrierError> {
        LEASES.get(reads, &(namespace, id)).await
    }

    /// Lease ids that begin with `prefix`, after `after`, in order. `reads` must be of the core's scope.
    pub async fn lease_ids(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, BarrierError> {
        let range = (namespace, prefix);
        let found = match after {
            Some(after) => LEASES.keys_after(reads, &range, &(namespace, after), limit).await?,
            None => LEASES.keys(reads, &range, None, limit).await?,
        };
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Renews a token within `txn`: its auth method has a say, then the ends are moved.
    pub async fn renew_token(
        self: &Arc<Self>,
        txn: &Txn,
        key: &TokenKey,
        increment: Option<Duration>,
    ) -> Result<(TokenEntry, Duration, Vec<String>), EngineError> {
        let txn = txn.scoped(Scope::core());
        let now = self.environment.clock.now();
        let entry = TOKENS.get(&txn, key).await?.filter(|entry| !entry.has_expired(now));
        let entry = entry.ok_or_else(|| bad_request("token not found"))?;
        let Some(old_end) = entry.expires.filter(|_| entry.renewable) else {
            return Err(bad_request("lease is not renewable"));
        };
        let mut renewed = (*entry).clone();
        let mut lifetimes = self.token_lifetimes(&entry).await?;
        if let Some(granted) = self.ask_method(&txn, &entry, increment).await? {
            renewed.max_ttl = granted.max_ttl;
            renewed.period = granted.period;
            if !granted.ttl.is_zero() {
                lifetimes.default = granted.ttl.min(lifetimes.max);
            }
        }
        let granted = granted_ttl(&renewed, increment.unwrap_or_default(), lifetimes, now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let end = now.after(granted.ttl);
        renewed.expires = Some(end);
        renewed.renewed = Some(now);
        EXPIRY.delete(&txn, &(old_end.as_secs(), key));
        EXPIRY.put(&txn, &(end.as_secs(), key), Due::Token)?;
        TOKENS.put(&txn, key, renewed.clone())?;
        Ok((renewed, granted.ttl, granted.warning.into_iter().collect()))
    }

    /// The lifetimes of the mount a token came from.
    pub(crate) async fn token_lifetimes(&self, entry: &TokenEntry) -> Result<Lifetimes, EngineError> {
        let router = self.router().await?;
        let found = router.route(entry.namespace, &entry.path).map(|(mounted, _)| mounted.mount.lifetimes);
        Ok(found.unwrap_or(Lifetimes { default: self.settings.default_lease_ttl, max: self.settings.max_lease_ttl }))
    }

    /// What the auth method that granted a token says today; `None` where it leaves renewals to the core.
    async fn ask_method(
        self: &Arc<Self>,
        txn: &Txn,
        entry: &TokenEntry,
        increment: Option<Duration>,
    ) -> Result<Option<strongroom_engine_api::AuthGrant>, EngineError> {
        if entry.mount == 0 {
            return Ok(None);
        }
        let router = self.router().await?;
        let Some(mounted) = router.all().find(|mounted| mounted.mount.number == entry.mount).cloned() else {
            return Err(bad_request("the auth method that granted this token is gone"));
        };
        let renewal = Renewal {
            internal: entry.internal.clone(),
            metadata: entry.metadata.clone(),
            policies: entry.policies.clone(),
            increment,
        };
        let call = self.internal_call(&mounted, txn, Some(renewal));
        mounted.engine.renew(&call).await.transpose()
    }

    /// Ends a lease within `txn`. `forced`: what the engine does about it is left out.
    pub(crate) async fn revoke_lease(
        &self,
        txn: &Txn,
        id: &str,
        lease: &Lease,
        forced: bool,
    ) -> Result<(), EngineError> {
        let txn = txn.scoped(Scope::core());
        if let Some(key) = lease.token {
            LEASES.delete(&txn, &(crate::ROOT_NAMESPACE, id));
            return Box::pin(self.revoke_token(&txn, &key)).await;
        }
        if !forced && !lease.internal.is_empty() {
            tracing::debug!(lease_id = id, "lease ends");
        }
        EXPIRY.delete(&txn, &(lease.expires.as_secs(), &due_key(id)));
        if let Some(owner) = lease.owner {
            OWNED_LEASES.delete(&txn, &(owner, id));
        }
        LEASES.delete(&txn, &(crate::ROOT_NAMESPACE, id));
        Ok(())
    }

    /// Revokes one step's worth of the leases under a prefix; answers how many.
    pub async fn revoke_prefix_step(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        prefix: &str,
        forced: bool,
    ) -> Result<usize, EngineError> {
        let txn = txn.scoped(Scope::core());
        let found = LEASES.scan(&txn, &(namespace, prefix), None, STEP).await?;
        for ((_, id), lease) in &found {
            self.revoke_lease(&txn, id, lease, forced).await?;
        }
        Ok(found.len())
    }

    /// Ends what is due by now, one bounded transaction; answers whether there may be more.
    pub async fn expire_due(&self) -> Result<bool, EngineError> {
        let now = self.environment.clock.now();
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let due = EXPIRY.scan(txn.view(), &(), None, STEP).await?;
        let due: Vec<_> = due.into_iter().take_while(|((at, _), _)| *at <= now.as_secs()).collect();
        let mut ended = 0usize;
        for ((at, key), what) in &due {
            ended = ended.saturating_add(usize::from(self.expire(&txn, *at, key, what, now).await?));
        }
        if ended > 0 || !txn.is_empty() {
            txn.commit().await?;
        }
        Ok(due.len() == STEP && ended > 0)
    }

    /// Ends one entry of the index, unless it was renewed or its second is not over.
    async fn expire(&self, txn: &Txn, at: u64, key: &TokenKey, what: &Due, now: Moment) -> Result<bool, EngineError> {
        match what {
            Due::Token => match TOKENS.get(txn, key).await? {
                Some(entry) if entry.expires.is_some_and(|end| end.as_secs() == at && end > now) => return Ok(false),
                Some(entry) if entry.has_expired(now) => self.revoke_token(txn, key).await?,
                _ => EXPIRY.delete(txn, &(at, key)),
            },
            Due::Lease(id) => match LEASES.get(txn, &(crate::ROOT_NAMESPACE, id)).await? {
                Some(lease) if lease.expires > now => return Ok(false),
                Some(lease) => self.end_lease(txn, id, &lease, now).await?,
                None => EXPIRY.delete(txn, &(at, key)),
            },
        }
        Ok(true)
    }

    /// Revokes a lease that is due; when that fails it stays and is tried again later, ever less often.
    async fn end_lease(&self, txn: &Txn, id: &str, lease: &Lease, now: Moment) -> Result<(), EngineError> {
        let Err(error) = self.revoke_lease(txn, id, lease, false).await else { return Ok(()) };
        if matches!(error, EngineError::Barrier(_)) {
            return Err(error);
        }
        let mut failed = lease.clone();
        failed.failures = failed.failures.saturating_add(1);
        tracing::error!(lease_id = id, attempts = failed.failures, %error, "lease revocation failed");
        EXPIRY.delete(txn, &(lease.expires.as_secs(), &due_key(id)));
        failed.expires = now.after(RETRY_STEP.saturating_mul(failed.failures.min(360)));
        EXPIRY.put(txn, &(failed.expires.as_secs(), &due_key(id)), Due::Lease(id.to_owned()))?;
        LEASES.put(txn, &(crate::ROOT_NAMESPACE, id), failed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MOUNT: Lifetimes = Lifetimes { default: HOUR, max: Duration::from_secs(10 * 3600) };

    fn ttl(entry: &TokenEntry, asked: Duration, age: Duration) -> (Duration, bool) {
        let granted = granted_ttl(entry, asked, MOUNT, entry.created.after(age));
        (granted.ttl, granted.warning.is_some())
    }

    #[test]
    fn lifetimes_stay_within_every_bound() {
        let plain = TokenEntry::default();
        assert_eq!(ttl(&plain, Duration::ZERO, Duration::ZERO), (HOUR, false), "the mount's default");
        assert_eq!(ttl(&plain, HOUR * 2, Duration::ZERO), (HOUR * 2, false), "what is asked for");
        assert_eq!(ttl(&plain, HOUR * 20, Duration::ZERO), (HOUR * 10, true), "the mount's maximum");
        assert_eq!(ttl(&plain, HOUR * 2, HOUR * 9), (HOUR, true), "counted from creation");
        assert_eq!(ttl(&plain, HOUR, HOUR * 11).0, Duration::ZERO, "past the maximum");
        let role = TokenEntry { max_ttl: HOUR * 3, ..TokenEntry::default() };
        assert_eq!(ttl(&role, HOUR * 5, Duration::ZERO), (HOUR * 3, true), "the role's maximum");
        let hard = TokenEntry { explicit_max_ttl: HOUR, period: HOUR * 4, ..TokenEntry::default() };
        assert_eq!(ttl(&hard, Duration::ZERO, HOUR / 2).0, HOUR / 2, "an explicit maximum ends a period too");
        let periodic = TokenEntry { period: HOUR * 4, ..TokenEntry::default() };
        assert_eq!(ttl(&periodic, HOUR, HOUR * 100).0, HOUR * 4, "a period has no other end");
    }
}
