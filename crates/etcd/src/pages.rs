//! Ranges read in pages, so that no answer of etcd's is larger than it should be held in memory: etcd limits answers
//! by number, and not by size.

use bytes::Bytes;
use strongroom_storage::{KeyRange, StoreError, Versioned};

use crate::database::Core;
use crate::error::CallError;
use crate::wire::{Number, RangeRequest, RangeResponse};

/// Entries of the first page; all may be as large as an entry can be.
const FIRST: usize = 32;
/// Bytes that later pages aim at.
const AIM: usize = 1 << 20;
/// Entries of a page at most.
const MAX_PAGE: usize = 2_000;

/// Reads a range page by page, in the order of keys.
pub(crate) struct Pages<'a> {
    core: &'a Core,
    rest: KeyRange,
    /// Zero: as of now.
    revision: Number,
    page: usize,
    done: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(core: &'a Core, range: &KeyRange, revision: Number) -> Self {
        Self { core, rest: range.clone(), revision, page: FIRST, done: range.is_empty() }
    }

    /// Up to `limit` entries more; fewer, and at last none, where the range ends.
    pub(crate) async fn next(&mut self, limit: usize) -> Result<Vec<(Bytes, Versioned)>, StoreError> {
        if self.done || limit == 0 {
            return Ok(Vec::new());
        }
        let answer = self.ask(limit).await?;
        // Later pages show the same state as the first.
        if self.revision == Number(0) {
            self.revision = answer.header.revision;
        }
        let layout = &self.core.layout;
        let read: Result<Vec<_>, _> = answer.kvs.iter().map(|kv| layout.read_entry(kv)).collect();
        let read = read?;
        match read.last() {
            Some((last, _)) if answer.more => self.rest = self.rest.after(last),
            _ => self.done = true,
        }
        let bytes: usize = read.iter().map(|(key, entry)| key.len().saturating_add(entry.value.len())).sum();
        let each = bytes.checked_div(read.len()).unwrap_or_default().max(1);
        self.page = AIM.checked_div(each).unwrap_or_default().clamp(1, MAX_PAGE);
        Ok(read)
    }

    async fn ask(&mut self, limit: usize) -> Result<RangeResponse, StoreError> {
        loop {
            let count = self.page.min(limit);
            let request = RangeRequest {
                limit: Number(i64::try_from(count).unwrap_or(i64::MAX)),
                ..self.core.layout.entries(&self.rest)
            };
            match self.core.range_at(request, self.revision).await {
                // The entries of this page are larger than those before it.
                Err(CallError::Oversize { .. }) if count > 1 => self.page = count.div_ceil(2),
                answer => return Ok(answer?),
            }
        }
    }
}
