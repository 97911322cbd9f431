//! Leases: what ends when. Kept in storage in order of time, so that nothing is loaded at unseal and ending is a scan.

mod ending;
mod listing;
mod ttl;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, Reads, Scope, Stored, Txn};
use strongroom_engine_api::{EngineError, HeldLease, LeaseGrant, Lifetimes, Moment, Renewal, bad_request};

use crate::mounts::Mounted;
use crate::tables::{EXPIRY, LEASES, OWNED_LEASES, TOKENS};
use crate::tokens::{Made, TokenEntry, TokenKey};
use crate::{Core, NamespaceId};

pub use ending::Irrevocable;
pub(crate) use ending::{STEP, end_secret_lease};
pub use listing::LeaseFacts;
pub(crate) use ttl::{granted_ttl, nonzero_min};

const LEASE_ID_LEN: usize = 24;

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
    /// How long it was given at first, and is at a renewal that asks for nothing.
    #[serde(rename = "d", default, skip_serializing_if = "Duration::is_zero")]
    pub ttl: Duration,
    /// The most it can live; zero: the mount's.
    #[serde(rename = "x", default, skip_serializing_if = "Duration::is_zero")]
    pub max_ttl: Duration,
    /// Whether it may be renewed.
    #[serde(rename = "n", default)]
    pub renewable: bool,
    /// Failed attempts at revoking it.
    #[serde(rename = "f", default)]
    pub failures: u32,
    /// When it is tried again, after an attempt that failed.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Moment>,
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

    /// When housekeeping is to look at it: where its entry in the expiry index is.
    fn due(&self) -> Moment {
        self.retry.unwrap_or(self.expires)
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

/// The expiry index key of a lease: its id hashed to the width of a token's key.
fn due_key(id: &str) -> TokenKey {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let mut key = TokenKey::default();
    for (to, from) in key.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    key
}

/// A lease as just granted or renewed, and what the client should know about it (a capped TTL).
pub(crate) type Granted = (HeldLease, Option<String>);

impl Core {
    /// Makes the lease for a secret within `txn`. The owning token must still be there when it commits.
    pub(crate) async fn make_lease(
        &self,
        txn: &Txn,
        mounted: &Mounted,
        path: &str,
        owner: TokenKey,
        grant: LeaseGrant,
    ) -> Result<Granted, EngineError> {
        let txn = txn.scoped(Scope::core());
        let lifetimes = mounted.mount.lifetimes;
        let now = self.environment.clock.now();
        let wanted = if grant.ttl.is_zero() { lifetimes.default } else { grant.ttl };
        let granted = ttl::lease_ttl(now, wanted, nonzero_min(grant.max_ttl, lifetimes.max), now);
        let ttl = granted.ttl;
        if grant.hint_only {
            return Ok((HeldLease { id: String::new(), ttl, renewable: false }, None));
        }
        if TOKENS.get(&txn, &owner).await?.is_none() {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
        let id = format!("{path}/{}", self.environment.entropy.base62(LEASE_ID_LEN)?);
        let lease = Lease {
            owner: Some(owner),
            mount: mounted.mount.number,
            issued: now,
            expires: now.after(ttl),
            ttl,
            max_ttl: grant.max_ttl,
            renewable: grant.renewable,
            internal: grant.internal,
            ..Lease::default()
        };
        EXPIRY.put(&txn, &(lease.due().as_secs(), &due_key(&id)), Due::Lease(id.clone()))?;
        OWNED_LEASES.put(&txn, &(owner, &id), ())?;
        LEASES.put(&txn, &(mounted.mount.namespace, &id), lease)?;
        Ok((HeldLease { id, ttl, renewable: grant.renewable }, granted.warning))
    }

    /// Renews a secret's lease within `txn`, within its own and its mount's maximum since it was granted.
    pub async fn renew_lease(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<Granted, EngineError> {
        let txn = txn.scoped(Scope::core());
        let now = self.environment.clock.now();
        let Some(lease) = LEASES.get(&txn, &(namespace, id)).await? else {
            return Err(bad_request("lease not found"));
        };
        if lease.token.is_some() {
            return Err(bad_request("tokens cannot be renewed through this endpoint"));
        }
        if lease.expires <= now {
            return Err(bad_request("lease expired"));
        }
        if !lease.renewable {
            return Err(bad_request("lease is not renewable"));
        }
        let lifetimes = self.lifetimes_of_mount(lease.mount).await?;
        let wanted = increment.filter(|increment| !increment.is_zero()).unwrap_or(lease.ttl);
        let granted = ttl::lease_ttl(lease.issued, wanted, nonzero_min(lease.max_ttl, lifetimes.max), now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let mut renewed = (*lease).clone();
        renewed.expires = now.after(granted.ttl);
        renewed.renewed = Some(now);
        EXPIRY.delete(&txn, &(lease.due().as_secs(), &due_key(id)));
        EXPIRY.put(&txn, &(renewed.due().as_secs(), &due_key(id)), Due::Lease(id.to_owned()))?;
        LEASES.put(&txn, &(namespace, id), renewed)?;
        Ok((HeldLease { id: id.to_owned(), ttl: granted.ttl, renewable: true }, granted.warning))
    }

    /// The lease with this id. `reads` must be of the core's scope.
    pub async fn lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<Option<Arc<Lease>>, BarrierError> {
        LEASES.get(reads, &(namespace, id)).await
    }

    /// Renews a token within `txn`: the auth method or the token role that it came from has a say, then the ends are
    /// moved. The answer's token text is empty: whoever knows it puts it in.
    pub async fn renew_token(
        self: &Arc<Self>,
        txn: &Txn,
        key: &TokenKey,
        increment: Option<Duration>,
    ) -> Result<Made, EngineError> {
        let txn = txn.scoped(Scope::core());
        let now = self.environment.clock.now();
        let entry = TOKENS.get(&txn, key).await?.filter(|entry| !entry.has_expired(now));
        let entry = entry.ok_or_else(|| bad_request("token not found"))?;
        let Some(old_end) = entry.expires.filter(|_| entry.renewable) else {
            return Err(bad_request("lease is not renewable"));
        };
        let mut renewed = (*entry).clone();
        let lifetimes = self.renewal_terms(&txn, &mut renewed, increment).await?;
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
        let warnings = granted.warning.into_iter().collect();
        Ok(Made { token: strongroom_stdx::Secret::default(), entry: renewed, ttl: granted.ttl, warnings })
    }

    /// What a token's renewal is bound by today; takes a changed maximum and period into the entry. Where nothing else
    /// is asked for, a token that no auth method granted gets as long as it was given at first.
    async fn renewal_terms(
        self: &Arc<Self>,
        txn: &Txn,
        entry: &mut TokenEntry,
        increment: Option<Duration>,
    ) -> Result<Lifetimes, EngineError> {
        let mut lifetimes = self.token_lifetimes(entry).await?;
        if let Some(granted) = self.ask_method(txn, entry, increment).await? {
            entry.max_ttl = granted.max_ttl;
            entry.period = granted.period;
            if !granted.ttl.is_zero() {
                lifetimes.default = granted.ttl.min(lifetimes.max);
            }
            return Ok(lifetimes);
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
        Ok(lifetimes)
    }

    /// The lifetimes of the mount a token came from.
    pub(crate) async fn token_lifetimes(&self, entry: &TokenEntry) -> Result<Lifetimes, EngineError> {
        let router = self.router().await?;
        let found = router.route(entry.namespace, &entry.path).map(|(mounted, _)| mounted.mount.lifetimes);
        Ok(found.unwrap_or(self.server_lifetimes()))
    }

    /// The lifetimes of the mount with this number.
    async fn lifetimes_of_mount(&self, number: u64) -> Result<Lifetimes, EngineError> {
        let router = self.router().await?;
        let found = router.all().find(|mounted| mounted.mount.number == number);
        Ok(found.map_or(self.server_lifetimes(), |mounted| mounted.mount.lifetimes))
    }

    const fn server_lifetimes(&self) -> Lifetimes {
        Lifetimes { default: self.settings.default_lease_ttl, max: self.settings.max_lease_ttl }
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
}
