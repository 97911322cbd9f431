//! `sys/tools/hash` and `sys/tools/random`. Source: Vault's API page `sys/tools`.

use strongroom_stdx::to_hex;

use aws_lc_rs::digest;
use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strongroom_engine_api::lenient::{Int, Text};
use strongroom_engine_api::{Data, Engine, EngineError, Entropy, Input, Path, Reply, bad_request};
use zeroize::Zeroizing;

/// The most random bytes that one request gets (Vault's number).
const MAX_BYTES: usize = 131_072;
const DEFAULT_BYTES: i64 = 32;

pub(crate) fn routes(engine: Engine) -> Engine {
    engine
        .route("tools/hash", |r| r.update("Hash data.", hash))
        .route("tools/hash/{urlalgorithm}", |r| r.update("Hash data with an algorithm.", hash_with))
        .route("tools/random", |r| r.update("Make random bytes.", random))
        // The same place in the path names a source or a number of bytes.
        .route("tools/random/{source}", |r| r.update("Make random bytes.", random_with))
        .route("tools/random/{source}/{urlbytes}", |r| r.update("Make random bytes.", random_from))
}

#[derive(Deserialize, JsonSchema)]
struct HashInput {
    /// Algorithm to use (POST body parameter): sha2-224, sha2-256, sha2-384, sha2-512, sha3-256, sha3-384 or
    /// sha3-512. Defaults to sha2-256.
    algorithm: Option<Text>,
    /// Encoding format to use. Can be "hex" or "base64". Defaults to "hex".
    format: Option<Text>,
    /// The base64-encoded input data.
    input: Option<Text>,
}

/// A hash.
#[derive(Serialize, JsonSchema)]
struct Sum {
    /// In the format asked for.
    sum: String,
}

#[derive(Deserialize, JsonSchema)]
struct RandomInput {
    /// The number of bytes to generate (POST body parameter). Defaults to 32 (256 bits).
    bytes: Option<Int>,
    /// Encoding format to use. Can be "hex" or "base64". Defaults to "base64".
    format: Option<Text>,
    /// The source of random data: "platform", "seal", or "all".
    source: Option<Text>,
}

/// Random bytes.
#[derive(Serialize, JsonSchema)]
struct RandomBytes {
    /// In the format asked for.
    random_bytes: String,
}

#[derive(Clone, Copy)]
enum Format {
    Hex,
    Base64,
}

impl Format {
    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Base64 => STANDARD.encode(bytes),
            Self::Hex => to_hex(bytes),
        }
    }
}

fn format(given: Option<&Text>, default: Format) -> Result<Format, EngineError> {
    match given.map(|text| text.0.as_str()) {
        None | Some("") => Ok(default),
        Some("hex") => Ok(Format::Hex),
        Some("base64") => Ok(Format::Base64),
        Some(other) => {
            Err(bad_request(format!("unsupported encoding format {other:?}; must be \"hex\" or \"base64\"")))
        }
    }
}

fn algorithm(name: &str) -> Option<&'static digest::Algorithm> {
    Some(match name {
        "sha2-224" => &digest::SHA224,
        "sha2-256" => &digest::SHA256,
        "sha2-384" => &digest::SHA384,
        "sha2-512" => &digest::SHA512,
        "sha3-256" => &digest::SHA3_256,
        "sha3-384" => &digest::SHA3_384,
        "sha3-512" => &digest::SHA3_512,
        _ => return None,
    })
}

async fn hash(Input(input): Input<HashInput>) -> Result<Data<Sum>, EngineError> {
    sum(input, None)
}

async fn hash_with(
    Path(urlalgorithm): Path<String>,
    Input(input): Input<HashInput>,
) -> Result<Data<Sum>, EngineError> {
    sum(input, Some(urlalgorithm))
}

fn sum(input: HashInput, in_path: Option<String>) -> Result<Data<Sum>, EngineError> {
    let name = in_path.or(input.algorithm.map(|name| name.0)).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "sha2-256".to_owned());
    let algorithm = algorithm(&name).ok_or_else(|| bad_request(format!("unsupported algorithm {name}")))?;
    let format = format(input.format.as_ref(), Format::Hex)?;
    let text = Zeroizing::new(input.input.map(|input| input.0).unwrap_or_default());
    let refused = |error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
        };
        bad_request(format!("unable to decode input as base64: illegal base64 data at input byte {at}"))
    };
    let data = Zeroizing::new(STANDARD.decode(text.as_bytes()).map_err(refused)?);
    Ok(Data(Sum { sum: format.encode(digest::digest(algorithm, &data).as_ref()) }))
}

async fn random(Input(input): Input<RandomInput>, entropy: Entropy) -> Result<Reply, EngineError> {
    let bytes = input.bytes.map(|bytes| bytes.0);
    make(input.source.map(|source| source.0), bytes, input.format.as_ref(), &entropy)
}

async fn random_with(
    Path(place): Path<String>,
    Input(input): Input<RandomInput>,
    entropy: Entropy,
) -> Result<Reply, EngineError> {
    let bytes = input.bytes.map(|bytes| bytes.0);
    if is_source(&place) {
        return make(Some(place), bytes, input.format.as_ref(), &entropy);
    }
    make(input.source.map(|source| source.0), Some(parse_bytes(&place)?), input.format.as_ref(), &entropy)
}

