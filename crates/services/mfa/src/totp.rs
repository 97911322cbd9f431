//! Time-based one-time passwords. Source: RFC 6238, and RFC 4226 for the value of a counter.
//!
//! It only computes: which passcodes were used, and how often somebody may guess, is decided elsewhere.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use strongroom_engine_api::{EngineError, Moment, Secret, bad_request, same_bytes};

/// The characters that a URL may have as they are in any of its parts.
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Bytes of a key at most: a QR code has to hold it.
const MAX_KEY: i64 = 512;
/// Pixels of a QR code's side at most.
const MAX_QR: i64 = 2048;
/// Bytes of an issuer's name.
const MAX_ISSUER: usize = 256;
/// Seconds of a time step at most: a year.
const MAX_PERIOD: u64 = 31_536_000;

/// The hash function of a method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// HMAC-SHA-1, which every authenticator knows.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name that the API and authenticators have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The one of this name.
    ///
    /// # Errors
    ///
    /// 400 where there is none.
    pub fn from_name(name: &str) -> Result<Self, EngineError> {
        let all = [Self::Sha1, Self::Sha256, Self::Sha512];
        all.into_iter().find(|one| one.name() == name).ok_or_else(|| bad_request("unrecognized algorithm"))
    }

    fn of_hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// The settings of a TOTP method. A key keeps those that it was made with: authenticators do not learn of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotpSettings {
    /// The name of the issuer, which authenticators show.
    #[serde(rename = "i")]
    pub issuer: String,
    /// Seconds of a time step.
    #[serde(rename = "p")]
    pub period: u64,
    /// Digits of a passcode.
    #[serde(rename = "d")]
    pub digits: u32,
    /// Time steps before and after the current one whose passcodes are taken.
    #[serde(rename = "s")]
    pub skew: u64,
    /// The hash function.
    #[serde(rename = "a")]
    pub algorithm: Algorithm,
    /// Bytes of a new key.
    #[serde(rename = "k")]
    pub key_size: usize,
    /// Pixels of a QR code's side; zero: none is made.
    #[serde(rename = "q")]
    pub qr_size: usize,
    /// Passcodes in a row that may be wrong.
    #[serde(rename = "m")]
    pub max_validation_attempts: u32,
    /// True if somebody who logs in and has no key yet may make one.
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    pub self_enrollment: bool,
}

impl Default for TotpSettings {
    /// Vault's, without an issuer.
    fn default() -> Self {
        Self {
            issuer: String::new(),
            period: 30,
            digits: 6,
            skew: 1,
            algorithm: Algorithm::Sha1,
            key_size: 20,
            qr_size: 200,
            max_validation_attempts: 5,
            self_enrollment: false,
        }
    }
}

/// The changes to a method's settings; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct TotpChange {
    /// The issuer.
    pub issuer: Option<String>,
    /// Seconds of a time step.
    pub period: Option<u64>,
    /// Digits of a passcode.
    pub digits: Option<i64>,
    /// Time steps of skew.
    pub skew: Option<i64>,
    /// The name of the hash function.
    pub algorithm: Option<String>,
    /// Bytes of a key.
    pub key_size: Option<i64>,
    /// Pixels of a QR code's side.
    pub qr_size: Option<i64>,
    /// Passcodes in a row that may be wrong.
    pub max_validation_attempts: Option<i64>,
    /// Whether users may make keys of their own as they log in.
    pub self_enrollment: Option<bool>,
}

impl TotpSettings {
    /// These settings with changes.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be.
    pub fn changed(mut self, change: TotpChange) -> Result<Self, EngineError> {
        if let Some(issuer) = change.issuer {
            self.issuer = issuer;
        }
        if self.issuer.is_empty() {
            return Err(bad_request("issuer must be set"));
        }
        if self.issuer.len() > MAX_ISSUER || self.issuer.chars().any(|c| c.is_control() || c == ':') {
            return Err(bad_request(format!(
                "issuer must have no colon and no control characters, and at most {MAX_ISSUER} bytes"
            )));
        }
        if let Some(period) = change.period {
            self.period = within("period", period, 1, MAX_PERIOD)?;
        }
        if let Some(digits) = change.digits {
            self.digits = match digits {
                6 => 6,
                8 => 8,
                _ => return Err(bad_request("digits can only be 6 or 8")),
            };
        }
        if let Some(skew) = change.skew {
            self.skew = u64::try_from(skew)
                .ok()
                .filter(|skew| *skew <= 1)
                .ok_or_else(|| bad_request("skew must be 0 or 1"))?;
        }
        if let Some(name) = change.algorithm {
            self.algorithm = Algorithm::from_name(&name)?;
        }
        if let Some(size) = change.key_size {
            self.key_size = within("key_size", size, 1, MAX_KEY)?;
        }
        if let Some(size) = change.qr_size {
            self.qr_size = within("qr_size", size, 0, MAX_QR)?;
        }
        if let Some(most) = change.max_validation_attempts {
            self.max_validation_attempts = within("max_validation_attempts", most, 1, i64::from(u32::MAX))?;
        }
        if let Some(allowed) = change.self_enrollment {
            self.self_enrollment = allowed;
        }
        Ok(self)
    }

