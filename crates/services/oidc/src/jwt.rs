//! Tokens in the compact form of JWS (RFC 7515): writing them, and taking apart what is shown to us.
//!
//! Which key a token names and what its claims mean is for its readers: this module trusts nothing that it takes apart.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use strongroom_engine_api::EngineError;

use crate::algorithm::{Algorithm, Signer};

/// Bytes of a token at most that is taken apart: those made here are of a few thousand.
const MAX_TOKEN: usize = 1 << 16;

/// A token with these claims, signed.
pub(crate) fn signed(
    algorithm: Algorithm,
    kid: &str,
    signer: &Signer,
    claims: &Map<String, Value>,
) -> Result<String, EngineError> {
    let header = json!({ "alg": algorithm.name(), "kid": kid });
    let part = |value: &[u8]| URL_SAFE_NO_PAD.encode(value);
    let mut token = format!("{}.{}", part(header.to_string().as_bytes()), part(&serde_json::to_vec(claims)?));
    let signature = algorithm.sign(signer, token.as_bytes())?;
    token.push('.');
    token.push_str(&part(&signature));
    Ok(token)
}

/// A token, taken apart and not verified.
pub struct Parts<'a> {
    /// The name of its algorithm, as it says.
    pub algorithm: String,
    /// The id of its key, as it says.
    pub kid: String,
    /// Its claims, as it says.
    pub claims: Map<String, Value>,
    /// The signed text.
    pub signed: &'a str,
    /// The signature.
    pub signature: Vec<u8>,
}

/// The members of a header that are looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that must be understood, of which none are.
    crit: Option<Value>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart; `None` for what is none.
    pub fn of(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Header = serde_json::from_slice(&part(header)?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let claims = serde_json::from_slice(&part(claims)?).ok()?;
        Some(Self { algorithm: header.alg, kid: header.kid, claims, signed, signature: part(signature)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_signed_is_taken_apart_again() {
        let algorithm = Algorithm::ES256;
        let key = algorithm.generate().unwrap();
        let signer = algorithm.signer(&key.private).unwrap();
        let claims = json!({"sub": "ann", "n": 1}).as_object().unwrap().clone();
        let token = signed(algorithm, "k1", &signer, &claims).unwrap();
        let parts = Parts::of(&token).unwrap();
        assert_eq!((parts.algorithm.as_str(), parts.kid.as_str(), &parts.claims), ("ES256", "k1", &claims));
        assert!(algorithm.verifies(&key.public, parts.signed.as_bytes(), &parts.signature));
        for other in ["", ".", "..", "a.b", "a.b.c", &token.replace('.', ""), &format!("{token}.x")] {
            assert!(Parts::of(other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_shown_makes_it_panic(text in "\\PC*") {
            let _ = Parts::of(&text);
        }
    }
}
