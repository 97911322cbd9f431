//! `sys/init`. Source: Vault's API page of this name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_core::{Core, InitError};
use strongroom_engine_api::lenient::{Int, List, Text};
use strongroom_engine_api::{Engine, EngineError, Extension, Input, bad_request};

use crate::bare::Bare;
use strongroom_stdx::to_hex;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine.route("init", |r| {
        r.open()
            .while_sealed()
            .read("Returns the initialization status of the server.", is_initialized)
            .update("Initialize a new server.", initialize)
    })
}

/// Whether there are keys.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// Whether the server has been initialised.
    initialized: bool,
}

/// What initialising takes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct InitInput {
    /// The number of shares to split the unseal key into.
    secret_shares: Option<Int>,
    /// The number of shares required to unseal; at most `secret_shares`.
    secret_threshold: Option<Int>,
    /// PGP public keys to encrypt the shares with. Not offered.
    pgp_keys: Option<List>,
    /// A PGP public key to encrypt the root token with. Not offered.
    root_token_pgp_key: Option<Text>,
    /// The number of shares that an automatic seal is to keep: none, or `secret_shares`.
    stored_shares: Option<Int>,
    /// The number of shares to split the recovery key of an automatic seal into.
    recovery_shares: Option<Int>,
    /// The number of shares required to reconstruct the recovery key of an automatic seal.
    recovery_threshold: Option<Int>,
    /// PGP public keys to encrypt the shares of the recovery key with.
    recovery_pgp_keys: Option<List>,
}

/// The keys, shown once.
#[derive(Serialize, JsonSchema)]
struct Made {
    /// The shares of the unseal key, hexadecimal.
    keys: Vec<String>,
    /// The shares of the unseal key, base64.
    keys_base64: Vec<String>,
    /// The root token.
    root_token: String,
}

impl Drop for Made {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.keys.zeroize();
        self.keys_base64.zeroize();
        self.root_token.zeroize();
    }
}

async fn is_initialized(Extension(core): Extension<Core>) -> Result<Bare<Status>, EngineError> {
    Ok(Bare(200, Status { initialized: core.is_initialized().await? }))
}

async fn initialize(
    Extension(core): Extension<Core>,
    Input(input): Input<InitInput>,
) -> Result<Bare<Made>, EngineError> {
    if core.is_initialized().await? {
        return Err(bad_request(InitError::AlreadyInitialized.to_string()));
    }
    let (shares, threshold) = check(&input).map_err(bad_request)?;
    let made = core.initialize(shares, threshold, None).await.map_err(refused)?;
    Ok(Bare(
        200,
        Made {
            keys: made.shares.iter().map(|share| to_hex(share.expose())).collect(),
            keys_base64: made.shares.iter().map(|share| STANDARD.encode(share.expose())).collect(),
            root_token: made.root_token.expose().clone(),
        },
    ))
}

fn refused(error: InitError) -> EngineError {
    match error {
        InitError::Engine(error) => error,
        error @ (InitError::AlreadyInitialized | InitError::Configuration(_)) => {
            bad_request(error.to_string())
        }
    }
}

/// The shares and the threshold, if all that is asked for can be done.
fn check(input: &InitInput) -> Result<(u8, u8), String> {
    let number = |given: &Option<Int>| given.as_ref().map_or(0, |given| given.0);
    let given = |list: &Option<List>| list.as_ref().is_some_and(|list| !list.is_empty());
    let recovery: Vec<&str> = [
        ("recovery_shares", number(&input.recovery_shares) != 0),
        ("recovery_threshold", number(&input.recovery_threshold) != 0),
        ("recovery_pgp_keys", given(&input.recovery_pgp_keys)),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    if !recovery.is_empty() {
        return Err(format!("parameters {} not applicable to seal type shamir", recovery.join(",")));
    }
    if given(&input.pgp_keys) {
        return Err(
            "invalid seal configuration: 'pgp_keys' is not supported: this version has no PGP".to_owned()
        );
    }
    if input.root_token_pgp_key.as_ref().is_some_and(|key| !key.is_empty()) {
        return Err("'root_token_pgp_key' is not supported: this version has no PGP".to_owned());
    }
    let (shares, threshold) = (number(&input.secret_shares), number(&input.secret_threshold));
    let wrong = match (shares, threshold) {
        (..=0, _) => "shares must be at least one",
        (256.., _) => "shares must be less than 256",
        (_, ..=0) => "threshold must be at least one",
        (_, 256..) => "threshold must be less than 256",
        (2.., 1) => "threshold must be greater than one for multiple shares",
        (shares, threshold) if threshold > shares => "threshold cannot be larger than shares",
        (shares, _)
            if !matches!(number(&input.stored_shares), 0 | 1) && number(&input.stored_shares) != shares =>
        {
            "stored_shares must be the same as secret_shares"
        }
        (shares, threshold) => {
            if let (Ok(shares), Ok(threshold)) = (u8::try_from(shares), u8::try_from(threshold)) {
                return Ok((shares, threshold));
            }
            "shares and threshold must be less than 256"
        }
    };
    Err(format!("invalid seal configuration: {wrong}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use strongroom_core::{Asked, Settings};

    use crate::testing::Server;

    #[tokio::test]
    async fn makes_keys_that_unseal_and_a_root_token() {
        let mut server = Server::blank(Settings::default());
        assert_eq!(
            server.ask_as("", Asked::Read, "sys/init", json!({})).await.body,
            json!({ "initialized": false })
        );
        let input =
            json!({ "secret_shares": 3, "secret_threshold": 2, "pgp_keys": null, "stored_shares": 3 });
        let made = server.ask_as("", Asked::Write, "sys/init", input.clone()).await;
        assert_eq!(made.status, 200, "{}", made.body);
        assert_eq!(made.body["keys"].as_array().map(Vec::len), Some(3));
        for key in [&made.body["keys"][2], &made.body["keys_base64"][0]] {
            server.ask_as("", Asked::Write, "sys/unseal", json!({ "key": key })).await;
        }
        server.root = made.body["root_token"].as_str().unwrap().to_owned();
        assert!(server.root.starts_with("hvs."));
        assert_eq!(server.read("sys/mounts").await.status, 200);
        assert_eq!(
            server.ask_as("", Asked::Read, "sys/init", json!({})).await.body,
            json!({ "initialized": true })
        );
        let again = server.ask_as("", Asked::Write, "sys/init", input).await;
        assert_eq!(again.error(), (400, "Vault is already initialized"));
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
                json!({ "secret_shares": 1, "secret_threshold": 1, "pgp_keys": ["a"] }),
                "'pgp_keys' is not supported: this version has no PGP",
            ),
        ] {
            let told = server.ask_as("", Asked::Write, "sys/init", input).await;
            assert_eq!(told.error(), (400, format!("{prefix}{text}").as_str()));
        }
        let input = json!({ "secret_shares": 1, "secret_threshold": 1, "recovery_shares": 1, "recovery_threshold": 1 });
        let told = server.ask_as("", Asked::Write, "sys/init", input).await;
        let text = "parameters recovery_shares,recovery_threshold not applicable to seal type shamir";
        assert_eq!(told.error(), (400, text));
        assert_eq!(server.ask_as("", Asked::Read, "sys/init", json!({})).await.body["initialized"], false);
    }
}
