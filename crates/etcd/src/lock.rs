//! The lock: a key that goes away with its lease, and a number that only grows.

use std::time::Duration;

use strongroom_leased_db::{Claim, Fence};
use strongroom_storage::{Active, StoreError};

use crate::database::{Core, put};
use crate::layout::{Lock, LockRecord, State, fence_value, lock_value};
use crate::wire::{Compare, DeleteRequest, LeaseResponse, Number, Octets, PutRequest, Step, TxnRequest};

/// The number of attempts of a claim while others claim or release, too.
const MAX_ATTEMPTS: usize = 10;

impl Core {
    pub(crate) async fn claim(
        &self,
        me: &Active,
        span: Duration,
        by_force: bool,
    ) -> Result<Claim, StoreError> {
        let mut lease = None;
        for _ in 0..MAX_ATTEMPTS {
            let state = self.state().await?;
            if let Some(lock) = &state.lock
                && lock.record.holder.number != me.number
                && !by_force
            {
                self.give_up(lease).await;
                return Ok(Claim::Held(lock.record.holder.clone()));
            }
            let granted = match lease {
                Some(granted) => granted,
                None => self.client.grant(seconds(span)).await?.id,
            };
            lease = Some(granted);
            let fence = state.head.fence.saturating_add(1);
            if self.client.write(&self.take(&state, me, fence, granted)?).await?.succeeded {
                self.give_up(state.lock.map(|lock| lock.lease)).await;
                return Ok(Claim::Granted(fence));
            }
        }
        self.give_up(lease).await;
        Err(StoreError::Failed("the lock in etcd has changed hands every time it was asked for".to_owned()))
    }

    /// Puts the lock and the fence, if both are as they were seen. The head may have moved on meanwhile: who owns the
    /// lock does not hold up who takes it by force.
    fn take(&self, seen: &State, me: &Active, fence: Fence, lease: Number) -> Result<TxnRequest, StoreError> {
        let layout = &self.layout;
        let changed_at = seen.lock.as_ref().map(|lock| lock.changed_at).unwrap_or_default();
        Ok(TxnRequest {
            compare: vec![
                Compare::changed_at(&layout.lock(), changed_at),
                Compare::value(&layout.fence(), &fence_value(seen.head.fence)),
            ],
            success: vec![
                self.put_lock(&LockRecord { fence, holder: me.clone() }, lease)?,
                put(layout.fence(), fence_value(fence)),
            ],
        })
    }

    fn put_lock(&self, record: &LockRecord, lease: Number) -> Result<Step, StoreError> {
        let (key, value) = (Octets(self.layout.lock()), Octets(lock_value(record)?));
        Ok(Step::Put(PutRequest { key, value, lease }))
    }

    pub(crate) async fn renew(&self, fence: Fence, span: Duration) -> Result<bool, StoreError> {
        let Some(lock) = self.lock_of(fence).await? else { return Ok(false) };
        let LeaseResponse { ttl, .. } = self.client.keep_alive(lock.lease).await?;
        if ttl == Number(0) {
            return Ok(false);
        }
        if ttl.0 >= seconds(span) {
            // It may have gone by force while the lease was kept.
            return Ok(self.lock_of(fence).await?.is_some());
        }
        self.lengthen(&lock, span).await
    }

    /// Puts the lock with a longer lease.
    async fn lengthen(&self, lock: &Lock, span: Duration) -> Result<bool, StoreError> {
        let lease = self.client.grant(seconds(span)).await?.id;
        let transaction = TxnRequest {
            compare: vec![Compare::changed_at(&self.layout.lock(), lock.changed_at)],
            success: vec![self.put_lock(&lock.record, lease)?],
        };
        let done = self.client.write(&transaction).await?.succeeded;
        self.give_up(Some(if done { lock.lease } else { lease })).await;
        Ok(done)
    }

    pub(crate) async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        let Some(lock) = self.lock_of(fence).await? else { return Ok(()) };
        let key = self.layout.lock();
        let transaction = TxnRequest {
            compare: vec![Compare::changed_at(&key, lock.changed_at)],
            success: vec![Step::Delete(DeleteRequest { key: Octets(key) })],
        };
        self.client.write(&transaction).await?;
        self.give_up(Some(lock.lease)).await;
        Ok(())
    }

    /// The lock, where its owner is the one with this number.
    async fn lock_of(&self, fence: Fence) -> Result<Option<Lock>, StoreError> {
        let lock = self.state().await?.lock;
        Ok(lock.filter(|lock| lock.record.fence == fence))
    }

    /// Ends a lease that no key needs any more. It would end by itself.
    async fn give_up(&self, lease: Option<Number>) {
        if let Some(lease) = lease
            && let Err(error) = self.client.revoke(lease).await
        {
            tracing::debug!(%error, "a lease in etcd was left to end by itself");
        }
    }
}

/// Whole seconds, as etcd counts leases: no shorter than asked for.
fn seconds(span: Duration) -> i64 {
    let whole = span.as_secs();
    let whole = if span.subsec_nanos() > 0 { whole.saturating_add(1) } else { whole };
    i64::try_from(whole).unwrap_or(i64::MAX).max(1)
}