async fn random_from(
    Path((source, urlbytes)): Path<(String, String)>,
    Input(input): Input<RandomInput>,
    entropy: Entropy,
) -> Result<Reply, EngineError> {
    make(Some(source), Some(parse_bytes(&urlbytes)?), input.format.as_ref(), &entropy)
}

fn is_source(name: &str) -> bool {
    matches!(name, "platform" | "seal" | "all")
}

fn parse_bytes(text: &str) -> Result<i64, EngineError> {
    let invalid = || {
        bad_request(format!(
            "error parsing url-set byte count: strconv.Atoi: parsing {text:?}: invalid syntax"
        ))
    };
    let number: i64 = text.parse().map_err(|_not_a_number| invalid())?;
    // One number has one path, by which policies decide: not "+32", not "032".
    if number.to_string() == text { Ok(number) } else { Err(invalid()) }
}

fn make(
    source: Option<String>,
    bytes: Option<i64>,
    given: Option<&Text>,
    entropy: &Entropy,
) -> Result<Reply, EngineError> {
    let source = source.filter(|source| !source.is_empty()).unwrap_or_else(|| "platform".to_owned());
    if !is_source(&source) {
        let text =
            format!("unsupported entropy source {source:?}; must be \"platform\" or \"seal\", or \"all\"");
        return Err(bad_request(text));
    }
    let bytes = match bytes.unwrap_or(DEFAULT_BYTES) {
        ..1 => return Err(bad_request("'bytes' cannot be less than 1")),
        bytes => usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_BYTES),
    };
    let bytes = bytes.ok_or_else(|| bad_request(format!("'bytes' should be less than {MAX_BYTES}")))?;
    let format = format(given, Format::Base64)?;
    let mut drawn = Zeroizing::new(vec![0; bytes]);
    entropy.fill(&mut drawn)?;
    let reply = Reply::data(&RandomBytes { random_bytes: format.encode(&drawn) })?;
    // No seal of this server is a source of randomness; "all" means as many sources as there are.
    Ok(if source == "seal" {
        reply.warned("no seal/entropy augmentation available, using platform entropy source")
    } else {
        reply
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::Server;

    #[tokio::test]
    async fn hashes_are_those_of_the_standards() {
        let server = Server::new().await;
        // FIPS 180-4 and FIPS 202, of "abc".
        for (path, input, sum) in [
            ("", json!({}), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("/sha2-224", json!({}), "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            ("/sha2-256", json!({"format": "base64"}), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
            (
                "",
                json!({"algorithm": "sha3-256"}),
                "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
            ),
            (
                "/sha2-384",
                json!({"algorithm": "sha2-256"}),
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
        ] {
            let mut input = input;
            input["input"] = json!("YWJj");
            let told = server.write(&format!("sys/tools/hash{path}"), input).await;
            assert_eq!(told.data(), &json!({ "sum": sum }));
        }
        for (input, text) in [
            (json!({"algorithm": "md5"}), "unsupported algorithm md5"),
            (json!({"format": "x"}), "unsupported encoding format \"x\"; must be \"hex\" or \"base64\""),
        ] {
            assert_eq!(server.write("sys/tools/hash", input).await.error(), (400, text));
        }
        for (input, at) in [("!!", 0), ("YW%j", 2), ("YWJ", 3), ("YWJjY", 5)] {
            let text = format!("unable to decode input as base64: illegal base64 data at input byte {at}");
            let told = server.write("sys/tools/hash", json!({ "input": input })).await;
            assert_eq!(told.error(), (400, text.as_str()));
        }
    }

    #[tokio::test]
    async fn random_bytes_are_as_many_as_asked_for() {
        let server = Server::new().await;
        for (path, input, characters) in [
            ("", json!({}), 44),
            ("/5", json!({"format": "hex"}), 10),
            ("", json!({"format": "hex", "bytes": "7"}), 14),
            ("/all/7", json!({"format": "hex"}), 14),
            ("/seal", json!({"format": "hex", "bytes": 3}), 6),
            ("/platform", json!({"format": "hex"}), 64),
        ] {
            let told = server.write(&format!("sys/tools/random{path}"), input).await;
            assert_eq!(told.data()["random_bytes"].as_str().unwrap().len(), characters, "{path}");
            assert_eq!(told.warnings().len(), usize::from(path == "/seal"));
        }
        for (path, input, text) in [
            ("", json!({"bytes": 0}), "'bytes' cannot be less than 1"),
            ("", json!({"bytes": 131_073}), "'bytes' should be less than 131072"),
            (
                "/x",
                json!({}),
                "error parsing url-set byte count: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "/032",
                json!({}),
                "error parsing url-set byte count: strconv.Atoi: parsing \"032\": invalid syntax",
            ),
            (
                "/x/3",
                json!({}),
                "unsupported entropy source \"x\"; must be \"platform\" or \"seal\", or \"all\"",
            ),
        ] {
            assert_eq!(server.write(&format!("sys/tools/random{path}"), input).await.error(), (400, text));
        }
    }
}
