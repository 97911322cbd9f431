//! Decides whether a server is who it should be.
//!
//! The certificate library builds paths from a server's certificate to an authority, and refuses one that is both: an
//! authority by its constraints (`CA:TRUE`, what `openssl req -x509` writes) and what the server shows. Go's clients, whose
//! configurations we take over, accept it where exactly that certificate is among those to trust. So does this: such a
//! certificate is a path of its own, and validity, purpose and name are looked at all the same. Whatever is not among the
//! trusted ones, byte by byte, goes the library's way.
//!
//! Revocation is not looked at.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::exact;

/// Verifies that a server holds the key of its certificate and, where there is something to trust, the certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    /// With none any certificate is accepted: the connection is encrypted, and who is at its other end is not known.
    pub(super) trusted: Option<Trusted>,
    pub(super) provider: Arc<CryptoProvider>,
}

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Those that are trusted, as a server would show them.
    exact: Vec<CertificateDer<'static>>,
    /// Paths to them; none where there are no trust anchors.
    paths: Option<Arc<WebPkiServerVerifier>>,
    names: bool,
}

impl Trusted {
    /// `names`: a certificate must be for the name of the server.
    pub(super) fn new(
        exact: Vec<CertificateDer<'static>>,
        roots: RootCertStore,
        names: bool,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let paths = if roots.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|error| error.to_string())?)
        };
        Ok(Self { exact, paths, names })
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.exact.iter().any(|trusted| trusted == end_entity) {
            return self.verify_exact(end_entity, server_name, now);
        }
        let Some(paths) = &self.paths else { return Err(CertificateError::UnknownIssuer.into()) };
        match paths.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: all else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.names => Ok(ServerCertVerified::assertion()),
            // An authority that nobody trusts: the library's word for it helps nobody.
            Err(Error::InvalidCertificate(CertificateError::Other(reason)))
                if reason.0.to_string() == "CaUsedAsEndEntity" =>
            {
                Err(CertificateError::UnknownIssuer.into())
            }
            verdict => verdict,
        }
    }

    fn verify_exact(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        exact::is_usable(shown, exact::SERVER_AUTH, now)?;
        if self.names {
            verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trusted {
            Some(trusted) => trusted.verify(end_entity, intermediates, server_name, ocsp_response, now),
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
