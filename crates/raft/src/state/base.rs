//! The table on disk: the state as of the last checkpoint.
//!
//! A checkpoint is one durable transaction that brings the entries, the position they are of and the membership
//! together, so that a crash leaves one checkpoint or the next and never a mixture.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::{
    Database, Durability, Range, ReadOnlyTable, ReadableDatabase, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use strongroom_stdx::expecting;
use strongroom_storage::{Index, StoreError, Versioned};

use super::backend::{Backend, Patience};
use super::mem::Mem;
use crate::codec::{Malformed, put_number, take_number};
use crate::files::{remove_file, rename, replacement_of, sync_directory};
use crate::reclaim::Reclaimer;
use crate::types::{LogId, StoredMembership};

const ENTRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FACTS: &str = "facts";
/// Entries of a transaction when a table is filled from its beginning to its end.
const FILL_AT_ONCE: u64 = 16 << 10;
/// Bytes of pages kept in memory while a table is filled in key order, which never comes back to a page.
const FILL_CACHE: usize = 8 << 20;

/// The facts stored beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The last log entry that the table reflects.
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// The number of entries.
    pub(crate) entries: u64,
    /// Bytes of all keys and values.
    pub(crate) bytes: u64,
}

impl Facts {
    pub(crate) fn index(&self) -> Index {
        self.applied.map_or(0, |applied| applied.index)
    }
}

/// An error of the table library, in our terms.
pub(crate) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::DatabaseClosed => StoreError::Closed,
        redb::Error::Corrupted(what) => StoreError::Corrupt(what),
        other => StoreError::Failed(other.to_string()),
    }
}

/// Runs what reads or writes pages of the table. The table library panics on some damage in them, which is an error like
/// any other that damage leads to.
pub(crate) fn on_pages<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    expecting(act).unwrap_or_else(|panicked| Err(corrupt(&panicked)))
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("table: {what}"))
}

/// An entry as stored: the index of its commit, then the value.
fn put_entry(out: &mut Vec<u8>, modified: Index, value: &[u8]) {
    out.clear();
    put_number(out, modified);
    out.extend_from_slice(value);
}

/// Splits a stored entry, without copying.
pub(crate) fn split_entry(stored: &[u8]) -> Result<(Index, &[u8]), StoreError> {
    let mut rest = stored;
    let modified = take_number(&mut rest).map_err(|Malformed| corrupt("an entry has no index"))?;
    Ok((modified, rest))
}

/// One table file.
pub(crate) struct Base {
    path: PathBuf,
    /// `None` once closed.
    database: Mutex<Option<Database>>,
    reclaimer: Reclaimer,
}

impl Drop for Base {
    fn drop(&mut self) {
        // Closing writes to the file and frees the cached pages, and the last to let go may be a reader.
        if let Some(database) = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.reclaimer.free(Closing(Some(database)));
        }
    }
}

/// A database that is about to be closed, which writes to its file: damage that is found only then is logged.
struct Closing(Option<Database>);

impl Drop for Closing {
    fn drop(&mut self) {
        let database = self.0.take();
        if let Err(error) = on_pages(|| {
            drop(database);
            Ok(())
        }) {
            tracing::error!(%error, "the table's file was not closed properly");
        }
    }
}

/// The table at one checkpoint. Cheap to clone; never changes.
#[derive(Clone)]
pub(crate) struct BaseView {
    // Before the base: what the base lets go of must be the last of it.
    entries: Arc<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) base: Arc<Base>,
}

