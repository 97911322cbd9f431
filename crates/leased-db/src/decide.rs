//! The decision which of the waiting commits can be applied, and what they write together.

use std::collections::BTreeMap;

use bytes::Bytes;
use strongroom_storage::{Commit, CommitError, Index, StoreError, Versioned};

use crate::database::{Batch, Database, Fence};

/// The outcome of each commit, in their order, and the change that makes it so.
pub(crate) struct Decided {
    /// The commit's index, or why it was not taken.
    pub(crate) outcomes: Vec<Result<Index, CommitError>>,
    pub(crate) batch: Batch,
}

/// The state after the commits taken so far: for each key the last commit that touched it, and the value, if any.
type Overlay = BTreeMap<Bytes, (Index, Option<Bytes>)>;

/// Decides commits one after the other on the state at `from`. What a commit reads is compared with what the database
/// has and what earlier commits of the same batch write.
pub(crate) async fn decide(
    database: &dyn Database,
    commits: &[&Commit],
    fence: Fence,
    from: Index,
) -> Result<Decided, StoreError> {
    let present = modified(database, commits).await?;
    let mut overlay = Overlay::new();
    let mut outcomes = Vec::with_capacity(commits.len());
    let mut to = from;
    for commit in commits {
        if !points_hold(commit, &present, &overlay) || !ranges_hold(database, commit, &overlay).await? {
            outcomes.push(Err(CommitError::Conflict));
            continue;
        }
        to = to.saturating_add(1);
        for write in &commit.writes {
            overlay.insert(write.key.clone(), (to, write.value.clone()));
        }
        outcomes.push(Ok(to));
    }
    let mut batch = Batch { fence, from, to, ..Batch::default() };
    for (key, (modified, value)) in overlay {
        match value {
            Some(value) => batch.puts.push((key, Versioned { modified, value })),
            None => batch.deletes.push(key),
        }
    }
    Ok(Decided { outcomes, batch })
}

/// The index at which each key that the commits read was written, asked in one go.
async fn modified(
    database: &dyn Database,
    commits: &[&Commit],
) -> Result<BTreeMap<Bytes, Index>, StoreError> {
    let mut keys: Vec<Bytes> =
        commits.iter().flat_map(|commit| &commit.points).map(|read| read.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = database.modified(&keys).await?;
    if found.len() != keys.len() {
        return Err(StoreError::Failed("the database answered for other keys than asked".to_owned()));
    }
    Ok(keys.into_iter().zip(found).collect())
}

fn points_hold(commit: &Commit, present: &BTreeMap<Bytes, Index>, overlay: &Overlay) -> bool {
    commit.points.iter().all(|read| {
        let now = match overlay.get(&read.key) {
            Some((index, Some(_))) => *index,
            Some((_, None)) => 0,
            None => present.get(&read.key).copied().unwrap_or(0),
        };
        now == read.modified
    })
}

/// A range in which an earlier commit of the batch writes has changed after it was read.
async fn ranges_hold(
    database: &dyn Database,
    commit: &Commit,
    overlay: &Overlay,
) -> Result<bool, StoreError> {
    for read in &commit.ranges {
        if overlay.keys().any(|key| read.range.contains(key)) {
            return Ok(false);
        }
        let (count, newest) = database.count_and_newest(&read.range, read.count.saturating_add(1)).await?;
        if count != read.count || newest > read.seen_at {
            return Ok(false);
        }
    }
    Ok(true)
}
