//! Leases: what ends when. Kept in storage in order of time, so that nothing is loaded at unseal and ending is a scan.

mod attempt;
mod ending;
mod listing;
mod outcome;
mod revoker;
#[cfg(test)]
mod tests;
mod ttl;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{
    Class, EngineError, LeaseGrant, LeaseInHand, LeaseTerms, Lifetimes, Moment, Payload, Renewal, TokenKind,
    bad_request,
};

use crate::mounts::Mounted;
use crate::namespaces::suffix;
use crate::tables::{EXPIRY, INTENTS, LEASES, MOUNTS, OWNED_LEASES, TOKENS};
use crate::tokens::{Made, Principal, TokenEntry, TokenId, TokenKey};
use crate::{Core, HeldLease};

pub(crate) use ending::{End, PrefixRevocation, STEP, end_intended, end_lease, forget_lease};
pub use listing::{IrrevocableLease, LeaseFacts};
pub(crate) use revoker::Revoker;
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
    pub owner: Option<LeaseOwner>,
    /// The entity of that token.
    #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
    pub entity_id: String,
    /// The number of the mount that granted it.
    #[serde(rename = "m", default)]
    pub mount: MountId,
    /// Its kind among its engine's; empty: nothing stands outside for it.
    #[serde(rename = "k", default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
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
    /// Whether it is in force, or on its way to its end.
    #[serde(rename = "s", default, skip_serializing_if = "LeaseState::is_active")]
    pub state: LeaseState,
    /// What the engine wants to see again.
    #[serde(rename = "z", default, skip_serializing_if = "Payload::is_empty")]
    pub payload: Payload,
}

/// The token with which a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseOwner {
    /// A service token.
    #[serde(rename = "t")]
    Token(TokenId),
    /// A batch token, which is not in storage: the lease is held through its parent, and never outlives its end.
    #[serde(rename = "b")]
    Batch {
        /// The token that made it; `None` for an orphan.
        #[serde(rename = "p")]
        parent: Option<TokenId>,
        /// Its end.
        #[serde(rename = "e")]
        end: Option<Moment>,
    },
}

impl LeaseOwner {
    /// The owner that a token is.
    pub fn of(principal: &Principal) -> Self {
        let Principal { id, entry } = principal;
        match entry.kind {
            TokenKind::Service => Self::Token(*id),
            TokenKind::Batch => Self::Batch { parent: entry.parent, end: entry.expires },
        }
    }

    /// The token in storage whose end is the lease's.
    pub(crate) const fn holder(self) -> Option<TokenId> {
        match self {
            Self::Token(id) => Some(id),
            Self::Batch { parent, .. } => parent,
        }
    }

    /// The end that no renewal goes beyond.
    const fn end(self) -> Option<Moment> {
        match self {
            Self::Token(_) => None,
            Self::Batch { end, .. } => end,
        }
    }
}

/// How far a lease has come: `Intended → Active → Revoking → gone | Irrevocable`. A lease of no kind is gone at once, and an
/// intent whose act fails is revoking without ever having been active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseState {
    /// In force.
    #[default]
    #[serde(rename = "a")]
    Active,
    /// An intent: what it is to stand for is being made outside, by this deadline.
    #[serde(rename = "n")]
    Intended(Moment),
    /// It has ended, and what stands outside is to be ended, too.
    #[serde(rename = "r")]
    Revoking(Revoking),
    /// The outside has refused too often: left to an operator.
    #[serde(rename = "i")]
    Irrevocable(Revoking),
}

/// The attempts at revoking a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoking {
    /// Attempts that failed.
    #[serde(rename = "a", default)]
    pub attempts: u32,
    /// Those of them that the outside refused.
    #[serde(rename = "r", default)]
    pub refusals: u32,
    /// When it is tried next; the beginning of time where an operator asks for it.
    #[serde(rename = "n", default)]
    pub next: Moment,
    /// What the last attempt failed with.
    #[serde(rename = "e", default)]
    pub error: String,
    /// Whether the next attempt is the last, whatever comes of it.
    #[serde(rename = "f", default)]
    pub forced: bool,
    /// The moment before which something that an act has sent can still arrive: a success before it is followed by one more
    /// attempt then.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Moment>,
}