impl Base {
    /// Opens the table, made where there is none.
    pub(crate) fn open(
        path: &Path,
        cache_size: usize,
        patience: Arc<Patience>,
        reclaimer: &Reclaimer,
    ) -> Result<BaseView, StoreError> {
        if !path.exists() {
            // Made under another name, so that a table that is there is always whole.
            let filling = Filling::begin(path, patience.clone(), reclaimer)?;
            filling.finish(None, StoredMembership::default())?.take_place()?;
        }
        if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
            // The database would take it for a new one.
            return Err(corrupt("the file is empty"));
        }
        Self::open_file(path, cache_size, patience, reclaimer)?.view()
    }

    fn open_file(
        path: &Path,
        cache_size: usize,
        patience: Arc<Patience>,
        reclaimer: &Reclaimer,
    ) -> Result<Arc<Self>, StoreError> {
        let io = |error: io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
        let backend = Backend::open(path, patience).map_err(io)?;
        let database = on_pages(|| {
            Database::builder().set_cache_size(cache_size).create_with_backend(backend).map_err(failed)
        })?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            database: Mutex::new(Some(database)),
            reclaimer: reclaimer.clone(),
        }))
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let guard = self.database();
        let database = guard.as_ref().ok_or(StoreError::Closed)?;
        on_pages(|| database.begin_write().map_err(failed))
    }

    /// The table as it is now.
    fn view(self: &Arc<Self>) -> Result<BaseView, StoreError> {
        on_pages(|| self.read_view())
    }

    fn read_view(self: &Arc<Self>) -> Result<BaseView, StoreError> {
        let transaction = {
            let guard = self.database();
            guard.as_ref().ok_or(StoreError::Closed)?.begin_read().map_err(failed)?
        };
        let meta = transaction.open_table(META).map_err(failed)?;
        let stored = meta.get(FACTS).map_err(failed)?.ok_or_else(|| corrupt("its description is missing"))?;
        let facts = rmp_serde::from_slice(stored.value())
            .map_err(|_not_one| corrupt("its description is unreadable"))?;
        let entries = transaction.open_table(ENTRIES).map_err(failed)?;
        Ok(BaseView { base: self.clone(), entries: Arc::new(entries), facts: Arc::new(facts) })
    }

    /// Merges writes into the table, durably, and returns the view that shows them.
    pub(crate) fn checkpoint(
        self: &Arc<Self>,
        before: &Facts,
        mem: &Mem,
        facts: Facts,
    ) -> Result<BaseView, StoreError> {
        let mut facts = Facts { entries: before.entries, bytes: before.bytes, ..facts };
        let transaction = self.begin()?;
        on_pages(|| {
            {
                let mut table = transaction.open_table(ENTRIES).map_err(failed)?;
                mem.for_each_newest(|key, modified, value| {
                    merge(&mut table, &mut facts, key, modified, value)
                })?;
            }
            write_facts(&transaction, &facts)?;
            commit(transaction)
        })?;
        self.view()
    }

    /// Makes the pages that the last checkpoint replaced free for the next one, now that no view needs them.
    pub(crate) fn reclaim(&self) -> Result<(), StoreError> {
        let transaction = self.begin()?;
        on_pages(|| commit(transaction))
    }

    /// Closes the file; reads through older views answer [`StoreError::Closed`] from now on.
    pub(crate) fn close(&self) {
        let database = self.database().take();
        drop(Closing(database));
    }

    /// Bytes that the file takes on disk.
    pub(crate) fn size_on_disk(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.blocks().saturating_mul(512))
    }
}

type EntryTable<'t> = Table<'t, &'static [u8], &'static [u8]>;

fn merge(
    table: &mut EntryTable<'_>,
    facts: &mut Facts,
    key: &[u8],
    modified: Index,
    value: Option<&[u8]>,
) -> Result<(), StoreError> {
    let size_of = |stored: &[u8]| {
        let value = split_entry(stored).map_or(0, |(_, value)| value.len());
        u64::try_from(key.len().saturating_add(value)).unwrap_or(u64::MAX)
    };
    let old = match value {
        Some(value) => {
            let mut stored = Vec::with_capacity(value.len().saturating_add(10));
            put_entry(&mut stored, modified, value);
            facts.entries = facts.entries.saturating_add(1);
            facts.bytes = facts.bytes.saturating_add(size_of(&stored));
            table.insert(key, stored.as_slice()).map_err(failed)?
        }
        None => table.remove(key).map_err(failed)?,
    };
    if let Some(old) = old {
        facts.entries = facts.entries.saturating_sub(1);
        facts.bytes = facts.bytes.saturating_sub(size_of(old.value()));
    }
    Ok(())
}

fn write_facts(transaction: &WriteTransaction, facts: &Facts) -> Result<(), StoreError> {
    let stored = rmp_serde::to_vec_named(facts).map_err(|error| StoreError::Failed(error.to_string()))?;
    let mut meta = transaction.open_table(META).map_err(failed)?;
    meta.insert(FACTS, stored.as_slice()).map_err(failed)?;
    Ok(())
}

/// Commits durably, in such a way that opening after a crash needs no repair.
fn commit(mut transaction: WriteTransaction) -> Result<(), StoreError> {
    transaction.set_quick_repair(true);
    transaction.commit().map_err(failed)
}

