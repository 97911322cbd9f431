//! Values that engines derive from their tables, and events that they publish, in a whole server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use strongroom_core::Assembly;
use strongroom_engine_api::{
    Body, Cached, Clock, Derived, Engine, EngineError, Event, Path, Reply, Source, Table, TableId, Txn,
    bad_request, tables,
};
use strongroom_pipeline::Verb;

use crate::testing::Server;

tables! {
    /// Texts by name.
    TEXTS: Table<str, String> = 1;
}

/// The number of derived values in memory.
#[derive(Default)]
struct Alive(AtomicUsize);

/// The words of a text, with what would be connections.
struct Words(usize, Arc<Alive>);

impl Drop for Words {
    fn drop(&mut self) {
        self.1.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Derived for Words {
    type Key = str;
    const FROM: &'static [TableId] = &[TEXTS.id()];
    const CONNECTS: bool = true;

    async fn derive(key: &str, from: Source) -> Result<Self, EngineError> {
        let text = TEXTS.get(&from.view, key).await?.ok_or(EngineError::NotFound)?;
        let alive = from.extension::<Alive>()?;
        alive.0.fetch_add(1, Ordering::SeqCst);
        Ok(Self(text.split(' ').count(), alive))
    }

    fn weight(&self) -> usize {
        64
    }
}

async fn read(Path(name): Path<String>, words: Cached<Words>) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "words": words.get(&name).await?.0 }))
}

async fn write(
    Path(name): Path<String>,
    Body(body): Body,
    clock: Clock,
    txn: Txn,
) -> Result<(), EngineError> {
    txn.emit(|| Event::new("words/write", clock.now(), name.clone()));
    let text = body.get("text").and_then(|text| text.as_str()).ok_or_else(|| bad_request("missing text"))?;
    Ok(TEXTS.put(&txn, name.as_str(), text.to_owned())?)
}

pub(crate) fn engine() -> Engine {
    Engine::new("words", "Counts words.")
        .tables(TABLES)
        .extension(Arc::new(Alive::default()))
        .route("{name}", |r| r.read("Count the words.", read).update("Write a text.", write))
}

fn alive(core: &Assembly) -> usize {
    let engines = core.services.mounts.catalog().engines();
    let engine = engines.into_iter().find(|engine| engine.kind() == "words").unwrap();
    engine.extensions().get::<Alive>().unwrap().0.load(Ordering::SeqCst)
}

/// Waits for the thread that frees.
async fn none_is_left(core: &Assembly, why: &str) {
    let clock = Clock::system();
    let end = clock.now().after(Duration::from_secs(10));
    while alive(core) > 0 {
        assert!(clock.now() < end, "{why}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn derived_values_end_with_what_they_follow_from() {
    let server = Server::new().await;
    let core = &server.core;
    let count = async |path: &str| server.read(path).await.data()["words"].clone();
    assert_eq!(server.write("sys/mounts/w", json!({"type": "words"})).await.status, 204);
    assert_eq!(server.write("w/a", json!({"text": "one two"})).await.status, 204);
    assert_eq!((count("w/a").await, count("w/a").await), (json!(2), json!(2)));
    assert_eq!(alive(core), 1);
    assert_eq!(server.write("w/b", json!({"text": "x"})).await.status, 204);
    none_is_left(core, "a commit to the table").await;
    assert_eq!(count("w/a").await, 2);

    core.services.seal_state.seal().await;
    assert_eq!(alive(core), 0, "nothing is left once it is sealed");
    core.services.seal_state.offer_key_part(server.key_parts[0].clone()).await.unwrap();
    assert_eq!((count("w/a").await, alive(core)), (json!(2), 1));

    assert_eq!(server.delete("sys/mounts/w").await.status, 204);
    none_is_left(core, "the mount is disabled").await;

    assert_eq!(server.write("sys/namespaces/ns", json!({})).await.status, 200);
    assert_eq!(server.write_in("ns", "sys/mounts/w", json!({"type": "words"})).await.status, 204);
    assert_eq!(server.write_in("ns", "w/a", json!({"text": "one"})).await.status, 204);
    assert_eq!(server.read_in("ns", "w/a").await.data()["words"], 1);
    assert_eq!(alive(core), 1);
    assert!(server.delete("sys/namespaces/ns").await.status < 300);
    none_is_left(core, "the namespace is deleted").await;
}

#[tokio::test]
async fn what_requests_commit_is_told() {
    let server = Server::new().await;
    assert_eq!(server.write("sys/mounts/w", json!({"type": "words"})).await.status, 204);
    assert_eq!(server.write("w/a", json!({"text": "before"})).await.status, 204);
    let mut heard = server.core.services.events.subscribe(8, Box::new(|_| true)).unwrap();
    assert_eq!(server.write("w/a", json!({"other": 1})).await.status, 400);
    assert_eq!(server.ask_as("", Verb::Write, "w/a", json!({"text": "x"})).await.status, 403);
    assert!(heard.try_next().is_none(), "nothing was committed");
    let before = server.core.services.barrier.applied();
    assert_eq!(server.write("w/b", json!({"text": "y"})).await.status, 204);
    let told = heard.try_next().unwrap();
    assert!(told.index > before);
    assert_eq!((told.event.event_type.as_ref(), told.event.metadata["path"].as_str()), ("words/write", "b"));
    assert!(told.origin.is_some() && heard.try_next().is_none());
}
