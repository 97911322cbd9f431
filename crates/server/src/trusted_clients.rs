//! Client certificates that a listener requires: signed by one of the authorities of `tls_client_ca_file`, or exactly one
//! of the certificates in it.
//!
//! The certificate library refuses a self-signed certificate that says of itself that it is an authority, as `openssl
//! req -x509` writes them. Servers written in Go, whose configurations are taken over, accept it where it is in the file;
//! its validity and purpose are looked at all the same ([`exact::is_usable`]). Revocation is not looked at.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use strongroom_outbound::tls::{exact, pem};

/// Verifies that a client's certificate is trusted and that the client holds its key.
#[derive(Debug)]
pub(crate) struct TrustedClients {
    /// The certificates of the file, as a client would show them.
    exact: Vec<CertificateDer<'static>>,
    /// Paths to them, and all that is not about trust.
    paths: Arc<dyn ClientCertVerifier>,
}

impl TrustedClients {
    /// Those that the certificates of a PEM file vouch for.
    pub(crate) fn of_file(path: &Path, provider: Arc<CryptoProvider>) -> Result<Self> {
        let exact = pem::certificates_in_file(path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &exact {
            roots.add(certificate.clone()).with_context(|| path.display().to_string())?;
        }
        let paths = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { exact, paths })
    }
}

impl ClientCertVerifier for TrustedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.paths.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.exact.iter().any(|trusted| trusted == certificate) {
            return exact::is_usable(certificate, exact::CLIENT_AUTH, now)
                .map(|()| ClientCertVerified::assertion());
        }
        self.paths.verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.paths.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.paths.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.paths.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    use rustls::crypto::aws_lc_rs;

    use super::*;

    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));

    fn authority(purposes: &[ExtendedKeyUsagePurpose]) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = purposes.to_vec();
        (params, KeyPair::generate().unwrap())
    }

    fn trusting(pem: &str) -> TrustedClients {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        TrustedClients::of_file(file.path(), Arc::new(aws_lc_rs::default_provider())).unwrap()
    }

    #[test]
    fn a_certificate_in_the_file_is_trusted_as_it_is() {
        let (params, key) = authority(&[]);
        let own = params.self_signed(&key).unwrap();
        let clients = trusting(&own.pem());
        assert!(clients.verify_client_cert(own.der(), &[], NOW).is_ok());
        let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(1));
        assert!(clients.verify_client_cert(own.der(), &[], long_ago).is_err());
        // Another one of the same name and key is not.
        let other = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(clients.verify_client_cert(other.der(), &[], NOW).is_err());
    }

    #[test]
    fn a_certificate_in_the_file_must_be_for_clients() {
        let (params, key) = authority(&[ExtendedKeyUsagePurpose::ServerAuth]);
        let own = params.self_signed(&key).unwrap();
        assert!(trusting(&own.pem()).verify_client_cert(own.der(), &[], NOW).is_err());
    }

    #[test]
    fn a_certificate_that_one_in_the_file_signed_is_trusted() {
        let (params, key) = authority(&[]);
        let clients = trusting(&params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::from_params(&params, &key);
        let signed = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let signed = signed.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert!(clients.verify_client_cert(signed.der(), &[], NOW).is_ok());
    }
}
