//! The whole method, run by the harness.

mod housekeeping;
mod logins;
mod operations;
mod properties;
mod renewals;
mod roles;
mod secret_ids;

use serde_json::{Value, json};
use strongroom_engine_api::harness::Harness;
use strongroom_engine_api::{AuthGrant, EngineError, Operation, Reply};

use crate::engine;

fn method() -> Harness {
    Harness::new(engine())
}

async fn get(method: &Harness, path: &str) -> Value {
    method.data(Operation::Read, path, json!({})).await
}

async fn post(method: &Harness, path: &str, input: Value) -> Value {
    method.data(Operation::Update, path, input).await
}

async fn reply(method: &Harness, path: &str, input: Value) -> Reply {
    method.call(Operation::Update, path, input).await.expect("the call succeeds")
}

async fn delete(method: &Harness, path: &str) -> Value {
    method.data(Operation::Delete, path, json!({})).await
}

/// Status and text of a refusal.
fn refusal(error: EngineError) -> (u16, String) {
    match error {
        EngineError::Invalid(text) | EngineError::Credentials(text) => (400, text),
        EngineError::Denied(text) => (403, text),
        EngineError::NotFound => (404, String::new()),
        EngineError::Unsupported => (405, String::new()),
        EngineError::Status(status, text) => (status, text),
        other => panic!("{other:?}"),
    }
}

async fn refused(method: &Harness, operation: Operation, path: &str, input: Value) -> (u16, String) {
    match method.call(operation, path, input).await {
        Ok(_) => panic!("{operation} {path} succeeds"),
        Err(error) => refusal(error),
    }
}

async fn post_refused(method: &Harness, path: &str, input: Value) -> (u16, String) {
    refused(method, Operation::Update, path, input).await
}

async fn keys(method: &Harness, path: &str) -> Vec<String> {
    let data = method.data(Operation::List, path, json!({})).await;
    serde_json::from_value(data["keys"].clone()).expect("a list of keys")
}

async fn login(method: &Harness, role_id: &str, secret_id: &str) -> Result<AuthGrant, (u16, String)> {
    let input = json!({"role_id": role_id, "secret_id": secret_id});
    let reply = method.call(Operation::Update, "login", input).await.map_err(refusal)?;
    Ok(reply.login().cloned().expect("a login is answered with a grant"))
}

fn bad(text: &str) -> (u16, String) {
    (400, text.to_owned())
}
