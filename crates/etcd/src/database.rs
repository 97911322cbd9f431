//! The database: entries, and the head that every change of them goes through.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_leased_db::{ApplyError, Batch, Claim, Database, Fence, Head, Limits};
use strongroom_storage::{Active, Index, KeyRange, Snapshot, StoreError};

use crate::client::Client;
use crate::error::CallError;
use crate::layout::{Layout, State, entry_value, fence_value, head_value};
use crate::pages::Pages;
use crate::snapshot::View;
use crate::wire::{
    Compare, DeleteRequest, Number, Octets, PutRequest, RangeRequest, RangeResponse, Step, TxnRequest,
};
use crate::{OpenError, Options};

/// Steps of a transaction, which may themselves be transactions of as many steps. Etcd allows 128, less those of the
/// transactions around, unless it is told otherwise: with the head's, three levels have 40 + 40 + 41.
const STEPS: usize = 40;
/// Bytes of keys and values that a batch may carry.
const BYTES: usize = 1 << 20;
/// Bytes that the rest of a batch may have. Etcd takes 1.5 MiB in all, unless it is told otherwise.
const REST: usize = 448 << 10;
/// Bytes of a change of one key besides the path, the key and the value.
const EACH: usize = 32;
/// Keys that are asked for at once, whose values may all be as large as can be.
const ASKED_AT_ONCE: usize = 32;

/// A store in etcd.
pub struct Etcd {
    pub(crate) core: Arc<Core>,
    cluster_id: String,
}

/// The state that the database and its views share.
pub(crate) struct Core {
    pub(crate) client: Client,
    pub(crate) layout: Layout,
}

impl Etcd {
    /// Connects, and makes the store where there is none.
    ///
    /// # Errors
    ///
    /// [`OpenError`] where the options cannot be used, etcd does not answer, or what is below the path is not a store of
    /// ours.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let client = Client::new(&options)?;
        let core = Core { client, layout: Layout::new(&options.prefix()) };
        if options.sync
            && let Err(error) = core.client.learn_members().await
        {
            tracing::warn!(%error, "etcd does not tell its members; those that are configured are used");
        }
        let state = match core.find_state().await? {
            Some(state) => state,
            None => core.create(&options).await?,
        };
        Ok(Self { core: Arc::new(core), cluster_id: state.head.cluster_id })
    }

    fn transaction(&self, batch: &Batch) -> Result<TxnRequest, StoreError> {
        let layout = &self.core.layout;
        let head = head_value(&self.cluster_id, batch.from)?;
        let compare = vec![
            Compare::value(&layout.head(), &head),
            Compare::value(&layout.fence(), &fence_value(batch.fence)),
        ];
        let mut success = vec![put(layout.head(), head_value(&self.cluster_id, batch.to)?)];
        let puts = batch.puts.iter().map(|(key, entry)| put(layout.entry(key), entry_value(entry)));
        let deletes =
            batch.deletes.iter().map(|key| Step::Delete(DeleteRequest { key: Octets(layout.entry(key)) }));
        success.extend(grouped(puts.chain(deletes).collect()));
        Ok(TxnRequest { compare, success })
    }
}

pub(crate) fn put(key: Vec<u8>, value: Vec<u8>) -> Step {
    Step::Put(PutRequest { key: Octets(key), value: Octets(value), ..PutRequest::default() })
}

/// Few steps as they are, many in transactions within the transaction.
fn grouped(mut steps: Vec<Step>) -> Vec<Step> {
    while steps.len() > STEPS {
        let mut groups = Vec::new();
        let mut rest = steps.into_iter();
        loop {
            let success: Vec<Step> = rest.by_ref().take(STEPS).collect();
            if success.is_empty() {
                break;
            }
            groups.push(Step::Txn(TxnRequest { success, ..TxnRequest::default() }));
        }
        steps = groups;
    }
    steps
}

impl Core {
    async fn find_state(&self) -> Result<Option<State>, StoreError> {
        self.layout.read_state(&self.client.range(&self.layout.state()).await?)
    }

    /// All but the entries, as of now.
    pub(crate) async fn state(&self) -> Result<State, StoreError> {
        let found = self.find_state().await?;
        found.ok_or_else(|| StoreError::Corrupt("the head of the store is gone from etcd".to_owned()))
    }

    async fn create(&self, options: &Options) -> Result<State, StoreError> {
        let everything = RangeRequest { limit: Number(1), keys_only: true, ..self.layout.everything() };
        let found = self.client.range(&everything).await?;
        if let Some(kv) = found.kvs.first()
            && self.find_state().await?.is_none()
        {
            return Err(StoreError::Failed(format!(
                "something else keeps {:?} below {:?} in etcd; choose another \"path\"",
                String::from_utf8_lossy(&kv.key.0),
                options.prefix()
            )));
        }
        let cluster_id = options.entropy.uuid().map_err(|error| StoreError::Failed(error.to_string()))?;
        let (head, fence) = (self.layout.head(), self.layout.fence());
        let absent = |key: &[u8]| Compare::changed_at(key, Number(0));
        let transaction = TxnRequest {
            compare: vec![absent(&head), absent(&fence)],
            success: vec![put(head, head_value(&cluster_id, 0)?), put(fence, fence_value(0))],
        };
        // Where another node was faster, or the answer was lost, what there is now counts.
        let made = self.client.write(&transaction).await;
        match (self.find_state().await?, made) {
            (Some(state), _) => Ok(state),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => {
                Err(StoreError::Corrupt("part of the store's head is gone from etcd".to_owned()))
            }
        }
    }

