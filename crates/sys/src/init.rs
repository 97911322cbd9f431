//! `sys/init`. Source: Vault's API page of this name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::lenient::{Int, List, Text};
use strongroom_engine_api::{Clock, Engine, EngineError, Extension, Input, Moment, bad_request};

use crate::envelopes::NoEnvelope;
use strongroom_initialization::{InitRequest, Initialization, Initialized};
use strongroom_pgp::{PgpError, PgpKey, Recipients};
use strongroom_seal_state::{InitError, KeyPartsWanted, SealError, SealState};
use strongroom_stdx::to_hex;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("init", |r| {
        r.open()
            .while_sealed()
            .read("Returns the initialization status of the server.", is_initialized)
            .update("Initialize a new server.", initialize)
    })
}

/// The status of initialization.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// True if the server has been initialized.
    initialized: bool,
}

/// The input of initialization.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct InitInput {
    /// The number of parts to split the unseal key into.
    secret_shares: Option<Int>,
    /// The number of parts required to unseal; at most `secret_shares`.
    secret_threshold: Option<Int>,
    /// PGP public keys to encrypt the parts to, one each, in base64.
    pgp_keys: Option<List>,
    /// A PGP public key to encrypt the root token to, in base64.
    root_token_pgp_key: Option<Text>,
    /// The number of parts that an automatic seal is to keep: none, or `secret_shares`.
    stored_shares: Option<Int>,
    /// The number of parts to split the recovery key of an automatic seal into.
    recovery_shares: Option<Int>,
    /// The number of parts required to reconstruct the recovery key of an automatic seal.
    recovery_threshold: Option<Int>,
    /// PGP public keys to encrypt the parts of the recovery key to, one each, in base64.
    recovery_pgp_keys: Option<List>,
}

/// The keys, shown once.
#[derive(Serialize, JsonSchema)]
struct Made {
    /// The parts of the unseal key, hexadecimal.
    keys: Vec<String>,
    /// The parts of the unseal key, base64.
    keys_base64: Vec<String>,
    /// The parts of the recovery key of an automatic seal, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_keys: Option<Vec<String>>,
    /// The parts of the recovery key of an automatic seal, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_keys_base64: Option<Vec<String>>,
    /// The root token; its message in base64 where it is encrypted.
    root_token: String,
}

impl Drop for Made {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.keys.zeroize();
        self.keys_base64.zeroize();
        self.recovery_keys.zeroize();
        self.recovery_keys_base64.zeroize();
        self.root_token.zeroize();
    }
}

async fn is_initialized(
    Extension(seal_state): Extension<SealState>,
) -> Result<NoEnvelope<Status>, EngineError> {
    Ok(NoEnvelope(200, Status { initialized: seal_state.is_initialized().await? }))
}

async fn initialize(
    Extension(initialization): Extension<Initialization>,
    Extension(seal_state): Extension<SealState>,
    clock: Clock,
    Input(input): Input<InitInput>,
) -> Result<NoEnvelope<Made>, EngineError> {
    if seal_state.is_initialized().await? {
        return Err(bad_request(InitError::AlreadyInitialized.to_string()));
    }
    let state = seal_state;
    let request = check(&input, state.kind(), state.unseals_by_itself(), clock.now()).map_err(bad_request)?;
    let made = initialization.initialize(request).await.map_err(refused)?;
    Ok(NoEnvelope(200, shown(&made)))
}

fn shown(made: &Initialized) -> Made {
    let hex: Vec<String> = made.key_parts.iter().map(|part| to_hex(part.expose())).collect();
    let base64: Vec<String> = made.key_parts.iter().map(|part| STANDARD.encode(part.expose())).collect();
    let root_token = made.root_token.expose().clone();
    let none = Vec::new;
    if made.for_recovery {
        let (recovery_keys, recovery_keys_base64) = (Some(hex), Some(base64));
        Made { keys: none(), keys_base64: none(), recovery_keys, recovery_keys_base64, root_token }
    } else {
        Made { keys: hex, keys_base64: base64, recovery_keys: None, recovery_keys_base64: None, root_token }
    }
}

fn refused(error: InitError) -> EngineError {
    match error {
        InitError::Engine(error) => error,
        InitError::Seal(SealError::Unavailable(_)) => EngineError::Status(503, error.to_string()),
        InitError::Seal(_) => EngineError::Status(500, error.to_string()),
        error @ (InitError::AlreadyInitialized | InitError::Configuration(_)) => {
            bad_request(error.to_string())
        }
    }
}