impl LeaseState {
    /// Whether it is in force.
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether it is in force, or about to be.
    pub const fn has_ended(&self) -> bool {
        matches!(self, Self::Revoking(_) | Self::Irrevocable(_))
    }

    /// Vault's word, or one like it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Intended(_) => "intended",
            Self::Revoking(_) => "revoking",
            Self::Irrevocable(_) => "irrevocable",
        }
    }

    /// The attempts at revoking it.
    pub const fn revoking(&self) -> Option<&Revoking> {
        match self {
            Self::Active | Self::Intended(_) => None,
            Self::Revoking(revoking) | Self::Irrevocable(revoking) => Some(revoking),
        }
    }

    /// The second under which it stands in its mount's queue.
    pub(crate) fn queued_at(&self) -> Option<u64> {
        match self {
            Self::Active | Self::Intended(_) => None,
            Self::Revoking(revoking) => Some(revoking.next.as_secs()),
            Self::Irrevocable(_) => Some(NEVER),
        }
    }
}

/// The place in a queue of what an operator asks for: it is tried whatever its mount's other leases wait for.
pub(crate) const URGENT: u64 = 0;
/// The place in a queue of what is not tried again of itself.
pub(crate) const NEVER: u64 = u64::MAX;

/// A lease in the queue of its mount.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct QueuedLease {
    /// The namespace of the lease.
    #[serde(rename = "s", default, skip_serializing_if = "NamespaceId::is_root")]
    pub(crate) namespace: NamespaceId,
    /// The lease.
    #[serde(rename = "l")]
    pub(crate) lease: String,
}

impl Stored for QueuedLease {}

impl Stored for Lease {}

impl Lease {
    /// The listing of a token among the leases: the token has all the facts.
    pub(crate) fn of_token(id: TokenId, entry: &TokenEntry) -> Self {
        Self { token: Some(id), mount: entry.mount, ..Self::default() }
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

impl From<NamespaceId> for OwnedLease {
    fn from(namespace: NamespaceId) -> Self {
        Self { namespace }
    }
}

/// A lease that is about to be made.
pub(crate) struct NewLease<'a> {
    /// The mount that grants it.
    pub(crate) mounted: &'a Mounted,
    /// The path of the request.
    pub(crate) path: &'a str,
    /// Who asked; `None` for what no token ends.
    pub(crate) owner: Option<&'a Principal>,
    /// Its kind among its engine's.
    pub(crate) kind: &'a str,
}

/// The expiry index key of a lease: its id hashed to the width of a token's key.
pub(crate) fn due_key(id: &str) -> TokenKey {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, id.as_bytes());
    let mut key = TokenKey::default();
    for (to, from) in key.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    key
}

/// A lease that is being renewed.
pub struct Renewing {
    namespace: NamespaceId,
    id: String,
    increment: Option<Duration>,
    granted: ttl::Granted,
    mounted: Arc<Mounted>,
    lease: Arc<Lease>,
    /// What the engine said.
    terms: Option<LeaseTerms>,
}

/// A lease as just granted or renewed, and what the client should know about it (a capped TTL).
pub(crate) type Granted = (HeldLease, Option<String>);

impl Core {
    /// Makes the lease for a secret within `txn`. The mount and the token that holds the lease must still be there when
    /// it commits.
    pub(crate) async fn make_lease(
        &self,
        txn: &Txn,
        mounted: &Mounted,
        path: &str,
        owner: &Principal,
        grant: LeaseGrant,
    ) -> Result<Granted, EngineError> {
        let (lifetimes, namespace) = (mounted.mount.lifetimes, mounted.mount.namespace);
        let (now, holder) = (self.environment.clock.now(), LeaseOwner::of(owner));
        let wanted = if grant.ttl.is_zero() { lifetimes.default } else { grant.ttl };
        let max = nonzero_min(grant.max_ttl, lifetimes.max);
        if grant.hint_only {
            let ttl = ttl::lease_ttl(now, wanted, max, now).ttl;
            return Ok((HeldLease { id: String::new(), ttl, renewable: false }, None));
        }
        let granted = ttl::lease_ttl(now, wanted, within_owner(now, max, now, holder), now);
        let ttl = granted.ttl;
        let new = NewLease { mounted, path, owner: Some(owner), kind: grant.kind };
        let (id, lease) = self.new_lease(txn, &new).await?;
        let lease = Lease {
            expires: now.after(ttl),
            ttl,
            max_ttl: grant.max_ttl,
            renewable: grant.renewable,
            payload: grant.payload,
            ..lease
        };
        let entry = ExpiryEntry::of_lease(namespace, &id, &lease);
        EXPIRY.put(txn, &(lease.expires.as_secs(), &due_key(&id)), entry)?;
        if let Some(token) = holder.holder() {
            OWNED_LEASES.put(txn, &(token.namespace, token.key, &id), namespace.into())?;
        }
        LEASES.put(txn, &(namespace, &id), lease)?;
        Ok((HeldLease { id, ttl, renewable: grant.renewable }, granted.warning))
    }

