//! Ending leases: one, all under a prefix, and those whose time has come.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_barrier::{BarrierError, MountId, NamespaceId, Reads, Stored, Txn};
use strongroom_engine_api::{EngineError, Moment};

use super::{ExpiryEntry, Lease, due_key};
use crate::Core;
use crate::tables::{EXPIRY, IRREVOCABLE, LEASES, OWNED_LEASES, PREFIX_REVOCATIONS, TOKENS};
use crate::tokens::{STEP as TREE_STEP, TokenId, TokenKey};

/// Leases and tokens ended in one transaction, not counting what hangs on the tokens.
pub(crate) const STEP: usize = 128;
/// How long a lease whose revocation failed waits before the next attempt, times the number of attempts.
const RETRY_STEP: Duration = Duration::from_secs(10);
/// Attempts at revoking a lease before it is left to an operator (Vault's number).
const MOST_ATTEMPTS: u32 = 6;

/// How far a revocation under a prefix has come.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PrefixRevocation {
    /// The last lease id dealt with.
    after: String,
    /// Whether what engines say about it is ignored.
    forced: bool,
}

impl Stored for PrefixRevocation {}

/// Why a lease is left to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Irrevocable {
    /// What the last attempt failed with.
    pub error: String,
    /// The mount that granted it.
    pub mount: MountId,
}

impl Stored for Irrevocable {}

impl Core {
    /// Revokes the lease with this id, or the token whose lease it is; answers whether there was one.
    pub async fn revoke_lease_id(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
    ) -> Result<bool, EngineError> {
        let Some(lease) = LEASES.get(txn, &(namespace, id)).await? else { return Ok(false) };
        self.revoke_lease(txn, namespace, id, &lease, false).await?;
        Ok(true)
    }

    /// Ends a lease within `txn`. `forced`: whatever the engine says about it.
    pub(crate) async fn revoke_lease(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
        lease: &Lease,
        forced: bool,
    ) -> Result<(), EngineError> {
        let mut budget = TREE_STEP;
        self.revoke_lease_within(txn, namespace, id, lease, forced, &mut budget).await
    }

    /// As [`Core::revoke_lease`], taking from `budget` what hangs on a token and is removed with it.
    pub(crate) async fn revoke_lease_within(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
        lease: &Lease,
        forced: bool,
        budget: &mut usize,
    ) -> Result<(), EngineError> {
        tracing::debug!(lease_id = id, forced, "lease ends");
        if let Some(token) = lease.token {
            LEASES.delete(txn, &(namespace, id));
            return self.revoke_tree(txn, &token, budget).await;
        }
        end_secret_lease(txn, namespace, id, lease);
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
        self.revoke_lease_id(txn, namespace, prefix).await?;
        let folder = folder(prefix);
        self.end_some(txn, namespace, &folder, PrefixRevocation { after: folder.clone(), forced }).await
    }

