//! Client certificates that a listener asks for without verifying them: accepted from any client that proves to hold the key, and
//! carried to the auth method, which decides whose they are.
//!
//! A certificate is not parsed further than to its public key. The library's own verifiers refuse what they would not trust
//! (version 1, unknown critical extensions), and a client with such a certificate could not connect at all.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
};
use strongroom_engine_api::Outline;

/// Takes any client certificate whose key the client proves to hold.
#[derive(Debug)]
pub(crate) struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    pub(crate) const fn new(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self(algorithms)
    }
}

fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Result<&'a [u8], Error> {
    let outline = Outline::read(certificate);
    outline.map(|outline| outline.public_key).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        public_key(certificate).map(|_key| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (algorithm, key) = Outline::read(certificate)
            .and_then(|outline| outline.key())
            .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let mut known = self.0.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme).peekable();
        if known.peek().is_none() {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        // In TLS 1.2 a scheme does not settle the curve: the key does.
        let mut fitting = known
            .flat_map(|(_, algorithms)| *algorithms)
            .filter(|candidate| candidate.public_key_alg_id().as_ref() == algorithm);
        let holds =
            fitting.any(|algorithm| algorithm.verify_signature(key, message, signed.signature()).is_ok());
        if holds {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(public_key(certificate)?);
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    use rustls::client::ResolvesClientCert;
    use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
    use rustls::sign::CertifiedKey;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
    use strongroom_engine_api::CertificateChain;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// A client that shows one certificate, whatever it is, and believes every server.
    #[derive(Debug)]
    struct Client(Arc<CertifiedKey>);

    impl ResolvesClientCert for Client {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    impl ServerCertVerifier for Client {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(key.serialize_der()).into()
    }

    fn sequence(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, &content].concat()
    }

    /// A certificate of version 1 for a key: neither a version nor extensions are in it.
    fn version_1(key: &KeyPair) -> CertificateDer<'static> {
        let modern = CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(key).unwrap();
        let public_key = Outline::read(modern.der()).unwrap().public_key;
        let empty = sequence(0x30, &[]);
        let fixed: &[&[u8]] = &[&[2, 2, 0x12, 0x34], &empty, &empty, &empty, &empty, public_key];
        sequence(0x30, &[&sequence(0x30, fixed), &empty, &[3, 1, 0]]).into()
    }

    /// The certificates that the server sees of a client.
    async fn seen(
        version: &'static SupportedProtocolVersion,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
    ) -> Result<CertificateChain, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = KeyPair::generate().unwrap();
        let own_certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&own).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyCertificate::new(
                provider.signature_verification_algorithms,
            )))
            .with_single_cert(vec![own_certificate.der().clone()], private(&own))
            .unwrap();
        let signing = aws_lc_rs::sign::any_supported_type(&private(key)).unwrap();
        let client = Arc::new(Client(Arc::new(CertifiedKey::new(vec![certificate], signing))));
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(client.clone())
            .with_client_cert_resolver(client);
        let (near, far) = duplex(1 << 16);
        let connecting = tokio::spawn(async move {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
            stream.write_all(b"x").await?;
            stream.read_u8().await
        });
        let accepted = TlsAcceptor::from(Arc::new(server)).accept(far).await;
        let mut stream = accepted.map_err(|error| error.to_string())?;
        stream.read_u8().await.map_err(|error| error.to_string())?;
        stream.write_all(b"y").await.map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = shown.iter().map(|certificate| bytes::Bytes::copy_from_slice(certificate)).collect();
        connecting.await.unwrap().map_err(|error| error.to_string())?;
        Ok(chain)
    }

    #[tokio::test]
    async fn a_certificate_of_any_version_is_carried() {
        for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(kind).unwrap();
            for version in [&TLS12, &TLS13] {
                let chain = seen(version, version_1(&key), &key).await.unwrap();
                assert_eq!((chain.iter().len(), chain.serial().as_deref()), (1, Some("4660")));
                let modern =
                    CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
                assert_eq!(
                    seen(version, modern.der().clone(), &key).await.unwrap().own().unwrap(),
                    &**modern.der()
                );
            }
        }
    }

    #[tokio::test]
    async fn who_does_not_hold_the_key_is_not_let_in() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        for version in [&TLS12, &TLS13] {
            assert!(seen(version, version_1(&other), &key).await.is_err());
            assert!(seen(version, vec![0x30, 0].into(), &key).await.is_err(), "no certificate");
        }
    }

    #[test]
    fn an_outline_is_read_of_what_is_whole() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from(0x1234_5678_u64));
        let certificate = params.self_signed(&key).unwrap();
        let chain: CertificateChain =
            [bytes::Bytes::copy_from_slice(certificate.der())].into_iter().collect();
        assert_eq!(chain.serial(), Some(0x1234_5678.to_string()));
        for end in 0..certificate.der().len() {
            assert_eq!(Outline::read(&certificate.der()[..end]), None);
        }
    }
}
