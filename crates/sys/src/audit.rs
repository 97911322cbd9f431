//! `sys/audit`, `sys/audit-hash`, `sys/config/auditing/request-headers`. Source: Vault's API pages of these names.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_auditing::{AuditDevices, AuditedHeader, NewDevice};
use strongroom_barrier::{Txn, View};
use strongroom_engine_api::lenient::{Flag, Pairs, Text};
use strongroom_engine_api::{Engine, EngineError, Extension, Input, Path, Request, bad_request};
use strongroom_pipeline::ServerReply;

use crate::envelopes::MergedData;
use crate::mounts::as_kept;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("audit", |r| r.sudo().read("List the enabled audit devices.", list))
        .route("audit/{path..}", |r| {
            r.sudo()
                .update("Enable an audit device at the given path.", enable)
                .delete("Disable the audit device at the given path.", disable)
        })
        .route("audit-hash/{path..}", |r| {
            r.update("Hash an input as the audit device at the given path does.", hash)
        })
        .route("config/auditing/request-headers", |r| {
            r.sudo().read("List the request headers that are configured to be audited.", read_headers)
        })
        .route("config/auditing/request-headers/{header:caseless}", |r| {
            r.sudo()
                .read("List the information for the given request header.", read_header)
                .update("Enable auditing of a header.", write_header)
                .delete("Disable auditing of the given request header.", delete_header)
        })
}

/// An audit device.
#[derive(Serialize, JsonSchema)]
struct Device {
    /// For people.
    description: String,
    /// True if the device is left out of replication.
    local: bool,
    /// The device's options.
    options: BTreeMap<String, String>,
    /// The path at which it is enabled.
    path: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
}

async fn list(
    Extension(audit_devices): Extension<AuditDevices>,
    view: View,
) -> Result<ServerReply, EngineError> {
    let mut devices = BTreeMap::new();
    for (path, entry) in audit_devices.audit_entries(&view).await? {
        let device = Device {
            description: entry.description.clone(),
            local: entry.local,
            options: entry.options.clone(),
            path: path.clone(),
            kind: entry.kind.clone(),
        };
        devices.insert(path, device);
    }
    ServerReply::at_top(&devices)
}

/// The input of enabling a device.
#[derive(Deserialize, JsonSchema)]
struct EnableInput {
    /// The type of the audit device, such as "file".
    #[serde(rename = "type")]
    kind: Option<Text>,
    /// A description for people.
    description: Option<Text>,
    /// Options of the device.
    options: Option<Pairs>,
    /// Leaves the device out of replication.
    local: Option<Flag>,
}

async fn enable(
    Extension(audit_devices): Extension<AuditDevices>,
    txn: Txn,
    request: Arc<Request>,
    Path(path): Path<String>,
    Input(input): Input<EnableInput>,
) -> Result<(), EngineError> {
    let path = as_kept(&path)?;
    let text = |text: Option<Text>| text.map(|text| text.0).unwrap_or_default();
    let taken = audit_devices.audit_entries(txn.peek()).await?;
    if taken.iter().any(|(other, _)| other.starts_with(&path) || path.starts_with(other.as_str())) {
        return Err(bad_request("path already in use"));
    }
    let device = NewDevice {
        kind: text(input.kind),
        description: text(input.description),
        options: input.options.map(|options| options.0).unwrap_or_default(),
        local: input.local.is_some_and(|local| local.0),
    };
    audit_devices.enable_audit(&txn, &path, device, &request.id).await
}

async fn disable(
    Extension(audit_devices): Extension<AuditDevices>,
    txn: Txn,
    Path(path): Path<String>,
) -> Result<(), EngineError> {
    audit_devices.disable_audit(&txn, &as_kept(&path)?).await?;
    Ok(())
}

/// The input of hashing.
#[derive(Deserialize, JsonSchema)]
struct HashInput {
    /// The text to hash.
    input: Option<Text>,
}

/// A hashed text.
#[derive(Serialize, JsonSchema)]
struct Hash {
    /// The hash of the input, as in the device's records.
    hash: String,
}

async fn hash(
    Extension(audit_devices): Extension<AuditDevices>,
    Path(path): Path<String>,
    Input(input): Input<HashInput>,
) -> Result<MergedData<Hash>, EngineError> {
    let path = as_kept(&path)?;
    let Some(text) = input.input.filter(|text| !text.is_empty()) else {
        return Err(bad_request("the \"input\" parameter is empty"));
    };
    match audit_devices.auditing().await?.broker.get(&path) {
        Some(device) => Ok(MergedData(Hash { hash: device.hash(&text) })),
        None => Err(bad_request(format!("unknown audit backend {path:?}"))),
    }
}

/// The form in which a header is recorded.
#[derive(Serialize, JsonSchema)]
struct Header {
    /// True if its values are hashed.
    hmac: bool,
}

/// The headers that records show.
#[derive(Serialize, JsonSchema)]
struct Headers {
    /// Each by its lower-case name.
    headers: BTreeMap<String, Header>,
}

async fn read_headers(
    Extension(audit_devices): Extension<AuditDevices>,
    view: View,
) -> Result<MergedData<Headers>, EngineError> {
    let headers = audit_devices.audited_headers(&view).await?;
    let headers = headers.into_iter().map(|(name, hmac)| (name, Header { hmac })).collect();
    Ok(MergedData(Headers { headers }))
}

