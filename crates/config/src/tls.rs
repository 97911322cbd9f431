//! TLS of a listener.

use std::path::PathBuf;

use crate::ConfigError;
use crate::fields::Fields;

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate in PEM, the server's first, then those of its issuers.
    pub cert_file: PathBuf,
    /// The certificate's private key in PEM.
    pub key_file: PathBuf,
    /// The oldest version a client may speak.
    pub min_version: TlsVersion,
    /// The newest version a client may speak.
    pub max_version: TlsVersion,
    /// The cipher suites for TLS 1.2, without order; empty for the library's. TLS 1.3 has its own.
    pub cipher_suites: Vec<CipherSuite>,
    /// The CAs of accepted client certificates, in PEM; `None` for the system's authorities.
    pub client_ca_file: Option<PathBuf>,
    /// The demand for client certificates.
    pub client_certificates: ClientCertificates,
}

/// A version of TLS. Older ones than 1.2 are broken and not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

/// The demand of a listener for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for (`tls_disable_client_certs`).
    Disabled,
    /// Asked for and not checked here: the `cert` auth method checks them. The default.
    Requested,
    /// A connection without a valid certificate is refused (`tls_require_and_verify_client_cert`).
    RequiredAndVerified,
}

/// A cipher suite of TLS 1.2 that is secure: ephemeral keys and authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the IANA registry, in Rust's spelling")]
pub enum CipherSuite {
    EcdheEcdsaWithAes128GcmSha256,
    EcdheEcdsaWithAes256GcmSha384,
    EcdheEcdsaWithChacha20Poly1305Sha256,
    EcdheRsaWithAes128GcmSha256,
    EcdheRsaWithAes256GcmSha384,
    EcdheRsaWithChacha20Poly1305Sha256,
}

use CipherSuite::{
    EcdheEcdsaWithAes128GcmSha256, EcdheEcdsaWithAes256GcmSha384, EcdheEcdsaWithChacha20Poly1305Sha256,
    EcdheRsaWithAes128GcmSha256, EcdheRsaWithAes256GcmSha384, EcdheRsaWithChacha20Poly1305Sha256,
};

/// The names that Vault takes; Go's older names of the `ChaCha20` suites lack the hash.
const CIPHER_SUITES: [(&str, CipherSuite); 8] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", EcdheEcdsaWithAes128GcmSha256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", EcdheEcdsaWithAes256GcmSha384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", EcdheEcdsaWithChacha20Poly1305Sha256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", EcdheRsaWithAes128GcmSha256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", EcdheRsaWithAes256GcmSha384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", EcdheRsaWithChacha20Poly1305Sha256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", EcdheEcdsaWithChacha20Poly1305Sha256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", EcdheRsaWithChacha20Poly1305Sha256),
];

/// TLS 1.3 always offers all of its suites; naming them is no mistake.
const TLS13_CIPHER_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

const VERSIONS: [(&str, TlsVersion); 2] = [("tls12", TlsVersion::Tls12), ("tls13", TlsVersion::Tls13)];

impl Tls {
    /// Reads the TLS keys of a listener; `None` if it has TLS disabled.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Option<Tls>, ConfigError> {
        let disabled = fields.switch("tls_disable")?;
        let cert_file = fields.path("tls_cert_file")?;
        let key_file = fields.path("tls_key_file")?;
        let (min_version, max_version) = versions(fields)?;
        let cipher_suites = cipher_suites(fields)?;
        let client_ca_file = fields.path("tls_client_ca_file")?;
        let client_certificates = client_certificates(fields)?;
        if disabled {
            return Ok(None);
        }
        let (Some(cert_file), Some(key_file)) = (cert_file, key_file) else {
            let message = format!(
                "{} needs \"tls_cert_file\" and \"tls_key_file\", or \"tls_disable = true\" to do without TLS",
                fields.scope()
            );
            return Err(fields.place().invalid(message));
        };
        Ok(Some(Tls {
            cert_file,
            key_file,
            min_version,
            max_version,
            cipher_suites,
            client_ca_file,
            client_certificates,
        }))
    }
}

fn versions(fields: &mut Fields<'_>) -> Result<(TlsVersion, TlsVersion), ConfigError> {
    let min = fields.choice("tls_min_version", &VERSIONS)?.unwrap_or(TlsVersion::Tls12);
    let max = fields.choice("tls_max_version", &VERSIONS)?.unwrap_or(TlsVersion::Tls13);
    if min > max {
        let message = "\"tls_max_version\" must not be older than \"tls_min_version\"";
        return Err(fields.place_of("tls_max_version").invalid(message));
    }
    Ok((min, max))
}

/// Suites that are not supported are left out with a warning: fewer suites are safer, and lists that were written
/// for Vault often name some of the old ones last.
fn cipher_suites(fields: &mut Fields<'_>) -> Result<Vec<CipherSuite>, ConfigError> {
    const KEY: &str = "tls_cipher_suites";
    let Some(names) = fields.list(KEY)? else { return Ok(Vec::new()) };
    let mut suites = Vec::new();
    for name in names.iter().filter(|name| !TLS13_CIPHER_SUITES.contains(&name.as_str())) {
        match CIPHER_SUITES.iter().find(|(known, _)| known == name) {
            Some((_, suite)) => suites.push(*suite),
            None => fields.warn(KEY, format!("{KEY:?}: {name} is not supported and left out")),
        }
    }
    if suites.is_empty() && names.iter().any(|name| !TLS13_CIPHER_SUITES.contains(&name.as_str())) {
        let known: Vec<&str> = CIPHER_SUITES.iter().take(6).map(|(name, _)| *name).collect();
        return Err(fields.place_of(KEY).invalid(format!("{KEY:?} must name some of {}", known.join(", "))));
    }
    Ok(suites)
}

fn client_certificates(fields: &mut Fields<'_>) -> Result<ClientCertificates, ConfigError> {
    let disabled = fields.switch("tls_disable_client_certs")?;
    let required = fields.switch("tls_require_and_verify_client_cert")?;
    match (disabled, required) {
        (true, true) => {
            let message = "\"tls_disable_client_certs\" and \"tls_require_and_verify_client_cert\" are mutually exclusive";
            Err(fields.place_of("tls_disable_client_certs").invalid(message))
        }
        (true, false) => Ok(ClientCertificates::Disabled),
        (false, true) => Ok(ClientCertificates::RequiredAndVerified),
        (false, false) => Ok(ClientCertificates::Requested),
    }
}
