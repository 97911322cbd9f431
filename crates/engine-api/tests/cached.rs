//! Values that an engine derives from its tables, as its handlers draw them. (With the feature `harness`.)
#![cfg(feature = "harness")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{
    Cached, Derived, Engine, EngineError, Input, Operation, Path, Reply, Source, Table, TableId, Txn,
    bad_request, tables,
};

tables! {
    /// Texts by name.
    CONFIG: Table<str, String> = 1;
}

/// The words of a text.
struct Words(Vec<String>);

impl Derived for Words {
    type Key = str;
    const FROM: &'static [TableId] = &[CONFIG.id()];

    async fn derive(key: &str, from: Source) -> Result<Self, EngineError> {
        from.extension::<AtomicUsize>()?.fetch_add(1, Ordering::SeqCst);
        let text = CONFIG.get(&from.view, key).await?.ok_or_else(|| bad_request("no such text"))?;
        Ok(Self(text.split(' ').map(str::to_owned).collect()))
    }

    fn weight(&self) -> usize {
        self.0.iter().map(String::len).sum()
    }
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// The text.
    text: Text,
}

async fn read(Path(name): Path<String>, words: Cached<Words>) -> Result<Reply, EngineError> {
    Reply::data(&json!({ "words": words.get(&name).await?.0 }))
}

async fn write(
    Path(name): Path<String>,
    Input(given): Input<Write>,
    words: Cached<Words>,
    txn: Txn,
) -> Result<Reply, EngineError> {
    CONFIG.put(&txn, name.as_str(), given.text.0)?;
    // As of the view: what this request writes is not committed yet.
    let before = words.get(&name).await.map_or(0, |words| words.0.len());
    Reply::data(&json!({ "before": before }))
}

fn harness(derived: Arc<AtomicUsize>) -> Harness {
    let engine = Engine::new("words", "Splits texts.").tables(TABLES).extension(derived);
    Harness::new(engine.route("{name}", |r| r.read("Read the words.", read).update("Write a text.", write)))
}

#[tokio::test]
async fn handlers_share_a_value_until_its_table_is_touched() {
    let derived = Arc::new(AtomicUsize::new(0));
    let engine = harness(derived.clone());
    let words = async |name: &str| engine.data(Operation::Read, name, json!({})).await["words"].clone();
    let put = async |name: &str, text: &str| -> Value {
        engine.data(Operation::Update, name, json!({ "text": text })).await["before"].clone()
    };
    assert_eq!(put("a", "one two").await, 0);
    assert_eq!(words("a").await, json!(["one", "two"]));
    let once = derived.load(Ordering::SeqCst);
    assert_eq!(words("a").await, json!(["one", "two"]));
    assert_eq!(derived.load(Ordering::SeqCst), once, "kept from before");
    assert_eq!(put("a", "three").await, 2);
    assert_eq!(words("a").await, json!(["three"]));
    let missing = engine.call(Operation::Read, "b", json!({})).await;
    assert!(matches!(missing, Err(EngineError::Invalid(text)) if text == "no such text"));
    assert_eq!(put("b", "x").await, 0);
    assert_eq!(words("b").await, json!(["x"]));
}
