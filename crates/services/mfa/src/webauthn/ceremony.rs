//! The checks of a new passkey and of a signed challenge: Web Authentication Level 3, sections 7.1 and 7.2.
//!
//! CBOR and COSE are read by `coset`, and signatures verified by aws-lc. Nothing is kept here and nothing decided about time,
//! attempts and whose passkey it is. An answer that has a flaw is refused with the first one found.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use coset::cbor::value::Value;
use coset::iana::{self, EnumI64 as _};
use coset::{AsCborValue as _, CoseKey, Label, RegisteredLabel, RegisteredLabelWithPrivate};
use serde::{Deserialize, Serialize};
use strongroom_engine_api::same_bytes;

use super::messages::{Made, Signed, encode};
use super::{PasskeyAlgorithm, UserVerification, WebauthnSettings};

/// Bytes of a credential's id at most.
const MAX_CREDENTIAL_ID: usize = 1023;
/// Bytes of the name of an attestation's format at most.
const MAX_FORMAT: usize = 32;

/// A reason to refuse an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw(pub(crate) &'static str);

/// The public key of a passkey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PublicKey {
    /// A point on P-256, uncompressed.
    #[serde(rename = "e")]
    Es256(Vec<u8>),
    /// A point on Ed25519.
    #[serde(rename = "d")]
    EdDsa(Vec<u8>),
    /// Modulus and exponent.
    #[serde(rename = "r")]
    Rs256(Vec<u8>, Vec<u8>),
}

impl PublicKey {
    pub(crate) const fn algorithm(&self) -> PasskeyAlgorithm {
        match self {
            Self::Es256(_) => PasskeyAlgorithm::Es256,
            Self::EdDsa(_) => PasskeyAlgorithm::EdDsa,
            Self::Rs256(..) => PasskeyAlgorithm::Rs256,
        }
    }

    /// The key of a COSE structure.
    fn of_cose(value: Value) -> Result<Self, Flaw> {
        let key = CoseKey::from_cbor_value(value).map_err(|_why| Flaw("its public key is not a COSE key"))?;
        let number = match key.alg {
            Some(RegisteredLabelWithPrivate::Assigned(number)) => number.to_i64(),
            _ => return Err(Flaw("its public key names no known algorithm")),
        };
        let algorithm = PasskeyAlgorithm::of_number(number).ok_or(Flaw("its algorithm is not supported"))?;
        let parameter = |label: i64| {
            let found = key.params.iter().find(|(name, _)| *name == Label::Int(label));
            found.map(|(_, value)| value)
        };
        let bytes = |label: i64| parameter(label).and_then(Value::as_bytes).cloned().unwrap_or_default();
        let on_curve = |curve: i64| parameter(-1).and_then(Value::as_integer) == Some(curve.into());
        let is_of = |kind: iana::KeyType| key.kty == RegisteredLabel::Assigned(kind);
        let found = match algorithm {
            PasskeyAlgorithm::Es256 if is_of(iana::KeyType::EC2) && on_curve(1) => {
                let (x, y) = (bytes(-2), bytes(-3));
                (x.len() == 32 && y.len() == 32).then(|| Self::Es256([vec![4], x, y].concat()))
            }
            PasskeyAlgorithm::EdDsa if is_of(iana::KeyType::OKP) && on_curve(6) => {
                Some(Self::EdDsa(bytes(-2))).filter(|_| bytes(-2).len() == 32)
            }
            PasskeyAlgorithm::Rs256 if is_of(iana::KeyType::RSA) => Some(Self::Rs256(bytes(-1), bytes(-2))),
            _ => None,
        };
        let found = found.ok_or(Flaw("its public key is not one of its algorithm"))?;
        found.parsed()?;
        Ok(found)
    }

    fn parsed(&self) -> Result<ParsedPublicKey, Flaw> {
        match self {
            Self::Es256(point) => ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point),
            Self::EdDsa(point) => ParsedPublicKey::new(&ED25519, point),
            Self::Rs256(n, e) => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
        }
        .map_err(|_why| Flaw("its public key is not one of its algorithm"))
    }

    /// Verifies a signature of what an authenticator says and of what its client says.
    fn verify(&self, authenticator_data: &[u8], client_data: &[u8], signature: &[u8]) -> Result<(), Flaw> {
        let signed = [authenticator_data, digest(&SHA256, client_data).as_ref()].concat();
        let verified = self.parsed()?.verify_sig(&signed, signature);
        verified.map_err(|_why| Flaw("its signature is wrong"))
    }
}

