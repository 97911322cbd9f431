//! The tables that are made, and those that are refused.

use strongroom_leased_db::{Claim, Database};
use strongroom_postgresql::{OpenError, Options, Postgresql};
use strongroom_stdx::Entropy;

use crate::server::{Server, open};
use crate::{LONG, change, claim, get, holder};

async fn refusal(options: &Options) -> OpenError {
    Postgresql::open(options, &Entropy::system()).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn nodes_may_begin_at_once_and_agree() {
    let database = Server::shared().database().await;
    let opening: Vec<_> = (0..8).map(|_| open_in_task(database.options())).collect();
    let mut found = Vec::new();
    for node in opening {
        found.push(node.await.unwrap().head().await.unwrap());
    }
    assert!(found.iter().all(|head| *head == found[0]), "{found:?}");
    assert_eq!(found[0].cluster_id.len(), 36);
    assert_eq!((found[0].index, found[0].fence), (0, 0));
}

fn open_in_task(options: Options) -> tokio::task::JoinHandle<Postgresql> {
    tokio::spawn(async move { open(&options).await })
}

#[tokio::test]
async fn a_vaults_tables_are_refused_and_left_alone() {
    let database = Server::shared().database().await;
    let admin = database.admin().await;
    let vaults = "CREATE TABLE vault_kv_store (parent_path TEXT COLLATE \"C\" NOT NULL, path TEXT COLLATE \"C\", \
                  key TEXT COLLATE \"C\", value BYTEA, CONSTRAINT pkey PRIMARY KEY (path, key))";
    admin.batch_execute(vaults).await.unwrap();
    let error = refusal(&database.options()).await;
    assert!(matches!(error, OpenError::Foreign { .. }));
    let text = error.to_string();
    assert!(text.contains("\"vault_kv_store\"") && text.contains("a Vault's"), "{text}");
    let made = admin.query("SELECT 1 FROM pg_tables WHERE schemaname = 'public'", &[]).await.unwrap();
    assert_eq!(made.len(), 1, "nothing was made");
    // With tables of its own it is at home in the same database, but for the table of the lock.
    let own = Options { table: "own".to_owned(), ..database.options() };
    let locks = "CREATE TABLE vault_ha_locks (ha_key TEXT PRIMARY KEY, ha_identity TEXT NOT NULL, ha_value TEXT, \
                 valid_until TIMESTAMP WITH TIME ZONE NOT NULL)";
    admin.batch_execute(locks).await.unwrap();
    let text = refusal(&own).await.to_string();
    assert!(text.contains("\"vault_ha_locks\"") && text.contains("a Vault's"), "{text}");
    open(&Options { ha_table: "own_locks".to_owned(), ..own }).await;
}

#[tokio::test]
async fn tables_that_only_look_like_ours_are_refused() {
    let database = Server::shared().database().await;
    let admin = database.admin().await;
    admin
        .batch_execute(
            "CREATE TABLE a (key BYTEA PRIMARY KEY, modified INTEGER, value BYTEA);\
             CREATE TABLE b_head (id BIGINT PRIMARY KEY);",
        )
        .await
        .unwrap();
    for name in ["a", "b"] {
        let error = refusal(&Options { table: name.to_owned(), ..database.options() }).await;
        assert!(matches!(error, OpenError::Foreign { .. }), "{name}: {error}");
    }
}

#[tokio::test]
async fn entries_without_their_head_are_refused() {
    let database = Server::shared().database().await;
    let store = database.open().await;
    claim(&store, 1).await;
    store.apply(&change(&store, "a", "1").await).await.unwrap();
    let admin = database.admin().await;
    admin.batch_execute("DELETE FROM vault_kv_store_head").await.unwrap();
    let text = refusal(&database.options()).await.to_string();
    assert!(text.contains("has entries, and"), "{text}");
    let error = store.head().await.unwrap_err();
    assert!(matches!(error, strongroom_storage::StoreError::Corrupt(_)), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let database = Server::shared().database().await;
    database.open().await;
    database.admin().await.batch_execute("UPDATE vault_kv_store_head SET format = 2").await.unwrap();
    let text = refusal(&database.options()).await.to_string();
    assert!(text.contains("is of format 2"), "{text}");
}

#[tokio::test]
async fn a_lost_lock_begins_anew_above_all_that_was_granted() {
    let database = Server::shared().database().await;
    let store = database.open().await;
    claim(&store, 1).await;
    let fence = claim(&store, 1).await;
    database.admin().await.batch_execute("DELETE FROM vault_ha_locks").await.unwrap();
    assert!(store.claim(&holder(1), LONG, false).await.is_err());
    let again = database.open().await;
    assert!(claim(&again, 2).await > fence);
}

/// The statements that the documentation gives to those who make the tables themselves.
fn documented() -> String {
    let text = include_str!("../../../../docs/storage-postgresql.md");
    let rest = text.split_once("```sql\nCREATE TABLE").expect("the statements are there").1;
    format!("CREATE TABLE{}", rest.split_once("```").unwrap().0)
}

#[tokio::test]
async fn the_documented_statements_make_the_tables_and_privileges() {
    let database = Server::shared().database().await;
    let admin = database.admin().await;
    let name = &database.name;
    let login = format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", crate::server::PASSWORD);
    admin.batch_execute(&login).await.unwrap();
    let mut options = database.options_with(&format!("sslmode=disable&user={name}"));
    options.skip_create_table = true;
    let text = refusal(&options).await.to_string();
    assert!(text.contains("\"vault_kv_store\" is missing, and \"skip_create_table\""), "{text}");
    options.skip_create_table = false;
    let text = refusal(&options).await.to_string();
    assert!(text.contains("permission denied for schema public"), "{text}");
    admin.batch_execute(&documented().replace("strongroom;", &format!("{name};"))).await.unwrap();
    options.skip_create_table = true;
    let store = open(&options).await;
    claim(&store, 1).await;
    store.apply(&change(&store, "a", "1").await).await.unwrap();
    assert_eq!(get(&store, "a").await.as_deref(), Some(&b"1"[..]));
    // What this version makes by itself is the same.
    let made = "SELECT table_name::text, column_name::text, data_type::text, is_nullable::text \
                FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1, ordinal_position";
    let columns = async |schema: &str| {
        let rows = admin.query(made, &[&schema]).await.unwrap();
        rows.iter().map(|row| [0, 1, 2, 3].map(|at| row.get::<_, String>(at))).collect::<Vec<_>>()
    };
    let documented = columns("public").await;
    admin.batch_execute("CREATE SCHEMA made").await.unwrap();
    let mut options = database.options();
    options.table = "made.vault_kv_store".to_owned();
    options.ha_table = "made.vault_ha_locks".to_owned();
    open(&options).await;
    assert_eq!(columns("made").await, documented);
}

#[tokio::test]
async fn stores_may_have_the_locks_table_in_common() {
    let database = Server::shared().database().await;
    let one = open(&Options { table: "one".to_owned(), ..database.options() }).await;
    let two = open(&Options { table: "two".to_owned(), ..database.options() }).await;
    for store in [&one, &two] {
        let claim = store.claim(&holder(1), LONG, false).await.unwrap();
        assert!(matches!(claim, Claim::Granted(1)), "{claim:?}");
    }
    let claim = two.claim(&holder(2), LONG, false).await.unwrap();
    assert_eq!(claim, Claim::Held(holder(1)));
}
