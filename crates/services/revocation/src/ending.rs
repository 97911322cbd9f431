//! Ends leases: one, all under a prefix, and expired ones.
//!
//! To end a lease is to mark it: nothing outside is asked here, so it costs the same however many leases there are and
//! whatever state the outside is in. A lease that nothing stands outside for is gone at once. Any other goes to the queue
//! of its mount, in order of its next attempt, where the revoker ([`super::revoker`]) finds it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment};
use strongroom_expiry::{EXPIRY, End, ExpiryEntry, LEASES, Lease, TokenId, TokenKey, end_lease};
use strongroom_tokens::{BACKGROUND_STEP, STEP as TREE_STEP};

use crate::{PREFIX_REVOCATIONS, Revocation};

/// Leases and tokens ended in one transaction, not counting what hangs on the tokens. Few: a commit is applied as a whole, with
/// all that it has read looked at again, and everybody else's commits wait for it meanwhile.
pub(crate) const STEP: usize = 16;

/// The progress of a revocation under a prefix.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PrefixRevocation {
    /// The last lease id dealt with.
    after: String,
    /// True if leases are removed even if revoking them in the external system fails.
    forced: bool,
    /// The mount whose leases alone go, where it has left the path to others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mount: Option<MountId>,
}

impl Stored for PrefixRevocation {}

