//! The identity of a node towards its peers: its key, its certificate and the authority that vouches for the others.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use strongroom_raft::{Position, Sender};
use strongroom_stdx::Clock;
use zeroize::Zeroizing;

use crate::PROTOCOL;

const KEY: &str = "node.key";
const CERTIFICATE: &str = "node.crt";
const AUTHORITY: &str = "ca.crt";

/// The DNS name in a node's certificate.
#[must_use]
pub fn name_of(cluster_id: &str, raft_id: u64) -> String {
    format!("n{raft_id:016x}.{cluster_id}.strongroom.internal")
}

/// The DNS name in a node's certificate that says which membership it was signed under.
pub(crate) fn seen_name(cluster_id: &str, seen: Position) -> String {
    format!("m{:016x}{:016x}.{cluster_id}.strongroom.internal", seen.term, seen.index)
}

/// The node that a certificate belongs to, and the key that it is for. `None` for one that is not of a node of this
/// cluster.
///
/// Its chain must have been verified before.
pub(crate) fn holder_of(certificate: &CertificateDer<'_>, cluster_id: &str) -> Option<(Sender, PublicKey)> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let (mut raft_id, mut seen) = (None, None);
    for name in certificate.valid_dns_names() {
        let (label, rest) = name.split_once('.')?;
        if rest != format!("{cluster_id}.strongroom.internal") {
            return None;
        }
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let before = match (label.split_at_checked(1)?, label.len()) {
            (("n", digits), 17) => raft_id.replace(number(digits)?).is_some(),
            (("m", digits), 33) => {
                let (term, index) = digits.split_at_checked(16)?;
                seen.replace(Position { term: number(term)?, index: number(index)? }).is_some()
            }
            _ => true,
        };
        if before {
            return None;
        }
    }
    let key = certificate.subject_public_key_info();
    let point = key.strip_prefix(P256).filter(|point| point.len() == P256_POINT)?;
    Some((Sender { raft_id: raft_id?, seen: seen? }, PublicKey(point.to_vec())))
}

/// The beginning of every public key of the kind that nodes have (RFC 5480), before an uncompressed point; and the bytes of
/// that.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const P256_POINT: usize = 65;

/// Reasons why a node has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The key could not be made.
    #[error("cluster key: {0}")]
    Key(#[from] rcgen::Error),
    /// Key, certificate and authority do not go together.
    #[error("cluster certificate: {0}")]
    Certificate(String),
}

/// A public key of the kind that nodes have: ECDSA on P-256, an uncompressed point (SEC 1, section 2.3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A node's certificate for its peers, and the authorities it trusts.
#[derive(Clone)]
pub struct Credentials {
    /// For connections to peers.
    pub client: Arc<ClientConfig>,
    /// For connections from peers.
    pub server: Arc<ServerConfig>,
    /// The cluster.
    pub cluster_id: Arc<str>,
    /// The node.
    pub raft_id: u64,
    /// The verifier of peers' certificates, also later on.
    verifier: Arc<dyn ClientCertVerifier>,
    shown: Vec<CertificateDer<'static>>,
    pub(crate) clock: Clock,
}

/// The folder that a node's key and certificates are kept in.
pub struct Identity {
    directory: PathBuf,
    clock: Clock,
}

/// By which time TLS judges whether a certificate holds.
struct Now(Clock);

impl std::fmt::Debug for Now {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Now")
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.now().as_secs())))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> IdentityError + '_ {
    |error| IdentityError::Io { path: path.to_owned(), error }
}

fn unfit(error: &impl std::fmt::Display) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}

/// The certificates in a text.
pub(crate) fn certificates(
    pem: &[u8],
) -> impl Iterator<Item = Result<CertificateDer<'static>, rustls_pki_types::pem::Error>> {
    CertificateDer::pem_slice_iter(pem)
}

impl Identity {
    /// The identity below a data directory; others' certificates are judged by this clock.
    #[must_use]
    pub fn of(data: &Path, clock: Clock) -> Self {
        Self { directory: data.join("cluster"), clock }
    }