/// The client's word for what it has been asked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    top_origin: Option<String>,
}

fn check_client(settings: &WebauthnSettings, kind: &str, challenge: &[u8], bytes: &[u8]) -> Result<(), Flaw> {
    let data: ClientData =
        serde_json::from_slice(bytes).map_err(|_why| Flaw("its client data cannot be read"))?;
    if data.kind != kind {
        return Err(Flaw("its client data is of another type"));
    }
    if !same_bytes(data.challenge.as_bytes(), encode(challenge).as_bytes()) {
        return Err(Flaw("it answers another challenge"));
    }
    if !settings.allowed_origins.contains(&data.origin) {
        return Err(Flaw("its origin is not allowed"));
    }
    if data.cross_origin || data.top_origin.is_some() {
        return Err(Flaw("it was made inside a page of another origin"));
    }
    Ok(())
}

/// Flags of an authenticator.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }

    const fn user_is_present(self) -> bool {
        self.has(0)
    }

    const fn user_is_verified(self) -> bool {
        self.has(2)
    }

    const fn is_backup_eligible(self) -> bool {
        self.has(3)
    }

    const fn is_backed_up(self) -> bool {
        self.has(4)
    }

    const fn has_credential(self) -> bool {
        self.has(6)
    }

    const fn has_extensions(self) -> bool {
        self.has(7)
    }
}

/// The credential in what an authenticator says.
struct Attested<'a> {
    aaguid: [u8; 16],
    id: &'a [u8],
    key: PublicKey,
}

/// The authenticator's word.
struct AuthenticatorData<'a> {
    flags: Flags,
    counter: u32,
    attested: Option<Attested<'a>>,
}

const CUT_OFF: Flaw = Flaw("its authenticator data is cut off");

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Flaw> {
    let (first, others) = rest.split_first_chunk::<N>().ok_or(CUT_OFF)?;
    *rest = others;
    Ok(first)
}

/// The next item of CBOR.
fn item(rest: &mut &[u8]) -> Result<Value, Flaw> {
    coset::cbor::from_reader(rest).map_err(|_why| Flaw("its CBOR cannot be read"))
}

impl<'a> AuthenticatorData<'a> {
    /// Reads it, for the domain and with the user verification that a method wants.
    fn read(settings: &WebauthnSettings, bytes: &'a [u8]) -> Result<Self, Flaw> {
        let mut rest = bytes;
        let rp_id_hash = take::<32>(&mut rest)?;
        if !same_bytes(rp_id_hash, digest(&SHA256, settings.rp_id.as_bytes()).as_ref()) {
            return Err(Flaw("it is for another relying party"));
        }
        let [flags] = *take::<1>(&mut rest)?;
        let (flags, counter) = (Flags(flags), u32::from_be_bytes(*take::<4>(&mut rest)?));
        if !flags.user_is_present() {
            return Err(Flaw("nobody was present"));
        }
        if settings.user_verification == UserVerification::Required && !flags.user_is_verified() {
            return Err(Flaw("the user was not verified"));
        }
        if flags.is_backed_up() && !flags.is_backup_eligible() {
            return Err(Flaw("its backup flags contradict each other"));
        }
        let attested = if flags.has_credential() { Some(Attested::read(&mut rest)?) } else { None };
        if flags.has_extensions() && !item(&mut rest)?.is_map() {
            return Err(Flaw("its extensions are no map"));
        }
        if !rest.is_empty() {
            return Err(Flaw("its authenticator data goes on after its end"));
        }
        Ok(Self { flags, counter, attested })
    }
}

impl<'a> Attested<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<Self, Flaw> {
        let aaguid = *take::<16>(rest)?;
        let len = usize::from(u16::from_be_bytes(*take::<2>(rest)?));
        let (id, others) = rest.split_at_checked(len).ok_or(CUT_OFF)?;
        *rest = others;
        if id.is_empty() || id.len() > MAX_CREDENTIAL_ID {
            return Err(Flaw("its credential id is empty or too long"));
        }
        Ok(Self { aaguid, id, key: PublicKey::of_cose(item(rest)?)? })
    }
}

