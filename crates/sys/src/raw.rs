//! `sys/raw`: storage below the mounts, for repairs with the server's guidance. Source: Vault's API page of this name.
//!
//! Keys are bytes here, not paths: they are written as hexadecimal digits, and a list is of the keys with a given
//! prefix. Values are what the barrier opens. What the seal keeps is out of reach.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::{BOOTSTRAP, Barrier, BarrierError};
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{Data, Engine, EngineError, Extension, Input, Paging, Path, Reply, bad_request};
use strongroom_storage::{Commit, KeyRange, STAGED, Snapshot, Store, StoreError, Write};
use zeroize::Zeroizing;

use strongroom_pipeline::Settings;
use strongroom_stdx::to_hex;

use crate::seal::from_hex;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("raw/{path..}", |r| {
        r.sudo()
            .read("Read the value of the key at the given path.", read)
            .update("Update the value of the key at the given path.", write)
            .delete("Delete the key with given path.", delete)
            .list("Return a list keys for a given path prefix.", list)
            .explain(
                "Storage below the mounts. A path is a key, or the beginning of one, in hexadecimal digits.",
            )
    })
}

/// Keys listed at once where the client sets no limit.
const MAX_KEYS: usize = 100_000;

/// The input of reading a value.
#[derive(Deserialize, JsonSchema)]
struct ReadInput {
    /// "base64", or empty for a value that is text.
    encoding: Option<Text>,
    /// Has no effect: values are not compressed.
    #[allow(dead_code, reason = "read for its documentation")]
    compressed: Option<Flag>,
}

/// A value.
#[derive(Serialize, JsonSchema)]
struct Value {
    /// The value, encoded as asked for.
    value: String,
}

/// The input of writing a value.
#[derive(Deserialize, JsonSchema)]
struct WriteInput {
    /// The value, encoded as `encoding` says.
    value: Option<Text>,
    /// "base64", or empty for text.
    encoding: Option<Text>,
    /// Empty: values are not compressed.
    compression_type: Option<Text>,
    /// Has no effect: values are not compressed.
    #[allow(dead_code, reason = "read for its documentation")]
    compressed: Option<Flag>,
}

/// The store, where the configuration opens it.
fn opened<'b>(settings: &Settings, barrier: &'b Barrier) -> Result<&'b Arc<dyn Store>, EngineError> {
    if settings.raw_storage_endpoint {
        Ok(barrier.store())
    } else {
        Err(EngineError::Status(404, "unsupported path".to_owned()))
    }
}

fn key_of(path: &str) -> Result<Vec<u8>, EngineError> {
    let key = from_hex(path)
        .ok_or_else(|| bad_request(format!("{path:?} is not a key: not hexadecimal digits")))?;
    if key.first() == Some(&BOOTSTRAP) {
        return Err(bad_request(format!("cannot access {path:?}: it belongs to the seal")));
    }
    if key.first() == Some(&STAGED) {
        return Err(bad_request(format!("cannot access {path:?}: it belongs to storage")));
    }
    Ok(key)
}

fn is_base64(encoding: Option<&Text>) -> Result<bool, EngineError> {
    match encoding.map_or("", |encoding| encoding.as_str()) {
        "" => Ok(false),
        "base64" => Ok(true),
        other => Err(bad_request(format!("invalid encoding {other:?}: must be \"\" or \"base64\""))),
    }
}

fn stored(error: StoreError) -> EngineError {
    BarrierError::from(error).into()
}

async fn read(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Path(path): Path<String>,
    Input(input): Input<ReadInput>,
) -> Result<Option<Data<Value>>, EngineError> {
    let store = opened(&settings, &barrier)?;
    let key = key_of(&path)?;
    let base64 = is_base64(input.encoding.as_ref())?;
    let snapshot: Box<dyn Snapshot> = store.snapshot().await.map_err(stored)?;
    let Some(found) = snapshot.get(&key).await.map_err(stored)? else { return Ok(None) };
    let plain = barrier.keyring()?.open(&key, &found.value).map_err(BarrierError::from)?;
    let value = if base64 {
        STANDARD.encode(&*plain)
    } else {
        let text = std::str::from_utf8(&plain).ok();
        text.ok_or_else(|| bad_request("the value is not text: ask for it with encoding=base64"))?.to_owned()
    };
    Ok(Some(Data(Value { value })))
}

async fn write(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Path(path): Path<String>,
    Input(input): Input<WriteInput>,
) -> Result<(), EngineError> {
    opened(&settings, &barrier)?;
    let key = key_of(&path)?;
    if input.compression_type.is_some_and(|kind| !kind.is_empty()) {
        return Err(bad_request("invalid compression_type: values are not compressed"));
    }
    let Some(text) = input.value.map(|value| Zeroizing::new(value.0)) else {
        return Err(bad_request("missing value"));
    };
    let plain = if is_base64(input.encoding.as_ref())? {
        Zeroizing::new(
            STANDARD.decode(&*text).map_err(|error| bad_request(format!("invalid base64: {error}")))?,
        )
    } else {
        Zeroizing::new(text.as_bytes().to_vec())
    };
    let sealed = barrier.keyring()?.seal(barrier.entropy(), &key, &plain).map_err(BarrierError::from)?;
    change(&barrier, Write { key: key.into(), value: Some(sealed.into()) }).await
}

async fn delete(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Path(path): Path<String>,
) -> Result<(), EngineError> {
    opened(&settings, &barrier)?;
    change(&barrier, Write { key: key_of(&path)?.into(), value: None }).await
}

