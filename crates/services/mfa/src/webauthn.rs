//! The settings of `webauthn` methods. Source: W3C, Web Authentication Level 3.
//!
//! Vault has no such method; its fields are named after the terms of the standard. The ceremonies themselves are in `ceremony`,
//! the passkeys of entities in `passkeys`.

mod ceremony;
mod challenges;
mod messages;
mod passkeys;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use strongroom_engine_api::{EngineError, bad_request};

pub(crate) use challenges::{Challenges, Registrations};
pub use messages::{CreationOptions, RequestOptions};
pub(crate) use passkeys::{Passkey, PasskeyUse};
pub use passkeys::{PasskeyView, RegisteredBy};

/// Bytes of a domain name.
const MAX_DOMAIN: usize = 253;
/// Bytes of the name that authenticators show.
const MAX_NAME: usize = 64;
/// Origins of a method.
const MAX_ORIGINS: usize = 32;
/// Seconds for which no attempt is judged after as many as may have failed.
pub(crate) const PAUSE_SECS: u64 = 30;

/// A signature algorithm that passkeys may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PasskeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "e")]
    Es256,
    /// Ed25519.
    #[serde(rename = "d")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "r")]
    Rs256,
}

impl PasskeyAlgorithm {
    /// All of them, those first that are preferred.
    pub const ALL: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Rs256];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }

    /// Its number in the registry of COSE algorithms.
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            Self::Rs256 => -257,
        }
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }
}

/// A word of the standard for how much user verification (a PIN, a fingerprint) is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserVerification {
    /// An answer without it is refused.
    #[serde(rename = "r")]
    Required,
    /// It is asked for, and an answer without it is good.
    #[default]
    #[serde(rename = "p")]
    Preferred,
    /// It is not asked for.
    #[serde(rename = "d")]
    Discouraged,
}

impl UserVerification {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Preferred => "preferred",
            Self::Discouraged => "discouraged",
        }
    }

    fn from_name(name: &str) -> Result<Self, EngineError> {
        let all = [Self::Required, Self::Preferred, Self::Discouraged];
        let found = all.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| bad_request("user_verification must be required, preferred or discouraged"))
    }
}

/// A word of the standard for how much an authenticator is to tell of its make as a passkey is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attestation {
    /// Nothing.
    #[default]
    #[serde(rename = "n")]
    None,
    /// It, as the client may have changed it.
    #[serde(rename = "i")]
    Indirect,
    /// It, as the authenticator tells it.
    #[serde(rename = "d")]
    Direct,
}

impl Attestation {
    /// The word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Indirect => "indirect",
            Self::Direct => "direct",
        }
    }

    fn from_name(name: &str) -> Result<Self, EngineError> {
        let all = [Self::None, Self::Indirect, Self::Direct];
        let found = all.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| bad_request("attestation must be none, indirect or direct"))
    }
}

/// The settings of a `webauthn` method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebauthnSettings {
    /// The domain that passkeys belong to (the relying party's id).
    #[serde(rename = "r")]
    pub rp_id: String,
    /// The name that authenticators may show for it.
    #[serde(rename = "n")]
    pub rp_name: String,
    /// Origins of the pages that may ask for passkeys.
    #[serde(rename = "o")]
    pub allowed_origins: Vec<String>,
    /// The user verification that is wanted.
    #[serde(rename = "u")]
    pub user_verification: UserVerification,
    /// The attestation that is wanted.
    #[serde(rename = "t")]
    pub attestation: Attestation,
    /// Algorithms that new passkeys may have, in the order of preference.
    #[serde(rename = "a")]
    pub algorithms: Vec<PasskeyAlgorithm>,
    /// Answers in a row that may be wrong.
    #[serde(rename = "m")]
    pub max_validation_attempts: u32,
}

/// The changes to a method's settings; what is left out stays as it is.
#[derive(Clone, Debug, Default)]
pub struct WebauthnChange {
    /// The domain.
    pub rp_id: Option<String>,
    /// The name of it.
    pub rp_name: Option<String>,
    /// Origins.
    pub allowed_origins: Option<Vec<String>>,
    /// The word for user verification.
    pub user_verification: Option<String>,
    /// The word for attestation.
    pub attestation: Option<String>,
    /// Names of algorithms.
    pub algorithms: Option<Vec<String>>,
    /// Answers in a row that may be wrong.
    pub max_validation_attempts: Option<i64>,
}

