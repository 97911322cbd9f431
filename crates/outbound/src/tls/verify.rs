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
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

/// `id-kp-serverAuth` and `anyExtendedKeyUsage` (RFC 5280, section 4.2.1.12).
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
/// Extensions that do not change what was looked at, so that they may be marked as critical: the constraints on what a
/// certificate issues do not matter where it issues nothing.
const UNDERSTOOD: [ObjectIdentifier; 4] =
    [BasicConstraints::OID, KeyUsage::OID, ExtendedKeyUsage::OID, SubjectAltName::OID];

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
            verdict => verdict,
        }
    }

    fn verify_exact(
        &self,
        shown: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        is_usable(shown, now)?;
        if self.names {
            verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }
}

/// Looks at validity and purpose of a certificate that is trusted as it is.
fn is_usable(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let malformed = |_: x509_cert::der::Error| Error::from(CertificateError::BadEncoding);
    let certificate = Certificate::from_der(shown).map_err(malformed)?.tbs_certificate;
    let (from, until) = (
        certificate.validity.not_before.to_unix_duration().as_secs(),
        certificate.validity.not_after.to_unix_duration().as_secs(),
    );
    if now.as_secs() < from {
        let not_before = UnixTime::since_unix_epoch(std::time::Duration::from_secs(from));
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now.as_secs() > until {
        let not_after = UnixTime::since_unix_epoch(std::time::Duration::from_secs(until));
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    for extension in certificate.extensions.iter().flatten() {
        if extension.extn_id == ExtendedKeyUsage::OID {
            let purposes = ExtendedKeyUsage::from_der(extension.extn_value.as_bytes()).map_err(malformed)?.0;
            if !purposes.iter().any(|purpose| [SERVER_AUTH, ANY_PURPOSE].contains(purpose)) {
                return Err(CertificateError::InvalidPurpose.into());
            }
        }
        if extension.critical && !UNDERSTOOD.contains(&extension.extn_id) {
            return Err(CertificateError::UnhandledCriticalExtension.into());
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_as_critical_must_be_understood() {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        for critical in [false, true] {
            extension.set_criticality(critical);
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.custom_extensions = vec![extension.clone()];
            params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
            let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let usable = is_usable(made.der(), UnixTime::now());
            let refused = matches!(
                usable,
                Err(Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension))
            );
            assert_eq!(refused, critical, "{usable:?}");
        }
        let garbage = is_usable(&CertificateDer::from(vec![0x30, 3, 1, 2, 3]), UnixTime::now());
        assert!(garbage.is_err());
    }
}