    /// As [`Core::revoke_prefix`], in as many transactions of its own as it takes, and done when it answers, with all
    /// that hung on revoked tokens. When the caller goes away in between, housekeeping does the rest.
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
        self.finish_revocations().await
    }

    /// Returns when every token revocation that is under way has come to its end.
    async fn finish_revocations(&self) -> Result<(), EngineError> {
        loop {
            let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
            if !self.has_revocations(&txn).await? {
                return Ok(());
            }
            match self.continue_revocations().await {
                Ok(_) => {}
                Err(EngineError::Barrier(BarrierError::Conflict)) => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on with a noted revocation under `folder`; answers whether there is more.
    async fn resume(&self, txn: &Txn, namespace: NamespaceId, folder: &str) -> Result<bool, EngineError> {
        let Some(revocation) = PREFIX_REVOCATIONS.get(txn, &(noted(namespace), folder)).await? else {
            return Ok(false);
        };
        self.end_some(txn, namespace, folder, (*revocation).clone()).await
    }

    /// Goes on with the first of the noted revocations under a prefix; answers whether there was one.
    pub(crate) async fn continue_prefixes(&self, txn: &Txn) -> Result<bool, EngineError> {
        let noted = PREFIX_REVOCATIONS.keys(txn, &(), None, 1).await?;
        let Some((number, folder)) = noted.into_iter().next() else { return Ok(false) };
        let namespace = NamespaceId::new(u32::try_from(number).unwrap_or_default());
        self.resume(txn, namespace, &folder).await?;
        Ok(true)
    }

    /// Ends one step's worth of what lies under `folder` and keeps the note true; answers whether there is more.
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
        let mut budget = TREE_STEP;
        for (_, id) in &found {
            if let Some(lease) = LEASES.get(txn, &(namespace, id)).await? {
                self.revoke_lease_within(txn, namespace, id, &lease, revocation.forced, &mut budget).await?;
            }
        }
        let more = found.len() == STEP;
        match found.into_iter().last() {
            Some((_, after)) if more => {
                let next = PrefixRevocation { after, forced: revocation.forced };
                PREFIX_REVOCATIONS.put(txn, &(noted(namespace), folder), next)?;
            }
            _ => PREFIX_REVOCATIONS.delete(txn, &(noted(namespace), folder)),
        }
        Ok(more)
    }

    /// Revokes one step's worth of the leases under a prefix; answers how many.
    pub async fn revoke_prefix_step(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        prefix: &str,
        forced: bool,
    ) -> Result<usize, EngineError> {
        let found = LEASES.scan(txn, &(namespace, prefix), None, STEP).await?;
        let mut budget = TREE_STEP;
        for ((_, id), lease) in &found {
            self.revoke_lease_within(txn, namespace, id, lease, forced, &mut budget).await?;
        }
        Ok(found.len())
    }

    /// Leases that could not be revoked, by id.
    pub async fn irrevocable_leases(
        &self,
        reads: &impl Reads,
        namespace: NamespaceId,
        limit: usize,
    ) -> Result<Vec<(String, Irrevocable)>, BarrierError> {
        let found = IRREVOCABLE.scan(reads, &namespace, None, limit).await?;
        Ok(found.into_iter().map(|((_, id), why)| (id, (*why).clone())).collect())
    }

    /// Ends what is due by now, one bounded transaction; answers whether there may be more.
    pub async fn expire_due(&self) -> Result<bool, EngineError> {
        let now = self.environment.clock.now();
        let txn = self.barrier.transaction(self.barrier.pinned_view().await?);
        let due = EXPIRY.scan(txn.peek(), &(), None, STEP).await?;
        let due: Vec<_> = due.into_iter().take_while(|((at, _), _)| *at <= now.as_secs()).collect();
        let mut budget = TREE_STEP;
        let mut ended = 0usize;
        for ((at, key), what) in &due {
            let one = self.expire(&txn, *at, key, what, now, &mut budget).await?;
            ended = ended.saturating_add(usize::from(one));
        }
        if !txn.is_empty() {
            txn.commit().await?;
        }
        Ok(due.len() == STEP && ended > 0)
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
            None => match TOKENS.get(txn, &(namespace, key)).await? {
                Some(entry) if entry.expires.is_some_and(|end| end.as_secs() == at && end > now) => {
                    return Ok(false);
                }
                Some(entry) if entry.has_expired(now) => {
                    self.revoke_tree(txn, &TokenId { namespace, key: *key }, budget).await?;
                }
                _ => EXPIRY.delete(txn, &(at, key)),
            },
            Some(id) => match LEASES.get(txn, &(namespace, id)).await? {
                Some(lease) if lease.due() > now => return Ok(false),
                Some(lease) => self.end_lease(txn, namespace, id, &lease, now).await?,
                None => EXPIRY.delete(txn, &(at, key)),
            },
        }
        Ok(true)
    }

    /// Revokes a lease that is due; when that fails it is tried again later.
    async fn end_lease(
        &self,
        txn: &Txn,
        namespace: NamespaceId,
        id: &str,
        lease: &Lease,
        now: Moment,
    ) -> Result<(), EngineError> {
        match self.revoke_lease(txn, namespace, id, lease, false).await {
            Err(error) if !matches!(error, EngineError::Barrier(_)) => {
                note_failure(txn, namespace, id, lease, &error.to_string(), now)?;
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// The number of a namespace in the notes of revocations under way.
fn noted(namespace: NamespaceId) -> u64 {
    namespace.get().into()
}

/// Removes the records of a secret's lease.
pub(crate) fn end_secret_lease(txn: &Txn, namespace: NamespaceId, id: &str, lease: &Lease) {
    EXPIRY.delete(txn, &(lease.due().as_secs(), &due_key(id)));
    if let Some(owner) = lease.owner {
        OWNED_LEASES.delete(txn, &(owner.namespace, owner.key, id));
    }
    if lease.failures >= MOST_ATTEMPTS {
        IRREVOCABLE.delete(txn, &(namespace, id));
    }
    LEASES.delete(txn, &(namespace, id));
}

/// A lease that could not be revoked stays and is tried again, ever less often, and is left to an operator at last.
fn note_failure(
    txn: &Txn,
    namespace: NamespaceId,
    id: &str,
    lease: &Lease,
    error: &str,
    now: Moment,
) -> Result<(), BarrierError> {
    let mut failed = lease.clone();
    failed.failures = failed.failures.saturating_add(1);
    tracing::error!(lease_id = id, attempts = failed.failures, error, "lease revocation failed");
    EXPIRY.delete(txn, &(lease.due().as_secs(), &due_key(id)));
    if failed.failures >= MOST_ATTEMPTS {
        let why = Irrevocable { error: error.to_owned(), mount: lease.mount };
        IRREVOCABLE.put(txn, &(namespace, id), why)?;
    } else {
        let retry = now.after(RETRY_STEP.saturating_mul(failed.failures));
        failed.retry = Some(retry);
        let entry = ExpiryEntry::of_lease(namespace, id, &failed);
        EXPIRY.put(txn, &(retry.as_secs(), &due_key(id)), entry)?;
    }
    LEASES.put(txn, &(namespace, id), failed)
}

/// A prefix as a folder.
fn folder(prefix: &str) -> String {
    if prefix.is_empty() || prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strongroom_barrier::{Barrier, Keyring};
    use strongroom_stdx::Entropy;
    use strongroom_storage::InMemory;

    use super::*;

    #[tokio::test]
    async fn what_cannot_be_revoked_is_tried_again_and_then_left_to_an_operator() {
        let entropy = Entropy::system();
        let barrier = Barrier::new(Arc::new(InMemory::new()), entropy.clone(), 0);
        let mut now = Moment::from_secs(1000);
        barrier.unseal(Keyring::generate(&entropy, now).unwrap());
        let txn = barrier.transaction(barrier.pinned_view().await.unwrap());
        let lease = async || (*LEASES.get(&txn, &(NamespaceId::ROOT, "a/b")).await.unwrap().unwrap()).clone();
        let due = async || EXPIRY.keys(&txn, &(), None, 10).await.unwrap();
        note_failure(
            &txn,
            NamespaceId::ROOT,
            "a/b",
            &Lease { expires: now, mount: MountId::new(7), ..Lease::default() },
            "refused",
            now,
        )
        .unwrap();
        for attempts in 1..MOST_ATTEMPTS {
            let wait = RETRY_STEP.saturating_mul(attempts);
            assert_eq!(
                due().await,
                [(now.after(wait).as_secs(), due_key("a/b"))],
                "after {attempts} attempts"
            );
            now = now.after(wait);
            note_failure(&txn, NamespaceId::ROOT, "a/b", &lease().await, "refused", now).unwrap();
        }
        assert_eq!(due().await, [], "nobody tries again by itself");
        let why = IRREVOCABLE.get(&txn, &(NamespaceId::ROOT, "a/b")).await.unwrap().unwrap();
        assert_eq!(*why, Irrevocable { error: "refused".to_owned(), mount: MountId::new(7) });
        end_secret_lease(&txn, NamespaceId::ROOT, "a/b", &lease().await);
        assert!(LEASES.get(&txn, &(NamespaceId::ROOT, "a/b")).await.unwrap().is_none());
        assert!(IRREVOCABLE.get(&txn, &(NamespaceId::ROOT, "a/b")).await.unwrap().is_none());
    }
}
