//! TLS settings of outgoing connections: trust anchors, client certificate, protocol versions.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The certificates that a server's must be one of, or be issued by.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Those of the operating system.
    #[default]
    System,
    /// These alone.
    Only(Vec<CertificateDer<'static>>),
    /// These and those of the operating system.
    AlsoSystem(Vec<CertificateDer<'static>>),
    /// Any: encrypted, but to whom is not known. Gives up what TLS is for.
    Anyone,
}

/// A certificate chain to show to servers that ask for one, and its key.
pub struct Identity {
    /// The certificate, then what leads from it to an authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The settings for verifying servers, and the client certificate presented to them.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The trust anchors.
    pub trust: Trust,
    /// The client certificate, and its key.
    pub identity: Option<Identity>,
    /// The name to ask for and to verify, instead of the host's.
    pub server_name: Option<String>,
    /// True if a certificate must be for the name of the server. If false, anyone with a certificate of a trusted
    /// authority can impersonate the server.
    pub verify_name: bool,
    /// The oldest version to speak.
    pub min_version: TlsVersion,
    /// The newest version to speak.
    pub max_version: TlsVersion,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            server_name: None,
            verify_name: true,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        }
    }
}

/// TLS settings, and what the way out has made of them. Connections are shared between requests with clones of one, so make it
/// once for each configuration and keep it.
#[derive(Clone)]
pub struct SharedTls(Arc<Shared>);

struct Shared {
    settings: TlsSettings,
    made: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl SharedTls {
    /// These settings. Those that cannot be used are told of when a connection is made.
    pub fn new(settings: TlsSettings) -> Self {
        Self(Arc::new(Shared { settings, made: OnceLock::new() }))
    }

    /// The settings.
    pub fn settings(&self) -> &TlsSettings {
        &self.0.settings
    }

    /// The value derived from the settings, once; `None` where it was derived as another type.
    pub fn made<T: Any + Send + Sync>(&self, make: impl FnOnce(&TlsSettings) -> T) -> Option<Arc<T>> {
        self.0.made.get_or_init(|| Arc::new(make(&self.0.settings))).clone().downcast().ok()
    }
}

impl fmt::Debug for SharedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.settings.fmt(f)
    }
}

impl PartialEq for SharedTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SharedTls {}

impl Hash for SharedTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}