    /// A range at a revision that is known to be of etcd's, or as of now where that is zero. What a revision shows never
    /// changes, so that any member may answer from what it has.
    pub(crate) async fn range_at(
        &self,
        request: RangeRequest,
        revision: Number,
    ) -> Result<RangeResponse, CallError> {
        let request = RangeRequest { revision, ..request };
        if revision != Number(0) {
            let quick = RangeRequest { serializable: true, ..request.clone() };
            match self.client.range(&quick).await {
                Err(error) if error.is_of_the_future() => {}
                answer => return answer,
            }
        }
        self.client.range(&request).await
    }

    async fn modified_of(&self, keys: &[Bytes]) -> Result<Vec<Index>, StoreError> {
        let read = |key: &Bytes| {
            let key = Octets(self.layout.entry(key));
            Step::Range(RangeRequest { key, ..RangeRequest::default() })
        };
        let request = TxnRequest { success: keys.iter().map(read).collect(), ..TxnRequest::default() };
        let answer = match self.client.read(&request).await {
            Err(CallError::Oversize { .. }) if keys.len() > 1 => {
                let (first, second) = keys.split_at(keys.len() / 2);
                let mut found = Box::pin(self.modified_of(first)).await?;
                found.extend(Box::pin(self.modified_of(second)).await?);
                return Ok(found);
            }
            answer => answer?,
        };
        if answer.responses.len() != keys.len() {
            return Err(StoreError::Failed("etcd has not answered all that was asked".to_owned()));
        }
        let modified = |answer: &crate::wire::StepAnswer| match answer.response_range.kvs.first() {
            Some(kv) => self.layout.read_entry(kv).map(|(_, entry)| entry.modified),
            None => Ok(0),
        };
        answer.responses.iter().map(modified).collect()
    }
}

impl Etcd {
    /// Etcd makes the change that takes it over its quota, and answers it in the words in which it refuses those after
    /// it: the head tells which it was. The answer came after the fact, so that nothing is under way any more.
    async fn settle_full(&self, batch: &Batch, text: String) -> Result<(), ApplyError> {
        match self.core.state().await {
            Ok(state) if state.head.index == batch.from => Err(ApplyError::NoSpace(text)),
            Ok(state) if state.head.fence == batch.fence && state.head.index == batch.to => Ok(()),
            // Another has written since, or this node in another place.
            Ok(_) => Err(ApplyError::Unknown(text)),
            Err(error) => Err(ApplyError::Unknown(format!("{text}; then {error}"))),
        }
    }
}

#[async_trait]
impl Database for Etcd {
    async fn head(&self) -> Result<Head, StoreError> {
        Ok(self.core.state().await?.head)
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let state = self.core.state().await?;
        let core = self.core.clone();
        Ok(Box::new(View { core, index: state.head.index, revision: state.revision }))
    }

    async fn modified(&self, keys: &[Bytes]) -> Result<Vec<Index>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(ASKED_AT_ONCE) {
            found.extend(self.core.modified_of(some).await?);
        }
        Ok(found)
    }

    async fn count_and_newest(&self, range: &KeyRange, at_most: u64) -> Result<(u64, Index), StoreError> {
        let mut pages = Pages::new(&self.core, range, Number(0));
        let (mut count, mut newest) = (0_u64, 0);
        loop {
            let left = usize::try_from(at_most.saturating_sub(count)).unwrap_or(usize::MAX);
            let page = pages.next(left).await?;
            if page.is_empty() {
                return Ok((count, newest));
            }
            count = count.saturating_add(u64::try_from(page.len()).unwrap_or(u64::MAX));
            newest = page.iter().map(|(_, entry)| entry.modified).fold(newest, Index::max);
        }
    }

    async fn apply(&self, batch: &Batch) -> Result<(), ApplyError> {
        let transaction = self.transaction(batch).map_err(|error| ApplyError::Refused(error.to_string()))?;
        match self.core.client.write(&transaction).await.map_err(ApplyError::from) {
            Ok(answer) if answer.succeeded => Ok(()),
            Ok(_) => Err(ApplyError::Overtaken),
            Err(ApplyError::NoSpace(text)) => self.settle_full(batch, text).await,
            Err(error) => Err(error),
        }
    }

    async fn claim(&self, me: &Active, span: Duration, by_force: bool) -> Result<Claim, StoreError> {
        self.core.claim(me, span, by_force).await
    }

    async fn renew(&self, fence: Fence, span: Duration) -> Result<bool, StoreError> {
        self.core.renew(fence, span).await
    }

    async fn release(&self, fence: Fence) -> Result<(), StoreError> {
        self.core.release(fence).await
    }

    async fn holder(&self) -> Result<Option<Active>, StoreError> {
        Ok(self.core.state().await?.lock.map(|lock| lock.record.holder))
    }

    fn limits(&self) -> Limits {
        let each = self.core.layout.prefix_len().saturating_add(EACH);
        Limits { keys: REST.checked_div(each).unwrap_or_default(), bytes: BYTES }
    }

    fn kind(&self) -> &'static str {
        "etcd"
    }

    async fn close(&self) {
        self.core.client.close();
    }
}