/// The key parts that are asked for: of the unseal key, or for recovery, where the seal unseals automatically. The seal
/// itself says whether the numbers go together.
fn check(input: &InitInput, kind: &str, unseals_by_itself: bool, now: Moment) -> Result<InitRequest, String> {
    let number = |given: &Option<Int>| given.as_ref().map_or(0, |given| given.0);
    let given = |list: &Option<List>| list.as_ref().is_some_and(|list| !list.is_empty());
    let inapplicable: Vec<&str> = if unseals_by_itself {
        vec![
            ("secret_shares", number(&input.secret_shares) != 0),
            ("secret_threshold", number(&input.secret_threshold) != 0),
            ("pgp_keys", given(&input.pgp_keys)),
        ]
    } else {
        vec![
            ("recovery_shares", number(&input.recovery_shares) != 0),
            ("recovery_threshold", number(&input.recovery_threshold) != 0),
            ("recovery_pgp_keys", given(&input.recovery_pgp_keys)),
        ]
    }
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    if !inapplicable.is_empty() {
        return Err(format!("parameters {} not applicable to seal type {kind}", inapplicable.join(",")));
    }
    let (total, required, stored, keys) = if unseals_by_itself {
        (&input.recovery_shares, &input.recovery_threshold, &None, &input.recovery_pgp_keys)
    } else {
        (&input.secret_shares, &input.secret_threshold, &input.stored_shares, &input.pgp_keys)
    };
    let key_parts =
        KeyPartsWanted { total: number(total), required: number(required), stored: number(stored) };
    let keys = keys.iter().flat_map(|keys| keys.iter().map(String::as_str));
    let invalid = |error: PgpError| format!("invalid seal configuration: {error}");
    let recipients = Recipients::parse(keys, key_parts.total, now).map_err(invalid)?;
    let root_token_key = input.root_token_pgp_key.as_ref().filter(|key| !key.is_empty());
    let root_token_key = root_token_key.map(|key| PgpKey::parse(key, now)).transpose();
    let root_token_key = root_token_key.map_err(|error| format!("root_token_pgp_key: {error}"))?;
    Ok(InitRequest { key_parts, recipients, root_token: None, root_token_key })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_pipeline::{Settings, Verb};

    use crate::testing::Server;

    #[tokio::test]
    async fn makes_keys_that_unseal_and_a_root_token() {
        let mut server = Server::blank(Settings::default());
        assert_eq!(
            server.ask_as("", Verb::Read, "sys/init", json!({})).await.body,
            json!({ "initialized": false })
        );
        let input =
            json!({ "secret_shares": 3, "secret_threshold": 2, "pgp_keys": null, "stored_shares": 3 });
        let made = server.ask_as("", Verb::Write, "sys/init", input.clone()).await;
        assert_eq!(made.status, 200, "{}", made.body);
        assert_eq!(made.body["keys"].as_array().map(Vec::len), Some(3));
        for key in [&made.body["keys"][2], &made.body["keys_base64"][0]] {
            server.ask_as("", Verb::Write, "sys/unseal", json!({ "key": key })).await;
        }
        server.root = made.body["root_token"].as_str().unwrap().to_owned();
        assert!(server.root.starts_with("hvs."));
        assert_eq!(server.read("sys/mounts").await.status, 200);
        assert_eq!(
            server.ask_as("", Verb::Read, "sys/init", json!({})).await.body,
            json!({ "initialized": true })
        );
        let again = server.ask_as("", Verb::Write, "sys/init", input).await;
        assert_eq!(again.error(), (400, "Vault is already initialized"));
    }

    #[test]
    fn a_seal_that_needs_nobody_makes_keys_for_recovery() {
        let read = |input: serde_json::Value| {
            let input = serde_json::from_value(input).unwrap();
            super::check(&input, "awskms", true, strongroom_engine_api::Moment::default())
                .map(|request| request.key_parts)
        };
        let wanted =
            read(json!({ "recovery_shares": 5, "recovery_threshold": 3, "stored_shares": 1 })).unwrap();
        assert_eq!((wanted.total, wanted.required, wanted.stored), (5, 3, 0));
        let told = read(json!({ "secret_shares": 5, "secret_threshold": 3 })).unwrap_err();
        assert_eq!(told, "parameters secret_shares,secret_threshold not applicable to seal type awskms");
        let made = |for_recovery| {
            super::shown(&strongroom_initialization::Initialized {
                key_parts: vec![vec![1, 2].into()],
                for_recovery,
                root_token: "hvs.r".to_owned().into(),
            })
        };
        assert_eq!(
            serde_json::to_value(made(true)).unwrap(),
            json!({
                "keys": [], "keys_base64": [], "recovery_keys": ["0102"], "recovery_keys_base64": ["AQI="],
                "root_token": "hvs.r"
            })
        );
        assert_eq!(
            serde_json::to_value(made(false)).unwrap(),
            json!({ "keys": ["0102"], "keys_base64": ["AQI="], "root_token": "hvs.r" })
        );
    }

    #[tokio::test]
    async fn refuses_what_cannot_be_a_seal() {
        let server = Server::blank(Settings::default());
        let prefix = "invalid seal configuration: ";
        for (input, text) in [
            (json!({}), "shares must be at least one"),
            (json!({ "secret_shares": -2, "secret_threshold": 1 }), "shares must be at least one"),
            (json!({ "secret_shares": 2 }), "threshold must be at least one"),
            (
                json!({ "secret_shares": 2, "secret_threshold": 1 }),
                "threshold must be greater than one for multiple shares",
            ),
            (json!({ "secret_shares": 1, "secret_threshold": 2 }), "threshold cannot be larger than shares"),
            (json!({ "secret_shares": 300, "secret_threshold": 3 }), "shares must be less than 256"),
            (json!({ "secret_shares": 255, "secret_threshold": 300 }), "threshold must be less than 256"),
            (
                json!({ "secret_shares": 3, "secret_threshold": 2, "stored_shares": 2 }),
                "stored_shares must be the same as secret_shares",
            ),
            (
                json!({ "secret_shares": 2, "secret_threshold": 2, "pgp_keys": ["AAAA"] }),
                "count mismatch between number of provided PGP keys and number of shares",
            ),
            (
                json!({ "secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["!"] }),
                "error decoding given PGP key: Invalid symbol 33, offset 0.",
            ),
        ] {
            let told = server.ask_as("", Verb::Write, "sys/init", input).await;
            assert_eq!(told.error(), (400, format!("{prefix}{text}").as_str()));
        }
        let input = json!({ "secret_shares": 1, "secret_threshold": 1, "recovery_shares": 1, "recovery_threshold": 1 });
        let told = server.ask_as("", Verb::Write, "sys/init", input).await;
        let text = "parameters recovery_shares,recovery_threshold not applicable to seal type shamir";
        assert_eq!(told.error(), (400, text));
        assert_eq!(server.ask_as("", Verb::Read, "sys/init", json!({})).await.body["initialized"], false);
    }
}
