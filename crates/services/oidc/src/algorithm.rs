//! The algorithms of signatures (RFC 7518, RFC 8037) and the keys of each, by aws-lc.
//!
//! Nothing here is a cryptographic construction of its own: the signatures of aws-lc have the form that JOSE wants (fixed
//! length for ECDSA), and public keys come out of its key pairs. Of the DER of an RSA public key the two numbers are read,
//! since a JWK has them apart.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_engine_api::{EngineError, Secret};

/// An algorithm that signs tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[default]
    RS256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    RS384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    RS512,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// ECDSA over P-521 with SHA-512.
    ES512,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All of them, in the order in which discovery documents list them.
    pub const ALL: [Self; 7] =
        [Self::RS256, Self::RS384, Self::RS512, Self::ES256, Self::ES384, Self::ES512, Self::EdDSA];

    /// Its JOSE name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of this JOSE name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    const fn is_rsa(self) -> bool {
        matches!(self, Self::RS256 | Self::RS384 | Self::RS512)
    }

    /// The curve and the bytes of a coordinate.
    const fn curve(self) -> Option<(&'static str, usize)> {
        match self {
            Self::ES256 => Some(("P-256", 32)),
            Self::ES384 => Some(("P-384", 48)),
            Self::ES512 => Some(("P-521", 66)),
            _ => None,
        }
    }

    /// A key of an elliptic curve, or of RSA, where neither is Ed25519's.
    const fn ecdsa(self) -> &'static signature::EcdsaSigningAlgorithm {
        match self {
            Self::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::ES512 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
            _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        }
    }

    fn rsa_padding(self) -> &'static signature::RsaSignatureEncoding {
        match self {
            Self::RS384 => &signature::RSA_PKCS1_SHA384,
            Self::RS512 => &signature::RSA_PKCS1_SHA512,
            _ => &signature::RSA_PKCS1_SHA256,
        }
    }

    /// The digest of `text` by the hash of this algorithm, its left half in base64url: `at_hash` and `c_hash` (OIDC
    /// Core, section 3.1.3.6). Ed25519 hashes with SHA-512.
    pub fn half_hash(self, text: &str) -> String {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
        let hash = match self {
            Self::RS256 | Self::ES256 => &SHA256,
            Self::RS384 | Self::ES384 => &SHA384,
            Self::RS512 | Self::ES512 | Self::EdDSA => &SHA512,
        };
        let digest = digest(hash, text.as_bytes());
        let half = digest.as_ref().len() / 2;
        URL_SAFE_NO_PAD.encode(digest.as_ref().get(..half).unwrap_or_default())
    }

    /// True if `signature` is that of the private key of `public` over `message`.
    pub fn verifies(self, public: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn signature::VerificationAlgorithm = match self {
            Self::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::ES512 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::EdDSA => &signature::ED25519,
        };
        UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
    }

    /// The public key as a JWK (RFC 7517) that verifies signatures.
    pub fn jwk(self, kid: &str, public: &[u8]) -> Result<Value, EngineError> {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let malformed = || EngineError::Internal("a public key is malformed".to_owned());
        if let Some((curve, len)) = self.curve() {
            let (form, point) = public.split_first().ok_or_else(malformed)?;
            let (x, y) = point.split_at_checked(len).ok_or_else(malformed)?;
            if *form != 4 || y.len() != len {
                return Err(malformed());
            }
            return Ok(json!({
                "use": "sig", "kty": "EC", "kid": kid, "alg": self.name(), "crv": curve, "x": text(x), "y": text(y),
            }));
        }
        if self.is_rsa() {
            let (n, e) = rsa_numbers(public).ok_or_else(malformed)?;
            return Ok(json!({
                "use": "sig", "kty": "RSA", "kid": kid, "alg": self.name(), "n": text(n), "e": text(e),
            }));
        }
        Ok(json!({
            "use": "sig", "kty": "OKP", "kid": kid, "alg": self.name(), "crv": "Ed25519", "x": text(public),
        }))
    }
}

/// A key pair that was just made.
pub struct KeyMaterial {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// The private key as PKCS#8.
    pub private: Secret<Vec<u8>>,
    /// The public key, as its algorithm has it: `RSAPublicKey` in DER, a point, or 32 bytes.
    pub public: Vec<u8>,
}

/// A private key that is ready to sign.
pub enum Signer {
    /// RSA.
    Rsa(RsaKeyPair),
    /// ECDSA.
    Ecdsa(EcdsaKeyPair),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
}