impl Revocation {
    /// Revokes the lease with this id, or the token whose lease it is; answers whether there was one.
    pub async fn revoke_lease_id(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<bool, EngineError> {
        let Some(lease) = LEASES.get(txn, &(namespace, id)).await? else { return Ok(false) };
        let mut budget = TREE_STEP;
        self.revoke_lease(txn, namespace, id, &lease, End::Asked, &mut budget).await?;
        Ok(true)
    }

    /// Ends a lease within `txn`, taking from `budget` what hangs on a token and is removed with it.
    pub(crate) async fn revoke_lease(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
        lease: &Lease,
        end: End,
        budget: &mut usize,
    ) -> Result<(), EngineError> {
        tracing::debug!(lease_id = id, ?end, "lease ends");
        if let Some(token) = lease.token {
            LEASES.delete(txn, &(namespace, id));
            return self.tokens.revoke_tree(txn, &token, budget).await;
        }
        end_lease(txn, namespace, id, lease, end, self.environment.clock.now())?;
        Ok(())
    }

    /// Revokes everything whose lease id begins with `prefix`, and the lease whose id it is: as much as goes in one
    /// transaction, the rest by housekeeping. A prefix means a folder: `a/b` is not a prefix of `a/bc`. Answers
    /// whether there is a rest. Leases granted meanwhile may stay.
    pub async fn revoke_prefix(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        prefix: &str,
        forced: bool,
    ) -> Result<bool, EngineError> {
        let mut budget = TREE_STEP;
        if let Some(lease) = LEASES.get(txn, &(namespace, prefix)).await? {
            self.revoke_lease(txn, namespace, prefix, &lease, ends(forced), &mut budget).await?;
        }
        let folder = folder(prefix);
        let whole = PrefixRevocation { after: folder.clone(), forced, mount: None };
        self.end_some(txn, namespace, &folder, whole).await
    }

    /// Revokes what a mount that moves away from `folder` has granted there: as much as goes in one transaction, the rest by
    /// housekeeping. What another mount grants there afterwards stays.
    pub async fn revoke_moved(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        folder: &str,
        mount: MountId,
    ) -> Result<(), EngineError> {
        // A revocation of everything there that is under way stays one of everything.
        let noted = PREFIX_REVOCATIONS.get(txn, &(noted(namespace), folder)).await?;
        let (forced, mount) = noted.map_or((false, Some(mount)), |noted| (noted.forced, None));
        let revocation = PrefixRevocation { after: folder.to_owned(), forced, mount };
        self.end_some(txn, namespace, folder, revocation).await?;
        Ok(())
    }

    /// Tells whether housekeeping still revokes under `folder`.
    pub async fn is_revoking(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        folder: &str,
    ) -> Result<bool, BarrierError> {
        Ok(PREFIX_REVOCATIONS.get(reads, &(noted(namespace), folder)).await?.is_some())
    }

    /// As [`Revocation::revoke_prefix`], in as many transactions of its own as it takes, and done when it answers, with all
    /// that hung on revoked tokens and all that stood outside. When the caller goes away in between, housekeeping does
    /// the rest.
    ///
    /// # Errors
    ///
    /// The external system's error for the first lease that could not be revoked.
    pub async fn revoke_prefix_now(
        &self,
        namespace: NamespaceId,
        prefix: &str,
        forced: bool,
    ) -> Result<(), EngineError> {
        let folder = folder(prefix);
        let mut begun = false;
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            let more = if begun {
                self.resume(&txn, namespace, &folder).await?
            } else {
                self.revoke_prefix(&txn, namespace, prefix, forced).await?
            };
            match txn.clone().commit().await {
                Ok(_) => begun = true,
                Err(BarrierError::Conflict) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if !more {
                break;
            }
        }
        self.finish_revocations().await?;
        self.await_prefix(namespace, prefix, &folder).await
    }

    /// Returns when every token revocation that is under way has come to its end.
    pub(super) async fn finish_revocations(&self) -> Result<(), EngineError> {
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            if !self.tokens.has_revocations(&txn).await? {
                return Ok(());
            }
            match self.continue_revocations().await {
                Ok(_) => {}
                Err(EngineError::Barrier(BarrierError::Conflict)) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on with what was too large for one transaction, and with looking for records that lead nowhere; answers whether
    /// there was anything.
    pub async fn continue_revocations(&self) -> Result<bool, EngineError> {
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let found = self.tokens.continue_revocations(&txn).await?
            || self.continue_prefixes(&txn).await?
            || self.continue_entities(&txn).await?
            || self.tokens.continue_tidying(&txn).await?;
        if found {
            txn.commit().await?;
        }
        Ok(found)
    }

    /// Goes on with a noted revocation under `folder`; answers whether there is more.
    async fn resume(&self, txn: &Txn, namespace: NamespaceId, folder: &str) -> Result<bool, EngineError> {
        let Some(revocation) = PREFIX_REVOCATIONS.get(txn, &(noted(namespace), folder)).await? else {
            return Ok(false);
        };
        self.end_some(txn, namespace, folder, (*revocation).clone()).await
    }

    /// Goes on with the first of the noted revocations under a prefix; answers whether there was one.
    async fn continue_prefixes(&self, txn: &Txn) -> Result<bool, EngineError> {
        let noted = PREFIX_REVOCATIONS.keys(txn, &(), None, 1).await?;
        let Some((number, folder)) = noted.into_iter().next() else { return Ok(false) };
        let namespace = NamespaceId::new(u32::try_from(number).unwrap_or_default());
        self.resume(txn, namespace, &folder).await?;
        Ok(true)
    }

    /// Ends one step's worth of the leases under `folder` and updates the note; answers whether there is more.
    async fn end_some(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        folder: &str,
        revocation: PrefixRevocation,
    ) -> Result<bool, EngineError> {
        let after = (namespace, revocation.after.as_str());
        // From the view: a lease granted meanwhile is no reason to decide anew.
        let found = LEASES.keys_after(txn.peek(), &(namespace, folder), &after, STEP).await?;
        let mut budget = BACKGROUND_STEP;
        for (_, id) in &found {
            let lease = LEASES.get(txn, &(namespace, id)).await?;
            let is_meant = |lease: &Arc<Lease>| revocation.mount.is_none_or(|mount| mount == lease.mount);
            if let Some(lease) = lease.filter(is_meant) {
                self.revoke_lease(txn, namespace, id, &lease, ends(revocation.forced), &mut budget).await?;
            }
        }
        let more = found.len() == STEP;
        match found.into_iter().last() {
            Some((_, after)) if more => {
                let next = PrefixRevocation { after, ..revocation };
                PREFIX_REVOCATIONS.put(txn, &(noted(namespace), folder), next)?;
            }
            _ => PREFIX_REVOCATIONS.delete(txn, &(noted(namespace), folder)),
        }
        Ok(more)
    }

    /// Ends what is due by now, one bounded transaction; answers whether there may be more.
    pub async fn expire_due(&self) -> Result<bool, EngineError> {
        let now = self.environment.clock.now();
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let after = self.expired.get();
        let found = match &after {
            Some((at, key)) => EXPIRY.scan_after(txn.peek(), &(), Some(&(*at, key)), STEP).await?,
            None => EXPIRY.scan(txn.peek(), &(), None, STEP).await?,
        };
        let due: Vec<_> = found.into_iter().take_while(|((at, _), _)| *at <= now.as_secs()).collect();
        let mut budget = BACKGROUND_STEP;
        let mut ended = 0usize;
        for ((at, key), what) in &due {
            let one = self.expire(&txn, *at, key, what, now, &mut budget).await?;
            ended = ended.saturating_add(usize::from(one));
        }
        if !txn.is_empty() {
            txn.commit().await?;
        }
        // Whatever was not over, or came behind the walk, is found by the next one from the beginning.
        let more = due.len() == STEP && ended > 0;
        self.expired.set(due.last().filter(|_| more).map(|(key, _)| *key));
        Ok(more || after.is_some())
    }

    /// Ends one entry of the index, unless it was renewed or its second is not over.
    async fn expire(
        &self,
        txn: &Txn,
        at: u64,
        key: &TokenKey,
        what: &ExpiryEntry,
        now: Moment,
        budget: &mut usize,
    ) -> Result<bool, EngineError> {
        let namespace = what.namespace;
        match &what.lease {
            None => match self.tokens.entry(txn, &TokenId { namespace, key: *key }).await? {
                Some(entry) if entry.expires.is_some_and(|end| end.as_secs() == at && end > now) => {
                    return Ok(false);
                }
                Some(entry) if entry.has_expired(now) => {
                    self.tokens.revoke_tree(txn, &TokenId { namespace, key: *key }, budget).await?;
                }
                _ => EXPIRY.delete(txn, &(at, key)),
            },
            Some(id) => match LEASES.get(txn, &(namespace, id)).await? {
                Some(lease) if lease.state.is_active() && lease.expires > now => return Ok(false),
                Some(lease) if lease.state.is_active() => {
                    self.revoke_lease(txn, namespace, id, &lease, End::Due, budget).await?;
                }
                _ => EXPIRY.delete(txn, &(at, key)),
            },
        }
        Ok(true)
    }
}

/// The number of a namespace in the notes of revocations under way.
fn noted(namespace: NamespaceId) -> u64 {
    namespace.get().into()
}

const fn ends(forced: bool) -> End {
    if forced { End::Forced } else { End::Due }
}

/// A prefix as a folder.
fn folder(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}