impl BaseView {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        on_pages(|| {
            let Some(stored) = self.entries.get(key).map_err(failed)? else { return Ok(None) };
            let (modified, value) = split_entry(stored.value())?;
            Ok(Some(Versioned { modified, value: Bytes::copy_from_slice(value) }))
        })
    }

    /// The index of the commit that wrote a key; zero when it is not there.
    pub(crate) fn modified(&self, key: &[u8]) -> Result<Index, StoreError> {
        on_pages(|| {
            let Some(stored) = self.entries.get(key).map_err(failed)? else { return Ok(0) };
            Ok(split_entry(stored.value())?.0)
        })
    }

    /// The entries from `start` on and before `end`. To be read within [`on_pages`].
    pub(crate) fn range(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Range<'static, &'static [u8], &'static [u8]>, StoreError> {
        on_pages(|| {
            match end {
                Some(end) => self.entries.range::<&[u8]>(start..end),
                None => self.entries.range::<&[u8]>(start..),
            }
            .map_err(failed)
        })
    }
}

/// A table that is filled in key order, to take the place of the present one.
pub(crate) struct Filling {
    path: PathBuf,
    base: Arc<Base>,
    facts: Facts,
    patience: Arc<Patience>,
}

/// Takes the next entry of a table that is being filled: key, index, value.
pub(crate) type Sink<'s> = dyn FnMut(&[u8], Index, &[u8]) -> Result<(), StoreError> + 's;

impl Filling {
    /// Begins the replacement of the table at `path`.
    pub(crate) fn begin(
        path: &Path,
        patience: Arc<Patience>,
        reclaimer: &Reclaimer,
    ) -> Result<Self, StoreError> {
        let replacement = replacement_of(path);
        match remove_file(&replacement) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Failed(format!("{}: {error}", replacement.display())));
            }
            _ => {}
        }
        let base = Base::open_file(&replacement, FILL_CACHE, patience.clone(), reclaimer)?;
        Ok(Self { path: path.to_owned(), base, facts: Facts::default(), patience })
    }

    /// Adds entries, which must come in key order. `pull` gives some at a call and says whether there are more.
    pub(crate) fn fill(
        &mut self,
        mut pull: impl FnMut(&mut Sink<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut more = true;
        while more {
            let mut transaction = self.base.begin()?;
            transaction
                .set_durability(Durability::None)
                .map_err(|error| StoreError::Failed(error.to_string()))?;
            let facts = &mut self.facts;
            more = on_pages(|| {
                let mut more = true;
                {
                    let mut table = transaction.open_table(ENTRIES).map_err(failed)?;
                    let end = facts.entries.saturating_add(FILL_AT_ONCE);
                    while more && facts.entries < end {
                        more = pull(&mut |key, modified, value| {
                            merge(&mut table, facts, key, modified, Some(value))
                        })?;
                    }
                }
                transaction.commit().map_err(failed)?;
                Ok(more)
            })?;
        }
        Ok(())
    }

    /// Makes the replacement durable. Until it takes the table's place, nothing has happened to that.
    pub(crate) fn finish(
        self,
        applied: Option<LogId>,
        membership: StoredMembership,
    ) -> Result<Filled, StoreError> {
        let transaction = self.base.begin()?;
        let facts = Facts { applied, membership, ..self.facts };
        on_pages(|| {
            transaction.open_table(ENTRIES).map_err(failed)?;
            write_facts(&transaction, &facts)?;
            commit(transaction)
        })?;
        self.base.close();
        Ok(Filled { path: self.path, patience: self.patience })
    }

    /// Gives the replacement up.
    pub(crate) fn abandon(self) {
        self.base.close();
        let _ = remove_file(&replacement_of(&self.path));
    }
}

/// A whole and durable table under a passing name.
#[must_use = "the table is still the one before"]
pub(crate) struct Filled {
    path: PathBuf,
    patience: Arc<Patience>,
}

impl Filled {
    /// Waits with this patience from now on.
    pub(crate) fn patiently(self, patience: Arc<Patience>) -> Self {
        Self { patience, ..self }
    }

    /// Puts it in the table's place, durably; the caller opens it. After an error nobody may write to the table that was
    /// there before, which may have lost its name.
    pub(crate) fn take_place(self) -> Result<(), StoreError> {
        let put = rename(&replacement_of(&self.path), &self.path);
        let directory = self.path.parent();
        let sync = || directory.map_or(Ok(()), sync_directory);
        put.and_then(|()| self.patience.until_descriptor(sync))
            .map_err(|error| StoreError::Failed(format!("{}: {error}", self.path.display())))
    }
}
