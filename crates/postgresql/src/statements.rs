//! The statements that the store is made of, with its tables' names in them.
//!
//! They keep to what PostgreSQL, CockroachDB and YugabyteDB have in common. Every change is one statement that begins with
//! the row of the head, so that changes exclude each other there, and none leaves a transaction open while it waits for
//! this node.

use tokio_postgres::types::Type;

use crate::options::{Table, Tables};

/// The format of the tables, in the head.
pub(crate) const FORMAT: i64 = 1;

/// The columns of the table of entries.
pub(crate) const ENTRIES: [(&str, Type); 3] =
    [("key", Type::BYTEA), ("modified", Type::INT8), ("value", Type::BYTEA)];

/// The columns of the table of the head.
pub(crate) const HEAD: [(&str, Type); 5] = [
    ("id", Type::INT8),
    ("format", Type::INT8),
    ("cluster_id", Type::TEXT),
    ("commit_index", Type::INT8),
    ("fence", Type::INT8),
];

/// The columns of the table of the lock.
pub(crate) const LOCK: [(&str, Type); 5] = [
    ("cluster_id", Type::TEXT),
    ("node", Type::TEXT),
    ("holder", Type::TEXT),
    ("fence", Type::INT8),
    ("valid_until", Type::TIMESTAMPTZ),
];

/// The statements. Places for values are numbered; the comments say what they are for.
pub(crate) struct Statements {
    pub(crate) create: String,
    /// 1: format, 2: cluster id.
    pub(crate) begin_head: String,
    /// 1: cluster id.
    pub(crate) begin_lock: String,
    /// Answers format, cluster id, index and fence.
    pub(crate) head: String,
    pub(crate) index: String,
    /// 1: key.
    pub(crate) get: String,
    /// 1: start, 2: end, if any, 3: limit.
    pub(crate) scan: String,
    /// 1: keys.
    pub(crate) modified: String,
    /// 1: start, 2: end, if any, 3: limit.
    pub(crate) count: String,
    /// 1: fence, 2: from, 3: to, 4: keys to delete, 5, 6, 7: keys, indexes and values to put. Answers whether it was done.
    pub(crate) apply: String,
    /// 1: cluster id, 2: node, 3: holder, 4: seconds, 5: by force. Answers the fence if granted.
    pub(crate) claim: String,
    /// 1: cluster id, 2: fence, 3: seconds.
    pub(crate) renew: String,
    /// 1: cluster id, 2: fence.
    pub(crate) release: String,
    /// 1: cluster id.
    pub(crate) holder: String,
}

impl Statements {
    pub(crate) fn new(tables: &Tables) -> Statements {
        let (entries, head, lock) = (tables.entries.quoted(), tables.head.quoted(), tables.lock.quoted());
        // Statements are planned with their values, so that what an absent end leaves is a plain bound.
        let range =
            format!("FROM {entries} WHERE key >= $1 AND (key < $2 OR $2 IS NULL) ORDER BY key LIMIT $3");
        Statements {
            create: create(tables),
            begin_head: format!(
                "INSERT INTO {head} (id, format, cluster_id, commit_index, fence) \
                 SELECT 1, $1, $2, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM {entries}) \
                 ON CONFLICT (id) DO NOTHING"
            ),
            begin_lock: format!(
                "INSERT INTO {lock} (cluster_id, node, holder, fence, valid_until) \
                 VALUES ($1, '', '', 0, '1970-01-01 00:00:00+00') ON CONFLICT (cluster_id) DO NOTHING"
            ),
            head: format!("SELECT format, cluster_id, commit_index, fence FROM {head} WHERE id = 1"),
            index: format!("SELECT commit_index FROM {head} WHERE id = 1"),
            get: format!("SELECT modified, value FROM {entries} WHERE key = $1"),
            scan: format!("SELECT key, modified, value {range}"),
            modified: format!("SELECT key, modified FROM {entries} WHERE key = ANY($1)"),
            count: format!("SELECT count(*), max(modified) FROM (SELECT modified {range}) AS counted"),
            apply: apply(entries, head),
            claim: claim(head, lock),
            renew: format!(
                "UPDATE {lock} SET valid_until = now() + $3 * interval '1 second' \
                 WHERE cluster_id = $1 AND fence = $2 AND node <> '' RETURNING fence"
            ),
            release: format!(
                "UPDATE {lock} SET node = '', holder = '', valid_until = '1970-01-01 00:00:00+00' \
                 WHERE cluster_id = $1 AND fence = $2"
            ),
            holder: format!(
                "SELECT holder FROM {lock} WHERE cluster_id = $1 AND node <> '' AND valid_until > now()"
            ),
        }
    }
}

/// The statements that make the tables.
fn create(tables: &Tables) -> String {
    let table = |table: &Table, key: &str, columns: &[(&str, Type)]| {
        let columns: Vec<String> = columns
            .iter()
            .map(|(name, of)| {
                let of = match *of {
                    Type::BYTEA => "BYTEA",
                    Type::INT8 => "BIGINT",
                    Type::TIMESTAMPTZ => "TIMESTAMPTZ",
                    _ => "TEXT",
                };
                let rest = if *name == key { "PRIMARY KEY" } else { "NOT NULL" };
                format!("{name} {of} {rest}")
            })
            .collect();
        format!("CREATE TABLE IF NOT EXISTS {} ({});", table.quoted(), columns.join(", "))
    };
    [
        "BEGIN;".to_owned(),
        table(&tables.entries, "key", &ENTRIES),
        table(&tables.head, "id", &HEAD),
        table(&tables.lock, "cluster_id", &LOCK),
        "COMMIT;".to_owned(),
    ]
    .join("\n")
}

fn apply(entries: &str, head: &str) -> String {
    format!(
        "WITH moved AS ( \
           UPDATE {head} SET commit_index = $3 \
           WHERE id = 1 AND fence = $1 AND commit_index = $2 RETURNING id \
         ), deleted AS ( \
           DELETE FROM {entries} WHERE key = ANY($4) AND EXISTS (SELECT 1 FROM moved) RETURNING 1 \
         ), written AS ( \
           INSERT INTO {entries} (key, modified, value) \
           SELECT given.key, given.modified, given.value \
           FROM unnest($5, $6, $7) AS given (key, modified, value) \
           WHERE EXISTS (SELECT 1 FROM moved) \
           ON CONFLICT (key) DO UPDATE SET modified = excluded.modified, value = excluded.value RETURNING 1 \
         ) \
         SELECT count(*) FROM moved"
    )
}

/// The new fence is above both that of the lock and that of the head, also where one of the rows was lost and created
/// again.
fn claim(head: &str, lock: &str) -> String {
    format!(
        "WITH asked AS ( \
           UPDATE {lock} AS the_lock SET node = $2, holder = $3, \
             valid_until = now() + $4 * interval '1 second', \
             fence = 1 + (SELECT greatest(the_head.fence, the_lock.fence) FROM {head} AS the_head WHERE id = 1) \
           WHERE cluster_id = $1 AND (valid_until <= now() OR node = $2 OR $5) RETURNING fence \
         ), moved AS ( \
           UPDATE {head} AS the_head SET fence = asked.fence FROM asked WHERE the_head.id = 1 \
           RETURNING the_head.fence \
         ) \
         SELECT (SELECT fence FROM moved) FROM {lock} WHERE cluster_id = $1"
    )
}