/// A new passkey that is as it must be.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) key: PublicKey,
    pub(crate) aaguid: [u8; 16],
    pub(crate) counter: u32,
    pub(crate) backup_eligible: bool,
    pub(crate) backed_up: bool,
    /// The format of the attestation.
    pub(crate) format: String,
}

/// The members of an attestation object.
struct AttestationObject {
    format: String,
    statement: Vec<(Value, Value)>,
    authenticator_data: Vec<u8>,
}

impl AttestationObject {
    fn read(bytes: &[u8]) -> Result<Self, Flaw> {
        const WRONG: Flaw = Flaw("its attestation object is not one");
        let mut rest = bytes;
        let members = item(&mut rest)?.into_map().map_err(|_other| WRONG)?;
        let (mut format, mut statement, mut authenticator_data) = (None, None, None);
        for (name, value) in members {
            let was_given = match name.as_text() {
                Some("fmt") => format.replace(value.into_text().map_err(|_other| WRONG)?).is_some(),
                Some("attStmt") => statement.replace(value.into_map().map_err(|_other| WRONG)?).is_some(),
                Some("authData") => {
                    authenticator_data.replace(value.into_bytes().map_err(|_other| WRONG)?).is_some()
                }
                _ => false,
            };
            if was_given {
                return Err(WRONG);
            }
        }
        let is_word = |word: &String| {
            let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=MAX_FORMAT).contains(&word.len()) && word.chars().all(is_part)
        };
        match (format.filter(is_word), statement, authenticator_data) {
            (Some(format), Some(statement), Some(authenticator_data)) if rest.is_empty() => {
                Ok(Self { format, statement, authenticator_data })
            }
            _ => Err(WRONG),
        }
    }

    /// Checks a statement that the passkey itself has signed, and that there is none where it says so. What others have signed would
    /// say something to those only who know whom to believe; nothing is decided by it here.
    fn check_statement(&self, key: &PublicKey, client_data: &[u8]) -> Result<(), Flaw> {
        let member = |name: &str| {
            let mut named = self.statement.iter().filter(|(key, _)| key.as_text() == Some(name));
            named.next().map(|(_, value)| value)
        };
        match self.format.as_str() {
            "none" if !self.statement.is_empty() => Err(Flaw("its attestation is none and says something")),
            "packed" if member("x5c").is_none() => {
                if member("alg").and_then(Value::as_integer) != Some(key.algorithm().number().into()) {
                    return Err(Flaw("its attestation is of another algorithm"));
                }
                let signature = member("sig").and_then(Value::as_bytes);
                let signature = signature.ok_or(Flaw("its attestation has no signature"))?;
                key.verify(&self.authenticator_data, client_data, signature)
            }
            _ => Ok(()),
        }
    }
}

/// Checks a new passkey (section 7.1).
pub(crate) fn register(
    settings: &WebauthnSettings,
    challenge: &[u8],
    made: &Made,
) -> Result<Registered, Flaw> {
    check_client(settings, "webauthn.create", challenge, &made.client_data)?;
    let object = AttestationObject::read(&made.attestation_object)?;
    let data = AuthenticatorData::read(settings, &object.authenticator_data)?;
    let attested = data.attested.ok_or(Flaw("it has no credential"))?;
    if attested.id != made.credential_id {
        return Err(Flaw("its credential id differs from rawId"));
    }
    if !settings.algorithms.contains(&attested.key.algorithm()) {
        return Err(Flaw("its algorithm is not one of the method's"));
    }
    object.check_statement(&attested.key, &made.client_data)?;
    Ok(Registered {
        key: attested.key,
        aaguid: attested.aaguid,
        counter: data.counter,
        backup_eligible: data.flags.is_backup_eligible(),
        backed_up: data.flags.is_backed_up(),
        format: object.format,
    })
}

/// A passkey as it was when it was last used.
pub(crate) struct Known<'a> {
    pub(crate) key: &'a PublicKey,
    pub(crate) handle: &'a [u8],
    pub(crate) counter: u32,
    pub(crate) backup_eligible: bool,
}

