//! Keys in `testdata` are of `GnuPG`, made on 2020-01-01.

use pgp::composed::{
    EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::ser::Serialize as _;
use pgp::types::Password;

use super::*;

const ENDLESS: &str = include_str!("../testdata/endless.b64");
const ENDS_2020: &str = include_str!("../testdata/ends-2020.b64");
const REVOKED: &str = include_str!("../testdata/revoked.b64");
const SIGNS_ONLY: &str = include_str!("../testdata/signs-only.b64");

const IN_2020: Moment = Moment::from_secs(1_590_000_000);
const IN_2026: Moment = Moment::from_secs(1_790_000_000);

/// A key whose primary part is of one type, with a subkey for encryption where that is given.
fn made(primary: KeyType, subkey: Option<KeyType>) -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    let caps = if subkey.is_some() { EncryptionCaps::None } else { EncryptionCaps::All };
    params
        .key_type(primary)
        .can_certify(true)
        .can_sign(true)
        .can_encrypt(caps)
        .primary_user_id("Holder <holder@example.com>".into());
    if let Some(kind) = subkey {
        let mut subkey = SubkeyParamsBuilder::default();
        subkey.key_type(kind).can_encrypt(EncryptionCaps::All);
        params.subkeys(vec![subkey.build().unwrap()]);
    }
    params.build().unwrap().generate(StdRng::from_seed([7; 32])).unwrap()
}

fn public(key: &SignedSecretKey) -> String {
    STANDARD.encode(SignedPublicKey::from(key.clone()).to_bytes().unwrap())
}

fn decrypted(key: &SignedSecretKey, message: &[u8]) -> Option<Vec<u8>> {
    let opened = Message::from_bytes(message).unwrap().decrypt(&Password::empty(), key);
    opened.ok()?.as_data_vec().ok()
}

fn refusal(text: &str, now: Moment) -> String {
    PgpKey::parse(text, now).unwrap_err().to_string()
}

#[test]
fn the_owner_alone_reads_it() {
    let now = Moment::from_secs(u64::from(u32::MAX));
    let curve = || made(KeyType::Ed25519Legacy, Some(KeyType::ECDH(ECCCurve::Curve25519Legacy)));
    for owner in [curve(), made(KeyType::Rsa(2048), None), made(KeyType::Rsa(2048), Some(KeyType::Rsa(2048)))]
    {
        let key = PgpKey::parse(&public(&owner), now).unwrap();
        let (one, other) =
            (key.encrypt(&Entropy::system(), b"6b65").unwrap(), key.encrypt(&Entropy::system(), b"6b65"));
        assert_ne!(one, other.unwrap(), "each message has a key of its own");
        assert_eq!(decrypted(&owner, &one).unwrap(), b"6b65");
        let stranger = made(KeyType::Ed25519Legacy, Some(KeyType::ECDH(ECCCurve::P256)));
        assert_eq!(decrypted(&stranger, &one), None);
    }
}

#[test]
fn the_fingerprint_is_that_of_the_primary_key() {
    let key = PgpKey::parse(ENDLESS, IN_2026).unwrap();
    assert_eq!(key.fingerprint(), "8a527bf857f110287221067adb62916ca0e6e74c");
}

#[test]
fn a_key_is_usable_in_its_time_and_for_its_purpose_alone() {
    PgpKey::parse(ENDS_2020, IN_2020).unwrap();
    assert_eq!(
        refusal(ENDS_2020, IN_2026),
        "PGP key 28bda3fec654d84a0540da8a0f9703ff0073a590 cannot be used: it has expired"
    );
    assert!(refusal(REVOKED, IN_2026).ends_with("it has been revoked"));
    assert!(refusal(SIGNS_ONLY, IN_2026).ends_with("it has no valid encryption key"));
}

#[test]
fn a_subkey_that_the_owner_has_not_bound_is_not_used() {
    let owner = made(KeyType::Ed25519Legacy, Some(KeyType::ECDH(ECCCurve::Curve25519Legacy)));
    let other = made(KeyType::Rsa(2048), Some(KeyType::ECDH(ECCCurve::Curve25519Legacy)));
    let mut mixed = SignedPublicKey::from(owner);
    mixed.public_subkeys = SignedPublicKey::from(other).public_subkeys;
    let mixed = STANDARD.encode(mixed.to_bytes().unwrap());
    assert!(
        refusal(&mixed, Moment::from_secs(u64::from(u32::MAX))).ends_with("it has no valid encryption key")
    );
}

#[test]
fn other_texts_are_refused() {
    assert!(refusal("no base64!", IN_2026).starts_with("error decoding given PGP key: "));
    for text in ["", "AAAA", "bm90IGEga2V5"] {
        assert!(refusal(text, IN_2026).starts_with("error parsing given PGP key: "), "{text}");
    }
    let bytes = STANDARD.decode(ENDLESS.trim()).unwrap();
    for cut in 1..bytes.len() {
        // Whatever is left of it, no panic; cut between packets it may still be a key.
        drop(PgpKey::parse(&STANDARD.encode(&bytes[..cut]), IN_2026));
    }
    let long = "A".repeat(MAX_KEY_BYTES * 2);
    assert!(refusal(&long, IN_2026).contains("larger than"));
}
