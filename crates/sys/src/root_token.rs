//! `sys/generate-root`, its other name `sys/generate-root-token`, and `sys/decode-token`. Source: Vault's API page
//! `sys/generate-root`, OpenBao's `sys/generate-root-token`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_barrier::Txn;
use strongroom_ceremonies::{Ceremonies, OTP_LENGTH, RootTokenStatus, TokenSecrecy, decoded};
use strongroom_engine_api::lenient::Text;
use strongroom_engine_api::{Clock, Data, Engine, EngineError, Extension, Input, Route, bad_request};
use strongroom_pgp::PgpKey;
use zeroize::{Zeroize as _, Zeroizing};

use crate::envelopes::{AfterIt, NoEnvelope};
use crate::seal::key_part;

/// The name with which the configuration opens these operations to anyone.
const NAME: &str = "generate-root";

pub(crate) fn routes(engine: Engine) -> Engine {
    let attempt = |r: Route| {
        r.open_where(NAME)
            .read("Read the configuration and progress of the current root generation attempt.", read)
            .update("Initializes a new root generation attempt.", begin)
            .delete("Cancels any in-progress root generation attempt.", cancel)
    };
    engine
        .route("generate-root", attempt)
        .route("generate-root/attempt", attempt)
        .route("generate-root/update", |r| {
            r.open_where(NAME)
                .update("Enter a single unseal key share to progress the root generation.", update)
        })
        .route("generate-root-token/attempt", |r| {
            r.read("Read the progress of the generation of a root token.", read_enveloped)
                .update("Begins the generation of a root token.", begin_enveloped)
                .delete("Gives the generation of a root token up.", cancel)
        })
        .route("generate-root-token/update", |r| {
            r.update("Enter a single key share to progress the generation of a root token.", update_enveloped)
        })
        .route("decode-token", |r| r.open().update("Decodes the encoded token with the otp.", decode))
}

/// The progress of a generation.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// True if a generation is under way.
    started: bool,
    /// The name of the attempt, which every key part is given with.
    nonce: String,
    /// Key parts given so far.
    progress: usize,
    /// Key parts needed.
    required: u8,
    /// The token, combined with the one-time password by exclusive or, or encrypted to the PGP key, in base64.
    encoded_token: String,
    /// The same.
    encoded_root_token: String,
    /// The fingerprint of the PGP key that the token is encrypted to.
    pgp_fingerprint: String,
    /// The one-time password, where the server has made it up: told once.
    otp: String,
    /// The length of a one-time password.
    otp_length: usize,
    /// True if the token was made.
    complete: bool,
}

impl Drop for Status {
    fn drop(&mut self) {
        self.otp.zeroize();
        self.encoded_token.zeroize();
        self.encoded_root_token.zeroize();
    }
}

impl From<RootTokenStatus> for Status {
    fn from(status: RootTokenStatus) -> Self {
        Self {
            started: status.started,
            nonce: status.nonce,
            progress: status.progress,
            required: status.required,
            encoded_root_token: status.encoded_token.clone(),
            encoded_token: status.encoded_token,
            pgp_fingerprint: status.fingerprint,
            otp: status.otp.map(|otp| otp.expose().clone()).unwrap_or_default(),
            otp_length: OTP_LENGTH,
            complete: status.complete,
        }
    }
}

/// The input of a new attempt.
#[derive(Deserialize, JsonSchema)]
struct BeginInput {
    /// A one-time password to combine the token with; made up where there is none.
    otp: Option<Text>,
    /// A PGP public key to encrypt the token to, in base64.
    pgp_key: Option<Text>,
}

/// The input of giving up.
#[derive(Deserialize, JsonSchema)]
struct CancelInput {
    /// The name of the attempt.
    nonce: Option<Text>,
}

/// A key part.
#[derive(Deserialize, JsonSchema)]
struct UpdateInput {
    /// A single key part, hexadecimal or base64.
    key: Option<Text>,
    /// The name of the attempt.
    nonce: Option<Text>,
}

async fn read(Extension(ceremonies): Extension<Ceremonies>) -> Result<NoEnvelope<Status>, EngineError> {
    Ok(NoEnvelope(200, ceremonies.root_token_status().await?.into()))
}

async fn read_enveloped(Extension(ceremonies): Extension<Ceremonies>) -> Result<Data<Status>, EngineError> {
    Ok(Data(ceremonies.root_token_status().await?.into()))
}

