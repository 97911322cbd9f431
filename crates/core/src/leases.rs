//! Leases: what ends when. Kept in storage in order of time, so that nothing is loaded at unseal and ending is a scan.

mod ending;
mod listing;
mod ttl;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, LeaseGrant, Lifetimes, Moment, Renewal, bad_request};

use crate::mounts::Mounted;
use crate::namespaces::suffix;
use crate::tables::{EXPIRY, LEASES, OWNED_LEASES, TOKENS};
use crate::tokens::{Made, TokenEntry, TokenId, TokenKey};
use crate::{Core, HeldLease};

pub use ending::Irrevocable;
pub(crate) use ending::{PrefixRevocation, STEP, end_secret_lease};
pub use listing::LeaseFacts;
pub(crate) use ttl::{granted_ttl, nonzero_min};

const LEASE_ID_LEN: usize = 24;

/// One lease as kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lease {
    /// The token that this lease is: its life is the token's, and nothing else is kept here.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenId>,
    /// The token that owns it; `None` for a token's own lease.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<TokenId>,
    /// The number of the mount that granted it.
    #[serde(rename = "m", default)]
    pub mount: MountId,
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
    pub(crate) fn of_token(id: TokenId, entry: &TokenEntry) -> Self {
        Self { token: Some(id), mount: entry.mount, ..Self::default() }
    }

    /// When housekeeping is to look at it: where its entry in the expiry index is.
    fn due(&self) -> Moment {
        self.retry.unwrap_or(self.expires)
    }
}

/// An entry of the index of ends. It names namespace and mount, so that what is due can be dealt with by mount without
/// opening the lease.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ExpiryEntry {
    /// The namespace of the token or lease.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub(crate) namespace: NamespaceId,
    /// The mount that granted it.
    #[serde(rename = "m", default, skip_serializing_if = "MountId::is_none")]
    pub(crate) mount: MountId,
    /// The lease; `None` for the token under the index entry's key.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
}

impl Stored for ExpiryEntry {}

impl ExpiryEntry {
    pub(crate) fn of_token(id: TokenId, entry: &TokenEntry) -> Self {
        Self { namespace: id.namespace, mount: entry.mount, lease: None }
    }

    fn of_lease(namespace: NamespaceId, id: &str, lease: &Lease) -> Self {
        Self { namespace, mount: lease.mount, lease: Some(id.to_owned()) }
    }
}

/// A lease among those that a token owns.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OwnedLease {
    /// The namespace of the lease, which may lie below its token's.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub(crate) namespace: NamespaceId,
}

impl Stored for OwnedLease {}

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
        owner: TokenId,
        grant: LeaseGrant,
    ) -> Result<Granted, EngineError> {
        let (lifetimes, namespace) = (mounted.mount.lifetimes, mounted.mount.namespace);
        let now = self.environment.clock.now();
        let wanted = if grant.ttl.is_zero() { lifetimes.default } else { grant.ttl };
        let granted = ttl::lease_ttl(now, wanted, nonzero_min(grant.max_ttl, lifetimes.max), now);
        let ttl = granted.ttl;
        if grant.hint_only {
            return Ok((HeldLease { id: String::new(), ttl, renewable: false }, None));
        }
        if TOKENS.get(txn, &owner.at()).await?.is_none() {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
        let id = format!("{path}/{}{}", self.environment.entropy.base62(LEASE_ID_LEN)?, suffix(namespace));
        let lease = Lease {
            owner: Some(owner),
            mount: mounted.mount.id,
            issued: now,
            expires: now.after(ttl),
            ttl,
            max_ttl: grant.max_ttl,
            renewable: grant.renewable,
            internal: grant.internal,
            ..Lease::default()
        };
        let entry = ExpiryEntry::of_lease(namespace, &id, &lease);
        EXPIRY.put(txn, &(lease.due().as_secs(), &due_key(&id)), entry)?;
        OWNED_LEASES.put(txn, &(owner.namespace, owner.key, &id), OwnedLease { namespace })?;
        LEASES.put(txn, &(namespace, &id), lease)?;
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
        let now = self.environment.clock.now();
        let Some(lease) = LEASES.get(txn, &(namespace, id)).await? else {
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
        let lifetimes = self.lifetimes_of_mount(namespace, lease.mount).await?;
        let wanted = increment.filter(|increment| !increment.is_zero()).unwrap_or(lease.ttl);
        let granted = ttl::lease_ttl(lease.issued, wanted, nonzero_min(lease.max_ttl, lifetimes.max), now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let mut renewed = (*lease).clone();
        renewed.expires = now.after(granted.ttl);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(lease.due().as_secs(), &due_key(id)));
        let entry = ExpiryEntry::of_lease(namespace, id, &renewed);
        EXPIRY.put(txn, &(renewed.due().as_secs(), &due_key(id)), entry)?;
        LEASES.put(txn, &(namespace, id), renewed)?;
        Ok((HeldLease { id: id.to_owned(), ttl: granted.ttl, renewable: true }, granted.warning))
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

    /// Renews a token within `txn`: the auth method or the token role that it came from has a say, then the ends are
    /// moved. The answer's token text is empty: whoever knows it puts it in.
    pub async fn renew_token(
        self: &Arc<Self>,
        txn: &Txn,
        id: &TokenId,
        increment: Option<Duration>,
    ) -> Result<Made, EngineError> {
        let now = self.environment.clock.now();
        let entry = TOKENS.get(txn, &id.at()).await?.filter(|entry| !entry.has_expired(now));
        let entry = entry.ok_or_else(|| bad_request("token not found"))?;
        let Some(old_end) = entry.expires.filter(|_| entry.renewable) else {
            return Err(bad_request("lease is not renewable"));
        };
        let mut renewed = (*entry).clone();
        let lifetimes = self.renewal_terms(txn, &mut renewed, increment).await?;
        let granted = granted_ttl(&renewed, increment.unwrap_or_default(), lifetimes, now);
        if granted.ttl.is_zero() {
            return Err(bad_request("past the max TTL, cannot renew"));
        }
        let end = now.after(granted.ttl);
        renewed.expires = Some(end);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(old_end.as_secs(), &id.key));
        EXPIRY.put(txn, &(end.as_secs(), &id.key), ExpiryEntry::of_token(*id, &renewed))?;
        TOKENS.put(txn, &id.at(), renewed.clone())?;
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
    async fn lifetimes_of_mount(
        &self,
        namespace: NamespaceId,
        mount: MountId,
    ) -> Result<Lifetimes, EngineError> {
        let router = self.router().await?;
        let found = router.by_id(namespace, mount);
        Ok(found.map_or(self.server_lifetimes(), |mounted| mounted.mount.lifetimes))
    }

    fn server_lifetimes(&self) -> Lifetimes {
        Lifetimes { default: self.settings.default_lease_ttl, max: self.settings.max_lease_ttl }
    }

    /// What the auth method that granted a token says today; `None` where it leaves renewals to the core.
    async fn ask_method(
        self: &Arc<Self>,
        txn: &Txn,
        entry: &TokenEntry,
        increment: Option<Duration>,
    ) -> Result<Option<strongroom_engine_api::AuthGrant>, EngineError> {
        if entry.mount.is_none() {
            return Ok(None);
        }
        let router = self.router().await?;
        let Some(mounted) = router.by_id(entry.namespace, entry.mount) else {
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
