//! `sys/seal-status`, `sys/unseal`, `sys/seal`. Source: Vault's API pages of these names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::Barrier;
use strongroom_engine_api::lenient::{Flag, Text};
use strongroom_engine_api::{Engine, EngineError, Extension, Input, Redactions, bad_request};
use strongroom_node::Node;
use strongroom_pipeline::{AfterCommit, ServerPart, ServerReply, Settings};
use strongroom_seal_state::{KeyPart, SealError, SealState, UnsealError};
use zeroize::Zeroizing;

use crate::envelopes::NoEnvelope;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("seal-status", |r| {
            r.open().while_sealed().read("Check the seal status of a server.", seal_status)
        })
        .route("unseal", |r| r.open().while_sealed().update("Unseal the server.", unseal))
        .route("seal", |r| r.sudo().update("Seal the server.", seal))
}

/// The seal status.
#[derive(Serialize, JsonSchema)]
#[allow(clippy::struct_excessive_bools, reason = "the members that Vault answers")]
pub(crate) struct SealStatus {
    /// The kind of seal.
    #[serde(rename = "type")]
    kind: String,
    /// True if there are keys in storage.
    initialized: bool,
    /// True if the server is sealed.
    sealed: bool,
    /// Key parts needed to unseal.
    t: u8,
    /// Key parts there are.
    n: u8,
    /// Key parts given so far.
    progress: usize,
    /// Tells one attempt at unsealing from the next.
    nonce: String,
    /// The version of the server.
    version: String,
    /// The time at which the server was built (RFC 3339).
    build_date: String,
    /// True if a migration to another kind of seal is under way.
    migration: bool,
    /// The cluster's name, while unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster_name: String,
    /// The cluster's id, while unsealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    cluster_id: String,
    /// True if the key parts are recovery keys of an automatic seal.
    recovery_seal: bool,
    /// The storage backend.
    storage_type: &'static str,
    /// True if this node was taken out of its cluster, for storage that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_from_cluster: Option<bool>,
}

/// The input of unsealing.
#[derive(Deserialize, JsonSchema)]
struct UnsealInput {
    /// A single part of the unseal key, hexadecimal or base64. Required unless `reset` is true.
    key: Option<Text>,
    /// Discards the key parts given so far.
    reset: Option<Flag>,
    /// Changes the seal for the one in the configuration.
    migrate: Option<Flag>,
}

async fn seal_status(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Extension(seal_state): Extension<SealState>,
    Extension(node): Extension<Node>,
    redactions: Redactions,
) -> Result<NoEnvelope<SealStatus>, EngineError> {
    let shown = |text: String, redacted: bool| if redacted { String::new() } else { text };
    let status = seal_state.status().await?;
    let storage_type = barrier.store().kind();
    Ok(NoEnvelope(
        200,
        SealStatus {
            kind: status.kind,
            initialized: status.initialized,
            sealed: status.sealed,
            t: status.quorum.required,
            n: status.quorum.total,
            progress: status.progress.given,
            nonce: status.progress.nonce,
            version: shown(settings.version.clone(), redactions.version),
            build_date: shown(settings.build_date.clone(), redactions.version),
            migration: false,
            cluster_name: shown(status.cluster_name, redactions.cluster_name),
            cluster_id: status.cluster_id,
            recovery_seal: status.recovery,
            storage_type,
            removed_from_cluster: (storage_type == "raft").then(|| node.is_removed()),
        },
    ))
}

async fn unseal(
    Extension(settings): Extension<Settings>,
    Extension(barrier): Extension<Barrier>,
    Extension(seal_state): Extension<SealState>,
    Extension(node): Extension<Node>,
    redactions: Redactions,
    Input(input): Input<UnsealInput>,
) -> Result<NoEnvelope<SealStatus>, EngineError> {
    let key = Zeroizing::new(input.key.map(|key| key.0).unwrap_or_default());
    if input.reset.is_some_and(|reset| reset.0) {
        seal_state.reset_unseal().await;
        return seal_status(
            Extension(settings),
            Extension(barrier),
            Extension(seal_state),
            Extension(node),
            redactions,
        )
        .await;
    }
    if key.is_empty() {
        return Err(bad_request("'key' must be specified in request body as JSON, or 'reset' set to true"));
    }
    let part =
        read_key_part(&key).ok_or_else(|| bad_request("'key' must be a valid hex or base64 string"))?;
    if input.migrate.is_some_and(|migrate| migrate.0) {
        return Err(bad_request("can't perform a seal migration, no migration seal found"));
    }
    if node.is_removed() {
        let text = "this node was removed from its cluster; delete its data directory and join again";
        return Err(EngineError::Status(500, text.to_owned()));
    }
    seal_state.offer_key_part(part).await.map_err(refused)?;
    seal_status(Extension(settings), Extension(barrier), Extension(seal_state), Extension(node), redactions)
        .await
}

fn refused(error: UnsealError) -> EngineError {
    match error {
        UnsealError::Barrier(error) => error.into(),
        UnsealError::InvalidKeyPart(text) => bad_request(format!("invalid key: {text}")),
        UnsealError::WrongKey(_) => {
            bad_request(format!("unable to retrieve stored keys: invalid key: {error}"))
        }
        UnsealError::NotInitialized | UnsealError::NoKeyParts(_) => bad_request(error.to_string()),
        UnsealError::Seal(SealError::Unavailable(_)) => EngineError::Status(503, error.to_string()),
        UnsealError::Seal(_) | UnsealError::NoSeal(_) => EngineError::Status(500, error.to_string()),
    }
}

async fn seal() -> Result<ServerReply, EngineError> {
    Ok(ServerReply::of(ServerPart { after_commit: AfterCommit::Seal, ..ServerPart::default() }))
}