impl Algorithm {
    /// Makes a key pair. That of RSA takes up to a second of a processor.
    pub(crate) fn generate(self) -> Result<KeyMaterial, EngineError> {
        let failed = |_error: Unspecified| EngineError::Internal("a key could not be made".to_owned());
        let (private, public) = if self.is_rsa() {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            (der.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        } else if self.curve().is_some() {
            let pair = EcdsaKeyPair::generate(self.ecdsa()).map_err(failed)?;
            (pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        } else {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            (pair.to_pkcs8().map_err(failed)?.as_ref().to_vec(), pair.public_key().as_ref().to_vec())
        };
        Ok(KeyMaterial { algorithm: self, private: Secret::new(private), public })
    }

    /// The private key, ready to sign.
    pub(crate) fn signer(self, private: &Secret<Vec<u8>>) -> Result<Signer, EngineError> {
        let rejected = |_error: KeyRejected| EngineError::Internal("a private key is malformed".to_owned());
        let bytes = private.expose();
        Ok(if self.is_rsa() {
            Signer::Rsa(RsaKeyPair::from_pkcs8(bytes).map_err(rejected)?)
        } else if self.curve().is_some() {
            Signer::Ecdsa(EcdsaKeyPair::from_pkcs8(self.ecdsa(), bytes).map_err(rejected)?)
        } else {
            Signer::Ed25519(Ed25519KeyPair::from_pkcs8(bytes).map_err(rejected)?)
        })
    }

    /// The signature over `message`.
    pub(crate) fn sign(self, signer: &Signer, message: &[u8]) -> Result<Vec<u8>, EngineError> {
        let failed = |_error: Unspecified| EngineError::Internal("a token could not be signed".to_owned());
        let random = SystemRandom::new();
        match signer {
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(self.rsa_padding(), &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Signer::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Signer::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// The modulus and the exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1), without leading zeros.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(der, 0x30)?;
    let (modulus, after) = element(sequence, 0x02)?;
    let (exponent, end) = element(after, 0x02)?;
    (rest.is_empty() && end.is_empty()).then(|| (unsigned(modulus), unsigned(exponent)))
}

/// The content of the first element, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short if short < 0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) =
                rest.split_at_checked(usize::from(long & 0x7f)).filter(|(b, _)| b.len() <= 4)?;
            (bytes.iter().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

fn unsigned(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail loudly")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_message_and_key_alone() {
        for algorithm in Algorithm::ALL {
            let (key, other) = (algorithm.generate().unwrap(), algorithm.generate().unwrap());
            let signer = algorithm.signer(&key.private).unwrap();
            let signature = algorithm.sign(&signer, b"message").unwrap();
            assert!(algorithm.verifies(&key.public, b"message", &signature), "{algorithm:?}");
            assert!(!algorithm.verifies(&key.public, b"massage", &signature), "{algorithm:?}");
            assert!(!algorithm.verifies(&other.public, b"message", &signature), "{algorithm:?}");
            let mut bent = signature.clone();
            bent[3] ^= 1;
            assert!(!algorithm.verifies(&key.public, b"message", &bent), "{algorithm:?}");
        }
    }

    #[test]
    fn a_jwk_has_the_members_of_its_kind() {
        for (algorithm, kty, members) in [
            (Algorithm::RS256, "RSA", &["n", "e"][..]),
            (Algorithm::ES256, "EC", &["crv", "x", "y"]),
            (Algorithm::ES384, "EC", &["crv", "x", "y"]),
            (Algorithm::ES512, "EC", &["crv", "x", "y"]),
            (Algorithm::EdDSA, "OKP", &["crv", "x"]),
        ] {
            let key = algorithm.generate().unwrap();
            let jwk = algorithm.jwk("k", &key.public).unwrap();
            assert_eq!((&jwk["kty"], &jwk["alg"]), (&json!(kty), &json!(algorithm.name())));
            for member in members {
                assert!(jwk[*member].as_str().is_some_and(|text| !text.is_empty()), "{algorithm:?} {member}");
            }
            assert_eq!(jwk.as_object().unwrap().len(), 4 + members.len());
        }
        let key = Algorithm::RS256.generate().unwrap();
        let jwk = Algorithm::RS256.jwk("k", &key.public).unwrap();
        let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
        assert_eq!((modulus.len(), &jwk["e"]), (256, &json!("AQAB")));
    }

    /// The values of OIDC Core, appendix A.3 and A.4.
    #[test]
    fn half_hashes_are_those_of_the_standard() {
        let code = "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk";
        assert_eq!(Algorithm::RS256.half_hash(code), "LDktKdoQak3Pk0cnXxCltA");
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        assert_eq!(Algorithm::RS256.half_hash(token), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = rsa_numbers(&bytes);
            for algorithm in Algorithm::ALL {
                let _ = algorithm.jwk("k", &bytes);
                prop_assert!(!algorithm.verifies(&bytes, b"m", &bytes));
            }
        }
    }
}