/// A use of a passkey that is as it must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) counter: u32,
    pub(crate) backed_up: bool,
}

/// Checks the answer to a challenge (section 7.2). The passkey is the one that it names, of the user who logs in.
pub(crate) fn authenticate(
    settings: &WebauthnSettings,
    challenge: &[u8],
    known: &Known<'_>,
    signed: &Signed,
) -> Result<Used, Flaw> {
    if signed.user_handle.as_ref().is_some_and(|handle| handle != known.handle) {
        return Err(Flaw("it is of another user"));
    }
    check_client(settings, "webauthn.get", challenge, &signed.client_data)?;
    let data = AuthenticatorData::read(settings, &signed.authenticator_data)?;
    known.key.verify(&signed.authenticator_data, &signed.client_data, &signed.signature)?;
    if data.flags.is_backup_eligible() != known.backup_eligible {
        return Err(Flaw("its backup eligibility has changed"));
    }
    if (data.counter, known.counter) != (0, 0) && data.counter <= known.counter {
        return Err(Flaw("its counter has not grown: there may be a copy of the authenticator"));
    }
    Ok(Used { counter: data.counter, backed_up: data.flags.is_backed_up() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::WebauthnChange;
    use super::*;

    fn settings() -> WebauthnSettings {
        WebauthnSettings::new(WebauthnChange { rp_id: Some("a.b".to_owned()), ..WebauthnChange::default() })
            .unwrap()
    }

    /// Authenticator data of the right domain, from its flags on.
    fn data(rest: &[u8]) -> Vec<u8> {
        [digest(&SHA256, b"a.b").as_ref(), rest].concat()
    }

    #[test]
    fn keys_of_other_forms_are_refused() {
        let of = |text: &[(i64, Value)]| {
            PublicKey::of_cose(Value::Map(text.iter().map(|(n, v)| (Value::from(*n), v.clone())).collect()))
        };
        let (x, y) = (Value::Bytes(vec![1; 32]), Value::Bytes(vec![2; 32]));
        let wrong = Flaw("its public key is not one of its algorithm");
        let off_curve = [(1, 2.into()), (3, (-7).into()), (-1, 1.into()), (-2, x.clone()), (-3, y.clone())];
        assert_eq!(of(&off_curve), Err(wrong));
        let compressed =
            [(1, 2.into()), (3, (-7).into()), (-1, 1.into()), (-2, x.clone()), (-3, Value::Bool(true))];
        assert_eq!(of(&compressed), Err(wrong));
        assert_eq!(
            of(&[(1, 1.into()), (3, (-7).into()), (-1, 1.into()), (-2, x.clone())]),
            Err(wrong),
            "another type"
        );
        assert_eq!(
            of(&[(1, 1.into()), (3, (-8).into()), (-1, 4.into()), (-2, x.clone())]),
            Err(wrong),
            "X25519"
        );
        assert_eq!(
            of(&[(1, 1.into()), (-1, 6.into()), (-2, x)]),
            Err(Flaw("its public key names no known algorithm"))
        );
        assert_eq!(of(&[(1, 2.into()), (3, (-36).into())]), Err(Flaw("its algorithm is not supported")));
        let short = [
            (1, 3.into()),
            (3, (-257).into()),
            (-1, Value::Bytes(vec![0xff; 128])),
            (-2, Value::Bytes(vec![1, 0, 1])),
        ];
        let key = of(&short).and_then(|key| key.verify(b"", b"", &[1; 128]));
        assert!(key.is_err(), "an RSA key of 1024 bits");
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), flags in any::<u8>(), text in ".*") {
            let settings = settings();
            let _ = AttestationObject::read(&bytes).is_ok();
            let _ = AuthenticatorData::read(&settings, &bytes).is_ok();
            let mut rest = vec![flags | 0x41, 0, 0, 0, 1];
            rest.extend_from_slice(&bytes);
            let _ = AuthenticatorData::read(&settings, &data(&rest)).is_ok();
            let _ = item(&mut &*bytes).map(PublicKey::of_cose);
            let _ = (Made::read(&text).is_ok(), Signed::read(&text).is_ok());
            let _ = check_client(&settings, "webauthn.get", &[0; 32], &bytes);
        }
    }
}