    /// The node's public key; the pair is made where there is none.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] where it can be neither read nor made.
    pub fn public_key(&self) -> Result<PublicKey, IdentityError> {
        let path = self.directory.join(KEY);
        let pair = match fs::read_to_string(&path) {
            Ok(text) => KeyPair::from_pem(&Zeroizing::new(text))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pair = KeyPair::generate()?;
                self.keep(KEY, &Zeroizing::new(pair.serialize_pem()))?;
                pair
            }
            Err(error) => return Err(at(&path)(error)),
        };
        Ok(PublicKey(pair.der_bytes().to_vec()))
    }

    /// Keeps what the cluster's authority signed for this node, and what this node believes; both PEM.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Io`].
    pub fn keep_certificates(&self, certificate: &str, trusted: &str) -> Result<(), IdentityError> {
        self.keep(AUTHORITY, trusted)?;
        self.keep(CERTIFICATE, certificate)
    }

    /// Stores a certificate for this node that another node had signed, if this node's authorities vouch for it.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] for one that is not for this node, or that nobody would believe.
    pub fn keep_renewed(
        &self,
        certificate: &str,
        cluster_id: &str,
        raft_id: u64,
    ) -> Result<Credentials, IdentityError> {
        let read = |name: &str| {
            let path = self.directory.join(name);
            fs::read(&path).map_err(at(&path))
        };
        let (trusted, key) = (read(AUTHORITY)?, Zeroizing::new(read(KEY)?));
        let shown = certificate.as_bytes();
        let made = Credentials::new(shown, &key, &trusted, cluster_id, raft_id, self.clock.clone())?;
        let holder = made.shown.first().and_then(|own| holder_of(own, cluster_id));
        if !made.are_current() || holder.is_none_or(|(sender, _)| sender.raft_id != raft_id) {
            return Err(IdentityError::Certificate(
                "it is not for this node, or not of this cluster".to_owned(),
            ));
        }
        self.keep(CERTIFICATE, certificate)?;
        Ok(made)
    }

    /// The certificates of the authorities that this node believes, PEM; `None` before it belongs to a cluster.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Io`].
    pub fn trusted(&self) -> Result<Option<String>, IdentityError> {
        let path = self.directory.join(AUTHORITY);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Replaces a file, so that it is there whole or not at all.
    fn keep(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let (path, passing) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let written =
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).and_then(|()| {
                let mut file = fs::OpenOptions::new()
                    .create(true)
                    .truncate(true)
                    .write(true)
                    .mode(0o600)
                    .open(&passing)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                fs::rename(&passing, &path)?;
                fs::File::open(&self.directory)?.sync_all()
            });
        written.map_err(at(&path))
    }

    /// The stored credentials, as TLS takes them; `None` before the node belongs to a cluster.
    ///
    /// # Errors
    ///
    /// [`IdentityError`] for files that cannot be read or do not go together.
    pub fn credentials(&self, cluster_id: &str, raft_id: u64) -> Result<Option<Credentials>, IdentityError> {
        let path = self.directory.join(CERTIFICATE);
        let certificate = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let read = |name: &str| {
            let path = self.directory.join(name);
            fs::read(&path).map_err(at(&path))
        };
        let (trusted, key) = (read(AUTHORITY)?, Zeroizing::new(read(KEY)?));
        Credentials::new(&certificate, &key, &trusted, cluster_id, raft_id, self.clock.clone()).map(Some)
    }
}

impl Credentials {
    /// The credentials of a node of this number with these certificates, key and authorities; all PEM. Others'
    /// certificates are judged by this clock.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Certificate`] where they do not go together.
    pub fn new(
        shown: &[u8],
        key: &[u8],
        trusted: &[u8],
        cluster_id: &str,
        raft_id: u64,
        clock: Clock,
    ) -> Result<Self, IdentityError> {
        let chain: Vec<_> = certificates(shown).collect::<Result<_, _>>().map_err(|error| unfit(&error))?;
        let shown = chain.clone();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unfit(&error))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(trusted) {
            let authority = authority.map_err(|error| unfit(&error))?;
            roots.add(authority).map_err(|error| unfit(&error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let peers = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unfit(&error))?;
        let verifier = peers.clone();
        let now = Arc::new(Now(clock.clone()));
        let mut server = ServerConfig::builder_with_details(provider.clone(), now.clone())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unfit(&error))?
            .with_client_cert_verifier(peers)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unfit(&error))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| unfit(&error))?;
        let mut client = ClientConfig::builder_with_details(provider, now)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unfit(&error))?
            .with_webpki_verifier(servers)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit(&error))?;
        // Nothing is resumed: a certificate is looked at anew with every connection.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self {
            client: Arc::new(client),
            server: Arc::new(server),
            cluster_id: cluster_id.into(),
            raft_id,
            verifier,
            shown,
            clock,
        })
    }

    /// True if others who believe the same would let this node in now.
    #[must_use]
    pub fn are_current(&self) -> bool {
        self.holds(&self.shown)
    }

    /// True if a peer that showed these certificates would be let in now.
    pub(crate) fn holds(&self, shown: &[CertificateDer<'_>]) -> bool {
        let Some((own, between)) = shown.split_first() else { return false };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.clock.now().as_secs()));
        self.verifier.verify_client_cert(own, between, now).is_ok()
    }
}