async fn change(barrier: &Barrier, write: Write) -> Result<(), EngineError> {
    let commit = Commit { writes: vec![write], ..Commit::default() };
    barrier.store().commit(commit).await.map_err(BarrierError::from)?;
    Ok(())
}

async fn list(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Path(path): Path<String>,
    paging: Paging,
) -> Result<Reply, EngineError> {
    let store = opened(&settings, &barrier)?;
    let prefix = path.trim_end_matches('/');
    let prefix = if prefix.is_empty() { Vec::new() } else { key_of(prefix)? };
    let mut range = KeyRange::prefix(&prefix);
    // The seal's own keys come first.
    range.start = range.start.max(vec![BOOTSTRAP.saturating_add(1)]);
    if let Some(after) = &paging.after {
        range = range.after(&key_of(after)?);
    }
    let asked = paging.limit.min(MAX_KEYS.saturating_add(1));
    let found = store.snapshot().await.map_err(stored)?.scan(&range, asked).await.map_err(stored)?;
    if found.len() > MAX_KEYS {
        return Err(bad_request(format!(
            "there are more than {MAX_KEYS} keys: list them with after and limit"
        )));
    }
    let keys: Vec<String> = found.iter().map(|(key, _)| to_hex(key)).collect();
    Reply::keys(&keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::{Settings, Verb};

    use crate::testing::Server;

    const UNSUPPORTED_PATH: &str = "1 error occurred:\n\t* unsupported path\n\n";

    async fn opened_server() -> Server {
        Server::with(Settings { raw_storage_endpoint: true, ..Settings::default() }).await
    }

    #[tokio::test]
    async fn shut_unless_the_configuration_opens_it() {
        let server = Server::new().await;
        assert_eq!(server.list("sys/raw").await.error(), (404, UNSUPPORTED_PATH));
        assert_eq!(server.read("sys/raw/0101").await.error(), (404, UNSUPPORTED_PATH));
        assert_eq!(
            server.write("sys/raw/fe01", json!({ "value": "x" })).await.error(),
            (404, UNSUPPORTED_PATH)
        );
        assert_eq!(server.delete("sys/raw/0101").await.error(), (404, UNSUPPORTED_PATH));
        let server = opened_server().await;
        let all = r#"["create", "read", "update", "delete", "list"]"#;
        let plain = server.token_with(&format!("path \"sys/raw*\" {{ capabilities = {all} }}")).await;
        assert_eq!(server.ask_as(&plain, Verb::Read, "sys/raw/0101", json!({})).await.status, 403);
    }

    #[tokio::test]
    async fn values_are_written_listed_read_and_deleted() {
        let server = opened_server().await;
        assert_eq!(server.write("sys/raw/fe01", json!({ "value": "text" })).await.status, 204);
        let input = json!({ "value": "/wA=", "encoding": "base64" });
        assert_eq!(server.write("sys/raw/fe02", input).await.status, 204);
        assert_eq!(server.list("sys/raw/fe").await.data(), &json!({ "keys": ["fe01", "fe02"] }));
        let after = server.ask(Verb::List, "sys/raw/fe/", json!({ "after": "fe01", "limit": 1 })).await;
        assert_eq!(after.data(), &json!({ "keys": ["fe02"] }));
        assert_eq!(server.read("sys/raw/fe01").await.data(), &json!({ "value": "text" }));
        let told = server.read("sys/raw/fe02").await;
        assert_eq!(told.error(), (400, "the value is not text: ask for it with encoding=base64"));
        let told = server.ask(Verb::Read, "sys/raw/fe02", json!({ "encoding": "base64" })).await;
        assert_eq!(told.data(), &json!({ "value": "/wA=" }));
        assert_eq!(server.delete("sys/raw/fe01").await.status, 204);
        assert_eq!(server.read("sys/raw/fe01").await.status, 404);
        assert_eq!(server.list("sys/raw/fe01").await.status, 404);
    }

    #[tokio::test]
    async fn entries_of_the_core_are_seen_and_those_of_the_seal_are_not() {
        let server = opened_server().await;
        assert_eq!(server.write("sys/mounts/kv", json!({ "type": "kv" })).await.status, 204);
        let told = server.list("sys/raw").await;
        let keys: Vec<&str> =
            told.data()["keys"].as_array().unwrap().iter().filter_map(|key| key.as_str()).collect();
        assert!(keys.iter().any(|key| key.starts_with("010000000101")), "mounts of the root namespace");
        assert!(!keys.iter().any(|key| key.starts_with("00")));
        let told =
            server.ask(Verb::Read, &format!("sys/raw/{}", keys[0]), json!({ "encoding": "base64" })).await;
        assert!(!told.data()["value"].as_str().unwrap().is_empty());
        for path in ["00", "006b657972696e67"] {
            let text = format!("cannot access {path:?}: it belongs to the seal");
            assert_eq!(server.read(&format!("sys/raw/{path}")).await.error(), (400, text.as_str()));
            assert_eq!(server.delete(&format!("sys/raw/{path}")).await.status, 400);
            assert_eq!(server.write(&format!("sys/raw/{path}"), json!({ "value": "x" })).await.status, 400);
        }
        let told = server.read("sys/raw/logical/x").await;
        assert_eq!(told.error(), (400, "\"logical/x\" is not a key: not hexadecimal digits"));
    }
}
