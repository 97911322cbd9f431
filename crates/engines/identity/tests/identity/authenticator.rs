//! An authenticator of Web Authentication in software, with the browser in front of it: its own keys, its CBOR written here.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

/// Flags of authenticator data.
pub(crate) const PRESENT: u8 = 1;
pub(crate) const VERIFIED: u8 = 1 << 2;
pub(crate) const ELIGIBLE: u8 = 1 << 3;
pub(crate) const BACKED_UP: u8 = 1 << 4;
const CREDENTIAL: u8 = 1 << 6;
const EXTENSIONS: u8 = 1 << 7;

pub(crate) enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
    Rs256(RsaKeyPair),
}

/// An authenticator with one passkey. Its fields say what it and the browser tell.
pub(crate) struct Device {
    pub(crate) key: Key,
    pub(crate) id: Vec<u8>,
    pub(crate) rp_id: String,
    pub(crate) origin: String,
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    /// Members that take the place of those of the client data.
    pub(crate) client: Value,
    pub(crate) handle: Option<String>,
    /// The attestation's format, and its statement in CBOR; `None`: the passkey attests itself.
    pub(crate) attestation: Option<(&'static str, Vec<u8>)>,
    /// CBOR of extensions, after the credential.
    pub(crate) extensions: Vec<u8>,
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    BASE64.decode(text).unwrap()
}

fn head(major: u8, number: usize) -> Vec<u8> {
    match u8::try_from(number) {
        Ok(small @ 0..0x18) => vec![(major << 5) | small],
        Ok(byte) => vec![(major << 5) | 0x18, byte],
        Err(_) => [vec![(major << 5) | 0x19], u16::try_from(number).unwrap().to_be_bytes().to_vec()].concat(),
    }
}

pub(crate) fn int(number: i64) -> Vec<u8> {
    match usize::try_from(number) {
        Ok(number) => head(0, number),
        Err(_) => head(1, usize::try_from(!number).unwrap()),
    }
}

pub(crate) fn bytes(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len()), bytes.to_vec()].concat()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [head(3, text.len()), text.as_bytes().to_vec()].concat()
}

pub(crate) fn map(members: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut all = head(5, members.len());
    for (name, value) in members {
        all.extend_from_slice(name);
        all.extend_from_slice(value);
    }
    all
}

impl Key {
    pub(crate) fn new(algorithm: &str) -> Self {
        match algorithm {
            "ES256" => Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            "EdDSA" => Self::EdDsa(Ed25519KeyPair::generate().unwrap()),
            _ => Self::Rs256(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap()),
        }
    }

    const fn number(&self) -> i64 {
        match self {
            Self::Es256(_) => -7,
            Self::EdDsa(_) => -8,
            Self::Rs256(_) => -257,
        }
    }

    /// The public key in COSE.
    pub(crate) fn public(&self) -> Vec<u8> {
        let kind = |kind| (int(1), int(kind));
        let algorithm = (int(3), int(self.number()));
        match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (bytes(&point[1..33]), bytes(&point[33..]));
                map(&[kind(2), algorithm, (int(-1), int(1)), (int(-2), x), (int(-3), y)])
            }
            Self::EdDsa(pair) => {
                map(&[kind(1), algorithm, (int(-1), int(6)), (int(-2), bytes(pair.public_key().as_ref()))])
            }
            Self::Rs256(pair) => {
                // The DER form of 2048 bits: a sequence of the modulus, with a zero in front of it, and the exponent.
                let (n, e) = (bytes(&pair.public_key().as_ref()[9..265]), bytes(&[1, 0, 1]));
                map(&[kind(3), algorithm, (int(-1), n), (int(-2), e)])
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }
}

impl Device {
    pub(crate) fn new(algorithm: &str) -> Self {
        let key = Key::new(algorithm);
        let id = digest(&SHA256, &key.public()).as_ref()[..20].to_vec();
        Self {
            key,
            id,
            rp_id: "example.com".to_owned(),
            origin: "https://example.com".to_owned(),
            flags: PRESENT | VERIFIED,
            counter: 1,
            client: json!({}),
            handle: None,
            attestation: Some(("none", map(&[]))),
            extensions: Vec::new(),
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let mut data = json!({
            "type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false, "other": {"a": [1]},
        });
        for (name, value) in self.client.as_object().unwrap() {
            data[name] = value.clone();
        }
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, credential: &[u8]) -> Vec<u8> {
        let mut flags = self.flags;
        flags |= if credential.is_empty() { 0 } else { CREDENTIAL };
        flags |= if self.extensions.is_empty() { 0 } else { EXTENSIONS };
        let rp_id_hash = digest(&SHA256, self.rp_id.as_bytes());
        [rp_id_hash.as_ref(), &[flags], &self.counter.to_be_bytes(), credential, &self.extensions].concat()
    }

    fn credential(&self) -> Vec<u8> {
        let len = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        [&[9; 16], len.as_slice(), &self.id, &self.key.public()].concat()
    }

    fn message(&self, response: &Value) -> Value {
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key", "response": response,
            "authenticatorAttachment": "cross-platform", "clientExtensionResults": {},
        })
    }

    /// Makes the passkey.
    pub(crate) fn make(&self, options: &Value) -> Value {
        let (data, client) =
            (self.authenticator_data(&self.credential()), self.client_data("webauthn.create", options));
        let (format, statement) = self.attestation.clone().unwrap_or_else(|| {
            let signature = self.key.sign(&[&data[..], digest(&SHA256, &client).as_ref()].concat());
            ("packed", map(&[(text("alg"), int(self.key.number())), (text("sig"), bytes(&signature))]))
        });
        let object = map(&[
            (text("fmt"), text(format)),
            (text("attStmt"), statement),
            (text("authData"), bytes(&data)),
        ]);
        let response = json!({
            "clientDataJSON": encode(&client), "attestationObject": encode(&object), "transports": ["usb", "hybrid"],
            "publicKeyAlgorithm": self.key.number(),
        });
        self.message(&response)
    }

    /// Signs a challenge; the counter has grown before.
    pub(crate) fn sign(&mut self, options: &Value) -> Value {
        self.counter = self.counter.checked_add(1).unwrap();
        self.sign_again(options)
    }

    /// Signs a challenge with the counter as it is.
    pub(crate) fn sign_again(&self, options: &Value) -> Value {
        let (data, client) = (self.authenticator_data(&[]), self.client_data("webauthn.get", options));
        let signature = self.key.sign(&[&data[..], digest(&SHA256, &client).as_ref()].concat());
        self.message(&json!({
            "clientDataJSON": encode(&client), "authenticatorData": encode(&data), "signature": encode(&signature),
            "userHandle": self.handle,
        }))
    }
}