impl WebauthnSettings {
    /// The settings of a new method.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be.
    pub fn new(mut change: WebauthnChange) -> Result<Self, EngineError> {
        let rp_id = change.rp_id.take().filter(|id| !id.is_empty());
        let rp_id = domain(&rp_id.ok_or_else(|| bad_request("rp_id must be set"))?)?;
        let fresh = Self {
            rp_name: rp_id.chars().take(MAX_NAME).collect(),
            allowed_origins: vec![format!("https://{rp_id}")],
            rp_id,
            user_verification: UserVerification::default(),
            attestation: Attestation::default(),
            algorithms: PasskeyAlgorithm::ALL.to_vec(),
            max_validation_attempts: 5,
        };
        fresh.changed(change)
    }

    /// These settings with changes.
    ///
    /// # Errors
    ///
    /// 400 for what cannot be, and for another domain: passkeys belong to it.
    pub fn changed(mut self, change: WebauthnChange) -> Result<Self, EngineError> {
        if let Some(rp_id) = change.rp_id
            && domain(&rp_id)? != self.rp_id
        {
            let text = "rp_id cannot be changed, because passkeys belong to it; create another method";
            return Err(bad_request(text));
        }
        if let Some(name) = change.rp_name {
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                let text = format!("rp_name must have 1 to {MAX_NAME} bytes and no control characters");
                return Err(bad_request(text));
            }
            self.rp_name = name;
        }
        if let Some(origins) = change.allowed_origins {
            self.allowed_origins = origins_of(origins, &self.rp_id)?;
        }
        if let Some(word) = change.user_verification {
            self.user_verification = UserVerification::from_name(&word)?;
        }
        if let Some(word) = change.attestation {
            self.attestation = Attestation::from_name(&word)?;
        }
        if let Some(names) = change.algorithms {
            self.algorithms = algorithms_of(&names)?;
        }
        if let Some(most) = change.max_validation_attempts {
            let most = u32::try_from(most).ok().filter(|most| *most > 0);
            let range = || bad_request(format!("max_validation_attempts must be between 1 and {}", u32::MAX));
            self.max_validation_attempts = most.ok_or_else(range)?;
        }
        Ok(self)
    }
}

/// A domain name in the one form that browsers compare it in: an address is none, and a name in another script is its ASCII form.
fn domain(text: &str) -> Result<String, EngineError> {
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&label.len())
            && label.chars().all(is_part)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let mut labels = text.split('.');
    let last_is_word =
        text.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
    if text.len() > MAX_DOMAIN || !labels.all(is_label) || !last_is_word {
        return Err(bad_request("rp_id must be a domain name in lower case, without scheme and port"));
    }
    Ok(text.to_owned())
}

/// Origins, each once: of pages of the domain or below it, over TLS but on the machine itself.
fn origins_of(given: Vec<String>, rp_id: &str) -> Result<Vec<String>, EngineError> {
    if given.is_empty() || given.len() > MAX_ORIGINS {
        return Err(bad_request(format!("allowed_origins must have 1 to {MAX_ORIGINS} items")));
    }
    let mut seen = BTreeSet::new();
    for origin in &given {
        if !is_origin(origin, rp_id) {
            return Err(bad_request(
                "allowed_origins must be https://HOST or https://HOST:PORT (http:// for localhost), with a host that is rp_id or \
                 below it, in lower case and without the scheme's own port",
            ));
        }
        seen.insert(origin.as_str());
    }
    if seen.len() < given.len() {
        return Err(bad_request("allowed_origins has an item twice"));
    }
    Ok(given)
}