async fn read_header(
    Extension(audit_devices): Extension<AuditDevices>,
    view: View,
    Path(header): Path<String>,
) -> Result<ServerReply, EngineError> {
    let headers = audit_devices.audited_headers(&view).await?;
    let Some(hmac) = headers.get(&header.to_lowercase()) else {
        return Err(bad_request("Could not find header in config"));
    };
    let shown = BTreeMap::from([(header, Header { hmac: *hmac })]);
    ServerReply::at_top(&shown)
}

/// The input of auditing a header.
#[derive(Deserialize, JsonSchema)]
struct HeaderInput {
    /// True if the header's values are hashed.
    hmac: Option<Flag>,
}

async fn write_header(
    Extension(audit_devices): Extension<AuditDevices>,
    txn: Txn,
    Path(header): Path<String>,
    Input(input): Input<HeaderInput>,
) -> Result<(), EngineError> {
    let hmac = input.hmac.is_some_and(|hmac| hmac.0);
    Ok(audit_devices.set_audited_header(&txn, &header, Some(AuditedHeader { hmac }))?)
}

async fn delete_header(
    Extension(audit_devices): Extension<AuditDevices>,
    txn: Txn,
    Path(header): Path<String>,
) -> Result<(), EngineError> {
    Ok(audit_devices.set_audited_header(&txn, &header, None)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::Verb;

    use crate::testing::Server;

    #[tokio::test]
    async fn a_device_is_enabled_hashes_and_is_disabled() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let server = Server::new().await;
        assert_eq!(server.read("sys/audit").await.data(), &json!({}));
        let input = json!({ "type": "file", "description": "d", "options": { "file_path": log } });
        let told = server.write("sys/audit/main", input.clone()).await;
        assert_eq!(told.status, 204, "{}", told.body);
        let device = json!({ "description": "d", "local": false, "options": { "file_path": log }, "path": "main/", "type": "file" });
        let listed = server.read("sys/audit").await;
        assert_eq!(listed.data(), &json!({ "main/": device }));
        assert_eq!(listed.body["main/"], device, "also at the top");

        let hash = server.write("sys/audit-hash/main", json!({ "input": "foo" })).await;
        let text = hash.data()["hash"].as_str().unwrap();
        assert!(text.starts_with("hmac-sha256:") && text.len() == 76, "{text}");
        server.write("sys/mounts/kv", json!({ "type": "kv" })).await;
        server.write("kv/x", json!({ "value": "foo" })).await;
        let lines = std::fs::read_to_string(&log).unwrap();
        assert!(lines.contains(text), "records show the same hash");

        for (path, input, text) in [
            ("audit/main", input.clone(), "path already in use"),
            ("audit/main/sub", input, "path already in use"),
            ("audit/x", json!({}), "unknown backend type: \"\""),
            ("audit/x", json!({ "type": "nope" }), "unknown backend type: \"nope\""),
            ("audit/x", json!({ "type": "file" }), "file_path is required"),
            ("audit-hash/main", json!({}), "the \"input\" parameter is empty"),
            ("audit-hash/x", json!({ "input": "foo" }), "unknown audit backend \"x/\""),
        ] {
            assert_eq!(server.write(&format!("sys/{path}"), input).await.error(), (400, text));
        }
        assert_eq!(server.read("sys/audit/main").await.status, 405);
        assert_eq!(server.delete("sys/audit/main").await.status, 204);
        assert_eq!(server.delete("sys/audit/main").await.status, 204);
        assert_eq!(server.read("sys/audit").await.data(), &json!({}));
    }

    #[tokio::test]
    async fn headers_are_audited_by_name() {
        let server = Server::new().await;
        let base = "sys/config/auditing/request-headers";
        assert_eq!(server.write(&format!("{base}/X-Foo"), json!({ "hmac": true })).await.status, 204);
        assert_eq!(server.write(&format!("{base}/X-Bar"), json!({})).await.status, 204);
        assert_eq!(server.read(&format!("{base}/X-Foo")).await.data(), &json!({ "X-Foo": { "hmac": true } }));
        let all = json!({ "headers": { "x-bar": { "hmac": false }, "x-foo": { "hmac": true } } });
        assert_eq!(server.read(base).await.data(), &all);
        assert_eq!(
            server.read(&format!("{base}/none")).await.error(),
            (400, "Could not find header in config")
        );
        assert_eq!(server.delete(&format!("{base}/x-FOO")).await.status, 204);
        assert_eq!(server.read(base).await.data(), &json!({ "headers": { "x-bar": { "hmac": false } } }));
    }

    #[tokio::test]
    async fn devices_and_headers_take_sudo() {
        let server = Server::new().await;
        let all = r#"["create", "read", "update", "delete"]"#;
        let plain = server.token_with(&format!("path \"sys/*\" {{ capabilities = {all} }}")).await;
        for (asked, path) in [
            (Verb::Read, "sys/audit"),
            (Verb::Write, "sys/audit/x"),
            (Verb::Delete, "sys/audit/x"),
            (Verb::Read, "sys/config/auditing/request-headers"),
            (Verb::Write, "sys/config/auditing/request-headers/x"),
        ] {
            assert_eq!(server.ask_as(&plain, asked, path, json!({})).await.status, 403, "{path}");
        }
    }
}
