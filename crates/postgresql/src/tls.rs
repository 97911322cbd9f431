//! Whom we trust to be the database, and what we show it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Which certificates are believed. An authority is the file of its certificates; `None`: those that the operating
/// system trusts.
pub(crate) enum Trust {
    /// Any: the connection is encrypted, and who is at its other end is not known.
    Anyone,
    /// Those that the authority has issued, for any host.
    Authority(Option<PathBuf>),
    /// Those that the authority has issued for the host.
    AuthorityAndName(Option<PathBuf>),
}

/// `identity`: the files of our certificate and its key.
pub(crate) fn connector(
    trust: &Trust,
    identity: Option<(PathBuf, PathBuf)>,
) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, provider)?);
    let mut config = match identity {
        Some((certificate, key)) => {
            let chain = certificates("sslcert", &certificate)?;
            let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| file("sslkey", &key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(unfit)?
        }
        None => builder.with_no_client_auth(),
    };
    // What PostgreSQL 17 asks for where a connection begins with TLS (sslnegotiation=direct).
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let of = |authority: &Option<PathBuf>, provider| {
        let roots = Arc::new(roots(authority.as_deref())?);
        WebPkiServerVerifier::builder_with_provider(roots, provider).build().map_err(unfit)
    };
    Ok(match trust {
        Trust::Anyone => Arc::new(Lenient { issued: None, provider }),
        Trust::Authority(authority) => {
            let issued = Some(of(authority, Arc::clone(&provider))?);
            Arc::new(Lenient { issued, provider })
        }
        Trust::AuthorityAndName(authority) => of(authority, provider)?,
    })
}

fn roots(authority: Option<&Path>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match authority {
        Some(path) => {
            for certificate in certificates("sslrootcert", path)? {
                store.add(certificate).map_err(unfit)?;
            }
        }
        // Some of a system's certificates may be malformed; the rest still counts.
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(found) if found.is_empty() => Err(file(option, path, &"no certificate found")),
        Ok(found) => Ok(found),
        Err(error) => Err(file(option, path, &error)),
    }
}

fn file(option: &str, path: &Path, reason: &dyn std::fmt::Display) -> String {
    format!("has {option:?} {}: {reason}", path.display())
}

fn unfit(error: impl std::fmt::Display) -> String {
    format!("cannot be used for TLS: {error}")
}

/// Believes certificates for whatever host: those that were issued by an authority, or any.
#[derive(Debug)]
struct Lenient {
    issued: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(issued) = &self.issued else { return Ok(ServerCertVerified::assertion()) };
        match issued.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last: all else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
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