    /// The time step of a moment.
    pub const fn step(&self, now: Moment) -> u64 {
        match now.as_secs().checked_div(self.period) {
            Some(step) => step,
            None => 0,
        }
    }

    /// The passcode of a time step.
    pub fn passcode(&self, key: &[u8], step: u64) -> Secret<String> {
        let mac = hmac::sign(&hmac::Key::new(self.algorithm.of_hmac(), key), &step.to_be_bytes());
        let mac = mac.as_ref();
        let offset = usize::from(mac.last().copied().unwrap_or_default() & 0x0f);
        let four = mac.get(offset..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        let value = u32::from_be_bytes(four) & 0x7fff_ffff;
        let value = 10_u32.checked_pow(self.digits).and_then(|modulus| value.checked_rem(modulus));
        let width = usize::try_from(self.digits).unwrap_or_default();
        Secret::new(format!("{:0width$}", value.unwrap_or_default()))
    }

    /// The time step whose passcode this is, of those that are taken now. Spaces mean nothing. Takes the same time for any
    /// passcode of the right length.
    pub fn step_of(&self, key: &[u8], given: &str, now: Moment) -> Option<u64> {
        let given = Secret::new(given.chars().filter(|c| !c.is_whitespace()).collect::<String>());
        let current = self.step(now);
        let steps = current.saturating_sub(self.skew)..=current.saturating_add(self.skew);
        let mut found = None;
        for step in steps {
            if same_bytes(self.passcode(key, step).expose().as_bytes(), given.expose().as_bytes()) {
                found = Some(step);
            }
        }
        found
    }

    /// The `otpauth` URL that authenticators read.
    pub fn url(&self, key: &[u8], account: &str) -> Secret<String> {
        let issuer = utf8_percent_encode(&self.issuer, IN_URL);
        let account = utf8_percent_encode(account, IN_URL);
        let (algorithm, digits, period) = (self.algorithm.name(), self.digits, self.period);
        let mut url = format!(
            "otpauth://totp/{issuer}:{account}?algorithm={algorithm}&digits={digits}&issuer={issuer}&period={period}"
        );
        // Writing to a string cannot fail.
        let _ = write!(url, "&secret={}", base32(key).expose());
        Secret::new(url)
    }
}

/// A number between two others.
fn within<T, U>(name: &str, given: T, least: T, most: T) -> Result<U, EngineError>
where
    T: PartialOrd + std::fmt::Display + Copy,
    U: TryFrom<T>,
{
    let fits = given >= least && given <= most;
    let read = if fits { U::try_from(given).ok() } else { None };
    read.ok_or_else(|| bad_request(format!("{name} must be between {least} and {most}")))
}

/// Base 32 without padding (RFC 4648), as authenticators read keys.
fn base32(bytes: &[u8]) -> Secret<String> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for chunk in bytes.chunks(5) {
        // Five bytes, the last of which may not be there, are eight digits.
        let bits = (0..5).fold(0_u64, |bits, at| bits << 8 | u64::from(chunk.get(at).copied().unwrap_or(0)));
        let digits = chunk.len().saturating_mul(8).div_ceil(5);
        for at in 0..digits {
            let shift = 35_usize.saturating_sub(at.saturating_mul(5));
            let digit = usize::try_from(bits >> shift & 31).unwrap_or_default();
            text.push(char::from(ALPHABET.get(digit).copied().unwrap_or_default()));
        }
    }
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(algorithm: Algorithm) -> TotpSettings {
        TotpSettings { digits: 8, algorithm, issuer: "i".to_owned(), ..TotpSettings::default() }
    }

