//! A view of all entries at one of etcd's revisions.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use strongroom_storage::{Index, KeyRange, Snapshot, StoreError, Versioned};

use crate::database::Core;
use crate::pages::Pages;
use crate::wire::{Number, Octets, RangeRequest};

/// The entries at etcd's `revision`.
pub(crate) struct View {
    pub(crate) core: Arc<Core>,
    pub(crate) index: Index,
    pub(crate) revision: Number,
}

#[async_trait]
impl Snapshot for View {
    fn index(&self) -> Index {
        self.index
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let key = Octets(self.core.layout.entry(key));
        let answer =
            self.core.range_at(RangeRequest { key, ..RangeRequest::default() }, self.revision).await?;
        let entry = answer.kvs.first().map(|kv| self.core.layout.read_entry(kv)).transpose()?;
        Ok(entry.map(|(_, entry)| entry))
    }

    async fn scan(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        let mut pages = Pages::new(&self.core, range, self.revision);
        let mut found = Vec::new();
        loop {
            let page = pages.next(limit.saturating_sub(found.len())).await?;
            if page.is_empty() {
                return Ok(found);
            }
            found.extend(page);
        }
    }
}