async fn begun(
    ceremonies: &Ceremonies,
    clock: &Clock,
    input: BeginInput,
) -> Result<AfterIt<Status>, EngineError> {
    let given = |text: Option<Text>| text.map(|text| text.0).filter(|text| !text.is_empty());
    let secrecy = match (given(input.otp), given(input.pgp_key)) {
        (Some(_), Some(_)) => return Err(bad_request("only one of otp and pgp_key can be given")),
        (Some(otp), None) => TokenSecrecy::Otp(otp),
        (None, Some(key)) => {
            let key = PgpKey::parse(&key, clock.now());
            TokenSecrecy::Pgp(Box::new(key.map_err(|error| bad_request(error.to_string()))?))
        }
        (None, None) => TokenSecrecy::MadeUpOtp,
    };
    Ok(AfterIt::of(ceremonies.begin_root_token(secrecy).await?))
}

async fn begin(
    Extension(ceremonies): Extension<Ceremonies>,
    clock: Clock,
    Input(input): Input<BeginInput>,
) -> Result<AfterIt<NoEnvelope<Status>>, EngineError> {
    Ok(begun(&ceremonies, &clock, input).await?.map(|status| NoEnvelope(200, status)))
}

async fn begin_enveloped(
    Extension(ceremonies): Extension<Ceremonies>,
    clock: Clock,
    Input(input): Input<BeginInput>,
) -> Result<AfterIt<Data<Status>>, EngineError> {
    Ok(begun(&ceremonies, &clock, input).await?.map(Data))
}

async fn cancel(
    Extension(ceremonies): Extension<Ceremonies>,
    Input(input): Input<CancelInput>,
) -> Result<AfterIt<()>, EngineError> {
    let nonce = input.nonce.map(|nonce| nonce.0).filter(|nonce| !nonce.is_empty());
    Ok(AfterIt::of(ceremonies.cancel_root_token(nonce.as_deref()).await?))
}

async fn updated(
    ceremonies: &Ceremonies,
    txn: &Txn,
    input: UpdateInput,
) -> Result<AfterIt<Status>, EngineError> {
    let part = key_part(input.key)?;
    let nonce = input.nonce.map(|nonce| nonce.0).unwrap_or_default();
    let step = AfterIt::of(ceremonies.offer_for_root_token(txn, &nonce, part).await?);
    Ok(step.making_root(|status: &Status| status.complete))
}

async fn update(
    Extension(ceremonies): Extension<Ceremonies>,
    Input(input): Input<UpdateInput>,
    txn: Txn,
) -> Result<AfterIt<NoEnvelope<Status>>, EngineError> {
    Ok(updated(&ceremonies, &txn, input).await?.map(|status| NoEnvelope(200, status)))
}

async fn update_enveloped(
    Extension(ceremonies): Extension<Ceremonies>,
    Input(input): Input<UpdateInput>,
    txn: Txn,
) -> Result<AfterIt<Data<Status>>, EngineError> {
    Ok(updated(&ceremonies, &txn, input).await?.map(Data))
}

/// An encoded token and its password.
#[derive(Deserialize, JsonSchema)]
struct DecodeInput {
    /// The encoded token, from the end of a root generation.
    encoded_token: Option<Text>,
    /// The one-time password of the root generation.
    otp: Option<Text>,
}

/// A decoded token.
#[derive(Serialize, JsonSchema)]
struct Decoded {
    /// The token.
    token: String,
}