/// The key part of an operation of key holders.
pub(crate) fn key_part(key: Option<Text>) -> Result<KeyPart, EngineError> {
    let key = Zeroizing::new(key.map(|key| key.0).unwrap_or_default());
    if key.is_empty() {
        return Err(bad_request("'key' must be specified in request body as JSON"));
    }
    let part = read_key_part(&key);
    part.map(KeyPart::new).ok_or_else(|| bad_request("'key' must be a valid hex or base64 string"))
}

/// The bytes of a key part: hexadecimal, else base64, as initializing answers both.
fn read_key_part(text: &str) -> Option<Vec<u8>> {
    from_hex(text).or_else(|| STANDARD.decode(text).ok())
}

/// The bytes that hexadecimal digits encode.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::{Settings, Verb};

    use super::*;
    use crate::testing::Server;
    use strongroom_stdx::to_hex;

    #[tokio::test]
    async fn shares_unseal_step_by_step() {
        let server = Server::sealed(Settings::default(), 3, 2).await;
        let unseal = async |input| server.ask_as("", Verb::Write, "sys/unseal", input).await;
        let status = server.ask_as("", Verb::Read, "sys/seal-status", json!({})).await;
        assert_eq!(status.body["sealed"], true);
        assert_eq!((&status.body["t"], &status.body["n"]), (&json!(2), &json!(3)));
        assert_eq!(status.body["storage_type"], "inmem");
        assert_eq!(status.body.get("cluster_id"), None);
        assert_eq!(server.read("sys/mounts").await.error(), (503, "Vault is sealed"));

        let first = unseal(json!({ "key": to_hex(&server.key_parts[0]) })).await;
        assert_eq!((first.status, &first.body["progress"]), (200, &json!(1)));
        assert_ne!(first.body["nonce"], "");
        let again = unseal(json!({ "key": to_hex(&server.key_parts[0]) })).await;
        assert_eq!(again.body["progress"], 1, "the same share counts once");
        assert_eq!(unseal(json!({ "reset": true })).await.body["progress"], 0);
        assert_eq!(unseal(json!({ "key": to_hex(&server.key_parts[0]) })).await.body["progress"], 1);
        let second = unseal(json!({ "key": STANDARD.encode(&server.key_parts[2]) })).await;
        assert_eq!((&second.body["sealed"], &second.body["progress"]), (&json!(false), &json!(0)));
        assert_ne!(second.body["cluster_id"], "");
        assert_eq!(server.read("sys/mounts").await.status, 200);
    }

    #[tokio::test]
    async fn wrong_shares_are_named_and_start_over() {
        let server = Server::sealed(Settings::default(), 3, 2).await;
        let unseal = async |input| server.ask_as("", Verb::Write, "sys/unseal", input).await;
        for (input, text) in [
            (json!({}), "'key' must be specified in request body as JSON, or 'reset' set to true"),
            (json!({ "key": "" }), "'key' must be specified in request body as JSON, or 'reset' set to true"),
            (json!({ "key": "zz!!" }), "'key' must be a valid hex or base64 string"),
            (json!({ "key": "abcd" }), "invalid key: key is shorter than minimum 33 bytes"),
            (json!({ "key": "ab".repeat(34) }), "invalid key: key is longer than maximum 33 bytes"),
            (
                json!({ "key": "ab".repeat(33), "migrate": true }),
                "can't perform a seal migration, no migration seal found",
            ),
        ] {
            assert_eq!(unseal(input).await.error(), (400, text));
        }
        unseal(json!({ "key": to_hex(&server.key_parts[0]) })).await;
        let mut wrong = server.key_parts[1].clone();
        wrong[0] ^= 1;
        let (status, text) = {
            let told = unseal(json!({ "key": to_hex(&wrong) })).await;
            (told.status, told.error().1.to_owned())
        };
        assert_eq!(status, 400);
        assert!(
            text.starts_with(
                "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage"
            )
        );
        let status = server.ask_as("", Verb::Read, "sys/seal-status", json!({})).await;
        assert_eq!((&status.body["progress"], &status.body["nonce"]), (&json!(0), &json!("")));
    }

    #[tokio::test]
    async fn sealing_takes_sudo() {
        let server = Server::new().await;
        let plain = server.token_with(r#"path "sys/seal" { capabilities = ["update"] }"#).await;
        assert_eq!(server.ask_as(&plain, Verb::Write, "sys/seal", json!({})).await.status, 403);
        assert_eq!(server.ask_as("", Verb::Write, "sys/seal", json!({})).await.status, 403);
        let sudo = server.token_with(r#"path "sys/seal" { capabilities = ["update", "sudo"] }"#).await;
        assert_eq!(server.ask_as(&sudo, Verb::Write, "sys/seal", json!({})).await.status, 204);
        assert_eq!(server.read("sys/mounts").await.status, 503);
    }

    #[tokio::test]
    async fn before_initialising_there_is_nothing_to_unseal() {
        let server = Server::blank(Settings::default());
        let told = server.ask_as("", Verb::Write, "sys/unseal", json!({ "key": "abcd" })).await;
        assert_eq!(told.error(), (400, "Vault is not initialized"));
        let status = server.ask_as("", Verb::Read, "sys/seal-status", json!({})).await;
        assert_eq!((&status.body["initialized"], &status.body["sealed"]), (&json!(false), &json!(true)));
    }

    #[test]
    fn hex_reads_back() {
        assert_eq!(from_hex(&to_hex(&[0, 1, 0xab, 0xff])), Some(vec![0, 1, 0xab, 0xff]));
        assert_eq!(from_hex("ABcd"), Some(vec![0xab, 0xcd]));
        for odd in ["a", "abc", "zz", "é"] {
            assert_eq!(from_hex(odd), None, "{odd}");
        }
    }
}
