//! What browsers are given and give back, as JSON: the dictionaries of Web Authentication Level 3, sections 5.1.8 to 5.1.10, that
//! `PublicKeyCredential.parseCreationOptionsFromJSON` reads and `toJSON` writes.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::ceremony::Flaw;
use super::{Passkey, PasskeyAlgorithm, WebauthnSettings};

/// The type of all of them.
const PUBLIC_KEY: &str = "public-key";
/// Milliseconds that a person has.
const TIMEOUT: u32 = 300_000;
/// Ways to an authenticator that are kept of a passkey.
const MAX_TRANSPORTS: usize = 8;

/// Text of bytes, as the standard writes them in JSON.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

/// The options with which a page makes a passkey.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationOptions {
    rp: RelyingParty,
    user: User,
    challenge: String,
    pub_key_cred_params: Vec<Parameters>,
    timeout: u32,
    exclude_credentials: Vec<Descriptor>,
    authenticator_selection: Selection,
    attestation: &'static str,
}

#[derive(Debug, Serialize)]
struct RelyingParty {
    id: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    id: String,
    name: String,
    display_name: String,
}

#[derive(Debug, Serialize)]
struct Parameters {
    #[serde(rename = "type")]
    kind: &'static str,
    alg: i64,
}

#[derive(Debug, Serialize)]
struct Descriptor {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transports: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    resident_key: &'static str,
    require_resident_key: bool,
    user_verification: &'static str,
}

/// The options with which a page has a passkey answer a challenge.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestOptions {
    challenge: String,
    timeout: u32,
    rp_id: String,
    allow_credentials: Vec<Descriptor>,
    user_verification: &'static str,
}

fn descriptors<'a>(passkeys: impl Iterator<Item = &'a Passkey>) -> Vec<Descriptor> {
    let descriptor = |passkey: &Passkey| Descriptor {
        kind: PUBLIC_KEY,
        id: encode(&passkey.credential_id),
        transports: passkey.transports.clone(),
    };
    passkeys.map(descriptor).collect()
}

impl CreationOptions {
    /// Those for a user, who has passkeys already.
    pub(crate) fn new<'a>(
        settings: &WebauthnSettings,
        (handle, name): (&[u8], &str),
        challenge: &[u8],
        passkeys: impl Iterator<Item = &'a Passkey>,
    ) -> Self {
        let parameters = |one: &PasskeyAlgorithm| Parameters { kind: PUBLIC_KEY, alg: one.number() };
        Self {
            rp: RelyingParty { id: settings.rp_id.clone(), name: settings.rp_name.clone() },
            user: User { id: encode(handle), name: name.to_owned(), display_name: name.to_owned() },
            challenge: encode(challenge),
            pub_key_cred_params: settings.algorithms.iter().map(parameters).collect(),
            timeout: TIMEOUT,
            exclude_credentials: descriptors(passkeys),
            authenticator_selection: Selection {
                resident_key: "preferred",
                require_resident_key: false,
                user_verification: settings.user_verification.name(),
            },
            attestation: settings.attestation.name(),
        }
    }
}

impl RequestOptions {
    /// Those for one of these passkeys.
    pub(crate) fn new<'a>(
        settings: &WebauthnSettings,
        challenge: &[u8],
        passkeys: impl Iterator<Item = &'a Passkey>,
    ) -> Self {
        Self {
            challenge: encode(challenge),
            timeout: TIMEOUT,
            rp_id: settings.rp_id.clone(),
            allow_credentials: descriptors(passkeys),
            user_verification: settings.user_verification.name(),
        }
    }
}

/// An answer of a browser: what is the same as a passkey is made and as it signs. Members that mean nothing here are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<R> {
    id: String,
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

impl<R> Message<R> {
    fn credential_id(&self) -> Result<Vec<u8>, Flaw> {
        if self.kind != PUBLIC_KEY {
            return Err(Flaw("its type is not public-key"));
        }
        if self.id != self.raw_id {
            return Err(Flaw("id and rawId differ"));
        }
        decode(&self.raw_id).ok_or(Flaw("rawId is not in base64url"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MadeResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    attestation_object: String,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    authenticator_data: String,
    signature: String,
    user_handle: Option<String>,
}

/// A passkey that a browser has made.
pub(crate) struct Made {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) attestation_object: Vec<u8>,
    pub(crate) transports: Vec<String>,
}

/// A challenge that a passkey has signed.
pub(crate) struct Signed {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) client_data: Vec<u8>,
    pub(crate) authenticator_data: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    pub(crate) user_handle: Option<Vec<u8>>,
}

/// The bytes of a member.
fn bytes(text: &str) -> Result<Vec<u8>, Flaw> {
    decode(text).ok_or(Flaw("a member of its response is not in base64url"))
}

impl Made {
    /// Reads it. Transports are hints for browsers, of which those are kept that could be words.
    pub(crate) fn read(text: &str) -> Result<Self, Flaw> {
        let message: Message<MadeResponse> = serde_json::from_str(text)
            .map_err(|_why| Flaw("it is not the JSON form of a new public key credential"))?;
        let credential_id = message.credential_id()?;
        let is_word = |word: &String| {
            (1..=32).contains(&word.len()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        let MadeResponse { client_data, attestation_object, transports } = message.response;
        Ok(Self {
            credential_id,
            client_data: bytes(&client_data)?,
            attestation_object: bytes(&attestation_object)?,
            transports: transports.into_iter().filter(is_word).take(MAX_TRANSPORTS).collect(),
        })
    }
}

impl Signed {
    /// Reads it.
    pub(crate) fn read(text: &str) -> Result<Self, Flaw> {
        let message: Message<SignedResponse> = serde_json::from_str(text)
            .map_err(|_why| Flaw("it is not the JSON form of a public key credential"))?;
        let credential_id = message.credential_id()?;
        let response = message.response;
        let handle = response.user_handle.filter(|handle| !handle.is_empty());
        Ok(Self {
            credential_id,
            client_data: bytes(&response.client_data)?,
            authenticator_data: bytes(&response.authenticator_data)?,
            signature: bytes(&response.signature)?,
            user_handle: handle.map(|handle| bytes(&handle)).transpose()?,
        })
    }
}