    /// RFC 6238, appendix B: the seeds are the digits, repeated to the length of the hash.
    fn seed(algorithm: Algorithm) -> Vec<u8> {
        let len = match algorithm {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        };
        b"1234567890".iter().copied().cycle().take(len).collect()
    }

    #[test]
    fn passcodes_are_those_of_rfc_6238() {
        let vectors = [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
            (20_000_000_000, "65353130", "77737706", "47863826"),
        ];
        for (at, sha1, sha256, sha512) in vectors {
            for (algorithm, expected) in
                [(Algorithm::Sha1, sha1), (Algorithm::Sha256, sha256), (Algorithm::Sha512, sha512)]
            {
                let settings = settings(algorithm);
                let now = Moment::from_secs(at.min(18_000_000_000));
                // A moment ends in the year 2554; the last vector is later, so its step is given.
                let step = at / 30;
                assert_eq!(settings.passcode(&seed(algorithm), step).expose(), expected);
                if at == now.as_secs() {
                    assert_eq!(settings.step_of(&seed(algorithm), expected, now), Some(step));
                }
            }
        }
        let six = TotpSettings { digits: 6, ..settings(Algorithm::Sha1) };
        assert_eq!(six.passcode(&seed(Algorithm::Sha1), 1).expose(), "287082");
    }

    #[test]
    fn the_steps_beside_are_taken_within_the_skew() {
        let (key, now) = (seed(Algorithm::Sha1), Moment::from_secs(3000));
        for skew in [0, 1] {
            let settings = TotpSettings { skew, ..settings(Algorithm::Sha1) };
            for step in 95..=105_u64 {
                let passcode = settings.passcode(&key, step);
                let taken = step.abs_diff(100) <= skew;
                assert_eq!(settings.step_of(&key, passcode.expose(), now), taken.then_some(step), "{step}");
            }
        }
    }

    #[test]
    fn a_passcode_has_one_spelling_but_for_spaces() {
        let (key, settings) = (seed(Algorithm::Sha1), settings(Algorithm::Sha1));
        let now = Moment::from_secs(1_111_111_109);
        for spelled in ["07081804", " 0708 1804\n", "0 7 0 8 1 8 0 4"] {
            assert!(settings.step_of(&key, spelled, now).is_some(), "{spelled:?}");
        }
        for wrong in ["7081804", "007081804", "+07081804", "", "0708180４", "07081805"] {
            assert_eq!(settings.step_of(&key, wrong, now), None, "{wrong:?}");
        }
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes.as_bytes()).expose(), text);
        }
    }

    #[test]
    fn urls_are_what_authenticators_read() {
        let settings = TotpSettings { issuer: "My Corp & Co".to_owned(), ..TotpSettings::default() };
        assert_eq!(
            settings.url(b"foobar", "a-b").expose(),
            "otpauth://totp/My%20Corp%20%26%20Co:a-b?algorithm=SHA1&digits=6&issuer=My%20Corp%20%26%20Co&period=30\
             &secret=MZXW6YTBOI"
        );
    }

    #[test]
    fn settings_have_limits() {
        let with = |change: TotpChange| settings(Algorithm::Sha1).changed(change);
        let none = TotpChange::default;
        assert!(TotpSettings::default().changed(none()).is_err(), "no issuer");
        for (change, text) in [
            (TotpChange { digits: Some(7), ..none() }, "digits can only be 6 or 8"),
            (TotpChange { skew: Some(2), ..none() }, "skew must be 0 or 1"),
            (TotpChange { skew: Some(-1), ..none() }, "skew must be 0 or 1"),
            (TotpChange { period: Some(0), ..none() }, "period must be between 1 and 31536000"),
            (TotpChange { key_size: Some(0), ..none() }, "key_size must be between 1 and 512"),
            (TotpChange { key_size: Some(i64::MAX), ..none() }, "key_size must be between 1 and 512"),
            (TotpChange { qr_size: Some(-1), ..none() }, "qr_size must be between 0 and 2048"),
            (TotpChange { algorithm: Some("MD5".to_owned()), ..none() }, "unrecognized algorithm"),
            (
                TotpChange { max_validation_attempts: Some(0), ..none() },
                "max_validation_attempts must be between 1 and 4294967295",
            ),
        ] {
            assert_eq!(with(change).unwrap_err().to_string(), text);
        }
        let changed = with(TotpChange { digits: Some(6), skew: Some(0), ..none() }).unwrap();
        assert_eq!((changed.digits, changed.skew, changed.period), (6, 0, 30));
    }
}