impl Drop for Decoded {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

async fn decode(Input(input): Input<DecodeInput>) -> Result<Data<Decoded>, EngineError> {
    let text = |text: Option<Text>| Zeroizing::new(text.map(|text| text.0).unwrap_or_default());
    let (encoded, otp) = (text(input.encoded_token), text(input.otp));
    if encoded.is_empty() {
        return Err(bad_request("missing encoded_token"));
    }
    if otp.is_empty() {
        return Err(bad_request("missing otp"));
    }
    Ok(Data(Decoded { token: decoded(&encoded, &otp)?.expose().clone() }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};
    use strongroom_pipeline::{Settings, Verb};
    use strongroom_stdx::to_hex;

    use crate::testing::{Server, Told};

    async fn with_parts() -> (Server, Vec<String>) {
        let server = Server::sealed(Settings::default(), 3, 2).await;
        let parts: Vec<String> = server.key_parts.iter().map(|part| to_hex(part)).collect();
        for part in &parts[..2] {
            server.ask_as("", Verb::Write, "sys/unseal", json!({ "key": part })).await;
        }
        (server, parts)
    }

    async fn offer(server: &Server, nonce: &Value, key: &str) -> Told {
        server.write("sys/generate-root/update", json!({ "nonce": nonce, "key": key })).await
    }

    #[tokio::test]
    async fn enough_key_parts_make_a_token_that_the_password_reveals() {
        let (server, parts) = with_parts().await;
        let idle = server.read("sys/generate-root/attempt").await;
        assert_eq!(
            idle.body,
            json!({
                "started": false, "nonce": "", "progress": 0, "required": 2, "encoded_token": "",
                "encoded_root_token": "", "pgp_fingerprint": "", "otp": "", "otp_length": 28, "complete": false
            })
        );
        let refused = offer(&server, &json!("a"), &parts[0]).await;
        assert_eq!(refused.error(), (400, "no root generation in progress"));

        let begun = server.write("sys/generate-root/attempt", json!({})).await;
        let (nonce, otp) = (&begun.body["nonce"], begun.body["otp"].as_str().unwrap());
        assert_eq!((begun.status, otp.len(), &begun.body["started"]), (200, 28, &json!(true)));
        let again = server.write("sys/generate-root/attempt", json!({})).await;
        assert_eq!(again.error(), (400, "root generation already in progress"));
        assert_eq!(server.read("sys/generate-root").await.body["otp"], "", "it is told once");

        let first = offer(&server, nonce, &parts[0]).await;
        assert_eq!((&first.body["progress"], &first.body["complete"]), (&json!(1), &json!(false)));
        let twice = offer(&server, nonce, &parts[0]).await;
        assert_eq!(
            twice.error(),
            (400, "given key has already been provided during this generation operation")
        );
        let short = offer(&server, nonce, "00").await;
        assert_eq!(short.error(), (400, "key is shorter than minimum 33 bytes"));
        let done = offer(&server, nonce, &parts[2]).await;
        assert_eq!((&done.body["progress"], &done.body["complete"]), (&json!(2), &json!(true)));

        let encoded = &done.body["encoded_root_token"];
        let input = json!({ "encoded_token": encoded, "otp": otp });
        let token = server.ask_as("", Verb::Write, "sys/decode-token", input).await;
        let token = token.data()["token"].as_str().unwrap().to_owned();
        assert!(token.starts_with("hvs."));
        let sealed = server.ask_as(&token, Verb::Write, "sys/rotate", json!({})).await;
        assert_eq!(sealed.status, 204, "it is a root token");
        assert_eq!(server.read("sys/generate-root").await.body["started"], false);
    }

    #[tokio::test]
    async fn wrong_parts_end_what_was_collected_and_a_seal_ends_the_attempt() {
        let (server, parts) = with_parts().await;
        let begun = server.write("sys/generate-root-token/attempt", json!({ "otp": "a".repeat(28) })).await;
        assert_eq!(begun.data()["otp"], "", "who brought it knows it");
        let nonce = begun.data()["nonce"].clone();
        let other = offer(&server, &json!("other"), &parts[0]).await;
        assert_eq!(
            other.error().1,
            format!("incorrect nonce supplied; nonce for this root generation operation is {nonce}")
        );
        offer(&server, &nonce, &parts[0]).await;
        let mut wrong = parts[1].clone();
        wrong.replace_range(0..2, if wrong.starts_with("00") { "01" } else { "00" });
        let told = offer(&server, &nonce, &wrong).await;
        assert_eq!(told.error(), (400, "root generation aborted: cipher: message authentication failed"));
        let after = server.read("sys/generate-root-token/attempt").await;
        assert_eq!((&after.data()["progress"], &after.data()["started"]), (&json!(0), &json!(true)));

        server.write("sys/seal", json!({})).await;
        for part in &parts[..2] {
            server.ask_as("", Verb::Write, "sys/unseal", json!({ "key": part })).await;
        }
        assert_eq!(server.read("sys/generate-root/attempt").await.body["started"], false);
    }

    #[tokio::test]
    async fn strangers_are_refused_unless_the_configuration_lets_them() {
        let (server, _) = with_parts().await;
        let ask = async |server: &Server, asked, input| {
            server.ask_as("", asked, "sys/generate-root/attempt", input).await
        };
        for asked in [Verb::Read, Verb::Write, Verb::Delete] {
            assert_eq!(ask(&server, asked, json!({})).await.status, 403);
        }
        let unauthenticated = BTreeSet::from(["generate-root".to_owned()]);
        let server = Server::with(Settings { unauthenticated, ..Settings::default() }).await;
        let begun = ask(&server, Verb::Write, json!({})).await;
        assert_eq!(begun.status, 200);
        assert_eq!(ask(&server, Verb::Delete, json!({ "nonce": "other" })).await.status, 400);
        assert_eq!(ask(&server, Verb::Delete, json!({})).await.status, 204);
        assert_eq!(ask(&server, Verb::Read, json!({})).await.body["started"], false);
        assert_eq!(server.ask_as("", Verb::Read, "sys/rekey/init", json!({})).await.status, 403);
        let wrong = ask(&server, Verb::Write, json!({ "otp": "short" })).await;
        assert_eq!(wrong.error(), (400, "OTP string is wrong length"));
        for (input, text) in [
            (json!({ "pgp_key": "!" }), "error decoding given PGP key: Invalid symbol 33, offset 0."),
            (json!({ "pgp_key": "mDM=", "otp": "o" }), "only one of otp and pgp_key can be given"),
        ] {
            let refused = ask(&server, Verb::Write, input).await;
            assert_eq!(refused.error(), (400, text));
        }
    }
}
