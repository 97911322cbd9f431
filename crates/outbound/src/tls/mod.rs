//! TLS of outgoing connections: whom to trust, what to show, which versions to speak.
//!
//! [`TlsSettings`] say it, [`Tls`] is made of them once and shared. What only a handshake needs is built at the first one,
//! so that a program that speaks plain HTTP never reads the certificates of its system.

pub mod exact;
mod verify;

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use rustls_pki_types::ServerName;
use strongroom_outbound_api::{Identity, TlsSettings, TlsVersion, Trust};

pub use strongroom_outbound_api::pem;

use self::verify::{Trusted, Verifier};

/// TLS settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub(crate) String);

/// TLS of outgoing connections. Cheap to clone; connections are shared between requests with the same `Tls` or clones of
/// it, so make it once for each configuration and keep it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

struct Inner {
    settings: TlsSettings,
    made: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::lazy(TlsSettings::default())
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Tls {}

impl std::hash::Hash for Tls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Tls {
    /// Built now, so that what is wrong with it is told now.
    ///
    /// # Errors
    ///
    /// A certificate, key, name or version that cannot be used.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        let made = Self::lazy(settings);
        if let Some(name) = &made.0.settings.server_name {
            made.server_name(name)?;
        }
        made.base()?;
        Ok(made)
    }

    /// Built at the first handshake.
    pub fn lazy(settings: TlsSettings) -> Self {
        Self(Arc::new(Inner { settings, made: OnceLock::new() }))
    }

    /// The settings.
    pub fn settings(&self) -> &TlsSettings {
        &self.0.settings
    }

    /// For a handshake that offers the protocols named, in order of preference.
    ///
    /// # Errors
    ///
    /// As [`Tls::new`].
    pub fn client_config(&self, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, TlsError> {
        let base = self.base()?;
        if protocols.is_empty() {
            return Ok(base);
        }
        let mut config = (*base).clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The name to verify a server by, for which `host` was asked.
    ///
    /// # Errors
    ///
    /// It is neither a name nor an address.
    pub fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.0.settings.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|error| TlsError(format!("server name {name:?}: {error}")))
    }

    /// The same without what belongs to one server: the name it must have.
    pub(crate) fn for_another_host(&self) -> Self {
        if self.0.settings.server_name.is_none() {
            return self.clone();
        }
        Self::lazy(TlsSettings { server_name: None, ..self.0.settings.clone() })
    }

    fn base(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(made) = self.0.made.get() {
            return Ok(made.clone());
        }
        let made = Arc::new(build(&self.0.settings)?);
        Ok(self.0.made.get_or_init(|| made).clone())
    }
}

fn build(settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let refused = |error: rustls::Error| TlsError(error.to_string());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(settings)?)
        .map_err(refused)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            trusted: trusted(settings, &provider)?,
            provider,
        }));
    match &settings.identity {
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(refused)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

fn versions(settings: &TlsSettings) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let all = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
    let wanted = settings.min_version..=settings.max_version;
    let versions: Vec<_> =
        all.iter().filter(|(named, _)| wanted.contains(named)).map(|(_, version)| *version).collect();
    if versions.is_empty() {
        return Err(TlsError("the oldest version of TLS is above the newest".to_owned()));
    }
    Ok(versions)
}

/// The trust anchors of the settings; none where they trust anyone.
fn trusted(settings: &TlsSettings, provider: &Arc<CryptoProvider>) -> Result<Option<Trusted>, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut exact = Vec::new();
    let (given, system): (&[_], bool) = match &settings.trust {
        Trust::Only(given) => (given, false),
        Trust::AlsoSystem(given) => (given, true),
        Trust::System => (&[], true),
        Trust::Anyone => return Ok(None),
    };
    for certificate in given {
        roots.add(certificate.clone()).map_err(|error| TlsError(error.to_string()))?;
        exact.push(certificate.clone());
    }
    if system {
        let found = rustls_native_certs::load_native_certs().certs;
        exact.extend_from_slice(&found);
        // Some of a system's certificates may be malformed; the rest still counts.
        roots.add_parsable_certificates(found);
    }
    Trusted::new(exact, roots, settings.verify_name, provider).map(Some).map_err(TlsError)
}