    /// The id and the facts of a lease that is granted now, without its terms. The mount, and the token that holds the lease,
    /// must still be there when `txn` commits.
    pub(crate) async fn new_lease(
        &self,
        txn: &Txn,
        new: &NewLease<'_>,
    ) -> Result<(String, Lease), EngineError> {
        let NewLease { mounted, path, owner, kind } = new;
        if !kind.is_empty() && mounted.engine.lease_kind(kind).is_none() {
            return Err(EngineError::Internal(format!("the engine has no leases of kind {kind:?}")));
        }
        let holder = owner.map(LeaseOwner::of);
        if let Some(token) = holder.and_then(LeaseOwner::holder)
            && TOKENS.get(txn, &token.at()).await?.is_none()
        {
            return Err(EngineError::Denied("permission denied".to_owned()));
        }
        self.require_mount(txn, mounted).await?;
        let end = suffix(mounted.mount.namespace);
        let id = format!("{path}/{}{end}", self.environment.entropy.base62(LEASE_ID_LEN)?);
        let lease = Lease {
            owner: holder,
            entity_id: owner.map_or_else(String::new, |owner| owner.entry.entity_id.clone()),
            mount: mounted.mount.id,
            kind: (*kind).to_owned(),
            issued: self.environment.clock.now(),
            ..Lease::default()
        };
        Ok((id, lease))
    }

    /// Puts an intent into force within `txn`: its life begins now.
    pub(crate) fn activate(
        &self,
        txn: &Txn,
        mounted: &Mounted,
        (namespace, id): (NamespaceId, &str),
        intended: Lease,
    ) -> Result<Granted, EngineError> {
        let (now, lifetimes) = (self.environment.clock.now(), mounted.mount.lifetimes);
        let wanted = if intended.ttl.is_zero() { lifetimes.default } else { intended.ttl };
        let max = nonzero_min(intended.max_ttl, lifetimes.max);
        let max = intended.owner.map_or(max, |owner| within_owner(now, max, now, owner));
        let granted = ttl::lease_ttl(now, wanted, max, now);
        let lease = Lease {
            issued: now,
            expires: now.after(granted.ttl),
            ttl: granted.ttl,
            state: LeaseState::Active,
            ..intended
        };
        INTENTS.delete(txn, &(lease.mount, &due_key(id)));
        let entry = ExpiryEntry::of_lease(namespace, id, &lease);
        EXPIRY.put(txn, &(lease.expires.as_secs(), &due_key(id)), entry)?;
        let held = HeldLease { id: id.to_owned(), ttl: granted.ttl, renewable: lease.renewable };
        LEASES.put(txn, &(namespace, id), lease)?;
        Ok((held, granted.warning))
    }

    /// Makes sure that a mount is not disabled before `txn` commits: whoever disables it finds what it has granted, or the
    /// grant finds no mount.
    pub(crate) async fn require_mount(&self, txn: &Txn, mounted: &Mounted) -> Result<(), EngineError> {
        if mounted.engine.class() == Class::System {
            return Ok(());
        }
        let entry = MOUNTS.get(txn, &(mounted.mount.namespace, mounted.path.as_str())).await?;
        if entry.is_some_and(|entry| entry.id == mounted.mount.id) {
            Ok(())
        } else {
            Err(EngineError::NotFound)
        }
    }