fn is_origin(origin: &str, rp_id: &str) -> bool {
    let (rest, own_port, is_secure) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://"))
    {
        (Some(rest), _) => (rest, 443, true),
        (_, Some(rest)) => (rest, 80, false),
        _ => return false,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let is_port = |port: &str| {
        let number = port.parse::<u16>().ok().filter(|number| *number != 0 && *number != own_port);
        number.is_some_and(|number| number.to_string() == port)
    };
    let is_local = host == "localhost" || host.ends_with(".localhost");
    let is_of_domain = host.strip_suffix(rp_id).is_some_and(|front| front.is_empty() || front.ends_with('.'));
    domain(host).is_ok() && is_of_domain && (is_secure || is_local) && port.is_none_or(is_port)
}

fn algorithms_of(names: &[String]) -> Result<Vec<PasskeyAlgorithm>, EngineError> {
    let mut found = Vec::new();
    for name in names {
        let one = PasskeyAlgorithm::ALL.into_iter().find(|one| one.name() == name);
        let one = one.ok_or_else(|| bad_request("algorithms must be among ES256, EdDSA and RS256"))?;
        if !found.contains(&one) {
            found.push(one);
        }
    }
    if found.is_empty() {
        return Err(bad_request("algorithms must have at least one item"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(change: WebauthnChange) -> Result<WebauthnSettings, String> {
        let rp_id = Some(change.rp_id.unwrap_or_else(|| "example.com".to_owned()));
        WebauthnSettings::new(WebauthnChange { rp_id, ..change }).map_err(|error| error.to_string())
    }

    fn none() -> WebauthnChange {
        WebauthnChange::default()
    }

    #[test]
    fn what_is_left_out_has_a_value() {
        let settings = method(none()).unwrap();
        assert_eq!(settings.allowed_origins, ["https://example.com"]);
        assert_eq!((settings.rp_name.as_str(), settings.max_validation_attempts), ("example.com", 5));
        assert_eq!(settings.user_verification.name(), "preferred");
        assert_eq!(settings.attestation.name(), "none");
        assert_eq!(settings.algorithms, PasskeyAlgorithm::ALL);
        assert!(WebauthnSettings::new(none()).is_err(), "a domain is needed");
        assert!(
            settings.clone().changed(WebauthnChange { rp_id: Some("example.org".into()), ..none() }).is_err()
        );
        let same = settings.clone().changed(WebauthnChange { rp_id: Some("example.com".into()), ..none() });
        assert_eq!(same.unwrap(), settings);
    }

    #[test]
    fn domains_are_names_and_no_addresses() {
        for good in ["example.com", "localhost", "a-b.example.com", "xn--bcher-kva.example"] {
            assert!(domain(good).is_ok(), "{good}");
        }
        let long = "a.".repeat(127);
        for bad in [
            "",
            ".",
            "Example.com",
            "example.com.",
            ".example.com",
            "a..b",
            "-a.com",
            "a-.com",
            "127.0.0.1",
            "[::1]",
            "bücher.de",
            "https://example.com",
            "example.com:443",
            "example.com/",
            "a b",
            &long,
        ] {
            assert!(domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_of_the_domain() {
        for good in [
            "https://example.com",
            "https://login.example.com",
            "https://example.com:8200",
            "https://a.b.example.com:1",
        ] {
            assert!(is_origin(good, "example.com"), "{good}");
        }
        for bad in [
            "http://example.com",
            "https://example.com/",
            "https://example.com:443",
            "https://example.com:0",
            "https://example.com:08",
            "https://example.com:+8",
            "https://example.com:",
            "https://badexample.com",
            "https://com",
            "https://example.com.evil.org",
            "https://user@example.com",
            "https://Example.com",
            "example.com",
            "null",
            "",
            "https://.example.com",
            "https://example.com:65536",
            "https://example.com:1:2",
            " https://example.com",
        ] {
            assert!(!is_origin(bad, "example.com"), "{bad}");
        }
        assert!(is_origin("http://localhost:8200", "localhost"));
        assert!(is_origin("http://localhost", "localhost"));
        assert!(!is_origin("http://localhost:80", "localhost"));
        assert!(!is_origin("http://127.0.0.1:8200", "localhost"));
    }

    #[test]
    fn settings_have_limits() {
        for (change, text) in [
            (WebauthnChange { rp_name: Some(String::new()), ..none() }, "rp_name must have"),
            (WebauthnChange { rp_name: Some("a\n".into()), ..none() }, "rp_name must have"),
            (WebauthnChange { allowed_origins: Some(Vec::new()), ..none() }, "allowed_origins must have"),
            (
                WebauthnChange { allowed_origins: Some(vec!["https://evil.org".into()]), ..none() },
                "allowed_origins must be",
            ),
            (
                WebauthnChange { allowed_origins: Some(vec!["https://example.com".into(); 2]), ..none() },
                "allowed_origins has an item twice",
            ),
            (
                WebauthnChange { user_verification: Some("Required".into()), ..none() },
                "user_verification must be",
            ),
            (WebauthnChange { attestation: Some("enterprise".into()), ..none() }, "attestation must be"),
            (WebauthnChange { algorithms: Some(vec!["none".into()]), ..none() }, "algorithms must be among"),
            (WebauthnChange { algorithms: Some(Vec::new()), ..none() }, "algorithms must have"),
            (
                WebauthnChange { max_validation_attempts: Some(0), ..none() },
                "max_validation_attempts must be",
            ),
        ] {
            let error = method(change).unwrap_err();
            assert!(error.starts_with(text), "{error}");
        }
        let two = WebauthnChange {
            algorithms: Some(vec!["EdDSA".into(), "ES256".into(), "EdDSA".into()]),
            ..none()
        };
        assert_eq!(method(two).unwrap().algorithms, [PasskeyAlgorithm::EdDsa, PasskeyAlgorithm::Es256]);
    }
}