    /// A lease that a client would renew, as it stands: an error where it cannot be renewed at all.
    pub async fn renewable_lease(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        id: &str,
        increment: Option<Duration>,
    ) -> Result<Renewing, EngineError> {
        let now = self.environment.clock.now();
        let Some(lease) = LEASES.get(reads, &(namespace, id)).await? else {
            return Err(bad_request("lease not found"));
        };
        if lease.token.is_some() {
            return Err(bad_request("tokens cannot be renewed through this endpoint"));
        }
        if lease.expires <= now || !lease.state.is_active() {
            return Err(bad_request("lease expired"));
        }
        if !lease.renewable {
            return Err(bad_request("lease is not renewable"));
        }
        let router = self.router().await?;
        let Some(mounted) = router.by_id(namespace, lease.mount) else {
            // Its mount is disabled, and it is about to be revoked.
            return Err(bad_request("lease expired"));
        };
        let increment = increment.filter(|increment| !increment.is_zero());
        let wanted = increment.unwrap_or(lease.ttl);
        let granted = renewal(&lease, wanted, mounted.mount.lifetimes, now)?;
        Ok(Renewing { namespace, id: id.to_owned(), increment, granted, mounted, lease, terms: None })
    }

    /// Has the engine say what it grants, where its leases are of a kind with a say in it. Runs once, in no transaction.
    pub async fn ask_engine(self: &Arc<Self>, mut renewing: Renewing) -> Result<Renewing, EngineError> {
        let mounted = renewing.mounted.clone();
        let kind = mounted.engine.lease_kind(&renewing.lease.kind);
        let Some(kind) = kind.filter(|kind| kind.has_say_in_renewals()) else { return Ok(renewing) };
        let in_hand = LeaseInHand {
            id: renewing.id.clone(),
            until: self.environment.clock.now().after(renewing.granted.ttl),
            increment: renewing.increment,
            is_last: true,
            payload: renewing.lease.payload.clone(),
        };
        let txn = self.barrier.transaction(self.barrier.view());
        renewing.terms = kind.run_renew(&self.lease_call(&mounted, &txn, in_hand)).await.transpose()?;
        Ok(renewing)
    }

    /// Renews a lease within `txn`, within its own and its mount's maximum since it was granted, and as its engine said.
    pub async fn renew_lease(&self, txn: &Txn, asked: &Renewing) -> Result<Granted, EngineError> {
        let (namespace, id) = (asked.namespace, asked.id.as_str());
        // It may have ended since, or been renewed by another.
        let Renewing { lease, mounted, mut granted, .. } =
            self.renewable_lease(txn, namespace, id, asked.increment).await?;
        let now = self.environment.clock.now();
        let mut renewed = (*lease).clone();
        if let Some(terms) = asked.terms {
            let wanted = if terms.ttl.is_zero() { granted.ttl } else { terms.ttl.min(granted.ttl) };
            renewed.max_ttl = if terms.max_ttl.is_zero() { renewed.max_ttl } else { terms.max_ttl };
            let warning = granted.warning;
            granted = renewal(&renewed, wanted, mounted.mount.lifetimes, now)?;
            granted.warning = granted.warning.or(warning);
        }
        renewed.expires = now.after(granted.ttl);
        renewed.renewed = Some(now);
        EXPIRY.delete(txn, &(lease.expires.as_secs(), &due_key(id)));
        let entry = ExpiryEntry::of_lease(namespace, id, &renewed);
        EXPIRY.put(txn, &(renewed.expires.as_secs(), &due_key(id)), entry)?;
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

/// The life of a lease that is renewed now; an error where nothing of it is left.
fn renewal(
    lease: &Lease,
    wanted: Duration,
    lifetimes: Lifetimes,
    now: Moment,
) -> Result<ttl::Granted, EngineError> {
    let max = nonzero_min(lease.max_ttl, lifetimes.max);
    let max = lease.owner.map_or(max, |owner| within_owner(lease.issued, max, now, owner));
    let granted = ttl::lease_ttl(lease.issued, wanted, max, now);
    if granted.ttl.is_zero() {
        return Err(bad_request("past the max TTL, cannot renew"));
    }
    Ok(granted)
}

/// The most that a lease can live since it was issued, where its owner's end is one that nothing moves.
fn within_owner(issued: Moment, max: Duration, now: Moment, owner: LeaseOwner) -> Duration {
    match owner.end() {
        // In force a moment ago: one that ends now leaves no time.
        Some(end) if end > now => max.min(end.since(issued)),
        Some(_) => Duration::ZERO,
        None => max,
    }
}
